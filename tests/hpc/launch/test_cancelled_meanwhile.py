"""A cancellation that comes while a command takes its look: it concerns that command, whatever it has seen of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpc.cli import app
from hpc.files import atomic
from hpc.launch import local, look, slurm
from hpc.launch.look import Look
from hpc.launch.options import SubmitOptions
from hpc.launch.request import Request
from hpc.protocol import CommandExit
from hpc.slurm.profile import Profile
from hpc.storage.store import Store
from hpc.submission import cancels, intents
from hpc.submission.lock import SUBMIT, lock
from hpc.sweep.cell import Cell

WORDS = {
    "run": ["run"],
    "submit here": ["submit", "--profile", "local"],
    "debug": ["run", "--cell", "width_1_run_0", "--debug"],
}


def before_the_look(monkeypatch: pytest.MonkeyPatch, event: Callable[[Store], Any]) -> None:
    """Something that happens after a local command has taken the lock, and right before it looks at the queues."""
    real = local.look.take_here

    def take_here(request: Request, *arguments: Any) -> Look:
        event(request.store)
        return real(request, *arguments)

    monkeypatch.setattr(local.look, "take_here", take_here)


@pytest.mark.parametrize("words", WORDS.values(), ids=WORDS)
def test_a_local_command_trains_nothing_that_is_cancelled_before_it_looks(
    store: Store, cells: list[Cell], words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before_the_look(monkeypatch, lambda store: cancels.cancel(store, {cell.name for cell in cells}))
    assert app.main([*words[:1], str(store.root), *words[1:]]) == CommandExit.INCOMPLETE
    assert not store.present()


def test_the_cells_that_are_left_are_trained(
    store: Store, cells: list[Cell], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before_the_look(monkeypatch, lambda store: cancels.cancel(store, {cells[1].name}))
    assert app.main(["run", str(store.root)]) == CommandExit.INCOMPLETE
    assert store.present() == {cell.name for cell in cells if cell != cells[1]}
    assert "4 cells: 0 done, 1 cancelled, 3 to run" in capsys.readouterr().err


def test_a_cancellation_before_the_command_concerns_it_not(store: Store, cells: list[Cell]) -> None:
    cancels.cancel(store, {cell.name for cell in cells})
    assert app.main(["run", str(store.root)]) == CommandExit.DONE
    assert len(store.present()) == len(cells)


# --- on a cluster -----------------------------------------------------------------------------------------------------

CONFIG = """ClusterName = home
SlurmctldHost[0] = ctl
SlurmctldPort = 6817
MaxArraySize = 1001
MaxJobCount = 10000
PrivateData = none"""


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What is called of Slurm's commands, a line per call, with an empty queue."""
    log = tmp_path / "asked"
    answers = {"sbatch": "echo 7", "scontrol": f"echo '{CONFIG}'", "squeue": "true", "scancel": "true"}
    (tmp_path / "bin").mkdir()
    for command, answer in answers.items():
        path = tmp_path / "bin" / command
        path.write_text(f'#!/bin/sh\necho {command} "$@" >> {log}\n{answer}\n')
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    return log


@pytest.mark.parametrize("cancelled", [False, True])
def test_a_cancellation_that_a_round_of_a_waiting_submission_has_seen_half_made_is_heard(
    store: Store, cells: list[Cell], asked: Path, cancelled: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """`cancel` has taken its number, but not written its record yet, when the round looks at the queues."""
    request, profile = Request(store, store.sweep()), Profile("p", {"partition": "low"})
    since = intents.newest(store)
    with lock(store, SUBMIT) as held:
        request.record(held)
        half_made = cancels.new_submission(store)
        seen = look.take(request, since)
        assert seen.queues.newest == half_made
        if cancelled:
            record = json.dumps({"by": "a user", "cells": sorted(cell.name for cell in cells)})
            atomic.publish(store.paths.cancel_file(half_made), record.encode())
        slurm.submit_once(request, SubmitOptions(), profile, None, seen, held)
    queued = [line for line in asked.read_text().splitlines() if line.startswith("sbatch")]
    assert bool(queued) is not cancelled
    assert ("cancelled by a user" in capsys.readouterr().err) is cancelled
