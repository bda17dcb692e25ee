"""Damaged checkpoints between two attempts: cut short, with flipped bits, with broken headers, emptied, swapped."""

from __future__ import annotations

import random
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from .attempts import ForkServer, Hold
from .bench import OPTIONS, Bench

Damage = Callable[[bytes, random.Random], bytes]


def cut(data: bytes, generator: random.Random) -> bytes:
    return data[: generator.randrange(len(data))]


def flip(data: bytes, generator: random.Random) -> bytes:
    at = generator.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << generator.randrange(8)]) + data[at + 1 :]


def flip_in_arrays(data: bytes, generator: random.Random) -> bytes:
    """One bit of a number: the file reads well, its content is wrong."""
    at = len(data) - 1 - generator.randrange(64)
    return data[:at] + bytes([data[at] ^ 1 << generator.randrange(8)]) + data[at + 1 :]


def break_header(data: bytes, generator: random.Random) -> bytes:
    return generator.randbytes(22) + data[22:]


def zeros(data: bytes, generator: random.Random) -> bytes:
    at = generator.randrange(len(data))
    return data[:at] + bytes(len(data) - at)


DAMAGES: tuple[Damage, ...] = (cut, flip, flip_in_arrays, break_header, zeros)


def campaign(directory: Path, server: ForkServer, seed: int, rounds: int) -> Counter[str]:
    """Damage the newest, or both, generations of a stopped cell, and let it go on. Returns what was counted."""
    generator = random.Random(seed)
    counts: Counter[str] = Counter()

    def make(root: Path) -> Bench:
        return Bench.make(root, factors={"width": [2]}, runs=rounds, options=OPTIONS)

    bench, calm = make(directory / "damaged"), make(directory / "calm")
    calm.run_all(server)
    for task in range(rounds):
        hold = Hold.at(directory / f"hold-{task}", generator.randrange(7, 30))
        attempt = bench.start(server, task, environment=hold.environment)
        [cell] = bench.tasks[task]
        pack = task * 2 + 1
        hold.reached(attempt)
        assert len(bench.store.paths.generations(pack)) == 2
        attempt.signal(signal.SIGKILL)
        attempt.wait()
        damage = DAMAGES[task % len(DAMAGES)]
        both = generator.random() < 0.3
        for path in bench.store.paths.generations(pack)[: 2 if both else 1]:
            path.write_bytes(damage(path.read_bytes(), generator))
            counts["files damaged"] += 1
        code = bench.start(server, task).wait()
        assert code == 0, f"{cell.name}: after {damage.__name__} the task ended with {code}: {bench.text(task)}"
        aside = len(list(bench.store.paths.pack_directory(pack).glob("*.corrupt-*")))
        assert aside >= 1, f"{cell.name}: a checkpoint damaged by {damage.__name__} was accepted"
        counts["set aside"] += aside
        for path in bench.store.paths.pack_directory(pack).glob("*.corrupt-*"):
            path.unlink()
    bench.check_equal(calm)
    return counts
