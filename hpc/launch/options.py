"""What a command line asks for, as values: one frozen dataclass per command that trains cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class PackOptions:
    """pack: cells per task, ``auto`` for what a pilot found best, None for what suits the machine or the profile."""

    pack: int | Literal["auto"] | None = None
    allow_code_change: bool = False
    include_failed: bool = False


@dataclass(frozen=True)
class RunOptions(PackOptions):
    """Of a sweep in worker processes here. cell: the only one to train. debug: in the foreground."""

    parallel_jobs: int | None = None
    device: str = "cpu"
    cell: str | None = None
    debug: bool = False
    analyze_only: bool = False
    take_over: bool = False


@dataclass(frozen=True)
class SubmitOptions(PackOptions):
    """Of a submission. all_nodes: also those on which tasks failed at the start. escalate: `KEY=LIMIT` each, up to
    which cells get more that ran out of it.
    """

    escalate: tuple[str, ...] = ()
    all_nodes: bool = False
    dry_run: bool = False
    prepare: bool = False
    wait: bool = False
    then_aggregate: bool = False
    take_over: bool = False

    def here(self) -> RunOptions:
        """The same on this machine, for the profile ``local``."""
        return RunOptions(self.pack, self.allow_code_change, self.include_failed, take_over=self.take_over)


@dataclass(frozen=True)
class SeedTarget:
    """What more seeds are to achieve: an interval of mean +- halfwidth, or a paired difference of ``effect`` detected.

    metric: None for the first primary one.
    """

    halfwidth: float | None = None
    effect: float | None = None
    power: float = 0.8
    metric: str | None = None

    @property
    def wanted(self) -> bool:
        return self.halfwidth is not None or self.effect is not None
