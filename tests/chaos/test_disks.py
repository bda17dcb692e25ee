"""Disks that fill up, lose their quota or turn read-only under a running task."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.here import lacking

from hpc.errors import of_system
from hpc.node.attempt import PackAttempt
from hpc.node.giving_up import futile
from hpc.status.conflict import conflicts, explain
from hpc.storage import published
from hpc.storage.store import Store
from hpc.sweep.cell import Cell
from hpc.sweep.outcome import Outcome
from hpc.sweep.states import COMPLETED, CONFLICT

from .attempts import ForkServer, Hold
from .bench import Bench


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(place)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        lacking("only root can mount")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(path: Path, but_bytes: int = 0) -> None:
    """Take all the room there is; or leave so many bytes, of whole pages."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    os.truncate(path, path.stat().st_size - but_bytes)


def remount(place: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(place)], check=True)


def test_a_disk_that_fills_up_while_a_task_trains_costs_nothing_but_time(
    disk: Path, memory: Path, server: ForkServer
) -> None:
    bench, calm = (Bench.make(place / "out") for place in (disk, memory))
    calm.run_all(server)
    hold = Hold.at(memory / "hold", 10)
    task = bench.start(server, 0, environment=hold.environment)
    hold.reached(task)
    filler = disk / "filler"
    fill(filler)
    hold.release()
    assert task.wait() == 3
    assert "No space left on device" in bench.text(0)
    assert str(bench.store.paths.root) in bench.text(0)
    filler.unlink()
    assert futile(bench.store, bench.tasks[0][0], fused=False).attempts == 0
    assert bench.start(server, 0).wait() == 0
    bench.check_equal(calm)


def test_a_file_system_that_turns_read_only_costs_nothing_but_time(
    disk: Path, memory: Path, server: ForkServer
) -> None:
    # The kernel refuses to remount while files are open for writing, so what a task meets is a new start there.
    bench, calm = (Bench.make(place / "out") for place in (disk, memory))
    calm.run_all(server)
    hold = Hold.at(memory / "hold", 10)
    task = bench.start(server, 0, environment=hold.environment)
    hold.reached(task)
    assert bench.store.paths.has_saved(1)
    task.signal(9)
    assert task.wait() == -9
    kept = [path.read_bytes() for path in bench.store.paths.generations(1)]
    remount(disk, "ro")
    assert server.start(bench.arguments(0), memory / "log").wait() == 3
    assert "Read-only file system" in (memory / "log").read_text()
    assert str(bench.store.paths.root) in (memory / "log").read_text()
    assert [path.read_bytes() for path in bench.store.paths.generations(1)] == kept
    remount(disk, "rw")
    assert bench.start(server, 0).wait() == 0
    bench.check_equal(calm)


# --- a second outcome for which there is no room ----------------------------------------------------------------------

PAGE = 4096


def outcome(value: float, weights: int = 0) -> Outcome:
    return Outcome(COMPLETED, {"error": value}, None, 1, f"epoch,error\n1,{value}\n".encode(), b"x" * weights or None)


@pytest.fixture
def copies(disk: Path) -> tuple[Store, Cell, tuple[PackAttempt, PackAttempt]]:
    """Two live copies of a task, each about to end."""
    bench = Bench.make(disk / "out")
    cell = bench.tasks[0][0]
    one, two = (PackAttempt.begin(bench.store, bench.sweep, [cell], bench.submission, {}) for _ in range(2))
    return bench.store, cell, (one, two)


def state(store: Store, cell: Cell) -> str:
    (found,) = store.statuses([cell], store.sweep())
    return found.state


@pytest.mark.parametrize(("pages", "weights"), [(1, 0), (2, 0), (2, PAGE), (3, 2 * PAGE)])
def test_where_only_a_part_of_a_second_outcome_finds_room_its_numbers_are_kept(
    disk: Path, copies: tuple[Store, Cell, tuple[PackAttempt, PackAttempt]], pages: int, weights: int
) -> None:
    store, cell, (one, two) = copies
    assert one.publish(cell, outcome(1.0), {})
    fill(disk / "filler", but_bytes=pages * PAGE)
    with pytest.raises(OSError, match="No space left on device"):
        two.publish(cell, outcome(2.0, weights), {"note": "x" * PAGE})  # so that its result needs two pages or more
    assert state(store, cell) == CONFLICT
    (found,) = conflicts(store, cell)
    assert found.other["metrics"] == {"error": 2.0}
    assert "error: 1.0 published (pack 1), 2.0 (pack 2)" in explain(store, cell)


def test_where_nothing_of_a_second_outcome_finds_room_the_cell_is_in_conflict_and_the_error_has_its_numbers(
    disk: Path, copies: tuple[Store, Cell, tuple[PackAttempt, PackAttempt]]
) -> None:
    store, cell, (one, two) = copies
    assert one.publish(cell, outcome(1.0), {})
    fill(disk / "filler")
    with pytest.raises(OSError, match="No space left on device") as caught:
        two.publish(cell, outcome(2.0), {})
    lost = f'; {cell.name} ended otherwise than published, which cannot be kept: {{"error": 2.0}}'
    assert of_system(caught.value) == f"{store.paths.conflict_file(cell)}: No space left on device{lost}"
    assert state(store, cell) == CONFLICT
    (mark,) = store.paths.conflict_files(cell)
    assert mark.stat().st_size == 0
    text = explain(store, cell)
    assert text.startswith("two attempts ended with different outcomes")
    assert f"{mark.name}: there was no room for another outcome" in text
    assert f"rm {mark}" in text
    mark.unlink()
    assert state(store, cell) == COMPLETED


def test_where_there_is_no_room_for_the_same_outcome_once_more_nothing_is_in_conflict(
    disk: Path, copies: tuple[Store, Cell, tuple[PackAttempt, PackAttempt]]
) -> None:
    store, cell, (one, two) = copies
    assert one.publish(cell, outcome(1.0), {})
    fill(disk / "filler")
    with pytest.raises(OSError, match="No space left on device") as caught:
        two.publish(cell, outcome(1.0), {})
    assert "ended otherwise" not in str(caught.value)
    assert state(store, cell) == COMPLETED


def test_an_outcome_that_is_kept_already_needs_no_room(
    disk: Path, copies: tuple[Store, Cell, tuple[PackAttempt, PackAttempt]]
) -> None:
    store, cell, (one, two) = copies
    assert one.publish(cell, outcome(1.0), {})
    assert not two.publish(cell, outcome(2.0), {})
    fill(disk / "filler")
    (path,) = store.paths.conflict_files(cell)
    published.keep_conflict(store.paths, cell, json.loads(path.read_bytes()))
    assert store.paths.conflict_files(cell) == [path]


def test_a_task_that_ends_otherwise_on_a_full_disk_ends_with_three_and_its_cell_is_in_conflict(
    disk: Path, memory: Path, server: ForkServer
) -> None:
    bench = Bench.make(disk / "out", trainer="loose.py:train", options={"steps": 20})
    hold = Hold.at(memory / "hold", 10)
    old = bench.start(server, 0, environment=hold.environment)
    hold.reached(old)
    assert bench.start(server, 0).wait() == 0
    fill(disk / "filler")
    hold.release()
    assert old.wait() == 3
    assert state(bench.store, bench.tasks[0][0]) == CONFLICT


def test_a_good_result_that_cannot_get_its_name_back_leaves_its_cell_in_conflict(
    disk: Path, copies: tuple[Store, Cell, tuple[PackAttempt, PackAttempt]], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, cell, (one, two) = copies
    assert one.publish(cell, outcome(1.0), {})
    quarantine = published.atomic.quarantine

    def overtaken(path: Path, mark: str = "") -> Path:
        aside = quarantine(path, mark)
        monkeypatch.setattr(published.atomic, "quarantine", quarantine)
        assert two.publish(cell, outcome(2.0), {})
        fill(disk / "filler")
        return aside

    monkeypatch.setattr(published.atomic, "quarantine", overtaken)
    with pytest.raises(OSError, match="No space left on device"):
        published.set_aside(store.paths, cell, b"what was found damaged")
    assert state(store, cell) == CONFLICT
    (aside,) = store.paths.cell_directory(cell).glob("results.json.corrupt-*")
    assert json.loads(aside.read_bytes())["metrics"] == {"error": 1.0}
