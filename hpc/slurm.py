"""Slurm's commands and their quirks. No other module of the project runs one of them.

A job is looked up by its *name*, a unique token given at submission, never by its id alone: after a crash slurmctld
hands out the same ids again, and sbatch can fail although the job was queued. What cannot be asked is an error, never
an empty answer.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

QUERY_TIMEOUT_S = 60.0
SUBMIT_TIMEOUT_S = 180.0  # over MaxJobCount sbatch itself tries for 120 s before it gives up

# Which cluster and whose identity: these address the same controller for us as for the user.
_KEPT_VARIABLES = frozenset({"SLURM_CONF", "SLURM_CLUSTERS", "SLURM_JWT"})
_SLURM_VARIABLE = re.compile(r"(SLURM|SLURMD|SBATCH|SRUN|SALLOC|SQUEUE|SCANCEL|SACCT|SINFO|SCONTROL)_")
# Debian and most sites keep the daemons out of a user's PATH.
_DAEMON_PATH = "/usr/local/sbin:/usr/sbin:/sbin"
_NEEDED_HERE = ("slurmctld", "slurmd", "munged", "sbatch", "squeue", "scontrol", "scancel", "sinfo")
# One argument of a command may be 128 KiB long on Linux (MAX_ARG_STRLEN); we stay well below.
_LONGEST_ARGUMENT = 60_000

_QUEUE_FIELDS = (
    "ArrayJobID",
    "ArrayTaskID",
    "State",
    "Reason",
    "NodeList",
    "Partition",
    "TimeUsed",
    "NumCPUs",
    "RestartCnt",
    "Name",  # last: the only field in which anything, also the separator, may occur
)
# A field is cut at 20 characters unless its width is given as none; text after the width is put behind the field.
_QUEUE_FORMAT = ",".join(f"{field}:|" for field in _QUEUE_FIELDS)
_ACCOUNTING_FIELDS = ("JobID", "State", "ExitCode", "ElapsedRaw", "NodeList", "JobName")


class SlurmError(Exception):
    """A Slurm command is missing, failed or gave no answer in time. The message names it and says what it said."""


@dataclass(frozen=True, slots=True)
class QueuedTask:
    """One job or array element that slurmctld knows of.

    name: job name, our unique token. job_id: id of the job, for an array that of the whole array.
    index: index within the array; None for a job that is no array.
    state: Slurm's long name (PENDING, RUNNING, COMPLETING ...). reason: why it waits, as Slurm puts it.
    node: node list, "" while it has none. time_used: seconds since this start. cpus: allocated or asked for.
    restarts: how often Slurm requeued it (can jump by two).
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

    @property
    def id(self) -> str:
        """The id Slurm's commands take: `12_3`, or `12` for a job that is no array."""
        return self.job_id if self.index is None else f"{self.job_id}_{self.index}"


@dataclass(frozen=True)
class AccountedTask:
    """One job or array element as sacct remembers it.

    exit_code, signal: of the batch script; signal is 0 if it ended by itself. seconds: elapsed in the last run.
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


@dataclass(frozen=True)
class Slurm:
    """One cluster's commands. conf: its slurm.conf; None for the cluster this machine belongs to.

    Every method raises SlurmError when its command is missing, fails or does not answer in time.
    """

    conf: Path | None = None

    def answers(self) -> bool:
        """Whether the controller answers now. Every other method waits about 9 s for one that is not there."""
        return " is UP" in _completed(["scontrol", "ping"], self.conf, QUERY_TIMEOUT_S).stdout

    def queue(
        self, names: Collection[str] | None = None, user: str | None = None, *, finished: bool = False
    ) -> list[QueuedTask]:
        """Tasks that wait, run or are being cleaned up (COMPLETING), array elements one by one, in one call.

        names: only jobs with these names. user: only this user's. finished: also those that ended within the
        controller's MinJobAge (300 s by default), with their final state.
        """
        if names is not None and not names:
            return []
        wanted = None if names is None else frozenset(names)
        # --all: a token must also be found in a hidden partition.
        command = ["squeue", "--all", "--array", "--noheader", f"--Format={_QUEUE_FORMAT}"]
        command += ["--states=all"] if finished else []
        command += [f"--user={user}"] if user else []
        command += _name_option(wanted)
        tasks = parse_queue(self._run(command))
        return tasks if wanted is None else [task for task in tasks if task.name in wanted]

    def config(self) -> dict[str, str]:
        """The controller's configuration, by Slurm's names, e.g. `MaxArraySize`."""
        return parse_config(self._run(["scontrol", "show", "config"]))

    def max_array_size(self) -> int:
        """MaxArraySize: one more than the largest array *index* the controller takes."""
        value = self.config().get("MaxArraySize", "")
        if not value.isdecimal():
            raise SlurmError(f"scontrol show config gives no number for MaxArraySize, but {value!r}")
        return int(value)

    def partitions(self) -> list[Partition]:
        """All partitions, those included that one may not use."""
        return parse_partitions(self._run(["scontrol", "--all", "--oneliner", "show", "partition"]))

    def nodes(self) -> list[Node]:
        """All nodes, each once."""
        return parse_nodes(self._run(["sinfo", "--all", "--Node", "--noheader", "--format=%N|%T|%P|%C|%m|%G|%f|%E"]))

    def version(self) -> str:
        """Slurm's version, e.g. `22.05.8`."""
        answer = self._run(["sinfo", "--version"])
        found = re.search(r"\d+\.\d+\S*", answer)
        return found.group() if found else answer.strip()

    def sbatch(self, script: Path, options: Sequence[str] = (), arguments: Sequence[str] = ()) -> str:
        """Submits a plain script and returns the job id.

        options go before the script, arguments to it. A SlurmError does not mean that nothing was queued: look the
        job's name up before trying again.
        """
        command = ["sbatch", "--parsable", *options, str(script), *arguments]
        answer = self._run(command, SUBMIT_TIMEOUT_S)
        # A site's plugin may print a banner first; a federated cluster appends its name.
        found = re.findall(r"^(\d+)(?:;\S+)?$", answer, re.MULTILINE)
        if not found:
            raise SlurmError(f"sbatch gave no job id, but {answer.strip()!r}")
        return str(found[-1])

    def test_only(self, script: Path, options: Sequence[str] = ()) -> str:
        """What Slurm says about submitting the script now (when and where it would start). Submits nothing."""
        done = _completed(["sbatch", "--test-only", *options, str(script)], self.conf, SUBMIT_TIMEOUT_S)
        return _checked(done).stderr.strip()

    def requeue(self, task: QueuedTask) -> None:
        """Ends a running task and queues it again."""
        self._run(["scontrol", "requeue", task.id])

    def cancel(self, tasks: Iterable[QueuedTask]) -> None:
        """Cancels these tasks. Those that have ended meanwhile are no error."""
        for job, ids in _ids_by_job(tasks).items():
            for batch in _batches(job, ids):
                self._cancel(batch)

    def reconfigure(self) -> None:
        """Makes the daemons read their configuration again."""
        self._run(["scontrol", "reconfigure"])

    def accounting(self, names: Collection[str], since: str = "now-30days") -> list[AccountedTask] | None:
        """What sacct remembers of jobs with these names; None where accounting cannot be asked (many sites have none).

        since: in sacct's notation. sacct lags behind squeue: good for the cause of an end, not for what is running.
        """
        options = ["--allocations", "--noheader", "--parsable2", f"--starttime={since}"]
        names_option = _name_option(frozenset(names))
        try:
            text = self._run(["sacct", *options, *names_option, f"--format={','.join(_ACCOUNTING_FIELDS)}"])
        except SlurmError:
            return None
        return [task for task in parse_accounting(text) if task.name in names]

    def _cancel(self, ids: Sequence[str]) -> None:
        done = _completed(["scancel", *ids], self.conf, QUERY_TIMEOUT_S)
        ended = ("Invalid job id specified", "already completing or completed")
        if [line for line in done.stderr.splitlines() if not line.endswith(ended)]:
            _checked(done)

    def _run(self, command: Sequence[str], timeout_s: float = QUERY_TIMEOUT_S) -> str:
        return _checked(_completed(command, self.conf, timeout_s)).stdout


def environment(conf: Path | None = None) -> dict[str, str]:
    """This process's environment without variables that change what Slurm's commands do (`SBATCH_*`, `SLURM_*` ...).

    conf: slurm.conf to use; None keeps the one the environment names, if any.
    """
    kept = {
        name: value for name, value in os.environ.items() if name in _KEPT_VARIABLES or not _SLURM_VARIABLE.match(name)
    }
    if conf is not None:
        kept["SLURM_CONF"] = str(conf)
    return kept


@contextmanager
def submission_environment(conf: Path | None = None) -> Iterator[None]:
    """Makes os.environ what `environment(conf)` says for a while: submitit runs sbatch with the process's own."""
    before = dict(os.environ)
    _set_environment(environment(conf))
    try:
        yield
    finally:
        _set_environment(before)


def installed() -> str | None:
    """None if a cluster can be started on this machine, else one line that says what is missing."""
    missing = [name for name in _NEEDED_HERE if find_program(name) is None]
    if not missing:
        return None
    return f"{', '.join(missing)} not found: `make slurm-install` installs Slurm (Debian package slurm-wlm)"


def find_program(name: str) -> str | None:
    """Path of a command or daemon, also outside PATH where daemons live; None if it is not there."""
    return shutil.which(name) or shutil.which(name, path=_DAEMON_PATH)


def start_daemon(name: str, arguments: Sequence[str], directory: Path, conf: Path, log: Path) -> int:
    """Starts a daemon in its own session, with `directory` as working directory, and returns its pid.

    log: file its standard output and error are appended to. Raises SlurmError if there is no such program.
    """
    program = find_program(name)
    if program is None:
        raise SlurmError(f"{name} not found: `make slurm-install` installs Slurm")
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    # Not subprocess: its Popen object complains when it is dropped while the process lives on, as a daemon does.
    command = ["env", f"--chdir={directory}", program, *arguments]
    return os.posix_spawnp("env", command, environment(conf), file_actions=actions, setsid=True)


def parse_queue(text: str) -> list[QueuedTask]:
    """Reads squeue's answer in our format. Lines that are no task (a federation's headings) are passed over."""
    rows = (line.split("|", len(_QUEUE_FIELDS) - 1) for line in text.splitlines())
    return [_queued_task(row) for row in rows if len(row) == len(_QUEUE_FIELDS) and row[0].isdecimal()]


def _queued_task(row: Sequence[str]) -> QueuedTask:
    job_id, index, state, reason, node, partition, used, cpus, restarts, name = row
    return QueuedTask(
        name=name.removesuffix("|"),
        job_id=job_id,
        index=int(index) if index.isdecimal() else None,
        state=state,
        reason="" if reason == "None" else reason,
        node=node,
        partition=partition,
        time_used=parse_duration(used) or 0,
        cpus=int(cpus) if cpus.isdecimal() else 0,
        restarts=int(restarts) if restarts.isdecimal() else 0,
    )


def parse_accounting(text: str) -> list[AccountedTask]:
    """Reads sacct's answer in our format. Elements that have not started (`12_[3-9]`) are left to squeue."""
    rows = (line.split("|", len(_ACCOUNTING_FIELDS) - 1) for line in text.splitlines())
    return [
        _accounted_task(row)
        for row in rows
        if len(row) == len(_ACCOUNTING_FIELDS) and re.fullmatch(r"\d+(_\d+)?", row[0])
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


def parse_partitions(text: str) -> list[Partition]:
    """Reads `scontrol --oneliner show partition`: a line of `Name=value` words per partition."""
    lines = (dict(re.findall(r"(\S+?)=(\S*)", line)) for line in text.splitlines())
    return [_partition(fields) for fields in lines if "PartitionName" in fields]


def _partition(fields: Mapping[str, str]) -> Partition:
    seconds = parse_duration(fields.get("MaxTime", "UNLIMITED"))
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
    return [_node(row, tuple(partitions[name])) for name, row in last.items()]


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


def parse_duration(text: str) -> int | None:
    """Seconds of Slurm's `days-hours:minutes:seconds` (leading parts may be missing); None for UNLIMITED, INVALID."""
    found = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", text)
    if found is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def ranges(indices: Iterable[int]) -> list[str]:
    """Array indices in Slurm's notation: 1, 2, 3, 7 -> `1-3`, `7`."""
    spans: list[list[int]] = []
    for index in sorted(set(indices)):
        if spans and index == spans[-1][1] + 1:
            spans[-1][1] = index
        else:
            spans.append([index, index])
    return [str(low) if low == high else f"{low}-{high}" for low, high in spans]


def _ids_by_job(tasks: Iterable[QueuedTask]) -> dict[str, list[int]]:
    jobs: dict[str, list[int]] = {}
    for task in tasks:
        indices = jobs.setdefault(task.job_id, [])
        if task.index is not None:
            indices.append(task.index)
    return jobs


def _batches(job: str, indices: Sequence[int]) -> Iterator[list[str]]:
    """Arguments for scancel, `12_[1-3,7]`, none too long for the system."""
    spans = ranges(indices)
    if not spans:
        yield [job]
    while spans:
        size = max(1, min(len(spans), _LONGEST_ARGUMENT // max(len(span) + 1 for span in spans)))
        yield [f"{job}_[{','.join(spans[:size])}]"]
        spans = spans[size:]


def _name_option(names: Collection[str] | None) -> list[str]:
    """Lets Slurm filter by name where it can; the caller filters in any case."""
    listed = ",".join(sorted(names or ()))
    if not listed or len(listed) > _LONGEST_ARGUMENT or any("," in name for name in names or ()):
        return []
    return [f"--name={listed}"]


def _set_environment(wanted: Mapping[str, str]) -> None:
    # Only the differences: other threads must not find PATH or HOME missing for a moment.
    for name in [name for name in os.environ if name not in wanted]:
        del os.environ[name]
    os.environ.update(wanted)


def _completed(command: Sequence[str], conf: Path | None, timeout_s: float) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            env=environment(conf),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            encoding="utf-8",
            errors="replace",  # other people's job names are any bytes
            timeout=timeout_s,
        )
    except FileNotFoundError:
        raise SlurmError(
            f"{command[0]} not found: is this a Slurm login node? `holdfast sandbox up` starts one here"
        ) from None
    except subprocess.TimeoutExpired:
        raise SlurmError(f"{command[0]} gave no answer within {timeout_s:.0f} s") from None
    except OSError as error:
        raise SlurmError(f"{command[0]} could not be run: {error}") from error


def _checked(done: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    if done.returncode == 0:
        return done
    said = next((line.strip() for line in (done.stderr + "\n" + done.stdout).splitlines() if line.strip()), "")
    raise SlurmError(f"{done.args[0]} failed with status {done.returncode}: {said or 'it said nothing'}")
