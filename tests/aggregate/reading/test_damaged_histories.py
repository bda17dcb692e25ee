"""Histories that are damaged: each is made whole, or its cell is named and counts for nothing."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.sweeps import LOSS, Directory, history_bytes, make_sweep

from aggregate.reading.sweep import Reading, read, read_cells
from hpc.files import atomic, directories, limits, reading
from hpc.storage.named_files import CONFIG, HISTORY, WEIGHTS, described
from hpc.sweep.states import COMPLETED, CONFLICT

CELL = "dim_8_run_0"
STRANGER = "its history.csv is not the one of its result"
WHOLE = history_bytes({"val_loss": [1.0, 0.5]})


@pytest.fixture
def directory(tmp_path: Path) -> Directory:
    made = Directory(tmp_path / "out", make_sweep({"dim": [8, 12]}, 2, primary=[LOSS]))
    for cell in made.sweep.grid:
        made.train(cell.name, 0.5)
    return made


def _copy_of_the_attempt(directory: Directory) -> None:
    """The history of CELL where its attempt wrote it."""
    private = directory.store.paths.private_history(1, directory.cell(CELL))
    directories.make_directory(private.parent)
    atomic.publish(private, WHOLE)


def _ends(found: Reading) -> dict[str, tuple[str, float | None, float | None]]:
    """State of each cell, and its last loss by its result and by its history."""
    gathered, columns = found.gathered, found.histories.columns
    last = dict(zip(found.histories.position.tolist(), columns.get("val_loss", []), strict=True))
    results = [(record.result or {"metrics": {LOSS: None}})["metrics"][LOSS] for record in gathered.records]
    return {
        name: (record.state, result, last.get(position))
        for position, (name, record, result) in enumerate(zip(gathered.names, gathered.records, results, strict=True))
    }


def _publish(data: bytes) -> Callable[[Path], None]:
    return lambda history: atomic.publish(history, data)


def _too_large(history: Path) -> None:
    history.unlink()
    with history.open("wb") as file:
        file.truncate(limits.HISTORY + 1)


def _link(history: Path) -> None:
    history.rename(history.with_name("other"))
    history.symlink_to("other")


def _instead(make: Callable[[Path], None]) -> Callable[[Path], None]:
    def act(history: Path) -> None:
        history.unlink()
        make(history)

    return act


DAMAGES = {
    "another number": _publish(WHOLE.replace(b"0.5", b"0.7")),
    "no line end, as long": _publish(WHOLE.replace(b"0.5\n", b"0.55")),
    "zeros, as long": _publish(bytes(len(WHOLE))),
    "cut": _publish(WHOLE[:-1]),
    "shorter": _publish(history_bytes({"val_loss": [1.0]})),
    "longer": _publish(WHOLE + b"3,0.25\n"),
    "empty": _publish(b""),
    "too large": _too_large,
    "a link": _link,
    "a directory": _instead(Path.mkdir),
    "a pipe": _instead(os.mkfifo),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("copied", [True, False], ids=["with the attempt's copy", "alone"])
def test_a_damaged_history_is_made_whole_or_its_cell_counts_for_nothing(
    directory: Directory, damage: Callable[[Path], None], copied: bool
) -> None:
    history = directory.store.paths.history_file(directory.cell(CELL))
    if copied:
        _copy_of_the_attempt(directory)
    damage(history)
    found = read(directory.store)
    others = dict.fromkeys(found.gathered.names, (COMPLETED, 0.5, 0.5))
    cause = found.gathered.records[0].status.cause
    if copied:
        assert _ends(found) == others
        assert history.read_bytes() == WHOLE
    else:
        assert _ends(found) == others | {CELL: (CONFLICT, None, None)}
        assert STRANGER in cause


def test_a_history_that_is_missing_is_named_and_its_result_counts(directory: Directory) -> None:
    directory.store.paths.history_file(directory.cell(CELL)).unlink()
    found = read(directory.store)
    assert _ends(found)[CELL] == (COMPLETED, 0.5, None)
    assert found.histories.faults == [(CELL, "history.csv is missing")]


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_a_damaged_history_is_told_from_a_whole_one_whatever_else_of_its_cell_is_another(
    directory: Directory, name: str
) -> None:
    """As long, beside a stranger: what is said is what a look at every digest finds."""
    directory.train(CELL, 0.5, **{name: described(name, b"{}")})
    atomic.publish(directory.store.paths.cell_directory(directory.cell(CELL)) / name, b"[1]")
    for data in (WHOLE, WHOLE.replace(b"0.5", b"0.7")):
        atomic.publish(directory.store.paths.history_file(directory.cell(CELL)), data)
        found = read(directory.store)
        cells, names = list(directory.sweep.grid), found.gathered.names
        records, _ = read_cells(directory.store, directory.sweep, cells, names, range(len(names)))
        assert [record.status for record in found.gathered.records] == [record.status for record in records]
        told = HISTORY if name == WEIGHTS and data != WHOLE else name
        assert f"its {told} is not the one of its result" in records[0].status.cause


@pytest.mark.parametrize("change", [{"size_in_blocks": 1}, {"bytes": None}], ids=["more", "less"])
def test_a_history_of_which_another_version_says_more_or_less_is_told_by_its_digest(
    directory: Directory, change: dict[str, Any]
) -> None:
    named = described(HISTORY, WHOLE) | change
    directory.train(CELL, 0.5, **{HISTORY: {key: value for key, value in named.items() if value is not None}})
    assert _ends(read(directory.store))[CELL] == (COMPLETED, 0.5, 0.5)
    atomic.publish(directory.store.paths.history_file(directory.cell(CELL)), WHOLE.replace(b"0.5", b"0.7"))
    assert _ends(read(directory.store))[CELL] == (CONFLICT, None, None)


@pytest.mark.parametrize("damaged", [(0,), (3,), (0, 1, 2, 3)])
def test_a_damaged_history_costs_its_own_cell_a_second_look_and_no_other(
    directory: Directory, damaged: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    histories = [directory.store.paths.history_path(cell.name) for cell in directory.sweep.grid]
    for position in damaged:
        atomic.publish(Path(histories[position]), WHOLE.replace(b"0.5", b"0.7"))
    looks, real = Counter[str](), reading.read_sized

    def read_sized(path: str, *given: Any) -> bytes | None:
        looks[path] += 1
        return real(path, *given)

    monkeypatch.setattr(reading, "read_sized", read_sized)
    found = _ends(read(directory.store))
    assert [state for state, *_ in found.values()].count(CONFLICT) == len(damaged)
    whole = [history for position, history in enumerate(histories) if position not in damaged]
    assert [looks[history] for history in whole] == [1] * len(whole)
    assert {looks[histories[i]] for i in damaged} == {4}  # twice, before and after it could have been made whole
