"""A copy of a sweep directory has records of tasks that work in the original; they are the original's alone."""

from __future__ import annotations

import shutil

from helpers import small_sweeps

from hpc.paths import is_of, origin
from hpc.storage.store import Store
from hpc.submission import lock
from hpc.submission.intents import intents, is_copied


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


def test_a_directory_that_was_renamed_is_no_copy(store: Store) -> None:
    record = origin(store.root)
    moved = store.root.rename(store.root.with_name("moved"))
    assert is_of(moved, record)
    shutil.copytree(moved, store.root)  # put back: now the tasks work there
    assert not is_of(moved, record)
    assert is_of(store.root, record)


def test_records_of_earlier_versions_count_as_written_here(store: Store) -> None:
    assert is_of(store.root, {})


def test_the_lock_of_a_command_at_work_in_the_original_does_not_hold_the_copy(store: Store) -> None:
    with lock.lock(store, "holdfast submit"):
        shutil.copytree(store.root, copy := store.root.with_name("copy"))
        assert lock.busy(store)
        assert not lock.busy(Store(copy))
        with lock.lock(Store(copy), "holdfast submit"):
            assert lock.busy(Store(copy))
