"""What a cell costs that trains for a moment: python -m benchmarks.small_cells [--cells N] [--rounds R] [--json F].

Whole runs of a sweep in worker processes here: tasks forked from one process that has imported everything, or
each task started by itself. The two take turns, so that a busy machine slows both alike.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.machine import machine

ROOT = Path(__file__).parents[1]
TRAINER = (
    "FACTORS = {'a': {'kind': 'integer'}}\n"
    "METRICS = {'m': {'kind': 'real', 'better': 'lower'}}\n"
    "def train(cells, options, run):\n"
    "    for cell in cells:\n"
    "        run.finish(cell, {'m': float(cell.seed)})\n"
)
# A library that starts threads when it is loaded cannot be forked: with this, numpy's does.
WAYS = {"forked": {"OPENBLAS_NUM_THREADS": "1"}, "each by itself": {"OPENBLAS_NUM_THREADS": "2"}}


def measure(directory: Path, cells: int, variables: dict[str, str]) -> dict[str, float]:
    """Milliseconds a cell, of processor time and elapsed, for a whole command."""
    command = [sys.executable, "-m", "hpc", "submit", "--profile", "local", "--config", "small.yaml"]
    environment = os.environ | variables | {"PYTHONPATH": str(ROOT)}
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    name = f"out{len(list(directory.iterdir()))}"
    subprocess.run([*command, "--output-dir", name], cwd=directory, env=environment, check=True, capture_output=True)
    elapsed, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"cpu_ms": 1000 * cpu / cells, "elapsed_ms": 1000 * elapsed / cells}


def main() -> None:
    """Print the table; see the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    print(about := machine())
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "small.py").write_text(TRAINER)
        (directory / "small.yaml").write_text(
            f"trainer: small.py:train\nsweep: {{axes: {{a: [1]}}, runs_per_condition: {options.cells}}}\n"
        )
        rounds = [
            {way: measure(directory, options.cells, variables) for way, variables in WAYS.items()}
            for _ in range(options.rounds)
        ]
    rows = {
        way: {key: statistics.median(found[way][key] for found in rounds) for key in ("cpu_ms", "elapsed_ms")}
        for way in WAYS
    }
    ratios = [found["each by itself"]["cpu_ms"] / found["forked"]["cpu_ms"] for found in rounds]
    print(f"{options.cells} cells in tasks of five, medians of {options.rounds} rounds; ms per cell")
    for way, row in rows.items():
        print(f"{way:>16}: {row['cpu_ms']:6.1f} of processor time, {row['elapsed_ms']:6.1f} elapsed")
    print(f"processor time, each by itself over forked: {', '.join(f'{ratio:.1f}' for ratio in ratios)}")
    if options.json:
        options.json.write_text(json.dumps({"machine": about, "cells": options.cells, "rounds": rounds}, indent=1))


if __name__ == "__main__":
    main()
