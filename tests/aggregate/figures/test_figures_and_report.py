from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from helpers.sweeps import ACCURACY, LOSS, METRICS, Directory, make_sweep
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from aggregate.figures.labels import fitted
from aggregate.pipeline import aggregate
from hpc.storage.revisions import write_sweep
from hpc.sweep.cell import Cell
from hpc.sweep.definition import DeclaredTrainer

PNG = b"\x89PNG\r\n\x1a\n"
WORDS = DeclaredTrainer(
    "trainer.py:train",
    "",
    {"optimizer": {"kind": "word", "label": "optimizer & <friends>"}},
    {"score/$x$": {"kind": "real", "better": "higher", "label": "score $x"}},
)


def _metrics(cell: Cell) -> dict[str, float | None]:
    return {ACCURACY: 0.5 + 0.01 * cell.seed % 0.4, LOSS: 0.1 + 0.01 * cell.run_id, "predictability/unique_r2": -0.2}


def _plots(directory: Directory) -> set[str]:
    root = directory.store.paths.plots_directory
    return {path.relative_to(root).as_posix() for path in root.rglob("*.png")}


def test_a_two_factor_sweep_gets_its_figures_under_the_predecessors_names(tmp_path: Path) -> None:
    directory = Directory(tmp_path, make_sweep({"dim": [8, 12, 16], "scale": [0.1, 0.5, 1.0, 2.0, 5.0]}, 3))
    directory.fill(_metrics)
    for cell in directory.sweep.grid:
        directory.history(
            cell, {"val_loss": [9.0, 0.5, 0.2], "train_loss": [3.0, 2.0, None], ACCURACY: [0.1, 0.2, 0.3]}
        )
    aggregate(tmp_path)
    names = {
        f"{pattern}.png"
        for m in ("best_val_loss", "predictability_synergy_acc", "predictability_unique_r2")
        for pattern in (f"{m}_vs_dimensions", f"{m}_vs_synergy_scale", f"heatmap_{m}")
    }
    curves = {
        f"training_curves/{m}{suffix}.png"
        for m in ("val_loss", "train_loss", "predictability_synergy_acc")
        for suffix in ("", "_by_dimensions", "_by_synergy_scale")
    }
    assert _plots(directory) == names | curves | {"statistical_summary.png"}
    for name in _plots(directory):
        assert (directory.store.paths.plots_directory / name).read_bytes().startswith(PNG)


def test_a_foreign_trainer_with_one_factor_of_words_gets_no_heatmap(tmp_path: Path) -> None:
    directory = Directory(tmp_path, make_sweep({"optimizer": ["adam", "sgd"]}, 3, WORDS, primary=["score/$x$"]))
    directory.fill(lambda cell: {"score/$x$": float(cell.seed)})
    aggregate(tmp_path)
    assert _plots(directory) == {"score_x__vs_optimizer.png", "statistical_summary.png"}
    assert "optimizer &amp; &lt;friends&gt;" in directory.store.paths.report_file.read_text()


@pytest.mark.parametrize("seeds", [1, 2])
@pytest.mark.parametrize("axes", [{"dim": [8]}, {"scale": [0.0, 0.1, 1.0]}, {"dim": [8], "scale": [1.0]}])
def test_the_smallest_grids_are_drawn(tmp_path: Path, axes: dict[str, list[int | float]], seeds: int) -> None:
    directory = Directory(tmp_path, make_sweep(axes, seeds))
    directory.fill(_metrics)
    directory.history(directory.sweep.grid[0], {"val_loss": [1.0]})
    aggregate(tmp_path)
    assert "training_curves/val_loss.png" in _plots(directory)


def test_three_factors_are_drawn_line_by_line(tmp_path: Path) -> None:
    trainer = DeclaredTrainer("t.py:t", "", {}, {"m": {"kind": "real", "better": "lower"}})
    directory = Directory(tmp_path, make_sweep({"a": [1, 2], "b": ["x", "y"], "c": [0.5, 1.5]}, 2, trainer, ["m"]))
    directory.fill(lambda cell: {"m": float(cell.seed)})
    aggregate(tmp_path)
    assert _plots(directory) == {"m_vs_a.png", "m_vs_b.png", "m_vs_c.png", "statistical_summary.png"}


def test_a_sweep_without_results_still_gets_a_report(tmp_path: Path) -> None:
    directory = Directory(tmp_path, make_sweep({"dim": [8, 12]}, 2))
    outcome = aggregate(tmp_path)
    assert outcome.report == directory.store.paths.report_file
    report = outcome.report.read_text()
    assert "PARTIAL" in report
    assert "()" not in report[report.index("<body>") : report.index("<script>")]
    assert _plots(directory) == set()


def test_one_condition_one_metric_and_one_test_are_said_in_the_singular(tmp_path: Path) -> None:
    one = Directory(tmp_path / "one", make_sweep({"dim": [8]}, 3, primary=[LOSS]))
    one.fill(_metrics)
    report = aggregate(one.store.paths.root, figures=False).report.read_text()
    asked = "How does best validation loss depend on workspace dimension, within 3 epochs of training?"
    assert f'<p class="asked">{asked}</p>' in report
    assert "Tried: 1 condition (workspace dimension 8), 3 seeds: 3 runs of 3 epochs, all completed." in report
    two = Directory(tmp_path / "two", make_sweep({"dim": [8, 16]}, 3, primary=[LOSS]))
    two.fill(lambda cell: {LOSS: 0.1 * cell.run_id * float(cell.factors["dim"])})
    report = aggregate(two.store.paths.root).report.read_text()
    assert "The one test declared before the first job detected no effect." in report
    answer = re.search(r'<p class="answer">Not detected: [^<]*</p>', report)
    assert answer is not None
    assert "; detectable with 80 % power: roughly " in answer[0]


def test_what_the_trainer_says_its_factors_and_metrics_are_is_said_before_the_claims(tmp_path: Path) -> None:
    factors = {"width": {"kind": "integer", "about": "units in <each> layer"}, "depth": {"kind": "integer"}}
    metrics = {
        "score": {"kind": "bounded", "better": "higher", "chance": 0.25, "about": "share of answers that are right"},
        "other": {"kind": "real", "better": "lower", "about": "nothing that a claim is about"},
    }
    trainer = DeclaredTrainer("t.py:t", "", factors, metrics)
    directory = Directory(tmp_path, make_sweep({"width": [1, 2], "depth": [1, 2]}, 3, trainer, ["score"]))
    directory.fill(lambda cell: {"score": 0.3 + 0.1 * cell.run_id, "other": float(cell.seed)})
    report = aggregate(tmp_path, figures=False).report.read_text()
    terms = report[report.index("<dl") : report.index("</dl>")]
    assert "<dt>width</dt><dd>units in &lt;each&gt; layer.</dd>" in terms
    assert "<dt>score</dt><dd>share of answers that are right; guessing gives 0.25; higher is better.</dd>" in terms
    assert terms.count("<dt>") == 2
    assert report.index("</dl>") < report.index("<article")


def test_the_mean_of_the_last_epochs_names_no_more_of_them_than_there_are(tmp_path: Path) -> None:
    directory = Directory(tmp_path, make_sweep({"dim": [8]}, 2))
    directory.fill(_metrics)
    for cell in directory.sweep.grid:
        directory.history(cell, {"val_loss": [9.0, 0.5, 0.2]})
    assert (
        '<th scope="col">validation loss, of the last epoch</th>'
        in aggregate(tmp_path, figures=False).report.read_text()
    )


def test_a_patch_is_shown_by_its_size(tmp_path: Path) -> None:
    sweep = make_sweep({"dim": [8]}, 1)
    directory = Directory(tmp_path, sweep)
    git = {"here": {"commit": "0123abc", "modified": True, "diff": "--- a\n+++ b\n+a line of code"}}
    git["there"] = {"commit": "0123abc", "modified": True, "diff": "300000 bytes"}
    write_sweep(directory.store, replace(sweep, grid=replace(sweep.grid, seeds=(42, 43))), {"git": git})
    report = aggregate(tmp_path, figures=False).report.read_text()
    assert "modified, patch of 3 lines in sweep.json" in report
    assert "modified, patch of 300000 bytes, not kept" in report
    assert "a line of code" not in report


def test_provenance_shows_what_ran_and_not_what_the_grid_overrides(tmp_path: Path) -> None:
    dim = {"kind": "integer", "overrides": "model.width"}
    trainer = DeclaredTrainer("t.py:t", "", {"dim": dim, "rate": {"kind": "real"}}, METRICS)
    sweep = make_sweep({"dim": [8, 16], "rate": [0.5]}, 2, trainer, [LOSS])
    sections = {"model": {"width": 12, "depth": 3}, "training": {"epochs": 3}}
    directory = Directory(tmp_path, replace(sweep, sections=sections, options={"kernel": "fast"}))
    directory.fill(_metrics)
    report = aggregate(tmp_path, figures=False).report.read_text()
    shown = dict(re.findall(r'<tr><td class="word">([^<]*)</td><td class="word">([^<]*)</td></tr>', report))
    assert shown["sections.model.width"] == "set by the grid: 8, 16"
    assert shown["sections.model.depth"] == "3"
    assert shown["options.kernel"] == "fast"


def test_provenance_shows_on_what_the_runs_were_trained_and_how_many_on_each(tmp_path: Path) -> None:
    directory = Directory(tmp_path, make_sweep({"dim": [8, 16]}, 2))
    for i, cell in enumerate(directory.sweep.grid):
        numerics = {"device": "cpu", "hardware": "AVX2" if i else "AVX512", "dtype": "float32"}
        directory.finish(cell, _metrics(cell), provenance={"attempts": 1, "numerics": numerics})
    report = aggregate(tmp_path, figures=False).report.read_text()
    shown = dict(re.findall(r'<tr><td class="word">([^<]*)</td><td class="word">([^<]*)</td></tr>', report))
    assert shown["results: numerics.device"] == "cpu"
    assert sorted(shown["results: numerics.hardware"].split("; ")) == ["AVX2 (3 runs)", "AVX512 (1 run)"]


def test_exploratory_tables_say_how_many_they_are_and_that_their_intervals_are_not_corrected(tmp_path: Path) -> None:
    sweep = make_sweep({"dim": [8, 12, 16]}, 4, primary=[ACCURACY, LOSS])
    analysis = dict(sweep.analysis) | {"reference": {"dim": 16}}
    directory = Directory(tmp_path, replace(sweep, analysis=analysis))
    random = np.random.default_rng(6)
    names = (ACCURACY, LOSS, "train_loss", "val_loss")
    directory.fill(lambda _: {name: float(random.uniform(0.2, 0.8)) for name in names})
    page = " ".join(aggregate(tmp_path, figures=False).report.read_text().split())
    assert "Exploratory: the same contrasts of other metrics (2 tests)" in page
    assert "False discovery rate over these 2 tests" in page
    assert page.count("Exploratory: synergy accuracy against the reference (2 comparisons)") == 1
    assert page.count("p is corrected over all 4 comparisons with the reference, of 2 metrics") == 2
    assert page.count("the intervals are not corrected: each has 95 % coverage on its own.") == 2
    assert "The intervals are not corrected: each has 95 % coverage on its own." in page


def test_numbers_that_no_axis_has_room_for_cost_no_figure(tmp_path: Path) -> None:
    directory = Directory(tmp_path, make_sweep({"dim": [8, 12], "scale": [0.1, 1.0]}, 2))
    directory.fill(lambda cell: {LOSS: 1e308 * (1 + 0.5 * cell.run_id), "predictability/unique_r2": -1e308})
    for cell in directory.sweep.grid:
        directory.history(cell, {"val_loss": [1.7e308, 1.0], "predictability/unique_r2": [-1.7e308, 1.7e308]})
    aggregate(tmp_path)
    assert {"heatmap_best_val_loss.png", "training_curves/predictability_unique_r2.png"} <= _plots(directory)


@pytest.mark.parametrize("text", ["loss", "synergy information, 1 - CE / ln 8, clipped to [0, 1]", "word " * 40])
def test_a_label_takes_no_more_room_than_it_has(text: str) -> None:
    shown, points = fitted(text, 2.0, 9.0)
    figure = Figure()
    drawn = figure.text(0, 0, shown, fontsize=points).get_window_extent(FigureCanvasAgg(figure).get_renderer())
    assert drawn.width / figure.dpi <= 2.0
    assert shown.count("\n") <= 1
    assert shown.split()[0] == text.split()[0]


def test_metrics_whose_names_differ_only_in_a_slash_do_not_overwrite_each_other(tmp_path: Path) -> None:
    directory = Directory(tmp_path, make_sweep({"dim": [8, 12]}, 2))
    directory.fill(lambda _: {"a/b": 1.0, "a_b": 2.0, "../x": 3.0})
    aggregate(tmp_path)
    assert {"a_b_vs_dimensions.png", "a_b_2_vs_dimensions.png", "_x_vs_dimensions.png"} <= _plots(directory)


def test_drawing_leaves_matplotlibs_settings_alone(tmp_path: Path) -> None:
    directory = Directory(tmp_path, make_sweep({"dim": [8]}, 2))
    directory.fill(_metrics)
    before = dict(matplotlib.rcParams)
    aggregate(tmp_path)
    assert dict(matplotlib.rcParams) == before


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.found += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action")]


def test_the_report_is_one_file_that_needs_no_network(tmp_path: Path) -> None:
    directory = Directory(tmp_path, make_sweep({"dim": [8, 12], "scale": [0.1, 1.0]}, 2))
    directory.fill(_metrics)
    report = aggregate(tmp_path).report.read_text()
    links = _Links()
    links.feed(report)
    within = [link for link in links.found if link.startswith("data:image/png;base64,")]
    files = set(links.found) - set(within)
    assert within
    assert {f"plots/{name}" for name in _plots(directory)} == files  # every figure is a file that is linked
    assert not {"link", "iframe", "object", "base"} & set(links.tags)
    # Scripts may ask for nothing: tests/aggregate/report looks at them in a browser.
    assert not re.search(r"url\(|@import|https?://", re.sub(r"<script>.*?</script>", "", report, flags=re.DOTALL))
    assert "default-src 'none'; img-src data:" in report


def test_the_report_names_incomplete_cells_with_their_causes_escaped(tmp_path: Path) -> None:
    directory = Directory(tmp_path, make_sweep({"dim": [8, 12]}, 2))
    directory.finish(directory.cell("dim_8_run_0"), {ACCURACY: 0.5, LOSS: 0.1})
    directory.fail(directory.cell("dim_8_run_1"), "<script>alert(1)</script>")
    outcome = aggregate(tmp_path)
    report = outcome.report.read_text()
    assert "FAILED: workspace dimension 8, seed 43: &lt;script&gt;alert(1)&lt;/script&gt;" in report
    assert "<script>alert" not in report
    assert "MISSING: 2 cells: workspace dimension 12, seed 42; workspace dimension 12, seed 43" in report
    assert "MISSING: 2 cells: dim_12_run_0, dim_12_run_1" in outcome.problems  # as commands call them
    assert "dim_12" not in report
    assert not outcome.complete


def test_problems_are_limited_and_say_how_many_more_there_are(tmp_path: Path) -> None:
    directory = Directory(tmp_path, make_sweep({"dim": [8]}, 60))
    for cell in directory.sweep.grid:
        directory.fail(cell, f"cause {cell.run_id:02d}")
    outcome = aggregate(tmp_path, figures=False)
    assert len(outcome.problems) == 41
    assert outcome.problems[0] == "FAILED: dim_8_run_0: cause 00"
    assert outcome.problems[-1] == "... and 20 more"


def test_growing_a_sweep_is_said_in_the_report(tmp_path: Path) -> None:
    sweep = make_sweep({"dim": [8]}, 2)
    directory = Directory(tmp_path, sweep)
    directory.fill(_metrics)
    write_sweep(directory.store, replace(sweep, grid=replace(sweep.grid, seeds=(42, 43, 44))), {})
    assert any("seeds were added" in line for line in aggregate(tmp_path, figures=False).problems)
