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
from collections.abc import Mapping
from pathlib import Path

from hpc.processes import Process, start_time
from hpc.protocol import TaskExit

_MOST_BYTES = 100  # of a message: two numbers


class ForksError(Exception):
    """There is no process that could fork tasks."""


class ForkedTask:
    """A task's process, with what is used of subprocess.Popen."""

    def __init__(self, forks: Forks, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._forks = forks
        self._process = Process(pid, start_time(pid) or 0)

    def poll(self) -> int | None:
        """Its exit status, as Popen gives it; None while it runs."""
        self._forks.listen(0)
        return self.returncode

    def wait(self) -> int:
        """Wait for its end. Returns its exit status."""
        while self.returncode is None:
            self._forks.listen(1)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            self._process.signal(number)

    def lose(self) -> None:
        """Nobody can say any more how it ends: it stops by itself, like every task whose parent is gone."""
        if self.returncode is None and not self._process.alive():
            self.returncode = TaskExit.STOPPED


class Forks:
    """The process that forks, and what it says of its tasks."""

    def __init__(self, root: Path, submission: int, environment: Mapping[str, str]) -> None:
        """Start it and wait until it has imported what tasks need. Raises ForksError if it cannot serve."""
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._tasks: dict[int, ForkedTask] = {}
        self._gone = False
        with theirs:
            # A session of its own: the terminal's Ctrl-C reaches the command alone, which then asks the tasks.
            self._server = subprocess.Popen(
                [
                    sys.executable,
                    "-P",
                    "-m",
                    "hpc.node.task",
                    "--fork",
                    str(theirs.fileno()),
                    str(root),
                    str(submission),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environment,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        try:
            if not self._channel.recv(_MOST_BYTES):
                raise ForksError
        except BaseException:
            self.close()
            raise

    def start(self, index: int, log: int) -> ForkedTask:
        """Start a task. log: descriptor of what it writes to. Raises ForksError if there is nobody to do it."""
        try:
            socket.send_fds(self._channel, [str(index).encode()], [log])
        except ConnectionError:
            raise ForksError from None
        while index not in self._tasks:
            self.listen(1)
            if self._gone:
                raise ForksError
        return self._tasks[index]

    def listen(self, seconds: float) -> None:
        """Take in what is said of tasks; wait so long for it."""
        while select.select([] if self._gone else [self._channel], [], [], seconds)[0]:
            message = self._channel.recv(_MOST_BYTES)
            if not message:
                self._gone = True
                break
            index, pid, *ended = map(int, message.split())
            if ended:
                self._tasks[index].returncode = ended[0]
            else:
                self._tasks[index] = ForkedTask(self, pid)
            seconds = 0
        if self._gone:
            for task in self._tasks.values():
                task.lose()

    def close(self) -> None:
        """Let it go. Its tasks have ended, or end as those of a command that is gone."""
        self._channel.close()
        with contextlib.suppress(ProcessLookupError):
            self._server.send_signal(signal.SIGKILL)
        self._server.wait()
