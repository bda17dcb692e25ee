"""A cluster that shows nobody the jobs of others: what another member has queued is not taken for gone."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from helpers import slurm_daemons
from helpers.command_line import ROOT
from helpers.users import BOB, becoming, need_other_users
from helpers.waiting import PATIENCE
from helpers.workplace import Workplace

from hpc.sandbox.cluster import Sandbox

# What a command of another member finds out: cells that are queued, and why some only may be.
ASK = (
    "import sys; from pathlib import Path; from hpc.storage.store import Store\n"
    "from hpc.submission.live import queues\n"
    "found = queues(Store(Path(sys.argv[1])))\n"
    "print(len(found.tasks), len(found.cells), *found.unasked)\n"
)


def asked_by_bob(workplace: Workplace) -> str:
    command = [*becoming(BOB), sys.executable, "-c", ASK, str(workplace.store().root)]
    around = os.environ | {"SLURM_CONF": str(workplace.cluster.conf)}
    done = subprocess.run(command, cwd=ROOT, env=around, capture_output=True, text=True, timeout=PATIENCE)
    assert not done.returncode, done.stderr
    return done.stdout.strip()


def test_what_another_member_has_queued_where_jobs_are_private_counts_as_queued(
    tmp_path: Path, start_cluster: Callable[..., Sandbox]
) -> None:
    need_other_users()
    cluster = start_cluster()
    workplace = Workplace(tmp_path, cluster)
    slurm_daemons.reconfigure(cluster, "PrivateData=accounts,jobs")
    config = workplace.foreign(widths=[1, 2, 3], epochs=2)
    workplace.submit(config, "--prepare")
    job = cluster.slurm.sbatch(workplace.store().paths.array_script(1, 0), ["--hold"])
    said = asked_by_bob(workplace)
    assert said.startswith("0 3 3 cells may be queued on cluster sandbox")
    assert "PrivateData" in said
    with workplace.on_cluster():
        subprocess.run(["scontrol", "release", job], check=True)
    workplace.wait_until_ended()
    assert asked_by_bob(workplace) == "0 0", "what has a result is not queued"


def test_where_jobs_are_public_the_queue_says_what_another_member_has(
    tmp_path: Path, start_cluster: Callable[..., Sandbox]
) -> None:
    need_other_users()
    cluster = start_cluster()
    workplace = Workplace(tmp_path, cluster)
    workplace.submit(workplace.foreign(widths=[1, 2, 3], epochs=2), "--prepare")
    assert asked_by_bob(workplace) == "0 0"
    cluster.slurm.sbatch(workplace.store().paths.array_script(1, 0), ["--hold"])
    assert asked_by_bob(workplace) == "3 3"
