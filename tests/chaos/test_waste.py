"""Stopping costs no step, a kill at most what was trained since the last checkpoint."""

from __future__ import annotations

from pathlib import Path

from .attempts import ForkServer
from .waste import builtin, tiny

SEED = 20_264


def test_four_faults_cost_a_cell_less_than_a_tenth_of_its_steps(memory: Path, server: ForkServer) -> None:
    waste = tiny(memory, server, SEED)
    assert waste.lost("TERM") == [0, 0], waste
    assert len(waste.lost("KILL")) == 2
    assert max(waste.wasted("KILL")) < 1.0, waste  # the interval is 0.1 s; saving takes its time on a busy machine
    assert waste.needed <= waste.done <= waste.needed / 0.9, waste


def test_stopping_the_built_in_trainer_loses_no_step(memory: Path) -> None:
    waste = builtin(memory, SEED, seconds=4.0, interval=0.2)
    assert waste.lost("TERM") == [0, 0], waste
    assert waste.done == waste.needed + sum(waste.lost("KILL")), "every step is accounted for"
