"""A file server that does not answer once: what it holds is unknown for that moment, and not taken for missing."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.small_sweeps import submit

from hpc.files import reading
from hpc.node.attempt import PackAttempt
from hpc.node.failures import failed_in
from hpc.node.giving_up import futile
from hpc.node.saving import StorageTroubleError
from hpc.node.training_run import TrainingRun
from hpc.storage import documents, published
from hpc.storage.checkpoint import SavedCell
from hpc.storage.layout import Layout
from hpc.storage.store import Store
from hpc.submission import redo
from hpc.submission.lock import lock
from hpc.sweep.cell import Cell
from hpc.sweep.outcome import Outcome, history_csv, weights_bytes
from hpc.sweep.states import COMPLETED
from hpc.trainers.snapshot import damage, snapshot
from training.contract import Checkpoint

EVERY = [errno.EIO, errno.ETIMEDOUT, errno.EACCES, errno.ENOMEM]


@pytest.fixture
def cell(cells: list[Cell]) -> Cell:
    return cells[0]


@contextlib.contextmanager
def unanswered(path: Path, number: int = errno.EIO) -> Iterator[None]:
    """Reading this file fails, as long as this lasts."""
    real = reading.read_with_stat

    def read_with_stat(asked: Path | str, most: float) -> tuple[bytes, os.stat_result]:
        if Path(asked) == path:
            raise OSError(number, os.strerror(number), str(asked))
        return real(asked, most)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "read_with_stat", read_with_stat)
        yield


def begin(store: Store, cell: Cell, submission: int = 1) -> TrainingRun:
    attempt = PackAttempt.begin(store, store.sweep(), [cell], submission, {})
    return TrainingRun(attempt, stop_requested=lambda: False, device="cpu", threads=1, provenance={})


def save(run: TrainingRun, cell: Cell, *steps: int) -> None:
    for step in steps:
        run.save({cell: Checkpoint(step, {"w": np.full(3, step)})})


def publish(store: Store, cell: Cell) -> None:
    history = history_csv([{"epoch": 1, "loss": 1.0}], ["loss"])
    attempt = PackAttempt.begin(store, store.sweep(), [cell], submit(store, [cell]), {})
    attempt.publish(cell, Outcome(COMPLETED, {"loss": 1.0}, 1, 1, history, weights_bytes({"w": np.ones(1)})), {})


def set_aside(store: Store, cell: Cell) -> int:
    with lock(store, "holdfast redo") as held:
        return redo.set_aside(store, [cell], held)


@pytest.mark.parametrize("number", EVERY, ids=lambda number: errno.errorcode[number])
def test_a_cell_is_not_begun_anew_because_its_states_could_not_be_found_once(
    store: Store, cell: Cell, number: int
) -> None:
    first = begin(store, cell)
    first.restore(cell)
    save(first, cell, 1000, 2000)
    second = begin(store, cell)
    with unanswered(store.paths.pointer_file(cell, 1), number), pytest.raises(StorageTroubleError, match=r"0001/pack"):
        second.restore(cell)
    assert second.stop
    third = begin(store, cell)
    restored = third.restore(cell)
    assert restored is not None
    assert restored.step == 2000


def test_nor_after_a_redo(store: Store, cell: Cell) -> None:
    publish(store, cell)
    submission = set_aside(store, cell) + 1
    first = begin(store, cell, submission)
    first.restore(cell)
    save(first, cell, 1000)
    second = begin(store, cell, submission)
    with unanswered(store.paths.pack_file(2)), pytest.raises(StorageTroubleError, match="000002/pack"):
        second.restore(cell)
    restored = begin(store, cell, submission).restore(cell)
    assert restored is not None
    assert restored.step == 1000


def test_a_state_that_was_hidden_when_an_attempt_looked_for_one_is_not_removed_for_an_earlier_one(
    store: Store, cells: list[Cell], monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = {cell: store.sweep().cell_digest(cell) for cell in cells[:2]}

    def rows(*steps: int) -> list[SavedCell]:
        digest = store.sweep().config_digest
        return [SavedCell(c.name, digests[c], digest, step) for c, step in zip(cells[:2], steps, strict=True)]

    first = PackAttempt.begin(store, store.sweep(), cells[:2], 1, {})
    first.save(rows(1, 2000))
    second = PackAttempt.begin(store, store.sweep(), cells[:2], 1, {})
    real = Layout.generations
    with monkeypatch.context() as patch:
        patch.setattr(Layout, "generations", lambda layout, pack: [] if pack == 1 else real(layout, pack))
        assert [second.restore(cell) for cell in cells[:2]] == [None, None]
    for step in (1, 2, 3):
        second.save(rows(step, step)[:1])
        second.save(rows(step, step)[1:])
    assert store.paths.has_saved(1), "one of its two states is further"
    third = PackAttempt.begin(store, store.sweep(), cells[:2], 1, {})
    assert [row and row.step for row in map(third.restore, cells[:2])] == [3, 3]
    for step in (2001, 2002):
        third.save(rows(step, step))
    assert [store.paths.has_saved(pack) for pack in (1, 2, 3)] == [False, False, True], "none is further any more"


def test_what_cannot_be_read_once_does_not_count_against_a_cell(store: Store, cell: Cell) -> None:
    run = begin(store, cell)
    run.hand_over([cell])
    run.note_stop()
    for path in (store.paths.progress_file(1), store.paths.pack_file(1), store.paths.pointer_file(cell, 1)):
        with unanswered(path), pytest.raises(OSError, match="Input/output"):
            futile(store, cell, fused=False)
    assert (futile(store, cell, fused=False).attempts, futile(store, cell, fused=False).interrupted) == (0, 1)


def test_a_failure_that_cannot_be_read_once_is_not_one_of_another_submission(store: Store, cell: Cell) -> None:
    begin(store, cell).give_up(cell, "too hot", "")
    with unanswered(store.paths.failure_file(cell, 1)), pytest.raises(OSError, match="Input/output"):
        failed_in(store, cell, 1)
    assert failed_in(store, cell, 1)


def test_a_result_that_cannot_be_read_once_takes_its_cell_from_nobody(store: Store, cell: Cell) -> None:
    publish(store, cell)
    number = set_aside(store, cell)
    redone = store.paths.redone_result_file(cell, number)
    with unanswered(redone), pytest.raises(OSError, match="Input/output"):
        store.redone_results(cell)  # the next result would not say that there was one
    publish(store, cell)
    with unanswered(store.paths.result_file(cell)), pytest.raises(OSError, match="Input/output"):
        store.has_result(cell.name)
    assert store.has_result(cell.name)


def test_a_result_that_could_not_be_repaired_once_is_not_set_aside(
    store: Store, cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:  # its writer died before it had linked the history; then came a stranger
        patch.setattr(published, "link_outcome", lambda *_: None)
        publish(store, cell)
    store.paths.history_file(cell).write_text("epoch,loss\n1,9.0\n")

    link_or_copy = published.atomic.link_or_copy

    def full(source: Path, target: Path) -> bool:
        if source.parent == target.parent:  # the stranger gets back its name, for which there is room
            return link_or_copy(source, target)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(published.atomic, "link_or_copy", full)
        with pytest.raises(OSError, match="No space"):
            published.set_damaged_aside(store.paths, cell)
        assert next(store.statuses([cell], store.sweep())).state != COMPLETED, "a reader still looks"
    assert published.set_damaged_aside(store.paths, cell) == ""
    assert next(store.statuses([cell], store.sweep())).state == COMPLETED


def test_a_snapshot_that_cannot_be_read_once_is_not_damaged(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    digest, code = snapshot(store, store.sweep().trainer)

    def failing(path: Path, **_: Any) -> str:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_text", failing)
        with pytest.raises(OSError, match="Input/output"):
            damage(code, digest)
    assert damage(code, digest) == ""


def _missing(path: Path) -> None:
    path.unlink()


def _malformed(path: Path) -> None:
    path.write_text("{")


def _directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


@pytest.mark.parametrize("change", [_missing, _malformed, _directory, _link])
def test_a_document_that_is_not_there_or_none_is_unknown_for_good(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    path = tmp_path / "pack.json"
    path.write_text(json.dumps({"pack": 1}))
    assert documents.known(path, documents.PointerDocument) == {"pack": 1}
    change(path)
    assert documents.known(path, documents.PointerDocument) == {}
