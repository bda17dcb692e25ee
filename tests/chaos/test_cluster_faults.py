"""A controller that is not there when a task asks to be requeued; a node that is cut off from the network.

`make chaos` has the great storm, with a hundred faults of all kinds.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.waiting import PATIENCE, comes, wait_until

from hpc.sandbox import cluster as sandbox
from hpc.sandbox.cluster import Sandbox
from hpc.status.early_ends import refused_requeues

from .attempts import ROOT, ForkServer, Hold
from .bench import OPTIONS, Bench
from .storm import CUT, Storm, at_cluster

SEED = 20_267
NOBODY_THERE = """
ClusterName=gone
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort=1
SlurmctldTimeout=1
MessageTimeout=2
AuthType=auth/none
NodeName=n1
PartitionName=p Nodes=n1
"""


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory, slurm_here: None) -> Iterator[Sandbox]:
    """A cluster that soon gives up a node that is silent."""
    with sandbox.up(tmp_path_factory.mktemp("cluster"), slurmd_timeout=5, die_with_owner=True) as found:
        yield found


def test_a_task_that_nobody_can_requeue_saves_and_is_taken_up_by_the_next_submission(
    memory: Path, server: ForkServer, slurm_here: None
) -> None:
    bench, calm = (Bench.make(memory / name, options=OPTIONS) for name in ("out", "calm"))
    calm.run_all(server)
    (memory / "slurm.conf").write_text(NOBODY_THERE)
    script = [ROOT / "slurm_templates" / "task.sh", ROOT, bench.store.paths.root, bench.submission, 0, "cpu", ""]
    hold = Hold.at(memory / "hold", 10)
    environment = os.environ | {"SLURM_JOB_ID": "7", "SLURM_CONF": str(memory / "slurm.conf")} | hold.environment
    with bench.log(0).open("wb") as log:
        shell = subprocess.Popen(["bash", *map(str, script), sys.executable], env=environment, stdout=log, stderr=log)
        hold.reached()
        shell.send_signal(signal.SIGUSR2)
        assert shell.wait(PATIENCE) == 85
    assert "all state is saved; the requeue was refused" in bench.text(0)
    told = refused_requeues(bench.store)
    assert told.startswith("1 task saved and stopped but could not be requeued, on ")
    assert told.endswith("submit again to resume")
    bench.submit()
    assert bench.start(server, 0).wait() == 0
    bench.check_equal(calm)
    assert "restored at step" in bench.store.paths.log_file(bench.tasks[0][0]).read_text()


def test_a_node_that_is_cut_off_while_its_tasks_go_on_changes_no_result(tmp_path: Path, cluster: Sandbox) -> None:
    storm = Storm(tmp_path, cluster, SEED, cells=6)
    storm.prepare(steps=3000, pace=0.5)  # no cell ends before the storm does

    def succeeded() -> bool:
        """Whether a task that was cut off has a successor; a cut that comes as tasks stop by themselves hits none."""
        storm.await_running(6)
        storm.cut_off()
        return comes(lambda: storm.effective()[CUT] >= 1, patience=60, pause=0.3)

    with at_cluster(cluster):
        storm.submit()
        wait_until(succeeded, "a successor of a cut-off task")
        storm.settle()
    assert storm.aggregated() == storm.calm()
