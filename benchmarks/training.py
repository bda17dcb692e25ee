"""Training speed of one cell beside what people use today: python -m benchmarks.training [--json FILE].

Batch 32, hidden 128, n_layers 4, 280,000 parameters: 53.1 MFLOP per step in matrix products. All variants run in one
process, a few steps each in turn, so that a busy machine slows them alike; medians are printed. Nothing passes or
fails. On a GPU (--device cuda), k concurrent processes of the tight loop are measured too.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks import checkpoints
from benchmarks.loops import BATCH, DIM, HIDDEN, LARGEST_NORM, LAYERS, LEARNING_RATE, predecessor_loop, tight_loop
from hpc.config.schema import Configuration, Weights
from training.loop.device import prepare
from training.loop.loop import CPU_PACK
from training.loop.pack import Pack, Setup
from training.model.rows import Architecture
from training.model.settings import Settings, read_settings
from training.model.state import Member, joined, new_state
from training.model.tables import Tables, make_tables
from training.shapes.dataset import Dataset, generate, load
from training.steps.build import NoKernelError, load_kernel

ROWS = 16_000
ROUNDS = 25
# As many as the compiled step takes at a time (training.steps.native_step.STEPS_A_VISIT).
STEPS_PER_ROUND = 8
# Moments of dead units turn subnormal between these steps, if they are not flushed.
EARLY, LATE = 100, 1500
# One cell, one scale of a sweep, and a sweep of 7 dimensions x 6 scales x 5 seeds.
GPU_PACKS = (1, 30, 210)
GPU_PROCESSES = (1, 2, 4, 8)
# Matrix products of one step: 2 x weights x rows, forward once and backward twice.
GFLOP_PER_STEP = 0.0531


class BenchmarkCell:
    """A cell as the trainer sees it."""

    def __init__(self, seed: int) -> None:
        self.name, self.factors, self.seed, self.run_id = f"cell {seed}", {"dim": DIM, "scale": 1.0}, seed, seed


def read(directory: Path) -> Settings:
    """The built-in experiment with its defaults."""
    sections = Configuration.model_validate(
        {
            "data": {"dir": str(directory), "batch_size": BATCH},
            "model": {"hidden_dim": HIDDEN, "decoder_hidden_dim": HIDDEN, "n_layers": LAYERS},
            "training": {"optimizer": {"lr": LEARNING_RATE}, "grad_clip": LARGEST_NORM},
        }
    ).model_dump()
    return read_settings(sections | {"experiment": {"weights": Weights(fusion=1.0).model_dump()}})


def make_pack(settings: Settings, tables: Tables, device: torch.device, cells: int, native: bool, threads: int) -> Pack:
    architecture = Architecture.of(settings, DIM)
    states = [
        new_state(Member.of(BenchmarkCell(seed), settings), architecture, settings, device) for seed in range(cells)
    ]
    return Pack(Setup(settings, tables, device, native, threads), architecture, joined(states))


def steps_of(pack: Pack) -> Iterator[None]:
    """Holdfast's own loop; yields once per step of all cells, also where several steps are one call."""
    while True:
        end = (pack.step // 100 + 1) * 100  # as training.loop does between two checks for divergence
        for indices in pack.batches(end):
            pack.train(indices)
            yield from [None] * len(indices)


def interleaved(variants: dict[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """Median of each variant's measurements, taken in turn."""
    found: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, measure in variants.items():
            found[name].append(measure())
    return {name: statistics.median(values) for name, values in found.items()}


def timed(loop: Iterator[None], cells: int, threads: int, steps: int = STEPS_PER_ROUND) -> Callable[[], float]:
    """Measures microseconds per step of one cell, with torch on this many threads."""

    def measure() -> float:
        torch.set_num_threads(threads)
        started = time.perf_counter()
        for _ in range(steps):
            next(loop)
        return (time.perf_counter() - started) / steps / cells * 1e6

    measure()  # once unmeasured: buffers, caches and libraries warm up
    return measure


def gemm(threads: int, size: int = 1024) -> Callable[[], float]:
    """Measures GFLOP/s of one large matrix product in fp32: the peak that training is compared with."""
    a, b, c = (torch.randn(size, size) for _ in range(3))

    def measure() -> float:
        torch.set_num_threads(threads)
        started = time.perf_counter()
        torch.mm(a, b, out=c)
        return 2e-9 * size**3 / (time.perf_counter() - started)

    measure()
    return measure


def cpu_rows(directory: Path, dataset: Dataset) -> dict[str, dict[str, float]]:
    """Microseconds per step of one cell (GFLOP/s for the last row), by variant and number of threads."""
    device, settings = torch.device("cpu"), read(directory)
    tables = make_tables(dataset, standardize=False, device=device)
    kernels = {"torch": False, **({"native": True} if compiled() else {})}
    rows: dict[str, dict[str, float]] = {}
    for threads in (1, 2):
        variants = {
            "(a) as the predecessor": timed(predecessor_loop(dataset.train), 1, threads),
            "(b) tight loop": timed(tight_loop(dataset.train), 1, threads),
        }
        for kernel, native in kernels.items():
            for cells in (1, CPU_PACK):
                pack = make_pack(settings, tables, device, cells, native, threads)
                variants[f"(c) {kernel}, P = {cells}"] = timed(steps_of(pack), cells, threads)
        for name, value in interleaved(variants, ROUNDS).items():
            rows.setdefault(name, {})[f"{threads}"] = value
        peak = max(gemm(threads)() for _ in range(20))
        rows.setdefault("fp32 GEMM peak, GFLOP/s", {})[f"{threads}"] = peak
    return rows


def slow_down(directory: Path, dataset: Dataset) -> dict[str, float]:
    """Microseconds per step early and late in training, measured in turn: subnormal numbers would slow late ones."""
    device, settings = torch.device("cpu"), read(directory)
    tables = make_tables(dataset, standardize=False, device=device)
    variants = {}
    for begin in (EARLY, LATE):
        pack = make_pack(settings, tables, device, 1, compiled(), 1)
        loop = steps_of(pack)
        for _ in range(begin - ROUNDS * STEPS_PER_ROUND // 2):
            next(loop)
        variants[f"step {begin}"] = timed(loop, 1, 1)
    return interleaved(variants, ROUNDS)


def gpu_rows(directory: Path, dataset: Dataset) -> dict[str, dict[str, float]]:
    """Microseconds per step of one cell on a GPU: packs of several widths, and k processes of the tight loop."""
    device, settings = prepare("cuda", 1), read(directory)
    tables = make_tables(dataset, standardize=False, device=device)
    rows: dict[str, dict[str, float]] = {}
    for cells in GPU_PACKS:
        loop = steps_of(make_pack(settings, tables, device, cells, False, 1))
        rows[f"(c) CUDA graph, P = {cells}"] = {"1": _gpu_time(loop, cells)}
    for count in GPU_PROCESSES:
        command = [sys.executable, "-m", "benchmarks.loops", "--data", str(directory)]
        running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(count)]
        slowest = max(json.loads(process.communicate()[0])["us"] for process in running)
        rows[f"(b) tight loop, {count} processes"] = {"1": slowest / count}
    return rows


def _gpu_time(loop: Iterator[None], cells: int) -> float:
    found = []
    for _ in range(6):
        torch.cuda.synchronize()
        started = time.perf_counter()
        for _ in range(100):
            next(loop)
        torch.cuda.synchronize()
        found.append((time.perf_counter() - started) / 100 / cells * 1e6)
    return statistics.median(found[1:])  # the first includes the recording of the graph


def compiled() -> bool:
    try:
        return bool(load_kernel())
    except NoKernelError:
        return False


def print_speed(rows: dict[str, dict[str, float]]) -> None:
    """Print the table. Ratios are to (a) and (b) on as many threads; the share of peak counts matrix products only."""
    peaks = rows["fp32 GEMM peak, GFLOP/s"]
    print(f"{'':34}{'threads':>8}{'us':>8}{'over (a)':>10}{'over (b)':>10}{'of peak':>9}")
    for name, by_threads in rows.items():
        for threads, value in by_threads.items():
            if value is peaks[threads]:
                print(f"{name:34}{threads:>8}{value:8.0f}")
                continue
            a, b = (rows[row][threads] / value for row in ("(a) as the predecessor", "(b) tight loop"))
            part = 100 * GFLOP_PER_STEP / (1e-6 * value) / peaks[threads]
            print(f"{name:34}{threads:>8}{value:8.0f}{a:10.2f}{b:10.2f}{part:8.0f}%")


def machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    cpu = f"{len(names)} x {names[0]}" if names else platform.machine()
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    return f"{cpu}, {torch.backends.cpu.get_cpu_capability()}, {versions}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    arguments = parser.parse_args()
    torch.set_flush_denormal(True)
    found: dict[str, Any] = {"machine": machine()}
    print(found["machine"])
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name) / "data"
        generate(directory, train=ROWS, val=500, test=100, seed=1, latents="mixed")
        dataset = load(directory)
        if arguments.device == "cuda":
            found["gpu"] = gpu_rows(directory, dataset)
            for row, value in found["gpu"].items():
                print(f"{row:34}{value['1']:8.1f} us per step of one cell")
        else:
            found["speed"] = cpu_rows(directory, dataset)
            print_speed(found["speed"])
            found["slow_down"] = slow_down(directory, dataset)
            print(", ".join(f"{row}: {value:.0f} us" for row, value in found["slow_down"].items()))
            found["checkpoints"] = checkpoints.measure(directory, Path(name) / "sweep")
            print(", ".join(f"{row}: {value:.1f}" for row, value in found["checkpoints"].items()))
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
