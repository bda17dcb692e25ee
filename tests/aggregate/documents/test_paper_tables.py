"""Tables for papers: their numbers are those of the results, and bold is what a declared test says."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest
import yaml
from helpers.command_line import Holdfast

from aggregate.documents.paper_tables import rounded

METHODS = """\
import math, random

FACTORS = {"method": {"kind": "word"}, "data": {"kind": "word"}}
METRICS = {"acc": {"kind": "real", "better": "higher", "label": "=accuracy|% of_all"}}
GAIN = {"baseline": 0.0, "ours": 0.5}


def train(cells, options, run):
    for cell in cells:
        noise = random.Random(f"{cell.seed} {sorted(cell.factors.items())}")
        if cell.seed == 44 and cell.factors == {"method": "ours", "data": "letters"}:
            run.fail(cell, "no convergence")
            continue
        gain = GAIN.get(cell.factors["method"], 0.2) * options["gain"]
        run.finish(cell, {"acc": 1 + gain + noise.gauss(0, 0.02) + cell.seed / 100})
"""


def swept(
    holdfast: Holdfast,
    directory: Path,
    *,
    gain: float = 1.0,
    compared: Sequence[Sequence[str]] = (("ours", "baseline"),),
    data: Sequence[str] = ("letters", "digits"),
) -> None:
    (directory / "methods.py").write_text(METHODS)
    content = {
        "trainer": "methods.py:train",
        "trainer_options": {"gain": gain},
        "sweep": {
            "name": "methods",
            "axes": {"method": ["baseline", "other", "ours"], "data": list(data)},
            "runs_per_condition": 5,
        },
        "analysis": {
            "primary_metrics": ["acc"],
            "tests": [{"metric": "acc", "compare": {"method": list(levels)}} for levels in compared],
        },
    }
    (directory / "sweep.yaml").write_text(yaml.safe_dump(content))
    holdfast("run", "--config", "sweep.yaml", "--pack", "30", expect=4 if "letters" in data else 0)


@pytest.fixture
def tables(holdfast: Holdfast, tmp_path: Path) -> Path:
    swept(holdfast, tmp_path)
    holdfast("aggregate", "out", "--partial", "--tables", "csv,latex,markdown")
    return tmp_path / "out" / "tables"


def test_numbers_are_those_of_the_results(tables: Path) -> None:
    cells = pd.read_parquet(tables.parent / "table.parquet")
    means = cells.groupby(["method", "data"])["acc"].mean()
    name = "'=accuracy|% of_all (higher is better)"
    rows = list(csv.DictReader((tables / "conditions.csv").read_text().splitlines()))
    assert len(rows) == 6
    for row in rows:
        assert float(row[name]) == pytest.approx(means[row["method"], row["data"]], rel=1e-12)
        lost = (row["method"], row["data"]) == ("ours", "letters")
        assert row["completed"] == ("4 of 5" if lost else "5 of 5")
        assert row[f"{name}, seeds"] == ("4" if lost else "5")
    assert not re.search(r"(^|,)[=+@]", (tables / "conditions.csv").read_text(), re.MULTILINE), "no cell is a formula"


def test_bold_is_the_level_that_a_declared_test_found_better_averaged_as_it_averages(tables: Path) -> None:
    text = (tables / "acc_by_method.md").read_text()
    *_, last = (line for line in text.splitlines() if line.startswith("|"))
    assert re.findall(r"\*\*(.+?)\*\*", text) == re.findall(r"\*\*(.+?)\*\*", last), "bold stands in the last row alone"
    head = next(line for line in text.splitlines() if line.startswith("| data")).strip("| ").split(" | ")
    assert [i for i, cell in enumerate(last.strip("| ").split(" | ")) if "**" in cell] == [head.index("method ours")]
    assert "averaged over 2 combinations" in last
    assert "ours against baseline, p" in text
    assert "Incomplete: 29 of 30 cells completed" in text
    assert "**" not in (tables / "conditions.md").read_text(), "no single condition was tested"


def test_where_no_test_says_so_nothing_is_bold(holdfast: Holdfast, tmp_path: Path) -> None:
    swept(holdfast, tmp_path, gain=0.0)
    holdfast("aggregate", "out", "--partial", "--tables", "latex,markdown")
    written = sorted((tmp_path / "out" / "tables").iterdir())
    assert {path.suffix for path in written} == {".tex", ".md"}
    for path in written:
        assert "**" not in path.read_text()
        assert "mathbf" not in path.read_text()


def test_what_latex_and_markdown_take_for_their_own_is_written_out(tables: Path) -> None:
    tex, markdown = (tables / "conditions.tex").read_text(), (tables / "conditions.md").read_text()
    assert r"=accuracy|\% of\_all" in tex
    rows = [line for line in tex.splitlines() if line.endswith(r"\\")]
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {3}
    assert r"=accuracy\|% of_all" in markdown
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in markdown.splitlines() if line.startswith("|")} == {5}


def test_an_unknown_kind_is_refused_and_nothing_is_written(holdfast: Holdfast, tmp_path: Path) -> None:
    said = holdfast("aggregate", "out", "--tables", "csv,latx", expect=2).stderr
    assert said.count("\n") == 1
    assert "'latx' is no kind of table; valid: csv, latex, markdown" in said


def test_once_there_they_are_kept_up_by_every_aggregation(holdfast: Holdfast, tmp_path: Path) -> None:
    swept(holdfast, tmp_path)
    table = tmp_path / "out" / "tables" / "conditions.csv"
    assert not table.exists()
    holdfast("aggregate", "out", "--partial", "--tables", "csv")
    assert "4 of 5" in table.read_text()
    holdfast("run", "out", "--runs-per-condition", "6", expect=4)
    assert table.read_text().count("6 of 6") == 5
    assert table.read_text().count("5 of 6") == 1
    assert {path.suffix for path in table.parent.iterdir()} == {".csv"}


def test_the_averages_differ_by_what_was_tested_where_runs_are_missing(holdfast: Holdfast, tmp_path: Path) -> None:
    """A seed that is good everywhere lacks a run of one level: its other runs must not count for one side alone."""
    swept(holdfast, tmp_path)
    holdfast("aggregate", "out", "--partial", "--tables", "csv")
    statistics = json.loads((tmp_path / "out" / "statistics.json").read_text())
    [claim] = statistics["claims"]["family"]
    *_, last = csv.DictReader((tmp_path / "out" / "tables" / "acc_by_method.csv").read_text().splitlines())
    assert last["data"] == "ours against baseline, averaged over 2 combinations"
    difference = float(last["method ours"]) - float(last["method baseline"])
    assert difference == pytest.approx(claim["estimate"], rel=1e-9)


def test_bold_is_no_level_that_another_test_found_to_be_worse(holdfast: Holdfast, tmp_path: Path) -> None:
    swept(holdfast, tmp_path, compared=[["other", "baseline"], ["ours", "other"]], data=["digits"])
    holdfast("aggregate", "out", "--partial", "--tables", "markdown")
    bold = [line for line in (tmp_path / "out" / "tables" / "conditions.md").read_text().splitlines() if "**" in line]
    assert len(bold) == 1
    assert " ours " in bold[0]


def test_small_numbers_keep_their_digits() -> None:
    assert rounded(3e-10, 2e-10, 4.2e-10) == "3.0e-10 [2.0e-10, 4.2e-10]"
    assert rounded(0.99996, 0.99996, 0.99996) == "0.99996"
    assert rounded(0.934, 0.9221, 0.9459) == "0.934 ± 0.012"
