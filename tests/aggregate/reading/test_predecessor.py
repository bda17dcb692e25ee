"""A directory that the predecessor left is read as it is, and nothing of it is changed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aggregate.pipeline import aggregate
from hpc.cli.app import main
from hpc.errors import SweepError
from hpc.files.limits import DOCUMENT
from hpc.files.opening import RefusedFileError


def _run(dim: int, scale: float, run: int) -> dict[str, Any]:
    random = np.random.default_rng([dim, int(10 * scale), run])
    return {
        "best_val_loss": float(random.random()),
        "predictability": {"predictability/synergy_acc": float(random.random())},
        "hidden_dim": 128,
        "experiment": "fusion_only",
        "workspace_dim": dim,
        "synergy_scale": scale,
        "run_id": run,
        "seed": 42 + run,
        "condition_id": f"dim_{dim}_scale_{scale:.1f}_run_{run}",
    }


def _leave(root: Path, absent: tuple[int, float, int] | None = None) -> None:
    """What multi_run_lowdim_sweep.py writes, with its non-standard NaN and its pickle."""
    conditions = {}
    for dim in (8, 12):
        for scale in (0.05, 1.0):
            runs = [_run(dim, scale, run) for run in range(3) if (dim, scale, run) != absent]
            conditions[f"dim_{dim}_scale_{scale:.2f}"] = {
                "workspace_dim": dim,
                "synergy_scale": scale,
                "n_runs": len(runs),
                "aggregated_metrics": {},
                "individual_results": runs,
            }
    conditions["dim_8_scale_1.00"]["individual_results"][2]["best_val_loss"] = float("nan")
    (root / "aggregated_results.json").write_text(json.dumps(conditions))
    (root / "sweep_state.pkl").write_bytes(b"never to be read")


def test_an_aggregate_of_the_predecessor_becomes_statistics_figures_and_a_report(tmp_path: Path) -> None:
    _leave(tmp_path)
    before = (tmp_path / "aggregated_results.json").read_bytes()
    outcome = aggregate(tmp_path)
    assert outcome.complete
    assert (tmp_path / "aggregated_results.json").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "aggregated_results.json",
        "holdfast",
        "sweep_state.pkl",
    ]
    document = json.loads((tmp_path / "holdfast" / "aggregated_results.json").read_text())
    assert list(document) == ["dim_8_scale_0.05", "dim_8_scale_1.0", "dim_12_scale_0.05", "dim_12_scale_1.0"]
    condition = document["dim_8_scale_1.0"]
    seeds = [_run(8, 1.0, run) for run in range(3)]
    accuracy = [run["predictability"]["predictability/synergy_acc"] for run in seeds]
    assert condition["aggregated_metrics"]["predictability/synergy_acc"]["mean"] == pytest.approx(np.mean(accuracy))
    assert condition["aggregated_metrics"]["best_val_loss"]["n"] == 2
    assert list(condition["aggregated_metrics"]) == ["predictability/synergy_acc", "best_val_loss"]
    assert (outcome.plots / "heatmap_best_val_loss.png").exists()
    assert any("last epoch" in line for line in outcome.problems)
    assert json.loads((tmp_path / "holdfast" / "statistics.json").read_text())["claims"]["family"] == []


def test_runs_that_are_not_there_are_missing_cells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _leave(tmp_path, absent=(12, 1.0, 1))
    assert main(["aggregate", str(tmp_path)]) == 4
    said = capsys.readouterr()
    assert "11 COMPLETED, 1 MISSING" in said.out
    assert str(tmp_path / "holdfast" / "plots") in said.out
    assert "MISSING: dim_12_scale_1.0_run_1" in said.err


def test_single_runs_are_read_where_the_aggregate_was_never_written(tmp_path: Path) -> None:
    for run in range(2):
        folder = tmp_path / f"individual_results/dim_8_scale_0.5_run_{run}/synergy_experiment/lowdim_sweep_results"
        folder.mkdir(parents=True)
        results = [{"workspace_dim": 8, "best_val_loss": 0.25 + run}, {"workspace_dim": 9, "best_val_loss": 9.0}]
        (folder / "sweep_results_fusion_only.json").write_text(json.dumps(results))
    aggregate(tmp_path, figures=False)
    document = json.loads((tmp_path / "holdfast" / "aggregated_results.json").read_text())
    assert list(document) == ["dim_8_scale_0.5"]
    assert document["dim_8_scale_0.5"]["aggregated_metrics"]["best_val_loss"]["mean"] == 0.75
    assert [entry["seed"] for entry in document["dim_8_scale_0.5"]["individual_results"]] == [42, 43]


def test_a_damaged_aggregate_is_named_and_an_empty_one_is_no_sweep(tmp_path: Path) -> None:
    (tmp_path / "aggregated_results.json").write_text('{"dim_8": ')
    with pytest.raises(SweepError, match=r"aggregated_results\.json: not valid JSON"):
        aggregate(tmp_path)
    (tmp_path / "aggregated_results.json").write_text("{}")
    with pytest.raises(SweepError, match="no run of the predecessor"):
        aggregate(tmp_path)


def test_nothing_is_written_through_a_link_that_lies_in_it(tmp_path: Path) -> None:
    """What is made of it goes to a directory inside, which may have been made before: as a link to one's own sweep."""
    (tmp_path / "evil").mkdir()
    _leave(tmp_path / "evil")
    victim = tmp_path / "victim" / "sweep"
    for name in ("sweep.json", "report.html", "plots/mine.png"):
        (victim / name).parent.mkdir(parents=True, exist_ok=True)
        (victim / name).write_text("precious")
    (tmp_path / "evil" / "holdfast").symlink_to(victim)
    before = {path: path.read_bytes() if path.is_file() else b"" for path in victim.rglob("*")}
    with pytest.raises(RefusedFileError) as refused:
        aggregate(tmp_path / "evil")
    assert refused.value.filename == str(tmp_path / "evil" / "holdfast")
    assert {path: path.read_bytes() if path.is_file() else b"" for path in victim.rglob("*")} == before


@pytest.mark.parametrize("folder", ["plots", "tables"])
def test_nothing_is_written_through_a_link_that_lies_where_its_output_is(tmp_path: Path, folder: str) -> None:
    (tmp_path / "evil" / "holdfast").mkdir(parents=True)
    _leave(tmp_path / "evil")
    (tmp_path / "home").mkdir()
    (tmp_path / "evil" / "holdfast" / folder).symlink_to(tmp_path / "home")
    with pytest.raises(RefusedFileError):
        aggregate(tmp_path / "evil", tables=["csv"])
    assert not list((tmp_path / "home").iterdir())


def test_files_that_are_too_large_together_are_refused_before_the_first_is_read(tmp_path: Path) -> None:
    first = tmp_path / "individual_results" / "dim_8_scale_1.0_run_0" / "sweep_results_1.json"
    first.parent.mkdir(parents=True)
    first.touch()
    os.truncate(first, DOCUMENT)  # zeros, which are no JSON
    with pytest.raises(SweepError, match="not valid JSON"):
        aggregate(tmp_path)
    for number in range(2, 6):
        os.link(first, first.with_name(f"sweep_results_{number}.json"))
    with pytest.raises(RefusedFileError, match=r"has 83\.9 MB, where at most 67\.1 MB"):
        aggregate(tmp_path)
