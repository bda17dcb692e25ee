"""aggregate: statistics, figures and report of a sweep directory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpc.launch.remarks import say
from hpc.protocol import CommandExit
from hpc.storage.store import Store

if TYPE_CHECKING:
    pass


def aggregate_and_tell(store: Store, partial: bool) -> int:
    from aggregate.pipeline import aggregate as gather_all

    outcome = gather_all(store.root)
    for problem in outcome.problems:
        say(problem)
    counts = ", ".join(f"{number} {state}" for state, number in outcome.counts.items() if number)
    print(f"{counts}\nreport: {outcome.report}\nplots:  {outcome.plots}")
    return CommandExit.DONE if outcome.complete or partial else CommandExit.INCOMPLETE
