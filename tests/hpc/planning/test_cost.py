"""What a plan costs: from finished cells, from a pilot, or honestly unknown."""

from __future__ import annotations

import re

import pytest
from helpers.command_line import parsed

from hpc.planning.cost import device_seconds, estimate
from hpc.planning.plan import Plan, make_plan
from hpc.sweep.grid import Axis, Grid
from hpc.sweep.states import MISSING, CellStatus


def plan_of(cells: int, pack: int = 1) -> Plan:
    grid = Grid((Axis("width", tuple(range(1, cells + 1))),), (42,))
    return make_plan([CellStatus(cell, MISSING) for cell in grid], pack_size=pack)


def test_equal_cells_give_an_exact_price() -> None:
    cost = estimate(plan_of(10), 1.68, [{"seconds": 360.0, "pack_size": 1}] * 4)
    assert (cost.low, cost.hours, cost.high) == (pytest.approx(1.0), pytest.approx(1.0), pytest.approx(1.0))


def test_a_cell_of_a_pack_costs_its_share() -> None:
    cost = estimate(plan_of(10), 1.68, [{"seconds": 720.0, "pack_size": 2}] * 2)
    assert cost.hours == pytest.approx(1.0)


def test_few_uneven_cells_give_a_wide_interval() -> None:
    few = estimate(plan_of(10), 1.68, [{"seconds": s} for s in (100.0, 300.0)])
    many = estimate(plan_of(10), 1.68, [{"seconds": s} for s in (100.0, 300.0) * 20])
    assert few.hours == pytest.approx(many.hours)
    assert few.low == 0.0
    assert few.high - few.low > 3 * (many.high - many.low)


def test_without_any_measurement_it_says_how_to_get_one() -> None:
    cost = estimate(plan_of(10), 1.68, [])
    assert cost.hours is None
    (command,) = re.findall("`holdfast (.*)`", str(cost))
    assert parsed(command).params["pilot"]
    assert "--profile local " in command  # as a plan without --profile counts with the pilot of this machine


def test_cells_that_were_trained_one_after_another_each_took_their_own_time() -> None:
    provenance = {"seconds": 60.0, "pack_size": 5}
    assert (device_seconds(provenance, together=True), device_seconds(provenance, together=False)) == (12.0, 60.0)
