"""Which epoch a metric's value is of is read from the runs, whatever a trainer calls it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.sweeps import Directory, make_sweep

from aggregate.pipeline import aggregate
from hpc.sweep.definition import DeclaredTrainer

LOSS = [0.9, 0.3, 0.2, 0.4]
SCORE = [0.1, 0.8, 0.6, 0.7]


@pytest.mark.parametrize(
    ("name", "column", "value", "told"),
    [
        ("loss", "loss", 0.4, "the last epoch"),
        ("final_loss", "loss", 0.4, "the last epoch"),
        ("best_loss", "loss", 0.2, "the lowest of all epochs"),
        ("score", "score", 0.6, "the best epoch (best_epoch in results.json)"),
        ("best_score", "score", 0.8, "the highest of all epochs"),
        ("loss", "loss", 0.35, "as the trainer reported it at the end"),
        ("other", "loss", 0.4, "as the trainer reported it at the end"),
    ],
)
def test_the_epoch_of_a_value_is_the_one_that_every_run_agrees_with(
    tmp_path: Path, name: str, column: str, value: float, told: str
) -> None:
    trainer = DeclaredTrainer(
        "t.py:t", "", {"dim": {"kind": "integer"}}, {name: {"kind": "positive", "better": "lower"}}
    )
    directory = Directory(tmp_path, make_sweep({"dim": [1, 2]}, 3, trainer, [name]))
    for cell in directory.sweep.grid:
        scale = 1 + 0.125 * cell.run_id
        directory.finish(cell, {name: value * scale}, epochs=4, best_epoch=3)
        directory.history(cell, {column: [scale * number for number in (LOSS if column == "loss" else SCORE)]})
    report = aggregate(tmp_path, figures=False).report.read_text()
    found = json.loads(directory.store.paths.statistics_file.read_bytes())["metrics"][name]["value_of"]
    assert found == told
    assert f'<td class="word">{name}</td><td class="word">{name}</td><td class="word">{told}</td>' in report


def test_where_every_run_is_best_at_its_end_the_name_decides(tmp_path: Path) -> None:
    metrics = {name: {"kind": "positive", "better": "lower"} for name in ("loss", "best_loss")}
    trainer = DeclaredTrainer("t.py:t", "", {"dim": {"kind": "integer"}}, metrics)
    directory = Directory(tmp_path, make_sweep({"dim": [1, 2]}, 3, trainer, ["loss"]))
    for cell in directory.sweep.grid:
        directory.finish(cell, {"loss": 0.2, "best_loss": 0.2}, epochs=3, best_epoch=3)
        directory.history(cell, {"loss": [0.4, 0.3, 0.2]})
    aggregate(tmp_path, figures=False)
    found = json.loads(directory.store.paths.statistics_file.read_bytes())["metrics"]
    assert [found[name]["value_of"] for name in metrics] == ["the last epoch", "the lowest of all epochs"]
