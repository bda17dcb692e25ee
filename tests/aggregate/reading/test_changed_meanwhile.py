"""A sweep that is redone, or grows, while it is read: what is published is of one moment."""

from __future__ import annotations

import gc
import itertools
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest
from helpers.sweeps import LOSS, Directory, make_sweep
from pyarrow import parquet

from aggregate import pipeline
from aggregate.pipeline import aggregate
from aggregate.reading import histories, sweep
from hpc.errors import SweepError
from hpc.files import atomic, opening
from hpc.storage import store
from hpc.storage.revisions import write_sweep


@pytest.fixture
def directory(tmp_path: Path) -> Directory:
    made = Directory(tmp_path, make_sweep({"dim": [8, 12]}, 2, primary=[LOSS]))
    for cell in made.sweep.grid:
        made.train(cell.name, 0.5)
    return made


def _first(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, act: Callable[[], None], times: int = 1) -> None:
    """Let something happen right before the first calls of a module's function."""
    real, left = getattr(module, name), [act] * times

    def called(*given: Any, **named: Any) -> Any:
        if left:
            left.pop()()
        return real(*given, **named)

    monkeypatch.setattr(module, name, called)


def _end_of_training(directory: Directory) -> tuple[list[float], list[float]]:
    """What an aggregation now has at the end of each cell, by its history and by its result."""
    paths = directory.store.paths
    aggregate(paths.root, figures=False)
    cells, curves = (parquet.read_table(path) for path in (paths.table_file, paths.curves_file))
    ends = curves.filter(pc.equal(curves["epoch"], 2))["val_loss"].to_pylist()
    return sorted(ends), sorted(cells[LOSS].to_pylist())


def test_a_cell_that_is_trained_anew_while_it_is_read_never_has_anothers_history(
    directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    _first(monkeypatch, histories, "_parse_chunk", lambda: directory.train("dim_8_run_0", 7.0))
    assert _end_of_training(directory) == ([0.5] * 4, [0.5] * 4)
    assert _end_of_training(directory) == ([0.5, 0.5, 0.5, 7.0], [0.5, 0.5, 0.5, 7.0])


def test_nor_has_one_whose_history_was_missing_when_its_result_was_read(
    directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory.store.paths.history_file(directory.cell("dim_8_run_0")).unlink()
    _first(monkeypatch, histories, "read", lambda: directory.train("dim_8_run_0", 7.0))
    assert _end_of_training(directory) == ([0.5, 0.5, 0.5, 7.0], [0.5, 0.5, 0.5, 7.0])


def test_one_that_is_trained_anew_without_end_is_named(directory: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    losses, history = iter(range(1, 100)), directory.store.paths.history_file(directory.cell("dim_8_run_0"))
    _first(monkeypatch, sweep, "names_of", lambda: history.unlink(missing_ok=True), times=99)
    _first(monkeypatch, histories, "read", lambda: directory.train("dim_8_run_0", float(next(losses))), times=99)
    with pytest.raises(SweepError, match=r"dim_8_run_0/history.csv: replaced while the sweep was read; read it again"):
        aggregate(directory.store.root, figures=False)


def test_what_was_read_before_a_cell_was_trained_anew_is_not_held_while_all_is_read_again(
    directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All histories of a sweep may just fit into the memory, once."""
    made, held, real = list[weakref.ref[histories._Table]](), list[int](), histories._Table

    def table(cells: int) -> histories._Table:
        held.append(sum(one() is not None for one in made))
        one = real(cells)
        made.append(weakref.ref(one))
        return one

    losses, history = iter((7.0, 8.0)), directory.store.paths.history_file(directory.cell("dim_12_run_1"))
    _first(monkeypatch, sweep, "names_of", lambda: history.unlink(), times=2)
    _first(monkeypatch, histories, "read", lambda: directory.train("dim_12_run_1", next(losses)), times=2)
    monkeypatch.setattr(histories, "CHUNK", 1)
    monkeypatch.setattr(histories, "_Table", table)
    gc.disable()  # as while a sweep is read
    try:
        found = sweep.read(directory.store)
    finally:
        gc.enable()
    assert held == [0, 0, 0]
    assert found.histories.columns["val_loss"].tolist() == [1.0, 0.5] * 3 + [1.0, 8.0]


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


CELL = "dim_8_run_0"


def _another_history(directory: Directory) -> None:
    directory.history(directory.cell(CELL), {"val_loss": [1.0, 0.7]})


def _another_result(directory: Directory) -> None:
    """Its history is not there yet."""
    history = directory.store.paths.history_file(directory.cell(CELL))
    before = history.read_bytes()
    directory.train(CELL, 0.7)
    atomic.publish(history, before)


def _set_aside_and_trained_anew(directory: Directory) -> None:
    directory.store.paths.result_file(directory.cell(CELL)).unlink()
    directory.train(CELL, 0.7)


def _gone(directory: Directory) -> None:
    shutil.rmtree(directory.store.paths.cell_directory(directory.cell(CELL)))


def _gone_and_trained_anew(directory: Directory) -> None:
    _gone(directory)
    directory.train(CELL, 0.7)


CHANGES = [_another_history, _another_result, _set_aside_and_trained_anew, _gone, _gone_and_trained_anew]


@pytest.mark.parametrize("change", CHANGES)
def test_whenever_a_cell_changes_its_curves_are_those_of_its_result(
    directory: Directory, change: Callable[[Directory], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Right before the first file is opened, the second, and so on. Every history has as many bytes."""
    for moment in range(100):
        shutil.rmtree(directory.store.paths.results_root)
        for cell in directory.sweep.grid:
            directory.train(cell.name, 0.5)
        with monkeypatch.context() as patched:
            acted = _once(patched, moment, lambda: change(directory))
            found = sweep.read(directory.store)
        if not acted:
            break
        last = dict(zip(found.histories.position.tolist(), found.histories.columns["val_loss"], strict=True))
        results = [record.result["metrics"][LOSS] if record.result else None for record in found.gathered.records]
        assert last.get(0) in (results[0], None), moment
        assert [(result, last[position]) for position, result in enumerate(results) if position] == [(0.5, 0.5)] * 3
    assert 9 <= moment < 99  # the plan, and a result and a history of each cell


def _once(patched: pytest.MonkeyPatch, moment: int, act: Callable[[], None]) -> list[int]:
    """Let another process act once, after so many files were opened. What is returned is not empty when it has."""
    opened, acted, real = itertools.count(), list[int](), opening._open

    def after(path: Path | str, flags: int) -> int:
        if not acted and next(opened) == moment:
            acted.append(moment)
            with opening.by_name():
                act()
        return real(path, flags)

    patched.setattr(opening, "_open", after)
    return acted


def test_a_cell_that_is_trained_anew_between_its_result_and_its_history_counts_as_it_is_then(
    directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def anew() -> None:
        with opening.by_name():
            directory.train(CELL, 7.0)

    _first(monkeypatch, store, "fault", anew)
    assert _end_of_training(directory) == ([0.5, 0.5, 0.5, 7.0], [0.5, 0.5, 0.5, 7.0])
