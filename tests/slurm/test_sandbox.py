from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from helpers import slurm_daemons
from helpers.command_line import ROOT
from helpers.waiting import PATIENCE, wait_until

from hpc.processes import start_time
from hpc.sandbox import cluster as sandbox
from hpc.sandbox.cluster import Sandbox, SandboxError
from hpc.sandbox.directory import read_state
from hpc.slurm.answers import Node, QueuedTask
from hpc.slurm.commands import Slurm, SlurmError

StartCluster = Callable[..., Sandbox]
# Root in a container need not have the right.
_UNSHARED = ["unshare", "--mount", "--net", "true"]
OWN_NAMESPACES = os.geteuid() == 0 and subprocess.run(_UNSHARED, capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def cancelling_cluster(start_cluster: StartCluster) -> Iterator[Sandbox]:
    with start_cluster(nodes=1, preempt_mode="CANCEL", max_array_size=101) as cluster:
        yield cluster


def test_all_nodes_of_a_new_cluster_are_idle_and_in_both_partitions(idle_cluster: Sandbox) -> None:
    nodes = idle_cluster.slurm.nodes()

    assert [(node.name, node.state, node.cpus, node.gres) for node in nodes] == [
        (f"n{number}", "idle", 4, "gpu:2") for number in (1, 2, 3, 4)
    ]
    assert {node.partitions for node in nodes} == {("high", "low")}
    assert [(p.name, p.default, p.preempt_mode) for p in idle_cluster.slurm.partitions()] == [
        ("low", True, "REQUEUE"),
        ("high", False, "OFF"),
    ]
    assert idle_cluster.slurm.max_array_size() == 10_001
    assert sandbox.find(idle_cluster.directory) == idle_cluster


def test_every_task_of_an_array_runs_once(idle_cluster: Sandbox, tmp_path: Path) -> None:
    script = write_script(tmp_path, f"echo ran >> {tmp_path}/$SLURM_ARRAY_TASK_ID")

    idle_cluster.slurm.sbatch(script, ["--job-name=all", "--array=0-19"])
    wait_until(lambda: not idle_cluster.slurm.queue(["all"]), "the end of all tasks")

    assert {int(path.name): path.read_text() for path in tmp_path.glob("[0-9]*")} == dict.fromkeys(range(20), "ran\n")
    ended = idle_cluster.slurm.queue(["all"], finished=True)
    assert {(task.index, task.state) for task in ended} == {(index, "COMPLETED") for index in range(20)}


def test_tasks_that_share_a_node_see_different_gpus(idle_cluster: Sandbox, tmp_path: Path) -> None:
    # Each waits for the other: one after another they could get the same.
    said = f"{tmp_path}/$SLURM_ARRAY_TASK_ID"
    both = f"[ -e {tmp_path}/0 ] && [ -e {tmp_path}/1 ]"
    script = write_script(tmp_path, f"echo $CUDA_VISIBLE_DEVICES > {said}; until {both}; do sleep 0.1; done")

    idle_cluster.slurm.sbatch(script, ["--array=0-1", "--gpus-per-node=1", "--nodelist=n2"])
    wait_until(lambda: not idle_cluster.slurm.queue(), "the end of both tasks")

    assert {path.read_text().strip() for path in tmp_path.glob("[0-9]")} == {"0", "1"}


def test_a_job_is_found_by_its_name_alone_right_after_sbatch(idle_cluster: Sandbox, tmp_path: Path) -> None:
    script = write_script(tmp_path, "sleep 600")
    token = "a-token-longer-than-the-twenty-characters-squeue-shows"
    job = idle_cluster.slurm.sbatch(script, [f"--job-name={token}"])
    idle_cluster.slurm.sbatch(script, ["--job-name=another|one"])

    found = idle_cluster.slurm.queue([token, "never-submitted"])

    assert [(task.name, task.job_id, task.id, task.index) for task in found] == [(token, job, job, None)]
    assert idle_cluster.slurm.queue(["never-submitted"]) == []
    assert {task.name for task in idle_cluster.slurm.queue()} == {token, "another|one"}


@pytest.mark.parametrize("indices", ["0-40:2", "7", "1,3,5", "0-9%2", "0-5,7-9,20-40:3"])
def test_no_element_of_a_waiting_array_is_overlooked(idle_cluster: Sandbox, tmp_path: Path, indices: str) -> None:
    script = write_script(tmp_path, "sleep 600")
    expected = {
        "0-40:2": range(0, 41, 2),
        "7": [7],
        "1,3,5": [1, 3, 5],
        "0-9%2": range(10),
        "0-5,7-9,20-40:3": [*range(6), 7, 8, 9, *range(20, 41, 3)],
    }[indices]

    idle_cluster.slurm.sbatch(script, [f"--array={indices}", "--begin=now+1hour"])

    assert sorted(task.index or 0 for task in idle_cluster.slurm.queue()) == list(expected)


def test_cancelling_some_elements_leaves_exactly_the_others(idle_cluster: Sandbox, tmp_path: Path) -> None:
    script = write_script(tmp_path, "sleep 600")
    idle_cluster.slurm.sbatch(script, ["--array=0-9999", "--begin=now+1hour", "--job-name=big"])
    waiting = idle_cluster.slurm.queue(["big"])
    assert len(waiting) == 10_000

    idle_cluster.slurm.cancel(task for task in waiting if (task.index or 0) % 3)

    assert {task.index for task in idle_cluster.slurm.queue(["big"])} == set(range(0, 10_000, 3))
    idle_cluster.slurm.cancel(waiting)  # those cancelled before are no error
    assert idle_cluster.slurm.queue(["big"]) == []


def test_an_evicted_task_hears_its_signal_is_requeued_and_runs_again(idle_cluster: Sandbox, tmp_path: Path) -> None:
    first, second = tmp_path / "log0", tmp_path / "log1"
    script = write_script(
        tmp_path,
        f"restarts=${{SLURM_RESTART_COUNT:-0}}; log={tmp_path}/log$restarts; echo $$ > {tmp_path}/pid$restarts",
        "trap 'echo usr2 >> $log' USR2; trap 'echo term >> $log' TERM; echo start >> $log",
        "[ $restarts -gt 0 ] && exec sleep 600",
        # Slurm sends both at once and either may arrive first.
        "until grep -q usr2 $log && grep -q term $log; do sleep 0.1; done",
    )
    idle_cluster.slurm.sbatch(script, ["--requeue", "--signal=B:USR2@20", "--job-name=victim"])
    wait_until(lambda: first.exists() and "start" in first.read_text(), "a task that listens")

    evicted = idle_cluster.preempt(hold_seconds=1)

    assert [(task.name, task.state, task.restarts) for task in evicted] == [("victim", "RUNNING", 0)]
    assert start_time(int((tmp_path / "pid0").read_text())) is None
    assert sorted(first.read_text().split()) == ["start", "term", "usr2"]
    wait_until(second.exists, "a second start")
    assert [(task.name, task.restarts) for task in running(idle_cluster)] == [("victim", 1)]


def test_preempting_some_leaves_the_others_running(idle_cluster: Sandbox, tmp_path: Path) -> None:
    script = write_script(tmp_path, "sleep 600")
    idle_cluster.slurm.sbatch(script, ["--array=0-5", "--cpus-per-task=2", "--requeue"])
    wait_until(lambda: len(running(idle_cluster)) == 6, "six running tasks")

    evicted = idle_cluster.preempt(1, hold_seconds=1)

    (victim,) = evicted
    tasks = {task.id: task for task in idle_cluster.slurm.queue(["job.sh"])}
    assert tasks.keys() == {f"{victim.job_id}_{i}" for i in range(6)}
    again = tasks.pop(victim.id)  # the job that took its place is soon over
    assert again.waiting or again.restarts
    assert {(task.state, task.restarts) for task in tasks.values()} == {("RUNNING", 0)}


def test_evicted_elements_of_an_array_are_counted_though_others_wait(idle_cluster: Sandbox, tmp_path: Path) -> None:
    idle_cluster.slurm.sbatch(write_script(tmp_path, "sleep 600"), ["--array=0-9", "--cpus-per-task=2", "--requeue"])
    wait_until(lambda: len(running(idle_cluster)) == 8, "eight running tasks")
    ran = {task.id for task in running(idle_cluster)}

    evicted = idle_cluster.preempt(hold_seconds=60)

    assert {task.id for task in evicted} == ran


def test_preempting_an_idle_cluster_evicts_nobody(idle_cluster: Sandbox) -> None:
    assert idle_cluster.preempt() == []
    assert idle_cluster.slurm.queue() == []


def test_where_preemption_cancels_the_task_is_over(cancelling_cluster: Sandbox, tmp_path: Path) -> None:
    cancelling_cluster.slurm.sbatch(write_script(tmp_path, "sleep 600"), ["--requeue", "--job-name=victim"])
    wait_until(lambda: len(running(cancelling_cluster)) == 1, "a running task")

    evicted = cancelling_cluster.preempt(hold_seconds=1)

    assert [task.name for task in evicted] == ["victim"]
    wait_until(lambda: not cancelling_cluster.slurm.queue(["victim"]), "the task's end")
    assert [task.state for task in cancelling_cluster.slurm.queue(["victim"], finished=True)] == ["PREEMPTED"]


def test_an_index_as_large_as_max_array_size_is_refused(cancelling_cluster: Sandbox, tmp_path: Path) -> None:
    script = write_script(tmp_path, "true")

    cancelling_cluster.slurm.sbatch(script, ["--array=100"])
    with pytest.raises(SlurmError, match=r"sbatch failed with status 1: .*Invalid job array"):
        cancelling_cluster.slurm.sbatch(script, ["--array=101"])


def test_a_request_no_node_can_meet_is_refused_before_it_is_submitted(idle_cluster: Sandbox, tmp_path: Path) -> None:
    script = write_script(tmp_path, "true")

    assert "to start at" in idle_cluster.slurm.test_only(script)
    with pytest.raises(SlurmError, match="Requested node configuration is not available"):
        idle_cluster.slurm.test_only(script, ["--cpus-per-task=400"])
    assert idle_cluster.slurm.queue() == []


def test_a_requeued_task_starts_again(idle_cluster: Sandbox, tmp_path: Path) -> None:
    idle_cluster.slurm.sbatch(write_script(tmp_path, "sleep 600"), ["--array=0-1", "--requeue"])
    wait_until(lambda: len(running(idle_cluster)) == 2, "two running tasks")

    idle_cluster.slurm.requeue(running(idle_cluster)[1])

    wait_until(lambda: sorted(task.restarts for task in idle_cluster.slurm.queue()) == [0, 1], "a restart")
    with pytest.raises(SlurmError, match="scontrol failed with status 1"):
        idle_cluster.slurm.requeue(QueuedTask("", "99999", 1, "", "", "", "", 0, 0, 0))


def test_a_job_goes_to_this_cluster_whatever_variables_of_sbatch_say(
    idle_cluster: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SBATCH_PARTITION", "no-such-partition")
    monkeypatch.setenv("SLURM_CONF", "/no/such/slurm.conf")
    script = tmp_path / "job.sh"
    script.write_text("#!/bin/sh\n#SBATCH --job-name=plain\n")
    job_id = idle_cluster.slurm.sbatch(script)
    found = idle_cluster.slurm.queue(["plain"], finished=True)
    assert [(task.job_id, task.partition) for task in found] == [(job_id, "low")]


def test_without_a_database_there_is_no_accounting(idle_cluster: Sandbox) -> None:
    assert idle_cluster.slurm.accounting(["anything"]) is None


def test_the_daemons_listen_on_the_loopback_address_only(cluster: Sandbox) -> None:
    addresses = {name: listening_addresses(daemon.pid) for name, daemon in cluster.daemons().items()}

    # munged talks through a file. 0100007F is 127.0.0.1 as /proc/net/tcp writes it.
    assert addresses.pop("munged") == set()
    assert addresses == {name: {("0100007F", port)} for name, port in read_state(cluster.directory)["ports"].items()}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
def test_another_user_of_the_machine_can_submit_nothing(idle_cluster: Sandbox, tmp_path: Path) -> None:
    # The worst case: the other user has got hold of the configuration and knows the ports.
    conf = Path("/tmp") / f"holdfast-test-{os.getpid()}.conf"
    conf.write_text(idle_cluster.conf.read_text())
    try:
        as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        done = subprocess.run(
            [*as_nobody, "sbatch", "--wrap=true"],
            env={**os.environ, "SLURM_CONF": str(conf)},
            cwd="/",
            capture_output=True,
            check=False,
        )
    finally:
        conf.unlink()

    assert done.returncode != 0
    assert idle_cluster.slurm.queue(finished=True, user="nobody") == []
    assert idle_cluster.directory.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(not OWN_NAMESPACES, reason="needs root, and the right to make namespaces")
@pytest.mark.parametrize("user", [0, 1], ids=["root", "daemon"])  # not nobody, whom 26.05 refuses as SlurmUser
def test_it_starts_where_cgroup_v2_is_pure_and_no_system_bus_runs(slurm_here: None, user: int) -> None:
    directory = Path(tempfile.mkdtemp(dir="/tmp"))  # not below pytest's, which is its owner's alone
    os.chown(directory, user, user)
    # Reading what only root may, such as a Python in its home, is all that is left of root.
    rights = [f"--{kind}=-all,+dac_read_search" for kind in ("inh-caps", "ambient-caps", "bounding-set")]
    as_user = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", *(rights if user else [])]
    holdfast = shlex.join([*as_user, sys.executable, "-m", "hpc", "sandbox"])
    # What a pure machine without systemd looks like; no bus is where slurmd would look for it.
    pure = "mount -t tmpfs none /run && mount -t cgroup2 none /sys/fs/cgroup"
    # On a busy machine a node may be taken for dead for a moment.
    idle = shlex.join(["timeout", f"{PATIENCE:.0f}", "sh", "-c", f"until {holdfast} status | grep idle; do :; done"])
    script = f"{pure} && {holdfast} up --nodes 1 && {idle}; code=$?; {holdfast} down; exit $code"
    environment = os.environ | {"HOLDFAST_SANDBOX": str(directory), "PYTHONPATH": str(ROOT)}
    try:
        command = ["unshare", "--mount", "sh", "-c", script]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    finally:
        shutil.rmtree(directory)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "idle" in done.stdout


@pytest.mark.skipif(not OWN_NAMESPACES, reason="needs root, and the right to make namespaces")
def test_where_there_is_no_address_but_127_0_0_1_the_remedy_is_named_and_works(
    tmp_path: Path, slurm_here: None
) -> None:
    holdfast = shlex.join([sys.executable, "-m", "hpc", "sandbox"])
    environment = os.environ | {"HOLDFAST_SANDBOX": str(tmp_path), "PYTHONPATH": str(ROOT)}

    def alone(script: str) -> subprocess.CompletedProcess[str]:
        command = ["unshare", "--net", "sh", "-c", f"ip link set lo up; {script}"]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    refused = alone(f"{holdfast} up")
    (line,) = refused.stderr.splitlines()
    assert refused.returncode == 3
    (remedy,) = re.findall("`(.+)`", line)
    helped = alone(f"{remedy} && {holdfast} up --nodes 1; code=$?; {holdfast} down; exit $code")
    assert helped.returncode == 0, helped.stdout + helped.stderr


def test_two_clusters_run_at_once_and_know_nothing_of_each_other(
    idle_cluster: Sandbox, start_cluster: StartCluster, tmp_path: Path
) -> None:
    script = write_script(tmp_path, "sleep 600")
    with start_cluster(nodes=1) as other:
        other.slurm.sbatch(script, ["--job-name=there"])
        idle_cluster.slurm.sbatch(script, ["--job-name=here"])

        assert [task.name for task in other.slurm.queue()] == ["there"]
        assert [task.name for task in idle_cluster.slurm.queue()] == ["here"]
    assert [task.name for task in idle_cluster.slurm.queue()] == ["here"]


def test_down_leaves_no_process_behind(start_cluster: StartCluster, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = write_script(
        tmp_path,
        "trap '' TERM",
        f"setsid sh -c 'echo $$ >> {pids}; exec sleep 600' &",  # leaves the job's session
        f"env -i sh -c 'echo $$ >> {pids}; exec sleep 600' &",  # forgets the job's environment
        f"echo $$ >> {pids}; wait",
    )
    with start_cluster(nodes=2) as cluster:
        cluster.slurm.sbatch(script, ["--array=0-1", "--exclusive"])
        wait_until(lambda: pids.exists() and len(pids.read_text().split()) == 6, "six processes")
        daemons = cluster.daemons().values()
        slurm_daemons.pause(cluster, "n1")  # a stopped daemon must go, too
        slurm_daemons.kill(cluster, "n2")

    assert not any(daemon.alive() for daemon in daemons)
    assert not [pid for pid in pids.read_text().split() if start_time(int(pid)) is not None]
    assert sandbox.find(cluster.directory) is None
    cluster.down()  # nothing left to stop: no error


@pytest.mark.parametrize("rebooted", [False, True])
def test_down_never_touches_a_process_that_got_an_old_id(start_cluster: StartCluster, rebooted: bool) -> None:
    bystander = subprocess.Popen(["sleep", "600"])
    start = int(Path(f"/proc/{bystander.pid}/stat").read_text().split()[21])
    try:
        with start_cluster(nodes=1) as cluster:
            daemons = cluster.daemons().values()
            state = json.loads((cluster.directory / "sandbox.json").read_text())
            state["daemons"]["n7"] = {"pid": bystander.pid, "start": start if rebooted else start - 1}
            state["boot"] = "the one before" if rebooted else state["boot"]
            (cluster.directory / "sandbox.json").write_text(json.dumps(state))
        assert bystander.poll() is None
        assert not any(daemon.alive() for daemon in daemons)
    finally:
        bystander.kill()
        bystander.wait()


def test_a_dead_controller_is_an_error_never_an_empty_queue(start_cluster: StartCluster, tmp_path: Path) -> None:
    with start_cluster(nodes=1, message_timeout=10) as cluster:
        cluster.slurm.sbatch(write_script(tmp_path, "sleep 600"), ["--job-name=still-there"])
        slurm_daemons.stop(cluster, "slurmctld")  # in good order: a killed one may have forgotten the job

        assert not cluster.slurm.answers()
        with pytest.raises(SlurmError, match=r"squeue failed with status 1: .*Unable to contact slurm controller"):
            cluster.slurm.queue(["still-there"])

        slurm_daemons.start(cluster, "slurmctld")
        assert [task.name for task in cluster.slurm.queue()] == ["still-there"]


def test_up_waits_for_a_controller_that_is_slow_to_answer(
    start_cluster: StartCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, asked = Slurm.nodes, []

    def too_late_at_first(slurm: Slurm) -> list[Node]:
        asked.append(slurm)
        if len(asked) == 1:
            raise SlurmError("sinfo failed with status 1: Socket timed out on send/recv operation")
        return answer(slurm)

    monkeypatch.setattr(Slurm, "nodes", too_late_at_first)
    with start_cluster(nodes=1) as cluster:
        assert len(asked) >= 2
        assert all(cluster.status().daemons.values())


def test_up_brings_a_dead_node_back_and_keeps_the_queue(start_cluster: StartCluster, tmp_path: Path) -> None:
    with start_cluster(nodes=2) as cluster:
        cluster.slurm.sbatch(write_script(tmp_path, "sleep 600"), ["--job-name=kept"])
        slurm_daemons.kill(cluster, "n2")
        assert cluster.status().daemons == {"munged": True, "slurmctld": True, "n1": True, "n2": False}

        assert sandbox.up(cluster.directory) == cluster

        assert all(cluster.status().daemons.values())
        assert [task.name for task in cluster.slurm.queue()] == ["kept"]


def test_what_a_crash_left_is_cleared_away_by_the_next_up(start_cluster: StartCluster, tmp_path: Path) -> None:
    with start_cluster(nodes=1) as cluster:
        cluster.slurm.sbatch(write_script(tmp_path, "sleep 600"))
        wait_until(lambda: len(running(cluster)) == 1, "a running task")
        for name in cluster.daemons():
            slurm_daemons.kill(cluster, name)
        assert sandbox.find(cluster.directory) is None

        with sandbox.up(cluster.directory, nodes=1) as again:
            assert again.slurm.queue(finished=True) == []
            assert [node.state for node in again.slurm.nodes()] == ["idle"]


def test_daemons_die_with_their_owner_if_asked_to(tmp_path: Path, start_cluster: StartCluster) -> None:
    source = "import sys, pathlib, time; from hpc.sandbox import cluster\n"
    source += "cluster.up(pathlib.Path(sys.argv[1]), nodes=1, die_with_owner=True); print('up', flush=True)\n"
    source += "time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", source, str(tmp_path)], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "up\n"
        daemons = Sandbox(tmp_path).daemons().values()
        assert len(daemons) == 3
        owner.send_signal(signal.SIGKILL)

    wait_until(lambda: not any(daemon.alive() for daemon in daemons), "the daemons' end")
    sandbox.down(tmp_path)


def test_a_directory_with_anything_else_in_it_is_refused_and_left_alone(
    tmp_path: Path, start_cluster: StartCluster
) -> None:
    (tmp_path / "thesis.tex").touch()
    tmp_path.chmod(0o755)

    with pytest.raises(SandboxError, match="neither empty nor a sandbox; choose another one with HOLDFAST_SANDBOX"):
        sandbox.up(tmp_path)
    assert tmp_path.stat().st_mode & 0o777 == 0o755
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    ("name", "reason"), [("a b", "cannot hold such a path"), ("x" * 100, "too long for Slurm's sockets")]
)
def test_a_path_slurm_cannot_use_is_refused(
    tmp_path: Path, start_cluster: StartCluster, name: str, reason: str
) -> None:
    with pytest.raises(SandboxError, match=reason):
        sandbox.up(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_daemon_that_does_not_start_is_quoted_and_nothing_stays_behind(
    tmp_path: Path, start_cluster: StartCluster
) -> None:
    # All daemons refuse this configuration; which of them ends first is the machine's affair.
    with pytest.raises(SandboxError, match=r": (slurmctld|n1) did not start: .*KillWait.*fatal:"):
        sandbox.up(tmp_path, nodes=1, kill_wait=-1)
    assert Sandbox(tmp_path).daemons() == {}


def test_the_default_directory_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOLDFAST_SANDBOX", raising=False)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert sandbox.default_directory() == tmp_path / "home/.local/state/holdfast/sandbox"
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert sandbox.default_directory() == tmp_path / "state/holdfast/sandbox"
    monkeypatch.setenv("HOLDFAST_SANDBOX", str(tmp_path / "mine"))
    assert sandbox.default_directory() == tmp_path / "mine"


def write_script(directory: Path, *lines: str) -> Path:
    script = directory / "job.sh"
    script.write_text("\n".join(["#!/bin/bash", "#SBATCH --output=/dev/null", *lines, ""]))
    return script


def running(cluster: Sandbox) -> list[QueuedTask]:
    return [task for task in cluster.slurm.queue() if task.partition == "low" and task.state == "RUNNING"]


def listening_addresses(pid: int) -> set[tuple[str, int]]:
    """Addresses as /proc/net/tcp has them, and ports, on which this process listens."""
    inodes = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed since it was listed
            inodes.add(os.readlink(link))
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *rest = line.split()
            if state == "0A" and f"socket:[{rest[5]}]" in inodes:
                address, port = local.split(":")
                found.add((address, int(port, 16)))
    return found
