"""The commands that read a sweep directory, and how often each is tried on a mutated one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    """Words of a command line: OUT is the mutated directory, WHOLE one that is as it was, CELL a cell of it, NEW a
    directory of the reader's own that is not there yet.

    weight: how often it is drawn; slow ones rarely. only: who has to own the directory for it; empty: anybody. What
    trains, trains only what is one's own, so on directories of others it has to refuse.
    """

    words: Sequence[str]
    weight: float
    only: str = ""

    def __str__(self) -> str:
        return " ".join(self.words)


OWN, FOREIGN, SHARED = "one's own", "another user's", "shared by a group"

COMMANDS = (
    Command(("status", "OUT"), 5),
    Command(("status", "OUT", "--json"), 2),
    Command(("plan", "OUT"), 3),
    Command(("plan", "OUT", "--target-halfwidth", "0.1"), 1.5),
    Command(("show", "OUT", "CELL"), 4),
    Command(("show", "OUT", "CELL", "--json"), 2),
    Command(("show", "OUT", "CELL", "--log"), 2),
    Command(("compare", "OUT", "WHOLE"), 1),
    Command(("compare", "WHOLE", "OUT", "--json"), 0.7),
    Command(("cancel", "OUT", "-y"), 2),
    Command(("redo", "OUT", "-y", "--cell", "CELL"), 2),
    Command(("tables", "OUT"), 1),
    Command(("aggregate", "OUT", "--partial"), 0.3),
    Command(("wandb", "sync", "OUT"), 0.15),
    Command(("submit", "OUT", "--dry-run", "--profile", "local"), 1),
    Command(("run", "OUT", "--analyze-only"), 0.3),
    Command(("run", "OUT"), 2, FOREIGN),
    Command(("submit", "OUT", "--profile", "local"), 2, FOREIGN),
    Command(("redo", "OUT", "-y", "--state", "COMPLETED", "--profile", "local"), 2, FOREIGN),
)
