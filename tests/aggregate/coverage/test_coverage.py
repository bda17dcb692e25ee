"""The short form of `holdfast check stats`: what is shipped covers, and what does not is known not to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.command_line import Holdfast
from helpers.sweeps import ACCURACY, LOSS, Directory, make_sweep

from aggregate.analysis.study import study
from aggregate.coverage.populations import own, textbook
from aggregate.coverage.row import CoverageRow, text
from aggregate.coverage.shortfall import fallen, read_baseline, verdict
from aggregate.coverage.simulation import simulate
from aggregate.coverage.verdicts import simulate_verdicts
from aggregate.reading.sweep import read
from hpc.sweep.cell import Cell


@pytest.fixture(scope="module")
def rows() -> list[CoverageRow]:
    return list(simulate(list(textbook()), 2000, seed=1))


def _share(rows: list[CoverageRow], what: str, data: str, seeds: int) -> float:
    found = [row.share for row in rows if (row.what, row.data, row.seeds) == (what, data, seeds)]
    assert len(found) == 1
    return 100 * found[0]


@pytest.mark.parametrize(
    ("what", "data", "coverages"),
    [  # published coverages at 3, 5 and 10 seeds
        ("t", "normal", (94.8, 95.0, 94.7)),
        ("t", "lognormal, sigma 0.5", (92, 92, 92)),
        ("t", "lognormal, sigma 1.0", (84, 82, 84)),
        ("t of logarithms", "lognormal, sigma 1.0", (95, 95, 95)),  # exact, for the geometric mean
        ("delta-logit t", "accuracy about 0.9", (95, 95, 95)),
        ("delta-logit t", "accuracy about 0.967", (95, 94, 94)),
    ],
)
def test_intervals_cover_as_published(
    rows: list[CoverageRow], what: str, data: str, coverages: tuple[float, ...]
) -> None:
    for seeds, coverage in zip((3, 5, 10), coverages, strict=True):
        assert _share(rows, what, data, seeds) == pytest.approx(coverage, abs=2.2)


def test_no_interval_for_a_mean_copes_with_collapsing_seeds(rows: list[CoverageRow]) -> None:
    assert all(row.share < 0.8 for row in rows if "collapse" in row.data and row.what in ("t", "delta-logit t"))


def test_exact_intervals_bands_and_improvement_cover_what_they_promise(rows: list[CoverageRow]) -> None:
    promised = ("median, ordered values", "completion, Clopper-Pearson", "band for a curve")
    found = [row for row in rows if row.what in promised]
    assert len(found) > 15
    assert all(row.share > row.nominal - 3.5 * row.error for row in found)


def test_equivalence_and_trends_err_no_more_often_than_they_say(rows: list[CoverageRow]) -> None:
    found = [row for row in rows if row.is_error]
    assert {row.what for row in found} == {
        "equivalence, at the margin",
        "trend of failures",
        "two groups, flagged in error",
        "Holm's correction",
    }
    assert all(row.share < row.nominal + 3.5 * row.error for row in found)


def test_the_baseline_is_of_these_rows_and_the_verdicts_in_it_are_right(rows: list[CoverageRow]) -> None:
    baseline = read_baseline()
    assert {(row.what, row.data, row.seeds) for row in rows} < set(baseline)
    for row in baseline.values():
        if row.what.startswith(("hypothesis", "family-wise error", "intervals leave out 0")):
            assert row.repeats >= 1000
            if row.what == "hypothesis, Yes" and row.data.endswith("its mean the same"):
                assert row.share > row.nominal  # no test can know of collapses that no seed shows
            else:
                assert row.share <= row.nominal + 3.5 * row.error if row.is_error else row.share >= row.nominal


def test_the_documentation_shows_the_baseline() -> None:
    page = (Path(__file__).parents[3] / "docs/statistics.md").read_text()
    tables = [line for line in page.splitlines() if line.startswith("| ") and line.count("|") == 7]
    measured = list(text(read_baseline().values()))[2:]
    assert [line for line in tables if line in measured] == measured
    assert " ".join(page.split()).count(" ".join(verdict(read_baseline().values()).split())) == 1


def test_every_row_of_the_verdicts_is_watched_by_the_baseline() -> None:
    assert {(row.what, row.data, row.seeds) for row in simulate_verdicts(2)} < set(read_baseline())


def test_groups_at_a_distance_are_found_as_the_documentation_says(rows: list[CoverageRow]) -> None:
    found = [(row, row.seeds, int(row.data.split()[-4])) for row in rows if row.what == "two groups, found"]
    assert {(seeds, distance) for _, seeds, distance in found} == {(n, away) for n in (5, 10, 20) for away in (20, 60)}
    for row, seeds, distance in found:
        if (seeds, distance) == (5, 20):
            assert 0.55 < row.share < 0.75
        else:
            assert row.share >= row.nominal


def test_the_verdicts_are_as_the_baseline_has_them() -> None:
    assert fallen(simulate_verdicts(20), read_baseline()) == []


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


def test_check_stats_prints_tables_with_their_errors_and_ends_with_its_verdict_on_one_line(
    tmp_path: Path, holdfast: Holdfast
) -> None:
    directory = Directory(tmp_path / "out", make_sweep({"dim": [2, 4, 8]}, 8))
    directory.fill(_noisy)
    printed = holdfast("check", "stats", "--short", "out").stdout.splitlines()
    assert printed[:2] == ["## The verdicts, on 100 made-up sweeps per row", ""]
    assert "## Textbook data, 1,000 repeats per row" in printed
    assert printed[2] == "| what | data | seeds | promised % | measured % | +- |"
    assert any(line.startswith(f"| t of logarithms | your {LOSS}") for line in printed)
    assert {line.count("|") for line in printed if line.startswith("|")} == {7}
    assert [line for line in printed if line.startswith("## ")][-1] == "## Data drawn from your own residuals"
    assert printed[-2] == ""
    assert "; delta-logit t holds in " in printed[-1]
    assert "(10 % of seeds collapse, 3 seeds)" in printed[-1]
    assert [line for line in printed if line.startswith("verdict: ")] == printed[-1:]


def test_a_row_reads_as_percentages() -> None:
    line = list(text([CoverageRow("t", "normal", 3, 0.95, 0.9412, 10_000)]))[-1]
    assert line == "| t | normal | 3 | >= 95 | 94.1 | 0.2 |"
