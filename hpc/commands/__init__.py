"""What each command does: ask the other rooms, print, and return an exit code."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hpc.slurm.commands import SlurmError
from hpc.storage.store import Store

if TYPE_CHECKING:
    from hpc.slurm.profile import Profile

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
    print(f"{counts}\nreport: {outcome.report}\nplots:  {outcome.plots}")
    return DONE if outcome.complete or partial else INCOMPLETE


def cluster_of(profile: Profile) -> Path | None:
    """slurm.conf of the profile's cluster; None for the machine's own. Raises SlurmError if the sandbox is down."""
    if profile.name != "sandbox":
        return None
    from hpc.sandbox import cluster

    found = cluster.find()
    if found is None:
        raise SlurmError("the sandbox is not up; start it with `holdfast sandbox up`")
    return found.conf
