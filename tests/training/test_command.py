"""A command is its whole process group: how it ends, and with what status."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from helpers.memory_run import MemoryRun
from helpers.memory_run import cell as a_cell
from helpers.waiting import PATIENCE, wait_until

from training import command, script
from training.command import end, run_command
from training.contract import Cell, Checkpoint

# Saves when it is asked to end, slowly.
SAVES = """
import pathlib, signal, sys, time
def save(*_):
    time.sleep(0.5)
    pathlib.Path("saved").touch()
    sys.exit()
signal.signal(signal.SIGTERM, save)
pathlib.Path("started").touch()
time.sleep(60)
"""
# Ignores it, and never ends.
STUBBORN = SAVES.replace("save(*_):", "save(*_):\n    return").replace("sleep(60)", "sleep(10**6)")


def started(directory: Path, code: str, line: str) -> subprocess.Popen[bytes]:
    (directory / "x.py").write_text(code)
    process = run_command(line.format(f"{sys.executable} x.py"), directory, os.environ)
    wait_until((directory / "started").exists, "the script's start")
    return process


@pytest.mark.parametrize("line", ["exec {}", "{} | cat", "set -e; {}; true"])
def test_a_script_has_time_to_save_even_if_its_shell_ends_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    monkeypatch.setattr(command, "_SAVE_SECONDS", PATIENCE)
    with started(tmp_path, SAVES, line) as process:
        end(process)
        assert (tmp_path / "saved").exists()


def test_a_script_that_does_not_end_is_killed_after_its_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "_SAVE_SECONDS", 0.5)
    with started(tmp_path, STUBBORN, "echo $$ > group; {} | cat") as process:
        begun = time.monotonic()
        end(process)
        assert time.monotonic() - begun > 0.4, "it has had time to save"
    group = (tmp_path / "group").read_text().strip()
    # By itself it would never end; one that was killed may have to wait for a processor to end on.
    wait_until(lambda: not running_in(group), "the end of the script")


def running_in(group: str) -> list[str]:
    running = subprocess.run(["ps", "-e", "-o", "pgid=,stat="], capture_output=True, text=True, check=True).stdout
    return [line for line in running.splitlines() if line.split()[0] == group and "Z" not in line]


def test_a_pipeline_fails_with_the_script_in_it(tmp_path: Path) -> None:
    with run_command("exit 3 | cat", tmp_path, os.environ) as process:
        assert process.wait() == 3


class Deaf(MemoryRun):
    """Hears that it is to stop a while after its program, which makes the file `gone` as it ends, or never."""

    gone: Path
    after: float | None
    failed = ""

    @property
    def stop(self) -> bool:
        return self.after is not None and self.gone.exists() and time.time() > self.gone.stat().st_mtime + self.after

    def restore(self, cell: Cell) -> Checkpoint | None:
        return self.saved.get(cell.name)

    def fail(self, cell: Cell, cause: str) -> None:
        self.failed = cause


ENDINGS = ["kill -TERM $$", "exit 1", "exit 143", "exit 0"]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("kind", ["script", "command"])
@pytest.mark.parametrize("after", [0.1, None])
def test_a_program_that_hears_of_a_stop_before_its_task_does_has_not_failed(
    tmp_path: Path, kind: str, ending: str, after: float | None
) -> None:
    """Slurm signals every process of a task, in whatever order."""
    run = Deaf({})
    run.gone, run.after = tmp_path / "gone", after
    # A script's own file counts after a kill if it tells that it is whole, as an archive does.
    writes = {"script": f"{sys.executable} -m zipfile -c state {__file__}", "command": "echo 7 > $HOLDFAST_STATE"}[kind]
    line = f"{writes}; touch {run.gone}; {ending}"
    one = a_cell()
    if kind == "script":
        options = {"command": line, "metrics": "metrics.json", "checkpoint": "state", "names": {"loss": "loss"}}
        script.train([one], options, run)
    else:
        command.train([one], {"command": line}, run)
    assert not run.finished
    assert bool(run.failed) == (after is None), run.failed
    if after is not None:
        begins = {"script": b"PK", "command": b"7\n"}[kind]
        assert bytes(run.saved[one.name].arrays["state"])[:2] == begins, "the next attempt goes on from there"


class StopsOnceLooked(MemoryRun):
    """Is to stop from the first time on that a checkpoint is asked for after the script made the file `wrote`."""

    wrote: Path
    stop = False

    def restore(self, cell: Cell) -> Checkpoint | None:
        return None

    def checkpoint_due(self) -> bool:
        self.stop = self.stop or self.wrote.exists()
        return True


def test_a_state_that_was_read_but_not_saved_yet_counts_where_its_script_ends_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "_SAVE_SECONDS", PATIENCE)
    run = StopsOnceLooked({})
    run.wrote = tmp_path / "wrote"
    line = f"trap 'exit 0' TERM; echo 7 > state; touch {run.wrote}; while :; do sleep 0.05; done"
    one = a_cell()
    script.train([one], {"command": line, "metrics": "m.json", "checkpoint": "state", "names": {"loss": "loss"}}, run)
    assert bytes(run.saved[one.name].arrays["state"]) == b"7\n"


@dataclass
class StopsOnceSaved(MemoryRun):
    """Is to stop once it was saved four times. epochs: at each save, those that were reported and those it names."""

    epochs: list[tuple[int, int]] = field(default_factory=list)

    @property
    def stop(self) -> bool:
        return len(self.epochs) >= 4

    def restore(self, cell: Cell) -> Checkpoint | None:
        return None

    def checkpoint_due(self) -> bool:
        return True

    def save(self, states: Mapping[Cell, Checkpoint]) -> frozenset[Cell]:
        reported = {name: len(rows) for name, rows in self.history.items()}
        self.epochs += [(reported.get(cell.name, 0), state.values["epochs"]) for cell, state in states.items()]
        return frozenset()


def test_a_script_of_short_epochs_is_saved_with_the_epochs_that_its_state_comes_after() -> None:
    """Else the resumed script would report epochs again that the cell has already, and fail."""
    run = StopsOnceSaved({})
    epoch = "i=$((i + 1)); echo $i,0.5 >> log.csv; echo $i > state; sleep 0.1"
    line = f"echo epoch,loss > log.csv; i=0; while :; do {epoch}; done"
    files = {"progress": "log.csv", "checkpoint": "state", "metrics": "m.json"}
    script.train([a_cell()], {"command": line, "names": {"loss": "loss"}} | files, run)
    assert run.epochs == [(named, named) for _, named in run.epochs]
    # A row comes before its state: the first save may name an epoch that only the third state comes after.
    assert run.epochs[-1] > run.epochs[0]


def test_a_script_that_is_stopped_before_its_task_hears_of_it_is_not_at_its_end_whatever_it_has_written(
    tmp_path: Path,
) -> None:
    run = Deaf({})
    run.gone, run.after = tmp_path / "gone", 0.05
    line = f"""echo '{{{{"loss": 1}}}}' > metrics.json; touch {run.gone}"""
    options = {"command": line, "metrics": "metrics.json", "names": {"loss": "loss"}}
    script.train([a_cell()], options, run)
    assert not run.finished
    assert not run.failed
    run.after = None
    script.train([a_cell()], options, run)
    assert run.finished
