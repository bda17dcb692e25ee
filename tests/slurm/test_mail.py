"""What a real Slurm mails of a sweep: one mail per array, none for each task, none of what only checks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from helpers import slurm_daemons
from helpers.waiting import wait_until
from helpers.workplace import Workplace

from hpc.sandbox.cluster import Sandbox


def mailing(start_cluster: Callable[..., Sandbox], tmp_path: Path) -> tuple[Workplace, Path]:
    """A cluster whose mail program writes a line per mail: to whom, and the subject."""
    mails, program = tmp_path / "mails", tmp_path / "mail"
    program.write_text(f'#!/bin/sh\ncat >/dev/null\necho "$3: $2" >> {mails}\n')
    program.chmod(0o755)
    mails.touch()
    cluster = start_cluster(nodes=1, cpus=2)
    slurm_daemons.reconfigure(cluster, f"MailProg={program}")
    return Workplace(tmp_path, cluster), mails


def test_slurm_mails_once_per_array_and_for_each_task_where_that_is_asked_for(
    start_cluster: Callable[..., Sandbox], tmp_path: Path
) -> None:
    workplace, mails = mailing(start_cluster, tmp_path)
    config = workplace.foreign(widths=[1, 2, 3], epochs=2, seconds=0)
    profile = workplace.write("lab.yaml", {"partition": "low", "mail_user": "ada"})
    with workplace.on_cluster():
        workplace.submit(config, "--wait", "--pack", "1", "--then-aggregate", profile=profile)
        wait_until(lambda: len(mails.read_text().splitlines()) >= 2, "the mail of the array and of the aggregation")
        of_array = [line for line in mails.read_text().splitlines() if "aggregate" not in line]
        each = ("--set", "mail_type=END,ARRAY_TASKS", "--set", "mail_user=bob")
        workplace.submit(config, *each, "--wait", "--pack", "1", out="other", profile=profile)
        wait_until(lambda: mails.read_text().count("bob: ") >= 3, "a mail per task")
    assert len(of_array) == 1
    assert of_array[0].startswith("ada: ")
    assert "Ended" in of_array[0]
