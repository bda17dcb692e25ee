from __future__ import annotations

import weakref
from pathlib import Path

import numpy as np
import pytest
from helpers.sweeps import ACCURACY, Directory, history_bytes, make_sweep

from aggregate.analysis.curves import curves
from aggregate.reading import histories
from aggregate.reading.histories import Histories
from aggregate.reading.sweep import read
from hpc.errors import SweepError
from hpc.files import atomic, directories


@pytest.fixture
def directory(tmp_path: Path) -> Directory:
    made = Directory(tmp_path / "out", make_sweep({"dim": [8, 12]}, seeds=2))
    made.fill(lambda _: {ACCURACY: 0.5})
    return made


def _read(directory: Directory) -> Histories:
    return read(directory.store).histories


@pytest.mark.parametrize("chunk", [1, 3, 1000])
def test_numbers_come_back_as_they_were_written(
    directory: Directory, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(histories, "CHUNK", chunk)
    values = np.random.default_rng(0).random((4, 3)) * 10.0 ** np.arange(-150, 150, 75)[:, None]
    for cell, row in zip(directory.sweep.grid, values, strict=True):
        directory.history(cell, {"val_loss": row.tolist()})
    found = _read(directory)
    assert found.faults == []
    assert found.position.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert found.epoch.tolist() == [1, 2, 3] * 4
    assert (found.columns["val_loss"] == values.ravel()).all()


def test_an_empty_field_is_absent_and_columns_may_differ_between_cells(directory: Directory) -> None:
    first, second, *_ = directory.sweep.grid
    directory.history(first, {"val_loss": [1.0, None]})
    directory.history(second, {"train_loss": [3.0], "val_loss": [4.0]})
    found = _read(directory)
    np.testing.assert_array_equal(found.columns["val_loss"], [1.0, np.nan, 4.0])
    np.testing.assert_array_equal(found.columns["train_loss"], [np.nan, np.nan, 3.0])


@pytest.mark.parametrize("chunk", [1, 2, 1000])
@pytest.mark.parametrize("lengths", [(1, 2, 40, 3), (40, 1, 0, 2), (3, 3, 3, 3)])
def test_cells_may_train_for_longer_than_the_first_and_bring_new_columns(
    directory: Directory, monkeypatch: pytest.MonkeyPatch, chunk: int, lengths: tuple[int, ...]
) -> None:
    monkeypatch.setattr(histories, "CHUNK", chunk)
    position, epoch, expected = list[int](), list[int](), dict[str, list[float]]()
    random = np.random.default_rng(1)
    for number, (cell, length) in enumerate(zip(directory.sweep.grid, lengths, strict=True)):
        own = {"val_loss": random.random(length).tolist(), f"m{number}": random.random(length).tolist()}
        directory.history(cell, own)
        for name in own:
            expected.setdefault(name, [np.nan] * len(position))
        position += [number] * length
        epoch += range(1, length + 1)
        for name, values in expected.items():
            values += own.get(name, [np.nan] * length)
    found = _read(directory)
    assert (found.position.tolist(), found.epoch.tolist(), found.faults) == (position, epoch, [])
    assert found.columns.keys() == {name for name, values in expected.items() if not np.isnan(values).all()}
    for name, column in found.columns.items():
        np.testing.assert_array_equal(column, expected[name])


def test_room_is_made_for_no_more_rows_than_a_table_may_have(
    directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(histories, "CHUNK", 1)
    first, *others = directory.sweep.grid
    directory.history(first, {"val_loss": [0.5] * 100})
    for cell in others:
        directory.history(cell, {"val_loss": [0.5]})
    monkeypatch.setattr(histories, "MOST_NUMBERS", 2 * 150)  # not the 400 rows that the first cell promises
    column = _read(directory).columns["val_loss"]
    assert len(column) == 103
    assert column.base is not None
    assert len(column.base) == 150


def test_a_missing_link_is_made_from_the_attempt_that_won(directory: Directory) -> None:
    cell = directory.sweep.grid[0]
    private = directory.store.paths.private_history(1, cell)
    directories.make_directory(private.parent)
    atomic.publish(private, history_bytes({"val_loss": [2.0]}))
    found = _read(directory)
    assert found.columns["val_loss"].tolist() == [2.0]
    assert directory.store.paths.history_file(cell).exists()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "cut short"),
        (b"epoch,val_loss\n1,0.5\n2,0.", "cut short"),
        (b"epoch,val_loss\n1\n", "damaged"),
        (b"epoch,val_loss\n1,abc\n", "damaged"),
        (b"epoch,val_loss\n\n", "damaged"),
        (b"epoch,val_loss\n,1.0\n", "damaged"),
        (b"epoch,a,a\n1,2,3\n", "damaged"),
        (b"\xff\xfe\x00\n", "damaged"),
        (b"step,val_loss\n1,0.5\n", "damaged"),
    ],
)
def test_a_damaged_history_is_named_and_spoils_no_other(directory: Directory, data: bytes, reason: str) -> None:
    bad, *good = directory.sweep.grid
    for cell in good:
        directory.history(cell, {"val_loss": [1.0, 2.0]})
    atomic.publish(directory.store.paths.history_file(bad), data)
    found = _read(directory)
    assert found.position.tolist() == [1, 1, 2, 2, 3, 3]
    assert [name for name, _ in found.faults] == [bad.name]
    assert reason in found.faults[0][1]


@pytest.mark.parametrize("chunk", [1, 1000])
def test_faults_come_in_the_order_of_the_grid(
    directory: Directory, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(histories, "CHUNK", chunk)
    first, missing, last, good = directory.sweep.grid
    directory.history(good, {"val_loss": [1.0]})
    atomic.publish(directory.store.paths.history_file(first), b"epoch,val_loss\n1,x\n")
    atomic.publish(directory.store.paths.history_file(last), b"epoch,val_loss\n1,0.")
    assert [name for name, _ in _read(directory).faults] == [first.name, missing.name, last.name]


def test_a_history_that_cannot_be_read_ends_the_reading(directory: Directory) -> None:
    directory.store.paths.history_file(directory.sweep.grid[1]).mkdir()
    with pytest.raises(IsADirectoryError, match="history"):
        _read(directory)


def test_curves_of_different_length_are_not_filled_forward() -> None:
    # Two seeds of one condition: the second ends after epoch 1.
    made = curves(np.array([0, 0, 1]), np.array([1, 2, 1]), np.array([1.0, 3.0, 2.0]), np.array([[True, True]]))
    np.testing.assert_array_equal(made.values, [[[1.0, 3.0], [2.0, np.nan]]])
    assert made.n.tolist() == [[2, 1]]
    assert made.mean.tolist() == [[1.5, 3.0]]


def test_a_diverged_seed_is_drawn_but_not_in_the_mean() -> None:
    made = curves(np.array([0, 1]), np.array([1, 1]), np.array([1.0, 9e9]), np.array([[True, False]]))
    assert made.values.tolist() == [[[1.0], [9e9]]]
    assert made.mean.tolist() == [[1.0]]


@pytest.mark.parametrize("chunk", [1, 1000])
def test_what_is_too_much_is_not_held_while_it_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    """Six numbers in each of twenty cells, where 20 may be held; a user is told how many there are in all."""
    monkeypatch.setattr(histories, "CHUNK", chunk)
    monkeypatch.setattr(histories, "MOST_NUMBERS", 20)
    monkeypatch.setattr(histories, "_MOST_AT_ONCE", 1)  # file by file
    directory = Directory(tmp_path, make_sweep({"dim": [8, 12]}, seeds=10))
    directory.fill(lambda _: {ACCURACY: 0.5})
    for cell in directory.sweep.grid:
        directory.history(cell, {"val_loss": [1.0, 2.0, 3.0]})
    made: list[weakref.ref[histories.HistoryBlock]] = []
    most, held, parse, add = [], [0], histories._parse, histories._Table.add

    def counted(group: list[histories._File], faults: list[histories.Fault]) -> list[histories.HistoryBlock]:
        most.append(6 * sum(block() is not None for block in made))
        blocks = parse(group, faults)
        made.extend(map(weakref.ref, blocks))
        return blocks

    def added(table: histories._Table, block: histories.HistoryBlock) -> None:
        add(table, block)
        held.append(sum(map(len, table.columns.values())))

    monkeypatch.setattr(histories, "_parse", counted)
    monkeypatch.setattr(histories._Table, "add", added)
    with pytest.raises(SweepError, match=r"its histories have 120 values, one per metric and epoch of every cell"):
        _read(directory)
    assert len(most) == 20
    assert max(most) <= 6  # the one that was counted last
    assert max(held) <= 20
