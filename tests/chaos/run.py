"""The whole chaos suite: faults by the thousand, counted; fails if there were too few, or if one of them cost anything.

PYTHONPATH=tests python -m chaos.run [--seed S] [--minutes M] [--only PART ...]
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hpc.sandbox import cluster as sandbox
from hpc.sandbox.programs import installed

from . import aggregates, builtin, commands, copies, corruption, kills, powercut, replacing, storm, syscalls, waste
from .attempts import ForkServer, scratch
from .bench import Bench
from .foreign.campaign import campaign as fuzz
from .model.campaign import campaign as explore

FULL_MINUTES = 20


class SkippedError(Exception):
    """A part cannot run here; the message says why."""


@dataclass(frozen=True)
class Order:
    """What a part gets. share: of the full length, in (0, 1]. wanted: what has to be counted at that length."""

    directory: Path
    server: ForkServer
    seed: int
    share: float
    wanted: Mapping[str, int]

    def times(self, full: int, least: int = 1) -> int:
        return max(least, round(full * self.share))


def model(order: Order) -> Counter[str]:
    """The protocol as a model: virtual processes that are stopped and killed at any file operation."""
    return explore(order.times(100_000), order.seed)


def cells(order: Order) -> Counter[str]:
    """Cells of their own under SIGKILL."""
    return kills.campaign(
        order.directory,
        order.server,
        order.seed,
        lambda root: Bench.make(root, factors={"width": [1, 2, 3]}, runs=order.times(80), options=kills.STEADY),
        order.wanted,
        quota=12,
    )


def packs(order: Order) -> Counter[str]:
    """Fused packs of four under SIGKILL."""
    return kills.campaign(
        order.directory,
        order.server,
        order.seed,
        partial(
            Bench.make,
            trainer="fused.py:train",
            factors={"width": [1, 2]},
            runs=order.times(40, least=8),
            options=kills.STEADY | {"seconds": kills.STEADY["seconds"] / 4},  # the four take turns
            pack=4,
        ),
        order.wanted,
        quota=30,
    )


def large(order: Order) -> Counter[str]:
    """Cells with large states, written beside training, under SIGKILL."""
    runs = order.times(24, least=8)
    make = partial(Bench.make, runs=runs, options=kills.LARGE)
    return kills.campaign(order.directory, order.server, order.seed, make, order.wanted, quota=12)


def workspace(order: Order) -> Counter[str]:
    """The built-in trainer, in packs of three, under SIGKILL."""
    return builtin.campaign(order.directory, order.seed, runs=order.times(6), wanted=order.wanted)


def calls(order: Order) -> Counter[str]:
    """Every system call that changes something, with every fault."""
    reason = syscalls.missing()
    if reason:
        raise SkippedError(reason)
    counts = syscalls.campaign(order.directory, order.server, every=max(1, round(1 / order.share)))
    beside = syscalls.beside_training(order.directory / "beside", order.server)
    counts["strikes at what is written beside training"] = beside["strikes"]
    counts["replaced files killed at every call"] = replacing.campaign(order.directory).total()
    return counts


def overlaps(order: Order) -> Counter[str]:
    """An old copy that goes on beside its successor."""
    return copies.campaign(order.directory, order.server, order.seed, cells=order.times(80, least=28))


def aggregations(order: Order) -> Counter[str]:
    """Aggregations at the same time, stopped and killed before every rename."""
    return aggregates.campaign(order.directory, order.seed, pairs=order.times(aggregates.RENAMES**2, least=8))


def cuts(order: Order) -> Counter[str]:
    """Power cuts on an ext4 file system."""
    try:
        return powercut.campaign(order.directory, order.server, order.seed, cuts=order.times(60))
    except powercut.NotPermittedError as error:
        raise SkippedError(str(error)) from None


def damage(order: Order) -> Counter[str]:
    """Damaged checkpoints."""
    return corruption.campaign(order.directory, order.server, order.seed, rounds=order.times(150, least=10))


def directories(order: Order) -> Counter[str]:
    """Sweep directories that nobody of ours has made, under every command."""
    found = fuzz(order.seed, range(order.times(10_000)), workers=os.cpu_count() or 1)
    assert not found.faults, str(found)
    return Counter({"mutations": found.mutations, "calls": found.calls.total()})


def effectiveness(order: Order) -> Counter[str]:
    """A cell of the built-in trainer that trains for a minute, with four faults."""
    measured = waste.builtin(
        order.directory, order.seed, interval=1.0, epochs=20, seconds=max(30.0, 60.0 * order.share)
    )
    print(f"  {measured}")
    assert measured.lost("TERM") == [0, 0], "a graceful stop lost steps"
    assert max(measured.wasted("KILL")) < 1.5 * max(1.0, measured.longest_gap), "a kill lost more than an interval"
    assert measured.done == measured.needed + sum(measured.lost("KILL")), "steps are not accounted for"
    return Counter({"faults": 4, "percent effective": int(100 * measured.effective)})


def slurm(order: Order) -> Counter[str]:
    """A storm on a real cluster."""
    reason = installed()
    if reason:
        raise SkippedError(reason)
    with tempfile.TemporaryDirectory(prefix="hf-") as place:
        cluster = sandbox.up(Path(place), slurmd_timeout=8, die_with_owner=True)
        with cluster:
            return storm.storm(
                order.directory,
                cluster,
                order.seed,
                wanted=order.times(storm.WANTED),
                kinds=storm.KINDS_WANTED,
            )


def contest(order: Order) -> Counter[str]:
    """Commands against each other on two clusters: cancel, wait, take-over, both at once, purged code."""
    reason = installed()
    if reason:
        raise SkippedError(reason)
    with tempfile.TemporaryDirectory(prefix="hf-") as one, tempfile.TemporaryDirectory(prefix="hf-") as two:
        a, b = (sandbox.up(Path(place), nodes=2, slurmd_timeout=60, die_with_owner=True) for place in (one, two))
        with a, b:
            return commands.contest(order.directory, (a, b), order.seed, rounds=order.times(8))


@dataclass(frozen=True)
class Part:
    """A part of the suite. required: what has to be counted at least, at full length."""

    call: Callable[[Order], Counter[str]]
    required: Mapping[str, int]


PARTS = {
    "model": Part(model, {"file operations": 100_000, "kills": 100, "commands": 100}),
    "cells": Part(
        cells, {"kills": 2000, "kills with two copies live": 1000, "attempts that trained": 1000, "cells": 240}
    ),
    "packs": Part(packs, {"kills": 300, "attempts that trained": 200}),
    "large": Part(large, {"kills": 250}),
    "workspace": Part(workspace, {"kills": 30}),
    "calls": Part(calls, {"strikes": 500}),
    "overlaps": Part(overlaps, {"proven overlaps": 10}),
    "aggregations": Part(aggregations, {"aggregations at once": 128, "kills": 32}),
    "cuts": Part(cuts, {"power cuts": 60}),
    "damage": Part(damage, {"set aside": 150}),
    "directories": Part(directories, {"mutations": 10_000}),
    "effectiveness": Part(effectiveness, {"percent effective": 90}),
    "contest": Part(
        contest,
        {
            commands.SAVING: 32,
            commands.WAITING: 8,
            commands.TAKE_OVER: 8,
            commands.AT_ONCE: 8,
            commands.PURGED: 8,
        },
    ),
    "slurm": Part(slurm, {"effective faults": storm.WANTED, "kinds": storm.KINDS_WANTED, "cells": 24}),
}
# These do not shrink with the time given.
_FIXED = {"percent effective", "kinds", "proven overlaps"}


def run_part(name: str, seed: int, share: float) -> str:
    """Run one part. Returns what went wrong, empty if nothing did."""
    part, began = PARTS[name], time.monotonic()
    wanted = {what: number if what in _FIXED else int(number * share) for what, number in part.required.items()}
    print(f"{name}: {part.call.__doc__}", flush=True)
    try:
        with scratch() as directory, ForkServer() as server:
            counts = part.call(Order(directory, server, seed, share, wanted))
    except SkippedError as error:
        print(f"  skipped: {error}", flush=True)
        return ""
    except Exception as error:
        traceback.print_exc()
        print(f"  FAILED: {type(error).__name__}: {error}", flush=True)
        return f"{name}: {error}"
    told = ", ".join(f"{number} {what}" for what, number in sorted(counts.items()))
    print(f"  {told} ({time.monotonic() - began:.0f} s)", flush=True)
    for what, least in wanted.items():
        if counts[what] < least:
            return f"{name}: only {counts[what]} {what}, {least} are needed"
    return ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--minutes", type=float, default=FULL_MINUTES, help=f"at most (full length: {FULL_MINUTES})")
    parser.add_argument("--only", nargs="+", choices=sorted(PARTS), default=list(PARTS))
    arguments = parser.parse_args()
    share = min(1.0, arguments.minutes / FULL_MINUTES)
    print(f"seed {arguments.seed}, {100 * share:.0f} % of full length", flush=True)
    began = time.monotonic()
    problems = [problem for name in arguments.only if (problem := run_part(name, arguments.seed, share))]
    print(f"\nseed {arguments.seed}: {len(arguments.only)} parts in {(time.monotonic() - began) / 60:.1f} min")
    for problem in problems:
        print(f"PROBLEM {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
