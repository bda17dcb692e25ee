"""A sweep of which every cell diverged has no number to show, and no command calls that done."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from helpers.command_line import Holdfast

TRAINER = """FACTORS = {"width": {"kind": "integer"}}
METRICS = {"error": {"kind": "positive", "better": "lower"}}

def train(cells, options, run):
    for cell in cells:
        number = float("nan") if cell.factors["width"] in options["diverging"] else 1.0
        run.finish(cell, {"error": number}, diverged=number != number)
"""


@pytest.mark.parametrize(("diverging", "code"), [([1, 2], 4), ([1], 0)])
def test_a_sweep_that_diverged_as_a_whole_is_incomplete_to_every_command_and_single_cells_are_results(
    holdfast: Holdfast, tmp_path: Path, diverging: list[int], code: int
) -> None:
    (tmp_path / "mine.py").write_text(TRAINER)
    sweep = {"name": "mine", "axes": {"width": [1, 2]}, "runs_per_condition": 1}
    config = {"trainer": "mine.py:train", "trainer_options": {"diverging": diverging}, "sweep": sweep}
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(config))
    for words in (
        ("submit", "--config", "sweep.yaml", "--profile", "local", "--wait"),
        ("run", "--config", "sweep.yaml"),
        ("aggregate", "out"),
        ("status", "out"),
        ("status", "out", "--json"),
    ):
        holdfast(*words, expect=code)
    # Whoever takes what is there, however little, has asked for nothing else.
    holdfast("aggregate", "out", "--partial", expect=0)
