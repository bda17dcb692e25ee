from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.sweeps import ACCURACY, LOSS, Directory, make_sweep

from aggregate.reading.records import Gathered
from aggregate.reading.sweep import read

GOOD = {ACCURACY: 0.9, LOSS: 0.1}


@pytest.fixture
def directory(tmp_path: Path) -> Directory:
    return Directory(tmp_path / "out", make_sweep({"dim": [8, 12], "scale": [0.1, 1.0]}, seeds=2))


def _gather(directory: Directory) -> Gathered:
    return read(directory.store).gathered


def _one(directory: Directory, name: str) -> Any:
    return next(record for record in _gather(directory).records if record.cell.name == name)


def test_every_planned_cell_has_one_record_in_the_order_of_the_grid(directory: Directory) -> None:
    directory.finish(directory.cell("dim_12_scale_0.1_run_1"), GOOD)
    gathered = _gather(directory)
    assert [record.cell for record in gathered.records] == list(directory.sweep.grid)
    assert gathered.counts == {
        "COMPLETED": 1,
        "DIVERGED": 0,
        "FAILED": 0,
        "CONFLICT": 0,
        "STARTED": 0,
        "MISSING": 7,
    }
    assert not gathered.complete


def test_a_sweep_whose_cells_all_ended_is_complete_even_if_some_diverged(directory: Directory) -> None:
    directory.fill(lambda _: GOOD)
    directory.finish(directory.cell("dim_8_scale_0.1_run_0"), {ACCURACY: None, LOSS: None}, status="DIVERGED")
    gathered = _gather(directory)
    assert gathered.complete
    assert gathered.counts["DIVERGED"] == 1


def test_failed_and_conflicting_cells_keep_their_cause(directory: Directory) -> None:
    directory.fail(directory.cell("dim_8_scale_0.1_run_0"), "out of memory")
    directory.finish(directory.cell("dim_8_scale_0.1_run_1"), GOOD)
    directory.conflict(directory.cell("dim_8_scale_0.1_run_1"))
    failed, conflict = _one(directory, "dim_8_scale_0.1_run_0"), _one(directory, "dim_8_scale_0.1_run_1")
    assert (failed.state, failed.status.cause, failed.status.attempts) == ("FAILED", "out of memory", 1)
    assert conflict.state == "CONFLICT"
    assert conflict.result is None
    assert "conflict.json" in conflict.status.cause


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not a whole result"),
        ('{"status": "COMPLE', "not a whole result"),
        ("[]", "not a whole result"),
        ("\x00\xff", "not a whole result"),
    ],
)
def test_a_truncated_result_is_a_named_conflict(directory: Directory, text: str, reason: str) -> None:
    cell = directory.cell("dim_8_scale_0.1_run_0")
    directory.write(cell, text.encode("latin-1"))
    record = _one(directory, cell.name)
    assert record.state == "CONFLICT"
    assert record.result is None
    assert cell.name in record.status.cause
    assert reason in record.status.cause


@pytest.mark.parametrize(
    ("metric", "reason"),
    [
        ("NaN", "NaN"),
        ("Infinity", "Infinity"),
        ('"0.9"', "not a number"),
        ("true", "not a number"),
        ("1e999", ACCURACY),
    ],
)
def test_a_metric_that_is_no_finite_number_is_a_named_conflict(directory: Directory, metric: str, reason: str) -> None:
    cell = directory.cell("dim_8_scale_0.1_run_0")
    text = json.dumps(directory.result(cell, {ACCURACY: 7.25})).replace("7.25", metric)
    directory.write(cell, text.encode())
    record = _one(directory, cell.name)
    assert record.state == "CONFLICT"
    assert reason in record.status.cause


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", 43),
        ("run_id", 1),
        ("condition_id", "dim_9_scale_0.1"),
        ("workspace_dim", 12),
        ("synergy_scale", None),
        ("best_epoch", "last"),
        ("epochs", True),
        ("outcome_digest", 5),
        ("provenance", []),
    ],
)
def test_a_result_of_another_cell_or_with_wrong_types_never_counts(directory: Directory, key: str, value: Any) -> None:
    cell = directory.cell("dim_8_scale_0.1_run_0")
    directory.finish(cell, GOOD, **{key: value})
    record = _one(directory, cell.name)
    assert record.state == "CONFLICT"
    assert record.result is None
    assert key in record.status.cause
    assert cell.name in record.status.cause


def test_a_result_of_another_configuration_is_named_and_the_cell_is_missing(directory: Directory) -> None:
    cell = directory.cell("dim_8_scale_0.1_run_0")
    directory.finish(cell, GOOD, config_digest="f" * 64)
    record = _one(directory, cell.name)
    assert record.state == "MISSING"
    assert record.result is None
    assert "another configuration" in record.status.cause


def test_directories_of_no_planned_cell_are_reported(directory: Directory) -> None:
    (directory.store.paths.results_root / "dim_64_scale_0.1_run_0").mkdir(parents=True)
    assert _gather(directory).strays == ["dim_64_scale_0.1_run_0"]
