"""The names inside a sweep directory: where everything lies, and what it is called.

Directories may be listed here; what files say is hpc.storage.store's, and writing them hpc.files.atomic's.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hpc.files import directories, logs
from hpc.files.directories import is_shared
from hpc.sweep.cell import Cell
from hpc.user_state import user_state

_VOID = re.compile(r"void-([0-9]{1,9})-.*[.]json")
_CONFLICT = re.compile(r"conflict(-[0-9a-f]{16})?[.]json")
_REDONE = re.compile(r"results[.]json[.]redone-([0-9]{1,9})")
# What the folder of nearly every cell holds and no more, told at once from what makes one look closer.
_USUAL = frozenset(("attempts", "config.json", "history.csv", "log.txt", "results.json", "weights.safetensors"))
_MARK_BYTES = 4096  # of what a task left, of which its last line is shown; there may be very many of them
PACK_DIGITS, ATTEMPT_DIGITS, SUBMISSION_DIGITS, GENERATION_DIGITS = 6, 4, 6, 6


@dataclass(frozen=True)
class FailedStart:
    """A task that ended before it had a pack attempt. status: with which exit status. log: what it said."""

    submission: int
    node: str
    status: str
    log: Path


@dataclass(frozen=True)
class RefusedRequeue:
    """A task that stopped early and was not queued again. why: what Slurm, or the node's shell, said."""

    submission: int
    node: str
    why: str


def by_number(name: str) -> tuple[int, str]:
    """Key that sorts names which end with a padded number, also where a number has outgrown its digits."""
    return len(name), name


def unusual(names: Iterable[str]) -> set[str]:
    """Those of the names in a cell's directory, or in another of its kind, that most of them do not have: records of
    conflicts and what a redo has set aside are among them."""
    return set(names) - _USUAL


def is_conflict(name: str) -> bool:
    """Whether a file in a cell's directory is the record of a second outcome, or of a further one."""
    return _CONFLICT.fullmatch(name) is not None


def redone_mark(redo: int) -> str:
    """How the names of a result's files end that a redo has set aside."""
    return f"redone-{redo:0{SUBMISSION_DIGITS}d}"


def redos_in(names: Iterable[str]) -> list[int]:
    """Numbers of the redos that set a result aside in a cell's directory, which has these names; oldest first."""
    return sorted(int(match[1]) for name in names if (match := _REDONE.fullmatch(name)))


class Layout:
    """Where things are below ``root``. Constructing one touches nothing."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.sweep_file = root / "sweep.json"
        self.results_root = root / "individual_results"
        self._results = str(self.results_root)  # names of a hundred thousand cells are made from it
        self.packs_root = root / "packs"
        self.submissions_root = root / "submissions"
        self.lock_directory = self.submissions_root / "lock"
        self.state_cache_file = root / ".states.json"
        # What an aggregation makes, and what it remembers of the cells it read, which is safe to remove.
        self.aggregated_file = root / "aggregated_results.json"
        self.statistics_file = root / "statistics.json"
        self.table_file = root / "table.parquet"
        self.curves_file = root / "curves.parquet"
        self.plots_directory = root / "plots"
        self.tables_directory = root / "tables"
        self.report_file = root / "report.html"
        self.cache_file = root / ".aggregate-cache"
        # Where wandb itself would put runs of this directory, so that `wandb sync` of it works; and what
        # `holdfast wandb sync` has seen to be the same on a server.
        self.wandb_root = root / "wandb"
        self.wandb_journal_file = self.wandb_root / "journal.json"
        # Runs as `holdfast wandb extract` found them, and the same with an entry per cell.
        self.wandb_raw_file = root / "wandb_raw.json"
        self.wandb_processed_file = root / "wandb_processed.json"
        self.certificates_directory = root / "certificates"  # what `holdfast check resume` found

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders of a sweep directory; where one is a link, nothing below it is."""
        names = (self.results_root, self.packs_root, self.submissions_root, self.root / "code", self.wandb_root)
        return (*names, self.plots_directory, self.tables_directory, self.certificates_directory)

    # --- cells, packs, submissions --------------------------------------------------------------------------------

    def cell_directory(self, cell: Cell) -> Path:
        return self.results_root / cell.name

    def result_file(self, cell: Cell) -> Path:
        return self.cell_directory(cell) / "results.json"

    def history_file(self, cell: Cell) -> Path:
        return self.cell_directory(cell) / "history.csv"

    # By name and as text, for whoever goes through a hundred thousand of them.
    def result_path(self, name: str) -> str:
        return f"{self._results}/{name}/results.json"

    def history_path(self, name: str) -> str:
        return f"{self._results}/{name}/history.csv"

    def redone_result_file(self, cell: Cell, redo: int) -> Path:
        """The result that a redo has set aside; its history and weights have names that end alike."""
        return self.cell_directory(cell) / f"results.json.{redone_mark(redo)}"

    def weights_file(self, cell: Cell) -> Path:
        return self.cell_directory(cell) / "weights.safetensors"

    def conflict_file(self, cell: Cell) -> Path:
        return self.cell_directory(cell) / "conflict.json"

    def further_conflict_file(self, cell: Cell, outcome_digest: str) -> Path:
        """The record of an outcome beside two that differ already."""
        return self.cell_directory(cell) / f"conflict-{outcome_digest[:16]}.json"

    def conflict_files(self, cell: Cell) -> list[Path]:
        """The records of all outcomes that differ from the published one, the first one first."""
        directory = self.cell_directory(cell)
        names = [name for name in directories.entries(directory) if is_conflict(name)]
        return [directory / name for name in sorted(names, key=lambda name: (len(name), name))]

    def log_file(self, cell: Cell) -> Path:
        return self.cell_directory(cell) / "log.txt"

    def cell_config_file(self, cell: Cell) -> Path:
        return self.cell_directory(cell) / "config.json"

    def attempts_directory(self, cell: Cell) -> Path:
        return self.cell_directory(cell) / "attempts"

    def attempt_directory(self, cell: Cell, attempt: int) -> Path:
        return self.attempts_directory(cell) / f"{attempt:0{ATTEMPT_DIGITS}d}"

    def failure_file(self, cell: Cell, attempt: int) -> Path:
        return self.attempt_directory(cell, attempt) / "failure.json"

    def pointer_file(self, cell: Cell, attempt: int) -> Path:
        return self.attempt_directory(cell, attempt) / "pack.json"

    def pack_directory(self, pack_attempt: int) -> Path:
        return self.packs_root / f"{pack_attempt:0{PACK_DIGITS}d}"

    def pack_file(self, pack_attempt: int) -> Path:
        return self.pack_directory(pack_attempt) / "pack.json"

    def pack_log(self, pack_attempt: int) -> Path:
        return self.pack_directory(pack_attempt) / "log.txt"

    def progress_file(self, pack_attempt: int) -> Path:
        return self.pack_directory(pack_attempt) / "progress.json"

    def private_history(self, pack_attempt: int, cell: Cell) -> Path:
        return self.pack_directory(pack_attempt) / f"{cell.name}.history.csv"

    def private_weights(self, pack_attempt: int, cell: Cell) -> Path:
        return self.pack_directory(pack_attempt) / f"{cell.name}.weights.safetensors"

    def generation_file(self, pack_attempt: int, generation: int) -> Path:
        return self.pack_directory(pack_attempt) / f"checkpoint-{generation:0{GENERATION_DIGITS}d}"

    def generations(self, pack_attempt: int) -> list[Path]:
        """Checkpoint files of a pack attempt, newest first."""
        directory = self.pack_directory(pack_attempt)
        names = [n for n in directories.entries(directory) if n.startswith("checkpoint-") and "." not in n]
        return [directory / name for name in sorted(names, key=by_number, reverse=True)]

    def has_saved(self, pack_attempt: int) -> bool:
        """Whether a pack attempt has a checkpoint that nobody has set aside; later attempts that save remove it."""
        return bool(self.generations(pack_attempt))

    def has_lost(self, pack_attempt: int) -> bool:
        """Whether a checkpoint of a pack attempt was set aside because it was damaged."""
        names = directories.entries(self.pack_directory(pack_attempt))
        return any(name.startswith("checkpoint-") and "." in name for name in names)

    def submission_directory(self, number: int) -> Path:
        return self.submissions_root / f"{number:0{SUBMISSION_DIGITS}d}"

    def intent_file(self, submission: int) -> Path:
        return self.submission_directory(submission) / "intent.json"

    def receipt_file(self, submission: int) -> Path:
        return self.submission_directory(submission) / "receipt.json"

    def cancel_file(self, submission: int) -> Path:
        """A cancellation: it takes a number among the submissions, and concerns those with a lower one."""
        return self.submission_directory(submission) / "cancel.json"

    def redo_file(self, submission: int) -> Path:
        """A redo: it takes a number among the submissions, and what has a lower one trains its cells no more."""
        return self.submission_directory(submission) / "redo.json"

    def void_file(self, submission: int, array: int, unique: str) -> Path:
        """Says that tasks of an array are not to train any more; each is written once."""
        return self.submission_directory(submission) / f"void-{array}-{unique}.json"

    def void_files(self, submission: int) -> list[tuple[int, Path]]:
        """(array, file) of everything that declares tasks of a submission void. Raises OSError."""
        directory = self.submission_directory(submission)
        found = [(_VOID.fullmatch(name), directory / name) for name in sorted(directories.entries(directory))]
        return [(int(match[1]), path) for match, path in found if match]

    def tasks_file(self, submission: int, array: int) -> Path:
        return self.submission_directory(submission) / f"tasks-{array}.jsonl"

    def logs_directory(self, submission: int) -> Path:
        return self.submission_directory(submission) / "logs"

    def task_log(self, submission: int, array: int, index: int) -> Path:
        """What a task said before it had a pack attempt of its own."""
        return self.logs_directory(submission) / f"{array}_{index}.log"

    def array_script(self, submission: int, array: int) -> Path:
        """An array's script; sbatch alone can submit it."""
        folder = self.submission_directory(submission).relative_to(self.root)
        return self.private_root / folder / f"array-{array}.sbatch"

    def failed_starts(self) -> list[FailedStart]:
        """Every task that ended before it had a pack attempt, as task.sh leaves them, by submission."""
        return [
            FailedStart(submission, node, logs.tail(mark, _MARK_BYTES).strip(), mark.with_name(f"{task}.log"))
            for submission, mark, task, node in self._marks("failed")
        ]

    def refused_requeues(self) -> list[RefusedRequeue]:
        """Every task that stopped early and could not have itself requeued, as task.sh leaves them, by submission."""
        found = []
        for submission, mark, _, node in self._marks("refused"):
            said = logs.tail(mark, _MARK_BYTES).strip().splitlines()
            found.append(RefusedRequeue(submission, node, said[-1] if said else "no output"))
        return found

    def _marks(self, kind: str) -> Iterator[tuple[int, Path, str, str]]:
        """(submission, file, task, node) of each file among the logs that is called TASK.WORD.NODE.kind."""
        for submission in sorted(directories.numbers(self.submissions_root)):
            parent = self.logs_directory(submission)
            for name in directories.entries(parent):
                if name.endswith(f".{kind}"):
                    task, _, rest = name.removesuffix(f".{kind}").partition(".")
                    yield submission, parent / name, task, rest.partition(".")[2]

    @staticmethod
    def lock_owner_file(lock: Path, unique: str) -> Path:
        """Who holds a lock; it is written before the directory takes the lock's place."""
        return lock / f"owner-{unique}.json"

    @property
    def private_root(self) -> Path:
        """Below which lies what tasks run.

        Where a group may write, its members could put other code in the place of one's own, so each of them has it in
        a directory that is his.
        """
        if not is_shared(self.root):
            return self.root
        return user_state() / "shared" / hashlib.sha256(os.fsencode(self.root)).hexdigest()[:16]

    @property
    def code_root(self) -> Path:
        """Where the snapshots of the code lie."""
        return self.private_root / "code"

    def code_directory(self, digest: str) -> Path:
        return self.code_root / digest[:16]

    def wandb_segment_file(self, run: str) -> Path:
        """The offline file of the run with this id; wandb takes the folder's name for that of an offline run."""
        return self.wandb_root / f"offline-{run}" / f"run-{run}.wandb"

    def certificate_file(self, code_digest: str, device: str) -> Path:
        return self.certificates_directory / f"{code_digest[:16]}-{device}.json"
