"""What a campaign saw: how much was tried of what, how it was answered, and every fault."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

_SHOWN = 12


@dataclass
class Findings:
    """What was tried, and what must not be.

    bases: directories mutated, by kind and owner. calls: by command; traced: how many of them were made by a fresh
    interpreter under strace. codes: exit codes. refusals: what was said with exit 2 or 3, without paths and values.
    slowest: seconds of a processor; largest: bytes of memory. faults: by kind, each with where it was seen first.
    """

    bases: Counter[str] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)
    traced: int = 0
    codes: Counter[int] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    milliseconds: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    largest: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)

    @property
    def mutations(self) -> int:
        return self.bases.total()

    def fault(self, kind: str, seen: str) -> None:
        self.faults[kind] += 1
        self.first.setdefault(kind, seen)

    def add(self, other: Findings) -> None:
        """What another process found."""
        for name in ("bases", "calls", "codes", "refusals", "milliseconds", "faults"):
            getattr(self, name).update(getattr(other, name))
        self.traced += other.traced
        self.slowest, self.largest = max(self.slowest, other.slowest), max(self.largest, other.largest)
        self.first = other.first | self.first

    def summary(self) -> str:
        """A line on the way."""
        return (
            f"{self.mutations:,} mutations, {self.calls.total():,} calls ({self.traced} by a fresh interpreter), exit "
            f"codes {dict(sorted(self.codes.items()))}, at most {self.slowest:.1f} s of a processor and "
            f"{self.largest / 2**20:.0f} MiB; {len(self.faults)} kinds of faults"
        )

    def __str__(self) -> str:
        lines = [
            self.summary(),
            f"directories: {_told(self.bases)}",
            f"calls: {_told(self.calls)}",
            f"milliseconds of a processor: {_told(self.milliseconds)}",
            f"{len(self.refusals)} kinds of refusals, of which the most frequent:",
            *(f"  {count:5} {said}" for said, count in self.refusals.most_common(_SHOWN)),
        ]
        for kind, count in self.faults.most_common():
            lines += [f"FAULT {count} x {kind}", f"    {self.first[kind]}"]
        return "\n".join(lines)


def _told(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.most_common())
