"""Two clients of a real NFS server that share no cache. `make test-nfs` boots the machine on which these run."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import time
import uuid
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from helpers.command_line import environment
from helpers.small_sweeps import make_store, make_sweep, write_trainer
from helpers.waiting import PATIENCE, wait_until

from filesystems.sweeps import command, configuration, finished, killed_after_a_save, release, saved, start
from hpc.files import atomic, directories, reading
from hpc.preflight import probe
from hpc.storage.store import Store
from hpc.submission.lock import lock

MOUNTS = os.environ.get("HOLDFAST_NFS")
if not MOUNTS:
    pytest.skip("`make test-nfs` runs these tests on two NFS mounts", allow_module_level=True)

SPAWN = multiprocessing.get_context("spawn")
TURNS = 3


@pytest.fixture
def both() -> Iterator[tuple[Path, Path]]:
    """One new directory, as each of the two clients sees it."""
    name = uuid.uuid4().hex[:8]
    first, second = Path(MOUNTS, "a", name), Path(MOUNTS, "b", name)
    first.mkdir()
    wait_until(second.exists, "the other client's view")
    yield first, second
    assert not list(first.rglob(".lock-*")), "a prepared lock was left behind"


@pytest.fixture
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of the small trainer, each of whose cells waits half-way while the file `hold` is beside it."""
    return configuration(tmp_path_factory.mktemp("config"))


def undisturbed(config: Path) -> bytes:
    return finished(config, Path("/tmp") / f"calm-{uuid.uuid4().hex[:8]}")


def test_a_sweep_whose_commands_alternate_between_the_clients_ends_byte_for_byte_as_undisturbed(
    both: tuple[Path, Path], config: Path, tmp_path: Path
) -> None:
    for place in both * 2:
        killed_after_a_save(config, place / "out")
    release(config.parent)
    assert finished(config, both[1] / "out") == undisturbed(config)


def test_of_two_clients_one_wins_every_race(both: tuple[Path, Path]) -> None:
    (both[0] / "race").mkdir()
    with SPAWN.Pool(2) as pool:
        sides = [pool.apply_async(probe.race, (place / "race", str(n))) for n, place in enumerate(both)]
        first, second = (side.get(PATIENCE) for side in sides)
    assert probe.race_faults(first, second) == []


def _replace(path: Path, rounds: int) -> None:
    for number in range(rounds):
        atomic.publish(path, f"{number % 10}".encode() * 50_000)


def test_a_file_that_another_client_replaces_is_always_read_whole(both: tuple[Path, Path]) -> None:
    atomic.publish(both[0] / "file", b"0" * 50_000)
    writer = SPAWN.Process(target=_replace, args=(both[1] / "file", 100))
    writer.start()

    def read() -> bytes:
        data = reading.read(both[0] / "file")
        assert len(data) == 50_000
        assert len(set(data)) == 1
        return data[:1]

    # A client may show the old file until its cache expires, but never a mixture, and never nothing.
    wait_until(lambda: read() == b"9" and not writer.is_alive(), "the last version")
    assert writer.exitcode == 0


def test_a_file_that_is_removed_while_it_is_open_is_not_listed(both: tuple[Path, Path]) -> None:
    path = both[0] / "file"
    atomic.publish(path, b"x")
    with path.open("rb") as reader:
        atomic.remove(path)
        assert [name for name in os.listdir(both[0]) if name.startswith(".nfs")]
        assert directories.entries(both[0]) == []
        assert reader.read() == b"x"


def _hold(root: Path, number: int, log: Any) -> None:
    store, held = Store(root), 0
    while held < TURNS:
        with lock(store, f"number {number}", on_busy=lambda _: None):
            entered = time.monotonic()
            time.sleep(0.01)
            log.put((entered, time.monotonic()))
        held += 1


def test_the_lock_is_one_commands_at_a_time_and_contention_leaves_nothing(both: tuple[Path, Path]) -> None:
    make_store(both[0] / "out", make_sweep(path=write_trainer(both[0] / "user")))
    log = SPAWN.Queue()
    workers = [SPAWN.Process(target=_hold, args=(place / "out", n, log)) for n, place in enumerate(both * 2)]
    for worker in workers:
        worker.start()
    spans = sorted(log.get(timeout=PATIENCE) for _ in range(TURNS * len(workers)))
    for worker in workers:
        worker.join(PATIENCE)
    assert all(before[1] <= after[0] for before, after in pairwise(spans))
    left = [name for place in both for name in os.listdir(place / "out" / "submissions") if "lock" in name]
    assert left == []


def _serve(threads: int) -> None:
    versions = ["--no-nfs-version", "3", "--nfs-version", "4.2"] if threads else []
    subprocess.run(["rpc.nfsd", *versions, str(threads)], check=True)


def test_a_server_that_restarts_in_mid_write_costs_nothing(
    both: tuple[Path, Path], config: Path, tmp_path: Path
) -> None:
    running = start(config, both[0] / "out")
    wait_until(lambda: saved(both[0] / "out"), "a save")
    for _ in range(2):
        _serve(0)
        time.sleep(2)
        _serve(4)
        time.sleep(1)
    release(config.parent)
    said = running.communicate(timeout=PATIENCE)
    assert running.returncode == 0, said
    calm = undisturbed(config)
    assert finished(config, both[1] / "out") == calm


def test_a_full_export_is_named_and_once_there_is_room_the_sweep_continues(config: Path) -> None:
    release(config.parent)
    place = Path(MOUNTS, "small", uuid.uuid4().hex[:8])
    place.mkdir()
    filler = place / "filler"
    with pytest.raises(OSError, match="No space left"):
        atomic.write_temporary(filler, b"x" * (64 << 20))
    free = os.statvfs(place)
    filler.write_bytes(b"x" * (free.f_bavail * free.f_frsize - 200_000))
    done = subprocess.run(command(config, place / "out"), env=environment(), cwd="/tmp", capture_output=True, text=True)
    assert done.returncode == 3, done.stdout + done.stderr
    assert "No space left on device" in done.stderr
    assert str(place) in done.stderr
    assert "Traceback" not in done.stderr
    filler.unlink()
    assert finished(config, place / "out") == undisturbed(config)
