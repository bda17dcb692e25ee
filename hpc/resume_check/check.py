"""`holdfast check resume`: does this trainer, on this machine, end the same when it is stopped, killed and requeued?

A few cells of the real configuration train twice: undisturbed, and again under faults at random moments. Results,
metrics, histories and weights must agree in every bit. A certificate in the sweep directory records the verdict.
"""

from __future__ import annotations

import json
import random
import shutil
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from hpc import provenance
from hpc.errors import SweepError
from hpc.processes import host
from hpc.resume_check.compare import differences, weights_differ
from hpc.resume_check.disturber import FAULTS_PER_CELL, Disturber, Say
from hpc.resume_check.runners import Here, OnCluster, Runner
from hpc.resume_check.verdict import CellVerdict, Verdict
from hpc.slurm.profile import Profile
from hpc.storage import files
from hpc.storage.revisions import write_sweep
from hpc.storage.store import Store
from hpc.sweep.cell import Cell
from hpc.sweep.definition import Sweep
from hpc.sweep.states import FAILED
from hpc.trainers.snapshot import code_digest

# Each fault strikes within this share of an undisturbed training's time, counted from the first epoch of an attempt:
# early enough that the next ones still find the cell in training.
_REACH = 0.4
_LONGEST_CHECKPOINT_INTERVAL = 1 / 12  # of a straight training's time, so that kills find something to resume from
# Seconds. A task that has published its last result still makes links and removes checkpoints.
_PATIENCE = 20.0


class ResumeCheckError(SweepError):
    """The check could not reach a verdict; the message says why and what to change."""


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
        say(f"training {len(cells)} cells straight: {', '.join(cell.name for cell in cells)}")
        straight = _runner(directory / "straight", request, request.sweep)
        began = time.monotonic()
        _train(straight, cells, deadline, lambda: None)
        length = _training_seconds(straight.store, cells)
        say(f"straight in {time.monotonic() - began:.0f} s; again with {FAULTS_PER_CELL} faults per cell")
        interval = min(request.sweep.checkpoint_seconds, length * _LONGEST_CHECKPOINT_INTERVAL)
        disturbed = _runner(directory / "disturbed", request, replace(request.sweep, checkpoint_seconds=interval))
        disturber = Disturber(disturbed, cells, generator, length * _REACH, say)
        _train(disturbed, cells, deadline, disturber.look)
        verdict = _verdict(straight.store, disturbed.store, cells, disturber)
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
    files.make_directory(directory)
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
    list(runner.store.statuses(cells, runner.sweep.config_digest))  # makes what links a killed writer could not


def _refuse_failures(runner: Runner, cells: Sequence[Cell]) -> None:
    for status in runner.store.statuses(cells, runner.sweep.config_digest):
        if status.state == FAILED:
            raise ResumeCheckError(f"{status.cell.name}: failed in the check: {status.cause}")


def _too_long(runner: Runner, left: Sequence[Cell]) -> str:
    reached = [
        f"{status.cell.name} epoch {status.epoch} of {status.epochs or '?'}"
        for status in runner.store.statuses(left, runner.sweep.config_digest)
    ]
    return f"out of time with {', '.join(reached)}; give more --minutes, or train shorter for the check: --epochs 1"


def _training_seconds(store: Store, cells: Sequence[Cell]) -> float:
    return min(float((store.result(cell) or {})["provenance"]["seconds"]) for cell in cells)


def _verdict(straight: Store, disturbed: Store, cells: Sequence[Cell], disturber: Disturber) -> Verdict:
    verdicts = [
        CellVerdict(
            cell.name,
            disturber.interruptions(cell),
            differences(straight, disturbed, cell) or weights_differ(straight, disturbed, cell),
        )
        for cell in cells
    ]
    facts = (disturbed.result(cells[0]) or {})["provenance"]
    total: Counter[str] = Counter()
    for verdict in verdicts:
        total.update(verdict.faults)
    hardware = str(facts.get("numerics", {}).get("hardware", ""))
    return Verdict(verdicts, str(facts["device"]), hardware, faults=dict(total))


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
    files.publish(path, json.dumps(content, indent=1).encode())
    return path
