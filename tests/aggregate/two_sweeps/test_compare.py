"""`holdfast compare A B`: the same cells paired, and what differs in how the two sweeps were made."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from helpers.command_line import Holdfast
from scipy import stats

GAIN = """\
import random

FACTORS = {"width": {"kind": "integer"}, "rate": {"kind": "real", "minimum": 0.0}}
METRICS = {
    "loss": {"kind": "positive", "better": "lower", "label": "loss <nats>"},
    "score": {"kind": "real", "better": "higher"},
}


def train(cells, options, run):
    for cell in cells:
        noise = random.Random(cell.seed)
        base = cell.factors["width"] + noise.gauss(0, 0.1)
        own = random.Random(f"{cell.seed} {options['gain']} {cell.factors['width']}").gauss(0, 0.01)
        run.finish(cell, {"loss": (2 + base) * options["factor"] * (1 + own), "score": base + options["gain"] + own})
"""


def swept(holdfast: Holdfast, directory: Path, name: str, **changes: Any) -> None:
    (directory / "lab").mkdir(exist_ok=True)  # or its neighbours would be part of its code
    (directory / "lab" / "gain.py").write_text(GAIN)
    given = changes.pop("sweep", {})
    sweep = {"name": name, "axes": {"width": [1, 2]}} | ({} if "seeds" in given else {"runs_per_condition": 4}) | given
    options = {"gain": 0.0, "factor": 1.0} | changes
    content = {"trainer": "lab/gain.py:train", "trainer_options": options, "sweep": sweep}
    content |= {"analysis": {"primary_metrics": ["loss", "score"], "tests": []}}
    (directory / f"{name}.yaml").write_text(yaml.safe_dump(content))
    holdfast("run", "--config", f"{name}.yaml", "--output-dir", name, "--pack", "30")


def table(directory: Path, name: str, metric: str) -> pd.DataFrame:
    cells = pd.read_parquet(directory / name / "table.parquet")
    return cells.pivot_table(index="width", columns="seed", values=metric)


def compared(holdfast: Holdfast, *words: str, metric: str = "score") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(holdfast("compare", "a", "b", "--json", *words).stdout)
    return found["metrics"][metric] | {"whole": found}


def test_the_same_cells_are_paired_by_seed(holdfast: Holdfast, tmp_path: Path) -> None:
    swept(holdfast, tmp_path, "a")
    swept(holdfast, tmp_path, "b", gain=0.5, factor=1.2, sweep={"axes": {"width": [2, 1, 4]}})
    for metric, log in (("score", False), ("loss", True)):
        found = compared(holdfast, metric=metric)
        a, b = (table(tmp_path, name, metric) for name in "ab")
        a, b = (np.log(a), np.log(b)) if log else (a, b)
        differences = (b - a).loc[[1, 2]].to_numpy()
        for row, values in zip(found["rows"], [differences.mean(axis=0), *differences], strict=True):
            test = stats.ttest_1samp(values, 0)
            interval = test.confidence_interval(0.95)
            numbers = [row["estimate"], row["low"], row["high"], row["p"]]
            assert numbers == pytest.approx([values.mean(), interval.low, interval.high, test.pvalue], rel=1e-6)
            assert row["n"] == 4
        assert found["logarithm"] == log
    whole = found["whole"]
    assert whole["left_out"] == [["b", "width 4"]]
    different = {entry["what"]: (entry["first"], entry["second"]) for entry in whole["different"]}
    assert different["options.gain"] == ("0.0", "0.5")
    assert different["levels of width"] == ("1 and 2", "2, 1 and 4")
    assert not {"code_digest", "seeds", "versions.torch"} & set(different)


def test_pairing_is_what_makes_small_differences_visible(holdfast: Holdfast, tmp_path: Path) -> None:
    swept(holdfast, tmp_path, "a")
    swept(holdfast, tmp_path, "b", gain=0.1)
    paired, apart = compared(holdfast)["rows"][0], compared(holdfast, "--on", "condition")["rows"][0]
    assert paired["estimate"] == pytest.approx(apart["estimate"], rel=1e-9)
    assert paired["high"] - paired["low"] < (apart["high"] - apart["low"]) / 2
    a, b = (table(tmp_path, name, "score").mean(axis=0) for name in "ab")
    assert apart["p"] == pytest.approx(stats.ttest_ind(b, a, equal_var=False).pvalue, rel=1e-6)


def test_the_page_and_the_terminal_say_what_was_compared_and_what_differs(holdfast: Holdfast, tmp_path: Path) -> None:
    swept(holdfast, tmp_path, "a")
    swept(holdfast, tmp_path, "b", gain=0.5, sweep={"axes": {"width": [1, 2], "rate": [0.1]}})
    said = holdfast("compare", "a", "b").stdout
    assert "b minus a, in 2 conditions that both have, paired by 4 common seeds." in said
    assert "loss <nats> (lower is better): " in said
    assert "options.gain: 0.0 | 0.5" in said
    page = (tmp_path / "comparison.html").read_text()
    assert "loss &lt;nats&gt;" in page
    assert "script" not in page
    assert not re.search(r"(src|href)=", page), "one file, nothing is fetched"
    assert page.count('<svg role="img"') == 2 * 3


def test_other_code_is_what_the_trainer_runs_and_not_what_lies_beside_it(holdfast: Holdfast, tmp_path: Path) -> None:
    swept(holdfast, tmp_path, "a")
    (tmp_path / "lab" / "notes.txt").write_text("of a run by hand\n")
    swept(holdfast, tmp_path, "b")
    said = holdfast("compare", "a", "b").stdout
    assert "different code" not in said
    assert "digest" not in said
    (tmp_path / "lab" / "gain.py").write_text((tmp_path / "lab" / "gain.py").read_text() + "\n# edited\n")
    holdfast("run", "--config", "b.yaml", "--output-dir", "c", "--pack", "30")
    said = holdfast("compare", "a", "c").stdout
    assert "The two were trained by different code; see below." in said
    assert "trainer_digest: " in said


@pytest.mark.parametrize(
    ("other", "words", "says"),
    [
        ({"sweep": {"seeds": [7, 8]}}, [], "a and b have no seed in common; --on condition"),
        ({"sweep": {"axes": {"width": [8]}}}, [], "a and b have no condition in common"),
        (
            {"sweep": {"axes": {"width": [1], "rate": [0.1, 0.2]}}},
            [],
            "b: rate has levels 0.1 and 0.2, and a has no such",
        ),
        ({}, ["--metric", "scor"], "--metric scor"),
        ({}, ["--on", "sed"], "'sed'; did you mean seed?"),
    ],
)
def test_what_cannot_be_compared_is_a_line(
    holdfast: Holdfast, tmp_path: Path, other: dict[str, Any], words: list[str], says: str
) -> None:
    swept(holdfast, tmp_path, "a")
    swept(holdfast, tmp_path, "b", **other)
    said = holdfast("compare", "a", "b", *words, expect=2).stderr
    assert says in said
    assert said.count("\n") == 1
    assert not (tmp_path / "comparison.html").exists()


def test_a_sweep_is_not_compared_with_itself_and_a_directory_without_one_is_named(
    holdfast: Holdfast, tmp_path: Path
) -> None:
    swept(holdfast, tmp_path, "a")
    assert "a and a are the same sweep" in holdfast("compare", "a", "./a", expect=2).stderr
    assert "nothing" in holdfast("compare", "a", "nothing", expect=2).stderr


def test_runs_without_a_value_are_said_and_seeds_that_agree_give_no_interval(
    holdfast: Holdfast, tmp_path: Path
) -> None:
    swept(holdfast, tmp_path, "a")
    exact = GAIN.replace("* (1 + own)", "").replace(" + own", "")
    lost = exact.replace(
        'base = cell.factors["width"]',
        'base = (float("nan") if cell.seed == 43 and options["gain"] else 0) + cell.factors["width"]',
    )
    (tmp_path / "lab" / "exact.py").write_text(lost)
    for name, gain in (("c", 0.0), ("d", 0.5)):
        content = yaml.safe_load((tmp_path / "a.yaml").read_text())
        content |= {"trainer": "lab/exact.py:train", "trainer_options": {"gain": gain, "factor": 1.0}}
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content))
        holdfast("run", "--config", f"{name}.yaml", "--output-dir", name, "--pack", "30")
    said = holdfast("compare", "c", "d", "--metric", "score").stdout
    assert "score: 2 of 8 runs of d have no value; the average rests on 3 seeds" in said
    assert "score: where all seeds have the same difference, nothing is known of chance" in said
    assert "score (higher is better): 0.5000, average over conditions (3 seeds, no p)" in said


def test_equal_seeds_give_no_p_without_pairing(holdfast: Holdfast, tmp_path: Path) -> None:
    """The rounding of three times 0.1 is no spread."""
    constant = "FACTORS = {'a': {'kind': 'integer'}}\nMETRICS = {'m': {'kind': 'real', 'better': 'lower'}}\n"
    constant += (
        "def train(cells, options, run):\n    for cell in cells:\n        run.finish(cell, {'m': options['m']})\n"
    )
    (tmp_path / "constant.py").write_text(constant)
    for name, m in (("a", 0.1), ("b", 0.2)):
        sweep = {"name": name, "axes": {"a": [1, 2]}, "runs_per_condition": 3}
        content = {"trainer": "constant.py:train", "trainer_options": {"m": m}, "sweep": sweep}
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content))
        holdfast("run", "--config", f"{name}.yaml", "--output-dir", name)
    for row in compared(holdfast, "--on", "condition", metric="m")["rows"]:
        assert (row["p"], row["low"], row["n"]) == (None, None, 3)
        assert row["estimate"] == pytest.approx(0.1)
