"""The documents: aggregated_results.json, statistics.json and the tables."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
from helpers.sweeps import ACCURACY, LOSS, Directory, make_sweep
from pyarrow import parquet

from aggregate.pipeline import Aggregated, aggregate
from hpc.storage.claims import new_attempt
from hpc.sweep.cell import Cell
from hpc.sweep.definition import DeclaredTrainer

GRID = {"dim": [8, 12], "scale": [0.1, 1.0]}


def _metrics(cell: Cell) -> dict[str, float | None]:
    generator = np.random.default_rng([cell.seed, int(cell.factors["dim"])])
    return {ACCURACY: float(generator.uniform(0.5, 1)), LOSS: float(generator.uniform(0.1, 0.3))}


def _aggregate(directory: Directory) -> tuple[Aggregated, dict[str, Any], dict[str, Any]]:
    outcome = aggregate(directory.store.paths.root, figures=False)
    documents = [directory.store.paths.aggregated_file, directory.store.paths.statistics_file]
    return outcome, *(json.loads(path.read_bytes()) for path in documents)


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Directory]:
    def made(seeds: int = 3, name: str = "out", **options: Any) -> Directory:
        return Directory(tmp_path / name, make_sweep(GRID, seeds, **options))

    return made


def test_statistics_of_every_condition_agree_with_scipy_called_plainly(make: Callable[..., Directory]) -> None:
    directory = make(seeds=4)
    directory.fill(_metrics)
    _, document, _ = _aggregate(directory)
    assert list(document) == [name for name, _ in directory.sweep.grid.conditions()]
    for name, condition in document.items():
        for metric, found in condition["aggregated_metrics"].items():
            seeds = [_metrics(cell)[metric] for cell in directory.sweep.grid if cell.condition == name]
            low, high = scipy.stats.t.interval(0.95, 3, loc=np.mean(seeds), scale=scipy.stats.sem(seeds))
            shown = {key: found.pop(key) for key in ("centre", "centre_lower", "centre_upper")}
            assert shown["centre_lower"] < shown["centre"] < shown["centre_upper"]
            if metric == ACCURACY:  # an interval that stays between the metric's bounds
                assert 0 < shown["centre_lower"] < shown["centre_upper"] < 1
                assert shown["centre"] == pytest.approx(np.mean(seeds))
            assert found == pytest.approx(
                {
                    "mean": np.mean(seeds),
                    "std": np.std(seeds, ddof=1),
                    "n": 4,
                    "ci_lower": low,
                    "ci_upper": high,
                    "sem": scipy.stats.sem(seeds),
                    "min": min(seeds),
                    "max": max(seeds),
                    "median": np.median(seeds),
                }
            )


def test_alpha_sets_the_level_of_the_intervals(make: Callable[..., Directory]) -> None:
    directory = make(seeds=3, alpha=0.1)
    directory.fill(lambda cell: {LOSS: float(cell.run_id)})
    _, document, statistics = _aggregate(directory)
    assert statistics["level"] == 0.9
    # 0, 1, 2: mean 1, sem 1/sqrt(3); the 90 % t quantile of two degrees of freedom is 2.920.
    assert document["dim_8_scale_0.1"]["aggregated_metrics"][LOSS]["ci_upper"] == pytest.approx(
        1 + 2.92 / 3**0.5, abs=1e-3
    )


def test_the_predecessors_reading_snippet_works(make: Callable[..., Directory]) -> None:
    directory = make()
    directory.fill(_metrics)
    aggregate(directory.store.paths.root, figures=False)
    rows = []
    for _name, c in json.loads(directory.store.paths.aggregated_file.read_text()).items():
        row = {"workspace_dim": c["workspace_dim"], "synergy_scale": c["synergy_scale"], "n_runs": c["n_runs"]}
        for metric, s in c["aggregated_metrics"].items():
            row[f"{metric}_mean"] = s["mean"]
            row[f"{metric}_ci_lower"] = s["ci_lower"]
        rows.append(row)
    assert [(row["workspace_dim"], row["synergy_scale"]) for row in rows] == [(8, 0.1), (8, 1.0), (12, 0.1), (12, 1.0)]
    assert all(row["n_runs"] == 3 and row[f"{LOSS}_ci_lower"] < row[f"{LOSS}_mean"] for row in rows)


def test_one_seed_gives_null_where_nothing_can_be_known(make: Callable[..., Directory]) -> None:
    directory = make(seeds=1)
    directory.fill(lambda _: {ACCURACY: 0.5})
    _, document, _ = _aggregate(directory)
    found = document["dim_8_scale_0.1"]["aggregated_metrics"][ACCURACY]
    assert found == {
        "mean": 0.5,
        "std": None,
        "n": 1,
        "ci_lower": None,
        "ci_upper": None,
        "sem": None,
        "min": 0.5,
        "max": 0.5,
        "median": 0.5,
        "centre": 0.5,
        "centre_lower": None,
        "centre_upper": None,
    }


def test_only_completed_cells_enter_and_every_planned_cell_is_counted(make: Callable[..., Directory]) -> None:
    directory = make(seeds=6)
    finished = {"dim_8_scale_0.1_run_0": 0.2, "dim_8_scale_0.1_run_1": 0.4}
    for name, loss in finished.items():
        directory.finish(directory.cell(name), {LOSS: loss})
    directory.finish(directory.cell("dim_8_scale_0.1_run_2"), {LOSS: 9e9}, status="DIVERGED")
    directory.fail(directory.cell("dim_8_scale_0.1_run_3"), "killed")
    directory.finish(directory.cell("dim_8_scale_0.1_run_4"), {LOSS: 9e9})
    directory.conflict(directory.cell("dim_8_scale_0.1_run_4"))
    outcome, document, statistics = _aggregate(directory)
    condition = document["dim_8_scale_0.1"]
    assert condition["n_runs"] == 2
    assert condition["aggregated_metrics"][LOSS]["mean"] == pytest.approx(0.3)
    assert condition["completeness"] == {
        "planned": 6,
        "completed": 2,
        "diverged": 1,
        "failed": 1,
        "conflict": 1,
        "missing": 1,
    }
    assert [entry["status"] for entry in condition["individual_results"]] == ["COMPLETED", "COMPLETED", "DIVERGED"]
    assert document["dim_12_scale_1.0"]["aggregated_metrics"][LOSS]["mean"] is None
    assert document["dim_12_scale_1.0"]["aggregated_metrics"][LOSS]["n"] == 0
    assert statistics["partial"] is True
    assert statistics["completeness"]["planned"] == 24
    assert statistics["completeness"]["missing"] == 19
    assert not outcome.complete
    assert outcome.counts["MISSING"] == 19


def test_a_started_cell_counts_as_missing(make: Callable[..., Directory]) -> None:
    directory = make(seeds=1)
    new_attempt(directory.store, directory.cell("dim_8_scale_0.1_run_0"))
    outcome, document, _ = _aggregate(directory)
    assert outcome.counts["STARTED"] == 1
    assert document["dim_8_scale_0.1"]["completeness"]["missing"] == 1


def test_a_null_metric_of_a_completed_cell_lowers_n_and_is_reported(make: Callable[..., Directory]) -> None:
    directory = make(seeds=3)
    directory.fill(lambda cell: {LOSS: None if cell.run_id == 1 else float(cell.run_id)})
    outcome, document, statistics = _aggregate(directory)
    assert document["dim_8_scale_0.1"]["n_runs"] == 3
    assert document["dim_8_scale_0.1"]["aggregated_metrics"][LOSS]["n"] == 2
    assert {"condition": "dim_8_scale_0.1", "metric": LOSS, "cells": 1} in statistics["not_finite"]
    said = "best validation loss: 4 completed cells without a finite value"
    assert any(said in line for line in outcome.problems)
    assert outcome.complete


def test_the_same_outcomes_give_the_same_bytes_whatever_their_order_and_provenance(
    make: Callable[..., Directory],
) -> None:
    documents = []
    for name in ("one", "two"):
        directory = make(name=name)
        cells = list(directory.sweep.grid)
        generator = random.Random(name)
        generator.shuffle(cells)
        for cell in cells:
            for _ in range(generator.randrange(3)):
                new_attempt(directory.store, cell)
            metrics = list(_metrics(cell).items())
            generator.shuffle(metrics)
            provenance = {"attempts": generator.randrange(9), "seconds": generator.random(), "node": name, "path": name}
            directory.finish(cell, dict(metrics), outcome_digest="0" * 64, provenance=provenance)
        aggregate(directory.store.paths.root, figures=False)
        documents.append(
            (directory.store.paths.aggregated_file.read_bytes(), directory.store.paths.statistics_file.read_bytes())
        )
    assert documents[0] == documents[1]


def test_aggregating_again_changes_nothing(make: Callable[..., Directory]) -> None:
    directory = make()
    directory.fill(_metrics)
    aggregate(directory.store.paths.root, figures=False)
    first = directory.store.paths.aggregated_file.read_bytes(), directory.store.paths.report_file.read_bytes()
    aggregate(directory.store.paths.root, figures=False)
    assert (directory.store.paths.aggregated_file.read_bytes(), directory.store.paths.report_file.read_bytes()) == first


def test_results_carry_no_provenance_and_metrics_come_in_the_order_of_the_declaration(
    make: Callable[..., Directory],
) -> None:
    directory = make()
    directory.fill(lambda _: {"zeta": 1.0, LOSS: 0.1, "alpha": 2.0, ACCURACY: 0.9})
    _, document, _ = _aggregate(directory)
    condition = document["dim_8_scale_0.1"]
    assert list(condition["aggregated_metrics"]) == [ACCURACY, LOSS, "alpha", "zeta"]
    for entry in condition["individual_results"]:
        assert list(entry["metrics"]) == [ACCURACY, LOSS, "alpha", "zeta"]
        assert "provenance" not in entry
    assert [entry["seed"] for entry in condition["individual_results"]] == [42, 43, 44]


def test_intervals_suit_the_declared_kind_and_say_how_they_were_made(make: Callable[..., Directory]) -> None:
    directory = make()
    directory.fill(lambda cell: {ACCURACY: (0.9, 0.999, 1.0)[cell.run_id], LOSS: (0.1, 0.2, 0.6)[cell.run_id]})
    _, document, statistics = _aggregate(directory)
    assert statistics["metrics"][ACCURACY]["ci_method"] == "delta-logit t"
    assert statistics["metrics"][LOSS]["ci_method"] == "t of logarithms"
    assert document["dim_8_scale_0.1"]["aggregated_metrics"][ACCURACY]["ci_upper"] > 1
    assert statistics["conditions"]["dim_8_scale_0.1"]["intervals"][ACCURACY]["ci_upper"] < 1
    assert statistics["conditions"]["dim_8_scale_0.1"]["intervals"][LOSS]["ci_lower"] > 0


def test_a_metric_that_breaks_its_declaration_gets_plain_intervals_and_a_remark(make: Callable[..., Directory]) -> None:
    directory = make()
    directory.fill(lambda cell: {ACCURACY: 0.9 + 0.1 * cell.run_id, LOSS: -float(cell.run_id)})
    outcome, _, statistics = _aggregate(directory)
    assert statistics["metrics"][ACCURACY]["ci_method"] == statistics["metrics"][LOSS]["ci_method"] == "t"
    assert any("declared bounded" in line for line in outcome.problems)
    assert any("declared positive" in line for line in outcome.problems)


def test_seeds_without_spread_are_flagged(make: Callable[..., Directory]) -> None:
    directory = make()
    directory.fill(lambda cell: {LOSS: 0.1 if cell.factors["dim"] == 8 else 0.1 + cell.run_id})
    outcome, document, statistics = _aggregate(directory)
    flagged = [entry["condition"] for entry in statistics["zero_spread"]]
    assert flagged == ["dim_8_scale_0.1", "dim_8_scale_1.0"]
    assert document["dim_8_scale_0.1"]["aggregated_metrics"][LOSS]["std"] == 0
    assert any("the same for all seeds" in line for line in outcome.problems)


def test_completion_rates_come_with_an_exact_interval(make: Callable[..., Directory]) -> None:
    directory = make(seeds=5)
    for run in range(3):
        directory.finish(directory.cell(f"dim_8_scale_0.1_run_{run}"), {LOSS: 0.1 * run})
    directory.fail(directory.cell("dim_8_scale_0.1_run_3"), "killed")
    _, _, statistics = _aggregate(directory)
    found = statistics["conditions"]["dim_8_scale_0.1"]["completion"]
    expected = scipy.stats.binomtest(3, 4).proportion_ci(0.95)  # the fifth has not run yet
    assert (found["ci_lower"], found["ci_upper"]) == pytest.approx((expected.low, expected.high))
    assert (found["completed"], found["ended"], found["planned"], found["rate"]) == (3, 4, 5, 0.75)


def test_numbers_too_large_for_a_sum_become_null_not_infinity(make: Callable[..., Directory]) -> None:
    directory = make()
    directory.fill(lambda cell: {LOSS: 1.7e308 - cell.run_id * 1e307})
    _, document, _ = _aggregate(directory)
    assert document["dim_8_scale_0.1"]["aggregated_metrics"][LOSS]["std"] is None


def test_the_table_has_one_row_for_every_planned_cell_and_the_curves_one_for_every_epoch(
    make: Callable[..., Directory],
) -> None:
    directory = make(seeds=2)
    directory.finish(directory.cell("dim_8_scale_0.1_run_0"), {LOSS: 0.25})
    directory.history(directory.cell("dim_8_scale_0.1_run_0"), {"val_loss": [3.0, 2.0, None]})
    directory.fail(directory.cell("dim_8_scale_0.1_run_1"), "killed")
    aggregate(directory.store.paths.root, figures=False)
    table = parquet.read_table(directory.store.paths.table_file).to_pydict()
    assert table["cell"] == [cell.name for cell in directory.sweep.grid]
    assert table["state"][:3] == ["COMPLETED", "FAILED", "MISSING"]
    assert table["cause"][1] == "killed"
    assert table["synergy_scale"][:3] == [0.1, 0.1, 1.0]
    assert table[LOSS][:2] == [0.25, None]
    curves = parquet.read_table(directory.store.paths.curves_file).to_pydict()
    assert curves["cell"] == ["dim_8_scale_0.1_run_0"] * 3
    assert curves["epoch"] == [1, 2, 3]
    assert curves["val_loss"] == [3.0, 2.0, None]


def test_a_metric_may_be_called_like_a_column_of_the_table(tmp_path: Path) -> None:
    trainer = DeclaredTrainer(
        "t.py:train", "", {"state": {"kind": "word"}}, {"epochs": {"kind": "real", "better": "lower"}}
    )
    directory = Directory(tmp_path, make_sweep({"width": [1, 2]}, 2, trainer, primary=["epochs"]))
    directory.fill(lambda _: {"epochs": 7.5, "cell": 1.0})
    aggregate(tmp_path, figures=False)
    table = parquet.read_table(directory.store.paths.table_file).to_pydict()
    assert table["metric.epochs"] == [7.5] * 4
    assert table["epochs"] == [3] * 4


def test_an_empty_sweep_aggregates_and_says_that_all_is_missing(make: Callable[..., Directory]) -> None:
    outcome, document, _ = _aggregate(make())
    assert not outcome.complete
    assert outcome.problems[0].startswith("MISSING: 12 cells: dim_8_scale_0.1_run_0, ")
    assert "and 6 more" in outcome.problems[0]
    assert all(condition["n_runs"] == 0 for condition in document.values())


# --- cells that more than one code or numerics trained ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (
            [("a", "fp32"), ("b", "fp32")],
            ["trained by more than one code: workspace dimension 8, synergy loss scale 0.1, seed 42"],
        ),
        (
            [("a", "fp32"), ("a", "tf32")],
            ["trained under more than one numerics: workspace dimension 8, synergy loss scale 0.1, seed 42"],
        ),
        (
            [(None, "fp32"), ("a", "tf32"), ("a", "bf16")],
            ["trained under more than one numerics: workspace dimension 8, synergy loss scale 0.1, seed 42"],
        ),
    ],
)
def test_a_cell_trained_by_two_codes_or_numerics_says_so_in_the_table_and_in_the_report(
    make: Callable[..., Directory], parts: list[tuple[str | None, str]], said: list[str]
) -> None:
    directory = make()
    directory.fill(_metrics)
    cell = directory.cell("dim_8_scale_0.1_run_0")
    trained_by = [{"from_step": i, "code": code, "numerics": {"dtype": kind}} for i, (code, kind) in enumerate(parts)]
    directory.finish(cell, _metrics(cell), provenance={"attempts": 2, "trained_by": trained_by})
    aggregate(directory.store.paths.root)
    rows = parquet.read_table(directory.store.paths.table_file).to_pylist()
    assert [json.loads(row["trained_by"]) for row in rows if row["trained_by"]] == [trained_by]
    report = directory.store.paths.report_file.read_text()
    assert all(line in report for line in said)
    assert report.count("trained by more") + report.count("trained under more") == len(said)


@pytest.mark.parametrize("codes", [("a", "a"), ("a", None), ("a", "b")])
def test_results_of_another_code_than_the_others_are_named_whatever_the_revisions_say(
    make: Callable[..., Directory], codes: tuple[str, str | None]
) -> None:
    directory = make()
    odd = directory.cell("dim_8_scale_0.1_run_0")
    for cell in directory.sweep.grid:
        code = codes[1] if cell == odd else codes[0]
        directory.finish(cell, _metrics(cell), provenance={"attempts": 1, "trainer_digest": code})
    aggregate(directory.store.paths.root, figures=False)
    said = "than the others (provenance.trainer_digest): workspace dimension 8, synergy loss scale 0.1, seed 42; differ"
    assert (said in directory.store.paths.report_file.read_text()) == (codes == ("a", "b"))


def test_the_table_of_a_sweep_without_such_cells_has_no_column_for_it(make: Callable[..., Directory]) -> None:
    directory = make()
    directory.fill(_metrics)
    aggregate(directory.store.paths.root, figures=False)
    assert "trained_by" not in parquet.read_schema(directory.store.paths.table_file).names
