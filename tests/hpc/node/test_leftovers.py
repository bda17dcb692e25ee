"""What a trainer leaves behind, a thread or a process, does not keep a task that has ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.small_sweeps import ROOT, make_grid, make_store, make_sweep, submit, write_trainer
from helpers.waiting import wait_until

from hpc.storage.store import Store
from hpc.submission.fork_server import ForkedTask, ForkServer

# Leaves behind what `left` names, and ends or is asked to stop.
TRAINER = """
import atexit, multiprocessing, os, signal, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import hpc.node.stop
from training.contract import Checkpoint

class Odd(BaseException):
    pass

def for_ever():
    threading.Event().wait()

def briefly(here):
    while threading.main_thread().is_alive():  # until the main thread has come to its end
        time.sleep(0.01)
    (here / "thread").touch()

def train(cells, options, run):
    here = Path(options["here"])
    print("the trainer's output", flush=True)
    atexit.register(print, "said at exit")
    atexit.register((here / "atexit").touch)
    if options["left"] == "thread":
        threading.Thread(target=for_ever, name="left over").start()
    if "process" in options["left"]:  # as a daemon, it is sent TERM at exit, of which it has our handler
        multiprocessing.get_context("fork").Process(target=for_ever, daemon="daemon" in options["left"]).start()
    if options["left"] == "atexit":
        atexit.register(for_ever)
    if options["left"] == "brief":
        hpc.node.stop._LEFTOVERS_SECONDS, hpc.node.stop._ATEXIT_SECONDS = 300, 600
        threading.Thread(target=briefly, args=(here,)).start()
        ThreadPoolExecutor().submit(int)  # its thread waits for work until Python itself ends it
    if options["end"] == "stopped":
        os.kill(os.getpid(), signal.SIGUSR2)
        while not run.stop:
            time.sleep(0.01)
        run.save({cells[0]: Checkpoint(step=1)})
        return
    if options["end"] == "odd":
        raise Odd
    run.finish(cells[0], {"loss": 1.0})
"""


def sweep_of(directory: Path, left: str, end: str) -> Store:
    path = write_trainer(directory / "trainer", TRAINER)
    options = {"left": left, "end": end, "here": str(directory)}
    return make_store(directory / "out", make_sweep(make_grid([1], [42]), path=path, options=options))


@contextlib.contextmanager
def task_of(store: Store, log: Path, forked: bool) -> Iterator[ForkedTask | subprocess.Popen[bytes]]:
    """Its process, started in one of both ways in which a task's comes to be; killed if it is still there."""
    number = submit(store, list(store.sweep().grid))
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}  # one thread, to be forked
    with log.open("wb") as output, contextlib.ExitStack() as stack:
        if forked:
            server = ForkServer(store.root, number, environment)
            stack.callback(server.close)
            task: ForkedTask | subprocess.Popen[bytes] = server.start(0, output.fileno())
        else:
            command = [sys.executable, "-P", "-m", "hpc.node.task", str(store.paths.root), str(number), "0", "0"]
            task = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
        try:
            yield task
        finally:
            task.send_signal(signal.SIGKILL)


def status_of(store: Store, log: Path, forked: bool = False) -> int | None:
    with task_of(store, log, forked) as task:
        wait_until(lambda: task.poll() is not None, "the task's end")
        return task.returncode


@pytest.mark.parametrize("forked", [False, True], ids=["fresh", "forked"])
@pytest.mark.parametrize(("end", "status"), [("done", 0), ("stopped", 85)])
def test_a_thread_that_a_trainer_leaves_does_not_keep_its_task(
    tmp_path: Path, end: str, status: int, forked: bool
) -> None:
    store = sweep_of(tmp_path, "thread", end)
    assert status_of(store, tmp_path / "log", forked) == status
    said = store.paths.pack_log(1).read_text()
    assert "the trainer's output" in said
    assert "the task ends without what the trainer has left running: thread 'left over'" in said
    assert store.paths.generations(1) if end == "stopped" else store.result(store.sweep().grid[0])


@pytest.mark.parametrize("left", ["process", "daemon process"])
def test_a_process_that_a_trainer_leaves_does_not_keep_its_task(tmp_path: Path, left: str) -> None:
    store = sweep_of(tmp_path, left, "stopped")
    assert status_of(store, tmp_path / "log") == 85
    assert "what the trainer has left running: process " in store.paths.pack_log(1).read_text()


def test_nor_does_a_thread_keep_a_task_that_ends_with_an_exception_nobody_expects(tmp_path: Path) -> None:
    store = sweep_of(tmp_path, "thread", "odd")
    assert status_of(store, tmp_path / "log") == 1
    assert "Odd" in store.paths.pack_log(1).read_text()


@pytest.mark.slow
def test_a_function_that_hangs_at_exit_does_not_keep_a_task(tmp_path: Path) -> None:
    store = sweep_of(tmp_path, "atexit", "stopped")
    assert status_of(store, tmp_path / "log") == 85


@pytest.mark.parametrize("forked", [False, True], ids=["fresh", "forked"])
@pytest.mark.parametrize(("end", "status"), [("done", 0), ("stopped", 85)])
def test_threads_that_end_in_time_and_what_is_done_at_exit_are_waited_for(
    tmp_path: Path, end: str, status: int, forked: bool
) -> None:
    store = sweep_of(tmp_path, "brief", end)
    assert status_of(store, tmp_path / "log", forked) == status
    assert (tmp_path / "thread").exists()
    assert (tmp_path / "atexit").exists()
    assert store.paths.pack_log(1).read_text() == "the trainer's output\nsaid at exit\n"
