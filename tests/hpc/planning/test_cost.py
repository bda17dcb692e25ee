"""What a plan costs: from finished cells, from a pilot, or honestly unknown."""

from __future__ import annotations

import re

import pytest
from helpers.command_line import parsed

from hpc.planning.cost import device_seconds, estimate
from hpc.planning.plan import Plan, make_plan
from hpc.slurm.profile import Profile
from hpc.sweep.grid import Axis, Grid
from hpc.sweep.states import MISSING, CellStatus


def plan_of(cells: int, pack: int = 1) -> Plan:
    grid = Grid((Axis("width", tuple(range(1, cells + 1))),), (42,))
    return make_plan([CellStatus(cell, MISSING) for cell in grid], pack_size=pack)


def test_equal_cells_give_an_exact_price() -> None:
    cost = estimate(plan_of(10), 1.68, {(): [{"seconds": 360.0, "pack_size": 1}] * 4})
    assert (cost.low, cost.hours, cost.high) == (pytest.approx(1.0), pytest.approx(1.0), pytest.approx(1.0))


def test_a_cell_of_a_pack_costs_its_share() -> None:
    cost = estimate(plan_of(10), 1.68, {(): [{"seconds": 720.0, "pack_size": 2}] * 2})
    assert cost.hours == pytest.approx(1.0)


def test_few_uneven_cells_give_a_wide_interval() -> None:
    few = estimate(plan_of(10), 1.68, {(): [{"seconds": s} for s in (100.0, 300.0)]})
    many = estimate(plan_of(10), 1.68, {(): [{"seconds": s} for s in (100.0, 300.0) * 20]})
    assert few.hours == pytest.approx(many.hours)
    assert few.low == 0.0
    assert few.high - few.low > 3 * (many.high - many.low)


def test_without_any_measurement_it_says_how_to_get_one() -> None:
    cost = estimate(plan_of(10), 1.68, {(): []})
    assert cost.hours is None
    (command,) = re.findall("`holdfast (.*)`", str(cost))
    assert parsed(command).params["pilot"]
    assert "--profile local " in command  # as a plan without --profile counts with the pilot of this machine


def test_cells_that_were_trained_one_after_another_each_took_their_own_time() -> None:
    provenance = {"seconds": 60.0, "pack_size": 5}
    assert (device_seconds(provenance, together=True), device_seconds(provenance, together=False)) == (12.0, 60.0)


# --- cells that ask for different things ------------------------------------------------------------------------------

LARGE = (("mem_gb", 64), ("timeout_min", 600))
PROFILE = Profile("lab", {"mem_gb": 16, "timeout_min": 60, "partition": "gpu"})


def unequal(large: int) -> Plan:
    """A plan of ten cells, of which so many ask for more."""
    grid = Grid((Axis("width", tuple(range(1, 11))),), (42,))
    return make_plan(
        [CellStatus(cell, MISSING) for cell in grid],
        resources=lambda cell: LARGE if cell.factors["width"] > 10 - large else (),
    )


def test_large_cells_are_estimated_from_large_ones() -> None:
    finished = {(): [{"seconds": 360.0}] * 3, LARGE: [{"seconds": 7200.0}] * 2}
    cost = estimate(unequal(4), None, finished, profile=PROFILE)
    assert cost.hours == pytest.approx(6 * 0.1 + 4 * 2)
    assert [(dict(s.asked), s.arrays, s.tasks, s.cells, s.spent.hours) for s in cost.shares] == [
        ({"mem_gb": 16, "timeout_min": 60, "partition": "gpu"}, 1, 6, 6, pytest.approx(0.6)),
        ({"mem_gb": 64, "timeout_min": 600, "partition": "gpu"}, 1, 4, 4, pytest.approx(8)),
    ]
    assert "  4 tasks with mem_gb 64, timeout_min 600, partition gpu: about 8 h" in str(cost)
    assert cost.source == "of core time, in all"


def test_small_cells_say_nothing_of_large_ones() -> None:
    cost = estimate(unequal(4), None, {(): [{"seconds": 360.0}] * 3}, profile=PROFILE)
    assert cost.hours is None
    assert cost.source == "cost not known yet of 4 of 10 cells"
    assert "  6 tasks with mem_gb 16, timeout_min 60, partition gpu: about " in str(cost)
    assert "  4 tasks with mem_gb 64, timeout_min 600, partition gpu: cost not known yet\n" in str(cost)


def test_equal_cells_have_no_shares() -> None:
    assert estimate(unequal(0), None, {}, profile=PROFILE).shares == ()
