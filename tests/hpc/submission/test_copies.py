"""A copy of a sweep directory has records of tasks that work in the original; they are the original's alone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from helpers import small_sweeps

from hpc.errors import BusyError
from hpc.node.attempt import PackAttempt
from hpc.paths import is_of, origin
from hpc.processes import host, start_time
from hpc.storage.store import Store
from hpc.submission import lock
from hpc.submission.intents import SLURM, begin, intents, is_copied
from hpc.submission.live import queues


def test_a_submission_knows_the_directory_that_it_was_made_in(store: Store) -> None:
    small_sweeps.submit(store, list(store.sweep().grid))
    link, copy = store.root.with_name("link"), store.root.with_name("copy")
    link.symlink_to(store.root)
    shutil.copytree(store.root, copy)
    assert [is_copied(Store(root), intents(Store(root))[0]) for root in (store.root, link, copy)] == [
        False,
        False,
        True,
    ]


@pytest.mark.parametrize("command", [("cp", "-al"), ("cp", "-a", "--reflink=auto")])
def test_a_copy_by_links_or_with_all_its_times_is_a_copy(store: Store, command: tuple[str, ...]) -> None:
    small_sweeps.submit(store, list(store.sweep().grid))
    copy = store.root.with_name("copy")
    subprocess.run([*command, store.root, copy], check=True)
    assert is_copied(Store(copy), intents(Store(copy))[0])
    assert not is_copied(store, intents(store)[0])


def test_a_directory_that_was_put_back_from_an_archive_is_not_its_own_copy(store: Store) -> None:
    """Moved to tape and back, it has another inode; nobody else has its path."""
    small_sweeps.submit(store, list(store.sweep().grid))
    shutil.copytree(store.root, kept := store.root.with_name("kept"))
    shutil.rmtree(store.root)
    kept.rename(store.root)
    assert not is_copied(store, intents(store)[0])


def test_a_directory_that_was_renamed_is_no_copy(store: Store) -> None:
    record = origin(store.root)
    moved = store.root.rename(store.root.with_name("moved"))
    assert is_of(moved, record)
    shutil.copytree(moved, store.root)  # put back: now the tasks work there, and only a mistake costs no cell
    assert is_of(moved, record)
    assert is_of(store.root, record)


# --- one directory under two names: another machine's name for it is a directory of its own here ---------------------


@pytest.fixture
def elsewhere(store: Store) -> Path:
    """Where another machine has the sweep directory, and this one has a scratch directory."""
    path = store.root.with_name("scratch") / "out"
    path.mkdir(parents=True)
    return path


def test_what_is_queued_by_another_name_of_the_directory_counts_as_queued(
    store: Store, elsewhere: Path, tmp_path: Path
) -> None:
    cells = list(store.sweep().grid)
    nobody = tmp_path / "no-such-slurm.conf"
    intent = begin(store, [[cells]], kind=SLURM, profile="p", name="s", code="", conf=nobody)
    path = store.paths.intent_file(intent.number)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"root": str(elsewhere)}))
    seen = queues(store)
    assert (seen.cells, seen.elsewhere) == ({cell.name for cell in cells}, ())


def test_a_lock_that_was_taken_by_another_name_of_the_directory_is_held(store: Store, elsewhere: Path) -> None:
    with lock.lock(store, "holdfast submit") as held:
        path = store.paths.lock_directory / held.file
        path.write_text(json.dumps(json.loads(path.read_text()) | {"root": str(elsewhere)}))
        assert lock.busy(store)
        with pytest.raises(BusyError, match="is at work here"), lock.lock(store, "holdfast submit"):
            pass
        held.check()


def test_what_trains_here_by_another_name_of_the_directory_is_seen(store: Store, elsewhere: Path) -> None:
    """Under the name that a container gives it, on this very machine."""
    pid = os.getpid()
    process = {"host": host(), "pid": pid, "began": start_time(pid)}
    about = process | origin(store.root) | {"root": str(elsewhere)}
    PackAttempt.begin(store, store.sweep(), list(store.sweep().grid), 1, about)
    assert store.running_here() == [1]


def test_records_of_earlier_versions_count_as_written_here(store: Store) -> None:
    assert is_of(store.root, {})


def test_the_lock_of_a_command_at_work_in_the_original_does_not_hold_the_copy(store: Store) -> None:
    with lock.lock(store, "holdfast submit"):
        shutil.copytree(store.root, copy := store.root.with_name("copy"))
        assert lock.busy(store)
        assert not lock.busy(Store(copy))
        with lock.lock(Store(copy), "holdfast submit"):
            assert lock.busy(Store(copy))
