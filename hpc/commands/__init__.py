"""What each command does: ask the other rooms, print, and return an exit code."""

from __future__ import annotations

import sys

from hpc.store import Store

DONE, CONFIGURATION, TROUBLE, INCOMPLETE, INTERRUPTED = 0, 2, 3, 4, 130


def say(text: str) -> None:
    """Progress and remarks go to stderr; answers go to stdout."""
    print(text, file=sys.stderr, flush=True)


def aggregate_and_tell(store: Store, partial: bool) -> int:
    from aggregate.pipeline import aggregate as gather_all

    outcome = gather_all(store.root)
    for problem in outcome.problems:
        say(problem)
    counts = ", ".join(f"{number} {state}" for state, number in outcome.counts.items() if number)
    print(f"{counts}\nreport: {outcome.report}\nplots:  {store.plots_directory}")
    return DONE if outcome.complete or partial else INCOMPLETE
