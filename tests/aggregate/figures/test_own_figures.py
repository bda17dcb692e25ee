"""Figures of the user's own, their formats, and figures that are no longer made."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers.command_line import ROOT
from helpers.sweeps import LOSS, Directory, make_sweep
from PIL import Image

from aggregate.figures.own.stamps import ends_of
from aggregate.pipeline import aggregate
from hpc.errors import ConfigError
from hpc.files import reading
from hpc.storage.revisions import write_sweep
from hpc.sweep.cell import Cell

FIGURE = """
import neighbour

def draw(aggregated_results, output_dir):
    assert neighbour.ANSWER == 42
    losses = [c["aggregated_metrics"]["best_val_loss"]["mean"] for c in aggregated_results.values()]
    (output_dir / "mine.png").write_bytes(neighbour.PNG)
    (output_dir / "mine.txt").write_text(str(losses))

def forget(aggregated_results, output_dir):
    return "a figure that nobody saves"

def fail(aggregated_results, output_dir):
    raise RuntimeError("no such metric")
"""
PNG = (
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\x00\x1f\x15\xc4\x89"
    b"\x00\x00\x00\nIDATx\x9cc\x00\x01\x00\x00\x05\x00\x01\r\n-\xb4\x00\x00\x00\x00IEND\xaeB`\x82"
)


def _metrics(cell: Cell) -> dict[str, float | None]:
    return {LOSS: 0.5 + 0.25 * cell.run_id}


@pytest.fixture
def figures(tmp_path: Path) -> Path:
    (tmp_path / "own.py").write_text(FIGURE)
    (tmp_path / "neighbour.py").write_text(f"ANSWER = 42\nPNG = {PNG!r}\n")
    return tmp_path / "own.py"


def _directory(root: Path, **analysis: Any) -> Directory:
    sweep = make_sweep({"dim": [8, 12]}, 2, primary=[LOSS])
    directory = Directory(root / "out", replace(sweep, analysis=dict(sweep.analysis) | analysis))
    directory.fill(_metrics)
    return directory


def test_a_users_figure_gets_the_results_and_the_directory_and_goes_into_the_report(
    tmp_path: Path, figures: Path
) -> None:
    directory = _directory(tmp_path, figures=[f"{figures}:draw"])
    outcome = aggregate(directory.store.paths.root)
    assert (outcome.plots / "mine.txt").read_text() == "[0.625, 0.625]"
    assert f"mine, by {figures}:draw" in outcome.report.read_text()


def test_a_users_figure_that_fails_is_named_and_stops_nothing(tmp_path: Path, figures: Path) -> None:
    targets = [f"{figures}:fail", f"{figures}:absent", "no.such.module:f", f"{figures}:forget", f"{figures}:draw"]
    outcome = aggregate(_directory(tmp_path, figures=targets).store.paths.root)
    faults = [line for line in outcome.problems if line.startswith("figure ")]
    forgotten = "it saved no file in the directory that it gets as its second argument"
    said = [line.split(": ")[1] for line in faults]
    assert said == ["RuntimeError", "AttributeError", "ModuleNotFoundError", forgotten]
    assert faults[1].endswith("it has no function 'absent'; it has draw, forget, fail")
    assert (outcome.plots / "mine.png").exists()
    (named,) = [line for line in outcome.problems if "names code of users" in line]
    assert "which was run to draw figures: " in named  # whether it drew any or not
    assert named.endswith(", ".join(targets))


@pytest.mark.parametrize("axes", [{"dim": [8, 12]}, {"dim": [8, 12], "scale": [0.1, 1.0]}])
def test_the_example_of_a_figure_for_a_paper_draws_any_sweep(tmp_path: Path, axes: dict[str, Any]) -> None:
    directory = Directory(tmp_path / "out", make_sweep(axes, 2, primary=[LOSS]))
    directory.fill(_metrics)
    outcome = aggregate(directory.store.paths.root, own=[f"{ROOT}/examples/paper_figure.py:plot"])
    assert not [line for line in outcome.problems if line.startswith("figure ")]
    assert (outcome.plots / "paper.pdf").read_bytes().startswith(b"%PDF")
    assert "paper, by " in outcome.report.read_text()


def test_figures_are_written_as_pdf_too_if_asked(tmp_path: Path) -> None:
    outcome = aggregate(_directory(tmp_path, formats=["png", "pdf"]).store.paths.root)
    drawn = {path.name for path in outcome.plots.iterdir()}
    assert {"best_val_loss_vs_dimensions.png", "best_val_loss_vs_dimensions.pdf"} <= drawn
    assert (outcome.plots / "statistical_summary.pdf").read_bytes().startswith(b"%PDF")


def test_figures_that_are_no_longer_made_are_removed_and_strangers_stay(tmp_path: Path) -> None:
    directory = _directory(tmp_path)
    for cell in directory.sweep.grid:
        directory.finish(cell, {LOSS: 0.5, "extra": float(cell.run_id)})
    plots = aggregate(directory.store.paths.root).plots
    stale = plots / "extra_vs_dimensions.png"
    assert stale.exists()
    (plots / "notes.png").write_bytes(b"mine")
    directory.fill(_metrics)
    aggregate(directory.store.paths.root)
    assert not stale.exists()
    assert (plots / "notes.png").exists()
    assert (plots / "best_val_loss_vs_dimensions.png").exists()


def test_a_users_figure_takes_the_place_of_ours_of_the_same_name(tmp_path: Path, figures: Path) -> None:
    figures.write_text(FIGURE.replace("mine.png", "statistical_summary.png"))
    outcome = aggregate(_directory(tmp_path, figures=[f"{figures}:draw"]).store.paths.root)
    drawn = (outcome.plots / "statistical_summary.png").read_bytes()
    assert drawn.startswith(PNG[:-12])
    assert "statistical_summary, by " in outcome.report.read_text()


def test_a_users_figure_that_was_not_drawn_again_is_told_to_be_of_an_earlier_aggregation(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "import matplotlib.pyplot as plt\n"
        "def draw(results, out):\n"
        "    for kind in ('png', 'pdf', 'svg'):\n"
        "        plt.figure()\n"
        "        plt.savefig(out / f'paper.{kind}')\n"
        "        plt.close('all')\n"
    )
    directory = _directory(tmp_path)
    root, own = directory.store.paths.root, [f"{tmp_path}/own.py:draw"]
    plots = aggregate(root, own=own).plots
    stamp = json.loads(directory.store.paths.statistics_file.read_text())["aggregation"]
    assert all(stamp.encode() in (plots / f"paper.{kind}").read_bytes() for kind in ("png", "pdf", "svg"))
    with Image.open(plots / "paper.png") as picture:
        picture.load()
        assert picture.info["Subject"].startswith(f"aggregation {stamp}")
    told = f"{plots}: paper.pdf, paper.png, paper.svg are of an earlier aggregation; --figure draws again"
    (plots / "copy.png").write_bytes((plots / "best_val_loss_vs_dimensions.png").read_bytes())
    assert not [line for line in aggregate(root).problems if "earlier aggregation" in line]
    directory.fill(lambda cell: {LOSS: 0.25 * cell.run_id})
    assert [line for line in aggregate(root).problems if line.startswith(told)]
    assert [line for line in aggregate(root).problems if line.startswith(told)], "also when nothing has changed"
    assert not [line for line in aggregate(root, own=own).problems if "earlier aggregation" in line]


def test_formats_and_labels_of_one_call_change_what_is_shown_and_no_number(tmp_path: Path) -> None:
    directory = _directory(tmp_path)
    paths = directory.store.paths
    aggregate(paths.root)
    numbers = paths.aggregated_file.read_bytes()
    outcome = aggregate(paths.root, formats=["pdf", "svg"], labels={LOSS: "validation error", "dim": "width of it"})
    suffixes = {path.suffix for path in outcome.plots.glob("best_val_loss_vs_dimensions.*")}
    assert suffixes == {".png", ".pdf", ".svg"}
    drawn = (outcome.plots / "best_val_loss_vs_dimensions.svg").read_bytes()
    report = outcome.report.read_text()
    assert "validation error" in report
    assert "width of it" in report
    assert paths.aggregated_file.read_bytes() == numbers
    assert not [line for line in outcome.problems if "edited" in line]
    aggregate(paths.root, formats=["svg"], labels={LOSS: "validation error", "dim": "width of it"})
    assert (outcome.plots / "best_val_loss_vs_dimensions.svg").read_bytes() == drawn, "no date, no random ids"
    again = aggregate(paths.root)
    assert {path.suffix for path in again.plots.rglob("*.*")} == {".png"}
    assert "validation error" not in again.report.read_text()


def test_a_label_of_what_the_sweep_does_not_have_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    directory = _directory(tmp_path)
    with pytest.raises(ConfigError, match=r"--label best_val_los.*Did you mean 'best_val_loss'"):
        aggregate(directory.store.paths.root, labels={"best_val_los": "x"})
    assert not directory.store.paths.report_file.exists()


def test_how_a_sweep_is_shown_may_be_edited_and_what_is_tested_may_not(tmp_path: Path) -> None:
    directory = _directory(tmp_path)
    edited = {"formats": ["png", "pdf"], "labels": {LOSS: "validation error"}}
    write_sweep(directory.store, replace(directory.sweep, analysis={**directory.sweep.analysis, **edited}), {})
    outcome = aggregate(directory.store.root)
    assert (outcome.plots / "best_val_loss_vs_dimensions.pdf").exists()
    assert "validation error" in outcome.report.read_text()
    assert not [line for line in outcome.problems if "edited" in line]
    write_sweep(directory.store, replace(directory.sweep, analysis={**directory.sweep.analysis, "alpha": 0.01}), {})
    assert directory.store.sweep().analysis["alpha"] == directory.sweep.analysis["alpha"]
    assert [line for line in aggregate(directory.store.root).problems if "the analysis was edited" in line]


def test_files_among_the_figures_that_are_large_or_cannot_be_read_end_no_aggregation(tmp_path: Path) -> None:
    directory = _directory(tmp_path)
    plots = directory.store.paths.plots_directory
    plots.mkdir()
    for name in ("large.pdf", "large.png", "large.svg"):
        with (plots / name).open("wb") as file:
            file.truncate(17 << 20)
    aggregate(directory.store.root)
    assert directory.store.paths.statistics_file.is_file()
    assert (plots / "large.pdf").stat().st_size == 17 << 20


def test_the_ends_of_a_file_are_all_of_a_small_one_and_nothing_of_one_that_cannot_be_read(tmp_path: Path) -> None:
    figure = tmp_path / "figure.svg"
    figure.write_bytes(b"0123456789")
    assert [reading.ends(figure, most) for most in (3, 5, 7, 20)] == [b"012789", *[b"0123456789"] * 3]
    assert ends_of(tmp_path / "none.svg") == b""
