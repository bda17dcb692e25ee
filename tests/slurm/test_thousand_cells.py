"""A thousand cells through several arrays, while clients are killed, tasks evicted and the controller restarted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import slurm_daemons
from helpers.waiting import wait_until

from hpc.sandbox.cluster import Sandbox
from hpc.status.sweep import take
from hpc.storage.store import Store

ROOT = Path(__file__).parents[2]
WIDTH = ROOT / "tests" / "trainers" / "width.py"
# One cell a task takes minutes on two cores; the protocol is the same for packs of eight.
PACK = os.environ.get("HOLDFAST_TEST_PACK", "8")
# A minute on two quiet cores; this ends what gets nowhere.
MOST_SECONDS = 3600


@pytest.mark.timeout(MOST_SECONDS + 600)
def test_a_thousand_cells_end_once_each_whatever_happens_meanwhile(
    start_cluster: Callable[..., Sandbox], tmp_path: Path
) -> None:
    (tmp_path / "sweep.yaml").write_text(
        f"trainer: {WIDTH}:train\n"
        "trainer_options: {epochs: 3}\n"
        f"sweep: {{name: thousand, axes: {{width: {list(range(1, 101))}}}, runs_per_condition: 10}}\n"
    )
    with start_cluster(nodes=4, cpus=2, max_array_size=51) as cluster:
        client = submission(tmp_path, cluster)
        store = Store(tmp_path / "out")
        deadline = time.monotonic() + MOST_SECONDS
        wait_until(lambda: store.exists() and store.paths.receipt_file(1).exists(), "a first receipt", pause=0.01)
        client.send_signal(signal.SIGKILL)  # after its first array, before its last
        client.wait()
        assert submission(tmp_path, cluster).wait() == 0
        disturb(cluster, store)
        while (now := take(store)).counts != {"COMPLETED": 1000}:
            assert time.monotonic() < deadline, now.counts
            if now.finished and not now.trouble:  # what was killed outright, or forgotten by the controller
                assert submission(tmp_path, cluster).wait() == 0
            time.sleep(0.5)
        wait_until(lambda: not cluster.slurm.queue(), "the end of tasks whose results are there", pause=0.5)
    numbers = [store.result(cell) for cell in store.sweep().grid]
    assert len({result["outcome_digest"] for result in numbers if result}) == 1000
    assert len(list(store.paths.submissions_root.glob("0*/tasks-*.jsonl"))) >= 3


def submission(directory: Path, cluster: Sandbox) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "hpc", "submit", "--config", "sweep.yaml", "--profile", "sandbox", "--pack", PACK]
    environment = os.environ | {"HOLDFAST_SANDBOX": str(cluster.directory), "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, cwd=directory, env=environment, stderr=subprocess.DEVNULL)


def disturb(cluster: Sandbox, store: Store) -> None:
    """Two evictions of everything that runs, and a controller that goes away and comes back, spread over the run."""
    for share, action in ((100, cluster.preempt), (300, lambda: restart(cluster)), (500, cluster.preempt)):
        wait_until(
            lambda share=share: take(store).counts.get("COMPLETED", 0) >= share,
            f"{share} cells",
            patience=MOST_SECONDS,
            pause=0.2,
        )
        action()


def restart(cluster: Sandbox) -> None:
    slurm_daemons.stop(cluster, "slurmctld")
    time.sleep(1)
    slurm_daemons.start(cluster, "slurmctld")
