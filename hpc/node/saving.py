"""Writing checkpoints beside training: when, in which thread, and what an error of the storage means.

An error of the file system is nobody's fault in the sweep: it ends the attempt at once, is told to whoever started the
task, and counts against no cell. So does a directory that is another one by now.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from hpc.errors import OutdatedError, of_system
from hpc.protocol import TaskExit

# Checkpoints may hold training up for this fraction of the time, and be in the writing for that one: where storage is
# so slow that the configured interval would cost more, losing a little more at a kill is cheaper.
_HELD_UP_SHARE, _WRITING_SHARE = 0.02, 0.25
# An interval, in seconds, that asks for every state that a trainer has, whatever that costs: no configuration means it,
# but `holdfast check resume` resumes cells from the very last one.
EVERY_STATE = 1e-12
# A smaller checkpoint is written sooner than a thread is worth.
BACKGROUND_BYTES = 1_000_000


class TroubleError(Exception):
    """Nobody can train here now, and no cell is to blame: the attempt counts for nothing.

    status: how the task ends, hpc.protocol.TaskExit.
    """

    status = TaskExit.STORAGE


class StorageTroubleError(TroubleError):
    """The sweep's files cannot be written or read; training ends and nothing of it is blamed on a cell."""


class ReplacedTroubleError(TroubleError):
    """The sweep directory was removed, or made anew, meanwhile: what this attempt has belongs nowhere."""

    status = TaskExit.OUTDATED


def checkpoint_interval(every_s: float, write_s: float, held_up_s: float) -> float:
    """Seconds from one checkpoint to the next: as configured, longer only where storage is very slow.

    write_s: what writing one takes. held_up_s: for how long of that training cannot go on.
    """
    return max(every_s, write_s / _WRITING_SHARE, held_up_s / _HELD_UP_SHARE)


class Background:
    """A thread for writing: started with an action, waited for before anything that relies on it.

    The thread is no daemon: a process that ends lets it finish what it began.
    """

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None

    @property
    def failed(self) -> bool:
        """Whether the last action ended with an error that nobody has waited for yet."""
        return self._error is not None

    @property
    def busy(self) -> bool:
        """Whether an action is under way."""
        return self._thread is not None and self._thread.is_alive()

    def start(self, action: Callable[[], None]) -> None:
        """Begin an action once the one before has ended. Raises the error of that one."""
        self.wait()
        self._thread = threading.Thread(target=self._run, args=(action,), name="checkpoint")
        self._thread.start()

    def wait(self) -> None:
        """Wait until nothing is under way. Raises the error of what was."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _run(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:
            self._error = error


class Saving:
    """Paces the checkpoints of one attempt, writes one at a time, and keeps the first trouble with the storage."""

    def __init__(self, every_seconds: float) -> None:
        self._every = every_seconds
        self._writer = Background()
        self._trouble: OSError | OutdatedError | None = None
        self._last = time.monotonic()
        self._write_seconds = self._held_up_seconds = 0.0

    @property
    def every_state(self) -> bool:
        """Whether no state may be left out."""
        return self._every == EVERY_STATE

    @property
    def in_trouble(self) -> bool:
        """Whether a file operation has failed; training on would be for nothing."""
        return self._trouble is not None or self._writer.failed

    def due(self) -> bool:
        """Whether the interval has passed and nothing is being written."""
        if self.every_state:
            return True
        interval = checkpoint_interval(self._every, self._write_seconds, self._held_up_seconds)
        return time.monotonic() - self._last >= interval and not self._writer.busy

    def write(self, action: Callable[[], None], beside: bool) -> None:
        """Write a generation. beside: while training continues. Raises TroubleError."""
        # One at a time, in order: a generation counts as saved only if those before it are.
        self.guard(self._writer.wait)
        started = time.monotonic()
        if beside:
            self.guard(lambda: self._writer.start(lambda: self._timed(action)))
            self._held_up_seconds = time.monotonic() - started
        else:
            self.guard(lambda: self._timed(action))
            self._held_up_seconds = self._write_seconds

    def restart_interval(self) -> None:
        """Count the seconds to the next checkpoint from now."""
        self._last = time.monotonic()

    def guard(self, action: Callable[[], Any]) -> Any:
        """The action's value. Raises TroubleError for an OSError or OutdatedError, and remembers that for check()."""
        try:
            return action()
        except (OSError, OutdatedError) as error:
            self._trouble = error
            self.check()

    def check(self) -> None:
        """Raise TroubleError if a file operation failed or was refused, even if the trainer swallowed that.

        Waits for a checkpoint that is still being written.
        """
        try:
            self._writer.wait()
        except (OSError, OutdatedError) as error:
            self._trouble = self._trouble or error
        if isinstance(self._trouble, OutdatedError):
            raise ReplacedTroubleError(str(self._trouble)) from self._trouble
        if self._trouble is not None:
            raise StorageTroubleError(of_system(self._trouble)) from self._trouble

    def _timed(self, action: Callable[[], None]) -> None:
        started = time.monotonic()
        action()
        self._write_seconds = time.monotonic() - started
