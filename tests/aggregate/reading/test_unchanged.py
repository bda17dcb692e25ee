"""Aggregating again: if nothing has changed nothing is done, and whatever has changed is noticed."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.sweeps import ACCURACY, LOSS, Directory, make_sweep

from aggregate.pipeline import aggregate
from aggregate.reading import records, unchanged
from aggregate.reading.cell_stamps import cell_stamps
from hpc.checkout import PROJECT_ROOT
from hpc.files import atomic, directories
from hpc.storage.revisions import write_sweep
from hpc.storage.store import Store
from hpc.sweep.cell import Cell

LONG_AGO = 1_600_000_000


def _metrics(cell: Cell) -> dict[str, float | None]:
    random = np.random.default_rng([cell.seed, int(cell.factors["dim"])])
    return {ACCURACY: float(random.random()), LOSS: float(random.random())}


@pytest.fixture
def directory(tmp_path: Path) -> Directory:
    made = Directory(tmp_path / "out", make_sweep({"dim": [4, 8, 16]}, 3))
    for cell in made.sweep.grid:
        made.finish(cell, _metrics(cell))
        made.history(cell, {"val_loss": np.random.default_rng(cell.seed).random(4).tolist()})
    return made


def _outputs(store: Store) -> dict[str, bytes]:
    paths = [
        store.paths.aggregated_file,
        store.paths.statistics_file,
        store.paths.table_file,
        store.paths.curves_file,
        store.paths.report_file,
    ]
    return {path.name: path.read_bytes() for path in paths}


def _rebuilt(directory: Directory) -> dict[str, bytes]:
    """The outputs of a directory that was never aggregated before."""
    copy = directory.store.root.with_name("copy")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(directory.store.root, copy)
    Store(copy).paths.cache_file.unlink(missing_ok=True)
    aggregate(copy, figures=False)
    return _outputs(Store(copy))


@pytest.fixture
def count_reads(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many results were read since the last call."""
    seen: list[str] = []
    real = Store._outcome

    def counted(self: Store, cell: Cell, *others: Any) -> object:
        seen.append(cell.name)
        return real(self, cell, *others)

    monkeypatch.setattr(Store, "_outcome", counted)

    def count() -> int:
        number = len(seen)
        seen.clear()
        return number

    return count


def _stamp(directory: Directory, at: int) -> None:
    """Give all that lies in cells this time stamp, seconds since the epoch."""
    for path in directory.store.paths.results_root.rglob("*"):
        os.utime(path, (at, at))


def test_nothing_changed_reads_no_cell_and_writes_no_file(directory: Directory, count_reads: Callable[[], int]) -> None:
    _stamp(directory, LONG_AGO)
    first = aggregate(directory.store.root, figures=False)
    assert count_reads() == 9
    before = {path: path.stat().st_mtime_ns for path in directory.store.root.iterdir()}
    assert aggregate(directory.store.root, figures=False) == first
    assert count_reads() == 0
    assert {path: path.stat().st_mtime_ns for path in directory.store.root.iterdir()} == before


def test_a_changed_result_gives_the_bytes_of_a_full_rebuild(directory: Directory) -> None:
    aggregate(directory.store.root, figures=False)
    cell = directory.cell("dim_8_run_1")
    directory.finish(cell, {ACCURACY: 0.123, "another": 7})
    directory.history(cell, {"train_loss": [1.0, None]})
    aggregate(directory.store.root, figures=False)
    changed = _outputs(directory.store)
    assert b"0.123" in changed["aggregated_results.json"]
    assert changed == _rebuilt(directory)


def test_a_metric_that_went_away_leaves_no_trace(directory: Directory) -> None:
    cell = directory.cell("dim_8_run_1")
    directory.finish(cell, {ACCURACY: 0.5, "gone": 1.0})
    directory.history(cell, {"gone": [1.0], "val_loss": [1.0]})
    aggregate(directory.store.root, figures=False)
    directory.finish(cell, {ACCURACY: 0.5})
    directory.history(cell, {"val_loss": [1.0]})
    aggregate(directory.store.root, figures=False)
    outputs = _outputs(directory.store)
    assert b"gone" not in outputs["aggregated_results.json"] + outputs["curves.parquet"]
    assert outputs == _rebuilt(directory)


def _edit_in_place(directory: Directory) -> None:
    path = directory.store.paths.result_file(directory.cell("dim_4_run_0"))
    path.write_bytes(path.read_bytes().replace(b"COMPLETED", b"DIVERGED"))


def _conflict(directory: Directory) -> None:
    directory.conflict(directory.cell("dim_4_run_0"))


def _damage_history(directory: Directory) -> None:
    atomic.publish(directory.store.paths.history_file(directory.cell("dim_4_run_0")), b"epoch,val_loss\n1,x\n")


def _remove_cell(directory: Directory) -> None:
    shutil.rmtree(directory.store.paths.cell_directory(directory.cell("dim_4_run_0")))


def _add_stray(directory: Directory) -> None:
    (directory.store.paths.results_root / "dim_99_run_0").mkdir()


def _grow(directory: Directory) -> None:
    sweep = directory.sweep
    write_sweep(directory.store, replace(sweep, grid=replace(sweep.grid, seeds=(42, 43, 44, 45))), {})


def _lose_table(directory: Directory) -> None:
    directory.store.paths.table_file.unlink()


def _damage_cache(directory: Directory) -> None:
    directory.store.paths.cache_file.write_bytes(directory.store.paths.cache_file.read_bytes()[:-50])


def _empty_cache(directory: Directory) -> None:
    directory.store.paths.cache_file.write_bytes(b"")


def _nest_cache_deeply(directory: Directory) -> None:
    directory.store.paths.cache_file.write_bytes(b"[" * 100_000)


def _cache_of_another_version(directory: Directory) -> None:
    memory = json.loads(directory.store.paths.cache_file.read_bytes())
    memory["stamps"], memory["told"] = "0" * 64, {"complete": True, "news": 1}
    directory.store.paths.cache_file.write_text(json.dumps(memory))


def _cache_of_cells_that_are_not_there(directory: Directory) -> None:
    memory = json.loads(directory.store.paths.cache_file.read_bytes())
    directory.store.paths.cache_file.write_text(json.dumps(memory | {"unfinished": [10**30, -1]}))


def _cache_that_names_no_file(directory: Directory) -> None:
    memory = json.loads(directory.store.paths.cache_file.read_bytes())
    directory.store.paths.cache_file.write_text(json.dumps(memory | {"files": {}}))
    directory.store.paths.report_file.unlink()


def _exchange_the_table(directory: Directory) -> None:
    """As a network file system may leave it: the same length and time, another file."""
    table = directory.store.paths.table_file
    before, data = table.stat(), table.read_bytes()
    atomic.publish(table, data.replace(b"dim_4_run_0", b"dim_9_run_0"))
    os.utime(table, ns=(before.st_atime_ns, before.st_mtime_ns))


def _certify(directory: Directory) -> None:
    directories.make_directory(directory.store.paths.certificates_directory)
    atomic.publish(directory.store.paths.certificate_file("0" * 64, "cpu"), b'{"format": 1, "verdict": "EXACT"}')


def _touch_report(directory: Directory) -> None:
    directory.store.paths.report_file.write_text("edited")


@pytest.mark.parametrize(
    "change",
    [
        _edit_in_place,
        _conflict,
        _damage_history,
        _remove_cell,
        _add_stray,
        _grow,
        _lose_table,
        _damage_cache,
        _empty_cache,
        _nest_cache_deeply,
        _cache_of_another_version,
        _cache_of_cells_that_are_not_there,
        _cache_that_names_no_file,
        _exchange_the_table,
        _certify,
        _touch_report,
    ],
)
def test_whatever_changes_is_noticed(directory: Directory, change: Callable[[Directory], None]) -> None:
    aggregate(directory.store.root, figures=False)
    change(directory)
    told = aggregate(directory.store.root, figures=False)
    assert _outputs(directory.store) == _rebuilt(directory)
    # Once more: what was remembered of the changed directory is right too.
    again = aggregate(directory.store.root, figures=False)
    assert again.problems == told.problems
    assert _outputs(directory.store) == _rebuilt(directory)


def _edit_a_digit_after(mark: str, path: Path) -> None:
    """Another number in as many bytes."""
    before, mark, after = path.read_text().partition(mark)
    path.write_text(before + mark + ("2" if after[0] == "1" else "1") + after[1:])


def _edit_a_metric(directory: Directory) -> None:
    _edit_a_digit_after(f'"{LOSS}": 0.', directory.store.paths.result_file(directory.cell("dim_4_run_0")))


def _edit_an_epoch(directory: Directory) -> None:
    _edit_a_digit_after("\n1,0.", directory.store.paths.history_file(directory.cell("dim_4_run_0")))


@pytest.mark.parametrize("change", [_conflict, _edit_a_metric, _edit_an_epoch, _damage_history])
def test_what_changes_within_the_second_in_which_it_was_read_is_noticed(
    directory: Directory, change: Callable[[Directory], None]
) -> None:
    """On a file system that counts whole seconds, and in one that does not pass while this runs."""
    now = int(time.time()) + 3600
    _stamp(directory, now)
    aggregate(directory.store.root, figures=False)
    change(directory)
    _stamp(directory, now)
    aggregate(directory.store.root, figures=False)
    assert _outputs(directory.store) == _rebuilt(directory)


def test_a_cell_that_is_read_each_time_is_no_change(directory: Directory) -> None:
    _stamp(directory, int(time.time()) + 3600)
    aggregate(directory.store.root, figures=False)
    before = {path: path.stat().st_mtime_ns for path in directory.store.root.iterdir()}
    aggregate(directory.store.root, figures=False)
    assert {path: path.stat().st_mtime_ns for path in directory.store.root.iterdir()} == before


def test_a_damaged_history_that_is_put_right_is_noticed(directory: Directory) -> None:
    history = directory.store.paths.history_file(directory.cell("dim_4_run_0"))
    whole = history.read_bytes()
    _damage_history(directory)
    aggregate(directory.store.root, figures=False)
    atomic.publish(history, whole)
    aggregate(directory.store.root, figures=False)
    assert _outputs(directory.store) == _rebuilt(directory)


def test_a_failed_cell_that_fails_again_is_noticed(directory: Directory) -> None:
    cell = directory.cell("dim_4_run_0")
    shutil.rmtree(directory.store.paths.cell_directory(cell))
    directory.fail(cell, "first cause")
    aggregate(directory.store.root, figures=False)
    directory.fail(cell, "second cause")
    assert "FAILED: dim_4_run_0: second cause" in aggregate(directory.store.root, figures=False).problems
    assert _outputs(directory.store) == _rebuilt(directory)


def test_a_changed_result_of_a_cell_without_history_is_noticed(directory: Directory) -> None:
    cell = directory.cell("dim_4_run_0")
    directory.store.paths.history_file(cell).unlink()
    aggregate(directory.store.root, figures=False)
    directory.finish(cell, {LOSS: 0.987})
    aggregate(directory.store.root, figures=False)
    assert b"0.987" in directory.store.paths.aggregated_file.read_bytes()
    assert _outputs(directory.store) == _rebuilt(directory)


def test_figures_are_drawn_when_they_are_asked_for_after_all(directory: Directory) -> None:
    aggregate(directory.store.root, figures=False)
    aggregate(directory.store.root)
    drawn = directory.store.paths.plots_directory / "statistical_summary.png"
    assert drawn.exists()
    os.unlink(drawn)
    aggregate(directory.store.root)
    assert drawn.exists()


def test_stamps_are_those_of_the_files_and_zero_where_there_is_none(directory: Directory) -> None:
    store = directory.store
    shutil.rmtree(store.paths.cell_directory(directory.cell("dim_4_run_0")))
    store.paths.history_file(directory.cell("dim_4_run_1")).unlink()
    stamps = cell_stamps(store, records.names_of(directory.sweep))
    assert stamps[0].tolist() == [0] * 5
    cell = directory.cell("dim_4_run_1")
    result = store.paths.result_file(cell).stat()
    moment = store.paths.cell_directory(cell).stat().st_mtime_ns
    assert stamps[1].tolist() == [moment, result.st_mtime_ns, result.st_size, 0, 0]
    assert (stamps[2:] > 0).all()


def test_stamps_of_a_sweep_that_never_began_are_zero(tmp_path: Path) -> None:
    fresh = Directory(tmp_path / "new", make_sweep({"dim": [4]}, 2))
    assert cell_stamps(fresh.store, records.names_of(fresh.sweep)).tolist() == [[0] * 5] * 2


def test_names_are_those_of_the_cells() -> None:
    sweep = make_sweep({"dim": [4, 8], "scale": [0.1, 1.0]}, 3)
    assert records.names_of(sweep) == [cell.name for cell in sweep.grid]


@pytest.mark.parametrize("name", ["report/templates/report.js", "report/templates/report.css", "report/page.py"])
def test_a_change_of_any_file_of_the_code_is_noticed(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = tmp_path / "code"
    for folder in ("aggregate", "hpc"):
        shutil.copytree(PROJECT_ROOT / folder, code / folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(unchanged, "PROJECT_ROOT", code)
    digest = unchanged._code_digest.__wrapped__  # without what it remembers of this process
    before = digest()
    path = code / "aggregate" / name
    path.write_bytes(path.read_bytes() + b"\n")
    assert digest() != before


@pytest.mark.parametrize("name", ["{home}/thesis", "../home/thesis", "plots/../../home/thesis", "plots/link/thesis"])
def test_a_cache_removes_nothing_that_it_names(name: str, directory: Directory) -> None:
    store = directory.store
    home = store.root.with_name("home")
    home.mkdir()
    (home / "thesis").write_text("precious")
    aggregate(store.root)
    (store.root / "plots" / "link").symlink_to(home)
    content = json.loads(store.paths.cache_file.read_text())
    content["files"][name.format(home=home)] = [1, 1, 1]
    store.paths.cache_file.write_text(json.dumps(content))
    directory.finish(directory.sweep.grid[0], {ACCURACY: 0.25, LOSS: 0.5})
    aggregate(store.root)
    assert (home / "thesis").read_text() == "precious"
