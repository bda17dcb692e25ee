"""`holdfast check resume`: does this trainer, on this machine, end the same when it is stopped, killed and requeued?

A few cells of the real configuration train twice: undisturbed, and again under faults at random moments. At last their
results are taken away and they resume from the last state that their trainer saves, as after a fault between that and
the end, which no random moment finds. Results, metrics, histories and weights must agree in every bit. A certificate in
the sweep directory records the verdict.
"""

from __future__ import annotations

import json
import random
import shutil
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from hpc import provenance
from hpc.errors import SweepError
from hpc.files import atomic, directories
from hpc.node.saving import EVERY_STATE
from hpc.processes import host
from hpc.resume_check.compare import differences, weights_differ
from hpc.resume_check.disturber import FAULTS_PER_CELL, Disturber, Say
from hpc.resume_check.runners import Here, OnCluster, Runner
from hpc.resume_check.verdict import CellVerdict, Verdict
from hpc.slurm.profile import Profile
from hpc.storage.revisions import write_sweep
from hpc.storage.store import Store
from hpc.sweep.cell import Cell
from hpc.sweep.definition import Sweep
from hpc.sweep.states import FAILED
from hpc.trainers.snapshot import code_digest
from hpc.units import counted

# Each fault strikes within this share of an undisturbed training's time, counted from the first epoch of an attempt:
# early enough that the next ones still find the cell in training.
_REACH = 0.4
_LONGEST_CHECKPOINT_INTERVAL = 1 / 12  # of a straight training's time, so that kills find something to resume from
# Seconds. A task that has published its last result still makes links and removes checkpoints.
_PATIENCE = 20.0


class ResumeCheckError(SweepError):
    """The check could not reach a verdict; the message says why and what to change."""


class _FailedError(ResumeCheckError):
    """A cell failed; the message says why."""


@dataclass(frozen=True)
class ResumeRequest:
    """What is to be checked. target: the sweep directory that gets the certificate. conf: slurm.conf or None."""

    sweep: Sweep
    profile: Profile
    target: Store
    conf: Path | None = None
    cells: int = 3
    seconds: float = 600.0
    seed: int = 0


def check(request: ResumeRequest, say: Say) -> Verdict:
    """Train, disturb, compare, certify. Raises ResumeCheckError, SlurmError, OSError."""
    cells = chosen(request.sweep, request.cells)
    generator = random.Random(request.seed)
    deadline = time.monotonic() + request.seconds
    with _workplace(request.target) as directory:
        say(f"training {counted(len(cells), 'cell')} straight: {', '.join(cell.name for cell in cells)}")
        straight = _runner(directory / "straight", request, request.sweep)
        began = time.monotonic()
        _train(straight, cells, deadline, lambda: None)
        length = _training_seconds(straight.store, cells)
        say(f"straight in {time.monotonic() - began:.0f} s; again with {FAULTS_PER_CELL} faults per cell")
        interval = min(request.sweep.checkpoint_seconds, length * _LONGEST_CHECKPOINT_INTERVAL)
        kept = replace(request.sweep, checkpoint_seconds=interval, keep={**request.sweep.keep, "checkpoints": True})
        disturbed = _runner(directory / "disturbed", request, kept)
        disturber = Disturber(disturbed, cells, generator, length * _REACH, say)
        failed = _causes(disturbed, cells, deadline, disturber.look)
        verdict = _verdict(straight.store, disturbed.store, cells, disturber, failed)
        if not any(cell.differences for cell in verdict.cells):
            say("and once more from the last checkpoint")
            verdict = _from_the_end(request, straight.store, disturbed.store, verdict, deadline)
    return replace(verdict, certificate=_certify(request, verdict))


def chosen(sweep: Sweep, count: int) -> list[Cell]:
    """Cells spread over the grid, the first and the last among them."""
    total = len(sweep.grid)
    if count >= total:
        return list(sweep.grid)
    return [sweep.grid[round(i * (total - 1) / max(1, count - 1))] for i in range(count)]


@contextmanager
def _workplace(target: Store) -> Iterator[Path]:
    """A directory beside the certificates, where the nodes of a cluster see it; removed unless the check failed."""
    directory = target.paths.certificates_directory / f".check-{uuid.uuid4().hex[:8]}"
    directories.make_directory(directory)
    try:
        yield directory
    except ResumeCheckError as error:
        raise ResumeCheckError(f"{error} (kept for inspection: {directory})") from None
    shutil.rmtree(directory, ignore_errors=True)


def _runner(root: Path, request: ResumeRequest, sweep: Sweep) -> Runner:
    store = Store(root)
    write_sweep(store, sweep, {})
    if request.profile.is_local:
        return Here(store, sweep, request.profile)
    return OnCluster(store, sweep, request.profile, request.conf)


def _train(runner: Runner, cells: Sequence[Cell], deadline: float, look: Callable[[], None]) -> None:
    patience = 0.0
    try:
        while left := [cell for cell in cells if not runner.store.has_result(cell.name)]:
            _refuse_failures(runner, left)
            if time.monotonic() > deadline:
                raise ResumeCheckError(_too_long(runner, left))
            runner.keep_going(left)
            look()
            time.sleep(runner.poll_seconds)
        patience = _PATIENCE
    finally:
        runner.close(patience)
    list(runner.store.statuses(cells, runner.sweep))  # makes what links a killed writer could not


def _refuse_failures(runner: Runner, cells: Sequence[Cell]) -> None:
    for status in runner.store.statuses(cells, runner.sweep):
        if status.state == FAILED:
            raise _FailedError(f"{status.cell.name}: failed in the check: {status.cause}")


def _too_long(runner: Runner, left: Sequence[Cell]) -> str:
    reached = [
        f"{status.cell.name} epoch {status.epoch} of {status.epochs or '?'}"
        for status in runner.store.statuses(left, runner.sweep)
    ]
    return f"out of time with {', '.join(reached)}; give more --minutes, or train shorter for the check: --epochs 1"


def _training_seconds(store: Store, cells: Sequence[Cell]) -> float:
    return min(float((store.result(cell) or {})["provenance"]["seconds"]) for cell in cells)


def _verdict(
    straight: Store, disturbed: Store, cells: Sequence[Cell], disturber: Disturber, failed: Mapping[str, str]
) -> Verdict:
    verdicts = [
        CellVerdict(cell.name, disturber.interruptions(cell), _found(straight, disturbed, cell, failed))
        for cell in cells
    ]
    facts = (straight.result(cells[0]) or {})["provenance"]
    total: Counter[str] = Counter()
    for verdict in verdicts:
        total.update(verdict.faults)
    hardware = str(facts.get("numerics", {}).get("hardware", ""))
    return Verdict(verdicts, str(facts["device"]), hardware, faults=dict(total), weights=_have_weights(straight, cells))


def _have_weights(store: Store, cells: Sequence[Cell]) -> bool:
    return any(
        store.paths.weights_file(cell).name in directories.entries(store.paths.cell_directory(cell)) for cell in cells
    )


def _from_the_end(request: ResumeRequest, straight: Store, store: Store, verdict: Verdict, deadline: float) -> Verdict:
    """The verdict with what differs where cells resume from the last state that their trainer saves.

    They end twice more: from the newest of the kept states, saving every one on the way, and from the last of those.
    """
    every = replace(store.sweep(), checkpoint_seconds=EVERY_STATE)
    cells = chosen(request.sweep, request.cells)
    failed: dict[str, str] = {}
    for _ in range(2):
        if not failed:
            _take_results_away(store, cells)
            failed = _causes(_runner(store.root, request, every), cells, deadline, lambda: None)
    ended = [
        replace(
            of,
            differences=_found(straight, store, cell, failed),
            from_the_end=not failed and _was_restored(store, cell),
        )
        for cell, of in zip(cells, verdict.cells, strict=True)
    ]
    return replace(verdict, cells=ended)


def _take_results_away(store: Store, cells: Sequence[Cell]) -> None:
    """And the reports of how far attempts came, as where checkpoints are not kept: an attempt that ended counts for no
    failed try (giving_up.py).
    """
    for cell in cells:
        atomic.remove(store.paths.result_file(cell))
    for pack in directories.numbers(store.paths.packs_root):
        atomic.remove(store.paths.progress_file(pack))


def _causes(runner: Runner, cells: Sequence[Cell], deadline: float, look: Callable[[], None]) -> dict[str, str]:
    """Train cells that have ended well without faults. Returns the causes of those that failed now, by name."""
    try:
        _train(runner, cells, deadline, look)
    except _FailedError:
        statuses = runner.store.statuses(cells, runner.sweep)
        return {status.cell.name: status.cause for status in statuses if status.state == FAILED}
    return {}


def _found(straight: Store, other: Store, cell: Cell, failed: Mapping[str, str]) -> list[str]:
    """What differs; where a cell failed, others may not have ended, and nothing is asked of them."""
    if failed:
        return [f"resumed, it failed: {failed[cell.name]}"] if cell.name in failed else []
    return differences(straight, other, cell) or weights_differ(straight, other, cell)


def _was_restored(store: Store, cell: Cell) -> bool:
    return "restored_at_step" in (store.result(cell) or {}).get("provenance", {})


def _certify(request: ResumeRequest, verdict: Verdict) -> Path:
    """Write the certificate: what was checked, how, and what was found."""
    code = code_digest(request.sweep.trainer)
    content: dict[str, Any] = {
        "format": 1,
        "exact": verdict.good,
        "conclusion": verdict.conclusion,
        "code_digest": code,
        "config_digest": request.sweep.config_digest,
        "trainer": request.sweep.trainer.target,
        "device": verdict.device,
        "hardware": verdict.hardware,
        "profile": request.profile.name,
        "faults": verdict.faults,
        "cells": [asdict(cell) for cell in verdict.cells],
        "seed": request.seed,
        "host": host(),
        "versions": provenance.versions(),
        "at": time.time(),
    }
    path = request.target.paths.certificate_file(code, verdict.device)
    atomic.publish(path, json.dumps(content, indent=1).encode())
    return path
