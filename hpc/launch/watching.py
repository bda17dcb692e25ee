"""Showing a sweep, once or again and again until nothing more will happen by itself."""

from __future__ import annotations

import contextlib
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from hpc.launch.look import Reached
from hpc.launch.remarks import say
from hpc.status import lines
from hpc.status.remaining import estimate
from hpc.status.sweep import Snapshot, take
from hpc.storage.store import Store
from hpc.submission import intents
from hpc.submission.lock import busy
from hpc.sweep.states import CONFLICT, FAILED, FINAL
from hpc.terminal import console, watched

Show = Callable[[Snapshot], None]
Pause = Callable[[float], None]
_ENDED = {*FINAL, FAILED, CONFLICT}
_SECONDS, _NEAR_SECONDS = 30.0, 1.0
# A restart of slurmctld or of a file server takes a minute or two; what refuses half an hour long is a fault that
# waiting does not cure.
REFUSED_SECONDS, _MOST_REFUSALS = 60, 30


def show(store: Store) -> Snapshot:
    """Print a sweep as it is now. Returns what was seen. Raises SweepError, OSError."""
    seen = take(store)
    if watched(sys.stdout):
        from hpc.status.screen import screen

        console(sys.stdout).print(screen(seen, estimate(store, seen)))
    else:
        print(lines.text(seen, estimate(store, seen)))
    return seen


def watch(store: Store) -> Snapshot:
    """Show a sweep until nothing more will happen by itself: a table that changes, or a block for each change."""
    blocks = _if_new(lambda seen: lines.text(seen, estimate(store, seen)), lambda text: print(f"{text}\n", flush=True))
    with _table(store) if watched(sys.stdout) else contextlib.nullcontext(blocks) as show_:
        return to_the_end(store, show_)


def rebuild(store: Store, make: Callable[[], int]) -> int:
    """Call ``make`` now and whenever cells have ended since, until nothing more will happen by itself.

    Returns what the last call returned. Raises SweepError, OSError.
    """
    last: dict[str, int] | None = None
    returned = 0

    def again(seen: Snapshot) -> None:
        nonlocal last, returned
        ended = {state: count for state, count in seen.counts.items() if state in _ENDED}
        if ended != last:
            returned = make()
        last = ended

    to_the_end(store, again)
    again(take(store))  # what ended during the last one
    return returned


def to_the_end(store: Store, show_: Show, pause: Pause | None = None) -> Snapshot:
    """Look again and again until nothing more will happen by itself: no task is queued, no command at work."""
    while True:
        at_work = busy(store)  # before the look: what a command ends with is seen
        seen = follow(store, show_, near=at_work, pause=pause)
        if not at_work:
            return seen
        (pause or time.sleep)(_NEAR_SECONDS)


def follow_in_lines(store: Store, profile: str, pause: Pause | None = None) -> Snapshot:
    """Say how many cells are in which state whenever that changes, until nothing more will happen by itself."""
    return follow(store, in_lines(), near=profile == "sandbox", pause=pause)


def in_lines() -> Show:
    """Says how many cells are in which state, unless the look before said the same."""

    def line(seen: Snapshot) -> str:
        return lines.summary(seen) + (f"; {seen.trouble}" if seen.trouble else "")

    return _if_new(line, say)


def follow(store: Store, show: Show, *, near: bool, pause: Pause | None = None) -> Snapshot:
    """Look again and again, as long as Slurm has tasks of the sweep. Returns the last look.

    near: whether looking is cheap; otherwise Slurm is asked at most twice a minute. pause: waits so many seconds, in
    the place of time.sleep, and may raise to end this.
    """
    near = near or any(entry.profile == "sandbox" for entry in intents.intents(store))
    while True:
        seen = take(store)
        show(seen)
        if seen.finished and not seen.trouble:
            return seen
        (pause or time.sleep)(_NEAR_SECONDS if near else _SECONDS)


@contextlib.contextmanager
def stays_queued(store: Store) -> Iterator[None]:
    """For a wait that Ctrl-C may end: then say what becomes of the tasks."""
    try:
        yield
    except KeyboardInterrupt:
        cancel = f"holdfast cancel {shlex.quote(str(store.root))}"
        say(f"stopped waiting; the tasks stay queued: the same command waits again, `{cancel}` ends them")
        raise


@dataclass
class Progress:
    """The furthest that a sweep has got: what is trained again and returns to where it was gets no further.

    most: of every part of Look.mark, the most that any look has shown.
    """

    most: Reached

    def made(self, mark: Reached) -> bool:
        """Take a look into account, and say whether it shows more of anything than all before."""
        before = self.most
        ended, epochs = max(before.ended, mark.ended), max(before.epochs, mark.epochs)
        self.most = Reached(ended, epochs, before.saved | mark.saved)
        return self.most != before


@dataclass
class Refusals:
    """How often in a row something that waiting may cure stood in the way; what is half an hour ago does not count."""

    count: int = 0
    last: float = 0.0

    def too_often(self) -> bool:
        """Count one more, and say whether it is the one too many."""
        now = time.monotonic()
        self.count = 1 if now - self.last > REFUSED_SECONDS * _MOST_REFUSALS else self.count + 1
        self.last = now
        return self.count > _MOST_REFUSALS


@contextlib.contextmanager
def _table(store: Store) -> Iterator[Show]:
    from rich.live import Live

    from hpc.status.screen import screen

    with Live(console=console(sys.stdout), auto_refresh=False, vertical_overflow="ellipsis") as live:
        yield lambda seen: live.update(screen(seen, estimate(store, seen)), refresh=True)


def _if_new(text: Callable[[Snapshot], str], put: Callable[[str], None]) -> Show:
    """Puts out what is to be said of a look, unless the look before it said the same."""
    last = ""

    def show(seen: Snapshot) -> None:
        nonlocal last
        if (said := text(seen)) != last:
            put(said)
        last = said

    return show
