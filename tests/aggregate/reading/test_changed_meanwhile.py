"""A sweep that is redone, or grows, while it is read: what is published is of one moment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest
from helpers.sweeps import LOSS, Directory, history_bytes, make_sweep
from pyarrow import parquet

from aggregate import pipeline
from aggregate.pipeline import aggregate
from aggregate.reading import histories, sweep
from hpc.errors import SweepError
from hpc.storage.named_files import HISTORY, described
from hpc.storage.revisions import write_sweep


@pytest.fixture
def directory(tmp_path: Path) -> Directory:
    made = Directory(tmp_path, make_sweep({"dim": [8, 12]}, 2, primary=[LOSS]))
    for cell in made.sweep.grid:
        _train(made, cell.name, 0.5)
    return made


def _train(directory: Directory, name: str, loss: float) -> None:
    cell, rows = directory.cell(name), {"val_loss": [1.0, loss]}
    named = {"files": {HISTORY: described(HISTORY, history_bytes(rows))}}
    directory.history(cell, rows)
    directory.finish(cell, {LOSS: loss}, provenance={"attempts": 1, "seconds": 1.0, **named})


def _first(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, act: Callable[[], None], times: int = 1) -> None:
    """Let something happen right before the first calls of a module's function."""
    real, left = getattr(module, name), [act] * times

    def called(*given: Any) -> Any:
        if left:
            left.pop()()
        return real(*given)

    monkeypatch.setattr(module, name, called)


def _end_of_training(directory: Directory) -> tuple[list[float], list[float]]:
    """What an aggregation now has at the end of each cell, by its history and by its result."""
    paths = directory.store.paths
    aggregate(paths.root, figures=False)
    cells, curves = (parquet.read_table(path) for path in (paths.table_file, paths.curves_file))
    ends = curves.filter(pc.equal(curves["epoch"], 2))["val_loss"].to_pylist()
    return sorted(ends), sorted(cells[LOSS].drop_null().to_pylist())


def test_a_cell_that_is_trained_anew_while_it_is_read_never_has_anothers_history(
    directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    _first(monkeypatch, histories, "_parse_chunk", lambda: _train(directory, "dim_8_run_0", 7.0))
    assert _end_of_training(directory) == ([0.5] * 4, [0.5] * 4)
    assert _end_of_training(directory) == ([0.5, 0.5, 0.5, 7.0], [0.5, 0.5, 0.5, 7.0])


def test_nor_has_one_whose_history_was_missing_when_its_result_was_read(
    directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory.store.paths.history_file(directory.cell("dim_8_run_0")).unlink()
    _first(monkeypatch, histories, "read", lambda: _train(directory, "dim_8_run_0", 7.0))
    assert _end_of_training(directory) == ([0.5, 0.5, 0.5, 7.0], [0.5, 0.5, 0.5, 7.0])


def test_one_that_is_trained_anew_without_end_is_named(directory: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    losses, history = iter(range(1, 100)), directory.store.paths.history_file(directory.cell("dim_8_run_0"))
    _first(monkeypatch, sweep, "names_of", lambda: history.unlink(missing_ok=True), times=99)
    _first(monkeypatch, histories, "read", lambda: _train(directory, "dim_8_run_0", float(next(losses))), times=99)
    with pytest.raises(SweepError, match=r"dim_8_run_0/history.csv: replaced while the sweep was read; read it again"):
        aggregate(directory.store.root, figures=False)


def test_a_sweep_that_grows_while_it_is_aggregated_is_aggregated_as_it_is_then(
    directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def grow() -> None:
        write_sweep(directory.store, directory.sweep.with_runs(3), {"git": "0123abc"})

    _first(monkeypatch, pipeline, "settled_before", grow)
    found = aggregate(directory.store.root, figures=False)
    assert found.counts["COMPLETED"] == 4
    assert found.counts["MISSING"] == 2
    again = aggregate(directory.store.root, figures=False)
    assert (again.counts, again.problems) == (found.counts, found.problems)


@pytest.mark.parametrize("damage", [(b"0.5", b"0.7"), (b"0.5\n", b"0.55")], ids=["another number", "no line end"])
def test_a_history_of_just_as_many_bytes_is_not_the_one_of_its_result(
    directory: Directory, damage: tuple[bytes, bytes]
) -> None:
    """Its digest is compared while it is parsed; the cell counts for nothing, and the others are all there."""
    history = directory.store.paths.history_file(directory.cell("dim_8_run_0"))
    history.write_bytes(history.read_bytes().replace(*damage))
    problems = aggregate(directory.store.root, figures=False).problems
    assert any("its history.csv is not the one of its result" in line for line in problems)
    assert _end_of_training(directory) == ([0.5] * 3, [0.5] * 3)
