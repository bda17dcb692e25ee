"""Data that vanishes between submission and start: nodes are not blamed, and the reason is told."""

from __future__ import annotations

import os
import shutil
import subprocess

from helpers.command_line import WITH_DATA
from helpers.waiting import PATIENCE
from helpers.workplace import Workplace


def test_tasks_without_their_data_say_so_and_blame_no_node(workplace: Workplace) -> None:
    shutil.copy(WITH_DATA, workplace.directory / "mine.py")
    data = workplace.directory / "data"
    data.mkdir()
    (data / "numbers.txt").write_text("1 2 3")
    sweep = {"name": "gone", "axes": {"width": [1, 2, 3]}, "runs_per_condition": 2}
    config = workplace.write("sweep.yaml", {"trainer": "mine.py:train", "data": {"dir": "data"}, "sweep": sweep})
    prepared = workplace.holdfast("submit", "--config", config, "--profile", "sandbox", "--prepare").stdout
    data.rename(workplace.directory / "elsewhere")
    environment = os.environ | {"SLURM_CONF": str(workplace.cluster.conf)}
    subprocess.run(["bash", "-c", prepared], env=environment, check=True, capture_output=True, timeout=PATIENCE)
    workplace.wait_until_ended()
    told = workplace.holdfast("status", "out", expect=4).stdout
    assert "6 tasks ended before training began, on " in told
    assert "the data of this sweep is missing; put it back" in told
    assert "the data of this sweep is missing" in workplace.holdfast("show", "out", "width_1_run_0").stdout
    workplace.submit(config, expect=2)
    (workplace.directory / "elsewhere").rename(data)
    assert "is excluded" not in workplace.submit(config)
    workplace.wait_until_ended()
    assert workplace.states() == {"COMPLETED": 6}
