"""What `check cluster` makes of the answers it gets, for clusters of all kinds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from hpc.planning.pilot_record import tasks_at_once
from hpc.preflight import judge_node, on_node, probe
from hpc.preflight.finding import NOTE, OK, PROBLEM, Finding, summary, table
from hpc.preflight.judge_cluster import ClusterAnswers, Preemption, gpus, judge, preemption
from hpc.slurm.answers import Node, parse_partitions
from hpc.slurm.profile import Profile
from hpc.slurm.profile_file import parse_profile

PARTITIONS = """\
PartitionName=low Default=YES GraceTime=60 MaxTime=1-00:00:00 PreemptMode=REQUEUE PriorityTier=1 State=UP TotalCPUs=8 \
TotalNodes=2
PartitionName=high Default=NO GraceTime=0 MaxTime=UNLIMITED PreemptMode=OFF PriorityTier=9 State=UP TotalCPUs=8 \
TotalNodes=2
"""
CONFIG = {
    "ClusterName": "lab",
    "JobRequeue": "1",
    "KillWait": "30 sec",
    "MaxArraySize": "1001",
    "MaxJobCount": "10000",
    "MinJobAge": "300 sec",
    "PreemptMode": "REQUEUE",
    "PreemptType": "preempt/partition_prio",
    "SlurmctldParameters": "idle_on_node_suspend,preempt_send_user_signal",
}


def node(name: str, **changes: Any) -> Node:
    whole = Node(name, "idle", ("high", "low"), 4, 4, 4000, "gpu:a100:2(S:0-1)", "", "")
    return replace(whole, **changes)


def cluster(*nodes: Node, accounting: bool = True, partitions: str = PARTITIONS, **config: str) -> ClusterAnswers:
    return ClusterAnswers(
        "22.05.8", CONFIG | config, tuple(parse_partitions(partitions)), nodes or (node("n1"), node("n2")), accounting
    )


def profile(**values: Any) -> Profile:
    return parse_profile("lab", values, "lab.yaml")


def verdict(findings: list[Finding], subject: str) -> Finding:
    (found,) = [finding for finding in findings if finding.subject == subject]
    return found


def test_a_usual_cluster_has_no_problem_and_no_note() -> None:
    found = judge(cluster(), profile(partition="low", timeout_min=240, gpus_per_node=1))
    assert {finding.level for finding in found} == {OK}, table(found)
    assert "USR2, then TERM, and 90 s until KILL; Slurm requeues it" in verdict(found, "preemption").text
    assert "4 GPUs (a100)" in verdict(found, "partition low").text
    assert "up to 1,000 tasks per array" in verdict(found, "arrays").text


@pytest.mark.parametrize(
    ("values", "subject", "level", "said"),
    [
        ({"partition": "medium"}, "partition", PROBLEM, "there is no partition medium"),
        ({"partition": "low", "timeout_min": 1441}, "time limit", PROBLEM, "low allows 24 h"),
        ({"partition": "high", "timeout_min": 99999}, "time limit", OK, "69.4 d per task"),
        ({"partition": "low", "timeout_min": 2}, "time limit", PROBLEM, "asked to stop 90 s before its end"),
        ({"partition": "low", "gpus_per_node": 1, "gpu_type": "h100"}, "GPUs", PROBLEM, "no h100 in low"),
    ],
)
def test_a_profile_that_does_not_fit_is_told_what_would(
    values: dict[str, Any], subject: str, level: str, said: str
) -> None:
    found = verdict(judge(cluster(), profile(**values)), subject)
    assert (found.level, said in found.text) == (level, True), found
    assert bool(found.fix) == (level == PROBLEM)


def test_a_partition_with_several_gpu_types_is_noted_until_the_profile_names_one() -> None:
    mixed = cluster(node("n1"), node("n2", gres="gpu:v100:4"))
    assert "mixes a100, v100" in verdict(judge(mixed, profile(partition="low", gpus_per_node=1)), "GPUs").text
    typed = profile(partition="low", gpus_per_node=1, gpu_type="v100")
    assert verdict(judge(mixed, typed), "GPUs").text == "4 in low (v100)"
    bare = cluster(node("n1", gres=""))
    assert verdict(judge(bare, profile(partition="low", gpus_per_node=1)), "GPUs").level == PROBLEM


def test_gpus_are_counted_by_type_however_sinfo_writes_them() -> None:
    nodes = [node("a", gres="gpu:2"), node("b", gres="gpu:1g.10gb:7,gpu:a100:1(S:0)"), node("c", gres="fpga:3")]
    assert gpus(nodes) == {"no type": 2, "1g.10gb": 7, "a100": 1}


@pytest.mark.parametrize(
    ("config", "partition", "expected"),
    [
        ({}, "low", Preemption("REQUEUE", True, 90)),
        ({"SlurmctldParameters": "(null)"}, "low", Preemption("REQUEUE", False, 30)),
        ({"PreemptType": "preempt/none"}, "low", Preemption("OFF", True, 90)),
        ({}, "high", Preemption("OFF", True, 30)),
        ({"KillWait": "5 sec"}, "low", Preemption("REQUEUE", True, 65)),
    ],
)
def test_how_long_an_evicted_task_has(config: dict[str, str], partition: str, expected: Preemption) -> None:
    asked = cluster(**config)
    assert preemption(asked, asked.partition(partition)) == expected


def test_only_a_lower_priority_can_be_evicted_by_partition_priority() -> None:
    equal = cluster(partitions=PARTITIONS.replace("PriorityTier=9", "PriorityTier=1"))
    assert preemption(equal, equal.partition("low")).mode == "OFF"


def test_a_site_that_cancels_says_how_to_live_with_it() -> None:
    cancels = cluster(partitions=PARTITIONS.replace("REQUEUE", "CANCEL"))
    found = verdict(judge(cancels, profile(partition="low")), "preemption")
    assert (found.level, "submit --wait" in found.fix) == (NOTE, True)
    suspends = cluster(partitions=PARTITIONS.replace("REQUEUE", "GANG,SUSPEND"))
    assert verdict(judge(suspends, profile(partition="low")), "preemption").level == NOTE


def test_nodes_out_of_service_are_a_note_and_a_problem_when_none_is_left() -> None:
    down = node("n1", state="down*", reason="fan")
    assert verdict(judge(cluster(down, node("n2")), profile(partition="low")), "nodes").level == NOTE
    every = verdict(judge(cluster(down), profile(partition="low")), "nodes")
    assert (every.level, "fan" in every.text) == (PROBLEM, True)


def test_what_a_preemption_costs_is_said_in_numbers() -> None:
    signalled, hurried = Preemption("REQUEUE", True, 60), Preemption("REQUEUE", False, 2)
    quick = judge_node.preemption_cost(signalled, 3.1, 24_000_000, 60)
    assert (quick.level, quick.text) == (
        OK,
        "a checkpoint of 24 MB takes 3.1 s, an evicted task has 60 s: a preemption loses no training",
    )
    lossy = judge_node.preemption_cost(hurried, 1.1, 24_000_000, 60)
    assert (lossy.level, "may lose up to 61 s of training" in lossy.text) == (NOTE, True)
    slow = judge_node.preemption_cost(hurried, 30, 24_000_000, 60)
    assert "one is written every 2 min" in slow.text  # one may be in the writing a quarter of the time
    small = judge_node.preemption_cost(hurried, 3, 24_000, 60)
    assert "one is written every 2.5 min" in small.text  # it holds training up, for 2 % of the time
    assert "a node that dies costs at most" in judge_node.preemption_cost(Preemption("OFF", True, 60), 1, 1, 60).text
    assert judge_node.time_limit_cost(profile(), 3.0) is None
    late = judge_node.time_limit_cost(profile(signal_delay_s=20), 15.0)
    assert late is not None
    assert late.fix == "set signal_delay_s to 60 or more"


def shared(**changes: Any) -> dict[str, Any]:
    rounds = list(range(probe.ROUNDS))
    space = {"free_bytes": 1 << 40, "total_bytes": 1 << 41, "free_inodes": 10**7, "total_inodes": 10**8}
    won = {"mkdir": rounds, "link": rounds}
    return {"faults": [], "round_trip_s": 0.2, "won": won, "checkpoint_s": 0.1, "space": space} | changes


NONE_WON: dict[str, list[int]] = {"mkdir": [], "link": []}


def test_a_directory_that_behaves_is_ok() -> None:
    assert {finding.level for finding in judge_node.shared(shared(), NONE_WON, 100)} == {OK}


@pytest.mark.parametrize(
    ("answer", "won", "subject", "said"),
    [
        (shared(), {"mkdir": [3], "link": []}, "directory", "mkdir: in 1 of 40 rounds both sides won"),
        (shared(won=NONE_WON), NONE_WON, "directory", "link: in 40 of 40 rounds neither side won"),
        (shared(faults=["link replaces a file that exists"]), NONE_WON, "directory", "on the node, link replaces"),
        (shared(round_trip_s=None, won=None), None, "visibility", "not seen here and answered within 90 s"),
        ({"error": "/shared: Permission denied"}, None, "directory", "/shared: Permission denied"),
        (shared(space=shared()["space"] | {"free_bytes": 10**9}), NONE_WON, "space", "1 GB free"),
        (shared(space=shared()["space"] | {"free_inodes": 1000}), NONE_WON, "inodes", "1,000 free"),
    ],
)
def test_a_directory_where_results_would_not_be_safe_is_a_problem(
    answer: dict[str, Any], won: dict[str, list[int]] | None, subject: str, said: str
) -> None:
    found = verdict([f for f in judge_node.shared(answer, won, 100) if f.level == PROBLEM], subject)
    assert said in found.text
    assert found.fix


def test_the_probes_find_nothing_wrong_here_and_a_race_has_one_winner(tmp_path: Path) -> None:
    assert probe.alone(tmp_path) == []
    race = tmp_path / "race"
    race.mkdir()
    first, second = probe.race(race, "here"), probe.race(race, "node")
    assert first["mkdir"] == first["link"] == list(range(probe.ROUNDS))
    assert second == NONE_WON
    assert probe.race_faults(first, second) == []


def machine(found: dict[str, Any], **values: Any) -> list[Finding]:
    answer = {"python": "3.11.7", "node": "n1", "executable": "python", "cpus": 4, "cuda_visible_devices": "0,1"}
    return judge_node.machine(answer | {"torch": found}, profile(**values))


def test_torch_and_gpus_of_a_node_are_held_against_the_profile() -> None:
    gpu = {"name": "A100", "bytes": 40 << 30}
    found = {"version": "2.6", "import_s": 2.0, "devices": [gpu], "trouble": ""}
    assert verdict(machine(found, gpus_per_node=1), "GPU").text == "A100 (42.9 GB)"
    few = verdict(machine(found, gpus_per_node=2), "GPU")
    assert (few.level, "sees 1 GPUs where the profile has 2 workers (CUDA_VISIBLE_DEVICES=0,1)" in few.text) == (
        PROBLEM,
        True,
    )
    assert verdict(machine(found), "GPU").level == NOTE
    assert verdict(machine(found | {"trouble": "no kernel image"}, gpus_per_node=1), "GPU").level == PROBLEM
    assert verdict(machine({"error": "No module named 'torch'"}), "torch").level == NOTE
    assert verdict(machine({"error": "No module named 'torch'"}, gpus_per_node=1), "torch").level == PROBLEM
    assert verdict(machine(found | {"import_s": 99.0, "devices": []}), "torch").level == NOTE


@pytest.mark.parametrize(
    ("broken", "trouble"), [(None, ""), (0, "GPU 0: no kernel image"), (2, "GPU 2: no kernel image")]
)
def test_each_gpu_that_a_node_was_given_computes(
    monkeypatch: pytest.MonkeyPatch, broken: int | None, trouble: str
) -> None:
    zeros, used = torch.zeros, []

    def made(length: int, device: str) -> torch.Tensor:
        used.append(device)
        if device == f"cuda:{broken}":
            raise RuntimeError("no kernel image\nis available")
        return zeros(length)

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda n: SimpleNamespace(name=f"G{n}", total_memory=n))
    monkeypatch.setattr(torch, "zeros", made)
    found = on_node._torch()
    assert found["devices"] == [{"name": f"G{n}", "bytes": n} for n in range(3)]
    assert found["trouble"] == trouble
    assert used == ["cuda:0", "cuda:1", "cuda:2"][: 3 if broken is None else broken + 1]


def test_how_many_tasks_run_at_once_follows_from_what_is_idle_and_allowed() -> None:
    nodes = [node("n1"), node("n2", idle_cpus=1), node("n3", state="drained"), node("n4", partitions=("other",))]
    assert tasks_at_once(profile(partition="low"), nodes) == 5
    assert tasks_at_once(profile(partition="low", cpus_per_task=2), nodes) == 2
    assert tasks_at_once(profile(partition="low", gpus_per_node=1), nodes) == 3
    assert tasks_at_once(profile(partition="low", gpus_per_node=2), nodes) == 2
    assert tasks_at_once(profile(partition="low", array_parallelism=3), nodes) == 3
    busy = [replace(each, idle_cpus=0) for each in nodes]
    assert tasks_at_once(profile(partition="low"), busy) == 8  # nothing is idle: what there is
    assert tasks_at_once(profile(partition="low"), []) == 1


def test_the_last_line_counts_problems_and_notes() -> None:
    assert summary([Finding(OK, "a", "b")]) == "ready to submit (0 notes)"
    assert summary([Finding(NOTE, "a", "b")]) == "ready to submit (1 note)"
    assert summary([Finding(PROBLEM, "a", "b", "c"), Finding(NOTE, "a", "b")]) == "1 problem to fix, 1 note"
