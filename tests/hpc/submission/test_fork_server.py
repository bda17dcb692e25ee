"""Tasks of a local run are forked from one process, and differ from tasks started by themselves in nothing else."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.command_line import ROOT, Holdfast, environment, statuses
from helpers.held import has_all_the_time_to_save, held_trainer, hold, release
from helpers.small_sweeps import make_store, make_sweep, write_trainer
from helpers.waiting import PATIENCE, wait_until

from hpc.processes import start_time, stat_fields
from hpc.storage.store import Store
from hpc.submission import fork_server, intents, local_workers
from hpc.submission.fork_server import ForkServer, ForkServerError
from hpc.trainers.imports import imported_first

WHERE = """\
import json, os
import numpy as np

FACTORS = {"a": {"kind": "integer"}}
METRICS = {"m": {"kind": "real", "better": "lower"}}


def train(cells, options, run):
    [cell] = cells
    where = [np.random.random(), os.getpid(), os.getsid(0), os.getppid(), len(os.listdir("/proc/self/task"))]
    with open(f"{options['where']}/{cell.name}.json", "x") as file:
        json.dump(where, file)
    run.finish(cell, {"m": 0.0})
"""


def configure(directory: Path, trainer: str, cells: int = 6, **options: Any) -> list[str]:
    """A sweep of as many cells. Returns the words that run it one task after another, one cell each."""
    axis = {trainer_axis(trainer): list(range(1, cells + 1))}
    sweep = {"name": "small", "axes": axis, "runs_per_condition": 1}
    content = {"trainer": f"{trainer}:train", "sweep": sweep, "trainer_options": options}
    (directory / "sweep.yaml").write_text(yaml.safe_dump(content))
    return ["run", "--config", "sweep.yaml", "--parallel-jobs", "1", "--pack", "1"]


def trainer_axis(trainer: str) -> str:
    return "width" if "held" in trainer else "a"


def started(directory: Path, words: list[str], **variables: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "hpc", *words]
    return subprocess.Popen(
        command,
        cwd=directory,
        env=environment() | variables,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def forker(command: int) -> int:
    """The process that forks a command's tasks."""
    found = [pid for pid in children(command) if b"--fork" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    assert len(found) == 1
    return found[0]


def logged(directory: Path, cell: Any) -> list[float]:
    """What a cell's only attempt says of its process."""
    return json.loads((directory / f"{cell.name}.json").read_text())


def in_mid_training(directory: Path) -> Store:
    store = Store(directory / "out")
    wait_until(lambda: store.exists() and max(s.epoch for s in statuses(store)) >= 2, "a cell in mid-training")
    return store


def test_each_task_is_a_process_with_its_own_session_log_and_random_numbers(holdfast: Holdfast, tmp_path: Path) -> None:
    (tmp_path / "where.py").write_text(WHERE)
    assert "6 COMPLETED" in holdfast(*configure(tmp_path, "where.py", where=str(tmp_path))).stdout
    store = Store(tmp_path / "out")
    draws, pids, sessions, parents, threads = zip(*(logged(tmp_path, cell) for cell in store.sweep().grid), strict=True)
    assert len(set(draws)) == len(set(pids)) == 6
    assert sessions == pids
    assert len(set(parents)) == 1, "all come from one process"
    assert parents[0] != os.getpid()
    assert set(threads) == {2}, "the watch on its parent, and nothing that was inherited"


def test_a_library_that_starts_threads_when_it_is_imported_is_not_forked(tmp_path: Path) -> None:
    """Only a process of one thread may be forked: else each task starts by itself, and all of them train."""
    (tmp_path / "where.py").write_text(WHERE)
    words = configure(tmp_path, "where.py", cells=3, where=str(tmp_path))
    # What people set for numpy's linear algebra; its library starts its threads when it is loaded.
    running = started(tmp_path, words, OPENBLAS_NUM_THREADS="2")
    _, said = running.communicate(timeout=PATIENCE)
    assert running.returncode == 0, said
    cells = list(Store(tmp_path / "out").sweep().grid)
    assert {logged(tmp_path, cell)[3] for cell in cells} == {running.pid}


@pytest.mark.parametrize("victim", ["the process that forks", "the command"])
def test_a_task_whose_starter_was_killed_saves_and_ends_and_the_sweep_goes_on(
    holdfast: Holdfast, tmp_path: Path, victim: str
) -> None:
    trainer = held_trainer(tmp_path)
    has_all_the_time_to_save(trainer)
    words = configure(tmp_path, trainer.name, cells=3, epochs=40, seconds=0.1, **hold(tmp_path))
    running = started(tmp_path, words)
    store = in_mid_training(tmp_path)
    server = forker(running.pid)
    task = json.loads(store.paths.pack_file(1).read_text())["pid"]
    begun = start_time(task)
    assert stat_fields(task)[1] == str(server).encode(), "the task is its child"
    os.kill(server if victim == "the process that forks" else running.pid, signal.SIGKILL)
    wait_until(lambda: start_time(task) != begun, "the task's end")
    assert store.paths.generations(1), "it has saved"
    release(tmp_path)
    _, said = running.communicate(timeout=PATIENCE)
    if victim == "the process that forks":
        assert "stopped early" in said
        assert running.returncode == 4
    wait_until(lambda: start_time(server) is None, "the end of the process that forks")
    assert "3 COMPLETED" in holdfast("run", "out").stdout


@pytest.mark.parametrize("then", ["killed", "silent"])
def test_a_server_that_leaves_a_request_unread_is_told_from_one_that_forked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, then: str
) -> None:
    store = make_store(tmp_path / "out", make_sweep(path=write_trainer(tmp_path)))
    tasks = [[cell] for cell in store.sweep().grid]
    intent = intents.begin(store, [tasks], kind=intents.LOCAL, profile="local", name="x", code="")
    server = ForkServer(store.root, intent.number, environment() | {"OMP_NUM_THREADS": "1"})
    [pid] = [pid for pid in children(os.getpid()) if b"--fork" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(pid, signal.SIGSTOP)
    if then == "killed":
        send = socket.send_fds

        def send_and_kill(*given: Any) -> int:
            sent = send(*given)
            os.kill(pid, signal.SIGKILL)
            return sent

        monkeypatch.setattr(socket, "send_fds", send_and_kill)
    else:
        monkeypatch.setattr(fork_server, "_PATIENCE_SECONDS", 0.5)
    with (tmp_path / "log").open("wb") as log, pytest.raises(ForkServerError):
        server.start(0, log.fileno())
    assert not server.serves
    server.close()
    assert not (tmp_path / "out" / "packs").exists(), "and so the task may be started by itself"


def test_an_interrupt_while_the_server_starts_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = make_store(tmp_path / "out", make_sweep(path=write_trainer(tmp_path)))
    tasks = [[cell] for cell in store.sweep().grid]
    intent = intents.begin(store, [tasks], kind=intents.LOCAL, profile="local", name="x", code="")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(local_workers, "ForkServer", interrupted)
    ends = local_workers.run_tasks(store, intent, ROOT, parallel=1, device="cpu", on_poll=lambda: None)
    assert ends.interrupted
    assert not (tmp_path / "out" / "packs").exists()


@pytest.mark.parametrize(
    ("source", "beside", "first"),
    [
        ("import numpy as np\nimport torch.nn\nimport pandas\n", "", ["numpy", "torch.nn"]),
        ("def train():\n    import numpy\n", "", ["numpy"]),
        ("try:\n    import torch\nexcept ImportError:\n    torch = None\n", "", []),
        ("import os\nos.environ['OMP_NUM_THREADS'] = '4'\nimport numpy\n", "", []),
        ("import settings\nimport numpy\n", "settings.py: import os; os.environ['X'] = '1'", []),
        ("import numpy\n", "filelock.py: pass", []),
    ],
)
def test_what_is_imported_before_the_trainer_could_change_nothing(
    tmp_path: Path, source: str, beside: str, first: list[str]
) -> None:
    (tmp_path / "mine.py").write_text(source)
    if beside:
        name, text = beside.split(": ", 1)
        (tmp_path / name).write_text(text)
    assert imported_first(tmp_path / "mine.py", "train") == first
