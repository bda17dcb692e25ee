"""The models for as many file operations as asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import cycle
from typing import Any

from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from .test_model import Protocol
from .test_submissions import Submissions


def campaign(operations: int) -> Counter[str]:
    """Run schedules of both models in turn until so many operations have been performed. Returns what was done.

    Raises AssertionError for a violation; hypothesis prints the shortest schedule that leads to it.
    """
    counts: Counter[str] = Counter()

    class CountedProtocol(Protocol):
        def teardown(self) -> None:
            _count(counts, self.world.processes, super().teardown)

    class CountedSubmissions(Submissions):
        def teardown(self) -> None:
            _count(counts, self.world.processes, super().teardown)
            counts["commands"] += sum(process.job is None for process in self.world.processes)

    for machine in cycle((CountedProtocol, CountedSubmissions)):
        if counts["file operations"] >= operations:
            return counts
        run_state_machine_as_test(machine, settings=settings(machine.TestCase.settings, database=None))
    raise AssertionError("a cycle does not end")


def _count(counts: Counter[str], processes: Iterable[Any], end: Any) -> None:
    """Count what a schedule's processes did, once it has ended."""
    counts["kills"] += sum(process.killed for process in processes)
    end()
    counts["schedules"] += 1
    counts["file operations"] += sum(process.operations for process in processes)
