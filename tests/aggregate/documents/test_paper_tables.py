"""Tables for papers: their numbers are those of the results, and bold is what a declared test says."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from helpers.command_line import Holdfast

from aggregate.documents.paper_numbers import rounded

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
    kind: str = "real",
) -> None:
    (directory / "methods.py").write_text(METHODS.replace('"real"', f'"{kind}"'))
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
    assert "Ours minus baseline is paired by seed within each row" in text
    assert re.search(r"p (=|&lt;) \S+ after Holm's correction over 1 declared test; ours is better", text)
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
    assert r"=accuracy\|% of\_all" in markdown
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in markdown.splitlines() if line.startswith("|")} == {5}


LABEL = "x\n\n![](http://evil/t.png) [click](javascript:x) `a` *b* </td>\n# c\r\n=1"


def test_no_label_breaks_a_table_or_brings_a_picture_into_it(tables: Path, holdfast: Holdfast) -> None:
    manifest = tables.parent / "sweep.json"
    document = json.loads(manifest.read_text())
    for revision in document["revisions"]:
        revision["trainer"]["metrics"]["acc"]["label"] = LABEL
        revision["trainer"]["factors"]["method"]["label"] = f"\uff1d{LABEL}"
    manifest.write_text(json.dumps(document))
    holdfast("aggregate", "out", "--partial", "--tables", "csv,latex,markdown")
    markdown = (tables / "conditions.md").read_text()
    (title,) = {line for line in markdown.splitlines() if line.startswith("|") and "evil" in line}
    assert r"x \!\[\](http://evil/t.png) \[click\](javascript:x) \`a\` \*b\* &lt;/td&gt; \# c =1" in title
    for path in tables.glob("*.md"):
        assert not re.search(r"(?<!\\)[\[\]`!]|(?<!<)!", path.read_text().partition("-->")[2].replace(r"\!", ""))
    rows = [line for line in markdown.splitlines() if line.startswith("|")]
    assert markdown.count("\n\n") == 1, "the tables are not torn"
    assert len(rows) == 8
    tex = (tables / "conditions.tex").read_text()
    assert "\n\n" not in tex
    assert len([line for line in tex.splitlines() if line.endswith(r"\\")]) == 7
    with (tables / "conditions.csv").open() as file:
        head, *rest = csv.reader(file)
    assert len(rest) == 6
    assert any(cell.startswith("'\uff1dx ![]") for cell in head)
    assert not any("\n" in cell for cell in head)


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


@pytest.mark.parametrize("kind", ["csv", "latex", "markdown"])
def test_labels_that_a_later_aggregation_does_not_give_are_told_to_be_gone(
    holdfast: Holdfast, tmp_path: Path, kind: str
) -> None:
    swept(holdfast, tmp_path)
    labels = ("--label", "method=way to train")
    holdfast("aggregate", "out", "--partial", "--tables", kind, *labels)
    [table] = (tmp_path / "out" / "tables").glob("conditions.*")
    assert "way to train" in table.read_text()
    assert "headings" not in holdfast("aggregate", "out", "--partial", *labels).stderr
    said = holdfast("aggregate", "out", "--partial").stderr
    assert (
        f"the headings of acc_by_data{table.suffix}, acc_by_method{table.suffix}, conditions{table.suffix} have" in said
    )
    assert "way to train" not in table.read_text()
    (tmp_path / "out" / "report.html").unlink()
    assert "headings" not in holdfast("aggregate", "out", "--partial").stderr


def test_the_caption_says_that_cells_come_from_other_code(holdfast: Holdfast, tmp_path: Path) -> None:
    swept(holdfast, tmp_path, data=["digits"])
    (tmp_path / "methods.py").write_text(METHODS + "# another comment\n")
    holdfast("run", "out", "--runs-per-condition", "6", "--allow-code-change")
    holdfast("aggregate", "out", "--tables", "latex")
    table = (tmp_path / "out" / "tables" / "conditions.tex").read_text()
    assert "3 cells were trained by other code than the rest." in table


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
    assert float(last["ours minus baseline, paired"]) == pytest.approx(claim["estimate"], rel=1e-12)


def test_what_was_declared_and_not_detected_has_its_row_its_difference_and_its_sentence(
    holdfast: Holdfast, tmp_path: Path
) -> None:
    swept(holdfast, tmp_path, gain=0.0, data=["digits", "faces"])
    holdfast("aggregate", "out", "--tables", "csv,markdown")
    [claim] = json.loads((tmp_path / "out" / "statistics.json").read_text())["claims"]["family"]
    text = (tmp_path / "out" / "tables" / "acc_by_method.md").read_text()
    assert "5 seeds, p = " in text
    assert "after Holm's correction over 1 declared test; no difference was detected." in text
    *_, last = csv.DictReader((tmp_path / "out" / "tables" / "acc_by_method.csv").read_text().splitlines())
    column = "ours minus baseline, paired"
    found = [float(last[name]) for name in (column, *(f"{column}, {end} of 95 % interval" for end in ("low", "high")))]
    assert found == pytest.approx([claim["estimate"], claim["low"], claim["high"]])
    assert found[1] < 0 < found[2]


def test_a_comparison_that_failed_runs_could_overturn_says_why_it_has_no_verdict(
    holdfast: Holdfast, tmp_path: Path
) -> None:
    swept(holdfast, tmp_path, gain=0.06)
    holdfast("aggregate", "out", "--partial", "--tables", "markdown")
    [claim] = json.loads((tmp_path / "out" / "statistics.json").read_text())["claims"]["family"]
    assert claim["status"] == "withheld"
    text = (tmp_path / "out" / "tables" / "acc_by_method.md").read_text()
    assert "declared test; no verdict: it does not hold if the 1 failed cell had the worst value seen" in text
    assert "**" not in text


def test_each_of_several_comparisons_has_a_column_and_all_are_corrected_together(
    holdfast: Holdfast, tmp_path: Path
) -> None:
    swept(holdfast, tmp_path, compared=[["ours", "baseline"], ["ours", "other"]], data=["digits", "faces"])
    holdfast("aggregate", "out", "--tables", "csv,markdown")
    rows = list(csv.DictReader((tmp_path / "out" / "tables" / "acc_by_method.csv").read_text().splitlines()))
    names = ["ours minus baseline, paired", "ours minus other, paired"]
    assert all(row[name] for row in rows[:2] for name in names)
    assert [[bool(row[name]) for name in names] for row in rows[2:]] == [[True, False], [False, True]]
    text = (tmp_path / "out" / "tables" / "acc_by_method.md").read_text()
    assert text.count("after Holm's correction over 2 declared tests; ours is better") == 2


def test_what_is_compared_on_a_log_scale_is_divided(holdfast: Holdfast, tmp_path: Path) -> None:
    swept(holdfast, tmp_path, data=["digits", "faces"], kind="positive")
    holdfast("aggregate", "out", "--tables", "csv,markdown")
    cells = pd.read_parquet(tmp_path / "out" / "table.parquet")
    wide = cells.pivot_table(index=["data", "seed"], columns="method", values="acc")
    ratios = np.exp(np.log(wide["ours"] / wide["baseline"]).groupby("data").mean())
    *rows, last = csv.DictReader((tmp_path / "out" / "tables" / "acc_by_method.csv").read_text().splitlines())
    column = "ours divided by baseline, paired"
    assert {row["data"]: float(row[column]) for row in rows} == pytest.approx(dict(ratios))
    assert float(last[column]) == pytest.approx(np.exp(np.log(ratios).mean()))
    assert "the other sign" not in (tmp_path / "out" / "tables" / "acc_by_method.md").read_text()


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
