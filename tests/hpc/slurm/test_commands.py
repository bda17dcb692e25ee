from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpc.sandbox.programs import installed
from hpc.slurm.answers import (
    ACTIVE,
    ENDED,
    WAITING,
    Cluster,
    QueuedTask,
    expand,
    parse_accounting,
    parse_cluster,
    parse_config,
    parse_nodes,
    parse_partitions,
    parse_queue,
    ranges,
)
from hpc.slurm.commands import ElsewhereError, Slurm, SlurmError, conf_in_use, environment
from hpc.units import slurm_seconds


def fake(directory: Path, monkeypatch: pytest.MonkeyPatch, command: str, body: str) -> None:
    """Puts a command of this name, a shell script, in front of the real one."""
    path = directory / command
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:/usr/bin:/bin")


@pytest.mark.parametrize(
    "name",
    [
        "SBATCH_PARTITION",
        "SLURM_JOB_ID",
        "SLURM_TIME_FORMAT",
        "SLURMD_NODENAME",
        "SQUEUE_FORMAT2",
        "SACCT_FORMAT",
        "SCANCEL_NAME",
        "SALLOC_ACCOUNT",
        "SINFO_FORMAT",
        "SCONTROL_ALL",
    ],
)
def test_variables_that_change_what_slurm_does_are_left_out(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "x")
    assert name not in environment()


@pytest.mark.parametrize(
    "name", ["SLURM_CONF", "SLURM_CLUSTERS", "SLURM_JWT", "PATH", "CUDA_VISIBLE_DEVICES", "MYSLURM_X"]
)
def test_variables_that_say_which_cluster_or_are_not_slurms_stay(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "x")
    assert environment()[name] == "x"


def test_a_given_configuration_wins_over_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm/slurm.conf")
    assert environment(Path("/there/slurm.conf"))["SLURM_CONF"] == "/there/slurm.conf"


def test_the_configuration_in_use_is_the_given_one_or_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm/slurm.conf")
    assert conf_in_use(Path("/there/slurm.conf")) == Path("/there/slurm.conf")
    assert conf_in_use(None) == Path("/etc/slurm/slurm.conf")
    monkeypatch.delenv("SLURM_CONF")
    assert conf_in_use(None) is None


def test_of_several_lines_the_one_that_says_error_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(tmp_path, monkeypatch, "sbatch", "echo 'sbatch: welcome' >&2; echo 'sbatch: error: no room' >&2; exit 1")
    with pytest.raises(SlurmError, match=r"^sbatch failed with status 1: sbatch: error: no room$"):
        Slurm().sbatch(tmp_path / "x.sh")


def test_a_configuration_says_which_cluster_it_is() -> None:
    config = {
        "ClusterName": "lab",
        "SlurmctldHost[0]": "c1(10.0.0.1)",
        "SlurmctldHost[1]": "c2",
        "SlurmctldPort": "6817",
    }
    assert parse_cluster(config) == Cluster("lab", "c1:6817")


def test_a_missing_command_says_how_to_get_a_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SlurmError) as error:
        Slurm().queue()
    assert str(error.value) == ("squeue not found: is this a Slurm login node? `holdfast sandbox up` starts one here")


def test_a_failed_command_is_quoted_with_its_status(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(tmp_path, monkeypatch, "squeue", "echo; echo 'slurm_load_jobs error: no luck' >&2; echo more >&2; exit 3")
    with pytest.raises(SlurmError) as error:
        Slurm().queue()
    assert str(error.value) == "squeue failed with status 3: slurm_load_jobs error: no luck"


def test_a_command_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(tmp_path, monkeypatch, "squeue", "exec sleep 60")
    with pytest.raises(SlurmError, match=r"squeue gave no answer within 0\.2 s"):
        Slurm(timeout_s=0.2).queue()


def test_a_list_of_indices_cut_short_is_an_error_not_a_shorter_queue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake(tmp_path, monkeypatch, "squeue", "echo '7|1-2,4-5,...|PENDING|None||low|0:00|1|0|/|//|name|'")
    with pytest.raises(SlurmError, match=r"squeue: '\.\.\.' in '1-2,4-5,\.\.\.' is no array index or range"):
        Slurm().queue()


def test_asking_for_no_names_needs_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(tmp_path, monkeypatch, "squeue", "exit 1")
    assert Slurm().queue([]) == []


def test_a_slurm_conf_that_is_gone_is_said_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(tmp_path, monkeypatch, "squeue", "exec sleep 60")  # as the real one, which waits for the file
    with pytest.raises(SlurmError, match=f"^{tmp_path}/gone.conf: there is no such slurm.conf$"):
        Slurm(tmp_path / "gone.conf").queue()
    monkeypatch.setenv("SLURM_CONF", str(tmp_path / "gone.conf"))
    with pytest.raises(SlurmError, match=r"there is no such slurm\.conf"):
        Slurm().queue()


def test_more_names_than_fit_on_a_command_line_are_looked_up_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake(tmp_path, monkeypatch, "squeue", "echo '7|N/A|RUNNING|None|n1|low|0:05|1|0|/|//|token-4999|'")
    names = {f"token-{number}" for number in range(100_000)}
    assert [task.name for task in Slurm().queue(names)] == ["token-4999"]


CLUSTER2 = "ClusterName = Cluster2\nSlurmctldHost[0] = ctl\nSlurmctldPort = 6817"


@pytest.mark.parametrize(
    ("answer", "job"),
    [("4711", "4711"), ("4711;cluster2", "4711"), ("Welcome to 3 clusters!\n4711", "4711")],
)
def test_the_job_id_is_found_in_what_sbatch_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, job: str
) -> None:
    fake(tmp_path, monkeypatch, "sbatch", f"printf '{answer}\\n'")
    fake(tmp_path, monkeypatch, "scontrol", f"echo '{CLUSTER2}'")
    assert Slurm().sbatch(tmp_path / "job.sh") == job


@pytest.mark.parametrize(("status", "said"), [(0, "it is cancelled"), (1, "it could not be cancelled")])
def test_a_job_that_a_plugin_sent_to_another_cluster_is_cancelled_there_and_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, said: str
) -> None:
    fake(tmp_path, monkeypatch, "sbatch", "echo '4711;genius'")
    fake(tmp_path, monkeypatch, "scontrol", f"echo '{CLUSTER2}'")
    fake(tmp_path, monkeypatch, "scancel", f'echo "$@" > {tmp_path}/cancelled; exit {status}')
    with pytest.raises(ElsewhereError, match=f"job 4711 on cluster genius.*cluster2.*{said}.*SLURM_CLUSTERS=genius"):
        Slurm().sbatch(tmp_path / "job.sh")
    assert (tmp_path / "cancelled").read_text() == "--clusters=genius 4711\n"


def test_an_sbatch_without_a_job_id_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(tmp_path, monkeypatch, "sbatch", "echo queued, trust me")
    with pytest.raises(SlurmError, match="sbatch gave no job id, but 'queued, trust me'"):
        Slurm().sbatch(tmp_path / "job.sh")


def test_cancelling_names_elements_by_range_and_tolerates_those_that_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "scancel: error: Kill job error on job id 7_1: Job/step already completing or completed"
    fake(tmp_path, monkeypatch, "scancel", f"echo \"$*\" >> {tmp_path}/calls; echo '{said}' >&2; exit 1")
    jobs = [("7", 2), ("7", 1), ("7", 3), ("7", 9), ("8", None)]
    tasks = [QueuedTask("n", job, index, "PENDING", "", "", "low", 0, 1, 0) for job, index in jobs]

    Slurm().cancel(tasks)

    assert (tmp_path / "calls").read_text().splitlines() == ["7_[1-3,9]", "8"]


def test_a_cancellation_refused_for_another_reason_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(tmp_path, monkeypatch, "scancel", "echo 'scancel: error: Access/permission denied' >&2; exit 1")
    with pytest.raises(SlurmError, match=r"scancel failed with status 1: .*denied"):
        Slurm().cancel([QueuedTask("n", "7", None, "RUNNING", "", "n1", "low", 0, 1, 0)])


def test_ranges_of_a_large_array_are_split_over_several_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake(tmp_path, monkeypatch, "scancel", f'echo "$*" >> {tmp_path}/calls')
    Slurm().cancel(QueuedTask("n", "7", i, "PENDING", "", "", "low", 0, 1, 0) for i in range(0, 100_000, 2))

    calls = (tmp_path / "calls").read_text().splitlines()
    assert max(len(call) for call in calls) < 128 * 1024
    indices = [index for call in calls for index in expand(call.removeprefix("7_[").removesuffix("]"))]
    assert indices == list(range(0, 100_000, 2))


def test_a_waiting_array_is_read_as_its_elements_and_a_running_one_as_itself() -> None:
    text = (
        "CLUSTER: one\n"
        "12|0-4:2%3|PENDING|Resources||low,other|0:00|2|0|/a|b|//|tok|en|\n"
        "12|7|RUNNING|None|n3|low|1-02:03:04|2|1|/a|b|//|tok|en|\n"
        "13|N/A|COMPLETING|None|n1|low|0:09|1|0|/|//||\n"
    )
    waiting = [
        QueuedTask("tok|en", "12", i, "PENDING", "Resources", "", "low,other", 0, 2, 0, "/a|b") for i in (0, 2, 4)
    ]
    running = QueuedTask("tok|en", "12", 7, "RUNNING", "", "n3", "low", 93_784, 2, 1, "/a|b")

    *array, plain = parse_queue(text)

    assert array == [*waiting, running]
    assert (plain.id, plain.index, plain.state, plain.name) == ("13", None, "COMPLETING", "")
    assert running.id == "12_7"


@given(st.sets(st.integers(0, 4_000_000), min_size=1))
def test_indices_survive_slurms_notation(indices: set[int]) -> None:
    assert list(expand(",".join(ranges(indices)))) == sorted(indices)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0:00", 0), ("59:59", 3599), ("2:00:01", 7201), ("1-00:00:00", 86_400), ("UNLIMITED", None), ("INVALID", None)],
)
def test_durations_are_read_as_seconds(text: str, seconds: int | None) -> None:
    assert slurm_seconds(text) == seconds


def test_configuration_values_may_hold_equals_signs() -> None:
    text = "Configuration data as of today\nMaxArraySize            = 1001\nAuthInfo   = cred_expire=5\n"
    assert parse_config(text) == {"MaxArraySize": "1001", "AuthInfo": "cred_expire=5"}


def test_a_configuration_without_an_array_limit_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(tmp_path, monkeypatch, "scontrol", "echo 'Nothing = here'")
    with pytest.raises(SlurmError, match="MaxArraySize"):
        Slurm().max_array_size()


def test_a_partitions_limits_are_read() -> None:
    text = (
        "PartitionName=gpu Default=YES GraceTime=60 MaxTime=1-00:00:00 PriorityTier=1 PreemptMode=REQUEUE State=UP "
        "TotalCPUs=128 TotalNodes=2 TRES=cpu=128,mem=8000M\n"
        "PartitionName=open Default=NO GraceTime=0 MaxTime=UNLIMITED PriorityTier=9 PreemptMode=OFF State=DOWN "
        "TotalCPUs=0 TotalNodes=0\n"
    )
    gpu, free = parse_partitions(text)

    assert (gpu.name, gpu.default, gpu.state, gpu.nodes, gpu.cpus) == ("gpu", True, "UP", 2, 128)
    assert (gpu.max_time_min, gpu.priority_tier, gpu.preempt_mode, gpu.grace_time_s) == (1440, 1, "REQUEUE", 60)
    assert gpu.fields["TRES"] == "cpu=128,mem=8000M"
    assert (free.default, free.max_time_min) == (False, None)


def test_a_node_in_two_partitions_is_one_node() -> None:
    text = (
        "n1|mixed|high|3/1/0/4|64000+|gpu:a100:2|avx,a100|none\n"
        "n1|mixed|low*|3/1/0/4|64000+|gpu:a100:2|avx,a100|none\n"
        "n2|down*|low*|0/0/4/4|64000|(null)|(null)|Not responding | since noon\n"
    )
    first, second = parse_nodes(text)

    assert (first.name, first.partitions, first.cpus, first.idle_cpus) == ("n1", ("high", "low"), 4, 1)
    assert (first.memory_mb, first.gres, first.features, first.reason) == (64_000, "gpu:a100:2", "avx,a100", "")
    assert (second.state, second.gres, second.features) == ("down*", "", "")
    assert second.reason == "Not responding | since noon"


def test_what_accounting_remembers_is_read_and_what_it_never_started_is_left_out() -> None:
    text = (
        "12_0|CANCELLED by 1000|0:15|61|n1|tok|en\n"
        "12_1|OUT_OF_MEMORY|137:0|5|n2|tok|en\n"
        "12_[2-9]|PENDING|0:0|0|None assigned|tok|en\n"
        "13|FAILED|1:0|2|n2|plain\n"
    )
    cancelled, killed, plain = parse_accounting(text)

    assert (cancelled.state, cancelled.signal, cancelled.seconds) == ("CANCELLED", 15, 61)
    assert (killed.name, killed.index, killed.exit_code, killed.node) == ("tok|en", 1, 137, "n2")
    assert (plain.job_id, plain.index) == ("13", None)


def test_accounting_that_cannot_be_asked_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert Slurm().accounting(["x"]) is None
    fake(tmp_path, monkeypatch, "sacct", "echo 'Slurm accounting storage is disabled' >&2; exit 1")
    assert Slurm().accounting(["x"]) is None


def test_what_is_not_installed_is_named_with_the_way_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("hpc.sandbox.programs._DAEMON_PATH", str(tmp_path))
    for name in ("slurmd", "sbatch", "squeue", "scontrol", "scancel", "sinfo", "munged"):
        (tmp_path / name).write_text("")
        (tmp_path / name).chmod(0o755)

    assert installed() == "slurmctld not found: `make slurm-install` installs Slurm (Debian package slurm-wlm)"


# As man squeue of 26.05 lists them, with the flags that squeue shows in a state's place.
EVERY_STATE = [
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "CONFIGURING", "COMPLETING",
    "DEADLINE", "EXPEDITING", "FAILED", "LAUNCH_FAILED", "NODE_FAIL",
    "OUT_OF_MEMORY", "PENDING", "POWER_UP_NODE", "PREEMPTED", "RECONFIG_FAIL",
    "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESIZING", "RESV_DEL_HOLD",
    "REVOKED", "RUNNING", "SIGNALING", "SPECIAL_EXIT", "STAGE_OUT",
    "STOPPED", "SUSPENDED", "TIMEOUT", "UPDATE_DB",
]  # fmt: skip


def test_every_state_that_slurm_knows_has_one_place() -> None:
    assert sorted([*WAITING, *ACTIVE, *ENDED]) == sorted(EVERY_STATE)


def task(state: str, reason: str = "") -> QueuedTask:
    return QueuedTask("n", "7", 0, state, reason, "", "low", 0, 1, 1)


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ("PENDING", "launch failed requeued held"),
        ("PENDING", "launch_failed_requeued_held"),
        ("PENDING", "user env retrieval failed requeued held"),
        ("PENDING", "UserEnv retrieval failed, requeued held"),
        ("PENDING", "job requeued in held state"),
        ("PENDING", "job_requeued_in_held_state"),
        ("PENDING", "JobHoldMaxRequeue"),
        ("REQUEUE_HOLD", ""),
        ("SPECIAL_EXIT", "anything"),
    ],
)
def test_a_task_that_slurm_holds_after_a_failure_is_held_in_whatever_words(state: str, reason: str) -> None:
    assert task(state, reason).held
    assert task(state, reason).phase == "PENDING"


@pytest.mark.parametrize(
    ("state", "reason"),
    [("PENDING", "JobHeldUser"), ("PENDING", "JobHeldAdmin"), ("PENDING", "Resources"), ("RUNNING", "")],
)
def test_a_task_that_waits_or_that_a_person_holds_is_left_alone(state: str, reason: str) -> None:
    assert not task(state, reason).held


def test_a_state_of_a_later_version_is_taken_for_a_task_that_runs() -> None:
    unheard_of = task("TELEPORTING")
    assert (unheard_of.phase, unheard_of.ended, unheard_of.held) == ("RUNNING", False, False)
