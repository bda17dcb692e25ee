"""Whole-process times of submission, status and plan, beside submitit's map_array on the same cluster.

    python -m benchmarks.submission [--cells 10001] [--large 100000] [--json FILE]

Needs Slurm on this machine (make slurm-install). Starts its own cluster with raised limits, and holds all tasks so that
none runs while others are queued.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from hpc.sandbox import cluster as sandbox
from hpc.slurm.commands import environment

ROOT = Path(__file__).parents[1]
HELD = "partition: low\ntimeout_min: 5\nadditional_parameters: {hold: true}\n"
TRAINER = (
    "FACTORS = {'width': {'kind': 'integer'}}\n"
    "METRICS = {'error': {'kind': 'positive', 'better': 'lower'}}\n"
    "def train(cells, options, run):\n    pass\n"
)
# What people use today: one pickle per task, then sbatch once.
MAP_ARRAY = """
import sys, submitit
executor = submitit.SlurmExecutor(folder=sys.argv[1])
executor.update_parameters(partition="low", time=5, additional_parameters={"hold": True}, array_parallelism=20000)
executor.map_array(abs, list(range(int(sys.argv[2]))))
"""


def timed(command: list[str], directory: Path, variables: dict[str, str], expect: int = 0) -> dict[str, float]:
    """Wall seconds, CPU seconds and peak memory (MB) of a whole process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    done = subprocess.run(command, cwd=directory, env=environment() | variables, capture_output=True, text=True)
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != expect:
        raise RuntimeError(f"{command}: exit status {done.returncode}\n{done.stderr}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall_s": wall, "cpu_s": cpu, "peak_mb": after.ru_maxrss / 1024}


def measure(cells: int, large: int) -> dict[str, dict[str, Any]]:
    """All rows of the table. Peak memory is the largest of all processes so far, so rows run from small to large."""
    rows: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "held.yaml").write_text(HELD)
        (directory / "width.py").write_text(TRAINER)
        (directory / "map_array.py").write_text(MAP_ARRAY)
        # Cancelled jobs stay in the memory of slurmctld for a while (MinJobAge), and count.
        limits = {"max_array_size": max(cells, large) + 1, "max_job_count": 3 * (cells + large) + 1000}
        with sandbox.up(directory / "c", nodes=1, die_with_owner=True, **limits) as cluster:
            variables = {"SLURM_CONF": str(cluster.conf), "PYTHONPATH": str(ROOT)}
            python = [sys.executable]

            def holdfast(*words: str, expect: int = 0) -> dict[str, float]:
                return timed([*python, "-m", "hpc", *words], directory, variables, expect)

            config(directory, 10_000_000)
            rows["a grid of 10,000,000 cells is refused"] = holdfast("plan", "--config", "sweep.yaml", expect=2)
            config(directory, cells)
            rows[f"plan of {cells:,} cells"] = holdfast("plan", "--config", "sweep.yaml")
            submit = ("submit", "--config", "sweep.yaml", "--profile", "held.yaml")
            rows[f"submit {cells:,} cells, one a task"] = holdfast(*submit)
            rows[f"submit again: {cells:,} queued"] = holdfast(*submit)
            rows[f"status of {cells:,} queued cells"] = holdfast("status", "out")
            cancel(cluster)
            arguments = [*python, "map_array.py", str(directory / "submitit"), str(cells)]
            rows[f"submitit map_array of {cells:,}"] = timed(arguments, directory, variables)
            cancel(cluster)
            config(directory, large)
            rows[f"plan of {large:,} cells"] = holdfast("plan", "--config", "sweep.yaml", "--output-dir", "large")
            rows[f"submit {large:,} cells, one a task"] = holdfast(*submit, "--output-dir", "large")
            cancel(cluster)
    return rows


def config(directory: Path, cells: int) -> None:
    """Write a sweep of this many cells: few seeds and many widths, within the limits of both."""
    runs = next(n for n in (100, 10, 7, 3, 1) if cells % n == 0)
    widths = list(range(1, cells // runs + 1)) if cells <= 1_000_000 else list(range(1, 1001))
    runs = runs if cells <= 1_000_000 else cells // 1000
    sweep = {"name": "bench", "axes": {"width": widths}, "runs_per_condition": runs}
    (directory / "sweep.yaml").write_text(json.dumps({"trainer": "width.py:train", "sweep": sweep}))


def cancel(cluster: sandbox.Sandbox) -> None:
    cluster.slurm.cancel(cluster.slurm.queue())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--cells", type=int, default=10_001)
    parser.add_argument("--large", type=int, default=100_000)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows = measure(arguments.cells, arguments.large)
    print(f"{os.cpu_count()} cores; whole processes, one run each")
    for name, row in rows.items():
        print(f"{name:<45} {row['wall_s']:7.2f} s wall {row['cpu_s']:7.2f} s CPU")
    print(f"largest peak memory of a process: {max(row['peak_mb'] for row in rows.values()):.0f} MB")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
