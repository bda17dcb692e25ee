"""What a cluster's controller reports, judged for sweeps of many short, preemptible tasks."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hpc.preflight.finding import Finding, note, ok, problem
from hpc.slurm.answers import Node, Partition
from hpc.slurm.commands import Slurm, SlurmError
from hpc.slurm.profile import Profile
from hpc.units import duration

# What matters in `scontrol show config`. Nothing here names people or secrets, as it goes into bug reports.
CONFIG_KEYS = (
    "ClusterName",
    "JobRequeue",
    "KillWait",
    "MaxArraySize",
    "MaxJobCount",
    "MinJobAge",
    "PreemptExemptTime",
    "PreemptMode",
    "PreemptParameters",
    "PreemptType",
    "SchedulerParameters",
    "SelectType",
    "SlurmctldParameters",
    "SlurmdTimeout",
)
_PARTITION_KEYS = (
    *("name", "default", "state", "nodes", "cpus"),
    *("max_time_min", "preempt_mode", "grace_time_s", "priority_tier"),
)
# MaxArraySize is one more than the tasks of an array: below a hundred tasks, packs help more than further arrays.
_SMALL_ARRAYS = 101


@dataclass(frozen=True)
class ClusterAnswers:
    """The answers of a controller. config: `scontrol show config`, CONFIG_KEYS only. accounting: sacct answers."""

    version: str
    config: Mapping[str, str]
    partitions: tuple[Partition, ...]
    nodes: tuple[Node, ...]
    accounting: bool

    def to_json(self) -> dict[str, Any]:
        """Plain data, for a bug report."""
        partitions = [
            {key: getattr(partition, key) for key in _PARTITION_KEYS}
            | {"gpus": dict(gpus(self.nodes_of(partition.name)))}
            for partition in self.partitions
        ]
        accounting = {"accounting": self.accounting, "nodes": len(self.nodes)}
        return {"version": self.version, "config": dict(self.config), "partitions": partitions, **accounting}

    def partition(self, name: str | None) -> Partition | None:
        """The partition of this name, or the default one."""
        wanted = [p for p in self.partitions if (p.name == name if name else p.default)]
        return wanted[0] if wanted else None

    def nodes_of(self, partition: str) -> list[Node]:
        return [node for node in self.nodes if partition in node.partitions]


@dataclass(frozen=True)
class Preemption:
    """What happens to an evicted task. mode: Slurm's, OFF if no task is evicted. signalled: it gets USR2 first.

    seconds: time from its first signal to SIGKILL.
    """

    mode: str
    signalled: bool
    seconds: float


def ask(slurm: Slurm) -> ClusterAnswers:
    """Ask the controller. Raises SlurmError."""
    config = slurm.config()
    return ClusterAnswers(
        version=slurm.version(),
        config={key: config[key] for key in CONFIG_KEYS if key in config},
        partitions=tuple(slurm.partitions()),
        nodes=tuple(slurm.nodes()),
        accounting=slurm.accounting(["holdfast-check"], since="now-1hours") is not None,
    )


def judge(cluster: ClusterAnswers, profile: Profile | None) -> list[Finding]:
    """Verdicts on a cluster, and on one partition of it if a profile names one."""
    name = cluster.config.get("ClusterName", "?")
    found = [ok("Slurm", f"version {cluster.version}, cluster {name}, {len(cluster.nodes)} nodes")]
    partition = cluster.partition(profile.parameters.get("partition") if profile else None)
    if profile is None:
        found += [_described(cluster, each) for each in cluster.partitions]
    elif partition is None:
        found.append(_no_partition(cluster, profile))
    else:
        found += [*_partition(cluster, partition, profile), *_gpus(cluster, partition, profile)]
    return [*found, _arrays(cluster), preemption_finding(cluster, partition), _accounting(cluster)]


def preemption(cluster: ClusterAnswers, partition: Partition | None) -> Preemption:
    """How tasks of a partition are evicted.

    As observed on real clusters: TERM comes at the end of the grace time, KILL KillWait later; USR2, where Slurm has
    preempt_send_user_signal, at its beginning. Slurm rounds the grace time up by several seconds.
    """
    mode = _preempt_mode(cluster, partition)
    signalled = "preempt_send_user_signal" in cluster.config.get("SlurmctldParameters", "")
    grace = partition.grace_time_s if partition is not None and signalled else 0
    return Preemption(mode, signalled, _kill_wait(cluster) + grace)


def preemption_finding(cluster: ClusterAnswers, partition: Partition | None) -> Finding:
    """Whether and how tasks are evicted, and who brings them back."""
    how = preemption(cluster, partition)
    where = f"partition {partition.name}" if partition else "the cluster's default"
    subject = "preemption"
    if how.mode == "OFF":
        return ok(subject, f"off for {where}: a running task is left alone until its time limit")
    if how.mode == "SUSPEND":
        text = f"{where} suspends evicted tasks; they keep their memory and their claim, and continue by themselves"
        return note(subject, text)
    signal = "USR2, then TERM" if how.signalled else "TERM only (no preempt_send_user_signal)"
    kind, grace = cluster.config.get("PreemptType", "?"), partition.grace_time_s if partition else 0
    settings = f"PreemptMode={how.mode}, {kind}, GraceTime={grace}, KillWait={_kill_wait(cluster):g}"
    text = f"{where} ({settings}): an evicted task gets {signal}, and {how.seconds:g} s until KILL"
    if how.mode == "CANCEL":
        return note(subject, text, "Slurm does not bring it back: use `holdfast submit --wait`, or submit again")
    requeue = cluster.config.get("JobRequeue") == "0"
    more = "; JobRequeue=0 does no harm, as every task sets --requeue" if requeue else ""
    return ok(subject, f"{text}; Slurm requeues it{more}")


def gpus(nodes: Sequence[Node]) -> Counter[str]:
    """GPUs of all these nodes, by type."""
    return sum((node.gpus for node in nodes), Counter[str]())


def test_request(slurm: Slurm, script: Any) -> Finding:
    """The verdict of `sbatch --test-only` on a profile's script."""
    try:
        answer = slurm.test_only(script)
    except SlurmError as error:
        return problem("request", str(error), "change the profile until Slurm accepts it; `sinfo` shows what there is")
    said = next((line for line in answer.splitlines() if "to start at" in line), answer)
    return ok("request", f"Slurm accepts it: {said.partition('sbatch: ')[2] or said}")


def _described(cluster: ClusterAnswers, partition: Partition) -> Finding:
    limit = "no time limit" if partition.max_time_min is None else f"at most {duration(60 * partition.max_time_min)}"
    mode = _preempt_mode(cluster, partition)
    evicted = "not preempted" if mode == "OFF" else f"preempted by {mode}, grace {partition.grace_time_s} s"
    counts = gpus(cluster.nodes_of(partition.name))
    listed = " and ".join(f"{number} GPUs ({kind})" for kind, number in sorted(counts.items())) or "no GPUs"
    text = f"{partition.nodes} nodes, {partition.cpus} CPUs, {listed}; {limit}; {evicted}"
    if partition.state != "UP":
        return note(f"partition {partition.name}", f"state {partition.state}; {text}")
    return ok(f"partition {partition.name}", text + ("; the default" if partition.default else ""))


def _no_partition(cluster: ClusterAnswers, profile: Profile) -> Finding:
    names = ", ".join(partition.name for partition in cluster.partitions)
    asked = profile.parameters.get("partition")
    if asked:
        return problem("partition", f"there is no partition {asked}", f"set partition to one of: {names}")
    return problem("partition", "this cluster has no default partition", f"set partition to one of: {names}")


def _partition(cluster: ClusterAnswers, partition: Partition, profile: Profile) -> list[Finding]:
    found = [_described(cluster, partition)]
    nodes = cluster.nodes_of(partition.name)
    # From the start only: sinfo adds suffixes, as in down* for a node that does not answer.
    bad = [node for node in nodes if re.match(r"down|drain|fail|unk", node.state)]
    if partition.state != "UP":
        found.append(problem("partition", f"{partition.name} is {partition.state}", "wait for it, or choose another"))
    if bad:
        reasons = "; ".join(sorted({node.reason for node in bad if node.reason})) or "no reason given"
        text = f"{len(bad)} of {len(nodes)} nodes are out of service ({reasons})"
        found.append(
            problem("nodes", text, "choose another partition") if len(bad) == len(nodes) else note("nodes", text)
        )
    found.append(_time_limit(partition, profile))
    return found


def _time_limit(partition: Partition, profile: Profile) -> Finding:
    if "timeout_min" not in profile.parameters:
        said = partition.fields.get("DefaultTime", "NONE")
        default = f"of {said}" if said != "NONE" else f"of {partition.fields.get('MaxTime', 'its own')}, its longest"
        return note("time limit", f"the profile has no timeout_min; {partition.name} gives a task a limit {default}")
    asked, limit = float(profile.parameters["timeout_min"]), partition.max_time_min
    if limit is not None and asked > limit:
        text = f"a task requests {duration(60 * asked)}, {partition.name} allows {duration(60 * limit)}"
        return problem(
            "time limit", text, f"set timeout_min to {limit:g} or less; longer cells are requeued and resume"
        )
    if asked * 60 < 2 * profile.signal_delay_s:
        text = f"a task has {duration(60 * asked)} and is asked to stop {profile.signal_delay_s} s before its end"
        return problem("time limit", text, "raise timeout_min, or lower signal_delay_s")
    allowed = "" if limit is None else f"; {partition.name} allows {duration(60 * limit)}"
    return ok(
        "time limit", f"{duration(60 * asked)} per task, asked to save {profile.signal_delay_s} s before{allowed}"
    )


def _gpus(cluster: ClusterAnswers, partition: Partition, profile: Profile) -> list[Finding]:
    types = gpus(cluster.nodes_of(partition.name))
    wants = "gpus_per_node" in profile.parameters or "gpu" in str(profile.parameters.get("gres", ""))
    if not wants:
        return []
    names = ", ".join(sorted(types))
    if not types:
        text = f"the profile requests GPUs, and Slurm knows of none in {partition.name}"
        return [problem("GPUs", text, "choose a partition with GPUs, or remove gpus_per_node")]
    if profile.gpu_type and profile.gpu_type not in types:
        text = f"there is no {profile.gpu_type} in {partition.name}"
        return [problem("GPUs", text, f"set gpu_type to one of: {names}")]
    if len(types) > 1 and not profile.gpu_type and "constraint" not in profile.parameters:
        text = f"{partition.name} mixes {names}; results are bit-identical on one type only"
        return [
            note("GPUs", text, "set gpu_type in the profile, so that a requeued cell resumes on the type it began on")
        ]
    count = types[profile.gpu_type] if profile.gpu_type else types.total()
    return [ok("GPUs", f"{count} in {partition.name} ({profile.gpu_type or names})")]


def _arrays(cluster: ClusterAnswers) -> Finding:
    size, jobs = cluster.config.get("MaxArraySize", ""), cluster.config.get("MaxJobCount", "")
    if not size.isdecimal():
        return note("arrays", f"MaxArraySize is {size or 'not given'}")
    if int(size) < 2:
        return problem(
            "arrays", f"MaxArraySize is {size}: this cluster accepts no job arrays", "ask its administrators"
        )
    text = f"up to {int(size) - 1:,} tasks per array (MaxArraySize), {int(jobs or 0):,} jobs in all (MaxJobCount)"
    text += "; larger sweeps become several arrays"
    return (
        note("arrays", text, "--pack puts several cells into one task")
        if int(size) < _SMALL_ARRAYS
        else ok("arrays", text)
    )


def _accounting(cluster: ClusterAnswers) -> Finding:
    if cluster.accounting:
        return ok("accounting", "sacct answers")
    age = duration(_seconds(cluster.config.get("MinJobAge", "300")))
    text = f"sacct does not answer. Holdfast can do without, but Slurm forgets how a task ended after {age} (MinJobAge)"
    return note("accounting", text)


def _preempt_mode(cluster: ClusterAnswers, partition: Partition | None) -> str:
    kind = cluster.config.get("PreemptType", "preempt/none")
    if kind == "preempt/none" or (kind == "preempt/partition_prio" and partition and _is_first(cluster, partition)):
        return "OFF"
    mode = (partition.preempt_mode if partition else "") or cluster.config.get("PreemptMode", "OFF")
    # GANG is a scheduler of time slices beside the mode, as in SUSPEND,GANG.
    words = [word for word in mode.upper().split(",") if word != "GANG"]
    return words[0] if words else "OFF"


def _is_first(cluster: ClusterAnswers, partition: Partition) -> bool:
    """Whether no partition that shares a node has a higher priority: then no job can evict its tasks."""
    sharing = {name for node in cluster.nodes_of(partition.name) for name in node.partitions}
    tiers = [other.priority_tier for other in cluster.partitions if other.name in sharing]
    return partition.priority_tier >= max(tiers, default=0)


def _kill_wait(cluster: ClusterAnswers) -> float:
    return _seconds(cluster.config.get("KillWait", "30"))


def _seconds(text: str) -> float:
    """Seconds of a value such as `30 sec`."""
    found = re.match(r"\d+", text)
    return float(found.group()) if found else 0.0
