from __future__ import annotations

import json
import random
from collections.abc import Sequence

import pytest
from helpers.small_sweeps import make_grid
from hypothesis import given
from hypothesis import strategies as st

from hpc.planning.plan import make_plan
from hpc.status.lines import table
from hpc.sweep.states import CellStatus

STATES = ["COMPLETED", "DIVERGED", "FAILED", "CONFLICT", "STARTED", "MISSING"]


def statuses(states: Sequence[str]) -> list[CellStatus]:
    grid = make_grid(range(1, len(states) + 1), (42,))
    return [CellStatus(cell, state) for cell, state in zip(grid, states, strict=True)]


@given(
    st.lists(st.sampled_from(STATES), max_size=40),
    st.sets(st.integers(0, 39)),
    st.integers(1, 9),
    st.booleans(),
    st.none() | st.integers(1, 7),
    st.none() | st.integers(0, 9),
)
def test_every_cell_that_is_wanted_is_planned_exactly_once_and_no_other(
    states: list[str], live: set[int], pack: int, include_failed: bool, largest: int | None, room: int | None
) -> None:
    entries = statuses(states)
    queued = {entries[i].cell.name for i in live if i < len(entries)}
    plan = make_plan(
        entries, queued=queued, pack_size=pack, include_failed=include_failed, largest_array=largest, room=room
    )
    runnable = {"STARTED", "MISSING"} | ({"FAILED"} if include_failed else set())
    wanted = [e.cell for e in entries if e.state in runnable and e.cell.name not in queued]
    planned = [cell for task in plan.tasks for cell in task]
    assert planned == wanted[: len(planned)]
    assert len(planned) + plan.deferred == len(wanted)
    assert plan.deferred == 0 or room is not None
    assert all(1 <= len(task) <= pack for task in plan.tasks)
    assert [task for array in plan.arrays() for task in array] == list(plan.tasks)
    assert all(1 <= size <= (largest or 10**9) for size in plan.array_sizes)
    assert plan.total == len(entries) == sum(plan.counts.values())


@given(st.lists(st.sampled_from(STATES), min_size=1, max_size=40))
def test_counts_are_those_of_the_states(states: list[str]) -> None:
    plan = make_plan(statuses(states))
    assert plan.counts == {state: states.count(state) for state in STATES if state in states}
    assert json.loads(json.dumps(plan.to_json()))["states"] == plan.counts


@pytest.mark.parametrize(
    ("tasks", "largest", "sizes"),
    [(0, 5, ()), (3, None, (3,)), (3, 5, (3,)), (5, 5, (5,)), (6, 5, (5, 1)), (1000, 400, (400, 400, 200))],
)
def test_arrays_are_as_large_as_the_cluster_allows(tasks: int, largest: int | None, sizes: tuple[int, ...]) -> None:
    assert make_plan(statuses(["MISSING"] * tasks), largest_array=largest).array_sizes == sizes


@pytest.mark.parametrize(
    ("states", "options", "text"),
    [
        (["MISSING"] * 4, {}, "4 cells: 0 done, 4 to run as 4 tasks"),
        (["MISSING"] * 5, {"pack_size": 2}, "5 cells: 0 done, 5 to run as 3 tasks of up to 2"),
        (["MISSING"], {}, "1 cell: 0 done, 1 to run as 1 task"),
        (["COMPLETED", "DIVERGED"], {}, "2 cells: 2 done, nothing to run"),
        (["COMPLETED", "MISSING", "MISSING"], {"largest_array": 1}, "3 cells: 1 done, 2 to run as 2 tasks, 2 arrays"),
        (["FAILED"], {}, "1 cell: 0 done, 1 failed (skipped; --include-failed takes them along), nothing to run"),
        (["FAILED"], {"include_failed": True}, "1 cell: 0 done, 1 to run as 1 task"),
        (["CONFLICT"], {"include_failed": True}, "1 cell: 0 done, 1 in conflict, nothing to run"),
        (["MISSING", "STARTED"], {"queued": {"width_1_run_0"}}, "2 cells: 0 done, 1 queued, 1 to run as 1 task"),
    ],
)
def test_a_plan_says_in_one_line_what_would_run(states: list[str], options: dict, text: str) -> None:
    assert str(make_plan(statuses(states), **options)) == text


def test_cells_whose_cancelled_tasks_still_run_are_not_told_as_queued() -> None:
    entries = statuses(["COMPLETED", "STARTED", "STARTED", "STARTED"])
    names = {entry.cell.name for entry in entries}
    stopping = {entries[1].cell.name, entries[2].cell.name}
    plan = make_plan(entries, queued=names, stopping=stopping)
    told = "1 done, 1 queued, 2 still being cancelled (submit again in a moment), nothing to run"
    assert str(plan) == f"4 cells: {told}"
    assert (plan.queued, plan.to_json()["queued"]) == (3, 3)
    assert "queued" not in str(make_plan(entries[1:3], queued=stopping, stopping=stopping))


def test_a_queued_cell_that_failed_before_is_not_queued_twice() -> None:
    plan = make_plan(statuses(["FAILED"]), queued={"width_1_run_0"}, include_failed=True)
    assert (plan.tasks, plan.queued, plan.skipped_failed) == ((), 1, 0)


def test_a_hundred_thousand_cells_are_planned_in_order() -> None:
    states = random.Random(0).choices(STATES, k=100_000)
    plan = make_plan(statuses(states), pack_size=7, largest_array=1000)
    assert plan.n_cells == states.count("MISSING") + states.count("STARTED")
    assert max(plan.array_sizes) == 1000


def test_the_table_counts_each_state_by_the_first_factor() -> None:
    grid = make_grid((8, 16), (42, 43))
    entries = [
        CellStatus(cell, state) for cell, state in zip(grid, ["COMPLETED", "FAILED", "MISSING", "MISSING"], strict=True)
    ]
    header, first, second = table(grid.axes, entries).splitlines()
    assert header.split() == ["COMPLETED", "MISSING", "FAILED"]
    assert first.split() == ["width", "8", "1", ".", "1"]
    assert second.split() == ["width", "16", ".", "2", "."]


# --- cells that ask for different things ------------------------------------------------------------------------------


@given(
    st.lists(st.sampled_from([*STATES, "MISSING", "MISSING"]), min_size=1, max_size=40),
    st.lists(st.integers(0, 2), min_size=40, max_size=40),
    st.integers(1, 5),
    st.none() | st.integers(1, 4),
    st.none() | st.integers(0, 9),
)
def test_cells_with_different_resources_share_no_task_and_no_array(
    states: list[str], sizes: list[int], pack: int, largest: int | None, room: int | None
) -> None:
    entries = statuses(states)
    asked = {entry.cell: (("mem_gb", size),) if size else () for entry, size in zip(entries, sizes, strict=False)}
    plan = make_plan(entries, pack_size=pack, largest_array=largest, room=room, resources=asked.__getitem__)
    while plan is not None:
        for of_array, tasks in zip(plan.resources, plan.arrays(), strict=True):
            assert {asked[cell] for task in tasks for cell in task} == {of_array}
        planned = [cell for task in plan.tasks for cell in task]
        runnable = [entry.cell for entry in entries if entry.state in ("MISSING", "STARTED")]
        assert len(planned) + plan.deferred == len(runnable)
        assert set(planned) <= set(runnable)
        assert len(set(planned)) == len(planned)
        assert sum(len(tasks) for tasks in plan.by_resources().values()) == len(plan.tasks)
        plan = plan.half_of_first_array() if plan.tasks else None


def test_each_kind_of_cells_fills_its_own_packs() -> None:
    entries = statuses(["MISSING"] * 6)
    plan = make_plan(
        entries, pack_size=2, resources=lambda cell: (("mem_gb", 64),) if dict(cell.point)["width"] in (2, 5, 6) else ()
    )
    widths = [[[dict(cell.point)["width"] for cell in task] for task in tasks] for tasks in plan.arrays()]
    assert widths == [[[1, 3], [4]], [[2, 5], [6]]]
    assert plan.to_json()["resources"] == [{}, {"mem_gb": 64}]
