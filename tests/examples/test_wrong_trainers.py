"""What a trainer of one's own did wrong is told in a line that names the cell's fault and what to write instead."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from from_outside import Holdfast

DECLARED = """from training.contract import Checkpoint
FACTORS = {"width": {"kind": "integer"}}
METRICS = {"error": {"kind": "positive", "better": "lower"}}
"""


def configure(directory: Path, body: str) -> str:
    (directory / "mine.py").write_text(f"{DECLARED}\ndef train(cells, options, run):\n    cell = cells[0]\n{body}")
    sweep = {"name": "mine", "axes": {"width": [1]}, "runs_per_condition": 1}
    (directory / "sweep.yaml").write_text(yaml.safe_dump({"trainer": "mine.py:train", "sweep": sweep}))
    return "sweep.yaml"


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        ("    run.finish(cell, {'eror': 1.0})\n", "metric 'eror' is not declared; did you mean 'error'?"),
        (
            "    run.epoch(cell, 1, 2, {'error': 1.0})\n",
            "returned without finishing this cell; call run.finish or run.f",
        ),
        ("    run.finish(cell, {'error': 'low'})\n", "metric 'error' is 'low'; give a number"),
    ],
)
def test_a_wrong_call_fails_the_cell_with_the_fix(holdfast: Holdfast, tmp_path: Path, body: str, cause: str) -> None:
    said = holdfast("run", "--config", configure(tmp_path, body), expect=4).stderr
    assert [line for line in said.splitlines() if cause in line and "width_1_run_0" in line]


def test_a_number_that_is_none_is_missing_and_is_never_averaged(holdfast: Holdfast, tmp_path: Path) -> None:
    body = "    run.finish(cell, {'error': float('nan')}, diverged=True)\n"
    assert "1 DIVERGED" in holdfast("run", "--config", configure(tmp_path, body)).stdout
    aggregated = json.loads((tmp_path / "out" / "aggregated_results.json").read_text())
    assert aggregated["width_1"]["n_runs"] == 0
    assert aggregated["width_1"]["individual_results"][0]["metrics"].get("error") is None
    assert aggregated["width_1"]["aggregated_metrics"].get("error", {"n": 0})["n"] == 0


def test_a_trainer_that_saves_and_never_restores_is_told_when_it_would_lose_its_work(
    holdfast: Holdfast, tmp_path: Path
) -> None:
    body = (
        "    run.epoch(cell, 1, 2, {'error': 1.0})\n"
        "    run.save({cell: Checkpoint(1)})\n"
        "    raise RuntimeError('lost after a checkpoint')\n"
    )
    config = configure(tmp_path, body)
    assert "lost after a checkpoint" in holdfast("run", "--config", config, expect=4).stderr
    said = holdfast("run", "--config", config, "--include-failed", expect=4).stderr
    assert "its state at step 1 was not restored; call run.restore(cell) first" in said
