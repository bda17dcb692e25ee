from __future__ import annotations

import hashlib
import itertools
import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpc.sweep.cell import Cell, canonical_json, check_factor_name, check_value, digest
from hpc.sweep.grid import Axis, Grid

WORDS = st.from_regex(r"[A-Za-z][A-Za-z0-9.+-]{0,8}", fullmatch=True)
VALUES = st.one_of(
    st.integers(-(10**6), 10**6),
    st.floats(allow_nan=False, allow_infinity=False).map(check_value),
    WORDS,
)
NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,6}", fullmatch=True).filter(lambda name: name not in ("run", "seed"))


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    names = draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
    unique = st.lists(VALUES, min_size=1, max_size=4, unique=True)  # 0 and 0.0 are one value
    axes = tuple(Axis(name, tuple(draw(unique))) for name in names)
    seeds = draw(st.lists(st.integers(0, 2**62), min_size=1, max_size=3, unique=True))
    return Grid(axes, tuple(seeds))


def grid(seeds: int = 5) -> Grid:
    axes = (Axis("dim", (8, 12)), Axis("scale", (0.05, 0.1, 1.0)))
    return Grid(axes, tuple(range(42, 42 + seeds)))


def test_the_first_cell_has_the_name_its_users_know() -> None:
    cell = Cell((("dim", 8), ("scale", 1.0)), seed=42, run_id=0)
    assert cell.name == "dim_8_scale_1.0_run_0"
    assert cell.condition == "dim_8_scale_1.0"


def test_small_scales_keep_all_their_digits() -> None:
    names = [cell.name for cell in grid(seeds=1) if cell.factors["dim"] == 8]
    assert names == ["dim_8_scale_0.05_run_0", "dim_8_scale_0.1_run_0", "dim_8_scale_1.0_run_0"]


def test_cells_come_seed_by_seed_and_axis_by_axis() -> None:
    expected = [
        f"dim_{dim}_scale_{scale}_run_{run}"
        for dim, scale, run in itertools.product(("8", "12"), ("0.05", "0.1", "1.0"), range(5))
    ]
    assert [cell.name for cell in grid()] == expected
    assert [grid()[i].name for i in range(len(expected))] == expected
    assert [grid()[i].name for i in range(-len(expected), 0)] == expected


@given(grids())
def test_no_two_cells_of_a_grid_share_a_name(grid: Grid) -> None:
    names = [cell.name for cell in grid]
    assert len(set(names)) == len(names) == len(grid)


@given(grids())
def test_no_two_cells_share_a_name_where_case_does_not_count_unless_words_differ_by_case_alone(grid: Grid) -> None:
    words = [value for axis in grid.axes for value in axis.values if isinstance(value, str)]
    if len({word.lower() for word in words}) == len(set(words)):
        assert len({cell.name.lower() for cell in grid}) == len(grid)


@given(grids())
def test_names_are_plain_file_names(grid: Grid) -> None:
    for cell in grid:
        assert not set(cell.name) & set("/\\ \n\t\0'\"$`*?;&|<>(){}[]")
        assert not cell.name.startswith((".", "-"))


@given(grids())
def test_a_grid_and_its_cells_come_back_from_json_as_they_went_in(grid: Grid) -> None:
    again = Grid.from_json(json.loads(json.dumps(grid.to_json())))
    assert again == grid
    assert [list(map(type, axis.values)) for axis in again.axes] == [list(map(type, a.values)) for a in grid.axes]
    for cell in grid:
        back = Cell.from_json(json.loads(json.dumps(cell.to_json())))
        assert back == cell
        assert back.name == cell.name
        assert cell in again


@given(grids(), st.integers(0, 100))
def test_every_cell_of_a_grid_is_in_it_and_strangers_are_not(grid: Grid, position: int) -> None:
    cell = grid[position % len(grid)]
    assert cell in grid
    assert Cell(cell.point, cell.seed + 1, cell.run_id) not in Grid(grid.axes, (cell.seed,) * len(grid.seeds))
    assert Cell(cell.point[:-1], cell.seed, cell.run_id) not in grid
    assert Cell(cell.point, cell.seed, cell.run_id - len(grid.seeds)) not in grid
    assert cell.name not in grid


def test_one_and_one_point_zero_are_different_values() -> None:
    ints, floats = Grid((Axis("dim", (1,)),), (42,)), Grid((Axis("dim", (1.0,)),), (42,))
    assert ints[0] not in floats
    assert not ints.covers(floats)
    assert ints[0].name != floats[0].name


def test_a_billion_cells_are_counted_without_being_made() -> None:
    tracemalloc.start()
    large = Grid(tuple(Axis(name, tuple(range(100))) for name in "abcd"), tuple(range(10)))
    assert len(large) == 1_000_000_000
    assert large[-1].name == "a_99_b_99_c_99_d_99_run_9"
    assert large[123_456_789] in large
    assert next(iter(large)).name == "a_0_b_0_c_0_d_0_run_0"
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


def test_a_grid_covers_its_parts_and_is_not_covered_by_them() -> None:
    whole = grid()
    part = Grid((Axis("dim", (12,)), Axis("scale", (1.0, 0.1))), whole.seeds[:2])
    assert whole.covers(part)
    assert not part.covers(whole)
    assert whole.covers(whole)
    assert all(cell in whole for cell in part)


@pytest.mark.parametrize(
    "other",
    [
        Grid((Axis("dim", (8, 16)), Axis("scale", (1.0,))), (42,)),
        Grid((Axis("dim", (8,)), Axis("scale", (1.0,))), (43,)),
        Grid((Axis("dim", (8,)), Axis("scale", (1.0,))), (43, 42)),
        Grid((Axis("dim", (8,)),), (42,)),
        Grid((Axis("scale", (1.0,)), Axis("dim", (8,))), (42,)),
    ],
)
def test_a_grid_does_not_cover_other_values_seeds_or_axes(other: Grid) -> None:
    assert not grid().covers(other)


@given(grids(), grids())
def test_to_cover_is_to_have_every_cell_under_the_same_name(one: Grid, other: Grid) -> None:
    if one.covers(other):
        assert {cell.name for cell in other} <= {cell.name for cell in one}
        assert all(cell in one for cell in other)


def test_digests_are_those_of_the_canonical_text() -> None:
    text = '{"a":[1,"x",null,true],"b":1.0,"c":1e-05}'
    value = {"c": 0.00001, "b": 1.0, "a": [1, "x", None, True]}
    assert canonical_json(value) == text
    assert digest(value) == hashlib.sha256(text.encode()).hexdigest()


def test_the_digest_of_a_known_cell_is_the_one_results_already_carry() -> None:
    # If this fails, results and checkpoints of existing sweeps no longer count as done.
    cell = Cell((("dim", 8), ("scale", 1.0)), seed=42, run_id=0)
    text = '{"point":[["dim",8],["scale",1.0]],"run_id":0,"seed":42}'
    assert canonical_json(cell.to_json()) == text
    assert digest(cell.to_json()) == "3c6760c5c10366eae3ef837907e38a3b3c14034761c18c3d0fcfd5b9795b7fd4"


@pytest.mark.parametrize(
    "value", [True, None, float("nan"), float("inf"), "", "a b", "a_b", "1a", "a/b", "ä", "a\n", [1]]
)
def test_values_that_cannot_stand_in_a_name_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"factor's value|word"):
        check_value(value)


@pytest.mark.parametrize(
    "name", ["", "Dim", "1dim", "dim-x", "dim x", "dim\n", "run_id", "seed", "cell", "status", "n_runs"]
)
def test_factor_names_that_would_collide_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        check_factor_name(name)


def test_minus_zero_is_zero() -> None:
    assert str(check_value(-0.0)) == "0.0"
