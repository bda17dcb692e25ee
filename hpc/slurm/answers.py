"""What Slurm's commands answer, as values: tasks, the states that they can be in, partitions, nodes. Pure: text in,
dataclasses out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from hpc.units import slurm_seconds

QUEUE_FIELDS = (
    "ArrayJobID",
    "ArrayTaskID",
    "State",
    "Reason",
    "NodeList",
    "Partition",
    "TimeUsed",
    "NumCPUs",
    "RestartCnt",
    "WorkDir",
    "Name",  # last: the only field in which anything, also a separator, may occur
)
# A path may have `|`; `//` is in none that `pwd` or a resolved path gives. Whoever writes one by hand changes what is
# read as the name of his own job, which then is none that is looked for.
_AFTER_DIRECTORY = "|//|"
# A field is cut at 20 characters unless its width is given as none; text after the width is put behind the field.
QUEUE_FORMAT = ",".join(f"{field}:{_AFTER_DIRECTORY if field == 'WorkDir' else '|'}" for field in QUEUE_FIELDS)
ACCOUNTING_FIELDS = ("JobID", "State", "ExitCode", "ElapsedRaw", "NodeList", "JobName")
# What sinfo shows of a node's generic resources: `gpu:a100:4`, or `gpu:2` where the site names no type.
_GPUS = re.compile(r"gpu:(?:([^:(,]+):)?(\d+)")
NO_TYPE = "no type"
# Every state that squeue and sacct name (man squeue, "JOB STATE CODES", 22.05 to 26.05). One that is in none of these
# sets is of a later version, and counts as ACTIVE: a task is never given up because of a new word.
WAITING = frozenset({
    *("PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT", "EXPEDITING"),
    *("POWER_UP_NODE", "CONFIGURING"),
})  # fmt: skip
ACTIVE = frozenset({"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "RESIZING", "SIGNALING", "STAGE_OUT", "UPDATE_DB"})
ENDED = frozenset({
    *("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "DEADLINE", "PREEMPTED", "NODE_FAIL", "BOOT_FAIL"),
    *("OUT_OF_MEMORY", "LAUNCH_FAILED", "RECONFIG_FAIL", "REVOKED"),
})  # fmt: skip
# A task whose launch failed is requeued and held, and each version says it in other words: "launch failed requeued
# held", "user env retrieval failed requeued held", with spaces or underscores; "job requeued in held state".
_HELD_REASON = re.compile(r"requeued\W*_?(in_)?(in )?held|JobHoldMaxRequeue", re.IGNORECASE)
_HELD_STATES = frozenset({"REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT"})


@dataclass(frozen=True, slots=True)
class QueuedTask:
    """One job or array element that slurmctld knows of.

    name: job name, our unique token. job_id: id of the job, for an array that of the whole array.
    index: index within the array; None for a job that is no array.
    state: Slurm's long name (PENDING, RUNNING, COMPLETING ...). reason: why it waits, as Slurm puts it.
    node: node list, "" while it has none. time_used: seconds since this start. cpus: allocated or asked for.
    restarts: how often Slurm requeued it (can jump by two). directory: in which it works.
    """

    name: str
    job_id: str
    index: int | None
    state: str
    reason: str
    node: str
    partition: str
    time_used: int
    cpus: int
    restarts: int
    directory: str = ""

    @property
    def id(self) -> str:
        """The id Slurm's commands take: `12_3`, or `12` for a job that is no array."""
        return self.job_id if self.index is None else f"{self.job_id}_{self.index}"

    @property
    def held(self) -> bool:
        """Whether Slurm holds it for good after it failed: only `scontrol release` would start it.

        A task that a person holds (JobHeldUser, JobHeldAdmin) is only waiting.
        """
        return self.state in _HELD_STATES or (self.waiting and _HELD_REASON.search(self.reason) is not None)

    @property
    def waiting(self) -> bool:
        """Whether it has not begun to run, or waits to run again."""
        return self.state in WAITING

    @property
    def phase(self) -> str:
        """PENDING or RUNNING: what a task in the queue is to a person, whatever Slurm does with it at the moment."""
        return "PENDING" if self.waiting else "RUNNING"

    @property
    def ended(self) -> bool:
        """Whether it has ended for good; a task that is COMPLETING may still be writing."""
        return self.state in ENDED


@dataclass(frozen=True)
class AccountedTask:
    """One job or array element as sacct remembers it.

    exit_code, signal: of the batch script; signal is 0 if it ended by itself. An exit code above 128 is a shell's word
    for a signal; Slurm before 25.11 shows it without the 128. seconds: elapsed in the last run.
    """

    name: str
    job_id: str
    index: int | None
    state: str
    exit_code: int
    signal: int
    seconds: int
    node: str


@dataclass(frozen=True)
class Cluster:
    """Which cluster it is. name: its ClusterName. controller: `HOST:PORT` of its (first) slurmctld.

    Neither is unique alone: many clusters are called `cluster`, and one machine can have several.
    """

    name: str
    controller: str

    def __str__(self) -> str:
        return f"{self.name} (slurmctld at {self.controller})"


@dataclass(frozen=True)
class Partition:
    """One partition. max_time_min: minutes, None if unlimited. grace_time_s: seconds a preempted job keeps running.

    fields: everything `scontrol show partition` says, by Slurm's names.
    """

    name: str
    default: bool
    state: str
    nodes: int
    cpus: int
    max_time_min: float | None
    priority_tier: int
    preempt_mode: str
    grace_time_s: int
    fields: Mapping[str, str]


@dataclass(frozen=True)
class Node:
    """One node. state: as sinfo says, e.g. idle, mixed, down*. gres: e.g. `gpu:a100:4`, "" if none. memory_mb: MiB."""

    name: str
    state: str
    partitions: tuple[str, ...]
    cpus: int
    idle_cpus: int
    memory_mb: int
    gres: str
    features: str
    reason: str

    @property
    def gpus(self) -> Counter[str]:
        """GPUs by type, as sinfo names it; NO_TYPE for those without one."""
        found = Counter[str]()
        for kind, number in _GPUS.findall(self.gres):
            found[kind or NO_TYPE] += int(number)
        return found


def parse_queue(text: str) -> list[QueuedTask]:
    """Reads squeue's answer in our format, a waiting array as its elements.

    Lines that are no job (a federation's headings) are passed over. Raises ValueError if indices were left out.
    """
    columns = len(QUEUE_FIELDS) - 1  # directory and name in one
    rows = (line.split("|", columns - 1) for line in text.split("\n"))  # not splitlines: a name may hold \x1c
    return [task for row in rows if len(row) == columns and row[0].isdecimal() for task in _queued_tasks(row)]


def _queued_tasks(row: Sequence[str]) -> Iterator[QueuedTask]:
    job_id, indices, state, reason, node, partition, used, cpus, restarts, place = row
    directory, _, name = place.partition(_AFTER_DIRECTORY)
    for index in (None,) if indices == "N/A" else expand(indices):
        yield QueuedTask(
            name=name.removesuffix("|"),
            job_id=job_id,
            index=index,
            state=state,
            reason="" if reason == "None" else reason,
            node=node,
            partition=partition,
            time_used=slurm_seconds(used) or 0,
            cpus=int(cpus) if cpus.isdecimal() else 0,
            restarts=int(restarts) if restarts.isdecimal() else 0,
            directory=directory,
        )


def parse_accounting(text: str) -> list[AccountedTask]:
    """Reads sacct's answer in our format. Elements that have not started (`12_[3-9]`) are left to squeue."""
    rows = (line.split("|", len(ACCOUNTING_FIELDS) - 1) for line in text.split("\n"))
    return [
        _accounted_task(row)
        for row in rows
        if len(row) == len(ACCOUNTING_FIELDS) and re.fullmatch(r"\d+(_\d+)?", row[0])
    ]


def _accounted_task(row: Sequence[str]) -> AccountedTask:
    job, state, exit_code, seconds, node, name = row
    job_id, _, index = job.partition("_")
    code, _, signal = exit_code.partition(":")
    return AccountedTask(
        name=name,
        job_id=job_id,
        index=int(index) if index else None,
        state=state.partition(" ")[0],  # "CANCELLED by 1000"
        exit_code=int(code or 0),
        signal=int(signal or 0),
        seconds=int(seconds or 0),
        node="" if node == "None assigned" else node,
    )


def parse_config(text: str) -> dict[str, str]:
    """Reads `scontrol show config`: lines of `Name = value`."""
    pairs = (line.split("=", 1) for line in text.splitlines() if "=" in line)
    return {name.strip(): value.strip() for name, value in pairs}


def parse_cluster(config: Mapping[str, str]) -> Cluster:
    """Which cluster a configuration is of; empty names where it does not say so."""
    host = config.get("SlurmctldHost[0]", config.get("SlurmctldHost", "")).partition("(")[0]
    return Cluster(config.get("ClusterName", ""), f"{host}:{config.get('SlurmctldPort', '')}")


def parse_partitions(text: str) -> list[Partition]:
    """Reads `scontrol --oneliner show partition`: a line of `Name=value` words per partition."""
    lines = (dict(re.findall(r"(\S+?)=(\S*)", line)) for line in text.splitlines())
    return [_partition(fields) for fields in lines if "PartitionName" in fields]


def _partition(fields: Mapping[str, str]) -> Partition:
    seconds = slurm_seconds(fields.get("MaxTime", "UNLIMITED"))
    return Partition(
        name=fields["PartitionName"],
        default=fields.get("Default") == "YES",
        state=fields.get("State", ""),
        nodes=int(fields.get("TotalNodes", 0)),
        cpus=int(fields.get("TotalCPUs", 0)),
        max_time_min=None if seconds is None else seconds / 60,
        priority_tier=int(fields.get("PriorityTier", 1)),
        preempt_mode=fields.get("PreemptMode", ""),
        grace_time_s=int(fields.get("GraceTime", 0)),
        fields=fields,
    )


def parse_nodes(text: str) -> list[Node]:
    """Reads sinfo's answer in our format: a line per node *and* partition, put together to one node."""
    rows = [line.split("|", 7) for line in text.splitlines() if line.count("|") >= 7]
    partitions: dict[str, list[str]] = {}
    for row in rows:
        partitions.setdefault(row[0], []).append(row[2].rstrip("*"))  # the default partition has a star
    last = {row[0]: row for row in rows}
    return [_node(row, tuple(sorted(partitions[name]))) for name, row in last.items()]


def _node(row: Sequence[str], partitions: tuple[str, ...]) -> Node:
    name, state, _, cpus, memory, gres, features, reason = row
    _, idle, _, total = (int(count) for count in cpus.split("/"))  # allocated/idle/other/total
    return Node(
        name=name,
        state=state,
        partitions=partitions,
        cpus=total,
        idle_cpus=idle,
        memory_mb=int(memory.rstrip("+")),
        gres="" if gres == "(null)" else gres,
        features="" if features == "(null)" else features,
        reason="" if reason == "none" else reason,
    )


def is_node(name: str) -> bool:
    """Whether a node can have this name; what is found in a file's name may be anything."""
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", name) is not None


def ranges(indices: Iterable[int]) -> list[str]:
    """Array indices in Slurm's notation: 1, 2, 3, 7 -> `1-3`, `7`."""
    spans: list[list[int]] = []
    for index in sorted(set(indices)):
        if spans and index == spans[-1][1] + 1:
            spans[-1][1] = index
        else:
            spans.append([index, index])
    return [str(low) if low == high else f"{low}-{high}" for low, high in spans]


def expand(indices: str) -> Iterator[int]:
    """The indices that Slurm's notation stands for: `1-3,7` and `1-7:2`, with or without a limit `%4` at the end.

    Raises ValueError for anything else, also for a list that Slurm cut short with dots.
    """
    for span in indices.partition("%")[0].split(","):
        found = re.fullmatch(r"(\d+)(?:-(\d+)(?::(\d+))?)?", span)
        if found is None:
            raise ValueError(f"{span!r} in {indices[-80:]!r} is no array index or range")
        low, high, step = found.groups()
        yield from range(int(low), int(high or low) + 1, int(step or 1))
