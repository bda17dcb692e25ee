"""Mutated sweep directories under every command that reads one: a line, an exit code, and nothing done outside.

PYTHONPATH=tests python -m chaos.foreign.campaign [--seed S] [--mutations N] [--minutes M] [--only NUMBER]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..attempts import ROOT, scratch
from . import reader, sweeps
from .mutations import mutate

# Words of each command: `out` is the mutated directory, `whole` one that is as it was. Rare ones take their time.
COMMANDS: dict[str, tuple[tuple[str, ...], float]] = {
    "status": (("status", "out"), 5),
    "status --json": (("status", "out", "--json"), 2),
    "plan": (("plan", "out"), 4),
    "plan --target-halfwidth": (("plan", "out", "--target-halfwidth", "0.1"), 2),
    "show": (("show", "out", "CELL"), 4),
    "show --json": (("show", "out", "CELL", "--json"), 2),
    "show --log": (("show", "out", "CELL", "--log"), 2),
    "compare": (("compare", "out", "whole"), 2),
    "compare, the other way": (("compare", "whole", "out"), 1),
    "cancel": (("cancel", "out", "-y"), 2),
    "tables": (("tables", "out"), 1.5),
    "aggregate": (("aggregate", "out", "--partial"), 0.5),
    "wandb sync": (("wandb", "sync", "out"), 0.2),
    "submit --dry-run": (("submit", "out", "--dry-run", "--profile", "local"), 1),
    "run --analyze-only": (("run", "out", "--analyze-only"), 0.3),
}
# What is wrong outside the directory: no Slurm here, no login for W&B, a word of the command line.
_ELSEWHERE = re.compile(r"cannot be asked from here|API key|command line|squeue not found")
_EXPECTED = {0, 2, 3, 4}
_CALLS_PER_MUTATION = 4
_COMPARE = ROOT / "hpc" / "cli" / "compare.py"


@dataclass
class Findings:
    """mutations, calls: how many. faults: what must not be, by kind; each with where it was seen first."""

    mutations: int = 0
    calls: int = 0
    codes: Counter[int] = field(default_factory=Counter)
    faults: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    slowest: float = 0.0
    seconds: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        lines = [
            f"{self.mutations} mutations, {self.calls} calls, exit codes {dict(sorted(self.codes.items()))}, "
            f"slowest {self.slowest:.1f} s",
            ", ".join(f"{name} {seconds:.0f} s" for name, seconds in self.seconds.most_common()),
        ]
        for kind, seen in sorted(self.faults.items(), key=lambda entry: -len(entry[1])):
            lines += [f"{len(seen)} x {kind}", f"    {seen[0]}"]
        return "\n".join(lines)


class Reader:
    """The client of reader.py."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        for name in ("cwd", "tmp", "nothing"):
            (directory / name).mkdir(exist_ok=True)
        environment = {
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOME": str(directory / "tmp"),
            "TMPDIR": str(directory / "tmp"),
            "PATH": str(directory / "nothing"),
            "LC_ALL": "C.UTF-8",
            "HOLDFAST_SANDBOX": "/nonexistent",
            "MPLCONFIGDIR": str(directory / "tmp"),
            "NO_COLOR": "1",
            **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ARROW_NUM_THREADS"), "1"),
            "WANDB_API_KEY": "",
            "WANDB_MODE": "offline",
            "PYTHONFAULTHANDLER": "1",
        }
        command = [sys.executable, "-P", str(Path(reader.__file__))]
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=directory
        )

    def call(self, words: list[str]) -> dict[str, Any]:
        """Run a command in a child; see reader.py."""
        inside = [str(self._directory / name) for name in ("case/out", "tmp", "log", "cwd")]
        order = {"words": words, "inside": inside, "owned": str(self._directory / "case"), "cwd": inside[-1]}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order | {"log": inside[2]}) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def close(self) -> None:
        self._process.communicate()  # closes its input, at which it ends


@contextlib.contextmanager
def readers() -> Iterator[tuple[Path, Reader, dict[str, Path]]]:
    """A directory in memory, the reader that works in it, and the directories to mutate, by kind."""
    with scratch() as directory:
        bases = sweeps.make_all(directory / "bases")
        reading = Reader(directory)
        try:
            yield directory, reading, bases
        finally:
            reading.close()


def campaign(seed: int, mutations: int, minutes: float = 1e9, only: int | None = None) -> Findings:
    """Mutate directories and read them. only: the number of one mutation, to see it again."""
    findings, began = Findings(), time.monotonic()
    with readers() as (directory, reading, bases):
        for number in range(mutations) if only is None else [only]:
            if time.monotonic() - began > 60 * minutes:
                break
            _strike(directory, reading, bases, random.Random(f"{seed} {number}"), findings, f"seed {seed}, {number}")
    return findings


def _strike(
    directory: Path,
    reading: Reader,
    bases: dict[str, Path],
    generator: random.Random,
    findings: Findings,
    label: str,
) -> None:
    case = directory / "case"
    kind = generator.choices(list(bases), (6, 8, 1, 1))[0]
    shutil.copytree(bases[kind], case / "out", symlinks=True, copy_function=shutil.copyfile)
    shutil.copytree(bases[kind], case / "whole", symlinks=True, copy_function=os.link)
    canary = case / "outside" / "canary"
    canary.parent.mkdir()
    canary.write_text('{"cells": {}, "revisions": []}\n')
    said = [mutate(case / "out", canary, generator) for _ in range(generator.choice((1, 1, 1, 2, 3)))]
    before = _picture(case, ("outside", "whole"))
    findings.mutations += 1
    known = {name: entry for name, entry in COMMANDS.items() if entry[0][0] != "compare" or _COMPARE.is_file()}
    names, weights = list(known), [weight for _, weight in known.values()]
    cells = _names(bases[kind])
    for name in dict.fromkeys(generator.choices(names, weights, k=_CALLS_PER_MUTATION)):
        words = [_word(word, case, cells, generator) for word in COMMANDS[name][0]]
        answer = reading.call(words)
        findings.calls += 1
        findings.codes[answer["code"]] += 1
        findings.seconds[name] += answer["seconds"]
        findings.slowest = max(findings.slowest, answer["busy"])
        for fault in _faults(answer, case, before):
            findings.faults[fault].append(f"{label} ({kind}): {'; '.join(said)}: {name}\n{_end(answer['text'])}")
    for path in [case, *case.rglob("*")]:
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)
    shutil.rmtree(case)


def _names(base: Path) -> list[str]:
    found = base / "individual_results"
    return sorted(path.name for path in found.iterdir())[:20] if found.is_dir() else ["none"]


def _word(word: str, case: Path, cells: list[str], generator: random.Random) -> str:
    if word == "CELL":
        return generator.choice(cells)
    return str(case / word) if word in ("out", "whole") else word


def _picture(case: Path, names: tuple[str, ...]) -> dict[str, Any]:
    """Everything that no call may change: kind, size, time stamp."""
    return {
        str(path): (found.st_mode, found.st_size, found.st_mtime_ns)
        for name in names
        for path in [case / name, *(case / name).rglob("*")]
        for found in [path.lstat()]
    }


def _faults(answer: dict[str, Any], case: Path, before: dict[str, Any]) -> Iterator[str]:
    """What must not be, in words that are the same for faults of one kind."""
    text, code = answer["text"], answer["code"]
    if "Traceback (most recent call last)" in text or code not in _EXPECTED:
        yield f"exit {code}, {_origin(text)}"
    elif answer["busy"] > reader.MOST_SECONDS:
        yield f"{answer['busy']:.0f} s".rjust(4)
    elif code in (2, 3) and str(case) not in text and not _ELSEWHERE.search(text):
        yield f"exit {code} without a path: {text[:100]!r}"
    for line in answer["outside"]:
        yield re.sub(r"[0-9a-f]{32}|away-[0-9]+|/dev/shm/[^/]+", "_", line)
    if _picture(case, ("outside", "whole")) != before:
        yield "changed something outside"


def _origin(text: str) -> str:
    """Type of the exception and the last of our lines that it came through."""
    ours = re.findall(r'File "[^"]*/((?:hpc|aggregate|training)/[^"]+)", line (\d+), in (\S+)', text)
    last = text.strip().splitlines()[-1:] or [""]
    where = "{}:{} {}".format(*ours[-1]) if ours else ""
    return f"{last[0].partition(':')[0]} in {where}"


def _end(text: str) -> str:
    return "\n".join(f"      {line[:200]}" for line in text.strip().splitlines()[-6:])


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=20_267)
    parser.add_argument("--mutations", type=int, default=10_000)
    parser.add_argument("--minutes", type=float, default=1e9)
    parser.add_argument("--only", type=int)
    arguments = parser.parse_args()
    findings = campaign(arguments.seed, arguments.mutations, arguments.minutes, arguments.only)
    print(findings)
    return 1 if findings.faults else 0


if __name__ == "__main__":
    sys.exit(main())
