"""The model for as many file operations as asked for."""

from __future__ import annotations

from collections import Counter

from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from .test_model import Protocol


def campaign(operations: int) -> Counter[str]:
    """Run schedules until so many file operations have been performed. Returns what was done.

    Raises AssertionError for a violation; hypothesis prints the shortest schedule that leads to it.
    """
    counts: Counter[str] = Counter()

    class Counted(Protocol):
        def teardown(self) -> None:
            counts["kills"] += sum(process.killed for process in self.world.processes)
            processes = self.world.processes
            super().teardown()
            counts["schedules"] += 1
            counts["file operations"] += sum(process.operations for process in processes)

    while counts["file operations"] < operations:
        run_state_machine_as_test(Counted, settings=settings(Protocol.TestCase.settings, database=None))
    return counts
