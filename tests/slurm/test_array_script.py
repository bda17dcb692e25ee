"""slurm_templates/array.sbatch: tasks prepared by Holdfast, queued by a person with sbatch alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.waiting import PATIENCE, wait_until
from helpers.workplace import Workplace

from hpc.protocol import CONFIG_DIGEST, SWEEP_DIGEST
from hpc.storage.store import Store

# Everything that a shell and sbatch could take for something else.
OUT = "out here 100%"
TEMPLATE = Path(__file__).parents[2] / "slurm_templates" / "array.sbatch"


@pytest.fixture
def script(workplace: Workplace) -> Path:
    """The shipped script, with the one line edited that a user must edit."""
    path = workplace.directory / "my scripts" / "mine.sbatch"
    path.parent.mkdir()
    text = TEMPLATE.read_text().replace("\npython=python3\n", f"\npython={sys.executable}\n")
    path.write_text(text.replace("--mem=4G", "--mem=1G"))
    return path


def prepare(workplace: Workplace, epochs: int) -> None:
    config = workplace.foreign(widths=[1, 2, 3], epochs=epochs, held=epochs > 1)
    workplace.submit(config, "--prepare", out=OUT)
    assert workplace.cluster.slurm.queue() == []


def bash(workplace: Workplace, *arguments: str) -> str:
    queued = {CONFIG_DIGEST: "another task's", SWEEP_DIGEST: "another task's"}  # as where a person is in a task
    environment = os.environ | queued | {"SLURM_CONF": str(workplace.cluster.conf)}
    done = subprocess.run(
        ["bash", *arguments], cwd=workplace.directory, env=environment, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_prepared_tasks_run_are_seen_by_status_and_come_back_from_a_preemption(
    workplace: Workplace, script: Path
) -> None:
    prepare(workplace, epochs=40)
    line = bash(workplace, str(script), OUT, "1")
    assert len(line.splitlines()) == 1
    bash(workplace, "-c", line)
    wait_until(lambda: min(workplace.epochs(OUT)) >= 3, "every cell in mid-training")
    assert workplace.states(OUT) == {"RUNNING": 3}
    assert len(workplace.cluster.preempt(hold_seconds=1)) == 3
    workplace.release()
    wait_until(lambda: not workplace.cluster.slurm.queue(), "the end of all tasks")
    results = workplace.results(OUT).values()
    assert [result["status"] for result in results] == ["COMPLETED"] * 3
    assert all(result["provenance"]["restored_at_step"] >= 3 for result in results)


def test_the_script_of_an_array_says_what_its_tasks_train_where_a_group_shares_the_directory(
    workplace: Workplace,
) -> None:
    (workplace.directory / OUT).mkdir()
    (workplace.directory / OUT).chmod(0o2770)
    prepare(workplace, epochs=1)
    store = Store(workplace.directory / OUT)
    text = store.paths.array_script(1, 0).read_text()
    assert f" {SWEEP_DIGEST}={store.sweep().task_digest} " in text


def test_what_was_never_prepared_is_one_line_with_the_fix(tmp_path: Path) -> None:
    for arguments, said in (([], "usage"), ([str(tmp_path), "3"], "no array 0 is prepared here")):
        done = subprocess.run(["bash", str(TEMPLATE), *arguments], capture_output=True, text=True, timeout=PATIENCE)
        assert (done.returncode, said in done.stderr) == (2, True), done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_a_job_of_another_name_is_refused_since_status_would_not_find_it(workplace: Workplace, script: Path) -> None:
    prepare(workplace, epochs=1)
    line = bash(workplace, str(script), OUT, "1")
    bash(workplace, "-c", line.replace("--job-name=", "--job-name=my-"))
    wait_until(lambda: not workplace.cluster.slurm.queue(), "the end of all tasks")
    store = workplace.store(OUT)
    assert "this job must be called foreign-1.0-" in store.paths.task_log(1, 0, 0).read_text()
    assert not store.present()
