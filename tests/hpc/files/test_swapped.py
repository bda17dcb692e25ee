"""A folder that is swapped for a link while something is done in it: nothing is written, removed or read elsewhere."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.small_sweeps import make_store, make_sweep

from hpc.errors import BusyError, SweepError
from hpc.files import atomic, directories, logs, opening, reading
from hpc.storage import published
from hpc.storage.store import Store
from hpc.submission.lock import lock

PRECIOUS = b"precious"
CALLS = ("open", "stat", "lstat", "link", "unlink", "rename", "replace", "mkdir", "rmdir", "fsync", "chmod", "fchmod")
Work = Callable[[Store], object]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = make_store(tmp_path / "out", make_sweep())
    for folder in (store.paths.pack_directory(7), store.paths.pack_directory(8), store.paths.lock_directory):
        directories.make_directory(folder)
    (store.paths.pack_directory(7) / "kept").write_bytes(b"kept")
    (store.paths.pack_directory(8) / "other").write_bytes(b"other")
    (store.paths.pack_directory(7) / "folder").mkdir()
    return store


class Swap:
    """Before the n-th call of the kinds above, another user puts a link in the place of a folder.

    The link leads to a folder of the victim's in which there is something of each name that the first one has.
    """

    def __init__(self, folder: Path, home: Path, at: int) -> None:
        self.folder, self.home, self.left = folder, home, at
        self.there: set[Path] = set()

    @contextlib.contextmanager
    def happening(self, patch: pytest.MonkeyPatch) -> Iterator[None]:
        reals = {name: getattr(os, name) for name in CALLS}

        def hooked(name: str) -> Callable[..., Any]:
            def call(*arguments: Any, **options: Any) -> Any:
                self.left -= 1
                if self.left == 0:
                    with patch.context() as plain:
                        for kind, real in reals.items():
                            plain.setattr(os, kind, real)
                        self._swap()
                return reals[name](*arguments, **options)

            return call

        with patch.context() as hooks:
            for name in CALLS:
                hooks.setattr(os, name, hooked(name))
            yield

    def _swap(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            shutil.copytree(self.folder, self.home)
            self.folder.rename(self.folder.with_name(f"{self.folder.name}.before"))
        self.home.mkdir(exist_ok=True)
        for name in ("kept", "other", "thesis.tex"):
            (self.home / name).touch()
        self.there = set(self.home.rglob("*"))
        for path in self._files():
            path.write_bytes(PRECIOUS)
        self.folder.symlink_to(self.home)

    def _files(self) -> list[Path]:
        return [path for path in self.there if not path.is_dir()]

    def check(self) -> None:
        assert set(self.home.rglob("*")) == self.there
        assert {path.read_bytes() for path in self._files()} <= {PRECIOUS}
        assert not [path for path in self._files() if path.stat().st_nlink > 1]


def pack(store: Store, name: str = "") -> Path:
    return store.paths.pack_directory(7) / name


WORK: dict[str, Work] = {
    "publish": lambda store: atomic.publish(pack(store, "new"), b"new"),
    "replace": lambda store: atomic.publish(pack(store, "kept"), b"new"),
    "publish_once": lambda store: atomic.publish_once(pack(store, "new"), b"new"),
    "link_once": lambda store: atomic.link_once(pack(store, "kept"), store.root / "linked"),
    "link_once there": lambda store: atomic.link_once(store.paths.pack_directory(8) / "other", pack(store, "new")),
    "put_in_place": lambda store: atomic.put_in_place(store.paths.pack_directory(8) / "other", pack(store, "kept")),
    "make_directory": lambda store: directories.make_directory(pack(store, "new/inner")),
    "claim": lambda store: directories.claim(pack(store), 4),
    "append": lambda store: logs.append(pack(store, "kept"), "line\n"),
    "quarantine": lambda store: atomic.quarantine(pack(store, "kept")),
    "remove": lambda store: atomic.remove(pack(store, "kept")),
    "remove_tree": lambda store: directories.remove_tree(pack(store, "folder")),
    "stamp_of_now": lambda store: directories.stamp_of_now(pack(store)),
}


def each_moment(store: Store, folder: Path, work: Work, patch: pytest.MonkeyPatch) -> int:
    """Do the work with a swap before each call that it makes, each time in a fresh copy. Returns how many there are."""
    for at in range(1, 200):
        root = store.root.with_name(f"out-{at}")
        shutil.copytree(store.root, root)
        swap = Swap(root / folder.relative_to(store.root), root.with_name(f"home-{at}"), at)
        with swap.happening(patch), contextlib.suppress(OSError, SweepError, BusyError):
            work(Store(root))
        swap.check()
        if swap.left > 0:
            return at - 1
    raise AssertionError("it never comes to an end")


@pytest.mark.parametrize("name", WORK)
def test_nothing_outside_is_touched_whenever_a_folder_is_swapped_for_a_link(
    name: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert each_moment(store, pack(store), WORK[name], monkeypatch) > 2


@pytest.mark.parametrize("folder", ["lock_directory", "submissions_root"])
def test_no_file_outside_is_removed_whenever_the_lock_is_swapped_for_a_link(
    folder: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def take_and_leave(store: Store) -> None:
        with lock(store, "holdfast run"):
            pass

    monkeypatch.setattr("hpc.submission.lock._PAUSE_SECONDS", 0.0)
    assert each_moment(store, getattr(store.paths, folder), take_and_leave, monkeypatch) > 10


def test_only_an_owners_file_is_ever_removed_from_a_lock(store: Store) -> None:
    (store.paths.lock_directory / "thesis.tex").write_text(json.dumps({"pid": 2**22 + 1, "began": 1}))
    with pytest.raises(BusyError, match=r"thesis\.tex: no file of Holdfast; move it away"), lock(store, "x", True):
        pass
    assert (store.paths.lock_directory / "thesis.tex").exists()


def test_a_directory_that_cannot_be_renamed_or_removed_is_named_with_its_path(store: Store) -> None:
    for work, named in (
        (
            lambda: directories.rename_directory(pack(store), store.paths.pack_directory(8)),
            store.paths.pack_directory(8),
        ),
        (lambda: directories.remove_directory(pack(store)), pack(store)),
    ):
        with pytest.raises(OSError, match="not empty") as caught:
            work()
        assert caught.value.filename == str(named)


# --- links that are there from the start -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["packs", "submissions", "attempts"])
def test_no_number_may_be_a_link(kind: str, store: Store, tmp_path: Path) -> None:
    cell = store.sweep().grid[0]
    paths = {
        "packs": store.paths.progress_file(900),
        "submissions": store.paths.intent_file(900),
        "attempts": store.paths.failure_file(cell, 9),
    }
    home = tmp_path / "home"
    home.mkdir()
    (home / paths[kind].name).write_text("{}")
    directories.make_directory(paths[kind].parent.parent)
    paths[kind].parent.symlink_to(home)
    for read in (
        reading.read,
        reading.read_json,
        reading.sha256,
        logs.tail,
        lambda path: directories.entries(path.parent),
    ):
        with pytest.raises(opening.RefusedFileError) as refused:
            read(paths[kind])
        assert refused.value.filename == str(paths[kind].parent)


def test_a_private_file_is_not_published_through_a_linked_pack(store: Store, tmp_path: Path) -> None:
    cell = store.sweep().grid[0]
    home = tmp_path / "home"
    home.mkdir()
    (home / f"{cell.name}.history.csv").write_text("secret")
    (home / f"{cell.name}.history.csv").chmod(0o600)
    store.paths.pack_directory(900).symlink_to(home)
    directories.make_directory(store.paths.cell_directory(cell))
    published.repair(store.paths, cell, {"provenance": {"pack": 900}})
    assert not store.paths.history_file(cell).exists()
    assert (home / f"{cell.name}.history.csv").stat().st_nlink == 1


def test_a_copy_is_readable_by_no_more_people_than_what_it_is_a_copy_of(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*arguments: object, **options: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    source = pack(store, "kept")
    source.chmod(0o600)
    real = os.link
    monkeypatch.setattr(
        os, "link", lambda name, *rest, **more: (refused if name == "kept" else real)(name, *rest, **more)
    )
    assert atomic.link_or_copy(source, store.root / "copy")
    assert (store.root / "copy").stat().st_mode & 0o777 == 0o600


def test_a_name_that_leads_out_of_the_directory_is_refused(store: Store, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    for path in (store.root / "packs" / ".." / ".." / "secret", f"{store.root}/../secret"):
        with pytest.raises(opening.RefusedFileError, match="leads out"):
            reading.read(path)
        with pytest.raises(opening.RefusedFileError, match="leads out"):
            atomic.publish(Path(path), b"")
