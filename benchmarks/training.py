"""Training speed of one cell beside what people use today: python -m benchmarks.training [--json FILE] [--avx2].

Batch 32, hidden 128, n_layers 4, 280,000 parameters: 53.1 MFLOP per step in matrix products. All variants run in one
process, a few steps each in turn. A busy machine changes its clock and shares its caches, so ratios are taken within a
turn; their medians are printed, and as noise how far their quartiles lie apart. Times are minima, and on one thread the
processor's, which leaves out what others took of it. --avx2 keeps the compiled step, torch and its libraries to AVX2.
Nothing passes or fails. On a GPU (--device cuda) this is benchmarks.gpu, its part `speed`: packs of several widths, the
tight loop, and concurrent processes of it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks import checkpoints
from benchmarks.loops import predecessor_loop, tight_loop
from benchmarks.machine import machine
from benchmarks.packs import GFLOP_PER_STEP, ROWS, make_pack, settings_of, steps_of
from training.loop.loop import CPU_PACK
from training.model.tables import make_tables
from training.shapes.dataset import Dataset, generate, load
from training.steps.build import VARIABLE, NoKernelError, load_kernel
from training.steps.native_step import NativeStep

ROUNDS = 40
# What keeps the libraries that torch calls from using AVX-512; read when they are loaded.
ONLY_AVX2 = {
    VARIABLE: "x86-64-v3",
    "ATEN_CPU_CAPABILITY": "avx2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
}
# As many as the compiled step takes at a time (training.steps.native_step.STEPS_A_VISIT).
STEPS_PER_ROUND = 16
# Moments of dead units turn subnormal between these steps, if they are not flushed.
EARLY, LATE = 128, 1536
PREDECESSOR, TIGHT, PEAK = "(a) as the predecessor", "(b) tight loop", "matrix product"
# By elapsed time, and by the processor's time: of two threads, that of the longer one. They differ where others use the
# cores, too.
ON_THREADS = {
    "elapsed": ("(c) as above, elapsed time", "(c) two threads, elapsed time"),
    "processor": (f"(c) compiled step, {CPU_PACK} cells", "(c) two threads, the longer one"),
}
# The compiled step by the precision of its products, by cells.
FP32 = {1: "(c) compiled step, one cell", CPU_PACK: f"(c) compiled step, {CPU_PACK} cells"}
BF16_SET = "AVX512-BF16"
BF16 = {1: "(c) in bf16, one cell", CPU_PACK: f"(c) in bf16, {CPU_PACK} cells"}
Rounds = dict[str, list[float]]
# A product of 1024 x 1024.
GFLOP_OF_PEAK = 2e-9 * 1024**3
# The default interval between checkpoints (checkpoint.every_s).
CHECKPOINT_MS = 60_000


def interleaved(variants: dict[str, Callable[[], float]], rounds: int) -> Rounds:
    """Each variant's measurements, taken in turn."""
    found: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, measure in variants.items():
            found[name].append(measure())
    return found


def timed(
    loop: Iterator[None],
    cells: int,
    threads: int,
    steps: int = STEPS_PER_ROUND,
    clock: Callable[[], float] = time.process_time,
) -> Callable[[], float]:
    """Measures microseconds per step of one cell, with torch on this many threads."""

    def measure() -> float:
        torch.set_num_threads(threads)
        started = clock()
        for _ in range(steps):
            next(loop)
        return (clock() - started) / steps / cells * 1e6

    measure()  # once unmeasured: buffers, caches and libraries warm up
    return measure


def longer_thread(loop: Iterator[None], cells: int) -> Callable[[], float]:
    """Measures microseconds per step of one cell by the processor's time of the thread that works the longest."""
    original = NativeStep._work
    spent: list[float] = []

    def work(*arguments: Any) -> None:
        started = time.thread_time()
        original(*arguments)
        spent.append(time.thread_time() - started)

    def measure() -> float:
        spent.clear()
        NativeStep._work = work  # type: ignore[method-assign, assignment]
        for _ in range(STEPS_PER_ROUND):
            next(loop)
        NativeStep._work = original  # type: ignore[method-assign]
        return max(spent) / STEPS_PER_ROUND / cells * 1e6

    measure()
    return measure


def gemm(size: int = 1024) -> Iterator[None]:
    """Large matrix products in fp32: their speed is the peak that training is compared with."""
    a, b, c = (torch.randn(size, size) for _ in range(3))
    while True:
        torch.mm(a, b, out=c)
        yield


def cpu_rows(directory: Path, dataset: Dataset) -> Rounds:
    """Microseconds per step of one cell, by variant; for PEAK, of a matrix product."""
    device, settings = torch.device("cpu"), settings_of(directory)
    tables = make_tables(dataset, standardize=False, device=device)

    def ours(cells: int, native: bool, threads: int = 1, precision: str = "fp32") -> Iterator[None]:
        return steps_of(make_pack(settings, tables, device, cells, native, threads, precision))

    variants = {
        PREDECESSOR: timed(predecessor_loop(dataset.train), 1, 1),
        TIGHT: timed(tight_loop(dataset.train), 1, 1),
        "(c) step in torch, one cell": timed(ours(1, False), 1, 1),
        f"(c) step in torch, {CPU_PACK} cells": timed(ours(CPU_PACK, False), CPU_PACK, 1),
        PEAK: timed(gemm(), 1, 1, steps=2),
    }
    if compiled():
        for cells, name in FP32.items():
            variants[name] = timed(ours(cells, True), cells, 1)
        for threads, name in enumerate(ON_THREADS["elapsed"], start=1):
            variants[name] = timed(ours(CPU_PACK, True, threads), CPU_PACK, threads, clock=time.perf_counter)
        variants[ON_THREADS["processor"][1]] = longer_thread(ours(CPU_PACK, True, 2), CPU_PACK)
    for cells, name in BF16.items() if compiled("bf16") else ():
        variants[name] = timed(ours(cells, True, precision="bf16"), cells, 1)
    return interleaved(variants, ROUNDS)


def slow_down(directory: Path, dataset: Dataset) -> dict[str, float]:
    """Microseconds per step early and late in training, measured in turn: subnormal numbers would slow late ones."""
    device, settings = torch.device("cpu"), settings_of(directory)
    tables = make_tables(dataset, standardize=False, device=device)
    variants = {}
    for begin in (EARLY, LATE):
        pack = make_pack(settings, tables, device, 1, compiled(), 1)
        loop = steps_of(pack)
        for _ in range(begin - STEPS_PER_ROUND):
            next(loop)
        variants[f"step {begin}"] = timed(loop, 1, 1)
    return {name: statistics.median(found) for name, found in interleaved(variants, ROUNDS).items()}


def compiled(precision: str = "fp32") -> bool:
    try:
        return load_kernel(precision).instruction_set == BF16_SET if precision == "bf16" else bool(load_kernel())
    except NoKernelError:
        return False


def ratios(rows: Rounds) -> dict[str, dict[str, float]]:
    """Per variant: its time, its speed-ups over (a) and (b), and the share of the fp32 peak that its products reach.

    us: the smallest of all. noise: how far apart the quartiles of the speed-up over (a) lie, as a share of it.
    """

    def over(one: str, other: str) -> list[float]:
        return sorted(a / b for a, b in zip(rows[one], rows[other], strict=True))

    found = {}
    for name in rows:
        low, middle, high = statistics.quantiles(over(PREDECESSOR, name), n=4)
        peak = statistics.median(over(PEAK, name)) * GFLOP_PER_STEP / GFLOP_OF_PEAK
        over_b = statistics.median(over(TIGHT, name))
        times = {"us": min(rows[name]), "over_a": middle, "noise": (high - low) / middle, "over_b": over_b}
        found[name] = times | {"of_peak": peak}
    for one, two in ON_THREADS.values():
        if two in found:
            found[two]["over_one_thread"] = statistics.median(over(one, two))
    for cells, name in BF16.items():
        if name in found:
            found[name]["over_fp32"] = statistics.median(over(FP32[cells], name))
    return found


def print_speed(found: dict[str, dict[str, float]]) -> None:
    print(f"{'':34}{'us':>8}{'over (a)':>10}{'noise':>8}{'over (b)':>10}{'of peak':>9}")
    for name, row in found.items():
        if name == PEAK:
            print(f"{'fp32 peak, GFLOP/s':34}{1e6 * GFLOP_OF_PEAK / row['us']:8.0f}")
            continue
        print(f"{name:34}{row['us']:8.0f}{row['over_a']:10.2f}{100 * row['noise']:7.0f}%{row['over_b']:10.2f}", end="")
        print(f"{100 * row['of_peak']:8.0f}%")
        if "over_one_thread" in row:
            print(f"{'  over one thread':34}{row['over_one_thread']:8.2f}")
        if "over_fp32" in row:
            print(f"{'  over fp32':34}{row['over_fp32']:8.2f}")


def kinds() -> str:
    """What torch and the compiled step were made for."""
    ours = f"compiled step for {load_kernel().instruction_set}" if compiled() else "no compiled step"
    return f"torch {torch.__version__} for {torch.backends.cpu.get_cpu_capability()}, {ours}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--avx2", action="store_true", help="as on a processor without AVX-512")
    arguments = parser.parse_args()
    if arguments.device == "cuda":
        files = ["--json", str(arguments.json)] if arguments.json else []
        os.execv(sys.executable, [sys.executable, "-m", "benchmarks.gpu", "--parts", "speed", *files])
    if arguments.avx2 and not all(os.environ.get(name) == value for name, value in ONLY_AVX2.items()):
        command = [sys.executable, "-m", "benchmarks.training", *sys.argv[1:]]
        os.execve(sys.executable, command, os.environ | ONLY_AVX2)
    torch.set_flush_denormal(True)
    found: dict[str, Any] = {"machine": f"{machine()}; {kinds()}"}
    print(found["machine"])
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name) / "data"
        generate(directory, train=ROWS, val=500, test=100, seed=1, latents="mixed")
        dataset = load(directory)
        found["rounds"] = cpu_rows(directory, dataset)
        found["speed"] = ratios(found["rounds"])
        print_speed(found["speed"])
        found["slow_down"] = slow_down(directory, dataset)
        print(", ".join(f"{row}: {value:.0f} us" for row, value in found["slow_down"].items()))
        found["checkpoints"] = checkpoints.measure(directory, Path(name) / "sweep")
        print(", ".join(f"{row}: {value:.1f}" for row, value in found["checkpoints"].items()))
        share = found["checkpoints"]["save_ms"] / CHECKPOINT_MS
        print(f"checkpoints, of the time at the default interval: {share:.2%}")
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
