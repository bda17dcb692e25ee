"""Figures of designs that are no full product: every condition is drawn, and nothing that is none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.sweeps import ACCURACY, LOSS, Directory, make_sweep
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure

from aggregate.analysis.study import Study, study
from aggregate.figures.canvas import house_style
from aggregate.figures.catalogue import plots
from aggregate.pipeline import aggregate
from aggregate.reading.sweep import read
from hpc.storage.store import Store
from hpc.sweep.design import Tie
from hpc.sweep.grid import Axis, Rules

AXES = {"dim": [4, 8, 16], "scale": [0.1, 1.0, 10.0]}
DESIGNS = {
    "a corner": Rules(((("dim", (16,)), ("scale", (1.0, 10.0))),)),
    "a diagonal": Rules(
        tuple(
            (("dim", (d,)), ("scale", tuple(s for s in AXES["scale"] if s != own)))
            for d, own in zip(*AXES.values(), strict=True)
        )
    ),
    "a list": Rules(
        ((("dim", (4, 8, 16)),),),
        tuple((("dim", d), ("scale", s)) for d, s in ((4, 0.1), (8, 1.0), (8, 10.0), (16, 0.1))),
    ),
    "together": Rules(ties=(Tie(("dim", "scale"), ((4, 0.1), (8, 1.0), (8, 10.0), (16, 0.1))),)),
}


def filled(root: Path, rules: Rules) -> Directory:
    sweep = make_sweep(AXES, 3)
    tests = [{"metric": ACCURACY, "slope": "dim"}]
    sweep = replace(sweep, grid=replace(sweep.grid, rules=rules), analysis=dict(sweep.analysis) | {"tests": tests})
    directory = Directory(root, sweep)
    for cell in sweep.grid:
        value = 0.5 + 0.01 * float(cell.factors["dim"]) + 0.01 * cell.run_id
        directory.finish(cell, {ACCURACY: value, LOSS: 1 - value})
        directory.history(cell, {"val_loss": [0.9, 0.5, 1 - value]})
    return directory


def drawn(root: Path) -> tuple[Study, dict[str, tuple[int, str]]]:
    """Of every figure, how many seeds are marked, and all its words."""
    made = study(read(Store(root)))
    with house_style():
        found = {}
        for plot in plots(made.summary, made.curves(), None):
            plot.figure.canvas.draw()
            found[plot.name] = (_seeds(plot.figure), _text(plot.figure))
    return made, found


def _seeds(figure: Figure) -> int:
    """Marks of single seeds."""
    offsets = [c.get_offsets() for ax in figure.axes for c in ax.collections if isinstance(c, PathCollection)]
    return sum(int(np.isfinite(np.ma.filled(found.astype(float), np.nan)).all(axis=1).sum()) for found in offsets)


def _text(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in [*figure.texts, *(t for ax in figure.axes for t in ax.texts)])


@pytest.mark.parametrize("name", DESIGNS)
def test_the_seeds_of_every_condition_are_drawn_and_no_others(tmp_path: Path, name: str) -> None:
    directory = filled(tmp_path, DESIGNS[name])
    cells = len(directory.sweep.grid)
    assert cells < 27
    made, found = drawn(tmp_path)
    for figure in ("predictability_synergy_acc_vs_dimensions", "predictability_synergy_acc_vs_synergy_scale"):
        seeds, text = found[figure]
        assert seeds == cells
        assert "n=" not in text, "what is no condition lacks no seeds"
    seeds, text = found["heatmap_predictability_synergy_acc"]
    assert text.count("n=3") == cells / 3
    assert "n=0" not in text
    assert "hatched" not in text
    assert "empty: no condition of the design" in text
    # The levels of a factor are averaged over the same circumstances, or not at all.
    by_dim = made.summary.crossings.of(0)
    assert ("training_curves/val_loss_by_dimensions" in found) == by_dim.whole(range(3)).any()
    if by_dim.whole(range(3)).any():
        assert "where all levels of workspace dimension are present" in found["training_curves/val_loss_by_dimensions"][
            1
        ].replace("\n", " ")


def test_a_factor_that_moves_with_others_is_drawn_as_points_by_what_it_is_crossed_with(tmp_path: Path) -> None:
    """Ten combinations of three factors, each in two modes: one panel with two kinds of points, and no line."""
    rows = tuple((2 + i // 2, 0.1 * (i + 1), 10 - i) for i in range(10))
    axes = {
        "mode": ["base", "ours"],
        "dim": [2, 3, 4, 5, 6],
        "scale": [row[1] for row in rows],
        "n": list(range(1, 11)),
    }
    sweep = make_sweep({"dim": [1], "scale": [1.0]}, 2)
    grid = replace(
        sweep.grid,
        axes=tuple(Axis(name, tuple(values)) for name, values in axes.items()),
        rules=Rules(ties=(Tie(("dim", "scale", "n"), rows),)),
    )
    declared = dict(sweep.trainer.factors) | {"mode": {"kind": "word"}, "n": {"kind": "integer"}}
    trainer = replace(sweep.trainer, factors=declared)
    directory = Directory(tmp_path, replace(sweep, grid=grid, trainer=trainer))
    for cell in grid:
        directory.finish(cell, {ACCURACY: 0.5 + 0.01 * float(cell.factors["n"])})
    made = study(read(Store(tmp_path)))
    with house_style():
        found = plots(made.summary, made.curves(), None)
        figure = next(plot.figure for plot in found if plot.name == "predictability_synergy_acc_vs_dimensions")
    (panel,) = figure.axes
    assert _seeds(figure) == len(grid) == 40
    points = [line for line in panel.lines if line.get_marker() not in ("", "None")]
    assert [len(line.get_xdata()) for line in points] == [10, 10]
    assert {line.get_linewidth() for line in points} == {0.0}
    assert "synergy loss scale and n move with it" in _text(figure).replace("\n", " ")


@pytest.mark.parametrize("name", DESIGNS)
def test_the_report_and_tables_of_a_design_are_made(tmp_path: Path, name: str) -> None:
    directory = filled(tmp_path, DESIGNS[name])
    aggregate(tmp_path, tables=("csv", "markdown"))
    page = (tmp_path / "report.html").read_text()
    assert f"{directory.sweep.grid.n_conditions} conditions of 9 combinations" in page
    table = (tmp_path / "tables" / "conditions.csv").read_text().splitlines()
    assert len(table) == 1 + directory.sweep.grid.n_conditions
