"""sweep.draw: the same configuration gives the same conditions for good, spread as they should be; faults are lines."""

from __future__ import annotations

import itertools
import json
import math
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from hpc.config.load import CommandLine, Loaded, load
from hpc.errors import ConfigError, SweepError
from hpc.files import directories
from hpc.launch.request import SweepOptions, resolve
from hpc.storage.revisions import admit, write_sweep
from hpc.storage.store import Store
from hpc.sweep.cell import FactorValue

TRAINER = """
FACTORS = {"width": {"kind": "integer", "minimum": 1, "log": True}, "rate": {"kind": "real"}, "mode": {"kind": "word"}}
METRICS = {"score": {"kind": "bounded", "better": "higher", "chance": 0.25}}


def train(cells, options, run):
    pass
"""
UNIT = {"min": 0.0, "max": 1.0}
MODES = {"mode": ["a", "b"]}


def configured(folder: Path, draw: Any, axes: Any = None, **sweep: Any) -> Path:
    (folder / "own.py").write_text(TRAINER)
    section = {"axes": axes, "draw": draw, "runs_per_condition": 2, **sweep}
    section = {key: value for key, value in section.items() if value is not None}
    (folder / "sweep.yaml").write_text(yaml.safe_dump({"trainer": "own.py:train", "sweep": section}, sort_keys=False))
    return folder / "sweep.yaml"


def read(folder: Path, draw: Any, *on_line: str, axes: Any = None, **sweep: Any) -> Loaded:
    path = configured(folder, draw, axes, **sweep)
    overrides = [word for word in on_line if word.startswith("sweep.")]
    return load(CommandLine(config=path, overrides=overrides, axes=[word for word in on_line if word not in overrides]))


def points(loaded: Loaded) -> set[tuple[FactorValue, ...]]:
    return {tuple(value for _, value in point) for _, point in loaded.sweep.grid.conditions()}


def levels(loaded: Loaded, name: str) -> list[Any]:
    return [dict(point)[name] for _, point in loaded.sweep.grid.conditions()]


# --- what is drawn --------------------------------------------------------------------------------------------------


def test_random_draws_are_those_of_pythons_generator_on_their_scales(tmp_path: Path) -> None:
    ranges = {"rate": {"min": -1.0, "max": 1.0}, "width": {"min": 1, "max": 100, "log": False}}
    drawn = read(tmp_path, {"n": 50, "method": "random", "seed": 7, "ranges": ranges})
    source = random.Random(7)
    expected = {(round(2 * source.random() - 1, 5), 1 + int(100 * source.random())) for _ in range(50)}
    assert points(drawn) == expected


def test_the_conditions_of_a_seed_are_these_for_good(tmp_path: Path) -> None:
    """Pinned: a sweep that is described again must find its cells, whatever scipy does by then."""
    ranges = {"rate": {"min": "1e-4", "max": "1e-1", "log": True}, "width": {"min": 8, "max": 64}}
    assert points(read(tmp_path, {"n": 4, "seed": 1, "ranges": ranges})) == PINNED


PINNED = {(0.000252984, 26), (0.00142263, 15), (0.00800005, 9), (0.0449876, 44)}


@pytest.mark.parametrize("method", ["random", "sobol"])
def test_more_draws_keep_those_that_were_there(tmp_path: Path, method: str) -> None:
    ranges = {"rate": UNIT, "width": {"min": 1, "max": 9}}
    sizes = [1, 7, 300, 1000]
    found = [points(read(tmp_path, {"n": n, "method": method, "seed": 3, "ranges": ranges})) for n in sizes]
    assert [len(some) for some in found] == sizes
    assert all(fewer < more for fewer, more in itertools.pairwise(found))
    other = points(read(tmp_path, {"n": 300, "method": method, "seed": 4, "ranges": ranges}))
    assert len(other & found[2]) < 3, "another seed draws others"


@pytest.mark.parametrize("seed", [0, 1, 2**63 - 1])
def test_sobol_draws_lie_evenly_in_every_direction(tmp_path: Path, seed: int) -> None:
    """Of 2^k points, one in each of 2^k equal parts of each factor, and of each rectangle of two of them."""
    ranges = {"rate": UNIT, "width": {"min": 1, "max": 2**20, "log": False}}
    drawn = points(read(tmp_path, {"n": 64, "seed": seed, "ranges": ranges}))
    places = [(float(rate), (int(width) - 1) / 2**20) for rate, width in drawn]
    for columns in (1, 2, 4, 8, 16, 32, 64):
        parts = {(int(x * columns), int(y * 64 / columns)) for x, y in places}
        assert len(parts) == 64


def test_a_logarithmic_range_has_as_many_draws_in_each_decade(tmp_path: Path) -> None:
    drawn = read(tmp_path, {"n": 32, "ranges": {"rate": {"min": "1e-4", "max": 1, "log": True}}})
    decades = [math.floor(math.log10(rate)) for rate in levels(drawn, "rate")]
    assert [decades.count(decade) for decade in (-4, -3, -2, -1)] == [8, 8, 8, 8]
    declared = read(tmp_path, {"n": 64, "ranges": {"width": {"min": 1, "max": 10**6}}})
    assert sum(width < 1000 for width in levels(declared, "width")) > 25, "as the factor is declared"


def test_whole_numbers_can_be_drawn_to_the_last(tmp_path: Path) -> None:
    for method in ("random", "sobol"):
        drawn = read(tmp_path, {"n": 12, "method": method, "ranges": {"width": {"min": 3, "max": 14, "log": False}}})
        assert levels(drawn, "width") == list(range(3, 15))


def test_all_draws_are_run_with_every_level_of_the_other_factors(tmp_path: Path) -> None:
    ranges = {"rate": UNIT, "width": {"min": 1, "max": 64}}
    loaded = read(tmp_path, {"n": 5, "ranges": ranges}, axes=MODES)
    drawn = points(read(tmp_path, {"n": 5, "ranges": ranges}))
    assert points(loaded) == {(mode, *row) for mode in "ab" for row in drawn}
    assert "rate and width move together: 5 combinations" in loaded.notes
    assert (
        "rate is not tested: rate moves together with width, so that what it does by itself cannot be told"
        in loaded.notes
    )
    single = read(tmp_path, {"n": 5, "ranges": {"rate": UNIT}}, axes=MODES)
    assert not single.sweep.grid.rules, "one factor is crossed with the others"
    assert single.sweep.analysis["tests"] == [{"metric": "score", "slope": "rate"}]


def test_the_command_line_changes_the_draw(tmp_path: Path) -> None:
    draw = {"n": 5, "seed": 2, "ranges": {"rate": UNIT}}
    assert len(points(read(tmp_path, draw, "sweep.draw.n=9"))) == 9
    assert points(read(tmp_path, draw, "sweep.draw.seed=3")) == points(read(tmp_path, draw | {"seed": 3}))
    with pytest.raises(ConfigError, match="'rate' has its levels listed, in the file or with --axis"):
        read(tmp_path, draw, "rate=0.1")


# --- growth ---------------------------------------------------------------------------------------------------------


def test_a_drawn_sweep_grows_and_is_continued_from_what_is_on_record(tmp_path: Path) -> None:
    draw = {"n": 4, "seed": 5, "ranges": {"rate": UNIT, "width": {"min": 1, "max": 64}}}
    loaded = read(tmp_path, draw, axes=MODES)
    store = Store(tmp_path / "out")
    write_sweep(store, loaded.sweep, {})
    directories.make_directory(store.paths.results_root / loaded.sweep.grid[0].name / "attempts" / "0001")
    more = read(tmp_path, draw | {"n": 6}, axes=MODES).sweep
    assert admit(store, more).grid.n_conditions == 12
    with pytest.raises(SweepError, match="has cells that the new grid lacks"):
        admit(store, read(tmp_path, draw | {"seed": 6}, axes=MODES).sweep)
    line = CommandLine(config=configured(tmp_path, draw | {"n": 500}, MODES), output_dir=str(store.root))
    notes = resolve(SweepOptions(line=line)).notes
    assert any(" more: comparisons with these conditions are exploratory; the claims" in note for note in notes)
    assert max(map(len, notes)) < 300, "of many levels, a few are named"
    grown = resolve(SweepOptions(directory=store.root, line=CommandLine(axes=["mode=c"]))).sweep.grid
    assert grown.n_conditions == 12
    assert "ranges" not in store.paths.sweep_file.read_text(), "what was drawn is on record, not how"
    with pytest.raises(ConfigError, match="--axis rate: rate moves together with width; add combinations in the conf"):
        resolve(SweepOptions(directory=store.root, line=CommandLine(axes=["rate=0.5"])))


def test_a_plan_without_a_draw_loads_none_of_scipys_statistics(tmp_path: Path) -> None:
    code = (
        "import sys, json; from hpc.cli.app import main; assert main(sys.argv[1:]) == 0;"
        "print(json.dumps([name for name in sys.modules if name.startswith(('scipy.stats', 'torch'))]))"
    )
    for draw, axes in ((None, {"rate": [0.1, 0.2]}), ({"n": 3, "method": "random", "ranges": {"rate": UNIT}}, None)):
        command = [sys.executable, "-c", code, "plan", "--config", str(configured(tmp_path, draw, axes))]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
        assert json.loads(done.stdout.splitlines()[-1]) == []


# --- faults ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("draw", "said"),
    [
        (5, "sweep.draw is 5; must be a section with named keys"),
        ({"n": 3}, "sweep.draw.ranges is missing; add it"),
        ({"ranges": {"rate": UNIT}}, "sweep.draw.n is missing; add it"),
        ({"n": 0, "ranges": {"rate": UNIT}}, "sweep.draw.n is 0; must be greater than or equal to 1"),
        ({"n": 10_001, "ranges": {"rate": UNIT}}, "sweep.draw.n is 10001; must be less than or equal to 10000"),
        ({"n": 3, "ranges": {}}, "sweep.draw.ranges is {}; "),
        (
            {"n": 3, "method": "bayes", "ranges": {"rate": UNIT}},
            "sweep.draw.method is 'bayes'; must be 'random' or 'so",
        ),
        ({"n": 3, "seed": -1, "ranges": {"rate": UNIT}}, "sweep.draw.seed is -1; must be greater than or equal to 0"),
        (
            {"n": 3, "ranges": {"rate": [0, 1]}},
            "ranges.rate is [0, 1]; write {min: 0.001, max: 0.1, log: true}; a list",
        ),
        ({"n": 3, "ranges": {"rate": {"min": 0}}}, "sweep.draw.ranges.rate.max is missing; add it"),
        ({"n": 3, "ranges": {"rate": {"min": "a", "max": 1}}}, "sweep.draw.ranges.rate.min is 'a'; must be a number"),
        ({"n": 3, "ranges": {"rate": {"low": 0, "high": 1}}}, "'sweep.draw.ranges.rate.low'; write min"),
        (
            {"n": 3, "ranges": {"rate": UNIT | {"distribution": "uniform"}}},
            "ranges.rate.distribution'; write log: true",
        ),
        (
            {"n": 3, "ranges": {"rate": {"min": 1, "max": 0.5}}},
            "sweep.draw.ranges.rate.max is 0.5; it is not above min, 1;",
        ),
        (
            {"n": 3, "ranges": {"rate": UNIT | {"log": True}}},
            "ranges.rate.min is 0.0; it has no logarithm; write a min",
        ),
        (
            {"n": 3, "ranges": {"rate": {"min": -1e308, "max": 1e308}}},
            "ranges.rate.max is 1e+308; the range is too wide",
        ),
        (
            {"n": 3, "ranges": {"rate": {"min": 0, "max": float("inf")}}},
            "sweep.draw.ranges.rate.max is inf; must be finite",
        ),
        ({"n": 3, "ranges": {"width": {"min": 0, "max": 3}}}, "ranges.width.min is 0; 'width' must be 1 or more"),
        (
            {"n": 3, "ranges": {"width": {"min": 1.5, "max": 3}}},
            "ranges.width.min is 1.5; 'width' must be a whole number",
        ),
        (
            {"n": 9, "ranges": {"width": {"min": 1, "max": 8}}},
            "sweep.draw.n is 9; the ranges have 8 different conditions",
        ),
        ({"n": 3, "ranges": {"mode": UNIT}}, "'mode' is a word; list its levels in sweep.axes, and all draws are run"),
        ({"n": 3, "ranges": {"depth": UNIT}}, "sweep.draw.ranges.depth: trainer own.py:train has no factor 'depth'"),
        (
            {"n": 3, "ranges": {"rate": {"min": 1, "max": 1 + 1e-12, "log": True}}},
            "sweep.draw.n is 3; the ranges have ",
        ),
    ],
)
def test_a_wrong_draw_is_one_line(tmp_path: Path, draw: Any, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read(tmp_path, draw, axes=MODES if "mode" not in str(draw) else None)
    assert any(said in line for line in refused.value.faults), refused.value.faults
    assert all(line.isprintable() and line.startswith("sweep.yaml: ") for line in refused.value.faults)
