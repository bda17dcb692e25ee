"""The model finds every rule that is broken: otherwise its passing says nothing."""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from hpc.files import atomic, directories, opening
from hpc.trainers import git

from . import scripts
from .mutants import MUTANTS, Mutant, hunt
from .processes import Process, World
from .scripts import play
from .test_model import CELLS, Protocol

EVERY = [pytest.param(mutant, id=mutant.name) for mutant in MUTANTS]


@pytest.mark.parametrize("mutant", EVERY)
def test_a_script_of_the_model_leads_to_the_violation_where_the_rule_is_broken_and_to_none_otherwise(
    mutant: Mutant, monkeypatch: pytest.MonkeyPatch
) -> None:
    play(mutant.script, mutant.machine)
    mutant.apply(monkeypatch)
    with pytest.raises(AssertionError, match=mutant.says):
        play(mutant.script, mutant.machine)


def test_the_search_finds_a_broken_rule_by_itself_and_shortens_the_script() -> None:
    (mutant,) = (one for one in MUTANTS if one.name == "what lies beside a result is believed")
    found = hunt(mutant, schedules=400, seed=1, shrink_s=20)
    assert found is not None
    assert mutant.says in found.violation
    assert len(found.steps) < 8, found


# --- nothing happens past the model -----------------------------------------------------------------------------------


def test_every_kind_of_operation_of_a_task_passes_through_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: Counter[str] = Counter()
    real = Process.before_operation
    monkeypatch.setattr(Process, "before_operation", lambda process, name: (seen.update([name]), real(process, name)))
    _run_a_task()
    assert {"open", "listdir", "mkdir", "link", "replace", "unlink", "write", "fsync"} <= seen.keys()


def test_a_stale_listing_is_seen_through_every_way_in_which_our_code_lists(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    found: list[list[str]] = []

    def body(process: Process) -> None:
        process.lagging = True
        for _ in range(2):
            found.append([*opening.list_folder(tmp_path / "folder"), *directories.entries(tmp_path / "folder")])
            (tmp_path / "folder" / "new").touch()

    world = World(tmp_path / "elsewhere")
    world.start(body).finish()
    world.close()
    assert found == [[], []]


@pytest.mark.parametrize("module", [atomic, directories, opening], ids=["atomic", "directories", "opening"])
def test_a_module_that_reaches_the_disk_past_the_model_is_noticed(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real = World.__init__

    def begin(world: World, root: Path) -> None:
        real(world, root)
        world.patch(module, "os", os)

    monkeypatch.setattr(World, "__init__", begin)
    with pytest.raises(AssertionError, match="the model does not see"):
        _run_a_task()


def test_a_command_that_starts_a_program_of_its_own_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    real = World.patch

    def patch(world: World, owner: Any, name: str, value: Any) -> None:
        if owner is not git:
            real(world, owner, name, value)

    monkeypatch.setattr(World, "patch", patch)
    with pytest.raises(AssertionError, match=r"the model does not see subprocess\.Popen of git"):
        play(scripts.late_array_starts)


def test_a_seam_that_is_gone_is_an_error(tmp_path: Path) -> None:
    world = World(tmp_path)
    with pytest.raises(AttributeError, match="no_such_name"):
        world.patch(subprocess, "no_such_name", None)
    world.close()


def _run_a_task() -> None:
    machine = Protocol()
    try:
        machine.world.start(machine._task(CELLS, 1)).finish()
    finally:
        machine.teardown()
