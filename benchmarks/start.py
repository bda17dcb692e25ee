"""How long a task takes to its first training step, imports aside: python -m benchmarks.start [--rounds R] [--json F].

A sweep of five cells of the built-in trainer is recorded as `holdfast submit` does it, and its task started as Slurm
starts it: by start.sh, from the snapshot of the code. What the task will import is imported before the clock starts,
which runs from there until the first step begins, with new cells and with the same cells restored. In the end, a
profile of one of each shows where the time goes.
"""

from __future__ import annotations

import argparse
import json
import os
import pstats
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.checkpoints import CELLS, recorded
from benchmarks.machine import machine
from hpc import protocol
from hpc.submission import intents
from hpc.trainers.snapshot import snapshot
from training.shapes.dataset import generate

TASK = Path(__file__).with_name("start_task.py")
ROWS = 16_384
Task = tuple[list[str], dict[str, str]]


def prepared(directory: Path, data: Path) -> Task:
    """A new sweep of one task, the command that starts it, and what Slurm's script exports."""
    store, sweep = recorded(data, directory, CELLS)
    digest, code = snapshot(store, sweep.trainer)
    tasks = [list(sweep.grid)]
    intent = intents.begin(store, [tasks], kind=intents.SLURM, profile="lab", name=sweep.name, code=digest)
    start = ["bash", "-p", str(code / "slurm_templates" / "start.sh"), str(code), str(store.root), "cpu", digest]
    task = [sys.executable, "-P", str(TASK), str(store.root), str(intent.number)]
    return [*start, *task, "0", "0"], {protocol.ARRAY: intent.tokens[0], "SLURM_CPUS_PER_TASK": "1"}


def started(task: Task, folder: Path, profiled: bool = False) -> dict[str, float]:
    """Milliseconds to the first step of a task, in which every cell is left in training."""
    report = folder / "report.json"
    report.unlink(missing_ok=True)
    command, exported = task
    environment = (
        os.environ
        | exported
        | {
            "BENCHMARK_MODULES": str(folder / "modules"),
            "BENCHMARK_REPORT": str(report),
            **({"BENCHMARK_PROFILE": str(folder / "profile")} if profiled else {}),
        }
    )
    # Where start.sh reports to task.sh that setup has ended.
    shell = ["bash", "-c", 'exec 187> /dev/null; "$@"; exit $?', "-", *command]
    done = subprocess.run(shell, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != protocol.TaskExit.STOPPED:
        raise RuntimeError(f"the task ended with {done.returncode}: {done.stdout}{done.stderr}")
    if profiled:
        pstats.Stats(str(folder / "profile")).sort_stats("cumtime").print_stats(60)
    return json.loads(report.read_text())  # type: ignore[no-any-return]


def measure(folder: Path, rounds: int, profiled: bool = False) -> dict[str, list[dict[str, float]]]:
    """Every round's times, with new cells and with the same ones restored."""
    generate(folder / "data", train=ROWS, val=500, test=100, seed=1, latents="mixed")
    started(prepared(folder / "first", folder / "data"), folder)  # unmeasured: it finds out what is imported
    found: dict[str, list[dict[str, float]]] = {"new": [], "restored": []}
    for number in range(rounds):
        task = prepared(folder / str(number), folder / "data")
        for rows in found.values():
            rows.append(started(task, folder, profiled and number == rounds - 1))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--profile", action="store_true", help="profile the last round, which it makes slower")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    print(about := machine())
    with tempfile.TemporaryDirectory() as name:
        found = measure(Path(name), arguments.rounds, arguments.profile)
    print(f"{CELLS} cells, medians of {arguments.rounds} rounds, ms to the first step, imports aside")
    for cells, rows in found.items():
        cpu, elapsed = (statistics.median(row[key] for row in rows) for key in ("cpu_ms", "elapsed_ms"))
        least = min(row["elapsed_ms"] for row in rows)
        print(f"{cells:>10}: {cpu:6.0f} of processor time, {elapsed:6.0f} elapsed (shortest {least:.0f})")
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": about, **found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
