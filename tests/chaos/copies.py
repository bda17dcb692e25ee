"""Two live copies of a task: the old process is stopped, its successor starts, and then the old one goes on.

That is what a node cut off from the network does: its job is requeued elsewhere while the old process lives on.
"""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from pathlib import Path

from hpc.sweep.cell import Cell

from .attempts import ForkServer, wait_for
from .bench import OPTIONS, Bench


def snapshot(directory: Path) -> dict[str, int]:
    """Every file of a directory with the time of its last change, ns."""
    return {path.name: path.stat().st_mtime_ns for path in directory.iterdir()}


def overlap(bench: Bench, server: ForkServer, task: int, pause: float, head_start: float) -> str:
    """One overlap of two copies of a task of one cell.

    pause: seconds after its claim at which the old copy is stopped. head_start: seconds the successor then has.
    Returns how it is proven that the old copy wrote beside its successor; empty if it did not.
    """
    [cell] = bench.tasks[task]
    old = bench.start(server, task)
    wait_for(lambda: len(bench.store.attempts(cell)) == 1 and bench.store.pack_of(cell, 1) is not None, "a claim")
    time.sleep(pause)
    if not old.signal(signal.SIGSTOP):
        return ""
    new = bench.start(server, task)
    wait_for(lambda: len(bench.store.attempts(cell)) == 2 or new.over, "the successor's claim")
    time.sleep(head_start)
    first, second = (bench.store.pack_of(cell, number) for number in (1, 2))
    before = snapshot(bench.store.paths.pack_directory(first or 0))
    bench.check_results((cell,))
    old.signal(signal.SIGCONT)
    codes = old.wait(), new.wait()
    assert set(codes) <= {0}, f"{codes}: {bench.text(task)}"
    if second is None:
        return ""
    if snapshot(bench.store.paths.pack_directory(first or 0)) != before:
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
            how = overlap(bench, server, task, generator.uniform(0, 0.05), generator.uniform(0, 0.06))
            bench.check_results(bench.tasks[task])
            counts[f"{name}: {how or 'no overlap'}"] += 1
            counts["proven overlaps"] += bool(how)
        bench.check_equal(calm)
        assert not bench.failures()
    return counts
