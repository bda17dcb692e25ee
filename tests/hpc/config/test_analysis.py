"""The analysis section: defaults written out, and every fault one line with its fix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from hpc.checkout import BUILT_IN_TRAINER, PROJECT_ROOT
from hpc.config.analysis_section import check_analysis
from hpc.config.load import CommandLine, Loaded, load
from hpc.config.schema.analysis import AnalysisSection
from hpc.errors import ConfigError
from hpc.faults import Faults
from hpc.sweep.grid import Axis, Grid
from hpc.trainers.declaration import read_declaration

TRAINER = """
FACTORS = {"width": {"kind": "integer", "log": True}, "mode": {"kind": "word"}}
METRICS = {
    "error": {"kind": "positive", "better": "lower", "chance": 2.0},
    "score": {"kind": "bounded", "better": "higher", "chance": 0.25},
    "gain": {"kind": "real", "better": "higher"},
    "loss": {"kind": "positive", "better": "lower"},
    "sum": {"kind": "positive", "better": "lower", "scaled_by": "mode"},
}


def train(cells, options, run):
    pass
"""
RETENTION = {"kept": "score", "other": "error", "factor": "width"}


def _loaded(folder: Path, axes: dict[str, Any] | None = None, seeds: int = 5, **analysis: Any) -> Loaded:
    (folder / "own.py").write_text(TRAINER)
    sweep = {"axes": axes or {"width": [0, 1, 2]}, "runs_per_condition": seeds}
    config = {"trainer": "own.py:train", "sweep": sweep, "analysis": analysis}
    (folder / "sweep.yaml").write_text(yaml.safe_dump(config))
    return load(CommandLine(config=folder / "sweep.yaml"))


def _analysis(folder: Path, **analysis: Any) -> dict[str, Any]:
    return dict(_loaded(folder, **analysis).sweep.analysis)


def test_all_that_governs_is_written_out(tmp_path: Path) -> None:
    assert _analysis(tmp_path) == {
        "primary_metrics": ["error"],
        "reference": None,
        "alpha": 0.05,
        "looks": 1,
        "tests": [{"metric": "error", "slope": "width"}],
        "equivalence_margin": {},
        "last_epochs": 5,
        "formats": ["png"],
        "figures": [],
    }


def test_the_chances_of_a_retention_are_those_of_the_declaration(tmp_path: Path) -> None:
    (found, slope) = _analysis(tmp_path, retention=RETENTION)["tests"]
    unnamed = {"name": None, "kept_name": None, "other_name": None}
    assert found == {"retention": {**RETENTION, **unnamed, "kept_chance": 0.25, "other_chance": 2.0}}
    assert slope == {"metric": "error", "slope": "width"}
    given = _analysis(tmp_path, retention=RETENTION | {"kept_chance": 0.5})["tests"][0]
    assert given["retention"]["kept_chance"] == 0.5


def test_the_built_in_family_is_the_hypothesis_and_the_slope_of_accuracy_and_nothing_else() -> None:
    trainer = read_declaration(BUILT_IN_TRAINER, [PROJECT_ROOT])
    grid = Grid((Axis("dim", (4, 8)), Axis("scale", (0.1, 1.0))), (42, 43))
    faults = Faults("f", set())
    found = check_analysis(AnalysisSection(), trainer, grid, [], faults, other_grid=False)
    assert [list(test)[-1] for test in found["tests"]] == ["retention", "slope"]
    assert found["tests"][0]["retention"]["kept"] == "fusion_attr_synergy_loss"
    assert found["tests"][1] == {"metric": "predictability/synergy_acc", "slope": "dim"}
    assert faults.lines == []


def test_two_words_of_which_one_is_the_reference_are_compared_by_default(tmp_path: Path) -> None:
    axes = {"width": [1, 2], "mode": ["base", "ours"]}
    found = _loaded(tmp_path, axes, reference={"width": 1, "mode": "base"})
    assert found.sweep.analysis["tests"][-1] == {"metric": "error", "compare": {"mode": ["ours", "base"]}}
    assert found.notes == []


def test_declared_tests_are_the_whole_family(tmp_path: Path) -> None:
    tests = [{"metric": "score", "compare": {"width": [2, 0]}}, {"retention": RETENTION}]
    found = _analysis(tmp_path, tests=tests)["tests"]
    assert found[0] == tests[0]
    assert found[1]["retention"]["other_chance"] == 2.0
    assert len(found) == 2


@pytest.mark.parametrize(
    ("axes", "analysis", "said"),
    [
        (
            {"width": [1, 2], "mode": ["a", "b"]},
            {},
            "mode is not tested: its levels have no order; {metric: error, comp",
        ),
        ({"width": [1], "mode": ["a", "b"]}, {}, "width is not tested: it has one level"),
        ({"width": [0, 1]}, {}, "width is not tested: fewer than two of its levels have a logarithm"),
        ({"width": [0, 1, 2]}, {}, "error, slope on width, leaves out width 0, which has no logarithm"),
        ({"width": [1]}, {"tests": [{"metric": "error", "slope": "width"}]}, "cannot be tested: width has one level"),
        (
            {"width": [1, 2], "mode": ["a", "b"]},
            {"tests": [{"metric": "sum", "compare": {"mode": ["a", "b"]}}]},
            "sum, comparison over mode, tests arithmetic: mode multiplies a term of sum",
        ),
        (
            {"width": [1, 2], "mode": ["a", "b"]},
            {"primary_metrics": ["sum"], "reference": {"width": 1, "mode": "a"}},
            "mode is not tested: it multiplies a term of sum",
        ),
        ({"width": [1]}, {"retention": RETENTION}, "the hypothesis (retention over width) cannot be tested"),
    ],
)
def test_what_will_not_be_tested_is_said_with_its_reason_before_anything_runs(
    tmp_path: Path, axes: dict[str, Any], analysis: dict[str, Any], said: str
) -> None:
    assert any(said in note for note in _loaded(tmp_path, axes, **analysis).notes)


def test_one_seed_tests_nothing_and_that_is_said(tmp_path: Path) -> None:
    assert "no test: one seed says nothing about chance" in _loaded(tmp_path, {"width": [1, 2]}, 1).notes


def test_a_file_of_figures_is_found_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "figures.py").write_text("")
    assert _analysis(tmp_path, figures=["figures.py:draw", "lab.figures:draw"])["figures"] == [
        f"{(tmp_path / 'figures.py').resolve()}:draw",
        "lab.figures:draw",
    ]


@pytest.mark.parametrize(
    ("analysis", "fault"),
    [
        ({"ratio": {"numerator": "score"}}, "ratio is gone, since it says which error grew more and not what was kept"),
        ({"correction": "bonferroni"}, "correction is gone: the family is corrected by Holm's method"),
        ({"retention": RETENTION | {"kept": "scor"}}, "analysis.retention.kept is 'scor'"),
        ({"retention": RETENTION | {"other": "loss"}}, "analysis.retention.other_chance is missing"),
        ({"retention": RETENTION | {"factor": "mode"}}, "analysis.retention.factor is 'mode'"),
        ({"retention": RETENTION | {"other_chance": 0}}, "analysis.retention.other_chance is 0.0; guessing leaves"),
        ({"retention": RETENTION | {"slope": 1}}, "unknown key 'analysis.retention.slope'"),
        ({"tests": [{"metric": "error"}]}, "write one of {metric: M, slope: FACTOR}"),
        ({"tests": [{"metric": "err", "slope": "width"}]}, "analysis.tests[0].metric is 'err'"),
        ({"tests": [{"metric": "error", "compare": {"width": [1, 9]}}]}, "analysis.tests[0].compare.width is 9"),
        ({"tests": [{"metric": "error", "compare": {"width": [1, 1]}}]}, "name two different levels"),
        ({"looks": 0}, "analysis.looks is 0"),
        ({"equivalence_margin": {"err": 0.1}}, "analysis.equivalence_margin.err"),
        ({"equivalence_margin": {"error": 0}}, "analysis.equivalence_margin.error is 0"),
        ({"last_epochs": 0}, "analysis.last_epochs is 0"),
        ({"formats": []}, "analysis.formats is []"),
        ({"formats": ["gif"]}, "analysis.formats[0] is 'gif'"),
        ({"figures": ["draw"]}, "analysis.figures[0] is 'draw'; write module:function"),
        ({"figures": ["absent.py:draw"]}, "analysis.figures[0] is 'absent.py:draw'; there is no such file"),
    ],
)
def test_a_fault_names_field_value_and_fix(tmp_path: Path, analysis: dict[str, Any], fault: str) -> None:
    with pytest.raises(ConfigError) as raised:
        _analysis(tmp_path, **analysis)
    assert any(fault in line for line in raised.value.faults), raised.value.faults
    assert all("\n" not in line for line in raised.value.faults)
