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


# Waits until task.sh has heard that setup has ended: a signal (USR1) that no longer waits for it.
HEARD = "while grep -q '^ShdPnd:.*[2367abef]..$' /proc/$PPID/status; do sleep 0.02; done"


def ended(directory: Path, launcher: str, task: Path = TASK, before: str = "exec /bin/bash ") -> tuple[int, str | None]:
    """(exit status, the status that is noted as a failure to start) of a task with this in place of Python.

    before: how the script of the job goes on to task.sh, which is the one that Holdfast has if none is given.
    """
    script = directory / "launcher"
    script.write_text(f"#!/bin/sh\n{launcher}\n")
    script.chmod(0o755)
    logs = directory / "submissions" / "000001" / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    line = before + shlex.join(map(str, [task, ROOT, directory, 1, 0, "cpu", "", script]))
    environment = os.environ | {"SLURM_JOB_ID": "7", "SLURMD_NODENAME": "n1"}
    done = subprocess.run(["bash", "-c", line], env=environment, capture_output=True, check=False)
    noted = list(logs.glob("*.failed"))
    status = noted[0].read_text().strip() if noted else None
    for path in noted:
        path.unlink()
    return done.returncode, status


def test_a_python_that_is_missing_is_noted_every_time(tmp_path: Path) -> None:
    # "setup has ended" reaches task.sh as a signal, which interrupts its wait for a task that may have ended meanwhile.
    assert Counter(ended(tmp_path, "exit 127") for _ in range(60)) == {(127, "127"): 60}


def test_what_ends_as_soon_as_setup_has_ended_is_noted_as_a_failure_to_start_whatever_bash_knows_of_it(
    tmp_path: Path,
) -> None:
    ends = {ended(tmp_path, "exit 3") for _ in range(60)}
    assert (3, "3") in ends
    assert ends <= {(3, "3"), (127, "127")}


@pytest.mark.parametrize(
    ("end", "status", "noted"),
    [("exit 0", 0, None), ("exit 1", 1, None), ("exit 3", 3, "3"), ("exit 85", 85, None), ("kill -KILL $$", 137, None)],
)
def test_a_task_ends_with_the_status_of_its_python(end: str, status: int, noted: str | None, tmp_path: Path) -> None:
    assert {ended(tmp_path, f"{HEARD}; {end}") for _ in range(5)} == {(status, noted)}


def test_a_stop_that_comes_as_the_task_ends_is_no_failure_to_start(tmp_path: Path) -> None:
    # Slurm's signal, here sent by the task itself with its last breath.
    ends = {ended(tmp_path, f"{HEARD}; kill -USR2 $PPID; exit 0") for _ in range(10)}
    assert ends <= {(0, None), (85, None)}


@pytest.mark.parametrize("line", ["id=$SLURM_JOB_ID", "# What setup does", "trap 'began=yes' USR1", "child=$!"])
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
        text.replace("    trap '' USR2 TERM\n", "    sleep 60\n").replace("\nchild=$!", "\nchild=$!\nfirst=USR2")
    )
    assert ended(tmp_path, "exit 0", script) == (85, None)
