"""All failed cells at once: causes and tracebacks first, then logs, every line with its cell."""

from __future__ import annotations

from pathlib import Path

from helpers.command_line import Holdfast

TRAINER = """
import sys
FACTORS = {"width": {"kind": "integer"}}
METRICS = {"error": {"kind": "positive", "better": "lower"}}
def train(cells, options, run):
    for cell in cells:
        print("looking at width", cell.factors["width"])
        if cell.factors["width"] > 1:
            raise ValueError(f"width {cell.factors['width']} is too large")
        run.epoch(cell, 1, 1, {"error": 1.0})
        run.finish(cell, {"error": 1.0})
"""


def test_causes_tracebacks_and_logs_of_all_failed_cells_each_line_with_its_cell(
    holdfast: Holdfast, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(TRAINER)
    (tmp_path / "sweep.yaml").write_text(
        "trainer: mine.py:train\nsweep: {axes: {width: [1, 2, 3]}, runs_per_condition: 1}\n"
    )
    holdfast("run", "--config", "sweep.yaml", expect=4)
    shown = holdfast("show", "out", "--failed").stdout.splitlines()
    assert holdfast("status", "out", "--failed", expect=4).stdout.splitlines() == shown
    names = {line.partition(":")[0] for line in shown}
    assert names == {"width_2_run_0", "width_3_run_0"}
    for width in (2, 3):
        assert shown.count(f"width_{width}_run_0: FAILED: ValueError: width {width} is too large") == 1
    tracebacks = [i for i, line in enumerate(shown) if "Traceback (most recent call last)" in line]
    said = [i for i, line in enumerate(shown) if "looking at width" in line]
    assert len(said) == 2
    assert tracebacks[1] < said[0]
    for words in (
        ["show", "out"],
        ["show", "out", "width_1_run_0", "--failed"],
        ["status", "out", "--failed", "--json"],
    ):
        assert len(holdfast(*words, expect=2).stderr.splitlines()) == 1


def test_without_a_failed_cell_that_is_said(holdfast: Holdfast, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(TRAINER)
    (tmp_path / "sweep.yaml").write_text("trainer: mine.py:train\nsweep: {axes: {width: [1]}, runs_per_condition: 1}\n")
    holdfast("run", "--config", "sweep.yaml")
    assert holdfast("show", "out", "--failed").stdout == "no cell has failed\n"
