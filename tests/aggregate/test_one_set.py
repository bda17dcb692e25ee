"""The files of an aggregation are one set: they show that they belong together, and what is no part of it stays."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers.sweeps import LOSS, Directory, make_sweep
from PIL import Image
from pyarrow import parquet

from aggregate import pipeline
from aggregate.pipeline import aggregate
from aggregate.together import Together
from hpc.files.opening import RefusedFileError


def _directory(root: Path, **analysis: Any) -> Directory:
    sweep = make_sweep({"dim": [8, 12]}, 2, primary=[LOSS])
    directory = Directory(root, replace(sweep, analysis=dict(sweep.analysis) | analysis))
    directory.fill(lambda cell: {LOSS: 0.5 + 0.25 * cell.run_id})
    for cell in directory.sweep.grid:
        directory.history(cell, {"val_loss": [1.0, 0.5]})
    return directory


def _stamps(directory: Directory) -> Iterator[str]:
    """The stamp that each file carries, found by the means of each kind of file."""
    paths = directory.store.paths
    yield json.loads(paths.statistics_file.read_bytes())["aggregation"]
    yield re.findall(r'name="holdfast-aggregation" content="(\w+)"', paths.report_file.read_text())[0]
    for path in (paths.table_file, paths.curves_file):
        yield parquet.read_schema(path).metadata[b"aggregation"].decode()
    for path in paths.plots_directory.rglob("*.png"):
        with Image.open(path) as picture:
            yield str(picture.info["Subject"]).removeprefix("aggregation ")
    for path in paths.plots_directory.rglob("*.pdf"):
        yield re.findall(rb"/Subject \(aggregation (\w+)\)", path.read_bytes())[0].decode()


def test_every_file_carries_the_stamp_of_its_aggregation(tmp_path: Path) -> None:
    directory = _directory(tmp_path, formats=["png", "pdf"])
    aggregate(tmp_path)
    stamps = list(_stamps(directory))
    assert len(stamps) == 4 + 2 * 3  # of three figures
    assert len(set(stamps)) == 1
    results = directory.store.paths.aggregated_file.read_bytes()
    statistics = json.loads(directory.store.paths.statistics_file.read_bytes())
    assert statistics["aggregated_results_sha256"] == hashlib.sha256(results).hexdigest()


def test_the_stamp_is_the_same_for_the_same_outcomes_anywhere_and_another_for_any_other_number(tmp_path: Path) -> None:
    first, second = _directory(tmp_path / "a"), _directory(tmp_path / "b")
    for directory in (first, second):
        aggregate(directory.store.paths.root, figures=False)
    assert set(_stamps(first)) == set(_stamps(second))
    before = set(_stamps(second))
    second.history(second.sweep.grid[0], {"val_loss": [1.0, 0.25]})  # of no effect on aggregated_results.json
    aggregate(second.store.paths.root, figures=False)
    assert not before & set(_stamps(second))
    assert len(set(_stamps(second))) == 1


def test_a_plan_that_changes_while_it_is_aggregated_is_noticed_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = _directory(tmp_path)
    real = pipeline.read_any

    def read_and_change(root: Path) -> Any:
        reading = real(root)
        path = directory.store.paths.sweep_file
        path.write_text(path.read_text().replace('"synergy"', '"renamed"'))
        return reading

    monkeypatch.setattr(pipeline, "read_any", read_and_change)
    aggregate(tmp_path, figures=False)
    monkeypatch.setattr(pipeline, "read_any", real)
    assert "<title>renamed - " in aggregate(tmp_path, figures=False).report.read_text()


def test_an_aggregation_that_others_replace_again_and_again_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = _directory(tmp_path)
    monkeypatch.setattr(Together, "standing", lambda self: None)
    with pytest.raises(OSError, match="other aggregations") as raised:
        aggregate(tmp_path, figures=False)
    assert raised.value.filename == str(directory.store.paths.report_file)
    assert not directory.store.paths.cache_file.exists()


def _without_curves(directory: Directory) -> None:
    """The next aggregation draws no training curves."""
    for cell in directory.sweep.grid:
        directory.store.paths.history_file(cell).unlink()


def test_a_figure_that_is_no_longer_made_goes_even_if_nobody_remembers_it(tmp_path: Path) -> None:
    directory = _directory(tmp_path, formats=["png", "pdf"])
    curves = aggregate(tmp_path).plots / "training_curves"
    assert {path.suffix for path in curves.iterdir()} == {".png", ".pdf"}
    directory.store.paths.cache_file.unlink()
    _without_curves(directory)
    aggregate(tmp_path)
    assert list(curves.iterdir()) == []


def test_copies_links_and_what_they_lead_to_stay(tmp_path: Path) -> None:
    directory = _directory(tmp_path / "out")
    plots = aggregate(directory.store.paths.root).plots
    curve, elsewhere = plots / "training_curves" / "val_loss.png", tmp_path / "paper"
    elsewhere.mkdir()
    (elsewhere / "val_loss.png").write_bytes(curve.read_bytes())
    (plots / "for_the_paper.png").write_bytes(curve.read_bytes())
    curve.unlink()
    curve.symlink_to(elsewhere / "val_loss.png")
    (plots / "linked").symlink_to(elsewhere)
    _without_curves(directory)
    aggregate(directory.store.paths.root)
    assert (elsewhere / "val_loss.png").exists()
    assert (plots / "for_the_paper.png").exists()
    assert curve.is_symlink()


def test_nothing_is_removed_where_the_directory_of_figures_is_a_link(tmp_path: Path) -> None:
    directory = _directory(tmp_path / "out")
    plots = aggregate(directory.store.paths.root).plots
    plots.rename(tmp_path / "elsewhere")
    plots.symlink_to(tmp_path / "elsewhere")
    _without_curves(directory)
    with pytest.raises(RefusedFileError, match="is a link"):
        aggregate(directory.store.paths.root)
    assert (tmp_path / "elsewhere" / "training_curves" / "val_loss.png").exists()
