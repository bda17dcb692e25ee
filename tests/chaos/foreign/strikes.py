"""One mutated directory under a few commands: what may come of it, and what must not."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers.users import ALICE, give

from . import reader
from .aimed import AIMS, swapping
from .commands import COMMANDS, FOREIGN, OWN, SHARED, Command
from .findings import Findings
from .mutations import listed, mutate
from .reader import Answer
from .reading import Reader, several_users

# What is wrong outside the directory: no Slurm here, no login for W&B, a word of the command line.
_ELSEWHERE = re.compile(r"cannot be asked from here|API key|command line|squeue not found")
_EXPECTED = {0, 2, 3, 4}
_AIMED = 0.1  # of all mutations
_CALLS = 3  # per mutation, at most
_FRESH_EVERY = 80  # mutations
_TRACED = 3.0  # times as slow
WAITED = "waited for more than 5 s"
_KINDS = {"finished": 6, "half_finished": 8, "large": 1, "former": 1}
_OWNERS = {OWN: 6, FOREIGN: 3, SHARED: 1}


@dataclass(frozen=True)
class Striker:
    """place: a directory of its own. bases: the directories to mutate, by kind. seed: with a number, of all chance."""

    place: Path
    reading: Reader
    bases: Mapping[str, Path]
    seed: int

    @property
    def _case(self) -> Path:
        return self.place / "case"

    @property
    def _new(self) -> Path:
        """Where a command may make a directory of its own, see Reader."""
        return self.place / "cwd" / "new"

    @property
    def _bases(self) -> set[str]:
        return {str(base) for base in self.bases.values()}

    @property
    def _canary(self) -> Path:
        return self._case / "outside" / "canary"

    def strike(self, number: int) -> Findings:
        """Make the directory of this number, call commands on it, and remove it."""
        return if_it_waits_again(lambda: self._strike(number))

    def aim(self, name: str) -> Findings:
        """Make the directory of a change that is aimed at some commands, call these, and remove it."""
        return if_it_waits_again(lambda: self._aim(name))

    def _strike(self, number: int) -> Findings:
        generator, findings = random.Random(f"{self.seed} {number}"), Findings()
        if generator.random() < _AIMED:
            return self._aim(generator.choice(list(AIMS)), f"seed {self.seed}, {number}: ")
        kind, owner = (generator.choices(list(known), list(known.values()))[0] for known in (_KINDS, _OWNERS))
        if not several_users():
            owner = OWN
        said = self._make(kind, owner, generator)
        findings.bases[f"{kind}, {owner}"] += 1
        names = sorted(path.name for path in (self.bases[kind] / "individual_results").iterdir())[:20]
        for place, command in enumerate(_drawn(owner, generator)):
            fresh = place == 0 and number % _FRESH_EVERY == 0
            words = [self._word(word, kind, names, generator) for word in command.words]
            label = f"seed {self.seed}, {number} ({kind}, {owner}): {'; '.join(said)}: {command}"
            self._call(command, words, fresh, label, findings)
        _remove(self._case)
        return findings

    def _aim(self, name: str, label: str = "") -> Findings:
        aim, findings = AIMS[name], Findings()
        cells = sorted(path.name for path in (self.bases[aim.kind] / "individual_results").iterdir())
        for words in aim.commands:
            self._copy(aim.kind, "-a")
            aim.change(self._case / "out", cells[0], self._canary.parent)
            meant = [self._word(word, aim.kind, cells[:1], random.Random()) for word in words]
            folder = self._case / "out" / aim.swapped.replace("CELL", cells[0])
            with swapping(folder, self._canary.with_name(Path(aim.swapped).name)) if aim.swapped else nullcontext():
                self._call(Command(words, 1), meant, False, f"{label}{name} ({aim.kind}): {' '.join(words)}", findings)
            _remove(self._case)
        findings.bases[f"{aim.kind}, aimed"] += 1
        return findings

    def _copy(self, kind: str, option: str) -> None:
        self._canary.parent.mkdir(parents=True)
        subprocess.run(["cp", option, self.bases[kind], self._case / "out"], check=True)
        self._canary.write_text('{"cells": {}, "revisions": []}\n')

    def _make(self, kind: str, owner: str, generator: random.Random) -> list[str]:
        """Returns what was changed."""
        out = self._case / "out"
        # With time stamps, so that caches are believed, or without, so that everything is read again.
        self._copy(kind, generator.choice(("-a", "-r")))
        said = [mutate(out, self._canary, generator) for _ in range(generator.choice((1, 1, 1, 2, 3)))]
        if owner != OWN:
            give(out, ALICE, os.getgid())
        if owner == SHARED:
            _share(out)
        return said

    def _call(self, command: Command, words: Sequence[str], fresh: bool, label: str, findings: Findings) -> None:
        untouched = [self._canary.parent, *(Path(word) for word in words if word in self._bases)]
        before = _picture(untouched)
        answer = self.reading.call(words, fresh)
        findings.calls[str(command)] += 1
        findings.traced += fresh
        findings.codes[answer.code] += 1
        findings.milliseconds[str(command)] += round(1000 * answer.busy)
        findings.slowest = max(findings.slowest, answer.busy / (_TRACED if fresh else 1))
        findings.largest = max(findings.largest, answer.bytes)
        if answer.code in (2, 3):
            findings.refusals[self._refusal(answer)] += 1
        changed = [] if _picture(untouched) == before else ["changed something outside"]
        shutil.rmtree(self._new, ignore_errors=True)
        for fault in (*faults_of(answer, self.place.parent, fresh), *changed):
            findings.fault(fault, f"{label}\n{_end(answer.text)}")

    def _word(self, word: str, kind: str, names: Sequence[str], generator: random.Random) -> str:
        match word:
            case "OUT":
                return str(self._case / "out")
            case "WHOLE":
                return str(self.bases[kind])
            case "NEW":
                return str(self._new)
            case "CELL":
                return generator.choice(names)
        return word

    def _refusal(self, answer: Answer) -> str:
        """The line with the path, without what differs from directory to directory."""
        lines = answer.text.strip().splitlines() or [""]
        line = next((line for line in reversed(lines) if str(self._case) in line), lines[-1])
        line = re.sub(re.escape(str(self._case)) + r"/out[^\s:,;]*", "PATH", line)
        return re.sub(r"\d+", "N", re.sub(r"'[^']*'|\"[^\"]*\"", "_", line))[:120]


def if_it_waits_again(strike: Callable[[], Findings]) -> Findings:
    """What a strike found, without a wait that was due to the machine, such as for its disk, and does not come again.

    The same number makes the same directory and calls, so what makes a command wait does so each time.
    """
    findings = strike()
    if WAITED in findings.faults and WAITED not in strike().faults:
        del findings.faults[WAITED], findings.first[WAITED]
    return findings


def faults_of(answer: Answer, around: Path, fresh: bool = False) -> Iterator[str]:
    """What must not be, in words that are the same for faults of one kind. around: what a refusal has to name part of.

    fresh: the call was traced, which takes its time.
    """
    text, code, times = answer.text, answer.code, _TRACED if fresh else 1
    if "Traceback (most recent call last)" in text or code not in _EXPECTED:
        yield f"exit {code}, {_origin(text)}"
    elif code in (2, 3) and str(around) not in text and not _ELSEWHERE.search(text):
        yield f"exit {code} without a path: {text[:100]!r}"
    if answer.busy > reader.MOST_SECONDS * times:
        yield "more than 5 s of a processor"
    if answer.waited > reader.MOST_SECONDS:
        yield WAITED
    if answer.bytes > reader.MOST_BYTES:
        yield "more than 1 GiB of memory"
    for line in answer.outside:
        yield re.sub(r"[0-9a-f]{32}|away-[0-9]+|/dev/shm/[^/]+|worker-[0-9]+", "_", line)


def _drawn(owner: str, generator: random.Random) -> list[Command]:
    known = [command for command in COMMANDS if command.only in ("", owner)]
    return list(dict.fromkeys(generator.choices(known, [command.weight for command in known], k=_CALLS)))


def _remove(case: Path) -> None:
    if os.geteuid() != 0:  # what a mutation has closed
        subprocess.run(["chmod", "-R", "u+rwx", case], check=True)
    subprocess.run(["rm", "-rf", case], check=True)


def _share(out: Path) -> None:
    """Let the group write where a sweep directory that it shares is writable."""
    for path in [out, *out.rglob("*")]:
        part = path.relative_to(out).parts[:1]
        if not path.is_symlink() and part not in (("code",), ("submissions",)):
            path.chmod(path.stat().st_mode | (0o2070 if path.is_dir() else 0o060))


def _picture(places: Sequence[Path]) -> dict[str, Any]:
    """Everything that no call may change: kind, size, time stamp."""
    return {
        path: (found.st_mode, found.st_size, found.st_mtime_ns)
        for place in places
        for path in [str(place), *(f"{place}/{relative}" for relative in listed(place))]
        for found in [os.lstat(path)]
    }


def _origin(text: str) -> str:
    """Type of the exception and the last of our lines that it came through."""
    ours = re.findall(r'File "[^"]*/((?:hpc|aggregate|training)/[^"]+)", line (\d+), in (\S+)', text)
    last = text.strip().splitlines()[-1:] or [""]
    where = "{}:{} {}".format(*ours[-1]) if ours else ""
    return f"{last[0].partition(':')[0]} in {where}"


def _end(text: str) -> str:
    return "\n".join(f"      {line[:200]}" for line in text.strip().splitlines()[-6:])
