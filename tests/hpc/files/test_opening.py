"""Files and folders of a sweep directory are opened as what they should be, whatever lies in their place."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.small_sweeps import make_store, make_sweep, run_here, write_trainer

from hpc.errors import ConfigError, SweepError
from hpc.files import atomic, directories, limits, logs, opening, reading
from hpc.files.opening import RefusedFileError
from hpc.protocol import LIMITS
from hpc.storage.permissions import below
from hpc.storage.store import Store
from hpc.sweep.states import CONFLICT


def _link(path: Path) -> None:
    path.symlink_to(path.parent / "elsewhere")


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(str(path))


def _link_to_a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.fixture
def set_limits(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Sets the variable that multiplies the limits."""
    return lambda value: monkeypatch.setenv(LIMITS, value)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A finished sweep of four cells."""
    store = make_store(tmp_path / "out", make_sweep(path=write_trainer(tmp_path)))
    run_here(store, list(store.sweep().grid))
    return store


@pytest.mark.parametrize("make", [_link, _pipe, _socket, _link_to_a_device])
def test_what_is_no_regular_file_is_refused_without_waiting(make: Callable[[Path], None], tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"{}")
    path = tmp_path / "x.json"
    make(path)
    for read in (reading.read, reading.read_json, reading.sha256, logs.tail):
        with pytest.raises(RefusedFileError) as refused:
            read(path)
        assert refused.value.filename == str(path)
    with pytest.raises(RefusedFileError):
        logs.append(path, "a line\n")
    assert (tmp_path / "elsewhere").read_bytes() == b"{}"


def test_a_file_that_is_too_large_is_refused_unread_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.touch()
    os.truncate(path, 5 << 30)
    with pytest.raises(RefusedFileError, match=f"5.4 GB, where at most 16.8 MB are read; .*{LIMITS}=320"):
        reading.read_json(path)
    assert len(logs.tail(path)) <= (1 << 20) + 200


def test_the_limits_can_be_raised(tmp_path: Path, set_limits: Callable[[str], None]) -> None:
    (tmp_path / "x").write_bytes(b"12345678")
    with pytest.raises(RefusedFileError):
        reading.read(tmp_path / "x", most=4)
    set_limits("2")
    assert reading.read(tmp_path / "x", most=4) == b"12345678"


@pytest.mark.parametrize("value", ["0.5", "many", "nan", "inf", ""])
def test_a_factor_of_the_limits_that_is_none_is_refused(value: str, set_limits: Callable[[str], None]) -> None:
    set_limits(value)
    with pytest.raises(ConfigError, match=LIMITS):
        limits.factor()


def test_a_number_of_any_length_is_told_in_a_line() -> None:
    assert limits.too_many(10, 10, "cells") == ""
    assert "11 cells" in limits.too_many(11, 10, "cells")
    assert len(limits.too_many(10**5000, 10, "cells")) < 200


@pytest.mark.parametrize("name", ["individual_results", "packs", "submissions", "code", "plots", "wandb"])
def test_a_folder_that_is_a_link_is_refused(name: str, store: Store, tmp_path: Path) -> None:
    folder, away = store.root / name, tmp_path / "away"
    directories.make_directory(folder)
    folder.rename(away)
    folder.symlink_to(away)
    with pytest.raises(RefusedFileError) as refused:
        store.sweep()
    assert refused.value.filename == str(folder)


def test_a_sweep_directory_may_be_reached_through_a_link(store: Store, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(store.root)
    linked = Store(tmp_path / "link")
    assert linked.sweep() == store.sweep()
    atomic.publish(linked.root / "new", b"")
    assert (store.root / "new").exists()


@pytest.mark.parametrize("name", ["results.json", "history.csv", ""])
def test_a_cell_whose_file_or_folder_is_a_link_is_in_conflict(name: str, store: Store, tmp_path: Path) -> None:
    sweep = store.sweep()
    path = store.paths.cell_directory(sweep.grid[0]) / name
    path.rename(tmp_path / "away")
    path.symlink_to(tmp_path / "away")
    states = [status.state for status in store.statuses(sweep.grid, sweep)]
    assert states[0] == CONFLICT
    assert CONFLICT not in states[1:]


def test_nothing_is_written_or_removed_through_a_folder_that_is_a_link(store: Store, tmp_path: Path) -> None:
    folder, away = store.paths.packs_root / "000007", tmp_path / "away"
    away.mkdir()
    (away / "kept").write_bytes(b"")
    folder.symlink_to(away)
    for write in (
        lambda: atomic.publish(folder / "new", b""),
        lambda: atomic.publish_once(folder / "new", b""),
        lambda: directories.make_directory(folder / "new"),
        lambda: directories.make_directory(folder),
        lambda: directories.claim(folder, 4),
        lambda: logs.append(folder / "new", "line\n"),
        lambda: atomic.quarantine(folder / "kept"),
        lambda: atomic.remove(folder / "kept"),
    ):
        with pytest.raises(RefusedFileError):
            write()
    assert [path.name for path in away.iterdir()] == ["kept"]


def test_a_link_is_given_no_second_name(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    for give in (atomic.link_once, atomic.put_in_place):
        with pytest.raises(RefusedFileError):
            give(tmp_path / "link", tmp_path / "public")
    assert not (tmp_path / "public").exists()


def test_a_grid_of_more_cells_than_are_gone_through_is_refused_before_it_is_made(store: Store) -> None:
    text = store.paths.sweep_file.read_text()
    axes = ", ".join(f'["axis{i}", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]]' for i in range(20))
    start, end = text.index('"axes": ') + 8, text.index('"seeds"')
    store.paths.sweep_file.write_text(f"{text[:start]}[{axes}], {text[end:]}")
    with pytest.raises(SweepError, match=r"about 10\^20 cells, where at most 100,000 are read"):
        store.sweep()


def test_folders_in_one_another_are_gone_through_without_an_end_of_the_stack(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    assert list(directories.walk(tmp_path)) == list(os.walk(tmp_path))
    folder = os.open(tmp_path / "a", os.O_RDONLY)
    for _ in range(70):
        os.mkdir("a", dir_fd=folder)
        inner = os.open("a", os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
    os.close(folder)
    with pytest.raises(opening.RefusedFileError, match="folders deep; move it away"):
        list(below(tmp_path))
