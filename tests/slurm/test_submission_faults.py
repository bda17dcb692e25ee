"""Two hundred submissions with faults at every point, on a real controller: every cell queued once, always."""

from __future__ import annotations

import os
import random
import signal
import stat
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import slurm_daemons

from hpc.planning.plan import make_plan
from hpc.sandbox.cluster import Sandbox
from hpc.sandbox.programs import find_program
from hpc.slurm.commands import SlurmError
from hpc.slurm.profile_file import parse_profile
from hpc.storage.revisions import write_sweep
from hpc.storage.store import Store
from hpc.submission.arrays import submit
from hpc.submission.live import live_tasks, queues
from hpc.submission.lock import lock
from hpc.sweep.definition import DeclaredTrainer, Sweep
from hpc.sweep.grid import Axis, Grid

FAULTY_SUBMISSIONS = 200
WIDTH = Path(__file__).parents[1] / "trainers" / "width.py"
FAULTS = ("none", "fail", "fail_after", "kill_before", "kill_after", "garbage")

# sbatch as a cluster with troubles has it: the real one, with a fault of the kind the environment names.
SBATCH = """#!/bin/sh
case "$FAULT" in
    fail) echo 'sbatch: error: Batch job submission failed: Socket timed out on send/recv operation' >&2; exit 1 ;;
    kill_before) kill -9 $PPID; exit 1 ;;
esac
{real} "$@" > {out} || exit 1
case "$FAULT" in
    fail_after) echo 'sbatch: error: Batch job submission failed: Socket timed out' >&2; exit 1 ;;
    kill_after) kill -9 $PPID; exit 1 ;;
    garbage) echo 'welcome to the cluster'; exit 0 ;;
esac
cat {out}
"""


@pytest.fixture
def held_profile() -> object:
    """Tasks that wait for ever, so that the queue can be counted."""
    raw = {"partition": "low", "timeout_min": 5, "additional_parameters": {"hold": True}}
    return parse_profile("held", raw, "held.yaml")


def faulty_sbatch(directory: Path) -> Path:
    real = find_program("sbatch")
    assert real is not None
    program = directory / "bin" / "sbatch"
    program.parent.mkdir()
    program.write_text(SBATCH.format(real=real, out=directory / "answer"))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program.parent


def in_a_process_of_its_own(action: Callable[[], None]) -> int:
    """Run an action in a forked process, as a client that may be killed. Returns its wait status."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            action()
            code = 0
        except SlurmError:
            code = 3
        finally:
            os._exit(code)
    return os.waitpid(pid, 0)[1]


def small_sweep() -> Sweep:
    trainer = DeclaredTrainer(
        "width.py:train", str(WIDTH), {"width": {"kind": "integer"}}, {"error": {"kind": "positive"}}
    )
    grid = Grid((Axis("width", (1, 2, 3, 4)),), (42, 43))
    analysis = {"primary_metrics": ["error"], "reference": None, "alpha": 0.05}
    return Sweep("faulty", grid, trainer, {"epochs": 1}, {}, "", analysis, 60.0, {"weights": "final"})


def queued(store: Store) -> Counter[str]:
    return Counter(cell for task in live_tasks(store) for cell in task.cells)


def test_two_hundred_faulty_submissions_double_and_lose_nothing(
    start_cluster: Callable[..., Sandbox], tmp_path: Path, held_profile: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed = int.from_bytes(os.urandom(4), "big")
    print(f"seed {seed}", file=sys.stderr)
    chance = random.Random(seed)
    monkeypatch.setenv("PATH", f"{faulty_sbatch(tmp_path)}:{os.environ['PATH']}")
    monkeypatch.setattr("hpc.submission.arrays._LOOK_UP_SECONDS", 0.0)
    sweep = small_sweep()
    seen: Counter[str] = Counter()
    with start_cluster(nodes=1) as cluster:
        submissions = round_number = 0
        while submissions < FAULTY_SUBMISSIONS:
            store = Store(tmp_path / f"out{round_number}")
            write_sweep(store, sweep, {})
            while True:
                fault = chance.choice(FAULTS)
                monkeypatch.setenv("FAULT", fault)
                ended = in_a_process_of_its_own(lambda s=store: one_submission(s, sweep, held_profile, cluster))
                submissions += 1
                seen[f"{fault}:{signal.Signals(ended).name if os.WIFSIGNALED(ended) else os.WEXITSTATUS(ended)}"] += 1
                assert set(queued(store).values()) <= {1}, f"doubled after {fault}: {queued(store)}"
                if ended == 0:
                    break
            assert queued(store) == Counter(cell.name for cell in sweep.grid)
            cluster.slurm.cancel(cluster.slurm.queue())
            round_number += 1
    print(dict(seen), file=sys.stderr)
    assert seen["kill_after:SIGKILL"] > 5
    assert seen["kill_before:SIGKILL"] > 5
    assert seen["fail:3"] > 5
    assert seen["fail_after:0"] + seen["garbage:0"] > 5


def one_submission(store: Store, sweep: Sweep, profile: object, cluster: Sandbox) -> None:
    """What `holdfast submit` does, without its start-up."""
    with lock(store, "test") as held:
        seen = queues(store)
        planned = make_plan(store.statuses(sweep.grid, sweep), queued=seen.cells, largest_array=3)
        if planned.tasks:
            submit(store, sweep, planned, profile, held, seen, conf=cluster.conf)


def test_jobs_that_a_crashed_controller_forgot_are_queued_again(
    start_cluster: Callable[..., Sandbox], tmp_path: Path, held_profile: object
) -> None:
    sweep, store = small_sweep(), Store(tmp_path / "out")
    write_sweep(store, sweep, {})
    with start_cluster(nodes=1) as cluster:
        one_submission(store, sweep, held_profile, cluster)
        slurm_daemons.kill(cluster, "slurmctld")
        slurm_daemons.start(cluster, "slurmctld")
        one_submission(store, sweep, held_profile, cluster)
        assert queued(store) == Counter(cell.name for cell in sweep.grid)
