"""A submission's tasks in worker processes on this machine, as Slurm would run them on its nodes."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import BinaryIO

from hpc import protocol
from hpc.errors import BusyError
from hpc.protocol import TaskExit
from hpc.storage import files
from hpc.storage.store import Store
from hpc.submission.forks import ForkedTask, Forks, ForksError
from hpc.submission.intents import Intent
from hpc.trainers.snapshot import python_path

# Soon enough that no core idles between two tasks; each look is one waitpid per worker.
POLL_SECONDS = 0.1
# timeout(1) and other starters signal a process and then its whole group: that is one Ctrl-C, not two.
_SAME_INTERRUPT_SECONDS = 1.0

# A task's process; ForkedTask has what is used of Popen.
Worker = subprocess.Popen[bytes] | ForkedTask


@dataclass
class Ends:
    """How a local run ended.

    interrupted: the user asked it to stop. problems: one line a task that ended badly.
    queued: cells that were left to Slurm, which has them. cancelled: tasks that were, by `holdfast cancel`.
    exit_code: of a task that no other task can do better than (wrong sweep, unreachable files), else 0.
    """

    interrupted: bool = False
    problems: list[str] = field(default_factory=list)
    exit_code: int = 0
    queued: int = 0
    cancelled: set[int] = field(default_factory=set)


def run_tasks(
    store: Store,
    intent: Intent,
    code: Path,
    *,
    parallel: int,
    device: str,
    threads: int = 1,
    config_digest: str = "",
    on_poll: Callable[[], None],
    before_start: Callable[[], None] = lambda: None,
    cancelled: Callable[[], Collection[int]] = tuple,
) -> Ends:
    """Run all tasks of a local submission, ``parallel`` at a time, until they end or the user interrupts.

    Ctrl-C asks the workers to save and stop; another one, a second or more later, kills them.
    before_start: raises BusyError if another command has taken over; then no more are started, and those that run are
    asked to save and stop, too.
    cancelled: the tasks that are not wanted any more: they are not started, or asked to save and stop.
    Returns how they ended.
    """
    ends = Ends()
    waiting = list(range(sum(intent.sizes)))
    workers: dict[int, Worker] = {}
    start = _Starts(store, intent, _environment(intent, code, device, threads, config_digest))
    restore = _hear_repeated_interrupts_once()
    try:
        if len(waiting) > parallel:
            start.by_fork()
        while waiting or workers:
            try:
                _leave_out(cancelled(), waiting, workers, ends)
                while waiting and len(workers) < parallel:
                    before_start()
                    index = waiting.pop(0)
                    workers[index] = start(index)
                start.wait_for_news(POLL_SECONDS)
                _reap(store, intent, workers, ends)
                if ends.exit_code:
                    waiting.clear()
                on_poll()
            except BusyError as error:
                ends.problems.append(str(error))
                waiting.clear()
                _signal_all(workers, signal.SIGTERM)
            except KeyboardInterrupt:
                if ends.interrupted:
                    raise
                ends.interrupted = True
                waiting.clear()
                print("\nstopping: the workers save their state; Ctrl-C again kills them", file=sys.stderr)
                _signal_all(workers, signal.SIGTERM)
    except KeyboardInterrupt:
        pass
    finally:
        _signal_all(workers, signal.SIGKILL)
        for worker in workers.values():
            worker.wait()
        start.close()
        restore()
    return ends


def _hear_repeated_interrupts_once() -> Callable[[], object]:
    """Let a Ctrl-C that comes with another be no second one. Returns what makes it one again."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before is not signal.default_int_handler:
        return lambda: None
    last = -math.inf

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal last
        since, last = time.monotonic() - last, time.monotonic()
        if since >= _SAME_INTERRUPT_SECONDS:
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    return lambda: signal.signal(signal.SIGINT, before)


class _Starts:
    """Starts the tasks of a local submission, each in a process and a session of its own."""

    def __init__(self, store: Store, intent: Intent, environment: Mapping[str, str]) -> None:
        self._store, self._intent, self._environment = store, intent, environment
        self._forks: Forks | None = None

    def by_fork(self) -> None:
        """From here on without importing everything for each, where that can be."""
        with contextlib.suppress(ForksError):
            self._forks = Forks(self._store.root, self._intent.number, self._environment)

    def __call__(self, index: int) -> Worker:
        if self._forks:
            try:
                with _log_of(self._store, self._intent, index) as log:
                    return self._forks.start(index, log.fileno())
            except ForksError:  # it was killed, say; what it has begun ends as if the command were gone
                self._forks = None
        return _start(self._store, self._intent, index, self._environment)

    def wait_for_news(self, seconds: float) -> None:
        """Wait so long, or until a task has begun or ended."""
        if self._forks:
            self._forks.listen(seconds)
        else:
            time.sleep(seconds)

    def close(self) -> None:
        if self._forks:
            self._forks.close()


def start_worker(
    store: Store, intent: Intent, code: Path, index: int, device: str, threads: int
) -> subprocess.Popen[bytes]:
    """Start one task of a local submission, of whatever configuration sweep.json says."""
    return _start(store, intent, index, _environment(intent, code, device, threads, ""))


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
    return os.fdopen(files.open_log(store.paths.task_log(intent.number, 0, index)), "ab")


def _environment(intent: Intent, code: Path, device: str, threads: int, config_digest: str) -> dict[str, str]:
    return os.environ | {
        "PYTHONPATH": python_path(code),
        "PYTHONUNBUFFERED": "1",
        protocol.PARENT: str(os.getpid()),
        protocol.DEVICE: device,
        protocol.THREADS: str(threads),
        protocol.CODE_DIGEST: intent.code,
        protocol.CONFIG_DIGEST: config_digest,
        "OMP_NUM_THREADS": str(threads),
    }


def _reap(store: Store, intent: Intent, workers: dict[int, Worker], ends: Ends) -> None:
    for index, worker in list(workers.items()):
        code = worker.poll()
        if code is None:
            continue
        del workers[index]
        log = store.paths.task_log(intent.number, 0, index)
        if code < 0:
            _kill_group(worker)
            files.append(log, f"task process {worker.pid} ended by {signal.Signals(-code).name}\n")
        text = files.tail(log).strip()
        if not text:
            log.unlink()
        if code in (TaskExit.STORAGE, TaskExit.USAGE, TaskExit.OUTDATED):
            ends.exit_code = code
            ends.problems.append(text.splitlines()[-1] if text else f"task {index} ended with exit status {code}")
        elif index in ends.cancelled:
            continue
        elif code < 0:
            name = signal.Signals(-code).name
            ends.problems.append(f"task {index} was ended by {name}; the same command goes on from its last checkpoint")
        elif code == TaskExit.DEVICE:
            ends.problems.append(
                f"task {index} could not use its GPU any more; the same command goes on, in a new process"
            )
        elif code not in (TaskExit.DONE, TaskExit.FAILED) and not ends.interrupted:
            ends.problems.append(f"task {index} stopped early (exit status {code}); the same command goes on")


def _leave_out(tasks: Collection[int], waiting: list[int], workers: dict[int, Worker], ends: Ends) -> None:
    """Start none of these tasks, and ask those that run to save and stop; once."""
    for index in set(tasks).difference(ends.cancelled):
        if index in waiting:
            waiting.remove(index)
        elif index in workers:
            workers[index].send_signal(signal.SIGTERM)
        else:
            continue  # it has ended
        ends.cancelled.add(index)


def _signal_all(workers: dict[int, Worker], number: int) -> None:
    for worker in workers.values():
        if worker.poll() is not None:
            continue
        if number == signal.SIGKILL:
            _kill_group(worker)
        else:
            worker.send_signal(number)


def _kill_group(worker: Worker) -> None:
    """Kill a task, or what is left of one that was killed: its trainer's own processes are in its session."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(worker.pid, signal.SIGKILL)
