"""A mistake in a user's trainer is reported in one line that names the cell, the fault and the fix."""

from __future__ import annotations

import json
from pathlib import Path

import yaml
from helpers.command_line import Holdfast

DECLARED = """from training.contract import Checkpoint
FACTORS = {"width": {"kind": "integer"}}
METRICS = {"error": {"kind": "positive", "better": "lower"}}
"""


def configure(directory: Path, body: str) -> str:
    (directory / "mine.py").write_text(f"{DECLARED}\ndef train(cells, options, run):\n    cell = cells[0]\n{body}")
    sweep = {"name": "mine", "axes": {"width": [1]}, "runs_per_condition": 1}
    (directory / "sweep.yaml").write_text(yaml.safe_dump({"trainer": "mine.py:train", "sweep": sweep}))
    return "sweep.yaml"


def test_each_wrong_call_fails_its_cell_with_the_fix(holdfast: Holdfast, tmp_path: Path) -> None:
    wrong = {
        1: ("run.finish(cell, {'eror': 1.0})", "metric 'eror' is not declared; did you mean 'error'?"),
        2: (
            "run.epoch(cell, 1, 2, {'error': 1.0})",
            "returned without finishing this cell; call run.finish or run.fail",
        ),
        3: ("run.finish(cell, {'error': 'low'})", "metric 'error' is 'low'; give a number"),
    }
    body = "".join(f"    if cell.factors['width'] == {width}: {call}\n" for width, (call, _) in wrong.items())
    config = configure(tmp_path, body)
    said = holdfast("run", "--config", config, "--axis", "width=1,2,3", "--pack", "3", expect=4).stderr
    for width, (_, cause) in wrong.items():
        assert [line for line in said.splitlines() if cause in line and f"width_{width}_run_0" in line]


def test_a_nan_is_reported_as_missing_and_is_never_averaged(holdfast: Holdfast, tmp_path: Path) -> None:
    body = "    run.finish(cell, {'error': float('nan')}, diverged=True)\n"
    assert "1 DIVERGED" in holdfast("run", "--config", configure(tmp_path, body), expect=4).stdout
    aggregated = json.loads((tmp_path / "out" / "aggregated_results.json").read_text())
    assert aggregated["width_1"]["n_runs"] == 0
    assert aggregated["width_1"]["individual_results"][0]["metrics"].get("error") is None
    assert aggregated["width_1"]["aggregated_metrics"].get("error", {"n": 0})["n"] == 0


def test_a_trainer_that_saves_but_never_restores_is_refused_before_it_loses_its_work(
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
