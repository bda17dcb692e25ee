"""From a clone to the table in the paper: the page's own commands, and its numbers by pandas and scipy."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from helpers.blocks import ROOT, blocks, commands
from helpers.command_line import Holdfast
from scipy import stats

PAGE = ROOT / "docs" / "howto" / "comparing.md"


@pytest.fixture
def out(holdfast: Holdfast, tmp_path: Path) -> Path:
    """The sweep's directory, once the page's commands have been typed in a clone, one after the other."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    lines = [line for line in commands(PAGE) if line.startswith("holdfast ")]
    assert [line.split()[1] for line in lines] == ["plan", "run", "aggregate"]
    for line in lines:
        holdfast(*line.split()[1:])
    return tmp_path / "out"


def test_the_pages_commands_end_in_the_table_that_it_shows(out: Path) -> None:
    (shown,) = blocks(PAGE, "latex")
    written = (out / "tables" / "accuracy_by_method.tex").read_text()
    bodies = [text.partition(r"\begin{tabular}")[2] for text in (written, shown)]
    assert bodies[0].split() == bodies[1].split()
    assert len(bodies[0].split()) > 50
    (quoted,) = blocks(PAGE, "text")
    caption = re.search(r"\\caption\{(.*)\}", written)
    assert caption is not None
    plain = caption[1].replace(r"\%", "%").replace(r"\textless{}", "<").replace(r"$\pm$", "±")
    assert plain.split() == quoted.split()


def test_its_configuration_is_the_one_on_the_page() -> None:
    (shown,) = blocks(PAGE, "yaml")
    lines = (ROOT / "examples" / "trainers" / "separators.yaml").read_text().splitlines()
    assert [line for line in lines if not line.startswith("#")] == shown.strip().splitlines()


def test_its_numbers_are_those_of_another_way_to_them(out: Path) -> None:
    """Paired by data set and seed, averaged over data sets within each seed, Student's t over seeds."""
    cells = pd.read_parquet(out / "table.parquet")
    wide = cells.pivot_table(index=["dataset", "seed"], columns="method", values="accuracy")
    differences = (wide["ours"] - wide["baseline"]).unstack("dataset")
    table = pd.read_csv(out / "tables" / "accuracy_by_method.csv", index_col=0)
    column = "ours minus baseline, paired"
    for name in differences:
        expect(table.loc[name], column, differences[name])
    average = differences.mean(axis=1)
    expect(table.loc["ours against baseline, averaged over 4 combinations"], column, average)
    test = stats.ttest_1samp(average, 0)
    caption = (out / "tables" / "accuracy_by_method.md").read_text()
    assert f"t(9) = {test.statistic:.3g}, 10 seeds, p &lt; 1e-6 after Holm's correction over 1 declared test" in caption
    assert test.pvalue < 1e-6
    assert "The difference has the other sign in 1 row" in caption
    assert differences["blobs"].mean() < 0 < average.mean()


def expect(row: pd.Series[float], column: str, per_seed: pd.Series[float]) -> None:
    interval = stats.ttest_1samp(per_seed, 0).confidence_interval(0.95)
    ends = [row[f"{column}, {end} of 95 % interval"] for end in ("low", "high")]
    assert row[column] == pytest.approx(per_seed.mean())
    assert ends == pytest.approx([interval.low, interval.high])
    assert row[f"{column}, seeds"] == len(per_seed) == 10
