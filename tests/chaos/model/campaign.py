"""The models, for as many file operations as asked for."""

from __future__ import annotations

from collections import Counter
from itertools import cycle

from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from .swarm import Search, shrunk
from .test_model import Loose, Protocol
from .test_submissions import Submissions

Model = Protocol | Submissions
_SHRINK_S = 120.0


def campaign(operations: int, seed: int) -> Counter[str]:
    """Run schedules of all models in turn, in whole rounds, until so many operations were performed. Returns counts.

    Half of them are drawn by hypothesis, which covers rules and values evenly; half by a search, which goes further.
    Raises AssertionError for a violation, with the shortest schedule that leads to it.
    """
    counts: Counter[str] = Counter()
    counted = {machine: _counted(machine, counts) for machine in (Protocol, Submissions, Loose)}
    searches = {machine: Search(counted[machine], seed) for machine in counted}
    for machine in cycle(counted):
        # Whole rounds: one model alone may perform as many.
        if machine is Protocol and counts["file operations"] >= operations:
            return counts
        run_state_machine_as_test(counted[machine], settings=settings(machine.TestCase.settings, database=None))
        if found := searches[machine].run(machine.TestCase.settings.max_examples):
            raise AssertionError(f"seed {seed}, schedule {found.schedule}: {shrunk(machine, found, '', _SHRINK_S)}")
    raise AssertionError("a cycle does not end")


def _counted(machine: type[Model], counts: Counter[str]) -> type[Model]:
    """The model, which counts what each schedule's processes did."""

    class Counted(machine):  # type: ignore[misc, valid-type]
        def teardown(self) -> None:
            counts["kills"] += sum(process.killed for process in self.world.processes)
            super().teardown()
            counts["schedules"] += 1
            counts["file operations"] += sum(process.operations for process in self.world.processes)
            if isinstance(self, Submissions):
                counts["commands"] += sum(process.job is None for process in self.world.processes)

    return Counted
