"""Two live copies of a task: the old process is stopped, its successor starts, and then the old one goes on.

That is what a node cut off from the network does: its job is requeued elsewhere while the old process lives on.
"""

from __future__ import annotations

import random
import signal
from collections import Counter
from pathlib import Path

from hpc.sweep.cell import Cell

from .attempts import ForkServer, Hold
from .bench import OPTIONS, Bench


def snapshot(directory: Path) -> dict[str, int]:
    """Every file of a directory with the time of its last change, ns."""
    return {path.name: path.stat().st_mtime_ns for path in directory.iterdir()}


def overlap(bench: Bench, server: ForkServer, task: int, generator: random.Random) -> str:
    """One overlap of two copies of a task of one cell, both of which are in mid-training at the time.

    The old copy is stopped at a step drawn at random. It goes on when its successor has come to a later one: side by
    side with it, to its own end before it, or only when the successor has ended. Returns how it is proven that the old
    copy wrote beside its successor; empty if it did not.
    """
    [cell] = bench.tasks[task]
    steps = bench.sweep.options["steps"]
    root = bench.store.paths.root
    at = generator.randrange(1, steps)
    halt = Hold.at(root.with_name(f"{root.name}-{task}-old"), at)
    head_start = Hold.at(root.with_name(f"{root.name}-{task}-new"), generator.randrange(at, steps))
    old = bench.start(server, task, environment=halt.environment)
    halt.reached(old)
    old.signal(signal.SIGSTOP)
    new = bench.start(server, task, environment=head_start.environment)
    head_start.reached(new)
    goes_on = generator.choice(["with it", "before it", "after its end"])
    if goes_on == "after its end":
        head_start.release()
        new.wait()
    first = bench.store.pack_of(cell, 1) or 0
    before = snapshot(bench.store.paths.pack_directory(first))
    bench.check_results((cell,))
    halt.release()
    if goes_on == "with it":
        head_start.release()
    old.signal(signal.SIGCONT)
    codes = [old.wait()]
    if goes_on == "before it":
        head_start.release()
    codes.append(new.wait())
    assert set(codes) <= {0}, f"{codes}: {bench.text(task)}"
    if snapshot(bench.store.paths.pack_directory(first)) != before:
        return "files of the old copy changed"
    return "the old copy went on" if _spoke_late(bench, cell) else ""


def _spoke_late(bench: Bench, cell: Cell) -> bool:
    """Whether the first attempt wrote to the cell's log after the second had begun to."""
    lines = bench.store.paths.log_file(cell).read_text().splitlines()
    second = next((i for i, line in enumerate(lines) if "attempt 2:" in line), len(lines))
    return any("attempt 1:" in line for line in lines[second:])


def campaign(directory: Path, server: ForkServer, seed: int, cells: int) -> Counter[str]:
    """Overlaps for that many cells, half of them with checkpoints, half with both copies training to their end."""
    generator = random.Random(seed)
    counts: Counter[str] = Counter()
    for name, options in (("saving", OPTIONS), ("never saving", OPTIONS | {"save": 10**9})):

        def make(root: Path, options: dict[str, float] = options) -> Bench:
            return Bench.make(root, factors={"width": [2]}, runs=cells // 2, options=options)

        bench, calm = make(directory / name), make(directory / f"{name}, calm")
        calm.run_all(server)
        for task in range(len(bench.tasks)):
            how = overlap(bench, server, task, generator)
            bench.check_results(bench.tasks[task])
            counts[f"{name}: {how or 'no overlap'}"] += 1
            counts["proven overlaps"] += bool(how)
        bench.check_equal(calm)
        assert not bench.failures()
    return counts
