"""exclude and include of a sweep: what they do to identity and growth, what plan says of them; every fault a line."""

from __future__ import annotations

from collections.abc import Sequence
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

TRAINER = """
FACTORS = {"width": {"kind": "integer", "minimum": 1, "log": True}, "rate": {"kind": "real"}, "mode": {"kind": "word"}}
METRICS = {"score": {"kind": "bounded", "better": "higher", "chance": 0.25},
           "error": {"kind": "positive", "better": "lower", "chance": 2.0}}


def train(cells, options, run):
    pass
"""
AXES = {"width": [1, 2, 4], "rate": [0.1, 1.0]}
RETENTION = {"kept": "score", "other": "error", "factor": "width"}


def configured(
    folder: Path, axes: Any = None, analysis: dict[str, Any] | None = None, trainer: Any = "own.py:train", **sweep: Any
) -> Path:
    (folder / "own.py").write_text(TRAINER)
    section = {"axes": AXES if axes is None else axes, "runs_per_condition": 2} | sweep
    content = {"trainer": trainer, "sweep": section, "analysis": analysis or {}}
    (folder / "sweep.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return folder / "sweep.yaml"


def read(folder: Path, *on_line: str, **settings: Any) -> Loaded:
    return load(CommandLine(config=configured(folder, **settings), axes=on_line))


def conditions(loaded: Loaded) -> list[str]:
    return [name for name, _ in loaded.sweep.grid.conditions()]


def begun(folder: Path, loaded: Loaded) -> Store:
    """A sweep directory in which a cell has an attempt, so that its configuration is settled."""
    store = Store(folder / "out")
    write_sweep(store, loaded.sweep, {})
    directories.make_directory(store.paths.results_root / loaded.sweep.grid[0].name / "attempts" / "0001")
    return store


# --- what is run ----------------------------------------------------------------------------------------------------


def test_matching_conditions_are_left_out_and_single_ones_added(tmp_path: Path) -> None:
    exclude, include = [{"width": 4, "rate": 1}, {"width": [1, 2], "rate": [0.1]}], [{"rate": "1e-3", "width": 16}]
    loaded = read(tmp_path, exclude=exclude, include=include)
    expected = ["width_1_rate_1.0", "width_2_rate_1.0", "width_4_rate_0.1", "width_16_rate_0.001"]
    assert conditions(loaded) == expected
    assert [axis.values for axis in loaded.sweep.grid.axes] == [(1, 2, 4, 16), (0.001, 0.1, 1.0)]
    assert "4 of 12 combinations of levels are conditions, 1 of them by sweep.include" in loaded.notes


def test_a_condition_that_is_left_out_can_be_named_again(tmp_path: Path) -> None:
    loaded = read(tmp_path, exclude=[{"width": 4}], include=[{"width": 4, "rate": 0.1}])
    assert [name for name in conditions(loaded) if "_4_" in name] == ["width_4_rate_0.1"]


def test_digests_and_names_of_cells_are_those_of_the_full_product(tmp_path: Path) -> None:
    full, part = read(tmp_path).sweep, read(tmp_path, exclude=[{"width": 4, "rate": 1.0}]).sweep
    assert part.config_digest == full.config_digest
    assert {c.name: full.cell_digest(c) for c in full.grid}.items() > {
        c.name: part.cell_digest(c) for c in part.grid
    }.items()


def test_a_script_gets_the_kind_of_a_factor_by_all_its_levels_and_truths_are_words(tmp_path: Path) -> None:
    script = {
        "command": "python -c pass {width} {skip} {seed} {dir}",
        "metrics": "m.json",
        "measures": ["loss"],
    }
    axes = {"width": [1, 2], "skip": [True, False]}
    exclude, include = [{"skip": False, "width": 2}], [{"width": 0.5, "skip": True}]
    loaded = read(tmp_path, axes=axes, trainer=script, exclude=exclude, include=include)
    assert loaded.sweep.trainer.factors["width"]["kind"] == "real"
    pairs = [("0.5", "true"), ("1.0", "true"), ("1.0", "false"), ("2.0", "true")]
    assert conditions(loaded) == [f"width_{width}_skip_{skip}" for width, skip in pairs]
    listed = read(tmp_path, axes={}, trainer=script, include=[{"width": 3, "skip": False}, {"width": 1, "skip": True}])
    assert conditions(listed) == ["width_1_skip_true", "width_3_skip_false"]


def test_the_command_line_decides_on_the_levels_of_the_factors_that_it_names(tmp_path: Path) -> None:
    design = {"exclude": [{"width": 4, "rate": 1.0}], "include": [{"width": 16, "rate": 0.1}]}
    assert conditions(read(tmp_path, "width=2", **design)) == ["width_2_rate_0.1", "width_2_rate_1.0"]
    assert conditions(read(tmp_path, "width=4,16", **design)) == [
        "width_4_rate_0.1",
        "width_16_rate_0.1",
        "width_16_rate_1.0",
    ]


def test_of_a_list_of_single_conditions_the_command_line_chooses(tmp_path: Path) -> None:
    listed = [{"width": w, "rate": r, "mode": m} for w, r, m in ((1, 0.1, "a"), (2, "1e-1", "b"), (2, 1.0, "a"))]
    assert conditions(read(tmp_path, "width=2", axes={}, include=listed)) == [
        "width_2_rate_0.1_mode_b",
        "width_2_rate_1.0_mode_a",
    ]
    assert conditions(read(tmp_path, "width=1,2", "rate=0.1", "mode=b", axes={}, include=listed)) == [
        "width_2_rate_0.1_mode_b"
    ]
    for chosen in (["width=3"], ["width=1", "mode=b"], ["depth=1"]):
        with pytest.raises(ConfigError) as caught:
            read(tmp_path, *chosen, axes={}, include=listed)
        (fault,) = caught.value.faults
        assert fault == f"command line: --axis {chosen[-1]}: none of the conditions of sweep.include has that"


def test_more_combinations_than_cells_are_no_reason_to_refuse(tmp_path: Path) -> None:
    many = [{"width": i, "rate": i / 7, "mode": f"m{i}"} for i in range(1, 300)]
    loaded = read(tmp_path, axes={}, include=many)
    assert loaded.sweep.grid.combinations > 10**7
    assert len(conditions(loaded)) == 299


def test_a_large_product_is_counted_by_the_conditions_that_are_left_of_it(tmp_path: Path) -> None:
    """600,000 combinations of which 1,599 are run: fewer cells than a sweep may have, with and without -y."""
    axes = {"width": list(range(1, 1001)), "rate": [i / 1000 for i in range(600)]}
    exclude = [{"width": list(range(2, 1001)), "rate": [i / 1000 for i in range(1, 600)]}]
    grid = read(tmp_path, axes=axes, exclude=exclude).sweep.grid
    assert len(grid) == grid.most == 2 * (1000 + 600 - 1)
    store = begun(tmp_path, read(tmp_path, axes=axes, exclude=exclude))
    assert len(store.sweep().grid) == len(grid)
    with pytest.raises(ConfigError, match="1,198,800 cells; if that is meant, confirm with -y"):
        read(tmp_path, axes=axes, exclude=[{"width": [1, 2], "rate": [i / 1000 for i in range(300)]}])


TOGETHER: dict[str, Any] = {
    "axes": {"width": [1, 2, 4], "rate": [0.1, 0.2, 0.1], "mode": ["a", "b"]},
    "zip": [["width", "rate"]],
}


def test_factors_move_together_and_are_crossed_with_the_others(tmp_path: Path) -> None:
    loaded = read(tmp_path, **TOGETHER)
    pairs = [(1, 0.1), (2, 0.2), (4, 0.1)]
    assert conditions(loaded) == [f"width_{w}_rate_{r}_mode_{m}" for w, r in pairs for m in "ab"]
    assert "6 of 12 combinations of levels are conditions" in loaded.notes
    assert "width and rate move together: 3 combinations" in loaded.notes
    full = read(tmp_path, axes=TOGETHER["axes"] | {"rate": [0.1, 0.2]}).sweep
    assert {c.name: full.cell_digest(c) for c in full.grid}.items() > {
        c.name: loaded.sweep.cell_digest(c) for c in loaded.sweep.grid
    }.items()


def test_what_moves_together_can_be_left_out_and_added_to(tmp_path: Path) -> None:
    exclude, include = [{"width": 4, "mode": "b"}, {"rate": 0.2}], [{"width": 2, "rate": 0.2, "mode": "b"}]
    loaded = read(tmp_path, exclude=exclude, include=include, **TOGETHER)
    assert conditions(loaded) == [
        f"width_{end}" for end in ("1_rate_0.1_mode_a", "1_rate_0.1_mode_b", "2_rate_0.2_mode_b", "4_rate_0.1_mode_a")
    ]


def test_the_command_line_chooses_among_levels_that_move_together(tmp_path: Path) -> None:
    assert conditions(read(tmp_path, "width=2", **TOGETHER)) == ["width_2_rate_0.2_mode_a", "width_2_rate_0.2_mode_b"]
    assert conditions(read(tmp_path, "rate=1e-1", "mode=b", **TOGETHER)) == [
        "width_1_rate_0.1_mode_b",
        "width_4_rate_0.1_mode_b",
    ]
    assert conditions(read(tmp_path, "rate=0.1", "width=4", "mode=b", **TOGETHER)) == ["width_4_rate_0.1_mode_b"]
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, "width=3", **TOGETHER)
    assert caught.value.faults == [
        "command line: --axis width is 3; no level of sweep.zip stands beside it; valid: 1, 2, 4"
    ]


# --- faults ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sweep", "said"),
    [
        ({"when": 5}, "sweep.when is 5; must be a section with named keys"),
        ({"when": {"rate": 5}}, "sweep.when.rate is 5; must be a section with named keys"),
        ({"when": {"rate": {}}}, "sweep.when.rate is {}; name factors with the levels that it needs, such as"),
        ({"when": {"rate": {"rate": 0.1}}}, "sweep.when.rate is {'rate': 0.1}; it can depend on other factors only"),
        (
            {"when": {"rat": {"width": 4}}},
            "sweep.when.rat is {'width': 4}; the grid has no such factor; valid: width, rate",
        ),
        ({"when": {"rate": {"width": 3}}}, "sweep.when.rate.width is 3; the grid lacks this level; did you mean 2?"),
        (
            {"when": {"rate": {"widht": 4}}},
            "sweep.when.rate.widht is 4; the grid has no such factor; valid: width, rate",
        ),
        ({"exclude": 5}, "sweep.exclude is 5; must be a list, such as [{width: 4}]"),
        ({"exclude": [5]}, "sweep.exclude[0] is 5; must be a section with named keys"),
        ({"exclude": {"width": 4}}, "sweep.exclude is {'width': 4}; must be a list"),
        ({"exclude": [{}]}, "sweep.exclude[0] is {}; name factors with the levels to leave out, such as {width: 64}"),
        ({"exclude": [{"widht": 4}]}, "sweep.exclude[0].widht is 4; the grid has no such factor; valid: width, rate"),
        (
            {"exclude": [{"width": 3}]},
            "sweep.exclude[0].width is 3; the grid lacks this level; did you mean 2? valid: 1, 2, 4",
        ),
        (
            {"exclude": [{"width": [1, 3]}]},
            "sweep.exclude[0].width is 3; the grid lacks this level; did you mean 2? valid: 1, 2, 4",
        ),
        ({"exclude": [{"width": []}]}, "sweep.exclude[0].width is []; name at least one level"),
        ({"exclude": [{"width": "big"}]}, "sweep.exclude[0].width is 'big'; 'width' must be a number"),
        ({"exclude": [{"width": {"a": 1}}]}, "sweep.exclude[0].width is {'a': 1}; 'width' must be a number"),
        ({"exclude": [{"width": 4}]}, "sweep.exclude leaves no condition with width 4; take it out of sweep.axes"),
        ({"exclude": [{"width": [1, 2, 4]}]}, "sweep.exclude leaves no condition; leave out less"),
        ({"include": [{"width": 8}]}, "is {'width': 8}; a single condition has a level of every factor; add rate"),
        ({"include": [{"width": 8, "rate": 1, "x": 2}]}, "sweep.include[0].x is 2; the grid has no such factor"),
        ({"include": [{"width": [8], "rate": 1}]}, "sweep.include[0].width is [8]; 'width' must be a number"),
        ({"include": [{"width": 0, "rate": 1}]}, "sweep.include[0].width is 0; 'width' must be 1 or more"),
        ({"include": [{"width": 8, "rate": 1}, {"rate": 1.0, "width": 8}]}, "this condition is given twice"),
        ({"include": [{"width": 8, "rate": float("inf")}]}, "sweep.include[0].rate is inf; 'rate' must be finite"),
        ({"axes": {}, "include": [{"depth": 8}]}, "sweep.include[0]: trainer own.py:train has no factor 'depth'"),
        (
            {"include": [{"width": i, "rate": 1} for i in range(1, 2002)]},
            "has 2,001 entries, where at most 2,000 are read",
        ),
        ({"axes": {}, "include": [{}]}, "sweep.axes is missing; name a factor of own.py:train and its values"),
        ({"zip": 5}, "sweep.zip is 5; must be a list of groups of factors, such as [[width, depth]]"),
        ({"zip": ["width", "rate"]}, "each group of factors is a list of its own: [['width', 'rate']]"),
        ({"zip": [["width"]]}, "sweep.zip[0] is ['width']; name two or more factors, each once"),
        ({"zip": [["width", "width"]]}, "sweep.zip[0] is ['width', 'width']; name two or more factors, each once"),
        ({"zip": [["width", 5]]}, "sweep.zip[0][1] is 5; must be text"),
        ({"zip": [["width", "depth"]]}, "no levels of depth are listed; valid: width, rate"),
        (
            {"zip": [["width", "rate"]]},
            "they have different numbers of levels (width 3, rate 2); list as many of each, in",
        ),
        (
            {"axes": {"width": [1, 2, 1], "rate": [1, 2, 1.0]}, "zip": [["rate", "width"]]},
            "sweep.zip[0]: the levels width 1, rate 1.0 stand together twice; remove them once",
        ),
        (
            {
                "axes": {"width": [1, 2], "rate": [1, 2], "mode": ["a", "b"]},
                "zip": [["width", "rate"], ["mode", "rate"]],
            },
            "sweep.zip[1] is ['mode', 'rate']; rate is in another group; join the groups",
        ),
        ({"axes": {"width": [1, 1], "rate": [1.0]}}, "sweep.axes.width[1] is 1; this value is given twice"),
    ],
)
def test_a_wrong_rule_is_one_line(tmp_path: Path, sweep: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read(tmp_path, **sweep)
    assert any(said in line for line in refused.value.faults), refused.value.faults
    assert all(line.isprintable() for line in refused.value.faults)


def test_a_level_with_settings_is_named_among_the_axes(tmp_path: Path) -> None:
    axes = {"model": {"small": {"width": 1}, "large": {"width": 9}}, "lr": [0.1, 1.0]}
    script = {"command": "python -c pass {width} {lr} {seed} {dir}", "metrics": "m.json", "measures": ["loss"]}
    with pytest.raises(ConfigError, match=r"model is 'huge'; this level has no settings; add it to sweep.axes.model"):
        read(tmp_path, axes=axes, trainer=script, include=[{"model": "huge", "lr": 0.1}])
    loaded = read(
        tmp_path, axes=axes, trainer=script, exclude=[{"model": "large"}], include=[{"model": "large", "lr": 0.1}]
    )
    assert conditions(loaded) == ["model_small_lr_0.1", "model_small_lr_1.0", "model_large_lr_0.1"]


def test_a_reference_that_is_left_out_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"analysis.reference is .*; the sweep has no such condition"):
        read(tmp_path, exclude=[{"width": 4, "rate": 1.0}], analysis={"reference": {"width": 4, "rate": 1.0}})


# --- growth ---------------------------------------------------------------------------------------------------------


def test_a_design_grows_and_stays_where_less_is_asked_for(tmp_path: Path) -> None:
    part = [{"width": 4, "rate": 1.0}]
    store = begun(tmp_path, read(tmp_path, exclude=part))
    full = admit(store, read(tmp_path).sweep)
    assert full.grid.n_conditions == 6
    write_sweep(store, full, {})
    assert admit(store, read(tmp_path, exclude=part).sweep).grid == full.grid
    single = admit(store, read(tmp_path, include=[{"width": 64, "rate": 0.1}]).sweep)
    assert single.grid.n_conditions == 7
    with pytest.raises(SweepError, match="has cells that the new grid lacks"):
        admit(store, read(tmp_path, exclude=part, include=[{"width": 64, "rate": 0.1}]).sweep)


def test_growth_without_new_levels_is_said_to_be_exploratory(tmp_path: Path) -> None:
    loaded = read(tmp_path, exclude=[{"width": 4, "rate": 1.0}])
    begun(tmp_path, loaded)
    line = CommandLine(config=configured(tmp_path), output_dir=str(tmp_path / "out"))
    notes = resolve(SweepOptions(line=line)).notes
    assert any("gets 1 more of the combinations of its levels: claims that use" in note for note in notes), notes


def test_a_level_that_is_added_on_the_command_line_is_crossed(tmp_path: Path) -> None:
    design = {"exclude": [{"width": 4, "rate": 1.0}], "include": [{"width": 16, "rate": 0.1}]}
    store = begun(tmp_path, read(tmp_path, **design))

    def grown(*axes: str) -> list[str]:
        request = resolve(SweepOptions(directory=store.root, line=CommandLine(axes=axes)))
        return [name for name, _ in request.sweep.grid.conditions()]

    before = grown()
    assert [name for name in grown("width=8") if name not in before] == ["width_8_rate_0.1", "width_8_rate_1.0"]
    assert [name for name in grown("width=16") if name not in before] == ["width_16_rate_1.0"]
    assert [name for name in grown("rate=0.5") if name not in before] == [
        "width_1_rate_0.5",
        "width_2_rate_0.5",
        "width_4_rate_0.5",
    ]


# --- what can be tested ---------------------------------------------------------------------------------------------

HALVES = [{"width": 1, "rate": 1.0}, {"width": 4, "rate": 0.1}]


@pytest.mark.parametrize(
    ("exclude", "analysis", "said"),
    [
        (HALVES, {}, "width is not tested: no combination of the other factors has width 1, 2, 4"),
        (HALVES, {}, "score, slope on rate, is tested at width 2 alone: 2 other combinations lack a level of rate"),
        (
            HALVES,
            {"tests": [{"metric": "score", "slope": "width"}]},
            "score, slope on width, cannot be tested: no combination of the other factors has width 1, 2, 4",
        ),
        (
            HALVES,
            {"tests": [{"metric": "score", "compare": {"width": [4, 1]}}]},
            "score, comparison over width, cannot be tested: no combination of the other factors has width 4, 1",
        ),
        (
            HALVES,
            {"tests": [{"metric": "score", "compare": {"width": [2, 1]}}]},
            "score, comparison over width, is tested at rate 0.1 alone: 1 other combination lacks a level of width",
        ),
        (
            HALVES,
            {"retention": RETENTION},
            "the hypothesis (retention over width) cannot be tested: no combination of the other factors has width 1",
        ),
    ],
)
def test_what_a_design_cannot_support_is_said_before_anything_runs(
    tmp_path: Path, exclude: Sequence[dict[str, Any]], analysis: dict[str, Any], said: str
) -> None:
    notes = read(tmp_path, exclude=list(exclude), analysis=analysis).notes
    assert any(said in note for note in notes), notes


def test_a_factor_that_moves_with_another_is_not_tested_by_itself(tmp_path: Path) -> None:
    tests = [{"metric": "score", "slope": "width"}, {"metric": "score", "compare": {"mode": ["b", "a"]}}]
    notes = read(tmp_path, analysis={"tests": tests}, **TOGETHER).notes
    why = "moves together with {}, so that what it does by itself cannot be told"
    assert f"score, slope on width, cannot be tested: width {why.format('rate')}" in notes
    assert f"rate is not tested: rate {why.format('width')}" in notes
    assert not any("comparison over mode" in note for note in notes), "it is crossed with all that the others have"
    words = {"axes": {"width": [1, 2], "mode": ["a", "b"]}, "zip": [["mode", "width"]]}
    assert f"mode is not tested: mode {why.format('width')}" in read(tmp_path, **words).notes
    assert read(tmp_path, **TOGETHER).sweep.analysis["tests"] == []


def test_of_a_group_with_a_wrong_level_only_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, axes={"width": [1, 0], "rate": [0.1, 0.2]}, zip=[["width", "rate"]])
    assert caught.value.faults == ["sweep.yaml: sweep.axes.width[1] is 0; 'width' must be 1 or more"]


def test_a_slope_that_a_design_cannot_support_is_no_test_by_default(tmp_path: Path) -> None:
    assert read(tmp_path, exclude=HALVES).sweep.analysis["tests"] == [{"metric": "score", "slope": "rate"}]


@pytest.mark.parametrize(
    "design",
    [{"exclude": [{"mode": "small", "rate": [0.1, 0.3]}]}, {"when": {"rate": {"mode": "big"}}}],
    ids=["exclude", "when"],
)
def test_a_factor_that_matters_only_with_one_level_of_another_is_tested_there(
    tmp_path: Path, design: dict[str, Any]
) -> None:
    """As the documentation has it."""
    axes = {"mode": ["small", "big"], "rate": [0.0, 0.1, 0.3]}
    tests = [{"metric": "score", "slope": "rate"}, {"metric": "score", "compare": {"mode": ["big", "small"]}}]
    loaded = read(tmp_path, axes=axes, analysis={"tests": tests}, **design)
    assert conditions(loaded) == ["mode_small_rate_0.0", *(f"mode_big_rate_{rate}" for rate in (0.0, 0.1, 0.3))]
    notes = " ".join(loaded.notes)
    assert "score, slope on rate, is tested at mode big alone" in notes
    assert "score, comparison over mode, is tested at rate 0.0 alone" in notes


def test_a_factor_that_needs_levels_of_several_others_keeps_its_first_one_where_either_is_missing(
    tmp_path: Path,
) -> None:
    axes = {"mode": ["a", "b"], "width": [1, 2, 3], "rate": [0.1, 0.2]}
    loaded = read(tmp_path, axes=axes, when={"rate": {"mode": "b", "width": [2, 3]}})
    varied = ["mode_b_width_2_rate_0.2", "mode_b_width_3_rate_0.2"]
    kept = [f"mode_{mode}_width_{width}_rate_0.1" for mode in "ab" for width in (1, 2, 3)]
    assert set(conditions(loaded)) == {*varied, *kept}
    store = begun(tmp_path, loaded)
    longer = axes | {"rate": [0.1, 0.2, 0.3]}
    grown = admit(store, read(tmp_path, axes=longer, when={"rate": {"mode": "b", "width": [2, 3]}}).sweep)
    assert {name for name, _ in grown.grid.conditions()} == {*varied, *kept, *(f"{n[:-1]}3" for n in varied)}


def test_a_level_that_is_asked_for_is_the_one_that_a_factor_keeps(tmp_path: Path) -> None:
    axes = {"mode": ["small", "big"], "rate": [0.0, 0.1, 0.3]}
    loaded = read(tmp_path, "rate=0.1,0.3", axes=axes, when={"rate": {"mode": "big"}})
    assert conditions(loaded) == ["mode_small_rate_0.1", "mode_big_rate_0.1", "mode_big_rate_0.3"]


@pytest.mark.parametrize(
    ("log", "levels", "said"), [(False, [0.001, 0.1], True), (True, [0.001, 0.1], False), (False, [0.1, 0.5], False)]
)
def test_a_slope_over_levels_that_multiply_is_said_to_be_per_unit(
    tmp_path: Path, log: bool, levels: list[float], said: bool
) -> None:
    kind = {"kind": "real", "log": True} if log else {"kind": "real"}
    script = {
        "command": "python t.py {rate} {width} {seed} {dir}",
        "metrics": "m.json",
        "factors": {"rate": kind},
        "measures": {"score": {"kind": "real", "better": "higher"}},
    }
    (tmp_path / "t.py").touch()
    loaded = read(
        tmp_path,
        axes={"rate": levels, "width": [1, 2]},
        trainer=script,
        analysis={"tests": [{"metric": "score", "slope": "rate"}]},
    )
    wide = (
        "score, slope on rate, is per unit of rate, whose largest level is 100 times the smallest; declare it as rate"
    )
    assert any(note.endswith(f"{wide}: {{log: true}}, and the slope is per doubling") for note in loaded.notes) is said


def test_nothing_is_said_of_a_full_product(tmp_path: Path) -> None:
    assert not [note for note in read(tmp_path).notes if "combination" in note]
