"""task.sh, the shell around a task's Python: what it makes of the status that the task ends with."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from helpers.small_sweeps import ROOT

TASK = ROOT / "slurm_templates" / "task.sh"


def ended(
    directory: Path, launcher: str, task: Path = TASK, before: str = "exec /bin/bash ", setup: str = ""
) -> tuple[int, str | None]:
    """(exit status, the status that is noted as a failure to start) of a task with this in place of Python.

    before: how the script of the job goes on to task.sh, which is the one that Holdfast has if none is given. setup:
    of the profile.
    """
    script = directory / "launcher"
    script.write_text(f"#!/bin/sh\n{launcher}\n")
    script.chmod(0o755)
    logs = directory / "submissions" / "000001" / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    line = before + shlex.join(map(str, [task, ROOT, directory, 1, 0, "cpu", "", script]))
    environment = os.environ | {"SLURM_JOB_ID": "7", "SLURMD_NODENAME": "n1", "holdfast_setup": setup}
    done = subprocess.run(["bash", "-c", line], env=environment, capture_output=True, check=False)
    noted = list(logs.glob("*.failed"))
    status = noted[0].read_text().strip() if noted else None
    for path in noted:
        path.unlink()
    return done.returncode, status


@pytest.mark.parametrize(
    ("end", "status", "noted"),
    [
        ("exit 0", 0, None),
        ("exit 1", 1, None),
        ("exit 3", 3, "3"),
        ("exit 85", 85, None),
        ("exit 127", 127, "127"),
        ("kill -KILL $$", 137, None),
    ],
)
def test_a_task_ends_with_the_status_of_its_python(end: str, status: int, noted: str | None, tmp_path: Path) -> None:
    assert Counter(ended(tmp_path, end) for _ in range(20)) == {(status, noted): 20}


def test_a_stop_that_comes_as_the_task_ends_is_no_failure_to_start(tmp_path: Path) -> None:
    # Slurm's signal, here sent by the task itself with its last breath.
    ends = {ended(tmp_path, "kill -USR2 $PPID; exit 0") for _ in range(10)}
    assert ends <= {(0, None), (85, None)}


@pytest.mark.parametrize("number", ["USR2", "TERM"])
def test_a_stop_that_comes_as_setup_ends_takes_nothing_from_a_task_that_has_saved(number: str, tmp_path: Path) -> None:
    # task.sh stands still from before the end of setup until the task has saved, as it may on a busy machine.
    halted = "until grep -q '^State:.*stopped' /proc/$$/status; do kill -STOP $$; done"
    saved = f"kill -{number} $PPID; kill -CONT $PPID; exit 85"
    assert Counter(ended(tmp_path, saved, setup=halted) for _ in range(10)) == {(85, None): 10}


@pytest.mark.parametrize(
    "setup", ["exec 187>&-", "exec 187> /dev/null", "sleep 30 > /dev/null 2>&1 &", "ulimit -n 64", "exec 0<&-"]
)
@pytest.mark.parametrize(("end", "status"), [("exit 0", 0), ("exit 85", 85)])
def test_what_setup_does_with_descriptors_changes_nothing(setup: str, end: str, status: int, tmp_path: Path) -> None:
    assert ended(tmp_path, end, setup=setup) == (status, None)


def test_where_no_more_descriptors_can_be_opened_a_task_ends_with_its_status(tmp_path: Path) -> None:
    before = "ulimit -n 64; exec /bin/bash "
    assert [ended(tmp_path, f"exit {status}", before=before)[0] for status in (0, 1, 85)] == [0, 1, 85]


@pytest.mark.parametrize("end", ["exit 85", "exit 0", "exec true"])
def test_a_setup_that_ends_its_task_before_that_began_is_noted_as_a_failure_to_start(end: str, tmp_path: Path) -> None:
    assert ended(tmp_path, "exit 0", setup=end) == (2, "2")


@pytest.mark.parametrize("line", ["id=$SLURM_JOB_ID", "# What setup does", "command=$(", "child=$!"])
def test_a_stop_that_comes_before_the_task_can_get_it_reaches_the_task(line: str, tmp_path: Path) -> None:
    # The script sends it to itself at a line, where Slurm might.
    text = TASK.read_text()
    assert text.count(f"\n{line}") == 1
    script = tmp_path / "task.sh"
    script.write_text(text.replace(f"\n{line}", f"\nkill -USR2 $$\n{line}"))
    # It ends as a task that has saved, when it is asked to or was before it began. (A shell cannot hear what was
    # ignored when it began.)
    saving = (
        "import os, signal, sys, time\n"
        "signal.signal(signal.SIGUSR2, lambda *_: os._exit(85))\n"
        "time.sleep(0 if os.environ.get('HOLDFAST_STOP') else 120)\n"
        "os._exit(85 if os.environ.get('HOLDFAST_STOP') else 0)\n"
    )
    launcher = f"exec {sys.executable} -c {shlex.quote(saving)}"
    outer = "first=; trap 'first=USR2' USR2; . "
    assert ended(tmp_path, launcher, script, outer) == (85, None)


def test_a_child_that_a_stop_ends_before_it_could_begin_was_stopped(tmp_path: Path) -> None:
    # A machine so busy that the child has not come to ignore the signal when it is repeated.
    text = TASK.read_text()
    script = tmp_path / "task.sh"
    script.write_text(
        text.replace("    trap '' USR2 TERM\n", "    exec sleep 60\n").replace("\nchild=$!", "\nchild=$!\nfirst=USR2")
    )
    assert ended(tmp_path, "exit 0", script) == (85, None)
