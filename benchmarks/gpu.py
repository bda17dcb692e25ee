"""Everything that is to be seen on a GPU, in order: python -m benchmarks.gpu [--parts A,B] [--json F] [--markdown F].

    equal       packs of 1, 7, 8, 16, 209 and 210 cells: whether a cell's bits are those that it has alone
    tests       tests/training/steps/test_gpu.py, with pytest
    sanitizer   compute-sanitizer on three steps
    copies      bandwidth on the device and to the host; a batched product of 420 x (32 x 128) x (128 x 128)
    profile     the kernels of a step of 210 cells, beside what memory traffic allows
    speed       packs, one by one, several at once and in turn, the tight loop and k concurrent processes of it, in
                windows of five seconds
    sweep       two epochs of 210 cells with one SIGTERM, extrapolated to 50 epochs

Each part is a process of its own, which is ended after its seconds (LIMITS): one that hangs, or loses the GPU, takes no
other with it, and what it had found until then is kept. The files are written after each part, and parts of an earlier
call stay in them. The exit status is 1 if a part has failed. Without a GPU nothing runs; --rehearse goes through the
parts on the CPU at tiny size, and its numbers say nothing.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu_task import minutes, run_task
from benchmarks.loops import BATCH, tight_loop
from benchmarks.packs import GFLOP_PER_STEP, ROWS, make_pack, settings_of, steps_of
from training.loop.device import prepare
from training.loop.pack import Pack
from training.model.tables import Tables, make_tables
from training.shapes.dataset import generate, load

ROOT = Path(__file__).parents[1]
# Seconds after which a part is ended: several times what each is expected to take. All of them fit into 15 minutes with
# the start of a machine, and those of each call in docs/performance.md into 10.
LIMITS = {"equal": 75, "tests": 120, "sanitizer": 120, "copies": 45, "profile": 40, "speed": 200, "sweep": 180}
# Modules, beside those that training itself needs.
NEEDS = {"tests": ("pytest", "pydantic"), "sweep": ("msgspec", "pydantic", "safetensors", "yaml")}
EPOCHS, SWEEP_EPOCHS = 50, 2
# Where CUDA's programs are, if not on the search path.
CUDA_PROGRAMS = "/usr/local/cuda/bin"
# In the names of torch's kernels, where they say nothing of what is computed.
COMMON_WORDS = re.compile(
    "at|native|c10|std|detail|binary_internal|lambda|operator|const|unsigned|int|long|float|double|char|bool|array|"
    "TensorIterator(Base)?|gpu_kernel_impl(_nocast)?|FusedOptimizerTensorListMetadata|ReduceOp|BinaryFunctor|"
    "func_wrapper_t|Scalar(Type)?"
)
# Bytes of memory traffic per parameter and step, the least there can be: gradients written and read, parameters and
# both moments read and written, weights read forward and back.
BYTES_PER_PARAMETER = 4 * (2 + 6 + 2)

Found = Iterator[tuple[str, Any]]


@dataclass(frozen=True)
class Size:
    """How much of everything. packs: widths that are compared. widths: those that are timed. at_once: into how many
    packs the cells of the widest are cut. visit: steps of a pack before the next one's turn. window_s: of each
    measurement. rows: of the sweep's data. stop_s: from its first step to its SIGTERM."""

    device: str
    packs: tuple[int, ...]
    widths: tuple[int, ...]
    at_once: tuple[int, ...]
    visit: int
    processes: tuple[int, ...]
    window_s: float
    rows: int
    steps: int
    megabytes: int
    stop_s: float


REAL = Size(
    device="cuda",
    packs=(1, 7, 8, 16, 209, 210),
    widths=(1, 8, 30, 210),
    at_once=(2, 4, 7),
    visit=128,
    processes=(1, 2, 4, 8),
    window_s=5.0,
    rows=500_000,
    steps=20,
    megabytes=1024,
    stop_s=25.0,
)
TINY = Size(
    device="cpu",
    packs=(1, 2, 3),
    widths=(1, 3),
    at_once=(3,),
    visit=4,
    processes=(2,),
    window_s=0.05,
    rows=20_000,
    steps=3,
    megabytes=4,
    stop_s=0.3,
)


class Bench:
    """The parts, each as what it finds one after another. directory: has the data that most of them train on."""

    def __init__(self, size: Size, directory: Path) -> None:
        self.size, self.directory = size, directory
        self.data = directory / "data"

    @cached_property
    def device(self) -> torch.device:
        return prepare(self.size.device, 1)

    @cached_property
    def tables(self) -> Tables:
        return make_tables(load(self.data), standardize=False, device=self.device)

    def pack(self, cells: int) -> Pack:
        return make_pack(settings_of(self.data), self.tables, self.device, cells, False, 1)

    def equal(self) -> Found:
        """Per width: how many of the cells of a pack have the bits that they have alone, after some steps."""
        alone: dict[int, bytes] = {}
        for width in self.size.packs:
            pack = self.pack(width)
            self._train(pack, self.size.steps)
            mine = [bytes(row.cpu().numpy()) for row in pack.state.parameters]
            chosen = {0, width // 2, width - 1}
            for seed in chosen - alone.keys():
                alone[seed] = self._alone(seed)
            yield f"P = {width}", {"cells compared": len(chosen), "equal": sum(mine[n] == alone[n] for n in chosen)}

    def _alone(self, seed: int) -> bytes:
        pack = self.pack(seed + 1).keep([seed])
        self._train(pack, self.size.steps)
        return bytes(pack.state.parameters[0].cpu().numpy())

    def _train(self, pack: Pack, steps: int) -> None:
        for indices in pack.batches(pack.step + steps):
            pack.train(indices)

    def tests(self) -> Found:
        """Without tests/conftest.py, which needs the whole toolkit, and whatever versions of libraries warn of."""
        options = ["-rs", "-W", "default", "-p", "no:cacheprovider", "--confcutdir", "tests/training"]
        chosen = ["-k", "not emulated", "tests/training/steps/test_gpu.py"]
        yield from called([sys.executable, "-m", "pytest", *options, *chosen])

    def sanitizer(self) -> Found:
        program = shutil.which("compute-sanitizer") or shutil.which("compute-sanitizer", path=CUDA_PROGRAMS)
        if program is None and self.size is REAL:
            yield "skipped", f"compute-sanitizer is neither on the search path nor in {CUDA_PROGRAMS}"
            return
        steps = [sys.executable, "-m", "benchmarks.gpu", "--three-steps", str(self.data), "--device", self.size.device]
        yield from called([program, "--error-exitcode", "9", *steps] if program else steps)

    def copies(self) -> Found:
        """GB/s, and TFLOP/s of the product."""
        count = self.size.megabytes * 250_000
        source, target = (torch.zeros(count, device=self.device) for _ in range(2))
        pageable, pinned = torch.empty(count), torch.empty(count, pin_memory=self.size is REAL)
        a, b = (torch.randn(420, *shape, device=self.device) for shape in ((32, 128), (128, 128)))
        c = torch.empty(420, 32, 128, device=self.device)
        gigabytes = 4e-9 * count
        yield "on the device, read and written, GB/s", 2 * gigabytes / self.seconds(lambda: target.copy_(source))
        yield "to ordinary memory, GB/s", gigabytes / self.seconds(lambda: pageable.copy_(source), at_once=1)
        yield "to pinned memory, GB/s", gigabytes / self.seconds(lambda: pinned.copy_(source), at_once=1)
        seconds = self.seconds(lambda: torch.bmm(a, b, out=c), at_once=self.size.visit)
        yield "bmm 420 x 32 x 128 x 128, TFLOP/s", 420 * 2e-12 * 32 * 128**2 / seconds

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

    def profile(self) -> Found:
        """Microseconds of each kernel in a step of the widest pack, and the least traffic and products there are."""
        pack, steps = self.pack(max(self.size.packs)), 2 * self.size.steps
        self._train(pack, 3)
        self.wait()
        cuda = self.device.type == "cuda"
        with profile(activities=[ProfilerActivity.CUDA if cuda else ProfilerActivity.CPU]) as seen:
            self._train(pack, steps)
            self.wait()
        name = "self_device_time_total" if cuda else "self_cpu_time_total"
        kernels: dict[str, list[float]] = {}
        for event in seen.key_averages():
            if getattr(event, name) > 0:
                found = kernels.setdefault(short_name(event.key), [0.0, 0.0])
                found[0] += getattr(event, name) / steps
                found[1] += event.count / steps
        if not kernels:
            raise RuntimeError("the profiler saw no kernel; the driver may keep its counters to administrators")
        yield "cells", len(pack.members)
        yield "least traffic, MB a step", 1e-6 * BYTES_PER_PARAMETER * pack.state.parameters.numel()
        yield "products, GFLOP a step", GFLOP_PER_STEP * len(pack.members)
        yield "all kernels, us a step", sum(us for us, _ in kernels.values())
        yield "kernels and copies on the device a step", sum(count for _, count in kernels.values())
        for kernel, (us, count) in sorted(kernels.items(), key=lambda item: -item[1][0])[:25]:
            yield kernel, {"us a step": us, "calls a step": count}

    def speed(self) -> Found:
        """Microseconds per step of one cell."""
        for cells in self.size.widths:
            yield f"pack of {cells}", 1e6 * self._loop(steps_of(self.pack(cells))) / cells
        for count in self.size.at_once:
            yield from self._several(count)
        yield "tight loop", 1e6 * self._loop(tight_loop(load(self.data).train, self.size.device))
        for count in self.size.processes:
            yield f"tight loop, {count} processes", self._processes(count)

    def _several(self, count: int) -> Found:
        """The cells of the widest pack in so many packs: at once, each in its lane, and one after another."""
        cells, steps = max(self.size.packs) // count, self.size.visit
        packs = [self.pack(cells) for _ in range(count)]

        def visit(wait: Callable[[], None]) -> None:
            for pack in packs:
                self._train(pack, steps)
                wait()

        for how, wait in (("at once", lambda: None), ("in turn", self.wait)):
            seconds = self.seconds(partial(visit, wait), at_once=1)
            yield f"{count} packs of {cells} {how}", 1e6 * seconds / steps / cells / count

    def _loop(self, loop: Iterator[None]) -> float:
        # As many steps as steps_of hands over between two looks, so that groups are alike.
        return self.seconds(lambda: next(loop), at_once=self.size.visit)

    def _processes(self, count: int) -> float:
        """Microseconds per step of one of the cells that so many processes train, begun together."""
        command = [sys.executable, "-m", "benchmarks.loops", "--data", str(self.data), "--device", self.size.device]
        command += ["--seconds", str(self.size.window_s)]
        pipe = subprocess.PIPE
        running = [subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) for _ in range(count)]
        ready = [process.stdout.readline() for process in running]
        if not all(ready):
            raise RuntimeError(f"{ready.count('')} of {count} processes of the tight loop ended before they were ready")
        for process in running:
            process.stdin.write("\n")
            process.stdin.flush()
        return 1 / sum(1 / json.loads(process.communicate()[0])["us"] for process in running)

    def sweep(self) -> Found:
        """Two epochs of the widest pack as tasks train them, stopped once, and how long a whole sweep would take."""
        from benchmarks.checkpoints import recorded

        cells, directory = max(self.size.packs), self.directory / "sweep"
        data = generated(self.directory / "sweep-data", self.size.rows)
        store, sweep = recorded(data, directory, cells, SWEEP_EPOCHS)
        tasks = [self._task(directory, stop) for stop in (True, False)]
        yield "cells", cells
        yield "finished", sum(store.result(cell) is not None for cell in sweep.grid)
        for name in ("exit status", "seconds to the first step", "seconds from there on", "steps of a cell"):
            yield f"{name}, stopped and resumed", [task[name] for task in tasks]
        for kind in dict.fromkeys(kind for task in tasks for kind in task["seconds"]):
            yield f"seconds of {kind}, stopped and resumed", [task["seconds"].get(kind, 0.0) for task in tasks]
        whole = minutes(tasks, cells, SWEEP_EPOCHS, self.size.rows // BATCH, EPOCHS)
        yield f"minutes of training for {EPOCHS} epochs, extrapolated", whole

    def _task(self, directory: Path, stop: bool) -> dict[str, Any]:
        command = [sys.executable, "-m", "benchmarks.gpu", "--task", str(directory), "--device", self.size.device]
        started = time.monotonic()
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as task:
            assert task.stdout is not None
            if not task.stdout.readline():
                raise RuntimeError(f"a task ended with status {task.wait()} before its first step")
            begun = time.monotonic()
            if stop:
                time.sleep(self.size.stop_s)
                task.send_signal(signal.SIGTERM)
            said = task.stdout.read()
        ended = time.monotonic()
        measured = json.loads(said.splitlines()[-1])
        times = {"seconds to the first step": begun - started, "seconds from there on": ended - begun}
        return {"exit status": task.returncode, **times, **measured}


def short_name(kernel: str) -> str:
    """A kernel's name without what many have in common, so that it fits into a table and shows what it computes."""
    template, _, given = kernel.removeprefix("void ").replace("(anonymous namespace)", "").partition("<")
    words = dict.fromkeys(word for word in re.findall(r"[A-Za-z_]\w+", given) if not COMMON_WORDS.fullmatch(word))
    name = template.partition("(")[0].removeprefix("at::native::").strip(":").partition("_stage")[0]
    return " ".join([name, *list(words)[:3]])


def called(command: Sequence[str]) -> Found:
    """How a program ended, and what it said last: more of it where it failed."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    lines = (done.stdout + done.stderr).strip().splitlines()
    yield "exit status", done.returncode
    yield "last lines", lines[-40 if done.returncode else -5 :]


def generated(directory: Path, rows: int) -> Path:
    generate(directory, train=rows, val=rows // 10, test=100, seed=1, latents="mixed")
    return directory


def three_steps(data: Path, device: str) -> int:
    where = prepare(device, 1)
    pack = make_pack(settings_of(data), make_tables(load(data), standardize=False, device=where), where, 8, False, 1)
    for indices in pack.batches(3):
        pack.train(indices)
    print(f"sum of the parameters after three steps: {float(pack.state.parameters.sum())}")
    return 0


def one_part(name: str, size: Size, directory: Path) -> int:
    """Print what a part finds, a line each as soon as it is known. Returns an exit code."""
    try:
        for what, value in getattr(Bench(size, directory), name)():
            print(json.dumps([what, value]), flush=True)
    except Exception as error:
        traceback.print_exc()
        print(json.dumps(["failed", " ".join(f"{type(error).__name__}: {error}".split())]), flush=True)
        return 1
    return 0


def found_by(part: str, words: Sequence[str], limit_s: float) -> dict[str, Any]:
    """What a part finds in a process of its own; first of all `failed`, if it came to no good end."""
    with tempfile.TemporaryFile("w+") as lines:
        command = [sys.executable, "-m", "benchmarks.gpu", "--part", part, *words]
        child = subprocess.Popen(command, cwd=ROOT, stdout=lines, process_group=0)
        trouble = {}
        try:
            if child.wait(limit_s):
                trouble = {"failed": f"its process ended with status {child.returncode}"}
        except subprocess.TimeoutExpired:
            trouble = {"failed": f"it was not done after {limit_s:g} s"}
        finally:
            if child.poll() is None:  # with all that it has started
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
        lines.seek(0)
        found = dict(json.loads(line) for line in lines if line.endswith("\n"))  # one that was killed may end within
    return trouble | found


def missing(parts: Sequence[str]) -> list[str]:
    """Modules that these parts need and that are not there."""
    needed = dict.fromkeys(name for part in parts for name in NEEDS.get(part, ()))
    return [name for name in needed if importlib.util.find_spec(name) is None]


def name_of(device: str) -> str:
    chosen = torch.cuda.get_device_name() if device == "cuda" else f"no GPU: a rehearsal on {platform.machine()}"
    return f"{chosen}; Python {platform.python_version()}, torch {torch.__version__}, CUDA {torch.version.cuda}"


def table(found: dict[str, Any]) -> str:
    lines = [f"# {found['machine']}", ""]
    for part in (part for part in LIMITS if part in found):
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
    parser.add_argument("--parts", default=",".join(LIMITS), help="comma-separated")
    parser.add_argument("--json", type=Path, default=Path("gpu.json"))
    parser.add_argument("--markdown", type=Path, default=Path("gpu.md"))
    parser.add_argument("--rehearse", action="store_true", help="on the CPU, at tiny size")
    for inner in ("--part", "--directory", "--task", "--three-steps"):
        parser.add_argument(inner, help=argparse.SUPPRESS)
    parser.add_argument("--device", default="cuda", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    size = TINY if arguments.rehearse else REAL
    if arguments.part:
        return one_part(arguments.part, size, Path(arguments.directory))
    if arguments.task:
        return run_task(Path(arguments.task), arguments.device)
    if arguments.three_steps:
        return three_steps(Path(arguments.three_steps), arguments.device)
    parts = arguments.parts.split(",")
    if unknown := [part for part in parts if part not in LIMITS]:
        parser.error(f"--parts: {unknown[0]!r} is none of {', '.join(LIMITS)}")
    if not arguments.rehearse and not torch.cuda.is_available():
        print(
            "benchmarks.gpu: no CUDA device here, so nothing was measured; --rehearse goes through the parts on a CPU"
        )
        return 0
    if lacking := missing(parts):
        without = ",".join(part for part in parts if not missing([part]))
        names = ", ".join(lacking)
        parser.error(f"these modules are missing: {names}; install them, or leave out with --parts {without}")
    return run(parts, size, arguments)


def run(parts: Sequence[str], size: Size, arguments: argparse.Namespace) -> int:
    found: dict[str, Any] = {"machine": name_of(size.device)}
    if arguments.json.exists() and json.loads(arguments.json.read_text()).get("machine") == found["machine"]:
        found = json.loads(arguments.json.read_text())
    print(found["machine"], flush=True)
    with tempfile.TemporaryDirectory() as name:
        generated(Path(name) / "data", ROWS)
        words = ["--directory", name, *(["--rehearse"] if arguments.rehearse else [])]
        for part in parts:
            started = time.monotonic()
            # Of a rehearsal nobody counts the minutes, and the machine may have other work.
            found[part] = found_by(part, words, LIMITS[part] * (10 if arguments.rehearse else 1))
            arguments.json.write_text(json.dumps(found, indent=2) + "\n")
            arguments.markdown.write_text(table(found))
            print(f"{part}: {time.monotonic() - started:.0f} s", found[part].get("failed", ""), flush=True)
    print(table(found))
    return int(any(found[part].get("failed") or found[part].get("exit status") for part in parts))


if __name__ == "__main__":
    sys.exit(main())
