"""A task of several processes: one for each of its GPUs, or, for cells trained side by side, one for each cell.

A worker is this same task again, told by variables which cells are its own and which GPU. Signals go to all of them,
and what they say at their end becomes one exit status.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

from hpc import protocol
from hpc.node.stop import STOP_SIGNALS, StopFlag
from hpc.protocol import TaskExit

_POLL_SECONDS = 0.1


class WorkersError(Exception):
    """The node has not given what the profile asks for; the message says what is missing."""


def wanted(cells: int, concurrent: bool, environment: Mapping[str, str] = os.environ) -> int:
    """How many workers a task of so many cells starts; 0 if this process is to do the work itself.

    concurrent: whether each cell wants a process of its own, also beside others on one GPU.
    """
    if protocol.CELLS in environment:
        return 0
    count = max(_gpus(environment), cells if concurrent else 1)
    return count if count > 1 else 0


def _gpus(environment: Mapping[str, str]) -> int:
    """GPUs that the task deals out to workers; 1 where it leaves to its only process what there is."""
    count = environment.get(protocol.WORKERS, "1")
    return int(count) if count.isdecimal() and int(count) > 1 else 1


def chosen(count: int, environment: Mapping[str, str] = os.environ) -> list[int]:
    """Which of a task's ``count`` cells are this process's."""
    dealt = environment.get(protocol.CELLS)
    return list(range(count)) if dealt is None else [int(word) for word in dealt.split(",")]


def beside(environment: Mapping[str, str] = os.environ) -> int:
    """How many processes train the task's cells side by side, this one included."""
    return int(environment.get(protocol.SIDE_BY_SIDE, "1")) if protocol.CELLS in environment else 1


def deal(cells: Sequence[int], workers: int) -> list[list[int]]:
    """Cells in turn to the workers; no worker without a cell."""
    return [list(cells[first::workers]) for first in range(min(workers, len(cells)))]


def run(arguments: Sequence[str], rounds: Sequence[Sequence[int]], workers: int, stop: StopFlag) -> int | None:
    """Run the task's cells in worker processes and wait for all. Returns the exit status of the whole; None if it was
    asked to stop before the first of them began: then none has left word of it.

    arguments: of hpc.node.task. rounds: groups of positions in the task, of cells that are still to do; a group begins
    when the one before it has ended. workers: how many the whole task is for; they share its CPUs.
    Raises WorkersError if the job has fewer GPUs than the profile says.
    """
    devices = _devices()
    statuses: list[int] = []
    for cells in rounds:
        if stop():
            return combined([*statuses, TaskExit.STOPPED]) if statuses else None
        environments = _environments(deal(cells, workers), devices, workers)
        statuses += _wait(_start(arguments, environments), stop)
    return combined(statuses)


def combined(statuses: Sequence[int]) -> int:
    """One exit status for all workers: stopped if one was, else the gravest; a signal counts as a shell's 128 + n."""
    plain = [status if status >= 0 else 128 - status for status in statuses]
    return TaskExit.STOPPED if TaskExit.STOPPED in plain else max(plain, default=TaskExit.DONE)


def _start(arguments: Sequence[str], environments: Sequence[dict[str, str]]) -> list[subprocess.Popen[bytes]]:
    command = [sys.executable, "-P", "-m", "hpc.node.task", *arguments]
    # Blocked, not ignored: a signal that comes while a worker imports waits there until its handlers are in place.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        return [subprocess.Popen(command, env=found, stdin=subprocess.DEVNULL) for found in environments]
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)


def _wait(processes: Sequence[subprocess.Popen[bytes]], stop: StopFlag) -> list[int]:
    forwarded = False
    while any(process.poll() is None for process in processes):
        if stop() and not forwarded:
            for process in processes:
                process.send_signal(signal.SIGTERM)
            forwarded = True
        time.sleep(_POLL_SECONDS)
    for process in processes:
        if process.returncode < 0:  # it can say nothing itself any more; its cells' next attempt reads this
            name = signal.Signals(-process.returncode).name
            print(f"worker process {process.pid} ended by {name}", file=sys.stderr, flush=True)
    return [process.returncode for process in processes]


def _devices() -> list[str]:
    """What CUDA_VISIBLE_DEVICES says to the workers, in turn; nothing if they all see what this process sees."""
    count = _gpus(os.environ)
    if count == 1:
        return []
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is None:  # a site that hides no GPU from anybody: those of the node are numbered from 0
        return [str(number) for number in range(count)]
    names = [name for name in given.split(",") if name]
    if len(names) < count:
        raise WorkersError(
            f"the profile asks for {count} GPUs a node, but this job got {len(names)} "
            f"(CUDA_VISIBLE_DEVICES={given}); see gpus_per_node in the profile"
        )
    return names[:count]


def _environments(shares: Sequence[Sequence[int]], devices: Sequence[str], workers: int) -> list[dict[str, str]]:
    """What each of these workers finds in its environment."""
    cpus = os.environ.get("SLURM_CPUS_PER_TASK") or os.environ.get(protocol.THREADS) or "1"
    threads = str(max(1, int(cpus) // workers))
    common = os.environ | {
        "SLURM_CPUS_PER_TASK": threads,
        "OMP_NUM_THREADS": threads,
        protocol.PARENT: str(os.getpid()),
        # A process with a GPU of its own has no neighbours that it could be killed for.
        protocol.SIDE_BY_SIDE: str(len(shares) if workers > max(1, len(devices)) else 1),
    }
    found = []
    for position, share in enumerate(shares):
        device = {"CUDA_VISIBLE_DEVICES": devices[position % len(devices)]} if devices else {}
        found.append(common | device | {protocol.CELLS: ",".join(map(str, share))})
    return found
