"""Stopping costs no step, a kill at most what was trained since the last checkpoint."""

from __future__ import annotations

from pathlib import Path

from .attempts import ForkServer
from .waste import builtin, tiny

SEED = 20_264


def test_four_faults_cost_a_cell_less_than_a_tenth_of_its_steps(memory: Path, server: ForkServer) -> None:
    waste = tiny(memory, server, SEED, save=10)
    assert waste.lost("TERM") == [0, 0], waste
    assert len(waste.lost("KILL")) == 2
    assert max(waste.lost("KILL")) <= 10, waste
    assert waste.needed <= waste.done <= waste.needed / 0.9, waste


def test_a_checkpoint_comes_with_the_first_step_after_its_interval(memory: Path, server: ForkServer) -> None:
    waste = tiny(memory, server, SEED + 1, interval=0.1)
    assert waste.overdue == []
    assert waste.lost("TERM") == [0, 0], waste
    assert all(lost <= unsaved for lost, unsaved in zip(waste.lost("KILL"), waste.unsaved("KILL"), strict=True)), waste


def test_stopping_the_built_in_trainer_loses_no_step(memory: Path) -> None:
    waste = builtin(memory, SEED, interval=0.02, epochs=20)
    assert waste.lost("TERM") == [0, 0], waste
    assert len(waste.lost("KILL")) == 2
    assert all(lost <= unsaved for lost, unsaved in zip(waste.lost("KILL"), waste.unsaved("KILL"), strict=True)), waste
    assert waste.done == waste.needed + sum(waste.lost("KILL")), "every step is accounted for"
