"""A small storm on a real cluster: a controller that dies under tasks that stop, a node cut off from the network.

`make chaos` has the great one, with a hundred faults and all kinds.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from hpc.sandbox import Sandbox

from .storm import CONTROLLER, CUT, Storm, at_cluster

SEED = 20_267


@pytest.mark.slurm
@pytest.mark.timeout(240)
def test_a_sweep_survives_a_cut_off_node_and_a_dying_controller(tmp_path: Path, cluster: Sandbox) -> None:
    storm = Storm(tmp_path, cluster, SEED, cells=9)
    storm.prepare(steps=300, pace=0.2)
    with at_cluster(cluster):
        storm.submit()
        for fault in (storm.kill_controller, storm.cut_off):
            storm.await_running(6)
            fault()
            storm.operate()
        storm.settle(120)
    assert storm.effective().keys() >= {CONTROLLER, CUT}, storm.effective()
    assert storm.aggregated() == storm.calm()
