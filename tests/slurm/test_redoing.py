"""A redo of cells whose task lives: it trains, is saving, waits to run again, or was given up with its node."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import slurm_daemons
from helpers.waiting import PATIENCE, wait_until
from helpers.workplace import Workplace, outcomes

from hpc.sandbox.cluster import Sandbox

# Cells one after another. The first ends at once, the second when the file `end` is there. Asked to stop, it saves as
# soon as `save` is there. In its first start a task waits for `copy` before it ends a cell that `late` names.
TRAINER = """
import os, time
from pathlib import Path
from training.contract import Checkpoint
FACTORS = {"width": {"kind": "integer"}}
METRICS = {"error": {"kind": "positive", "better": "lower"}}
OPTIONS = ["here", "late"]
def train(cells, options, run):
    here = Path(options["here"])
    for cell in cells:
        saved = run.restore(cell)
        epoch = saved.step if saved else 0
        width = cell.factors["width"]
        while width > 1 and not (here / "end").exists() and not run.stop:
            epoch += 1
            run.epoch(cell, epoch, 10**6, {"error": 1.0})
            time.sleep(0.05)
        if run.stop:
            (here / "saving").touch()
            while not (here / "save").exists():
                time.sleep(0.05)
            run.save({cell: Checkpoint(epoch)})
            return
        if width == options["late"] and "SLURM_RESTART_COUNT" not in os.environ:
            (here / "waits").touch()
            while not (here / "copy").exists():
                time.sleep(0.05)
        run.finish(cell, {"error": 1.0 / width})
"""
FIRST, SECOND = "width_1_run_0", "width_2_run_0"


def submitted(workplace: Workplace, late: int = 0, pack: int = 2) -> None:
    """Two cells in the queue, as one task or two."""
    (workplace.directory / "two.py").write_text(TRAINER)
    options = {"here": str(workplace.directory), "late": late}
    sweep = {"name": "two", "axes": {"width": [1, 2]}, "runs_per_condition": 1}
    content = {"trainer": "two.py:train", "trainer_options": options, "sweep": sweep}
    workplace.submit(workplace.write("sweep.yaml", content), "--pack", str(pack))


def touch(workplace: Workplace, name: str) -> None:
    (workplace.directory / name).touch()


def there(workplace: Workplace, name: str) -> Callable[[], bool]:
    return (workplace.directory / name).exists


def slurm(workplace: Workplace, *command: str) -> None:
    environment = os.environ | {"SLURM_CONF": str(workplace.cluster.conf)}
    subprocess.run(command, env=environment, check=True, capture_output=True)


def check_refused(workplace: Workplace) -> None:
    """A redo of the finished cell changes nothing, and one line says why."""
    result = workplace.store().paths.cell_directory(workplace.store().sweep().grid[0]) / "results.json"
    before = result.read_bytes()
    said = workplace.holdfast("redo", "out", "--cell", FIRST, "-y", expect=3).stderr.splitlines()
    assert len(said) == 1, said
    assert f"{FIRST} is part of a task that is queued or running; wait for it, or holdfast cancel" in said[0]
    assert result.read_bytes() == before
    assert workplace.store().redos(FIRST) == []


def test_a_finished_cell_is_not_redone_while_its_task_trains_saves_or_waits_to_run_again(workplace: Workplace) -> None:
    submitted(workplace)
    wait_until(lambda: workplace.states() == {"COMPLETED": 1, "RUNNING": 1}, "the first cell ended, the second trains")
    check_refused(workplace)
    (task,) = workplace.cluster.slurm.queue()
    slurm(workplace, "scontrol", "hold", task.id)  # once it is requeued, it waits
    slurm(workplace, "scancel", "--batch", "--signal=USR2", task.id)
    wait_until(there(workplace, "saving"), "a task that saves")
    check_refused(workplace)
    touch(workplace, "save")
    wait_until(lambda: [task.state for task in workplace.cluster.slurm.queue()] == ["PENDING"], "a task that waits")
    check_refused(workplace)
    slurm(workplace, "scontrol", "release", task.id)
    touch(workplace, "end")
    workplace.wait_until_ended()
    assert workplace.attempts() == {1, 2}
    before = workplace.results()
    wait_until(lambda: not workplace.cluster.slurm.queue(), "an empty queue")
    workplace.holdfast("redo", "out", "--cell", FIRST, "--profile", "sandbox", "-y")
    workplace.wait_until_ended()
    after = workplace.results()
    assert outcomes(after) == outcomes(before)
    assert [entry["redo"] for entry in after[FIRST]["provenance"]["redone"]] == [2]
    assert after[SECOND] == before[SECOND]


def test_a_finished_cell_is_not_redone_while_its_cancelled_task_still_saves(workplace: Workplace) -> None:
    submitted(workplace)
    wait_until(lambda: workplace.states() == {"COMPLETED": 1, "RUNNING": 1}, "the first cell ended, the second trains")
    workplace.holdfast("cancel", "out", "-y")
    wait_until(there(workplace, "saving"), "a cancelled task that saves")
    check_refused(workplace)
    touch(workplace, "save")
    wait_until(lambda: not workplace.cluster.slurm.queue(), "an empty queue")
    workplace.holdfast("redo", "out", "--cell", FIRST, "-y")
    assert workplace.states() == {"MISSING": 1, "STARTED": 1}
    touch(workplace, "end")
    workplace.holdfast("submit", "out", "--profile", "sandbox")
    workplace.wait_until_ended()
    assert workplace.states() == {"COMPLETED": 2}
    assert workplace.results()[SECOND]["provenance"]["restored_at_step"] >= 1
    assert len(workplace.results()[FIRST]["provenance"]["redone"]) == 1


def test_a_submission_that_waits_trains_what_is_redone_meanwhile(workplace: Workplace) -> None:
    submitted(workplace, pack=1)
    waiting = workplace.start("submit", "out", "--profile", "sandbox", "--wait")
    wait_until(lambda: workplace.states() == {"COMPLETED": 1, "RUNNING": 1}, "the first cell ended, the second trains")
    wait_until(lambda: len(workplace.cluster.slurm.queue()) == 1, "the first cell's task gone")
    assert waiting.poll() is None

    def redone() -> bool:  # it is refused while the submission, between two waits, has the lock
        return workplace.holdfast("redo", "out", "--cell", FIRST, "-y", expect=None).returncode == 0

    wait_until(redone, "the redo")
    touch(workplace, "end")
    said, errors = waiting.communicate(timeout=PATIENCE)
    assert waiting.returncode == 0, said + errors
    assert workplace.states() == {"COMPLETED": 2}
    assert [len(result["provenance"].get("redone", [])) for result in workplace.results().values()] == [1, 0]


def test_a_copy_that_ends_after_a_redo_on_a_node_that_was_given_up_changes_nothing(
    start_cluster: Callable[..., Sandbox], tmp_path: Path
) -> None:
    elsewhere = ("unshare", "--fork", "--pid", "--mount-proc")
    if not shutil.which("unshare") or subprocess.run([*elsewhere, "true"], capture_output=True).returncode:
        pytest.skip("needs a PID namespace of its own: unshare, as root")
    with start_cluster(nodes=2) as cluster:
        workplace = Workplace(tmp_path, cluster)
        touch(workplace, "end")
        submitted(workplace, late=1)
        wait_until(there(workplace, "waits"), "a first start that has trained")
        (task,) = cluster.slurm.queue()
        old = int(workplace.store().pack_record(1)["pid"])
        # The daemon; the training lives on, as on a node that the network has lost.
        slurm_daemons.kill(cluster, task.node)
        slurm_daemons.give_up(cluster, task.node)
        wait_until(lambda: workplace.states() == {"COMPLETED": 2}, "the requeued task's results")
        wait_until(lambda: not cluster.slurm.queue(), "an empty queue")
        try:
            # From this machine the copy is seen; from another one, on which its process cannot be seen, it is not.
            check_refused(workplace)
            command = [*elsewhere, sys.executable, "-m", "hpc", "redo", "out", "--cell", FIRST, "-y"]
            subprocess.run(command, cwd=tmp_path, env=workplace.environment(), check=True, capture_output=True)
            assert workplace.states() == {"COMPLETED": 1, "MISSING": 1}
            touch(workplace, "copy")
            wait_until(lambda: not Path(f"/proc/{old}").exists(), "the end of the copy")
        finally:
            if Path(f"/proc/{old}").exists():
                os.kill(old, signal.SIGKILL)
        assert workplace.states() == {"COMPLETED": 1, "MISSING": 1}, "what was trained before the redo counts no more"
        workplace.holdfast("submit", "out", "--profile", "sandbox")
        workplace.wait_until_ended()
        assert workplace.states() == {"COMPLETED": 2}
        result = workplace.results()[FIRST]
        assert [entry["redo"] for entry in result["provenance"]["redone"]] == [2]
        assert workplace.store().paths.conflict_files(workplace.store().sweep().grid[0]) == []
