"""What is drawn stands where it belongs: dodge, scales, long names, and the width of a column, measured on figures."""

from __future__ import annotations

import io
import math
import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.figures import overlapping, texts_outside, words
from helpers.sweeps import Directory, make_sweep
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from PIL import Image

from aggregate.analysis.study import Study, study
from aggregate.figures.canvas import colours, encoded, house_style, lighter
from aggregate.figures.catalogue import plots
from aggregate.pipeline import aggregate
from aggregate.reading.sweep import read
from hpc.sweep.cell import Cell
from hpc.sweep.definition import DeclaredTrainer

METRICS = {
    "acc": {"kind": "bounded", "better": "higher", "chance": 0.1, "label": "accuracy"},
    "loss": {"kind": "positive", "better": "lower", "label": "test loss"},
    "tiny": {
        "kind": "positive",
        "better": "lower",
        "label": "mean squared error of the reconstructed random attribute",
    },
}
NAMES = [f"resnet{d}-trained-with-{o}-{s}" for d in (18, 34, 50) for o in ("AdamW", "Lion") for s in ("cosine", "step")]
SIXTY = [f"{name}-{i}" for name in NAMES for i in range(5)]
POWERS = [2, 4, 8, 16, 32, 64, 128]


def _values(cell: Cell) -> dict[str, float | None]:
    """A loss over four decades where there is a width, an accuracy anywhere."""
    random = np.random.default_rng([cell.seed, zlib.crc32(cell.condition.encode())])
    width = float(cell.factors.get("width", 1)) or 0.5
    return {
        "acc": float(random.uniform(0.3, 0.9)),
        "loss": 10 / width**2 * float(np.exp(0.2 * random.normal())),
        "tiny": 1e-5 * float(np.exp(0.2 * random.normal())),
    }


def _directory(
    root: Path, axes: dict[str, list[Any]], kinds: dict[str, Any] | None = None, metrics: Sequence[str] = list(METRICS)
) -> Directory:
    def values_of(cell: Cell) -> dict[str, float | None]:
        return {name: value for name, value in _values(cell).items() if name in metrics}

    words = {name: {"kind": "word"} for name, values in axes.items() if isinstance(values[0], str)}
    numbers = {name: {"kind": "real"} for name in axes if name not in words}
    declared = {name: METRICS[name] for name in metrics}
    trainer = DeclaredTrainer("t.py:t", "", words | numbers | (kinds or {}), declared)
    directory = Directory(root, make_sweep(axes, 3, trainer, metrics[:2]))
    directory.fill(values_of)
    for cell in directory.sweep.grid:
        values = values_of(cell)
        directory.history(cell, {name: [0.5 * (value or 0), value] for name, value in values.items()})
    return directory


def _study(root: Path, axes: dict[str, list[Any]], kinds: dict[str, Any] | None = None) -> Study:
    return study(read(_directory(root, axes, kinds).store))


def _figures(found: Study, wanted: str) -> Figure:
    for plot in plots(found.summary, found.curves()):
        if plot.name == wanted:
            return plot.figure
    raise AssertionError(f"no figure {wanted}")


def _seeds(ax: Axes) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Where the dots of seeds are, in inches; shape (dots, 2)."""
    offsets = [np.asarray(dots.get_offsets()) for dots in ax.collections if dots.get_offsets().size > 2]
    found = [o for o in offsets if len(o) > 1]
    return np.concatenate([ax.transData.transform(o) for o in found]) / ax.figure.dpi


@pytest.mark.parametrize(
    ("axes", "kinds"),
    [
        ({"width": POWERS, "depth": [1, 2, 3, 4]}, {}),
        ({"width": [2, 3, 4, 6, 8, 12, 100], "depth": [1, 2, 3, 4]}, {"width": {"kind": "real", "log": False}}),
        ({"width": list(range(1, 41)), "depth": [1, 2, 3, 4]}, {}),
    ],
)
def test_every_seed_stands_within_pixels_of_its_level_and_nearer_to_it_than_to_any_other(
    tmp_path: Path, axes: dict[str, list[Any]], kinds: dict[str, Any]
) -> None:
    found = _study(tmp_path, axes, kinds)
    with house_style():
        figure = _figures(found, "acc_vs_width")
        (ax,) = figure.axes
        levels = ax.transData.transform(np.column_stack([ax.get_xticks(), ax.get_xticks()]))[:, 0] / figure.dpi
        dots = _seeds(ax)
    seeds, lines = len(found.summary.seeds), len(axes["depth"])
    assert len(dots) == seeds * lines * len(levels)
    order = np.argsort([float(v) for v in axes["width"]])
    for line in range(lines):
        own = np.repeat(np.sort(levels)[np.arange(len(order))], seeds)
        away = np.abs(dots[line * len(own) : (line + 1) * len(own), 0] - own)
        assert away.max() < 0.35  # inches: 34 pixels of a screen, for the outermost of four lines
        if len(levels) > 1:
            assert away.max() < 0.5 * np.min(np.diff(np.sort(levels)))


def test_levels_that_are_multiplied_lie_on_a_logarithmic_axis_that_says_so_unless_declared_otherwise(
    tmp_path: Path,
) -> None:
    def axis(name: str, values: list[Any], kinds: dict[str, Any] | None = None) -> tuple[str, bool]:
        found = _study(tmp_path / name, {"width": values}, kinds)
        with house_style():
            ax = _figures(found, "acc_vs_width").axes[0]
            steps = np.diff(ax.get_xticks())
            return ax.get_xlabel(), bool(np.allclose(steps, steps[0]))

    assert axis("powers", POWERS) == ("width (log scale)", True)
    assert axis("even", [10, 20, 30, 40, 50, 60, 70, 80]) == ("width", True)
    assert axis("zero", [0, 1, 10, 100])[0] == "width"
    assert axis("declared", POWERS, {"width": {"kind": "real", "log": False}}) == ("width", False)
    factor = _study(tmp_path / "unit", {"width": POWERS}).summary.factors[0]
    assert not factor.log  # how it is drawn changes no test: slopes are per unit as declared


def test_a_heatmap_says_which_mean_its_squares_show(tmp_path: Path) -> None:
    found = _study(tmp_path, {"width": POWERS, "depth": [1, 2, 3]})
    with house_style():
        assert (
            _figures(found, "heatmap_loss").texts[0].get_text().startswith("geometric mean over seeds; lower is better")
        )
        assert _figures(found, "heatmap_acc").texts[0].get_text().startswith("mean over seeds; higher is better")


LABELLED = {
    "information": {"label": "synergy information, 1 - CE / ln 8, clipped to [0, 1]"},
    "more": {"label": "synergy information in the reconstruction, 1 - CE / ln 8, clipped to values from 0 to 1"},
}


@pytest.mark.parametrize("column", [None, 252.0])
def test_the_direction_of_a_metric_is_written_whole_however_long_its_label_is(
    tmp_path: Path, column: float | None
) -> None:
    metrics = {name: {"kind": "bounded", "better": "higher"} | about for name, about in LABELLED.items()}
    trainer = DeclaredTrainer("t.py:t", "", {"width": {"kind": "real"}, "depth": {"kind": "real"}}, metrics)
    directory = Directory(tmp_path, make_sweep({"width": [2, 4, 8, 16], "depth": [1, 2]}, 3, trainer, list(LABELLED)))
    directory.fill(lambda cell: dict.fromkeys(LABELLED, 0.1 * cell.run_id + 0.3))
    for cell in directory.sweep.grid:
        directory.history(cell, {name: [0.2, 0.1 * cell.run_id + 0.3] for name in LABELLED})
    found = study(read(directory.store))
    with house_style(column):
        for name in LABELLED:
            figure = _figures(found, f"training_curves/{name}")
            labels = {ax.get_ylabel().replace("\n", " ") for ax in figure.axes} - {""}
            assert all(label.endswith("(higher is better)") for label in labels), labels
            assert texts_outside(figure) == []
        label = _figures(found, "training_curves/information").axes[0].get_ylabel()
        assert column or label.replace("\n", " ") == f"{LABELLED['information']['label']} (higher is better)"


FACTORS = {"width": "workspace dimension", "depth": "synergy loss scale", "heads": "number of attention heads"}


@pytest.mark.parametrize("column", [None, 252.0])
@pytest.mark.parametrize("count", [2, 3])
def test_the_summary_names_every_factor_above_its_rows(tmp_path: Path, count: int, column: float | None) -> None:
    kinds = {name: {"kind": "real", "label": label} for name, label in FACTORS.items()}
    found = _study(tmp_path, {name: [1, 2] for name in list(FACTORS)[:count]}, kinds)
    with house_style(column):
        figure = _figures(found, "statistical_summary")
        heads = {text.get_text().replace("\n", " ") for text in figure.texts}
        assert ", ".join(list(FACTORS.values())[:count]) in heads
        assert texts_outside(figure) == []
        assert overlapping(words(figure), figure) == []


def test_losses_over_decades_are_drawn_in_logarithms_everywhere_and_said_to_be(tmp_path: Path) -> None:
    found = _study(tmp_path, {"width": POWERS, "depth": [1, 2, 3]})
    with house_style():
        for name in ("loss_vs_width", "loss_vs_depth", "training_curves/loss"):
            ax = _figures(found, name).axes[0]
            assert ax.get_yscale() == "log", name
            assert "log scale" in ax.get_ylabel(), name
        overview = _figures(found, "statistical_summary").axes[1]
        assert (overview.get_xscale(), overview.get_xlabel()) == ("log", "lower is better, log scale")
        heatmap = _figures(found, "heatmap_loss")
        assert isinstance(heatmap.axes[0].images[0].norm, LogNorm)
        assert "colours on a log scale" in heatmap.texts[0].get_text()
        assert not isinstance(_figures(found, "heatmap_acc").axes[0].images[0].norm, LogNorm)
        assert _figures(found, "acc_vs_width").axes[0].get_yscale() == "linear"


LONG = [
    {"method": NAMES},
    {"method": SIXTY},
    {"method": NAMES, "data": ["CIFAR-10", "Tiny-ImageNet", "a-data-set-of-a-long-name"]},
]


@pytest.mark.parametrize("column", [None, 252.0])
@pytest.mark.parametrize("axes", LONG)
def test_long_names_are_all_there_apart_from_one_another_and_nothing_is_cut(
    tmp_path: Path, axes: dict[str, list[Any]], column: float | None
) -> None:
    found = _study(tmp_path, axes)
    with house_style(column):
        for plot in plots(found.summary, found.curves()):
            assert texts_outside(plot.figure) == [], plot.name
            assert overlapping(words(plot.figure), plot.figure) == [], plot.name
            titles = [ax.get_title() for ax in plot.figure.axes if ax.get_title()]
            assert len(set(titles)) == len(titles), plot.name
            if column is not None:
                assert plot.figure.get_figwidth() == pytest.approx(column / 72), plot.name
            for ax in plot.figure.axes:
                rows = ax.get_yticklabels()
                assert overlapping(rows, plot.figure) == [], plot.name
                if plot.name.endswith("_vs_method") and ax is plot.figure.axes[0]:
                    said = [re.sub(r"\s", "", label.get_text()) for label in rows]
                    assert said == axes["method"]
                if plot.name.startswith("heatmap") and ax is plot.figure.axes[0]:
                    assert overlapping(ax.get_xticklabels(), plot.figure) == []


NAMED = {"width": {"kind": "real", "label": "width of the hidden layer"}}


@pytest.mark.parametrize("column", [None, 252.0])
@pytest.mark.parametrize("depths", [4, 7])
def test_every_figure_of_numbers_keeps_its_words_apart_and_within_its_edges(
    tmp_path: Path, depths: int, column: float | None
) -> None:
    found = _study(tmp_path, {"width": POWERS, "depth": list(range(1, depths + 1))}, NAMED)
    with house_style(column):
        for plot in plots(found.summary, found.curves()):
            assert texts_outside(plot.figure) == [], plot.name
            assert overlapping(words(plot.figure), plot.figure) == [], plot.name


def test_no_figure_is_an_empty_canvas(tmp_path: Path) -> None:
    directory = _directory(tmp_path, {"width": [1, 2, 3], "depth": [1, 2]})
    for cell in directory.sweep.grid:
        directory.finish(cell, {**_values(cell), "nothing": None, "once": 1.0 if cell.run_id == 0 else None})
        directory.history(cell, {"nothing": [None, None], "loss": [1.0, 0.5]})
    found = study(read(directory.store))
    with house_style():
        for plot in plots(found.summary, found.curves()):
            ink = [a for ax in plot.figure.axes for a in [*ax.lines, *ax.collections, *ax.images]]
            drawn = [
                a
                for a in ink
                if np.isfinite(np.asarray(a.get_ydata() if hasattr(a, "get_ydata") else 1.0, dtype=float)).any()
            ]
            assert drawn, plot.name
            assert "nothing" not in plot.name


def test_lines_hold_on_white_and_differ_from_their_neighbours() -> None:
    def luminance(colour: tuple[float, ...]) -> float:
        linear = [v / 12.92 if v <= 0.03928 else ((v + 0.055) / 1.055) ** 2.4 for v in colour[:3]]
        return float(np.dot([0.2126, 0.7152, 0.0722], linear))

    for count in range(1, 13):
        found = [luminance(colour) for colour in colours(count)]
        assert min(1.05 / (value + 0.05) for value in found) > 3  # contrast against white
        assert found == sorted(found)  # in grey print too
        assert len({round(value, 3) for value in found}) == count


def test_figures_for_a_paper_are_as_wide_as_its_column_with_their_fonts_inside(tmp_path: Path) -> None:
    directory = _directory(tmp_path / "out", {"width": [1, 2, 4], "depth": [1, 2]}, metrics=["acc", "loss"])
    outcome = aggregate(directory.store.root, formats=["pdf", "svg"], column=240.0)
    assert not [line for line in outcome.problems if "higher than a page" in line]
    for path in outcome.plots.rglob("*.pdf"):
        content = path.read_bytes()
        (box,) = re.findall(rb"/MediaBox \[ 0 0 ([\d.]+) ([\d.]+) \]", content)
        assert float(box[0]) == pytest.approx(240, abs=0.01), path
        assert content.count(b"/FontFile2") > 0, path  # TrueType, whole glyphs that an editor can take up
        assert b"/Type3" not in content, path
    for path in outcome.plots.rglob("*.svg"):
        assert 'width="240pt"' in path.read_text(), path
        assert "font-family" not in path.read_text(), path  # letters are shapes, whatever fonts a reader has
    with Image.open(outcome.plots / "acc_vs_width.png") as image:
        assert image.width == math.floor(240 / 72 * 300)
    aggregate(directory.store.root, formats=["pdf"])  # what was asked for that call alone
    with Image.open(outcome.plots / "acc_vs_width.png") as image:
        assert image.width != math.floor(240 / 72 * 300)


def test_figures_that_no_page_has_room_for_are_named_with_a_width_that_would_do(tmp_path: Path) -> None:
    axes = {"width": [1, 2, 4, 8, 16, 32], "depth": [1, 2, 3, 4, 5, 6]}
    directory = _directory(tmp_path / "out", axes, metrics=["acc"])

    def heights(column: float) -> tuple[list[float], list[str]]:
        outcome = aggregate(directory.store.root, formats=["pdf"], column=column)
        boxes = [
            re.findall(rb"/MediaBox \[ 0 0 [\d.]+ ([\d.]+) \]", p.read_bytes()) for p in outcome.plots.rglob("*.pdf")
        ]
        return [float(box[0]) for box in boxes], [line for line in outcome.problems if "higher than a page" in line]

    found, (remark,) = heights(150.0)
    assert max(found) > 648
    assert f"(2.1 x {max(found) / 72:.1f} inches)" in remark
    assert remark.endswith("higher than a page; --style paper:504 draws wider and lower ones")
    found, remarks = heights(504.0)
    assert max(found) <= 648
    assert remarks == []


def test_a_picture_within_the_page_is_light_and_keeps_its_colours(tmp_path: Path) -> None:
    found = _study(tmp_path, {"width": POWERS, "depth": [1, 2, 3, 4]})
    with house_style():
        png = encoded(_figures(found, "acc_vs_width"))
    small = lighter(png)
    assert len(small) < 0.6 * len(png)
    before, after = (np.asarray(Image.open(io.BytesIO(p)).convert("RGB")).astype(int) for p in (png, small))
    assert np.abs(before - after).max() <= 12  # of 255
