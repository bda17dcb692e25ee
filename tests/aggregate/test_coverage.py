"""The short form of `holdfast check stats`: what is shipped covers, and what does not is known not to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.sweeps import ACCURACY, LOSS, Directory, make_sweep

from aggregate.coverage import Row, simulate, text
from aggregate.populations import own, textbook
from aggregate.reading import read
from aggregate.study import study
from hpc.cli import main
from hpc.sweep.cell import Cell


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return list(simulate(list(textbook()), 2000, seed=1))


def _share(rows: list[Row], what: str, data: str, seeds: int) -> float:
    found = [row.share for row in rows if (row.what, row.data, row.seeds) == (what, data, seeds)]
    assert len(found) == 1
    return 100 * found[0]


@pytest.mark.parametrize(
    ("what", "data", "coverages"),
    [  # published coverages at 3, 5 and 10 seeds
        ("t", "normal", (94.8, 95.0, 94.7)),
        ("t", "lognormal, sigma 0.5", (92, 92, 92)),
        ("delta-log t", "lognormal, sigma 0.5", (94, 94, 93)),
        ("t", "lognormal, sigma 1.0", (84, 82, 84)),
        ("delta-log t", "lognormal, sigma 1.0", (92, 89, 89)),
        ("delta-logit t", "accuracy about 0.9", (95, 95, 95)),
        ("delta-logit t", "accuracy about 0.967", (95, 94, 94)),
    ],
)
def test_intervals_cover_as_published(rows: list[Row], what: str, data: str, coverages: tuple[float, ...]) -> None:
    for seeds, coverage in zip((3, 5, 10), coverages, strict=True):
        assert _share(rows, what, data, seeds) == pytest.approx(coverage, abs=2.2)


def test_no_interval_for_a_mean_copes_with_collapsing_seeds(rows: list[Row]) -> None:
    assert all(row.share < 0.8 for row in rows if "collapse" in row.data and row.what in ("t", "delta-logit t"))


def test_exact_intervals_two_stage_intervals_and_bands_cover_what_they_promise(rows: list[Row]) -> None:
    promised = (
        "median, ordered values",
        "completion, Clopper-Pearson",
        "two-stage interval, Stein",
        "band for a curve",
    )
    found = [row for row in rows if row.what in promised]
    assert len(found) > 15
    assert all(row.share > row.nominal - 3.5 * row.error for row in found)


def test_the_family_errs_no_more_often_than_it_says(rows: list[Row]) -> None:
    found = [row for row in rows if row.what.startswith(("family-wise error", "type I error"))]
    assert {row.seeds for row in found} == {3, 5, 10}
    assert all(row.share < row.nominal + 3.5 * row.error for row in found)
    assert {row.data for row in found} == {population.name for population in textbook()}


def _noisy(cell: Cell) -> dict[str, float | None]:
    random = np.random.default_rng([cell.seed, int(cell.factors["dim"])])
    return {ACCURACY: float(random.beta(40, 4)), LOSS: float(random.lognormal(-2, 0.2))}


def test_a_sweeps_own_residuals_become_data_with_a_known_mean(tmp_path: Path) -> None:
    directory = Directory(tmp_path, make_sweep({"dim": [2, 4, 8, 16, 32]}, 8))
    directory.fill(_noisy)
    accuracy, loss = own(study(read(directory.store)))
    assert (accuracy.kind, loss.kind) == ("bounded", "positive")
    draws = loss.draw(np.random.default_rng(0), (200_000,))
    assert draws.mean() == pytest.approx(loss.mean, rel=2e-3)
    assert np.log(draws).std() == pytest.approx(0.2, rel=0.25)
    assert accuracy.name == f"your {ACCURACY} (40 residuals)"


def test_two_seeds_of_two_conditions_are_too_few_to_fit_to(tmp_path: Path) -> None:
    directory = Directory(tmp_path, make_sweep({"dim": [2, 4]}, 2))
    directory.fill(_noisy)
    assert list(own(study(read(directory.store)))) == []


def test_check_stats_prints_a_table_with_its_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = Directory(tmp_path, make_sweep({"dim": [2, 4, 8]}, 8))
    directory.fill(_noisy)
    assert main(["check", "stats", "--short", str(tmp_path)]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "| what | data | seeds | nominal % | measured % | +- |"
    assert any(line.startswith(f"| delta-log t | your {LOSS}") for line in printed)
    assert all(line.count("|") == 7 for line in printed[: printed.index("")])


def test_a_row_reads_as_percentages() -> None:
    line = list(text([Row("t", "normal", 3, 0.95, 0.9412, 10_000)]))[-1]
    assert line == "| t | normal | 3 | 95 | 94.1 | 0.2 |"
