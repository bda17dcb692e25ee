"""Sweeps on real FUSE file systems, where a file's second name does not count and errors are other ones."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from helpers.here import lacking
from helpers.waiting import wait_until

from filesystems import sweeps
from hpc.errors import BusyError
from hpc.files import atomic, directories, reading
from hpc.storage.store import Store
from hpc.submission.lock import busy, lock

SFTP_SERVER = Path("/usr/lib/openssh/sftp-server")


def missing() -> str:
    """Which programs are not here; empty if all is there."""
    absent = [name for name in ("sshfs", "bindfs", "fusermount3") if shutil.which(name) is None]
    absent += [] if SFTP_SERVER.exists() else ["sftp-server"]
    return f"not installed: {', '.join(absent)} (apt-get install sshfs bindfs openssh-sftp-server)" if absent else ""


@contextmanager
def mounted_by_bindfs(source: Path, target: Path) -> Iterator[None]:
    subprocess.run(["bindfs", "--no-allow-other", str(source), str(target)], check=True)
    try:
        yield
    finally:
        subprocess.run(["fusermount3", "-u", "-z", str(target)], check=True)


@contextmanager
def mounted_by_sshfs(source: Path, target: Path) -> Iterator[None]:
    """sshfs over a pair of sockets, which needs neither a network nor a daemon."""
    here, there = socket.socketpair()
    with here, there:
        server = subprocess.Popen([SFTP_SERVER], stdin=there, stdout=there)
        client = subprocess.Popen(
            ["sshfs", f"here:{source}", str(target), "-f", "-o", "passive"], stdin=here, stdout=here
        )
    try:
        wait_until(lambda: os.path.ismount(target) or client.poll() is not None, "the mount")
        assert client.poll() is None, "sshfs has ended"
        yield
    finally:
        subprocess.run(["fusermount3", "-u", "-z", str(target)], check=True)
        for process in (client, server):
            process.wait(60)


@pytest.fixture(params=[mounted_by_bindfs, mounted_by_sshfs], ids=["bindfs", "sshfs"])
def mount(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A FUSE file system."""
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("there is no /dev/fuse here")  # also under CI: a container has it or not
    if reason := missing():
        lacking(reason)
    mounting: Callable[[Path, Path], object] = request.param
    for name in ("source", "mounted"):
        (tmp_path / name).mkdir()
    with mounting(tmp_path / "source", tmp_path / "mounted"):  # type: ignore[attr-defined]
        yield tmp_path / "mounted"


def test_a_name_is_given_once_although_names_are_not_counted(mount: Path) -> None:
    assert atomic.publish_once(mount / "a", b"first")
    assert not atomic.publish_once(mount / "a", b"second")
    assert reading.read(mount / "a") == b"first"
    assert os.listdir(mount) == ["a"]


def test_a_sweep_that_is_killed_is_continued_and_ends_as_undisturbed(mount: Path, tmp_path: Path) -> None:
    config = sweeps.configuration(tmp_path)
    for _ in range(2):
        sweeps.killed_after_a_save(config, mount / "out")
    assert not busy(Store(mount / "out"))
    sweeps.release(tmp_path)
    assert sweeps.finished(config, mount / "out") == sweeps.finished(config, tmp_path / "calm")
    assert not list((mount / "out").rglob(".lock*"))


def test_an_empty_lock_directory_that_a_killed_command_left_is_no_obstacle(mount: Path) -> None:
    store = Store(mount / "out")
    directories.make_directory(store.paths.lock_directory)
    with lock(store, "holdfast run"):
        assert busy(store)
    assert os.listdir(store.paths.submissions_root) == []


def test_a_living_command_keeps_its_lock_also_where_its_directory_has_another_name_and_inode(
    mount: Path, tmp_path: Path
) -> None:
    (mount / "out").mkdir()
    there = tmp_path / "source" / "out"
    with lock(Store(there), "submit") as held:
        assert busy(Store(mount / "out"))
        with pytest.raises(BusyError, match=r"submit .* is at work here"), lock(Store(mount / "out"), "run"):
            pass
        held.check()
    assert not busy(Store(mount / "out"))
