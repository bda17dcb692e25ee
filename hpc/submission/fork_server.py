"""Tasks of a local run, forked from one process that has done their imports: a start costs milliseconds.

Every task is a process of its own, with a session, an environment and a log of its own, as if it had been started by
itself; hpc.node.task has the other side.
"""

from __future__ import annotations

import contextlib
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from hpc.processes import Process, start_time
from hpc.protocol import TaskExit

_MOST_BYTES = 100  # of a message: three numbers
# A fork takes milliseconds, on a machine that swaps perhaps seconds. Meanwhile Ctrl-C has to wait.
_PATIENCE_SECONDS = 60.0


@contextlib.contextmanager
def blocked_stops() -> Iterator[None]:
    """Keep Ctrl-C and TERM waiting, so that no task is begun or ends without being known.

    A task that is started meanwhile inherits this, and unblocks them itself once its handlers are in place.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class ForkServerError(Exception):
    """There is no process that could fork tasks."""


class ForkedTask:
    """A task's process, with what is used of subprocess.Popen."""

    def __init__(self, server: ForkServer, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._server = server
        self._process = Process(pid, start_time(pid) or 0)

    def poll(self) -> int | None:
        """Its exit status, as Popen gives it; None while it runs."""
        self._server.receive(0)
        return self.returncode

    def wait(self) -> int:
        """Wait for its end. Returns its exit status."""
        while self.returncode is None:
            self._server.receive(1)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            self._process.signal(number)

    def mark_lost(self) -> None:
        """Its exit status can no longer be known: it stops by itself, like every task whose parent is gone."""
        if self.returncode is None and not self._process.alive():
            self.returncode = TaskExit.STOPPED


class ForkServer:
    """The process that forks, and what it says of its tasks."""

    def __init__(self, root: Path, submission: int, environment: Mapping[str, str]) -> None:
        """Start it and wait until it has imported what tasks need. Raises ForkServerError if it cannot serve."""
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._tasks: dict[int, ForkedTask | None] = {}  # None: it could not be forked
        self._gone = False
        with theirs:
            # A session of its own: the terminal's Ctrl-C reaches the command alone, which then asks the tasks.
            arguments = ["--fork", str(theirs.fileno()), str(root), str(submission)]
            self._server = subprocess.Popen(
                [sys.executable, "-P", "-m", "hpc.node.task", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environment,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        try:
            if not self._next():
                raise ForkServerError
        except BaseException:
            self.close()
            raise

    @property
    def serves(self) -> bool:
        """Whether it can be asked for more tasks."""
        return not self._gone

    def start(self, index: int, log: int) -> ForkedTask:
        """Start a task. log: descriptor of what it writes to. Raises ForkServerError if there is nobody to do it."""
        try:
            socket.send_fds(self._channel, [str(index).encode()], [log])
        except ConnectionError:
            raise ForkServerError from None
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while index not in self._tasks and not self._gone:
            self.receive(1)
            if time.monotonic() > deadline:  # stopped, say; once it is killed, it cannot fork the task any more
                self._server.kill()
                self._server.wait()
        if (task := self._tasks.get(index)) is None:
            raise ForkServerError
        return task

    def receive(self, seconds: float) -> None:
        """Process messages about tasks, waiting up to ``seconds`` for the first."""
        while select.select([] if self._gone else [self._channel], [], [], seconds)[0]:
            seconds = 0
            with blocked_stops():
                self._take(self._next())
        if self._gone:
            for task in filter(None, self._tasks.values()):
                task.mark_lost()

    def _take(self, message: bytes) -> None:
        if not message:
            self._gone = True
            return
        index, pid, *ended = map(int, message.split())
        if not ended:
            self._tasks[index] = ForkedTask(self, pid) if pid else None
        elif (task := self._tasks.get(index)) is not None:
            task.returncode = ended[0]

    def _next(self) -> bytes:
        """One message; empty once the server is gone."""
        try:
            return self._channel.recv(_MOST_BYTES)
        except ConnectionError:  # it was killed before it had read all requests
            return b""

    def close(self) -> None:
        """Stop the server. Its tasks have ended, or end as those of a command that is gone."""
        self._channel.close()
        with contextlib.suppress(ProcessLookupError):
            self._server.send_signal(signal.SIGKILL)
        self._server.wait()
