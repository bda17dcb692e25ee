"""Designs beyond the full product: which conditions they have, by a slow and plain reading of their rules."""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hpc.config.grid_section import grow, make_grid
from hpc.config.schema.sweep import SweepSection
from hpc.errors import ConfigError
from hpc.faults import Faults
from hpc.sweep.cell import Cell, digest
from hpc.sweep.crossing import ABSENT, Crossings
from hpc.sweep.definition import DeclaredTrainer
from hpc.sweep.design import Tie
from hpc.sweep.grid import Axis, Grid, Rules
from hpc.sweep.resources import Matching, ResourceRule, clash, matches_none, ordered

KINDS = {"a": "integer", "b": "real", "c": "word"}
POOLS: dict[str, list[Any]] = {"a": [1, 2, 3, 4, 5], "b": [0.1, 0.5, 1.0, 2.0], "c": ["u", "v", "w", "x"]}
TRAINER = DeclaredTrainer("t.py:train", "", {name: {"kind": kind} for name, kind in KINDS.items()}, {})


@st.composite
def sections(draw: st.DrawFn) -> dict[str, Any]:
    """A sweep section as a user may write it, with levels of exclude as a value or a list."""
    names = draw(st.permutations(list(KINDS)))[: draw(st.integers(1, 3))]
    axes = {name: draw(st.lists(st.sampled_from(POOLS[name]), min_size=1, max_size=4, unique=True)) for name in names}
    groups = [draw(st.permutations(names))[: draw(st.integers(1, len(names)))]] if draw(st.booleans()) else []
    groups = [group for group in groups if len(group) > 1]
    for group in groups:  # levels may come again, combinations not
        row = st.tuples(*(st.sampled_from(POOLS[name]) for name in group))
        rows = draw(st.lists(row, min_size=1, max_size=6, unique=True))
        axes |= {name: [row[i] for row in rows] for i, name in enumerate(group)}

    def pattern() -> dict[str, Any]:
        chosen = draw(st.lists(st.sampled_from(names), min_size=1, unique=True))
        several = {name: st.lists(st.sampled_from(axes[name]), min_size=1, max_size=2) for name in chosen}
        return {name: draw(several[name] | st.sampled_from(axes[name])) for name in chosen}

    exclude = [pattern() for _ in range(draw(st.integers(0, 2)))]
    single = st.fixed_dictionaries({name: st.sampled_from(POOLS[name]) for name in names})
    include = draw(st.lists(single, max_size=3, unique_by=lambda entry: tuple(sorted(entry.items()))))
    return {"axes": axes, "zip": groups, "exclude": exclude, "include": include, "runs_per_condition": 2}


def by_hand(section: dict[str, Any]) -> set[tuple[Any, ...]]:
    """Levels of every condition, in the order of the axes."""

    def matches(point: dict[str, Any], pattern: dict[str, Any]) -> bool:
        return all(point[n] in (v if isinstance(v, list) else [v]) for n, v in pattern.items())

    names = list(section["axes"])
    (tied,) = section.get("zip") or [[]]
    rows = list(zip(*(section["axes"][name] for name in tied), strict=True))
    product = (dict(zip(names, levels, strict=True)) for levels in itertools.product(*section["axes"].values()))
    product = (point for point in product if not tied or tuple(point[name] for name in tied) in rows)
    kept = [point for point in product if not any(matches(point, pattern) for pattern in section["exclude"])]
    return {tuple(point[name] for name in names) for point in [*kept, *section["include"]]}


def without(pattern: dict[str, Any], name: str, levels: list[Any]) -> dict[str, Any]:
    asked = pattern[name] if isinstance(pattern[name], list) else [pattern[name]]
    left = [level for level in asked if level not in levels]
    return {name: left} if left else {}


def read(section: dict[str, Any]) -> tuple[Grid, list[str]]:
    faults = Faults("f")
    grid = make_grid(SweepSection(**section), TRAINER, faults, False)
    return grid, faults.lines


@given(sections())
def test_the_conditions_are_those_that_the_configuration_says(section: dict[str, Any]) -> None:
    grid, faults = read(section)
    expected = by_hand(section)
    lost = [
        name
        for i, name in enumerate(section["axes"])
        for level in section["axes"][name]
        if level not in {levels[i] for levels in expected}
    ]
    if lost:  # nothing may be configured that is never run
        assert faults
        assert all("sweep.exclude leaves no condition" in line for line in faults)
        return
    assert faults == []
    assert {tuple(dict(point).values()) for _, point in grid.conditions()} == expected
    names = [cell.name for cell in grid]
    assert len(set(names)) == len(names) == len(grid) == 2 * len(expected)
    assert [grid[i].name for i in range(-len(grid), 0)] == names
    assert all(cell in grid for cell in grid)
    product = Grid(grid.axes, grid.seeds)
    assert [cell.name for cell in product if cell in grid] == names, "in the order of the product"
    assert grid.most >= len(grid)
    again = Grid.from_json(json.loads(json.dumps(grid.to_json())))
    assert again == grid
    if not section["exclude"] and not section["zip"]:
        assert bool(grid.rules) == (len(grid) < len(product)), "a full product is written as one"


@given(sections(), sections())
def test_a_design_covers_another_if_it_has_all_its_conditions(one: dict[str, Any], other: dict[str, Any]) -> None:
    (first, faults), (second, more) = read(one), read(other)
    if faults or more or list(one["axes"]) != list(other["axes"]):
        return
    assert first.covers(second) == ({c.name for c in second} <= {c.name for c in first})


@given(sections(), st.data())
def test_a_grown_design_keeps_every_cell_and_crosses_what_was_added(
    section: dict[str, Any], data: st.DataObject
) -> None:
    grid, faults = read(section)
    if faults:
        return
    assume(grid.rules or not section["include"])  # what conditions complete to a full product is one, and grows as one
    assume(by_hand(section | {"include": []}))  # a list of single conditions is not crossed
    assume(not grid.rules.ties)
    name = data.draw(st.sampled_from(list(section["axes"])))
    added = data.draw(st.lists(st.sampled_from(POOLS[name]), min_size=1, unique=True))
    grown = grow(grid, {name: added}, TRAINER)
    assert grown.covers(grid)
    assert {cell.name: digest(cell.to_json()) for cell in grown}.items() >= {
        cell.name: digest(cell.to_json()) for cell in grid
    }.items()
    axes = section["axes"] | {name: list(dict.fromkeys(section["axes"][name] + added))}
    # To ask for a level is to cross it, also where it was left out altogether.
    exclude = [without(pattern, name, added) if list(pattern) == [name] else pattern for pattern in section["exclude"]]
    expected = by_hand(section | {"axes": axes, "exclude": [pattern for pattern in exclude if pattern]})
    assert {tuple(dict(point).values()) for _, point in grown.conditions()} == expected


def test_of_factors_that_move_together_only_those_grow_that_do_not() -> None:
    section = {"axes": {"a": [1, 2, 2], "b": [0.1, 0.5, 0.1], "c": ["u"]}, "zip": [["b", "a"]]}
    grid, faults = read(section)
    assert faults == []
    assert [name for name, _ in grid.conditions()] == ["a_1_b_0.1_c_u", "a_2_b_0.1_c_u", "a_2_b_0.5_c_u"]
    grown = grow(grid, {"c": ["w"], "a": [2]}, TRAINER)
    assert grown.covers(grid)
    assert grown.n_conditions == 6
    with pytest.raises(ConfigError, match="--axis a: a moves together with b; add combinations in the configuration"):
        grow(grid, {"a": [3]}, TRAINER)
    longer, _ = read(section | {"axes": {"a": [1, 2, 2, 5], "b": [0.1, 0.5, 0.1, 2.0], "c": ["u"]}})
    assert longer.covers(grid)
    assert not grid.covers(longer)


def test_factors_that_move_together_are_counted_without_their_product() -> None:
    """1,000 levels of each of four factors, of which only 1,000 combinations are run, and two modes."""
    axes = tuple(Axis(name, tuple(range(1000))) for name in "abcd")
    rows = tuple((i, (7 * i) % 1000, (i + 500) % 1000, 999 - i) for i in range(1000))
    grid = Grid((*axes, Axis("m", ("u", "v"))), (42,), Rules(ties=(Tie(tuple("abcd"), rows),)))
    assert grid.most == len(grid) == 2000
    assert {tuple(value for _, value in point)[:4] for _, point in grid.conditions()} == set(rows)


def test_a_list_of_single_conditions_is_a_design_and_cannot_be_crossed_later() -> None:
    points = [{"a": 1, "c": "u"}, {"a": 2, "c": "v"}, {"a": 5, "c": "u"}]
    grid, faults = read({"include": points})
    assert faults == []
    assert [condition for condition, _ in grid.conditions()] == ["a_1_c_u", "a_2_c_v", "a_5_c_u"]
    with pytest.raises(ConfigError, match="--axis: the sweep is a list of single conditions, and crosses no levels"):
        grow(grid, {"a": [7]}, TRAINER)


def test_the_bytes_of_a_full_product_are_those_of_before_there_were_designs() -> None:
    grid, _ = read({"axes": {"a": [2, 1], "b": [0.5]}, "runs_per_condition": 1})
    assert json.dumps(grid.to_json()) == '{"axes": [["a", [2, 1]], ["b", [0.5]]], "seeds": [42]}'
    redundant, faults = read({"axes": {"a": [2, 1], "b": [0.5]}, "include": [{"a": 1, "b": 0.5}]})
    assert faults == []
    assert redundant.to_json().keys() == {"axes", "seeds"}


def test_one_and_one_point_zero_are_different_levels_of_a_design() -> None:
    axes = (Axis("a", (1, 2)), Axis("b", (1, 2)))
    grid = Grid(axes, (42,), Rules(((("a", (2,)), ("b", (2,))),)))
    assert Cell((("a", 1), ("b", 2)), 42, 0) in grid
    assert Cell((("a", 1.0), ("b", 2)), 42, 0) not in grid
    assert Cell((("a", 2), ("b", 2)), 42, 0) not in grid


def test_a_design_of_many_combinations_is_bounded_without_going_through_them() -> None:
    axes = tuple(Axis(name, tuple(range(1000))) for name in "abcd")
    nothing_crossed = tuple(((axis.name, axis.values),) for axis in axes)
    points = tuple(tuple((axis.name, i) for axis in axes) for i in (3, 999))
    grid = Grid(axes, (42,), Rules(nothing_crossed, points))
    assert grid.most == len(grid) == 2
    assert [cell.name for cell in grid] == ["a_3_b_3_c_3_d_3_run_0", "a_999_b_999_c_999_d_999_run_0"]
    assert Grid(axes, (42,), Rules(((("a", (0,)), ("b", (0,))),))).most == 1000**4


@pytest.mark.parametrize(
    "damage",
    [
        {"exclude": [[["z", [1]]]]},
        {"exclude": [[["a", [9]]]]},
        {"exclude": [["a"]]},
        {"exclude": [[["a", [True]]]]},
        {"include": [[["a", 1]]]},
        {"include": [[["a", 1], ["b", 9]]]},
        {"include": [[["b", 1], ["a", 1]]]},
        {"include": 5},
        {"ties": [{"factors": ["a"], "rows": [[1]]}]},
        {"ties": [{"factors": ["b", "a"], "rows": [[1, 1]]}]},
        {"ties": [{"factors": ["a", "z"], "rows": [[1, 1]]}]},
        {"ties": [{"factors": ["a", "b"], "rows": [[1, 9]]}]},
        {"ties": [{"factors": ["a", "b"], "rows": [[1]]}]},
        {"ties": [{"factors": ["a", "b"], "rows": [[1, 1], [1, 1]]}]},
        {"ties": [{"factors": ["a", "b"], "rows": []}]},
        {"ties": [{"factors": ["a", "b"], "rows": [[1, 1]]}] * 2},
        {"ties": [{"factors": ["a", "b"]}]},
    ],
)
def test_a_grid_with_damaged_rules_is_refused(damage: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError, KeyError)):
        Grid.from_json({"axes": [["a", [1, 2]], ["b", [1, 2]]], "seeds": [42], **damage})


@given(sections())
def test_a_crossing_has_every_condition_once_and_knows_where_levels_can_be_compared(section: dict[str, Any]) -> None:
    grid, faults = read(section)
    if faults:
        return
    points = [point for _, point in grid.conditions()]
    crossings = Crossings(tuple(axis.values for axis in grid.axes), points)
    assert crossings.full == (len(points) == grid.combinations)
    for axis, (name, levels) in enumerate((axis.name, axis.values) for axis in grid.axes):
        found = crossings.of(axis)
        assert sorted(found.conditions[found.conditions != ABSENT].tolist()) == list(range(len(points)))
        rest = [tuple(value for other, value in point if other != name) for point in points]
        assert set(found.combinations) == set(rest)
        for c, combination in enumerate(found.combinations):
            there = {dict(p)[name] for p, others in zip(points, rest, strict=True) if others == combination}
            assert {level for level, i in zip(levels, found.conditions[:, c], strict=True) if i != ABSENT} == there
            assert found.whole(range(len(levels)))[c] == (there == set(levels))


@given(sections())
def test_of_factors_that_move_together_every_condition_stands_in_its_place(section: dict[str, Any]) -> None:
    grid, faults = read(section)
    if faults or len(grid.axes) < 2:
        return
    points = [point for _, point in grid.conditions()]
    crossings = Crossings(tuple(axis.values for axis in grid.axes), points)
    rows, found = crossings.of_several([0, 1])
    for (row, column), condition in np.ndenumerate(found.conditions):
        levels = [grid.axes[i].values[place] for i, place in enumerate(rows[row])]
        wanted = (*levels, *found.combinations[column])
        there = [i for i, point in enumerate(points) if tuple(value for _, value in point) == wanted]
        assert ([condition] if condition != ABSENT else []) == there
    assert (found.conditions != ABSENT).sum() == len(points)


# --- resources of conditions ------------------------------------------------------------------------------------------


@given(
    sections(),
    st.lists(
        st.tuples(
            st.dictionaries(st.sampled_from("abc"), st.lists(st.sampled_from([1, 2, 0.1, 1.0, "u", "v"]), min_size=1)),
            st.dictionaries(st.sampled_from(["mem_gb", "timeout_min"]), st.integers(1, 2), min_size=1),
        ),
        max_size=4,
    ),
)
def test_rules_of_resources_match_as_a_plain_reading_says(
    section: dict[str, Any], written: list[tuple[dict[str, list[Any]], dict[str, int]]]
) -> None:
    grid, faults = read(section)
    assume(not faults)
    rules = [ResourceRule(tuple((k, tuple(v)) for k, v in when.items()), ordered(asked)) for when, asked in written]
    points = [point for _, point in grid.conditions()]
    matching = [
        [i for i, rule in enumerate(rules) if all(dict(point).get(name) in values for name, values in rule.when)]
        for point in points
    ]
    for point, found in zip(points, matching, strict=True):
        asked = ordered({key: value for i in found for key, value in rules[i].asked})
        assert Matching(rules).resources(point) == asked
    for i, rule in enumerate(rules):
        assert matches_none(rule, grid) == all(i not in found for found in matching)
    clashes = [
        (i, j, next(k for k, v in rules[j].asked if dict(rules[i].asked).get(k, v) != v), points[at])
        for i, j in itertools.combinations(range(len(rules)), 2)
        for at, found in enumerate(matching)
        if {i, j} <= set(found) and any(dict(rules[i].asked).get(k, v) != v for k, v in rules[j].asked)
    ]
    found_clash = clash(rules, grid)
    assert (None if found_clash is None else tuple(vars(found_clash).values())) == next(iter(clashes), None)
