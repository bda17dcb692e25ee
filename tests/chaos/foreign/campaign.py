"""Mutated sweep directories under every command that reads one: a line, an exit code, and nothing done outside.

PYTHONPATH=tests python -m chaos.foreign.campaign [--seed S] [--mutations N] [--minutes M] [--workers W] [--only NUMBER]
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import shutil
import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from ..attempts import scratch
from . import sweeps
from .aimed import AIMS
from .commands import COMMANDS, OWN
from .findings import Findings
from .reading import Reader
from .strikes import Striker

_CHUNK = 20  # mutations that a worker makes before it says what it found
_REPORT_SECONDS = 20.0


@contextlib.contextmanager
def striker(directory: Path, seed: int) -> Iterator[Striker]:
    """Whoever mutates and reads, in a directory of its own below that of the bases."""
    place = directory / f"worker-{os.getpid()}"
    place.mkdir()
    bases = {kind: directory / "bases" / kind for kind in sweeps.KINDS}
    with Reader(place, [place / "case", directory / "bases"], _first(bases, place)) as reading:
        yield Striker(place, reading, bases, seed)


def _first(bases: Mapping[str, Path], place: Path) -> list[list[str]]:
    """Every command once, on directories that are as they were."""
    copies = {kind: shutil.copytree(base, place / "first" / kind) for kind, base in bases.items()}
    cell = next((bases["finished"] / "individual_results").iterdir()).name
    meant = {"OUT": str(copies["finished"]), "CELL": cell, "WHOLE": str(copies["half_finished"])}
    return [[meant.get(word, word) for word in command.words] for command in COMMANDS if command.only in ("", OWN)]


def campaign(
    seed: int, numbers: Sequence[int], workers: int = 1, minutes: float = 1e9, say: Callable[[str], None] = print
) -> Findings:
    """Mutate directories and read them. numbers: of the mutations. say: is told of progress, and of every new fault."""
    findings, began = Findings(), time.monotonic()
    told = began
    with scratch() as directory:
        sweeps.make_all(directory / "bases")
        with contextlib.closing(_found(directory, seed, numbers, workers)) as found:
            for more in found:
                for kind in more.first.keys() - findings.first.keys():
                    say(f"FAULT {kind}\n    {more.first[kind]}")
                findings.add(more)
                now = time.monotonic()
                if now - told > _REPORT_SECONDS:
                    told = now
                    say(f"{now - began:5.0f} s: {findings.summary()}")
                if now - began > 60 * minutes:
                    break
    return findings


def aimed() -> Findings:
    """Every change that is aimed at some commands, once."""
    findings = Findings()
    with scratch() as directory:
        sweeps.make_all(directory / "bases")
        with striker(directory, 0) as striking:
            for name in AIMS:
                findings.add(striking.aim(name))
    return findings


def _found(directory: Path, seed: int, numbers: Sequence[int], workers: int) -> Generator[Findings, None, None]:
    """What each of a few mutations after another shows, in any order."""
    if workers == 1:
        with striker(directory, seed) as striking:
            yield from map(striking.strike, numbers)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _begin, (directory, seed)) as pool:
        chunks = [numbers[start : start + _CHUNK] for start in range(0, len(numbers), _CHUNK)]
        try:
            for done in as_completed([pool.submit(_strike, chunk) for chunk in chunks]):
                yield done.result()
        finally:
            pool.shutdown(cancel_futures=True)


_striking: list[Striker] = []
_opened = contextlib.ExitStack()


def _begin(directory: Path, seed: int) -> None:
    """In a worker: its reader lives as long as it does."""
    _striking.append(_opened.enter_context(striker(directory, seed)))


def _strike(numbers: Sequence[int]) -> Findings:
    """In a worker."""
    findings = Findings()
    for number in numbers:
        findings.add(_striking[0].strike(number))
    return findings


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=20_267)
    parser.add_argument("--mutations", type=int, default=10_000)
    parser.add_argument("--start", type=int, default=0, help="number of the first mutation")
    parser.add_argument("--minutes", type=float, default=1e9)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", type=int, nargs="+", help="numbers of mutations, to see them again")
    given = parser.parse_args()
    numbers = given.only or range(given.start, given.mutations)
    findings = campaign(given.seed, numbers, given.workers, given.minutes, lambda text: print(text, flush=True))
    print(findings)
    return 1 if findings.faults else 0


if __name__ == "__main__":
    sys.exit(main())
