"""Scripts as they are: started by a command line with placeholders, read by the files they write anyway.

For each cell the command runs in a new, empty directory, `{dir}`. Its metrics are read there when it has ended with
status 0, its epochs while it runs. Its checkpoint file is copied into the cell's checkpoints once it is whole, and is
put back, with the log of epochs, when the cell resumes. To stop a script, it and what it started get SIGTERM. So it is
where `stop_when` ends a cell early; the row of that epoch then has the final metrics, whatever was written after it.

Options, as hpc.config.script_section writes them: command, metrics, names, and, where the user gave them, progress,
checkpoint, resume, bundles (the settings that levels of a factor stand for). This module is itself a trainer that keeps
training/contract.py, less the literals: what a script varies and measures stands in the configuration.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from training.command import POLL_SECONDS, end, faults_as_causes, finish_early, run_command, stop_follows
from training.contract import Cell, Checkpoint, ContractError, Run
from training.last_words import LastWords
from training.placeholders import filled
from training.script_files import StateFile, is_archive, last_values, nearest, numbers_in, pick, rows
from training.script_log import EpochLog
from training.temporaries import temporary_directory

# How often files are looked at.
_LOOK_SECONDS = 0.5


def train(
    cells: Sequence[Cell],
    options: Mapping[str, Any],
    run: Run,
    *,
    script: Path | None = None,
    search: Sequence[Path] = (),
) -> None:
    """Run the command for each cell. script: the file that `{script}` stands for. search: where its imports lie."""
    for cell in cells:
        with temporary_directory() as directory, faults_as_causes(cell, run):
            _Script(cell, options, run, directory, script, search).run()
        if run.stop:
            return


class _Script:
    """One cell's script while it runs."""

    def __init__(
        self,
        cell: Cell,
        options: Mapping[str, Any],
        run: Run,
        directory: Path,
        script: Path | None,
        search: Sequence[Path],
    ) -> None:
        self._cell = cell
        self._options = options
        self._run = run
        self._directory = directory
        self._script = script
        self._search = search
        self._names: dict[str, str] = dict(options["names"])
        self._metrics = directory / options["metrics"]
        log = directory / options["progress"] if "progress" in options else None
        self._log = EpochLog(log, self._names, self._left_out) if log else None
        self._state = StateFile(directory / options["checkpoint"]) if "checkpoint" in options else None
        self._epochs = 0
        self._last_epoch: float | None = None
        self._saves = 0
        self._looked_at = 0.0
        self._joint: list[float] = []  # the last epoch before a resume, and the first two after it
        self._finished = False
        self._dropped = False
        self._early: Mapping[str, float] | None = None
        self._noted = False
        self._said = LastWords()

    def run(self) -> None:
        """Run the script to its end, or to a stop that is asked for, and report what it wrote."""
        resumed = self._restore()
        process = run_command(self._line(resumed), self._directory, self._environment())
        with process:
            try:
                self._watch(process)
            finally:
                end(process)
        self._conclude(process.returncode)

    def _line(self, resumed: bool) -> str:
        values = {name: str(value) for name, value in self._cell.factors.items()}
        for factor, levels in self._options.get("bundles", {}).items():
            values |= {name: str(value) for name, value in levels[self._cell.factors[factor]].items()}
        values |= {"seed": str(self._cell.seed), "dir": str(self._directory), "name": self._cell.name}
        values |= {"run_id": str(self._cell.run_id), "device": self._run.device, "threads": str(self._run.threads)}
        values |= {
            "script": str(self._script),
            "code": str(self._script.parent) if self._script else "",
            "checkpoint": str(self._directory / self._options.get("checkpoint", "")),
        }
        if data := self._run.config.get("data", {}).get("dir"):
            values["data"] = str(data)
        words = filled(self._options.get("resume", ""), values) if resumed else ""
        return filled(self._options["command"], values | {"resume": words})

    def _environment(self) -> dict[str, str]:
        # `python` is the Python that runs this task; our own module path would hide a user's package of such a name.
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"PATH": path}
        search = os.pathsep.join(map(str, self._search))
        return environment | ({"PYTHONPATH": search} if search else {})

    def _restore(self) -> bool:
        """Put back what was saved. Returns whether there was a checkpoint."""
        saved = self._run.restore(self._cell)
        if saved is None or self._state is None:
            return False
        self._epochs, self._last_epoch = saved.values["epochs"], saved.values["last_epoch"]
        self._joint = [self._last_epoch or 0.0]
        self._saves = saved.step
        self._state.put(saved.arrays["state"].tobytes())
        if self._log is not None and "log" in saved.arrays:
            self._log.put(saved.arrays["log"].tobytes())
        return True

    @property
    def _is_over(self) -> bool:
        """Whether the script is to end, whatever it has still to do."""
        return self._run.stop or self._early is not None or self._dropped

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        """Report epochs and save checkpoints until the script ends, or is asked to."""
        pending: Checkpoint | None = None
        while process.poll() is None and not self._is_over:
            time.sleep(POLL_SECONDS)
            if time.monotonic() - self._looked_at >= _LOOK_SECONDS:
                pending = self._look(process.pid, pending)
                self._looked_at = time.monotonic()
        before = self._before_the_end(process, pending)
        end(process)
        # One that ends with 0 when it is asked to stop has not come to its own end.
        self._finished = process.returncode == 0 and not self._dropped and not stop_follows(self._run, failed=False)
        # A state at the very end: a task that dies before the result is published need not train again.
        if self._finished and not (self._state and self._run.checkpoint_due()):
            return
        self._report_epochs()
        if self._state is not None:
            ended_well = process.returncode == 0
            self._save(self._checkpoint(self._state.take(ended_well, stopped=not self._finished)) or before)

    def _look(self, process: int, pending: Checkpoint | None) -> Checkpoint | None:
        """Report epochs, save what was read at the look before, and read what is to be saved at the next one.

        A signal that kills the script may reach it before the stop is heard here: what was read is whole only if the
        script still runs then. And many a script writes an epoch's row after its checkpoint.
        """
        self._report_epochs()
        self._save(pending)
        if self._state is None or self._is_over:
            return None
        self._state.look(process)
        return self._checkpoint(self._state.take()) if self._run.checkpoint_due() else None

    def _before_the_end(self, process: subprocess.Popen[bytes], pending: Checkpoint | None) -> Checkpoint | None:
        """The newest whole state before the script is asked to end: what it writes then may be cut off."""
        if self._state is None:
            return None
        # What was read counts even so if it is known to be whole; else the file may have what is.
        kept = pending if pending and is_archive(pending.arrays["state"][:2].tobytes()) else None
        if pending and not kept:
            self._state.give_back()
        running = process.poll() is None
        return (self._checkpoint(self._state.take(stopped=True)) if running else None) or kept

    def _report_epochs(self, ended: bool = False) -> None:
        if self._log is None or self._early is not None or self._dropped:
            return
        try:
            found = self._log.look(ended)
        except ValueError as error:
            self._note(str(error))
            return
        if self._state is not None and found and not self._log.counts:
            # Rows alone do not tell which epoch a resumed script goes on from.
            raise ContractError(
                f"{self._cell.name}: {self._options['progress']} has no column epoch; progress needs one, since the "
                "script resumes from its checkpoint: write it, or leave out progress"
            )
        for key, metrics in found:
            if self._last_epoch is None or key > self._last_epoch:
                self._note_lost_rows(key)
                self._epochs, self._last_epoch = self._epochs + 1, key
                self._run.epoch(self._cell, self._epochs, 0, metrics)
                if self._run.stopped_early(self._cell):
                    self._early = metrics
                    return

    def _note_lost_rows(self, key: float) -> None:
        """Say so where a resumed script's rows do not join those before: they can no longer be read anywhere.

        key: of the next epoch. Of a script that does not count every epoch nothing is known.
        """
        if not self._joint or len(self._joint) > 2:
            return
        self._joint.append(key)
        if len(self._joint) > 2 and self._joint[0] + 1 < self._joint[1] == self._joint[2] - 1:
            self._say(
                f"lacks rows before epoch {self._joint[1]:g}, with which the script resumed: they were not written "
                "when it was stopped, and history.csv lacks these epochs; write each row, and flush it, before the "
                "checkpoint that comes after it"
            )

    def _left_out(self, why: str) -> None:
        self._note(f"{why}; that row is left out")

    def _note(self, why: str) -> None:
        """Say once what the log of epochs lacks: it is not worth the training."""
        if not self._noted:
            self._say(why)
        self._noted = True

    def _say(self, why: str) -> None:
        print(f"note: {self._cell.name}: progress: {self._options['progress']} {why}", file=sys.stderr, flush=True)

    def _save(self, checkpoint: Checkpoint | None) -> None:
        """Save what was read, with the epochs reported until now: those that come after it will be reported again."""
        if checkpoint is None or self._early is not None or self._dropped:
            return
        now = replace(checkpoint, values={"epochs": self._epochs, "last_epoch": self._last_epoch})
        self._dropped = self._cell in self._run.save({self._cell: now})

    def _checkpoint(self, content: bytes | None) -> Checkpoint | None:
        """The script's state, once read, with its log of epochs."""
        if content is None:
            return None
        self._report_epochs()  # the rows of all epochs before it: a resumed script may begin its log anew
        self._saves += 1
        arrays = {"state": np.frombuffer(content, dtype=np.uint8)}
        if self._log is not None and self._log.content:
            arrays["log"] = np.frombuffer(self._log.content, dtype=np.uint8)
        return Checkpoint(self._saves, arrays)

    def _conclude(self, status: int) -> None:
        if self._dropped:
            return
        if self._finished:
            self._report_epochs(ended=True)
        if self._early is not None:
            finish_early(self._cell, self._run, self._early, self._options["progress"])
        elif self._finished:
            if self._log is not None and not self._epochs:
                columns = ", ".join(dict.fromkeys([*self._names.values(), *self._names]))
                self._note(f"has no epochs with {columns}" if self._log.path.is_file() else "is not there")
            self._finish(self._measured())
        elif not stop_follows(self._run, failed=True):
            self._run.fail(self._cell, f"the script ended with {_as_words(status)}{self._said}; see show --log")

    def _measured(self) -> dict[str, float]:
        """The final metrics. Raises ContractError if the file is not there or lacks one that no epoch reported."""
        file = self._options["metrics"]
        if not self._metrics.is_file():
            there = sorted(path.name for path in self._directory.iterdir())
            raise ContractError(
                f"the script ended with status 0 and left no {file} in {{dir}}, where there is "
                f"{', '.join(there[:5]) or 'nothing'}; correct trainer.metrics, or give the script {{dir}}"
            )
        try:
            values = last_values(rows(self._metrics))
            found = pick(values, self._names)
        except ValueError as error:
            raise ContractError(f"{file} {error}") from None
        if not found:
            raise ContractError(self._lacking(values, list(self._names)))
        return found

    def _finish(self, measured: dict[str, float]) -> None:
        try:
            self._run.finish(self._cell, measured)
        except ContractError as error:
            absent = [name for name in self._names if name not in measured]
            if not absent:
                raise
            values = last_values(rows(self._metrics))
            raise ContractError(f"{error}; {self._lacking(values, absent)}") from None

    def _lacking(self, values: Mapping[str, Any], absent: Sequence[str]) -> str:
        """What the file of metrics has in place of those that are absent, and how to name it."""
        there = numbers_in(values) or list(values)
        columns = {name: self._names[name] for name in absent}
        near = {name: path for name, column in columns.items() if (path := nearest(column, there))}
        such = f", such as {{{', '.join(f'{name}: {{from: {path}}}' for name, path in near.items())}}}" if near else ""
        first = list(dict.fromkeys([*near.values(), *there]))[:8]
        return (
            f"{self._options['metrics']} has {', '.join(first) or 'no values'}, and none of "
            f"{', '.join(columns.values())}; name its columns by `from` in trainer.measures{such}"
        )


def _as_words(status: int) -> str:
    # A shell reports a signal that ended its child as 128 and more; sys.exit(-1) is 255.
    number = -status if status < 0 else status - 128 if 128 < status <= 128 + 64 else 0
    return f"signal {number}" if number else f"status {status}"
