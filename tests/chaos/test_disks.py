"""Disks that fill up, lose their quota or turn read-only under a running task."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.here import lacking

from hpc.node.giving_up import futile

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


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)


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
