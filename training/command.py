"""Shell commands as trainers: any language, their own process and imports, the same crash safety.

For each cell the command runs in a new, empty directory, with its seed and factors in the environment:

    HOLDFAST_SEED      the seed, a whole number
    HOLDFAST_FACTOR_X  the value of factor X, one variable for each factor

and with these variables set to paths in that directory:

    HOLDFAST_CELL      a JSON file to read: name, factors, seed, run_id, options
    HOLDFAST_EPOCHS    a file to append to, one JSON object per line and finished epoch:
                       {"epoch": 1, "of": 50, "metrics": {"error": 0.25}}
    HOLDFAST_STATE     the command's own checkpoint, one file of any content. It exists if there is a state to resume.
                       Write a new state under another name and rename it into place, after the lines of its epochs.
    HOLDFAST_RESULT    a JSON file to write at the end: {"metrics": {...}}, and "diverged": true or "best_epoch"

To stop the command, its process group gets SIGTERM: write HOLDFAST_STATE and end. Epochs that a resumed command
reports again are ignored. Where `stop_when` ends a cell early, the command is stopped so, and the metrics of that epoch
are the final ones, whatever it wrote meanwhile. This module is itself a trainer that keeps training/contract.py.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from training.contract import Cell, Checkpoint, ContractError, Run
from training.last_words import LastWords
from training.temporaries import temporary_directory

# Empty: a command's declaration stands in the configuration, under `trainer`.
FACTORS: dict[str, Any] = {}
METRICS: dict[str, Any] = {}
PACK_MODE = "sequential"

# How late an epoch or the end of the command may be noticed.
POLL_SECONDS = 0.05
# Whoever ends a task signals all of its processes, and a program may be gone before this process has heard of it. How
# long that is waited for where a program failed, and where it says that it came to its end.
_FAILED_SECONDS, _ENDED_SECONDS = 2.0, 0.2
# Less than the 30 s between SIGTERM and SIGKILL in Slurm (KillWait, by default), and less than a worker whose parent
# is gone may take (hpc/node/stop.py), so that the state can be saved.
_SAVE_SECONDS = 20.0


def train(cells: Sequence[Cell], options: Mapping[str, Any], run: Run) -> None:
    """Run ``options["command"]`` for each cell, which finds the other options in HOLDFAST_CELL."""
    for cell in cells:
        with temporary_directory() as directory, faults_as_causes(cell, run):
            _Command(cell, options, run, directory).run()
        if run.stop:
            return


@contextmanager
def faults_as_causes(cell: Cell, run: Run) -> Iterator[None]:
    """What is wrong with a program's files is why its cell fails: a traceback would show nothing but our own code."""
    try:
        yield
    except ContractError as error:
        if stop_follows(run, failed=True):  # the files of a program that was cut off say nothing of the cell
            raise
        run.fail(cell, str(error))


def stop_follows(run: Run, failed: bool) -> bool:
    """Whether this task is asked to stop, too, now that a program has ended: then it was no end of its own."""
    deadline = time.monotonic() + (_FAILED_SECONDS if failed else _ENDED_SECONDS)
    late = False
    while not (stop := run.stop) and not late:
        time.sleep(POLL_SECONDS)
        late = time.monotonic() >= deadline  # before the last question: this process may stand still meanwhile
    return stop


class _Command:
    """One cell's command while it runs."""

    def __init__(self, cell: Cell, options: Mapping[str, Any], run: Run, directory: Path) -> None:
        self._cell = cell
        self._run = run
        self._directory = directory
        self._epochs = 0
        self._read = 0
        self._written: tuple[int, int] | None = None  # which state was saved last
        self._said = LastWords()
        self._early: Mapping[str, Any] | None = None
        self._dropped = False
        self._result = directory / "result.json"
        self._command = str(options["command"])
        self._options = {key: value for key, value in options.items() if key != "command"}

    def run(self) -> None:
        """Run the command to its end, or to a stop that is asked for, and report what it wrote."""
        self._prepare()
        with run_command(self._command, self._directory, self._environment()) as process:
            try:
                self._watch(process)
            finally:
                end(process)
        if not self._dropped:
            # What was written between the last look and the end.
            self._report_epochs()
            self._conclude(process.returncode)

    def _environment(self) -> dict[str, str]:
        # Our own module path would hide a user's package with the name of one of ours.
        inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        return inherited | self._variables()

    def _variables(self) -> dict[str, str]:
        names = {"CELL": "cell.json", "EPOCHS": "epochs.jsonl", "STATE": "state", "RESULT": "result.json"}
        factors = {f"HOLDFAST_FACTOR_{name}": str(value) for name, value in self._cell.factors.items()}
        paths = {f"HOLDFAST_{name}": str(self._directory / file) for name, file in names.items()}
        return {**paths, **factors, "HOLDFAST_SEED": str(self._cell.seed)}

    def _prepare(self) -> None:
        cell = self._cell
        about = {"name": cell.name, "factors": dict(cell.factors), "seed": cell.seed, "run_id": cell.run_id}
        (self._directory / "cell.json").write_text(json.dumps(about | {"options": self._options}))
        saved = self._run.restore(cell)
        if saved is not None:
            self._epochs = saved.values["epochs"]
            (self._directory / "state").write_bytes(saved.arrays["state"].tobytes())
            found = (self._directory / "state").stat()
            self._written = (found.st_ino, found.st_mtime_ns)

    @property
    def _is_over(self) -> bool:
        """Whether the command is to end, whatever it has still to do."""
        return self._run.stop or self._early is not None or self._dropped

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        """Report epochs and save states until the command ends, or is asked to."""
        while process.poll() is None and not self._is_over:
            time.sleep(POLL_SECONDS)
            self._report_epochs()
            if self._run.checkpoint_due():
                self._save()
        running = process.poll() is None
        if running:
            end(process)
        # Without a result, it may have heard of a stop before its task does, and have saved.
        if running or process.returncode or not self._result.exists() or self._run.checkpoint_due():
            self._save()

    def _report_epochs(self) -> None:
        """Report epochs up to the one after which the cell ends early, however many the command has written since."""
        for entry in self._new_lines():
            if entry["epoch"] > self._epochs and self._early is None:
                self._check_follows(entry["epoch"])
                self._run.epoch(self._cell, entry["epoch"], entry.get("of", 0), entry["metrics"])
                self._epochs = entry["epoch"]
                self._early = entry["metrics"] if self._run.stopped_early(self._cell) else None

    def _check_follows(self, epoch: int) -> None:
        if epoch > self._epochs + 1:
            raise ContractError(
                f"{self._cell.name}: HOLDFAST_EPOCHS has epoch {epoch} after epoch {self._epochs}; write a line for "
                "each epoch, and flush it, before the state that comes after it"
            )

    def _new_lines(self) -> Iterator[dict[str, Any]]:
        """Complete lines written since the last look."""
        path = self._directory / "epochs.jsonl"
        if not path.exists():
            return
        with path.open("rb") as file:
            file.seek(self._read)
            for line in file:
                # The command may be writing this line: it is read from its beginning at the next look.
                if not line.endswith(b"\n"):
                    return
                self._read += len(line)
                try:
                    entry = json.loads(line)
                    yield {"epoch": int(entry["epoch"]), "of": int(entry.get("of", 0)), "metrics": entry["metrics"]}
                except (ValueError, KeyError, TypeError):
                    text = line.decode(errors="replace").strip()
                    raise ContractError(f"{self._cell.name}: HOLDFAST_EPOCHS has the line {text!r}") from None

    def _save(self) -> None:
        """Save the command's newest state, if it has written one since the last time, and its cell is not over."""
        path = self._directory / "state"
        if self._dropped:
            return
        try:
            # Before the content: a state renamed into place in between is saved again, never missed.
            found = path.stat()
            if (written := (found.st_ino, found.st_mtime_ns)) == self._written:
                return
            state = np.frombuffer(path.read_bytes(), dtype=np.uint8)
        except FileNotFoundError:  # not there yet, or just being replaced
            return
        self._written = written
        # Only now the epochs, all of those before it. Those that come after it are repeated by a resumed command.
        self._report_epochs()
        if self._early is None:
            checkpoint = Checkpoint(self._epochs, {"state": state}, {"epochs": self._epochs})
            self._dropped = self._cell in self._run.save({self._cell: checkpoint})

    def _conclude(self, status: int | None) -> None:
        if self._early is not None:
            finish_early(self._cell, self._run, self._early, "$HOLDFAST_EPOCHS")
        elif self._result.exists() and status == 0:
            result = _result(self._result)
            best, diverged = result.get("best_epoch"), bool(result.get("diverged"))
            self._run.finish(self._cell, result["metrics"], best_epoch=best, diverged=diverged)
        elif not stop_follows(self._run, failed=True):
            ended = f"the command ended with status {status} and left nothing in $HOLDFAST_RESULT{self._said}"
            self._run.fail(self._cell, f"{ended}; see show --log")


def finish_early(cell: Cell, run: Run, measured: Mapping[str, Any], log: str) -> None:
    """Publish a cell that `stop_when` ends with what its last epoch reported: its program never came to its end.

    log: where its epochs are. Raises ContractError for a metric that is not in them.
    """
    try:
        run.finish(cell, measured)
    except ContractError as error:
        fix = f"write it to {log} with every epoch, declare it 'optional', or leave out stop_when"
        raise ContractError(f"{error}; stop_when ended the program before it wrote final metrics: {fix}") from None


def _result(path: Path) -> dict[str, Any]:
    """What a command left at its end. Raises ContractError if it is not as documented above."""
    try:
        found = json.loads(path.read_text(errors="replace"))
    except ValueError:
        found = None
    if not isinstance(found, dict) or not isinstance(found.get("metrics"), dict):
        has = f"the keys {', '.join(map(str, found))}" if isinstance(found, dict) else "no JSON object"
        fix = 'write {"metrics": {"NAME": number}} with the names declared under trainer.metrics'
        raise ContractError(f"$HOLDFAST_RESULT has {has}; {fix}")
    return found


def run_command(command: str, directory: Path, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a shell command in a directory, as the leader of a process group of its own.

    A pipeline fails if one of its commands does: `python train.py | tee log` ends with the status of train.py.
    """
    words = ["bash", "-o", "pipefail", "-c", command]
    return subprocess.Popen(words, cwd=directory, env=environment, stdin=subprocess.DEVNULL, start_new_session=True)


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask the command and everything it started to end, then kill it. The shell may be gone before what it started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if not _runs(process):
            return
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        deadline = time.monotonic() + _SAVE_SECONDS
        while _runs(process) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)


def _runs(process: subprocess.Popen[bytes]) -> bool:
    """Whether the command or another process of its group runs; one that nobody has waited for does not."""
    if process.poll() is None:
        return True
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, group = path.read_text(errors="replace").rpartition(")")[2].split()[:3]
            if int(group) == process.pid and state not in "ZX":
                return True
    return False
