"""A script writes rows, checkpoints and metrics in an order of its own: where it is stopped, its history is whole."""

from __future__ import annotations

import copy
import sys
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from helpers.memory_run import MemoryRun
from helpers.memory_run import cell as a_cell
from helpers.waiting import PATIENCE, wait_until

from hpc.sweep.stopping import StopRule
from training import command, script
from training.contract import Cell, Checkpoint, ContractError
from training.script_log import EpochLog

CELL = a_cell()


@dataclass
class Attempts(MemoryRun):
    """Keeps a cell's history with its states, as a sweep does, over attempts.

    when_due: called each time that a script might be saved, before its files are read for that. when_asked: called each
    time that the attempt is asked whether it is to stop. stop_after: saves until it is.
    """

    when_due: Callable[[], None] | None = None
    when_asked: Callable[[], None] | None = None
    stop_after: int = 1
    kept: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    failed: str = ""
    asked_to_stop: bool = False

    @property
    def stop(self) -> bool:
        if self.when_asked:
            self.when_asked()
        return self.asked_to_stop or self.saves >= self.stop_after

    def checkpoint_due(self) -> bool:
        if self.when_due:
            self.when_due()
        return True

    def restore(self, cell: Cell) -> Checkpoint | None:
        self.history[cell.name] = copy.deepcopy(self.kept.get(cell.name, []))
        return self.saved.get(cell.name)

    def save(self, checkpoints: Mapping[Cell, Checkpoint]) -> frozenset[Cell]:
        self.kept = copy.deepcopy(self.history)
        return super().save(checkpoints)

    def epoch(self, cell: Cell, epoch: int, of: int, metrics: Mapping[str, float]) -> None:
        if cell.name in self.taken and self.saves:
            raise ContractError(f"{cell.name}: this cell has ended")
        super().epoch(cell, epoch, of, metrics)

    def fail(self, cell: Cell, cause: str) -> None:
        self.failed = cause

    def log(self) -> bytes:
        return bytes(self.saved[CELL.name].arrays["log"])

    def losses(self) -> list[float]:
        return [row["loss"] for row in self.history[CELL.name]]


def train(run: Attempts, directory: Path, first: str, then: str = "", before: str = "", **options: Any) -> None:
    """One attempt at a script. Python code, `first` without a checkpoint and `then` with one.

    before: shell commands that come first. The code knows `row(text)`, `state(number)`, `wait(until)` and `place`, a
    directory of the test's.
    """
    text = f"""
import pathlib, sys, time, zipfile
place = pathlib.Path({str(directory)!r})
def row(text):
    with open("log.csv", "a") as file:
        file.write(text)
def state(number):
    with zipfile.ZipFile("new", "w") as file:
        file.writestr("number", str(number))
    pathlib.Path("new").rename("state")
def wait(until="never"):
    while not (place / until).exists():
        time.sleep(0.01)
(place / "begun").write_text(str(pathlib.Path.cwd()))
(place / "begun").rename(place / "where")
if pathlib.Path("state").exists():
{indented(then)}
else:
{indented(first)}
pathlib.Path("metrics.json").write_text('{{"loss": 7}}')
"""
    (directory / "train.py").write_text(text)
    line = f"{sys.executable} {directory / 'train.py'}"
    files = {"metrics": "metrics.json", "progress": "log.csv", "checkpoint": "state"}
    script.train([CELL], {"command": f"{before}{line}", "names": {"loss": "loss"}} | files | options, run)


def indented(code: str) -> str:
    return "".join(f"    {line}\n" for line in (code or "pass").splitlines())


def its(directory: Path, name: str) -> Path:
    """A file of the script that trains now, which is nowhere before the script has begun."""
    where = directory / "where"
    return Path(where.read_text()) / name if where.exists() else where


def write_archive(path: Path, number: int) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("number", str(number))


def test_a_row_between_a_look_and_the_checkpoint_is_kept_though_the_resumed_script_begins_its_log_anew(
    tmp_path: Path,
) -> None:
    run = Attempts({})
    again = iter([True])

    def write_both() -> None:
        """What the script might do, too, right after the look at its log."""
        log = its(tmp_path, "log.csv")
        if log.exists() and log.read_bytes().endswith(b"1,0.1\n") and next(again, False):
            with log.open("a") as file:
                file.write("2,0.2\n")
            write_archive(its(tmp_path, "state"), 2)

    run.when_due = write_both
    train(run, tmp_path, "row('epoch,loss\\n1,0.1\\n')\nwait()")
    assert run.saves
    run.when_due, run.stop_after = None, 99
    train(run, tmp_path, "", "row('epoch,loss\\n3,0.3\\n')", "rm log.csv; ")
    assert not run.failed
    assert run.losses() == [0.1, 0.2, 0.3]


def test_an_epoch_that_was_not_whole_at_the_stop_is_kept_though_the_resumed_script_begins_its_log_anew(
    tmp_path: Path,
) -> None:
    """Its row lacks what only the end measures: it counts once the next one is there."""
    run = Attempts({})
    names = {"loss": "loss", "test": "test"}
    train(run, tmp_path, "row('epoch,loss\\n1,0.1\\n2,0.2\\n')\nstate(2)\nwait()", names=names)
    assert run.losses() == [0.1]
    run.stop_after = 99
    train(run, tmp_path, "", "row('epoch,loss\\n3,0.3\\n')", "rm log.csv; ", names=names)
    assert run.losses() == [0.1, 0.2, 0.3]


def test_the_row_of_an_epoch_may_come_right_after_its_checkpoint(tmp_path: Path) -> None:
    """As in Lightning: a task that is killed meanwhile must not lose it."""
    run = Attempts({})

    def let_on() -> None:
        if its(tmp_path, "state").exists():
            (tmp_path / "row").touch()

    def row_is_there() -> None:
        if (tmp_path / "row").exists() and not run.saves:
            wait_until(lambda: its(tmp_path, "log.csv").read_bytes().endswith(b"2,0.2\n"), "the row")

    run.when_due, run.when_asked = let_on, row_is_there
    train(run, tmp_path, "row('epoch,loss\\n1,0.1\\n')\nstate(2)\nwait('row')\nrow('2,0.2\\n')\nwait()")
    run.when_due, run.when_asked, run.stop_after = None, None, 99
    train(run, tmp_path, "", "row('3,0.3\\n')")
    assert run.losses() == [0.1, 0.2, 0.3]


@pytest.mark.parametrize(
    ("more", "losses"),
    [
        ("4,0.1\\n5,0.2\\n", [0.5, 0.4, 0.1, 0.2]),
        ("\\n4,0.1\\n5,0.2", [0.5, 0.4, 0.3, 0.1, 0.2]),
        ("\\n4,0.1\\n5,0.2\\n", [0.5, 0.4, 0.3, 0.1, 0.2]),
    ],
)
def test_a_row_that_was_cut_off_at_the_stop_is_not_joined_with_the_next_one(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], more: str, losses: list[float]
) -> None:
    """Of a log that is held back in a buffer, any part of a row may be in the file. Some write the line's end first."""
    run = Attempts({})
    train(run, tmp_path, "row('epoch,loss\\n1,0.5\\n2,0.4\\n3,0.3')\nstate(3)\nwait()")
    run.stop_after = 99
    train(run, tmp_path, "", f"row('{more}')")
    assert not run.failed
    assert run.losses() == losses
    assert ("log.csv lacks rows before epoch 4" in capfd.readouterr().err) == (len(losses) < 5)


@pytest.mark.parametrize(("rows", "lost"), [("8,0.8\\n9,0.9\\n", True), ("10,0.8\\n20,0.9\\n", False)])
def test_rows_that_are_lost_between_two_attempts_are_named_if_the_script_counts_every_epoch(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], rows: str, lost: bool
) -> None:
    run = Attempts({})
    train(run, tmp_path, "state(7)\nwait()")
    run.stop_after = 99
    train(run, tmp_path, "", f"row('epoch,loss\\n{rows}')")
    assert run.losses() == [0.8, 0.9]
    assert capfd.readouterr().err.count("lacks rows before epoch 8, with which the script resumed") == lost


def test_what_a_script_writes_when_it_is_asked_to_end_is_no_part_of_the_state_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its log is saved as it was with the state; the rows after that are reported, and ignored when repeated."""
    monkeypatch.setattr(command, "_SAVE_SECONDS", PATIENCE)
    run = Attempts({})

    def stop() -> None:
        run.asked_to_stop = its(tmp_path, "state").exists()

    run.when_due = stop
    handler = "lambda *_: (row('2,0.2\\n3,0.3\\n'), open('state', 'w').write('half'), sys.exit(1))"
    code = f"import signal\nsignal.signal(signal.SIGTERM, {handler})\nrow('epoch,loss\\n1,0.1\\n')\nstate(1)\nwait()"
    run.stop_after = 99
    train(run, tmp_path, code)
    assert run.saved[CELL.name].values == {"epochs": 3, "last_epoch": 3.0}
    assert run.log() == b"epoch,loss\n1,0.1\n"
    run.asked_to_stop, run.when_due = False, None
    train(run, tmp_path, "", "row('2,0.2\\n3,0.3\\n4,0.4\\n')")
    assert run.losses() == [0.1, 0.2, 0.3, 0.4]


def test_an_archive_that_was_read_is_saved_though_the_script_is_killed_in_the_middle_of_the_next_one(
    tmp_path: Path,
) -> None:
    run = Attempts({}, stop_after=99)
    read: list[bool] = []

    def note() -> None:
        if its(tmp_path, "state").exists():
            read.append(True)

    run.when_due, run.when_asked = note, lambda: (tmp_path / "read").touch() if read else None
    train(run, tmp_path, "state(1)\nwait('read')\nopen('state', 'w').close()\nsys.exit(1)")
    assert "ended with status 1" in run.failed
    assert bytes(run.saved[CELL.name].arrays["state"]).startswith(b"PK")


def test_a_cell_that_its_last_rows_end_early_is_not_saved_beyond_its_end(tmp_path: Path) -> None:
    """Resumed, its script would report epochs that stop_when does not allow."""
    run = Attempts({}, stop_rule=StopRule("loss", 1, 0.0, "lower"), stop_after=99)
    train(run, tmp_path, "row('epoch,loss\\n1,0.1\\n2,0.2\\n3,0.3\\n')\nstate(3)")
    assert not run.saved
    assert run.finished[CELL.name].metrics == {"loss": 0.2}


def test_what_comes_before_the_first_epoch_in_a_log_is_no_epoch(tmp_path: Path) -> None:
    """Such as the settings, in JSON lines: whether a look finds them alone must not fail a cell."""
    run = Attempts({}, stop_after=99)
    again = iter(range(3))
    run.when_due = lambda: (tmp_path / "go").touch() if next(again, 9) == 2 else None
    text = """f = open("log.jsonl", "w", buffering=1)
f.write('{"width": 8}\\\\n')
wait("go")
f.write('{"epoch": 1, "loss": 0.5}\\\\n')"""
    train(run, tmp_path, text.replace("\\\\", "\\"), progress="log.jsonl")
    assert not run.failed
    assert run.losses() == [0.5]


@pytest.mark.parametrize("kind", ["script", "command"])
def test_a_cell_that_a_newer_attempt_has_taken_is_trained_no_further_and_nothing_is_said_of_it(
    tmp_path: Path, kind: str
) -> None:
    run = Attempts({}, taken={CELL.name}, stop_after=99)
    if kind == "script":
        rows = "row(f'{i},{i}\\n'); state(i); time.sleep(0.1)"
        train(run, tmp_path, f"row('epoch,loss\\n')\nfor i in range(1, 10**6):\n    {rows}")
    else:
        line = """i=0; while :; do i=$((i + 1)); echo '{"epoch": '$i', "metrics": {"loss": 1}}' >> $HOLDFAST_EPOCHS
        echo $i > s; mv s $HOLDFAST_STATE; sleep 0.1; done"""
        command.train([CELL], {"command": line}, run)
    assert (run.saves, run.finished, run.failed) == (1, {}, "")


def test_a_commands_state_is_saved_with_the_epochs_before_it(tmp_path: Path) -> None:
    """Else the resumed command would report an epoch that does not come after the last one, and fail."""
    run = Attempts({})
    again = iter([True])

    def write_both() -> None:
        if (tmp_path / "where").exists() and next(again, False):
            where = Path((tmp_path / "where").read_text().strip())
            with (where / "epochs.jsonl").open("a") as file:
                file.write('{"epoch": 1, "metrics": {"loss": 0.1}}\n')
            (where / "state").write_text("1")

    run.when_due = write_both
    command.train([CELL], {"command": f"pwd > w; mv w {tmp_path}/where; sleep 1000"}, run)
    assert (run.saved[CELL.name].values, run.losses()) == ({"epochs": 1}, [0.1])


@pytest.mark.parametrize(
    ("name", "whole", "torn"),
    [
        ("a.csv", "epoch,loss\n1,0.5\n2,0.25\n", ""),
        ("a.csv", "epoch,loss\n1,0.5\n2,0.25\n", "epoch,loss\n1,0."),
        ("a.json", '{"epoch": [1, 2], "loss": [0.5, 0.25]}', ""),
        ("a.json", '{"epoch": [1, 2], "loss": [0.5, 0.25]}', '{"epoch": [1, 2, 3], "loss": [0.5'),
    ],
)
def test_a_log_that_is_being_written_anew_is_not_kept(tmp_path: Path, name: str, whole: str, torn: str) -> None:
    """A script that goes on from it would not find a table there."""
    path = tmp_path / name
    log = EpochLog(path, {"loss": "loss"}, print)
    path.write_text(whole)
    assert log.look()
    path.write_text(torn)
    assert log.look() == []
    assert log.content == whole.encode()


def test_a_log_that_is_begun_anew_is_kept_from_its_first_new_row_on(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    log = EpochLog(path, {"loss": "loss"}, print)
    log.put(b"epoch,loss\n1,0.5\n2,0.25\n")
    path.write_text("epoch,loss\n")
    assert log.look() == []
    assert log.content == b"epoch,loss\n1,0.5\n2,0.25\n"
    path.write_text("epoch,loss\n3,0.1\n4,0.")
    assert log.look() == [(1.0, {"loss": 0.5}), (2.0, {"loss": 0.25}), (3.0, {"loss": 0.1})]
    assert log.content == b"epoch,loss\n3,0.1\n4,0."
    path.write_text("epoch,loss\n3,0.1\n4,0.05\n")
    assert log.look()[-1] == (4.0, {"loss": 0.05})


def test_a_log_that_is_just_being_replaced_is_read_at_the_next_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.csv"
    path.write_text("epoch,loss\n1,0.5\n2,0.25\n")
    log = EpochLog(path, {"loss": "loss"}, print)
    read = Path.read_bytes

    def too_late(file: Path) -> bytes:
        file.unlink()
        return read(file)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", too_late)
        assert log.look() == []
    path.write_text("epoch,loss\n1,0.5\n2,0.25\n")
    assert log.look() == [(1.0, {"loss": 0.5}), (2.0, {"loss": 0.25})]


def test_a_commands_epoch_without_the_one_before_it_is_refused_with_the_fix(tmp_path: Path) -> None:
    """It renamed its state into place before the line of its epoch, and was killed between both."""
    run = Attempts({}, stop_after=99)
    command.train([CELL], {"command": """echo '{"epoch": 2, "metrics": {"loss": 1}}' > $HOLDFAST_EPOCHS"""}, run)
    assert "HOLDFAST_EPOCHS has epoch 2 after epoch 0; write a line for each epoch, and flush it, before" in run.failed
