"""`holdfast check resume`: does this trainer, on this machine, end the same when it is stopped, killed and requeued?

A few cells of the real configuration train twice: straight, and again under faults at random moments. Results, metrics,
histories and weights have to agree in every bit. What was found goes to a certificate in the sweep directory.
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
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from hpc import provenance
from hpc.errors import SweepError
from hpc.processes import host
from hpc.resume_compare import differences, weights_differ
from hpc.resume_faults import KILL, Here, OnCluster, Stage
from hpc.slurm.profile import Profile
from hpc.storage import files
from hpc.storage.store import Store
from hpc.sweep.cell import Cell
from hpc.sweep.definition import Sweep
from hpc.sweep.states import FAILED
from hpc.trainers.snapshot import code_digest

FAULTS_A_CELL = 3
# Faults fall within this share of a straight training's time after an attempt has begun to train.
_REACH = 0.4
_LONGEST_CHECKPOINT_INTERVAL = 1 / 12  # of a straight training's time, so that kills find something to resume from
# A task whose last result is there has its links to make and its checkpoints to remove.
_PATIENCE = 20.0

Say = Callable[[str], None]


class ResumeCheckError(SweepError):
    """The check could not come to a verdict; the message says why and what to change."""


@dataclass(frozen=True)
class Trial:
    """What is to be checked. target: the sweep directory that gets the certificate. conf: slurm.conf or None."""

    sweep: Sweep
    profile: Profile
    target: Store
    conf: Path | None = None
    cells: int = 3
    seconds: float = 600.0
    seed: int = 0


@dataclass(frozen=True)
class CellVerdict:
    """One cell: faults that interrupted it by kind, and what differs from the straight run; nothing if all is equal."""

    cell: str
    faults: dict[str, int]
    differences: list[str]

    @property
    def interrupted(self) -> bool:
        return sum(self.faults.values()) > 0


@dataclass(frozen=True)
class Verdict:
    """What the check found. certificate: where it was written."""

    cells: list[CellVerdict]
    device: str
    hardware: str
    certificate: Path | None = None
    faults: dict[str, int] = field(default_factory=dict)

    @property
    def good(self) -> bool:
        return all(cell.interrupted and not cell.differences for cell in self.cells)

    def __str__(self) -> str:
        lines = []
        for cell in self.cells:
            faults = ", ".join(f"{number} {kind}" for kind, number in cell.faults.items()) or "no fault took effect"
            lines.append(f"{cell.cell}: {'DIFFERENT' if cell.differences else 'identical'} after {faults}")
            lines += [f"    {line}" for line in cell.differences]
        return "\n".join([*lines, "", self.conclusion])

    @property
    def conclusion(self) -> str:
        """EXACT, NOT EXACT or UNDECIDED, and what to do, in words."""
        where = self.device + (f" ({self.hardware})" if self.hardware else "")
        if any(cell.differences for cell in self.cells):
            return (
                f"NOT EXACT: on {where} a resumed cell ends differently. Usual causes: state that the checkpoint lacks "
                "(a random generator, the data order, a schedule), or a kernel that is not deterministic."
            )
        if not all(cell.interrupted for cell in self.cells):
            return "UNDECIDED: some cells finished before a fault took effect; train longer, such as --epochs N."
        total = sum(self.faults.values())
        return (
            f"EXACT: {len(self.cells)} cells, interrupted {total} times on {where}, ended with the same results, "
            "metrics, histories and weights as undisturbed, bit for bit."
        )


def check(trial: Trial, say: Say) -> Verdict:
    """Train, disturb, compare, certify. Raises ResumeCheckError, SlurmError, OSError."""
    cells = chosen(trial.sweep, trial.cells)
    generator = random.Random(trial.seed)
    deadline = time.monotonic() + trial.seconds
    with _workplace(trial.target) as directory:
        say(f"training {len(cells)} cells straight: {', '.join(cell.name for cell in cells)}")
        straight = _stage(directory / "straight", trial, trial.sweep)
        began = time.monotonic()
        _train(straight, cells, deadline, lambda: None)
        length = _training_seconds(straight.store, cells)
        say(f"straight in {time.monotonic() - began:.0f} s; again with {FAULTS_A_CELL} faults a cell")
        interval = min(trial.sweep.checkpoint_seconds, length * _LONGEST_CHECKPOINT_INTERVAL)
        disturbed = _stage(directory / "disturbed", trial, replace(trial.sweep, checkpoint_seconds=interval))
        torment = Torment(disturbed, cells, generator, length * _REACH, say)
        _train(disturbed, cells, deadline, torment.look)
        verdict = _verdict(straight.store, disturbed.store, cells, torment)
    return replace(verdict, certificate=_certify(trial, verdict))


def chosen(sweep: Sweep, count: int) -> list[Cell]:
    """Cells spread over the grid, the first and the last among them."""
    total = len(sweep.grid)
    if count >= total:
        return list(sweep.grid)
    return [sweep.grid[round(i * (total - 1) / max(1, count - 1))] for i in range(count)]


@contextmanager
def _workplace(target: Store) -> Iterator[Path]:
    """A directory beside the certificates, where the cluster's nodes see it; removed unless something went wrong."""
    directory = target.certificates_directory / f".check-{uuid.uuid4().hex[:8]}"
    files.make_directory(directory)
    try:
        yield directory
    except ResumeCheckError as error:
        raise ResumeCheckError(f"{error} (kept for a look: {directory})") from None
    shutil.rmtree(directory, ignore_errors=True)


def _stage(root: Path, trial: Trial, sweep: Sweep) -> Stage:
    store = Store(root)
    store.write_sweep(sweep, {})
    if trial.profile.is_local:
        return Here(store, sweep, trial.profile)
    return OnCluster(store, sweep, trial.profile, trial.conf)


def _train(stage: Stage, cells: Sequence[Cell], deadline: float, look: Callable[[], None]) -> None:
    patience = 0.0
    try:
        while left := [cell for cell in cells if not stage.store.has_result(cell.name)]:
            _refuse_failures(stage, left)
            if time.monotonic() > deadline:
                raise ResumeCheckError(_too_long(stage, left))
            stage.keep_going(left)
            look()
            time.sleep(stage.poll_seconds)
        patience = _PATIENCE
    finally:
        stage.close(patience)
    list(stage.store.statuses(cells, stage.sweep.config_digest))  # makes what links a killed writer could not


def _refuse_failures(stage: Stage, cells: Sequence[Cell]) -> None:
    for status in stage.store.statuses(cells, stage.sweep.config_digest):
        if status.state == FAILED:
            raise ResumeCheckError(f"{status.cell.name}: failed in the check: {status.cause}")


def _too_long(stage: Stage, left: Sequence[Cell]) -> str:
    reached = [
        f"{status.cell.name} epoch {status.epoch} of {status.epochs or '?'}"
        for status in stage.store.statuses(left, stage.sweep.config_digest)
    ]
    return f"out of time with {', '.join(reached)}; give more --minutes, or train shorter for the check: --epochs 1"


def _training_seconds(store: Store, cells: Sequence[Cell]) -> float:
    return min(float((store.result(cell) or {})["provenance"]["seconds"]) for cell in cells)


class Torment:
    """Strikes every cell a few times, each at a random moment after its newest attempt has begun to train."""

    def __init__(self, stage: Stage, cells: Sequence[Cell], generator: random.Random, reach: float, say: Say) -> None:
        self._stage, self._cells, self._generator, self._reach, self._say = stage, cells, generator, reach, say
        self._due: dict[tuple[Cell, int], float] = {}
        self._struck: dict[tuple[Cell, int], str] = {}

    def look(self) -> None:
        """Strike whatever is due."""
        for cell in self._cells:
            attempts = self._stage.store.attempts(cell)
            key = (cell, attempts[-1]) if attempts else (cell, 0)
            if key in self._struck or self._times(cell) >= FAULTS_A_CELL or not self._trains(cell, key[1]):
                continue
            due = self._due.setdefault(key, time.monotonic() + self._generator.uniform(0, self._reach))
            if time.monotonic() >= due:
                self._strike(cell, key[1])

    def interruptions(self, cell: Cell) -> dict[str, int]:
        """Faults that ended an attempt: there is a later one."""
        last = max(self._stage.store.attempts(cell), default=0)
        return dict(Counter(kind for (name, attempt), kind in self._struck.items() if name == cell and attempt < last))

    def _times(self, cell: Cell) -> int:
        return sum(name == cell for name, _ in self._struck)

    def _trains(self, cell: Cell, attempt: int) -> bool:
        store = self._stage.store
        pack = store.pack_of(cell, attempt) if attempt else None
        return pack is not None and cell.name in store.progress(pack)

    def _strike(self, cell: Cell, attempt: int) -> None:
        kind = self._stage.kinds[(self._times(cell) + self._cells.index(cell)) % len(self._stage.kinds)]
        pack = self._stage.store.pack_of(cell, attempt)
        if kind == KILL and (pack is None or not self._stage.store.has_saved(pack)):
            return  # later: kills before anything is saved would make the cell fail
        if self._stage.strike(cell, kind):
            self._struck[cell, attempt] = kind
            self._say(f"  {cell.name}: {kind} in attempt {attempt}")


def _verdict(straight: Store, disturbed: Store, cells: Sequence[Cell], torment: Torment) -> Verdict:
    verdicts = [
        CellVerdict(
            cell.name,
            torment.interruptions(cell),
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


def _certify(trial: Trial, verdict: Verdict) -> Path:
    """Write the certificate: what was checked, how, and what was found."""
    code = code_digest(trial.sweep.trainer)
    content: dict[str, Any] = {
        "format": 1,
        "exact": verdict.good,
        "conclusion": verdict.conclusion,
        "code_digest": code,
        "config_digest": trial.sweep.config_digest,
        "trainer": trial.sweep.trainer.target,
        "device": verdict.device,
        "hardware": verdict.hardware,
        "profile": trial.profile.name,
        "faults": verdict.faults,
        "cells": [asdict(cell) for cell in verdict.cells],
        "seed": trial.seed,
        "host": host(),
        "versions": provenance.versions(),
        "at": time.time(),
    }
    path = trial.target.certificate_file(code, verdict.device)
    files.publish(path, json.dumps(content, indent=1).encode())
    return path
