"""What the files of a sweep directory say.

Where they are is known to hpc.storage.layout alone, of which a Store holds one. Reading never waits and never believes
a file that is not whole: results are JSON published by link and name their files, checkpoints carry a checksum.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from hpc.errors import SweepError, of_system, one_line
from hpc.files import directories, limits, opening, reading
from hpc.paths import is_of
from hpc.processes import host, start_time
from hpc.storage import documents, published
from hpc.storage.layout import Layout, is_conflict, redos_in, unusual
from hpc.storage.named_files import fault, lacks_named
from hpc.storage.results import foreign, precedes_redo, provenance_of, read_result
from hpc.storage.sweep_document import SweepDocument
from hpc.sweep.cell import Cell
from hpc.sweep.definition import Sweep
from hpc.sweep.states import CONFLICT, FAILED, MISSING, STARTED, CellStatus


class Store:
    """What a sweep directory says; it is read only. Constructing one touches nothing, but from then on no link is
    followed below the directory in this process.

    paths: where everything in it lies. authors: to whom sweep.json belonged each time that it was read, as user ids:
    its name may be another file's a moment later.

    >>> store = Store(Path("out"))
    >>> sweep = store.sweep()                                          # the newest revision of the plan
    >>> cell = sweep.grid[0]
    >>> [status.state for status in store.statuses(sweep.grid, sweep)]
    ['COMPLETED', 'STARTED']
    >>> store.result(cell)["metrics"]
    {'loss': 0.25}
    >>> store.paths.history_file(cell)                                 # where, whether it is there or not
    PosixPath('out/individual_results/width_1_run_0/history.csv')

    Writing is elsewhere: hpc.storage.revisions (sweep.json), claims (numbers), published (results and their files).
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.paths = Layout(root)
        opening.guard(root)
        self.authors: set[int] = set()

    # --- the plan -------------------------------------------------------------------------------------------------

    def exists(self) -> bool:
        return self.paths.sweep_file.name in directories.entries(f"{self.root}/")  # the directory itself may be a link

    def manifest(self) -> dict[str, Any]:
        """sweep.json as written. Raises SweepError."""
        if not self.exists():
            near = _sweeps_near(self.root)
            fix = f"did you mean {' or '.join(near)}?" if near else "check the path, or start one"
            raise SweepError(f"{self.root}: there is no sweep here (no sweep.json); {fix}")
        for folder in self.paths.folders:
            opening.refuse_link(folder)
        try:
            content, found = reading.read_with_stat(self.paths.sweep_file)
            self.authors.add(found.st_uid)
            data = documents.parsed(content, SweepDocument)
        except documents.MalformedError as error:
            raise SweepError(
                f"{self.paths.sweep_file}: not a sweep of Holdfast: {error}; restore it from a backup"
            ) from None
        return data  # type: ignore[no-any-return]

    def sweep(self, manifest: Mapping[str, Any] | None = None) -> Sweep:
        """The newest revision, with the tests of the first. manifest: what sweep.json said, if it was read already.

        Raises SweepError.
        """
        revisions = (self.manifest() if manifest is None else manifest)["revisions"]
        try:
            sweep = Sweep.from_json(revisions[-1] | {"analysis": revisions[0]["analysis"]})
            sweep = sweep.shown_as(revisions[-1]["analysis"])
        except (ValueError, KeyError, TypeError) as error:
            fault = one_line(f"{self.paths.sweep_file}: cannot be read by this version of Holdfast: {error}")
            raise SweepError(fault) from None
        if fault := limits.too_many(sweep.grid.most, limits.MOST_CELLS, "cells"):
            raise SweepError(f"{self.paths.sweep_file}: the grid has {fault}")
        if not sweep.grid.n_conditions:
            raise SweepError(f"{self.paths.sweep_file}: the grid has no condition; restore it from a backup")
        return sweep

    def queued_sweep(self, task_digest: str) -> Sweep | None:
        """The newest revision that has this digest, see Sweep.task_digest; None if none has. Raises SweepError."""
        revisions = self.manifest()["revisions"]
        found = (self.sweep({"revisions": revisions[:end]}) for end in range(len(revisions), 0, -1))
        return next((sweep for sweep in found if sweep.task_digest == task_digest), None)

    # --- what the files say ---------------------------------------------------------------------------------------

    def certificates(self) -> list[dict[str, Any]]:
        """All certificates that can be read, in the order of their names; reports may cite them."""
        found = []
        for name in sorted(directories.entries(self.paths.certificates_directory)):
            with contextlib.suppress(*documents.ABSENT):
                found.append(documents.read(self.paths.certificates_directory / name, dict[str, Any], limits.RESULT))
        return [entry for entry in found if entry.get("format") == 1]

    def present(self) -> set[str]:
        """Names of the cells that have a directory; one listing, however large the grid."""
        return set(directories.entries(self.paths.results_root))

    @property
    def is_extracted(self) -> bool:
        """Whether the sweep was made from runs of W&B, which anybody may have written. Raises SweepError."""
        return "wandb" in self.manifest()["revisions"][-1].get("provenance", {})

    def commits(self) -> dict[str, Any]:
        """Git commits of our code and of the trainer's that the newest revision was planned with, without the patches;
        what a submission runs is a snapshot, which is no checkout."""
        states = self.manifest()["revisions"][-1].get("provenance", {}).get("git")
        kept = ("commit", "modified")
        found = states.items() if isinstance(states, dict) else ()
        return {name: state and {key: state.get(key) for key in kept} for name, state in found}

    def result(self, cell: Cell) -> dict[str, Any] | None:
        """A cell's published result, or None. Raises SweepError if the file is there but is no result."""
        try:
            return read_result(self.paths.result_path(cell.name))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def has_result(self, name: str) -> bool:
        """Whether a result of the cell of this name is there, whatever it says, that no redo has set aside."""
        names = directories.entries(self.paths.results_root / name)
        if "results.json" not in names or not redos_in(names):
            return "results.json" in names
        try:
            return not precedes_redo(read_result(self.paths.result_path(name)), names)
        except FileNotFoundError:
            return False  # set aside this moment
        except (SweepError, *documents.ABSENT):
            return True  # damaged

    def redos(self, name: str) -> list[int]:
        """Numbers of the redos of the cell of this name, oldest first: see hpc.submission.redo."""
        return redos_in(directories.entries(self.paths.results_root / name))

    def redone_results(self, cell: Cell) -> list[tuple[int, dict[str, Any]]]:
        """(number of the redo, result) of each result that was set aside to be trained again, as far as readable."""
        found = []
        for redo in self.redos(cell.name):
            with contextlib.suppress(SweepError, *documents.ABSENT):
                found.append((redo, read_result(str(self.paths.redone_result_file(cell, redo)))))
        return found

    def attempts(self, cell: Cell) -> list[int]:
        """Numbers of a cell's attempts, oldest first."""
        return sorted(directories.numbers(self.paths.attempts_directory(cell)))

    def counting_attempts(self, cell: Cell) -> list[int]:
        """Those of a cell's attempts whose states and failures count: the ones since its last redo."""
        redos = self.redos(cell.name)
        attempts = self.attempts(cell)
        return [number for number in attempts if self.submission_of(cell, number) > redos[-1]] if redos else attempts

    def submission_of(self, cell: Cell, attempt: int) -> int:
        """The submission that an attempt at a cell belongs to; 0 where that cannot be read."""
        pack = self.pack_of(cell, attempt)
        return int(self.pack_record(pack).get("submission", 0)) if pack is not None else 0

    def pack_of(self, cell: Cell, attempt: int) -> int | None:
        """The pack attempt that a cell's attempt belongs to; None if the process died before it said so.

        Raises OSError where that cannot be found out.
        """
        pointer = documents.known(self.paths.pointer_file(cell, attempt), documents.PointerDocument)
        return int(pointer["pack"]) if pointer else None

    def cells_of(self, pack_attempt: int) -> list[str] | None:
        """Names of the cells of a pack attempt; None if its record is missing or damaged. Raises OSError."""
        cells: list[str] | None = self.pack_record(pack_attempt).get("cells")
        return cells

    def pack_record(self, pack_attempt: int) -> dict[str, Any]:
        """What a pack attempt wrote down at its start: cells, submission, node, process; empty if that is missing or
        damaged. Raises OSError.
        """
        return documents.known(self.paths.pack_file(pack_attempt), documents.PackDocument)

    def running_here(self) -> list[int]:
        """Pack attempts in this directory whose process still runs on this machine, whoever started it."""
        records = {number: self.pack_record(number) for number in directories.numbers(self.paths.packs_root)}
        return [number for number, record in records.items() if runs_here(record) and is_of(self.root, record)]

    def failure(self, cell: Cell, attempt: int) -> dict[str, Any] | None:
        """How an attempt at a cell failed, with a cause in any case; None if it did not. Raises OSError."""
        if "failure.json" not in directories.entries(self.paths.attempt_directory(cell, attempt)):
            return None
        try:
            data = documents.read(self.paths.failure_file(cell, attempt), documents.FailureDocument)
        except documents.ABSENT:
            return {"cause": "failed; its failure.json cannot be read"}
        # An error's message may hold a file's name that is no text, as Python holds it; no table could.
        return {**data, "cause": str(data.get("cause", "")).encode(errors="backslashreplace").decode()}

    def progress(self, pack_attempt: int) -> dict[str, Any]:
        """Epochs of a pack's cells as last reported: {name: [epoch, of]}; advisory."""
        return dict(self.progress_record(pack_attempt).get("cells", {}))

    def progress_record(self, pack_attempt: int) -> dict[str, Any]:
        """The whole report, with why the attempt ended early; empty if it is missing or damaged. Raises OSError."""
        return documents.known(self.paths.progress_file(pack_attempt), documents.ProgressDocument)

    def statuses(self, cells: Iterable[Cell], sweep: Sweep) -> Iterator[CellStatus]:
        """State of every cell, from files alone. A result of another configuration than the sweep's does not count."""
        return (status for status, _ in self.outcomes(cells, sweep))

    def stamps(self) -> dict[str, int]:
        """Time stamp of every cell's directory, ns; a new file in it changes the stamp."""
        try:
            with opening.folder(self.paths.results_root) as folder, os.scandir(folder) as found:
                return {
                    entry.name: entry.stat(follow_symlinks=False).st_mtime_ns
                    for entry in found
                    if not entry.name.startswith(".")
                }
        except FileNotFoundError:
            return {}

    def outcomes(
        self,
        cells: Iterable[Cell],
        sweep: Sweep,
        names: Iterable[str] | None = None,
        histories: dict[str, bytes] | None = None,
    ) -> Iterator[tuple[CellStatus, dict[str, Any] | None]]:
        """State of every cell and, where that is COMPLETED or DIVERGED, its result; each file is read once, twice those
        of a cell in CONFLICT: it may have been trained anew between the reading of its result and of its history.

        names: of the cells, from whoever has them already; making one takes a tenth of the time of a cell.
        histories: gets the history of each cell whose result names it, by the cell's name, to be taken out again before
        the next one: it was read to see whether it is the one.
        """
        present = self.present()
        root = str(self.paths.results_root)
        pairs = ((cell, cell.name) for cell in cells) if names is None else zip(cells, names, strict=True)
        with opening.folder(root) if present else contextlib.nullcontext(-1) as around:
            for cell, name in pairs:
                if name in present:
                    directory = f"{root}/{name}"
                    for _ in range(2):
                        history: list[bytes] | None = None if histories is None else []
                        with opening.HeldFolder(directory, around):
                            found = self._outcome(cell, name, directory, sweep, history)
                        if found[0].state != CONFLICT:
                            break
                    if histories is not None and history and found[1] is not None:
                        histories[name] = history[-1]
                    yield found
                else:
                    yield CellStatus(cell, MISSING), None

    def _outcome(
        self, cell: Cell, name: str, directory: str, sweep: Sweep, history: list[bytes] | None
    ) -> tuple[CellStatus, dict[str, Any] | None]:
        # Plain strings and one listing a cell: a sweep may have a hundred thousand of them.
        try:
            names = directories.entries(directory)
        except opening.RefusedFileError as error:
            return CellStatus(cell, CONFLICT, cause=of_system(error)), None
        marks = unusual(names)
        if any(map(is_conflict, marks)):
            return self._conflict(cell, "two attempts ended with different outcomes; see conflict.json")
        stranger = ""
        if "results.json" in names:
            try:
                result = read_result(f"{directory}/results.json")
            except FileNotFoundError:  # set aside since it was listed
                return self._unfinished(cell, ""), None
            except SweepError as error:
                return self._conflict(cell, str(error))
            except (IsADirectoryError, opening.RefusedFileError) as error:
                return self._conflict(cell, of_system(error))
            reason = foreign(result, cell, sweep, name)
            if marks and precedes_redo(result, marks):
                return self._unfinished(cell, ""), None  # the next attempt sets it aside
            if not reason:
                return self._believed(cell, directory, names, result, history)
            stranger = f"its results.json {reason}"
            if result["config_digest"] == sweep.config_digest:  # of another cell, or other settings of its levels
                return self._conflict(cell, f"{directory}/results.json {reason}; move it away")
        return self._unfinished(cell, stranger), None

    def _believed(
        self,
        cell: Cell,
        directory: str,
        names: Sequence[str],
        result: dict[str, Any],
        history: list[bytes] | None,
    ) -> tuple[CellStatus, dict[str, Any] | None]:
        """A whole result of this cell, if the files beside it are those that it names."""
        try:
            found = fault(directory, names, result, history=history)
            if found or lacks_named(names, result):
                # Its writer may have died between the result and these links; whoever looks makes them.
                published.repair(self.paths, cell, result)
                if history:
                    history.clear()
                found = found and fault(directory, directories.entries(directory), result, history=history)
        except opening.RefusedFileError as error:
            return self._conflict(cell, of_system(error))
        if found:
            way_out = "the next submission sets both aside and trains the cell again"
            return self._conflict(cell, f"{directory}: {found}; {way_out}")
        epochs = int(result["epochs"])
        attempts = provenance_of(result).get("attempts", 1)
        early = bool(result.get("stopped_early"))
        return CellStatus(cell, result["status"], attempts, epochs, epochs, stopped_early=early), result

    def _conflict(self, cell: Cell, cause: str) -> tuple[CellStatus, None]:
        return CellStatus(cell, CONFLICT, len(self.attempts(cell)), cause=cause), None

    def _unfinished(self, cell: Cell, cause: str) -> CellStatus:
        attempts = self.counting_attempts(cell)
        if not attempts:
            redos = self.redos(cell.name)
            redone = f"its result was set aside by redo {redos[-1]}; submit or run again" if redos else ""
            return CellStatus(cell, MISSING, len(self.attempts(cell)), cause=cause or redone)
        failure = self.failure(cell, attempts[-1])
        pack_attempt = self.pack_of(cell, attempts[-1])
        epoch, epochs = self._epochs(pack_attempt, cell)
        if failure:
            return CellStatus(cell, FAILED, len(attempts), epoch, epochs, str(failure["cause"]), pack_attempt)
        return CellStatus(cell, STARTED, len(attempts), epoch, epochs, cause, pack_attempt)

    def _epochs(self, pack_attempt: int | None, cell: Cell) -> tuple[int, int]:
        """(epoch, of) of a cell in its newest pack attempt; zeros where that is not known."""
        epoch, epochs = self.progress(pack_attempt).get(cell.name, (0, 0)) if pack_attempt is not None else (0, 0)
        return epoch, epochs


def runs_here(record: Mapping[str, Any]) -> bool:
    """Whether the process that wrote a pack attempt's record still runs, on this machine.

    By its start time too: ids are given out again. Elsewhere nobody can tell from files.
    """
    return record.get("host") == host() and start_time(int(record.get("pid", 0))) == record.get("began", -1)


def _sweeps_near(root: Path) -> list[str]:
    """Sweeps that a path probably means: the one that it lies in, or a few that lie in it. Only to be shown."""
    with contextlib.suppress(OSError):
        inside = sorted(islice(root.iterdir(), 1000)) if root.is_dir() else []
        found = [path for path in [*list(root.parents)[:3], *inside] if Layout(path).sweep_file.is_file()]
        return list(map(str, found[:3]))
    return []
