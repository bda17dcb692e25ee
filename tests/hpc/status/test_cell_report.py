"""What `show` says of a cell whose files hold less than ours do, and what no answer to `cancel` means."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from helpers import small_sweeps

from hpc.cli import cancel
from hpc.cli.app import main
from hpc.slurm.answers import QueuedTask
from hpc.slurm.commands import Slurm
from hpc.status import cell
from hpc.storage.store import Store
from hpc.submission.live import LiveTask, Queues
from hpc.sweep.cell import Cell


@pytest.mark.parametrize("provenance", [{}, None, {"node": "n1"}])
def test_a_result_that_does_not_say_where_it_is_from_is_shown(store: Store, cells: list[Cell], provenance: Any) -> None:
    small_sweeps.run_here(store, cells[:1])
    path = store.paths.result_file(cells[0])
    path.write_text(json.dumps(json.loads(path.read_text()) | {"provenance": provenance}))
    text = cell.text(store, cells[0].name)
    assert text.startswith(f"{cells[0].name}: COMPLETED\n")
    assert "  loss " in text
    assert "trained" not in text


@pytest.mark.parametrize("failure", ['{"node": "n1"}', "{}", "[]", "garbage"])
def test_a_failure_that_does_not_say_why_is_a_failure_all_the_same(
    store: Store, cells: list[Cell], failure: str
) -> None:
    small_sweeps.run_here(store, cells[:1])
    store.paths.result_file(cells[0]).unlink()
    store.paths.failure_file(cells[0], 1).write_text(failure)
    assert cell.facts(store, cells[0].name)["state"] == "FAILED"
    assert cell.text(store, cells[0].name).startswith(f"{cells[0].name}: FAILED\n")


def test_the_epoch_of_a_cell_is_shown_also_where_nobody_knows_how_many_there_will_be(
    store: Store, cells: list[Cell]
) -> None:
    small_sweeps.run_here(store, cells[:1])
    store.paths.result_file(cells[0]).unlink()
    store.paths.progress_file(1).write_text(json.dumps({"cells": {cells[0].name: [3, 0]}, "at": 0}))
    assert f"seed {cells[0].seed}, epoch 3, 1 attempt\n" in cell.text(store, cells[0].name)


def test_a_cell_may_be_named_by_its_directory(
    store: Store, cells: list[Cell], capsys: pytest.CaptureFixture[str]
) -> None:
    small_sweeps.run_here(store, cells[:1])
    assert main(["show", str(store.paths.cell_directory(cells[0]))]) == 0
    assert capsys.readouterr().out.startswith(f"{cells[0].name}: COMPLETED")
    assert main(["show", str(store.paths.root)]) == 2
    assert "show takes the name of one cell, or --failed alone" in capsys.readouterr().err


def test_the_end_of_the_input_cancels_nothing(
    store: Store, cells: list[Cell], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    task = LiveTask(QueuedTask("a", "12", 0, "PENDING", "", "", "", 0, 1, 0), 1, (cells[0].name,))
    monkeypatch.setattr(cancel, "queues", lambda store: Queues((task,)))
    monkeypatch.setattr(Slurm, "cancel", lambda *tasks: pytest.fail("cancelled"))
    monkeypatch.setattr(sys, "stdin", _Terminal())
    assert main(["cancel", str(store.paths.root)]) == 2
    assert capsys.readouterr().err == "nothing cancelled\n"


class _Terminal:
    """A terminal on which a person types Ctrl-D."""

    encoding, errors = "utf-8", "strict"

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        raise OSError

    def readline(self) -> str:
        return ""
