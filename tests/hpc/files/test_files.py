"""Publishing under faults that are real: file size limits, full and read-only file systems, racing processes."""

from __future__ import annotations

import errno
import multiprocessing
import os
import resource
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from helpers.here import lacking
from helpers.waiting import PATIENCE

from hpc.files import atomic, directories, logs, opening, reading

SPAWN = multiprocessing.get_context("spawn")
MEGABYTE = b"x" * 2**20


def leftovers(directory: Path) -> list[str]:
    return [name for name in os.listdir(directory) if name.startswith(".")]


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Writing beyond this many bytes fails with EFBIG after a short write, as a quota would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def mounted(*arguments: str) -> bool:
    return subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode == 0


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    directory = tmp_path / "tiny"
    directory.mkdir()
    if not mounted("-t", "tmpfs", "-o", "size=64k", "none", str(directory)):
        lacking("only root can mount a small file system")
    yield directory
    subprocess.run(["umount", str(directory)], check=True)


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A directory with one file on a read-only mount."""
    directory, source = tmp_path / "fixed", tmp_path / "source"
    directory.mkdir()
    source.mkdir()
    (source / "kept").write_bytes(b"old")
    if not mounted("--bind", str(source), str(directory)):
        lacking("only root can mount")
    try:
        if not mounted("-o", "remount,ro,bind", str(directory)):
            lacking("this machine cannot make a mount read-only")
        yield directory
    finally:
        subprocess.run(["umount", str(directory)], check=True)


def test_a_published_file_holds_what_was_given(tmp_path: Path) -> None:
    atomic.publish(tmp_path / "a", MEGABYTE)
    assert (tmp_path / "a").read_bytes() == MEGABYTE
    assert os.listdir(tmp_path) == ["a"]


def test_publishing_replaces_the_old_file(tmp_path: Path) -> None:
    atomic.publish(tmp_path / "a", b"old")
    atomic.publish(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"


@pytest.mark.parametrize("write", [atomic.publish, atomic.publish_once])
def test_a_file_too_large_leaves_the_old_one_and_no_temporary_one(write: Callable[..., Any], tmp_path: Path) -> None:
    target = tmp_path / "a"
    if write is atomic.publish:
        atomic.publish(target, b"old")
    with file_size_limit(2**16), pytest.raises(OSError, match="too large") as caught:
        write(target, MEGABYTE)
    assert caught.value.errno == errno.EFBIG
    assert caught.value.filename == str(target)
    assert leftovers(tmp_path) == []
    assert target.read_bytes() == b"old" if write is atomic.publish else not target.exists()


@pytest.mark.parametrize("write", [atomic.publish, atomic.publish_once])
def test_a_full_disk_leaves_the_old_file_and_no_temporary_one(write: Callable[..., Any], tiny_disk: Path) -> None:
    target = tiny_disk / "a"
    if write is atomic.publish:
        atomic.publish(target, b"old")
    with pytest.raises(OSError, match="No space") as caught:
        write(target, MEGABYTE)
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == str(target)
    assert leftovers(tiny_disk) == []
    assert target.read_bytes() == b"old" if write is atomic.publish else not target.exists()


@pytest.mark.parametrize(
    "act",
    [
        lambda d: atomic.publish(d / "kept", b"new"),
        lambda d: atomic.publish_once(d / "kept", b"new"),
        lambda d: directories.claim(d, 4),
        lambda d: directories.make_directory(d / "a" / "b"),
        lambda d: logs.append(d / "log", "line\n"),
        lambda d: atomic.quarantine(d / "kept"),
    ],
    ids=["publish", "publish_once", "claim", "make_directory", "append", "quarantine"],
)
def test_a_read_only_disk_is_named_and_nothing_changes(act: Callable[[Path], Any], read_only: Path) -> None:
    with pytest.raises(OSError, match="Read-only") as caught:
        act(read_only)
    assert str(caught.value.filename).startswith(str(read_only))
    assert (read_only / "kept").read_bytes() == b"old"


@pytest.mark.parametrize("call", ["fsync", "replace", "close", "write"])
def test_an_error_at_any_step_of_publishing_leaves_the_old_file(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "a"
    atomic.publish(target, b"old")
    real = getattr(os, call)

    def failing(*arguments: Any, **options: Any) -> None:
        if call == "close":
            real(*arguments)
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr(os, call, failing)
    with pytest.raises(OSError, match="quota") as caught:
        atomic.publish(target, b"new")
    monkeypatch.undo()
    assert caught.value.filename == str(target)
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


def test_a_failed_fsync_is_never_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def failing(fd: int) -> None:
        calls.append(fd)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(OSError, match="Input/output"):
        atomic.publish(tmp_path / "a", b"x")
    assert len(calls) == 1


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, bytes(data)[:7]))
    atomic.publish(tmp_path / "a", bytes(range(256)))
    monkeypatch.undo()
    assert (tmp_path / "a").read_bytes() == bytes(range(256))


def test_the_file_is_synced_before_it_gets_its_name_and_the_directory_after(tmp_path: Path) -> None:
    trace = subprocess.run(["which", "strace"], capture_output=True, text=True, check=False).stdout.strip()
    if not trace:
        lacking("strace is not on this machine")
    code = (
        f"from hpc.files import atomic; from pathlib import Path; atomic.publish(Path({str(tmp_path / 'a')!r}), b'x')"
    )
    done = subprocess.run(
        [trace, "-f", "-e", "trace=fsync,rename,renameat,renameat2", sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": str(Path(atomic.__file__).parents[2]), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    calls = [line.partition("(")[0].split()[-1][:6] for line in done.stderr.splitlines() if "(" in line and "=" in line]
    assert [call for call in calls if call in ("fsync", "rename")][-3:] == ["fsync", "rename", "fsync"]


def _publish_once(directory: str, barrier: Any, number: int, won: Any) -> None:
    data = f"{number}".encode() * 100_000
    barrier.wait()
    won[number] = atomic.publish_once(Path(directory) / "result", data)


def _claim(directory: str, barrier: Any, number: int, claimed: Any) -> None:
    barrier.wait()
    for i in range(5):
        claimed[5 * number + i] = directories.claim(Path(directory), 4)[0]


def race(work: Callable[..., None], directory: Path, results: int) -> list[int]:
    """Run work in 8 processes that begin together; what they left in the shared list."""
    barrier, shared = SPAWN.Barrier(8), SPAWN.Array("i", results)
    workers = [SPAWN.Process(target=work, args=(str(directory), barrier, n, shared)) for n in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(PATIENCE)
        assert worker.exitcode == 0
    return list(shared)


def test_of_eight_processes_that_publish_once_exactly_one_wins_and_its_file_is_whole(tmp_path: Path) -> None:
    won = race(_publish_once, tmp_path, 8)
    assert sum(won) == 1
    assert (tmp_path / "result").read_bytes() == f"{won.index(1)}".encode() * 100_000
    assert os.listdir(tmp_path) == ["result"]


def test_eight_processes_that_claim_get_numbers_of_their_own(tmp_path: Path) -> None:
    claimed = race(_claim, tmp_path, 40)
    assert sorted(claimed) == list(range(1, 41))
    assert sorted(os.listdir(tmp_path)) == [f"{number:04d}" for number in range(1, 41)]


def test_a_claim_goes_on_after_the_largest_number_even_with_gaps_and_strangers(tmp_path: Path) -> None:
    for name in ("0003", "12", "notes.txt", ".nfs0001", "99x"):
        (tmp_path / name).mkdir()
    assert directories.claim(tmp_path, 4) == (13, tmp_path / "0013")


def test_a_second_publish_once_changes_nothing(tmp_path: Path) -> None:
    assert atomic.publish_once(tmp_path / "a", b"first") is True
    assert atomic.publish_once(tmp_path / "a", b"second") is False
    assert (tmp_path / "a").read_bytes() == b"first"
    assert os.listdir(tmp_path) == ["a"]


def test_a_link_whose_reply_was_lost_counts_as_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.link

    def lost_reply(source: str, target: str, **options: Any) -> None:
        real(source, target, **options)
        raise FileExistsError(errno.EEXIST, "File exists")

    monkeypatch.setattr(os, "link", lost_reply)
    assert atomic.publish_once(tmp_path / "a", b"ours") is True
    assert (tmp_path / "a").read_bytes() == b"ours"


def test_nothing_is_writable_by_others_even_without_a_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        atomic.publish(tmp_path / "a", b"x")
        atomic.publish_once(tmp_path / "b", b"x")
        directories.make_directory(tmp_path / "c" / "d")
        directories.claim(tmp_path, 4)
        logs.append(tmp_path / "log", "line\n")
    finally:
        os.umask(before)
    for path in tmp_path.rglob("*"):
        assert not path.stat().st_mode & (stat.S_IWOTH | stat.S_IWGRP), path


def test_a_strict_umask_is_kept(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        atomic.publish(tmp_path / "a", b"x")
        directories.make_directory(tmp_path / "d")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "d").stat().st_mode) == 0o700


def test_a_file_set_aside_keeps_its_content_under_a_new_name(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"damaged")
    aside = atomic.quarantine(tmp_path / "a")
    assert aside.read_bytes() == b"damaged"
    assert aside.name.startswith("a.corrupt-")
    assert os.listdir(tmp_path) == [aside.name]


def test_two_damaged_files_of_one_name_are_both_kept(tmp_path: Path) -> None:
    for content in (b"1", b"2"):
        (tmp_path / "a").write_bytes(content)
        atomic.quarantine(tmp_path / "a")
    assert sorted(path.read_bytes() for path in tmp_path.iterdir()) == [b"1", b"2"]


@pytest.mark.parametrize("error", [errno.ESTALE, errno.ENOENT])
def test_a_stale_file_handle_is_opened_again(error: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"there")
    real, tries = os.open, []

    def stale_at_first(path: Any, *arguments: Any, **options: Any) -> int:
        if Path(path).name != "a":  # a folder on the way to it
            return real(path, *arguments, **options)
        tries.append(path)
        if len(tries) < 3:
            raise OSError(error, os.strerror(error), str(path))
        return real(path, *arguments, **options)

    monkeypatch.setattr(os, "open", stale_at_first)
    assert reading.read(tmp_path / "a") == b"there"
    assert len(tries) == 3


def test_a_file_that_stays_away_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        reading.read(tmp_path / "nowhere")


def test_a_listing_leaves_out_what_network_file_systems_leave_behind(tmp_path: Path) -> None:
    for name in ("a", ".nfs000123", ".a.tmp"):
        (tmp_path / name).touch()
    assert directories.entries(tmp_path) == ["a"]
    assert directories.entries(tmp_path / "nowhere") == []


def test_a_folder_that_is_held_and_went_stale_is_listed_by_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").touch()
    real = os.listdir

    def stale_if_held(path: Any) -> list[str]:
        if path == held.fd:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return real(path)

    with opening.folder(tmp_path.parent) as around, (held := opening.HeldFolder(str(tmp_path), around)):
        monkeypatch.setattr(os, "listdir", stale_if_held)
        assert directories.entries(str(tmp_path)) == ["a"]


def test_a_directory_is_not_made_where_a_file_lies(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    for path in (tmp_path / "a", tmp_path / "a" / "b"):
        with pytest.raises(NotADirectoryError):
            directories.make_directory(path)


def test_a_name_that_cannot_be_given_or_taken_is_said_with_its_folder(tmp_path: Path) -> None:
    for name in ("full/inside", "empty"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "file").touch()
    for act in (
        lambda: directories.rename_directory(tmp_path / "empty", tmp_path / "file"),
        lambda: directories.rename_directory(tmp_path / "nowhere", tmp_path / "file"),
        lambda: directories.remove_directory(tmp_path / "full"),
        lambda: atomic.put_in_place(tmp_path / "file", tmp_path / "full" / "inside"),
    ):
        with pytest.raises(OSError, match=r".") as caught:
            act()
        assert str(caught.value.filename).startswith(f"{tmp_path}/")


def test_a_claim_where_there_is_no_directory_names_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        directories.claim(tmp_path / "nowhere", 4)
    assert caught.value.filename == str(tmp_path / "nowhere" / "0001")


@pytest.mark.parametrize("content", [b"", b"garbage", b"\xff\xfe\x00", b"[" * 100_000])
def test_what_is_no_json_is_one_kind_of_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"."):
        reading.read_json(tmp_path / "x.json")


@pytest.mark.parametrize("length", [300, 3 * 2**20])
def test_a_read_that_ends_early_is_no_end_of_the_file(
    tmp_path: Path, length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fails within a read gives what came before, and the error with the next read."""
    path = tmp_path / "f"
    path.write_bytes(content := os.urandom(length))
    digest, read = reading.sha256(path), os.read
    monkeypatch.setattr(os, "read", lambda fd, count: read(fd, min(count, 100_000) // 3))
    assert reading.sha256(path) == digest
    assert reading.read_sized(path, length) == content

    def fails(fd: int, count: int) -> bytes:
        if os.lseek(fd, 0, os.SEEK_CUR):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read(fd, length // 2)

    monkeypatch.setattr(os, "read", fails)
    for read_it in (reading.sha256, lambda path: reading.read_sized(path, length)):
        with pytest.raises(OSError, match="Input/output error"):
            read_it(path)
