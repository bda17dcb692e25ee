"""Where a sweep lies, on a real cluster: copies, names that Slurm reads in its own way, refusals that leave nothing."""

from __future__ import annotations

import shlex
import shutil
import sys

import pytest
import yaml
from helpers.waiting import wait_until
from helpers.workplace import Workplace


def submit_and_hold(workplace: Workplace) -> None:
    """Two cells that wait in mid-training, and save nothing meanwhile."""
    config = workplace.foreign(widths=[1, 2], epochs=40, held=True)
    content = yaml.safe_load((workplace.directory / config).read_text()) | {"checkpoint": {"every_seconds": 3600}}
    workplace.submit(workplace.write(config, content))
    wait_until(lambda: min(workplace.epochs()) >= 3, "every cell in mid-training")


def test_a_command_in_a_copy_leaves_the_tasks_of_the_original_alone(workplace: Workplace) -> None:
    submit_and_hold(workplace)
    # Of what is just being written, cp -r would say that it has vanished.
    shutil.copytree(workplace.directory / "out", workplace.directory / "copy", ignore=shutil.ignore_patterns(".*.tmp"))
    said = workplace.holdfast("cancel", "copy", "-y").stderr
    assert f"note: this is a copy of {workplace.directory}/out, whose tasks are left alone" in said
    assert "RUNNING" not in workplace.states("copy")
    assert "this is a copy of" in workplace.holdfast("status", "copy", expect=None).stdout
    assert workplace.states() == {"RUNNING": 2}
    workplace.release()
    workplace.wait_until_ended()
    assert workplace.states() == {"COMPLETED": 2}


def test_a_renamed_sweep_can_still_be_cancelled(workplace: Workplace) -> None:
    submit_and_hold(workplace)
    (workplace.directory / "out").rename(workplace.directory / "moved")
    assert "cancelled 2 tasks" in workplace.holdfast("cancel", "moved", "-y").stderr


@pytest.mark.parametrize("name", ["a b", "it's", 'say "x"', "\u00fcber", "50%", "a,b;c&d#e", "a|b>c*d?[e]~f!(g)=h"])
def test_odd_names_of_sweep_directories_work(workplace: Workplace, name: str) -> None:
    workplace.submit(workplace.foreign(widths=[1], epochs=2, seconds=0.0), out=name)
    workplace.wait_until_ended(name)
    assert workplace.states(name) == {"COMPLETED": 1}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("back\\slash", "sbatch drops the"),
        ("a:b", "Python loads no code from a path with ':' in it"),
        ("out-`date`", "only $NAME and ~ are replaced in a path; write it out"),
        ("runs-{name}", "{name} is filled in only in trainer.command; write the path out"),
        ("run%j", "%j means something in Slurm's own options alone"),
    ],
)
def test_names_that_do_not_work_are_refused_before_anything_is_written(
    workplace: Workplace, name: str, said: str
) -> None:
    assert said in workplace.submit(workplace.foreign(widths=[1]), out=name, expect=2)
    assert not (workplace.directory / name).exists()


def test_a_sweep_directory_and_a_project_may_be_reached_by_links(workplace: Workplace) -> None:
    config = workplace.foreign(widths=[1, 2], epochs=40, held=True)
    (workplace.directory / "scratch").mkdir()
    (workplace.directory / "out").symlink_to("scratch")
    (workplace.directory / "home").symlink_to(workplace.directory)
    workplace.submit(f"home/{config}")
    wait_until(lambda: min(workplace.epochs()) >= 3, "mid-training")
    assert len(workplace.cluster.preempt(hold_seconds=1)) == 2
    workplace.release()
    workplace.wait_until_ended("scratch")
    assert workplace.states() == workplace.states("home/out") == {"COMPLETED": 2}
    assert all(result["provenance"]["restored_at_step"] >= 3 for result in workplace.results("scratch").values())


def test_a_submission_from_within_a_job_takes_nothing_over_from_it(workplace: Workplace) -> None:
    config = workplace.foreign(widths=[1], epochs=2, seconds=0)
    words = [sys.executable, "-m", "hpc", "submit", "--config", config, "--profile", "sandbox"]
    kept = {name: value for name, value in workplace.environment().items() if not name.startswith("SLURM_CPU")}
    lines = [f"export {name}={shlex.quote(kept[name])}" for name in ("HOLDFAST_SANDBOX", "PYTHONPATH")]
    lines += ["export SLURM_CPU_BIND=map_cpu:999 SLURM_MEM_PER_CPU=1 SBATCH_EXCLUSIVE=1", f"{shlex.join(words)}"]
    script = workplace.directory / "outer.sh"
    script.write_text("\n".join(["#!/bin/bash", f"cd {workplace.directory}", *lines, "echo $? > ended\n"]))
    workplace.cluster.slurm.sbatch(
        script, ["--mem=300M", "--time=9", "--cpus-per-task=2", f"--output={workplace.directory}/outer.log"]
    )
    ended = workplace.directory / "ended"
    wait_until(lambda: ended.exists() and ended.read_text(), "the submission's end")
    assert ended.read_text() == "0\n"
    workplace.wait_until_ended()
    assert workplace.states() == {"COMPLETED": 1}
    tasks = [task for task in workplace.cluster.slurm.queue(finished=True) if task.name.startswith("foreign-")]
    inner = max(tasks, key=lambda task: int(task.job_id))
    assert inner.cpus == 1


def test_what_slurm_refuses_leaves_no_directory(workplace: Workplace) -> None:
    said = workplace.submit(workplace.foreign(widths=[1]), "--set", "partition=hihg", expect=3)
    assert "invalid partition specified: hihg" in said
    assert not (workplace.directory / "out").exists()


def test_a_submission_says_what_its_profile_lacks(workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SBATCH_ACCOUNT", "lab")
    profile = workplace.write("bare.yaml", {"partition": "low"})
    with workplace.on_cluster():
        done = workplace.holdfast(
            *("submit", "--config", workplace.foreign(widths=[1]), "--profile", profile, "--dry-run")
        )
    assert "note: SBATCH_ACCOUNT (lab) is not used; write account: lab in the profile" in done.stderr
    assert "note: the profile has no timeout_min; tasks get the default time limit of their partition" in done.stderr
    assert "--time" not in done.stdout


# Formats and filters that people have in ~/.bashrc, and settings that would make another job of it.
IN_BASHRC = """
    SQUEUE_FORMAT=%i SQUEUE_STATES=FAILED SQUEUE_USERS=nobody SQUEUE_SORT=-P SACCT_FORMAT=jobid SINFO_FORMAT=%P
    SLURM_TIME_FORMAT=relative SCONTROL_FUTURE=1 SCANCEL_STATE=PENDING SCANCEL_INTERACTIVE=1 SLURM_BITSTR_LEN=3
    SBATCH_EXPORT=NONE SBATCH_ARRAY_INX=7 SBATCH_WAIT=1 SBATCH_NO_REQUEUE=1 SBATCH_JOB_NAME=mine
"""


def test_what_a_shell_sets_for_slurms_commands_changes_nothing(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    for setting in IN_BASHRC.split():
        monkeypatch.setenv(*setting.split("=", 1))
    workplace.submit(workplace.foreign(widths=[1, 2], epochs=40, held=True))
    wait_until(lambda: min(workplace.epochs()) >= 3, "mid-training")
    assert len(workplace.cluster.preempt(hold_seconds=1)) == 2
    assert "cancelled 1 task" in workplace.holdfast("cancel", "out", "--axis", "width=2", "-y").stderr
    workplace.release()
    workplace.wait_until_ended()
    assert workplace.states() == {"COMPLETED": 1, "STARTED": 1}
