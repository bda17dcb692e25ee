"""The models for as many file operations as asked for, and the search for what violates a broken rule."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from hpc.sweep.cell import Cell

from .test_model import Loose, Protocol
from .test_submissions import Submissions

Model = Protocol | Submissions
_CELL = re.compile(r"Cell\(point=\(\('width', (\d+)\),\), seed=42, run_id=0\)")


def campaign(operations: int) -> Counter[str]:
    """Run schedules of all models in turn until so many operations have been performed. Returns what was done.

    Raises AssertionError for a violation; hypothesis prints the shortest schedule that leads to it.
    """
    counts: Counter[str] = Counter()

    class CountedProtocol(Protocol):
        def teardown(self) -> None:
            _count(counts, self.world.processes, super().teardown)

    class CountedLoose(Loose):
        def teardown(self) -> None:
            _count(counts, self.world.processes, super().teardown)

    class CountedSubmissions(Submissions):
        def teardown(self) -> None:
            _count(counts, self.world.processes, super().teardown)
            counts["commands"] += sum(process.job is None for process in self.world.processes)

    for machine in cycle((CountedProtocol, CountedSubmissions, CountedLoose)):
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


@dataclass(frozen=True)
class Found:
    """A violation, and the rules that lead there, one a line as Python."""

    violation: str
    steps: Sequence[str]

    def __str__(self) -> str:
        lines = (_CELL.sub(r"width_\1_run_0", step.removeprefix("state.")) for step in self.steps)
        return "\n    ".join([self.violation, *lines])


def search(model: type[Model], examples: int) -> Found | None:
    """Look for a violation at random."""
    chosen = settings(
        max_examples=examples,
        stateful_step_count=40,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        print_blob=False,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    try:
        run_state_machine_as_test(model, settings=chosen)
    except AssertionError as error:
        steps: list[str] = []
        for line in "\n".join(getattr(error, "__notes__", ())).splitlines():
            if line.startswith("state."):
                steps.append(line)
            elif steps:
                steps[-1] += line  # of a call that takes several
        return Found(_first_line(error), [step for step in steps if not step.endswith("()")])
    return None


def shrunk(model: type[Model], found: Found, says: str, seconds: float) -> Found:
    """The same violation by fewer rules: parts are left out as long as it remains.

    It replays what was found, which takes a fraction of the time in which hypothesis shrinks by drawing anew.
    """
    deadline = time.monotonic() + seconds
    says = says if says in found.violation else ""  # a broken rule may have other consequences, too
    size = len(found.steps)
    while size and time.monotonic() < deadline:
        start, shorter = 0, False
        while start < len(found.steps) and time.monotonic() < deadline:
            fewer = [*found.steps[:start], *found.steps[start + size :]]
            violation = _replayed(model, fewer)
            if violation and says in violation:
                found, shorter = replace(found, violation=violation, steps=fewer), True
            else:
                start += size
        size = size if shorter and size == 1 else size // 2
    return found


def _replayed(model: type[Model], steps: Sequence[str]) -> str:
    """What a schedule violates; empty if nothing, or if its steps no longer fit together."""
    state = model()
    try:
        for step in steps:
            exec(step, {"state": state, "Cell": Cell})
            state.what_must_hold()
    except AssertionError as error:
        state.close()
        return _first_line(error)
    except (ZeroDivisionError, IndexError):  # nobody is left whom it could concern
        state.close()
        return ""
    try:
        state.teardown()
    except AssertionError as error:
        return _first_line(error)
    return ""


def _first_line(error: AssertionError) -> str:
    return str(error).partition("\n")[0] or "an invariant fails"
