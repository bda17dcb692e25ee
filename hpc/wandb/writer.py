"""Cells' runs, written with W&B's client from files that are already published: results, histories and checkpoints.

This runs in the helper process (hpc.wandb.client); other processes only make requests.
"""

from __future__ import annotations

import contextlib
import os
import select
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

from hpc.files import atomic, directories, limits, reading
from hpc.storage.checkpoint import CorruptCheckpointError, decode
from hpc.storage.store import Store
from hpc.sweep.cell import Cell
from hpc.sweep.definition import Sweep
from hpc.wandb.cells import LIVE, OFFLINE, NotWholeError, Target, begun_run, cell_run
from hpc.wandb.compare import differences
from hpc.wandb.helper import WRITE, WandbTroubleError, without_key
from hpc.wandb.offline_files import join_segments, read_segment
from hpc.wandb.runs import EPOCH, STEP, WandbRun, is_number

ONLINE = "online"
# Live: between two looks at the checkpoints, and after an error of the client, which is usually a network that is away.
_POLL_SECONDS, _RETRY_SECONDS = 2.0, 60.0
# Offline: how long wandb may take to complete a file after its run has ended, and between two looks at it.
_WHOLE_SECONDS, _PAUSE_SECONDS = 60.0, 0.02
_NICE = 10
# Nothing that describes this process: it is not the one that trained. Names in x_ change between versions of wandb.
_SETTINGS = {
    "console": "off",
    "silent": True,
    "disable_git": True,
    "disable_code": True,
    "save_code": False,
    "x_disable_stats": True,
    "x_disable_meta": True,
    "x_disable_machine_info": True,
    "x_save_requirements": False,
}


def write(request: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Write the runs of a request that `writing` made. Yields each cell's name, and why it was not written, if so."""
    if request["mode"] != ONLINE:
        os.nice(_NICE)  # on a node, the training comes first
    store = Store(Path(request["root"]))
    sweep = store.sweep()
    wanted = set(request["cells"])
    cells = [cell for cell in sweep.grid if cell.name in wanted]
    target = Target(**request["target"] | {"tags": tuple(request["target"]["tags"])})
    with tempfile.TemporaryDirectory(prefix="holdfast-wandb-", ignore_cleanup_errors=True) as directory:
        writer = _Writer(store, sweep, target, Path(directory))
        written = writer.follow(cells) if request["mode"] == LIVE else writer.write(cells, request["mode"])
        yield from ({"cell": cell.name, "fault": fault} for cell, fault in written)


def writing(store: Store, mode: str, cells: Sequence[str], target: Target) -> dict[str, Any]:
    """The request to write cells' runs. mode: offline, online or live, which ends when stdin does."""
    root = str(store.root.absolute())  # the helper works in another directory
    return {"do": WRITE, "root": root, "mode": mode, "cells": list(cells), "target": asdict(target)}


class _Writer:
    """Writes runs of one sweep. directory: scratch space for wandb, which is removed afterwards."""

    def __init__(self, store: Store, sweep: Sweep, target: Target, directory: Path) -> None:
        self._store = store
        self._sweep = sweep
        self._target = target
        self._directory = directory

    def write(self, cells: Sequence[Cell], mode: str) -> Iterator[tuple[Cell, str]]:
        """Write every cell that has a result. Yields each cell, and why it was not written or an empty text."""
        for cell in cells:
            try:
                run = cell_run(self._store, self._sweep, cell, self._target)
                if run is not None:
                    self._write(run, mode)
                fault = "" if run is not None else "it has no result yet"
            except Exception as error:  # whatever wandb raises: the next cell may succeed, and nothing is lost
                fault = _said(error)
            yield cell, fault

    def follow(self, cells: Sequence[Cell]) -> Iterator[tuple[Cell, str]]:
        """Stream epochs as they reach checkpoints, until every cell has a result or stdin ends."""
        follower = _Follower(self._store, self._sweep, self._target, self._directory)
        left = list(cells)
        ended = False
        while left and not ended:
            ended = _stdin_ended(_POLL_SECONDS)  # then one more look, at what was published last
            for cell in list(left):
                if follower.advance(cell):
                    left.remove(cell)
                    yield cell, ""
        for cell in left:
            yield cell, follower.faults.get(cell, "it has no result yet")

    def _write(self, run: WandbRun, mode: str) -> None:
        segment = self._store.paths.wandb_segment_file(run.id)
        # A task that was requeued after its last cell: the file is there, and the cell has not changed.
        if mode == OFFLINE and segment.name in directories.entries(segment.parent):
            return
        stream = Stream(run, self._directory, mode)
        stream.rows(run.rows)
        stream.end(run)
        if mode == OFFLINE:
            (found,) = self._directory.glob(f"**/run-{run.id}.wandb")
            _wait_until_whole(found, run)
            directories.make_directory(segment.parent)
            atomic.publish_once(segment, found.read_bytes())


def _wait_until_whole(path: Path, run: WandbRun) -> None:
    """Wait for the end of an offline file, and compare it: wandb reports the end of a run before it has written it.

    Raises WandbTroubleError.
    """
    deadline = time.monotonic() + _WHOLE_SECONDS
    while not (segment := read_segment(path)).whole:
        if time.monotonic() > deadline:
            raise WandbTroubleError(f"{path.name}: {segment.fault or 'it has no end'}")
        time.sleep(_PAUSE_SECONDS)
    wrong = differences(run, join_segments([segment])[0])
    if wrong:
        raise WandbTroubleError(f"{path.name}: {wrong[0]}")


class _Follower:
    """Streams of cells in training. faults: per cell, why its stream is behind."""

    def __init__(self, store: Store, sweep: Sweep, target: Target, directory: Path) -> None:
        self._store = store
        self._sweep = sweep
        self._target = target
        self._directory = directory
        self._streams: dict[Cell, Stream] = {}
        self._seen: dict[Cell, Path] = {}
        self._not_before = 0.0
        self.faults: dict[Cell, str] = {}

    def advance(self, cell: Cell) -> bool:
        """Log what is new of one cell. Returns whether its run is now complete."""
        try:
            run = cell_run(self._store, self._sweep, cell, self._target)
            newest = next(_generations(self._store, cell), None)
            if run is None and (newest is None or newest == self._seen.get(cell)):
                return False
            rows = run.rows if run is not None else saved_rows(self._store, self._sweep, cell)
            stream = self._stream(cell)
            if stream is None:
                return False
            stream.rows(rows)
            if run is not None:
                stream.end(run)
                return True
            if newest is not None:
                self._seen[cell] = newest
        except (NotWholeError, OSError) as error:  # being published at this moment: the next look finds it complete
            self.faults[cell] = _said(error)
        except Exception as error:  # whatever wandb raises
            # A new stream asks the server which rows it has, so none is lost or repeated.
            self._streams.pop(cell, None)
            self._not_before = time.monotonic() + _RETRY_SECONDS
            self.faults[cell] = _said(error)
        return False

    def _stream(self, cell: Cell) -> Stream | None:
        """The cell's stream, opened if necessary; None until it is time to try again."""
        if cell not in self._streams and time.monotonic() >= self._not_before:
            self._streams[cell] = Stream(begun_run(self._sweep, cell, self._target), self._directory)
        return self._streams.get(cell)


class Stream:
    """One open run of W&B's client. Online, it continues after the rows that the server has. Raises wandb's errors."""

    def __init__(self, run: WandbRun, directory: Path, mode: str = ONLINE) -> None:
        import wandb

        known = wandb.Settings.model_fields
        settings: dict[str, Any] = {key: value for key, value in _SETTINGS.items() if key in known}
        self._run = wandb.init(
            project=run.project,
            entity=run.entity or None,
            id=run.id,
            name=run.name,
            group=run.group,
            job_type=run.job_type,
            tags=list(run.tags),
            config=dict(run.config),
            resume="allow" if mode == ONLINE else None,
            mode=mode,  # type: ignore[arg-type]
            dir=str(directory),
            reinit="create_new",  # several runs at once in this process
            settings=wandb.Settings(**settings),
        )
        # The summary is the result, not what the last epoch logged.
        self._run.define_metric(EPOCH)
        self._run.define_metric("*", step_metric=EPOCH, summary="none")
        self._next = max(self._run.starting_step, 0)

    def rows(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Log the epochs that the run does not have yet."""
        for row in rows:
            if row[STEP] >= self._next:
                self._run.log({key: value for key, value in row.items() if key != STEP}, step=row[STEP], commit=True)
                self._next = row[STEP] + 1

    def end(self, run: WandbRun) -> None:
        """Set the summary and end the run."""
        self._run.summary.update(dict(run.summary))
        self._run.finish(exit_code=0)


def saved_rows(store: Store, sweep: Sweep, cell: Cell) -> list[dict[str, Any]]:
    """Epochs in a cell's newest intact checkpoint over all its attempts. The training task sets damaged ones aside."""
    wanted = sweep.cell_digest(cell)
    for path in _generations(store, cell):
        with contextlib.suppress(OSError, CorruptCheckpointError):
            if (history := _histories(path).get((cell.name, wanted))) is not None:
                return [_row(entry) for entry in history]
    return []


@lru_cache(maxsize=1)
def _histories(path: Path) -> dict[tuple[str, str], Sequence[Mapping[str, Any]]]:
    """By name and digest of its cells. A generation never changes, and all cells of a pack ask for the same one."""
    return {(row.cell, row.cell_digest): row.history for row in decode(reading.read(path, limits.ANY))}


def _generations(store: Store, cell: Cell) -> Iterator[Path]:
    """A cell's checkpoints, the newest of its newest attempt first."""
    for attempt in reversed(store.counting_attempts(cell)):
        pack = store.pack_of(cell, attempt)
        if pack is not None:
            yield from store.paths.generations(pack)


def _row(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {**{key: value for key, value in entry.items() if is_number(value)}, STEP: entry[EPOCH]}


def _stdin_ended(seconds: float) -> bool:
    """Whether stdin ends within some seconds."""
    ready, _, _ = select.select([0], [], [], seconds)
    return bool(ready) and not os.read(0, 4096)


def _said(error: Exception) -> str:
    """An error in one line."""
    return without_key(" ".join(f"{type(error).__name__}: {error}".split()))[:300]
