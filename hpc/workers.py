"""A task that has several GPUs: one worker process for each, the task's cells dealt among them.

A worker is this same task again, told by two variables which cells are its own and which GPU. Signals go to all of
them, and what they say at their end becomes one exit status.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

from hpc.stop import STOP_SIGNALS, StopFlag

CELLS_VARIABLE = "HOLDFAST_CELLS"
_WORKERS_VARIABLE = "HOLDFAST_WORKERS"
_POLL_SECONDS = 0.1
_EXIT_STOPPED = 85


class WorkersError(Exception):
    """The node has not given what the profile asks for; the message says what is missing."""


def wanted(environment: Mapping[str, str] = os.environ) -> int:
    """How many workers this process should start; 0 if it is to do the work itself."""
    if CELLS_VARIABLE in environment:
        return 0
    count = environment.get(_WORKERS_VARIABLE, "1")
    return int(count) if count.isdecimal() and int(count) > 1 else 0


def chosen(count: int, environment: Mapping[str, str] = os.environ) -> list[int]:
    """Which of a task's ``count`` cells are this process's."""
    dealt = environment.get(CELLS_VARIABLE)
    return list(range(count)) if dealt is None else [int(word) for word in dealt.split(",")]


def deal(cells: Sequence[int], workers: int) -> list[list[int]]:
    """Cells in turn to the workers; no worker without a cell."""
    return [list(cells[first::workers]) for first in range(min(workers, len(cells)))]


def run(arguments: Sequence[str], cells: Sequence[int], workers: int, stop: StopFlag) -> int:
    """Run the task's cells in worker processes and wait for all. Returns the exit status of the whole.

    arguments: of hpc.task. cells: positions in the task, of those that are still to do.
    Raises WorkersError if the job has fewer GPUs than workers.
    """
    devices = _devices(workers)
    processes: list[subprocess.Popen[bytes]] = []
    # Blocked, not ignored: a signal that comes while a worker imports waits there until its handlers are in place.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        for share, device in zip(deal(cells, workers), devices, strict=False):
            environment = _environment(share, device, workers)
            command = [sys.executable, "-P", "-m", "hpc.task", *arguments]
            processes.append(subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL))
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    return combined(_wait(processes, stop))


def combined(statuses: Sequence[int]) -> int:
    """One exit status for all workers: stopped if one was, else the gravest; a signal counts as a shell's 128 + n."""
    plain = [status if status >= 0 else 128 - status for status in statuses]
    return _EXIT_STOPPED if _EXIT_STOPPED in plain else max(plain, default=0)


def _wait(processes: Sequence[subprocess.Popen[bytes]], stop: StopFlag) -> list[int]:
    forwarded = False
    while any(process.poll() is None for process in processes):
        if stop() and not forwarded:
            for process in processes:
                process.send_signal(signal.SIGTERM)
            forwarded = True
        time.sleep(_POLL_SECONDS)
    return [process.returncode for process in processes]


def _devices(workers: int) -> list[str]:
    """What CUDA_VISIBLE_DEVICES says to each worker."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is None:  # a site that hides no GPU from anybody: those of the node are numbered from 0
        return [str(number) for number in range(workers)]
    names = [name for name in given.split(",") if name]
    if len(names) < workers:
        raise WorkersError(
            f"the profile asks for {workers} GPUs a node, but this job got {len(names)} "
            f"(CUDA_VISIBLE_DEVICES={given}); see gpus_per_node in the profile"
        )
    return names


def _environment(share: Sequence[int], device: str, workers: int) -> dict[str, str]:
    cpus = os.environ.get("SLURM_CPUS_PER_TASK", "1")
    threads = str(max(1, int(cpus) // workers))
    return os.environ | {
        "CUDA_VISIBLE_DEVICES": device,
        CELLS_VARIABLE: ",".join(map(str, share)),
        "SLURM_CPUS_PER_TASK": threads,
        "OMP_NUM_THREADS": threads,
        "HOLDFAST_PARENT": str(os.getpid()),
    }
