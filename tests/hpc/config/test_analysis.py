"""The analysis section: defaults written out, and every fault one line with its fix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from hpc.config.load import CommandLine, load
from hpc.errors import ConfigError

TRAINER = """
FACTORS = {"width": {"kind": "integer", "log": True}, "mode": {"kind": "word"}}
METRICS = {
    "error": {"kind": "positive", "better": "lower", "chance": 2.0},
    "score": {"kind": "bounded", "better": "higher", "chance": 0.25},
    "gain": {"kind": "real", "better": "higher"},
    "loss": {"kind": "positive", "better": "lower"},
}


def train(cells, options, run):
    pass
"""
RATIO = {"numerator": "score", "denominator": "error", "factor": "width"}


def _analysis(folder: Path, **analysis: Any) -> dict[str, Any]:
    (folder / "own.py").write_text(TRAINER)
    config = {"trainer": "own.py:train", "sweep": {"axes": {"width": [0, 1, 2]}}, "analysis": analysis}
    (folder / "sweep.yaml").write_text(yaml.safe_dump(config))
    return dict(load(CommandLine(config=folder / "sweep.yaml")).sweep.analysis)


def test_all_that_governs_is_written_out(tmp_path: Path) -> None:
    assert _analysis(tmp_path) == {
        "primary_metrics": ["error"],
        "reference": None,
        "alpha": 0.05,
        "correction": "holm",
        "equivalence_margin": {},
        "last_epochs": 5,
        "formats": ["png"],
        "ratio": None,
        "figures": [],
    }


def test_the_chance_of_a_ratio_is_that_of_the_declaration_as_an_error(tmp_path: Path) -> None:
    found = _analysis(tmp_path, ratio=RATIO)["ratio"]
    assert found == {**RATIO, "numerator_chance": 0.75, "denominator_chance": 2.0}
    assert _analysis(tmp_path, ratio=RATIO | {"numerator_chance": 0.5})["ratio"]["numerator_chance"] == 0.5


def test_a_file_of_figures_is_found_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "figures.py").write_text("")
    assert _analysis(tmp_path, figures=["figures.py:draw", "lab.figures:draw"])["figures"] == [
        f"{(tmp_path / 'figures.py').resolve()}:draw",
        "lab.figures:draw",
    ]


@pytest.mark.parametrize(
    ("analysis", "fault"),
    [
        ({"ratio": RATIO | {"numerator": "scor"}}, "analysis.ratio.numerator is 'scor'"),
        ({"ratio": RATIO | {"denominator": "gain"}}, "analysis.ratio.denominator is 'gain'; no error"),
        ({"ratio": RATIO | {"denominator": "loss"}}, "analysis.ratio.denominator_chance is missing"),
        ({"ratio": RATIO | {"factor": "mode"}}, "analysis.ratio.factor is 'mode'"),
        ({"ratio": RATIO | {"slope": 1}}, "unknown key 'analysis.ratio.slope'"),
        ({"correction": "none"}, "analysis.correction is 'none'"),
        ({"equivalence_margin": {"err": 0.1}}, "analysis.equivalence_margin.err"),
        ({"equivalence_margin": {"error": 0}}, "analysis.equivalence_margin.error is 0"),
        ({"last_epochs": 0}, "analysis.last_epochs is 0"),
        ({"formats": []}, "analysis.formats is []"),
        ({"formats": ["svg"]}, "analysis.formats[0] is 'svg'"),
        ({"figures": ["draw"]}, "analysis.figures[0] is 'draw'; write module:function"),
        ({"figures": ["absent.py:draw"]}, "analysis.figures[0] is 'absent.py:draw'; there is no such file"),
    ],
)
def test_a_fault_names_field_value_and_fix(tmp_path: Path, analysis: dict[str, Any], fault: str) -> None:
    with pytest.raises(ConfigError) as raised:
        _analysis(tmp_path, **analysis)
    assert any(fault in line for line in raised.value.faults), raised.value.faults
    assert all("\n" not in line for line in raised.value.faults)
