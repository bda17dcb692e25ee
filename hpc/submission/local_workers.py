"""A submission's tasks in worker processes on this machine, as Slurm would run them on its nodes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

from hpc import protocol
from hpc.errors import BusyError
from hpc.files import atomic, logs
from hpc.protocol import TaskExit
from hpc.storage.store import Store
from hpc.submission.fork_server import ForkedTask, ForkServer, ForkServerError, blocked_stops
from hpc.submission.intents import Intent
from hpc.trainers.snapshot import python_path

# Soon enough that no core idles between two tasks.
POLL_SECONDS = 0.1

# A task's process; ForkedTask has what is used of Popen.
Worker = subprocess.Popen[bytes] | ForkedTask


@dataclass
class Ends:
    """How a local run ended.

    interrupted: the user asked it to stop. problems: one line per task that ended badly.
    queued: cells that were left to Slurm, which has them. cancelled: tasks that were, by `holdfast cancel`. left_out:
    cells that had been cancelled before any task began.
    exit_code: of a failure that every other task would share (wrong sweep, unreachable files), else 0.
    """

    interrupted: bool = False
    problems: list[str] = field(default_factory=list)
    exit_code: int = 0
    queued: int = 0
    cancelled: set[int] = field(default_factory=set)
    left_out: int = 0


def run_tasks(
    store: Store,
    intent: Intent,
    code: Path,
    *,
    parallel: int,
    device: str,
    digests: Mapping[str, str] = MappingProxyType({}),
    on_poll: Callable[[], None],
    before_start: Callable[[], None] = lambda: None,
    cancelled: Callable[[], Collection[int]] = tuple,
) -> Ends:
    """Run all tasks of a local submission, ``parallel`` at a time, until they end or the user interrupts.

    Ctrl-C asks the workers to save and stop; another one, a second or more later, kills them.
    before_start: raises BusyError if another command has taken over; then no more are started, and those that run are
    asked to save and stop, too.
    digests: of the configuration and the sweep that the tasks are for, by the names in hpc.protocol.
    cancelled: the tasks that are not wanted any more: they are not started, or asked to save and stop.
    Returns how they ended. Raises OSError if the sweep's files cannot be reached, once the workers have saved.
    """
    start = _Starts(store, intent, _environment(intent, code, device, 1, digests))
    workers = _Workers(store, intent, start)
    try:
        if sum(intent.sizes) > parallel:
            start.use_fork_server()
        while workers.left:
            try:
                while workers.left:
                    workers.turn(parallel, on_poll, before_start, cancelled)
            except KeyboardInterrupt:  # wherever it strikes, also between two turns
                if workers.ends.interrupted:
                    raise
                workers.interrupt()
    except KeyboardInterrupt:
        workers.ends.interrupted = True
    finally:
        workers.kill()
        start.close()
    if workers.failure is not None:
        raise workers.failure
    return workers.ends


class _Starts:
    """Starts the tasks of a local submission, each in a process and a session of its own."""

    def __init__(self, store: Store, intent: Intent, environment: Mapping[str, str]) -> None:
        self._store, self._intent, self._environment = store, intent, environment
        self._server: ForkServer | None = None

    def use_fork_server(self) -> None:
        """From here on without importing everything for each, where that can be."""
        with contextlib.suppress(ForkServerError):
            self._server = ForkServer(self._store.root, self._intent.number, self._environment)

    def __call__(self, index: int) -> Worker:
        if self._server and self._server.serves:
            with contextlib.suppress(ForkServerError), _log_of(self._store, self._intent, index) as log:
                return self._server.start(index, log.fileno())
        return _start(self._store, self._intent, index, self._environment)

    def wait_for_news(self, seconds: float) -> None:
        """Wait so long, or until a task has begun or ended."""
        if self._server and self._server.serves:
            self._server.receive(seconds)
        else:
            time.sleep(seconds)

    def close(self) -> None:
        if self._server:
            self._server.close()


def start_worker(
    store: Store, intent: Intent, code: Path, index: int, device: str, threads: int
) -> subprocess.Popen[bytes]:
    """Start one task of a local submission, of whatever configuration sweep.json says."""
    return _start(store, intent, index, _environment(intent, code, device, threads, {}))


def _start(store: Store, intent: Intent, index: int, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    arguments = [str(store.root), str(intent.number), "0", str(index)]
    with _log_of(store, intent, index) as log:
        # A session of its own: the terminal's Ctrl-C reaches this command alone, which then asks the workers.
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "hpc.node.task", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )


def _log_of(store: Store, intent: Intent, index: int) -> BinaryIO:
    return os.fdopen(logs.open_log(store.paths.task_log(intent.number, 0, index)), "ab")


def _environment(intent: Intent, code: Path, device: str, threads: int, digests: Mapping[str, str]) -> dict[str, str]:
    # Those of a task of ours in which this command may run are about that task.
    around = protocol.for_tasks(os.environ)
    inherited = {name: value for name, value in around.items() if name not in protocol.OF_ONE_TASK}
    of_none = {protocol.CONFIG_DIGEST: "", protocol.SWEEP_DIGEST: ""}
    return inherited | {
        **of_none,
        **digests,
        "PYTHONPATH": python_path(code),
        "PYTHONUNBUFFERED": "1",
        protocol.PARENT: str(os.getpid()),
        protocol.DEVICE: device,
        protocol.THREADS: str(threads),
        protocol.CODE_DIGEST: intent.code,
        protocol.ARRAY: intent.tokens[0],
        "OMP_NUM_THREADS": str(threads),
    }


class _Workers:
    """The tasks of a local submission: those that wait, those that run in a process each, and how the others ended."""

    def __init__(self, store: Store, intent: Intent, start: _Starts) -> None:
        self._store, self._intent, self._start = store, intent, start
        self._waiting = list(range(sum(intent.sizes)))
        self._running: dict[int, Worker] = {}
        self.ends = Ends()
        self.failure: OSError | None = None

    @property
    def left(self) -> bool:
        """Whether a task has still to end."""
        return bool(self._waiting or self._running)

    def turn(
        self,
        parallel: int,
        on_poll: Callable[[], None],
        before_start: Callable[[], None],
        cancelled: Callable[[], Collection[int]],
    ) -> None:
        """Start what there is room for, and note what has ended; where that cannot go on, all are asked to stop."""
        try:
            if self.failure is None:
                self.leave_out(cancelled())
                self.start(parallel, before_start)
            self._start.wait_for_news(POLL_SECONDS)
            self.reap()
            if self.failure is None:
                on_poll()
        except BusyError as error:
            self.ends.problems.append(str(error))
            self.stop()
        except OSError as error:  # a full disk, or a file server that does not answer
            self.failure = self.failure or error
            self.stop()

    def start(self, parallel: int, before_start: Callable[[], None]) -> None:
        """Let as many run at once as there are tasks for."""
        while self._waiting and len(self._running) < parallel:
            before_start()
            with blocked_stops():
                index = self._waiting.pop(0)
                self._running[index] = self._start(index)

    def leave_out(self, tasks: Collection[int]) -> None:
        """Start none of these tasks, and ask those that run to save and stop; once."""
        for index in set(tasks).difference(self.ends.cancelled):
            if index in self._waiting:
                self._waiting.remove(index)
            elif index in self._running:
                self._running[index].send_signal(signal.SIGTERM)
            else:
                continue  # it has ended
            self.ends.cancelled.add(index)

    def reap(self) -> None:
        """Note how those ended that have. After what no other task can do better than, none is started any more."""
        for index, worker in list(self._running.items()):
            code = worker.poll()
            if code is not None:
                del self._running[index]
                self._note(index, worker, code)
        if self.ends.exit_code:
            self._waiting.clear()

    def interrupt(self) -> None:
        """Stop, as the user asks for it."""
        self.ends.interrupted = True
        self.stop()
        print("\nstopping: the workers save their state; Ctrl-C again kills them", file=sys.stderr)

    def stop(self) -> None:
        """Start no more, and ask those that run to save and stop."""
        self._waiting.clear()
        for worker in self._running.values():
            if worker.poll() is None:
                worker.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End those that still run, and wait until they are gone."""
        for worker in self._running.values():
            if worker.poll() is None:
                _kill_group(worker)
                worker.send_signal(signal.SIGKILL)  # one that was just forked may not lead its group yet
        for worker in self._running.values():
            worker.wait()

    def _note(self, index: int, worker: Worker, code: int) -> None:
        log, ends = self._store.paths.task_log(self._intent.number, 0, index), self.ends
        name = signal.Signals(-code).name if code < 0 else ""
        if name:
            _kill_group(worker)
            logs.append(log, f"task process {worker.pid} ended by {name}\n")
        text = logs.tail(log).strip()
        if not text:
            atomic.remove(log)
        if code in (TaskExit.STORAGE, TaskExit.USAGE, TaskExit.OUTDATED):
            ends.exit_code = code
            ends.problems.append(text.splitlines()[-1] if text else f"task {index} ended with exit status {code}")
        elif index in ends.cancelled:
            return
        elif name:
            ends.problems.append(
                f"task {index} was ended by {name}; the same command resumes it from its last checkpoint"
            )
        elif code == TaskExit.DEVICE:
            ends.problems.append(
                f"task {index} cannot use its GPU, or not any more; `holdfast show` says why in its log, and the same "
                "command resumes it in a new process"
            )
        elif code == TaskExit.UNFIT:
            ends.problems.append(f"task {index} cannot be trained on this machine; `holdfast show` says why in its log")
        elif code not in (TaskExit.DONE, TaskExit.FAILED) and not ends.interrupted:
            ends.problems.append(f"task {index} stopped early (exit status {code}); the same command resumes it")


def _kill_group(worker: Worker) -> None:
    """Kill a task, or what is left of one that was killed: its trainer's own processes are in its session."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(worker.pid, signal.SIGKILL)
