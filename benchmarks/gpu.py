"""Everything that is to be seen on a GPU, in order: python -m benchmarks.gpu [--parts A,B] [--json F] [--markdown F].

Parts, each of which fits into a call of ten minutes:

    equal       packs of 1, 7, 8, 16, 209 and 210 cells: whether a cell's bits are those that it has alone
    tests       tests/training/steps/test_gpu.py, with pytest
    sanitizer   compute-sanitizer on three steps
    copies      bandwidth on the device and to the host; a batched product of 420 x (32 x 128) x (128 x 128)
    speed       packs, one by one, several at once and in turn, the tight loop and k concurrent processes of it, in
                windows of five seconds
    profile     the kernels of a step of 210 cells, beside what memory traffic allows
    sweep       two epochs of 210 cells with one SIGTERM, extrapolated to 50 epochs

The files are written after each part, and parts of an earlier call stay in them. Without a GPU nothing runs; --rehearse
goes through the parts on the CPU at tiny size, and its numbers say nothing.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.checkpoints import recorded
from benchmarks.loops import tight_loop
from benchmarks.training import GFLOP_PER_STEP, GPU_PROCESSES, ROWS, make_pack, read, steps_of
from hpc.node.one_attempt import Surroundings
from hpc.node.pack import PackTask
from hpc.storage.store import Store
from training.loop.device import prepare
from training.loop.pack import Pack
from training.model.settings import Settings
from training.model.tables import Tables, make_tables
from training.shapes.dataset import generate, load

ROOT = Path(__file__).parents[1]
PARTS = ("equal", "tests", "sanitizer", "copies", "speed", "profile", "sweep")
EPOCHS, SWEEP_EPOCHS = 50, 2
# Bytes of memory traffic per parameter and step, the least there can be: gradients written and read, parameters and
# both moments read and written, weights read forward and back.
BYTES_PER_PARAMETER = 4 * (2 + 6 + 2)


@dataclass(frozen=True)
class Size:
    """How much of everything. at_once: into how many packs the cells of the widest are cut. visit: steps of a pack
    before the next one's turn. window_s: of each measurement. rows: of the sweep's data. stop_s: until its SIGTERM."""

    device: str
    packs: tuple[int, ...]
    at_once: tuple[int, ...]
    visit: int
    processes: tuple[int, ...]
    window_s: float
    rows: int
    steps: int
    megabytes: int
    stop_s: float


REAL = Size("cuda", (1, 7, 8, 16, 209, 210), (2, 4, 7), 128, GPU_PROCESSES, 5.0, 500_000, 20, 1024, 25.0)
TINY = Size("cpu", (1, 2, 3), (3,), 4, (1, 2), 0.05, 2_000, 3, 4, 0.2)


class Bench:
    """A data set in a directory, its tables on the device, and the parts."""

    def __init__(self, size: Size, directory: Path) -> None:
        self.size, self.directory = size, directory
        self.data = self.generated("data", ROWS)
        self.device = prepare(size.device, 1)
        self.settings: Settings = read(self.data)
        self.tables: Tables = make_tables(load(self.data), standardize=False, device=self.device)

    def generated(self, name: str, rows: int) -> Path:
        generate(self.directory / name, train=rows, val=1000, test=100, seed=1, latents="mixed")
        return self.directory / name

    def pack(self, cells: int) -> Pack:
        return make_pack(self.settings, self.tables, self.device, cells, False, 1)

    def equal(self) -> dict[str, Any]:
        """Per width: how many of the cells of a pack have the bits that they have alone, after some steps."""
        alone: dict[int, bytes] = {}
        found = {}
        for width in self.size.packs:
            pack = self.pack(width)
            self._train(pack, self.size.steps)
            mine = [bytes(row.cpu().numpy()) for row in pack.state.parameters]
            for seed in {0, width // 2, width - 1} - alone.keys():
                alone[seed] = self._alone(seed)
            found[f"P = {width}"] = {
                "cells compared": len({0, width // 2, width - 1}),
                "equal": sum(mine[seed] == alone[seed] for seed in {0, width // 2, width - 1}),
            }
        return found

    def _alone(self, seed: int) -> bytes:
        pack = self.pack(seed + 1).keep([seed])
        self._train(pack, self.size.steps)
        return bytes(pack.state.parameters[0].cpu().numpy())

    def _train(self, pack: Pack, steps: int) -> None:
        for indices in pack.batches(pack.step + steps):
            pack.train(indices)

    def tests(self) -> dict[str, Any]:
        missing = [name for name in ("pytest", "hypothesis") if importlib.util.find_spec(name) is None]
        if missing:
            return {"skipped": f"{' and '.join(missing)} not installed"}
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-rs",
            "-k",
            "not emulated",
            "tests/training/steps/test_gpu.py",
        ]
        return said(subprocess.run(command, cwd=ROOT, capture_output=True, text=True))

    def sanitizer(self) -> dict[str, Any]:
        program = shutil.which("compute-sanitizer")
        if program is None and self.size is REAL:
            return {"skipped": "compute-sanitizer is not on the search path"}
        steps = [sys.executable, "-m", "benchmarks.gpu", "--three-steps", str(self.data), "--device", self.size.device]
        command = [program, "--error-exitcode", "9", *steps] if program else steps
        return said(subprocess.run(command, cwd=ROOT, capture_output=True, text=True))

    def copies(self) -> dict[str, Any]:
        """GB/s, and TFLOP/s of the product."""
        count = self.size.megabytes * 250_000
        source, target = (torch.zeros(count, device=self.device) for _ in range(2))
        pageable, pinned = torch.empty(count), torch.empty(count, pin_memory=self.size is REAL)
        a, b = (torch.randn(420, *shape, device=self.device) for shape in ((32, 128), (128, 128)))
        c = torch.empty(420, 32, 128, device=self.device)
        gigabytes = 4e-9 * count
        return {
            "on the device, read and written, GB/s": 2 * gigabytes / self.seconds(lambda: target.copy_(source)),
            "to ordinary memory, GB/s": gigabytes / self.seconds(lambda: pageable.copy_(source)),
            "to pinned memory, GB/s": gigabytes / self.seconds(lambda: pinned.copy_(source)),
            "bmm 420 x 32 x 128 x 128, TFLOP/s": 420
            * 2e-12
            * 32
            * 128**2
            / self.seconds(lambda: torch.bmm(a, b, out=c)),
        }

    def seconds(self, work: Callable[[], object], at_once: int = 10) -> float:
        """Of one call: the median over a window, in groups, each waited for once."""
        for _ in range(3):
            work()
        found, began = [], time.perf_counter()
        while not found or time.perf_counter() - began < self.size.window_s:
            self.wait()
            started = time.perf_counter()
            for _ in range(at_once):
                work()
            self.wait()
            found.append((time.perf_counter() - started) / at_once)
        return statistics.median(found)

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def speed(self) -> dict[str, Any]:
        """Microseconds per step of one cell."""
        found: dict[str, Any] = {}
        for cells in self.size.packs:
            loop = steps_of(self.pack(cells))
            found[f"pack of {cells}"] = 1e6 * self._loop(loop) / cells
        for count in self.size.at_once:
            found |= self._several(count)
        alone = tight_loop(load(self.data).train, self.size.device)
        found["tight loop"] = 1e6 * self._loop(alone)
        for count in self.size.processes:
            found[f"tight loop, {count} processes"] = self._processes(count)
        return found

    def _several(self, count: int) -> dict[str, float]:
        """The cells of the widest pack in so many packs: at once, each in its lane, and one after another."""
        cells, steps = max(self.size.packs) // count, self.size.visit
        packs = [self.pack(cells) for _ in range(count)]

        def visit(wait: Callable[[], None]) -> None:
            for pack in packs:
                self._train(pack, steps)
                wait()

        found = {}
        for how, wait in (("at once", lambda: None), ("in turn", self.wait)):
            seconds = self.seconds(partial(visit, wait), at_once=1)
            found[f"{count} packs of {cells} {how}"] = 1e6 * seconds / steps / cells / count
        return found

    def _loop(self, loop: Iterator[None]) -> float:
        # As many steps as steps_of hands over between two looks, so that groups are alike.
        return self.seconds(lambda: next(loop), at_once=self.size.visit)

    def _processes(self, count: int) -> float:
        steps = str(max(20, round(self.size.window_s * 1000)))
        command = [sys.executable, "-m", "benchmarks.loops", "--data", str(self.data), "--device", self.size.device]
        running = [
            subprocess.Popen([*command, "--steps", steps], cwd=ROOT, stdout=subprocess.PIPE, text=True)
            for _ in range(count)
        ]
        return float(max(json.loads(process.communicate()[0])["us"] for process in running)) / count

    def profile(self) -> dict[str, Any]:
        """Microseconds of each kernel in a step of the widest pack, and the least traffic and products there are."""
        pack, steps = self.pack(max(self.size.packs)), 2 * self.size.steps
        self._train(pack, 3)
        self.wait()
        cuda = self.device.type == "cuda"
        with profile(activities=[ProfilerActivity.CUDA if cuda else ProfilerActivity.CPU]) as seen:
            self._train(pack, steps)
            self.wait()
        name = "self_device_time_total" if cuda else "self_cpu_time_total"
        events = sorted(seen.key_averages(), key=lambda event: -getattr(event, name))
        kernels = {event.key[:100]: getattr(event, name) / steps for event in events if getattr(event, name) > 0}
        cells = len(pack.members)
        return {
            "cells": cells,
            "least traffic, MB a step": 1e-6 * BYTES_PER_PARAMETER * pack.state.parameters.numel(),
            "products, GFLOP a step": GFLOP_PER_STEP * cells,
            "all kernels, us a step": sum(kernels.values()),
            "launches a step": sum(event.count for event in events) / steps,
            **dict(list(kernels.items())[:25]),
        }

    def sweep(self) -> dict[str, Any]:
        """Seconds of two epochs of the widest pack, stopped once in the middle, and of a whole sweep at that speed."""
        cells, directory = max(self.size.packs), self.directory / "sweep"
        store, sweep = recorded(self.generated("sweep-data", self.size.rows), directory, cells, SWEEP_EPOCHS)
        seconds, codes = [], []
        for stop in (True, False):
            started = time.monotonic()
            codes.append(self._task(directory, stop))
            seconds.append(time.monotonic() - started)
        return {
            "cells": cells,
            "finished": sum(store.result(cell) is not None for cell in sweep.grid),
            "exit statuses": codes,
            "seconds, starts and data included": seconds,
            f"minutes for {EPOCHS} epochs, extrapolated": sum(seconds) / SWEEP_EPOCHS * EPOCHS / 60,
        }

    def _task(self, directory: Path, stop: bool) -> int:
        command = [sys.executable, "-m", "benchmarks.gpu", "--task", str(directory), "--device", self.size.device]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as task:
            assert task.stdout is not None
            if task.stdout.readline() and stop:  # it trains
                time.sleep(self.size.stop_s)
                task.send_signal(signal.SIGTERM)
        return task.returncode


def said(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    lines = (done.stdout + done.stderr).strip().splitlines()
    return {"exit status": done.returncode, "last lines": lines[-5:]}


def run_task(directory: Path, device: str) -> None:
    """Train all cells of a sweep as a task does; SIGTERM stops it."""
    asked: list[int] = []
    looks: list[bool] = []
    signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))

    def stop() -> bool:
        if not looks:
            print("training", flush=True)
        looks.append(True)
        return bool(asked)

    store = Store(directory)
    sweep = store.sweep()
    PackTask(store, sweep, list(sweep.grid), Surroundings(0, stop, device=device, own_log=False)).run()


def three_steps(data: Path, device: str) -> None:
    where = prepare(device, 1)
    pack = make_pack(read(data), make_tables(load(data), standardize=False, device=where), where, 8, False, 1)
    for indices in pack.batches(3):
        pack.train(indices)
    print(f"sum of the parameters after three steps: {float(pack.state.parameters.sum())}")


def name_of(device: str) -> str:
    chosen = torch.cuda.get_device_name() if device == "cuda" else f"no GPU: a rehearsal on {platform.machine()}"
    return f"{chosen}; Python {platform.python_version()}, torch {torch.__version__}, CUDA {torch.version.cuda}"


def table(found: dict[str, Any]) -> str:
    lines = [f"# {found['machine']}", ""]
    for part in (part for part in PARTS if part in found):
        lines += [f"## {part}", "", "| what | value |", "|---|---|"]
        lines += [f"| {name} | {shown(value)} |" for name, value in found[part].items()]
        lines.append("")
    return "\n".join(lines)


def shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}: {shown(one)}" for name, one in value.items())
    if isinstance(value, list):
        return "; ".join(shown(one) for one in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", "/")


def main() -> int:
    """Run the parts that were asked for and write what they found after each. Returns an exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default=",".join(PARTS), help="comma-separated")
    parser.add_argument("--json", type=Path, default=Path("gpu.json"))
    parser.add_argument("--markdown", type=Path, default=Path("gpu.md"))
    parser.add_argument("--rehearse", action="store_true", help="on the CPU, at tiny size")
    parser.add_argument("--task", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--three-steps", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--device", default="cuda", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.task:
        run_task(arguments.task, arguments.device)
        return 0
    if arguments.three_steps:
        three_steps(arguments.three_steps, arguments.device)
        return 0
    parts = arguments.parts.split(",")
    unknown = [part for part in parts if part not in PARTS]
    if unknown:
        parser.error(f"--parts: {unknown[0]!r} is none of {', '.join(PARTS)}")
    if not arguments.rehearse and not torch.cuda.is_available():
        print(
            "benchmarks.gpu: no CUDA device here, so nothing was measured; --rehearse goes through the parts on a CPU"
        )
        return 0
    size = TINY if arguments.rehearse else REAL
    found: dict[str, Any] = {"machine": name_of(size.device)}
    if arguments.json.exists() and json.loads(arguments.json.read_text()).get("machine") == found["machine"]:
        found = json.loads(arguments.json.read_text())
    print(found["machine"], flush=True)
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(size, Path(name))
        for part in parts:
            started = time.monotonic()
            found[part] = getattr(bench, part)()
            arguments.json.write_text(json.dumps(found, indent=2) + "\n")
            arguments.markdown.write_text(table(found))
            print(f"{part}: {time.monotonic() - started:.0f} s", flush=True)
    print(table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
