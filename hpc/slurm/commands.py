"""Slurm's commands and their quirks. No other module of the project runs one of them.

A job is looked up by its *name*, a unique token given at submission, never by its id alone: after a crash slurmctld
hands out the same ids again, and sbatch can fail although the job was queued. What cannot be asked is an error, never
an empty answer.
"""

from __future__ import annotations

import logging
import os
import re
import shlex
import subprocess
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hpc.protocol import for_tasks
from hpc.slurm.answers import (
    ACCOUNTING_FIELDS,
    QUEUE_FORMAT,
    AccountedTask,
    Cluster,
    Node,
    Partition,
    QueuedTask,
    parse_accounting,
    parse_cluster,
    parse_config,
    parse_nodes,
    parse_partitions,
    parse_queue,
    ranges,
)

_log = logging.getLogger(__name__)
SUBMIT_TIMEOUT_S = 180.0  # over MaxJobCount sbatch itself tries for 120 s before it gives up

# Which cluster and whose identity: these address the same controller for us as for the user.
_KEPT_VARIABLES = frozenset({"SLURM_CONF", "SLURM_CLUSTERS", "SLURM_JWT"})
_SLURM_VARIABLE = re.compile(r"(SLURM|SLURMD|SBATCH|SRUN|SALLOC|SQUEUE|SCANCEL|SACCT|SINFO|SCONTROL)_")
# Without it, array indices are cut short after 64 characters.
_FULL_INDICES = {"SLURM_BITSTR_LEN": "0"}
# One argument of a command may be 128 KiB long on Linux (MAX_ARG_STRLEN); we stay well below.
_LONGEST_ARGUMENT = 60_000
# scancel refuses more than 65,536 tasks in one argument ("Too many hosts in range").
_MOST_CANCELLED = 50_000


class SlurmError(Exception):
    """A Slurm command is missing, failed or gave no answer in time. The message names it and says what it said."""


class LimitError(SlurmError):
    """Slurm took nothing: a user, account or QOS has as many jobs as it may have, or an array is larger than that."""


class ElsewhereError(SlurmError):
    """A job was queued on another cluster than the one that was asked. The message says what became of it."""


@dataclass(frozen=True)
class Slurm:
    """One cluster's commands. conf: its slurm.conf; None for the cluster this machine belongs to.

    timeout_s: seconds a question may take (Slurm's commands try a silent controller for about 9 s by themselves);
    sbatch may take SUBMIT_TIMEOUT_S.
    Every method raises SlurmError when its command is missing, fails or does not answer in time.
    """

    conf: Path | None = None
    timeout_s: float = 60.0

    def answers(self) -> bool:
        """Whether the controller answers now. Every other method waits about 9 s for one that is not there."""
        return " is UP" in _completed(["scontrol", "ping"], self.conf, self.timeout_s).stdout

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
        # --all: a token must also be found in a hidden partition. Not --array: it leaves out the last element of a
        # waiting array whose indices have a step (22.05), so we expand the indices ourselves.
        command = ["squeue", "--all", "--noheader", f"--Format={QUEUE_FORMAT}"]
        command += ["--states=all"] if finished else []
        command += [f"--user={user}"] if user else []
        command += _name_option(wanted)
        tasks = _parsed_queue(self._run(command))
        return tasks if wanted is None else [task for task in tasks if task.name in wanted]

    def numbered(self, job_ids: Collection[str], user: int | None = None) -> list[QueuedTask]:
        """Tasks of the jobs with these ids, whatever they are called, in one call. user: only this user id's.

        For jobs that are not found by their name, which anybody may have changed (`scontrol update jobname=`). The id
        alone proves nothing, since it may have been given out again: the caller compares their directories.
        """
        if not job_ids:
            return []
        command = ["squeue", "--all", "--noheader", f"--Format={QUEUE_FORMAT}", f"--jobs={','.join(job_ids)}"]
        command += [] if user is None else [f"--user={user}"]
        done = _completed(command, self.conf, self.timeout_s)
        # What squeue says of a single job that is forgotten; of several, it passes over such ones.
        if done.returncode and "Invalid job id specified" in done.stderr:
            return []
        return _parsed_queue(_checked(done).stdout)

    def cluster(self) -> Cluster:
        """Which cluster answers."""
        return parse_cluster(self.config())

    def config(self) -> dict[str, str]:
        """The controller's configuration, by Slurm's names, e.g. `MaxArraySize`."""
        return parse_config(self._run(["scontrol", "show", "config"]))

    def hides_jobs(self) -> bool:
        """Whether the queue leaves out the jobs of others. Root sees all; that a coordinator does is not known."""
        return os.getuid() != 0 and "jobs" in self.config().get("PrivateData", "").split(",")

    def max_array_size(self) -> int:
        """MaxArraySize: one more than the largest array *index* the controller takes."""
        value = self.config().get("MaxArraySize", "")
        if not value.isdecimal():
            raise SlurmError(f"scontrol show config gives no number for MaxArraySize, but {value!r}")
        return int(value)

    def room(self, wanted: int) -> int | None:
        """How many of ``wanted`` more tasks the controller takes before MaxJobCount; None if all of them.

        Over it sbatch waits two minutes and fails. Every array element counts, of all users.
        """
        most = int(self.config().get("MaxJobCount", "0") or 0)
        if not most or wanted * 10 < most:
            return None  # far from full, as far as we are concerned: not worth a list of everybody's jobs
        # The controller also counts jobs that ended within MinJobAge, and an array's own record.
        left = most - len(self.queue(finished=True)) - 1
        return None if wanted < left else max(0, left)

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
        job's name up before trying again. An ElsewhereError means that it was, where nobody would look.
        """
        command = ["sbatch", "--parsable", *options, str(script), *arguments]
        answer = self._run(command, SUBMIT_TIMEOUT_S)
        # A site's plugin may print a banner first; where several clusters can be asked, the name of one is appended.
        found = re.findall(r"^(\d+)(?:;(\S+))?$", answer, re.MULTILINE)
        if not found:
            raise SlurmError(f"sbatch gave no job id, but {answer.strip()!r}")
        job, place = found[-1]
        if place and place.lower() != (asked := self.cluster().name.lower()):
            raise ElsewhereError(self._recalled(job, place, asked))
        return str(job)

    def test_only(self, script: Path, options: Sequence[str] = ()) -> str:
        """What Slurm says about submitting the script now (when and where it would start). Submits nothing."""
        done = _completed(["sbatch", "--test-only", *options, str(script)], self.conf, SUBMIT_TIMEOUT_S)
        return _checked(done).stderr.strip()

    def requeue(self, task: QueuedTask) -> None:
        """Ends a running task and queues it again."""
        self._run(["scontrol", "requeue", task.id])

    def signal(self, task: QueuedTask, name: str) -> None:
        """Sends a running task's script a signal, as Slurm does before a time limit. name: without SIG, as in USR2."""
        self._run(["scancel", "--batch", f"--signal={name}", task.id])

    def cancel(self, tasks: Iterable[QueuedTask]) -> None:
        """Cancels these tasks. Those that have ended meanwhile are no error."""
        for job, ids in _ids_by_job(tasks).items():
            for batch in _batches(job, ids):
                self._cancel(batch)

    def accounting(self, names: Collection[str], since: str = "now-30days") -> list[AccountedTask] | None:
        """What sacct remembers of jobs with these names; None where accounting cannot be asked (many sites have none).

        since: in sacct's notation. sacct lags behind squeue: good for the cause of an end, not for what is running.
        """
        options = ["--allocations", "--noheader", "--parsable2", f"--starttime={since}"]
        names_option = _name_option(frozenset(names))
        try:
            text = self._run(["sacct", *options, *names_option, f"--format={','.join(ACCOUNTING_FIELDS)}"])
        except SlurmError:
            return None
        return [task for task in parse_accounting(text) if task.name in names]

    def _recalled(self, job: str, place: str, asked: str) -> str:
        """Cancel a job that a plugin of the site has sent to another cluster. Returns what to say of it."""
        said = f"sbatch queued job {job} on cluster {place}, but the queue that is looked at is that of {asked}"
        again = f"to submit there, export SLURM_CLUSTERS={place} before each command"
        command = ["scancel", f"--clusters={place}", job]
        try:
            self._run(command)
        except SlurmError as error:
            return f"{said}; it could not be cancelled ({error}): {shlex.join(command)}; {again}"
        return f"{said}; it is cancelled; {again}"

    def _cancel(self, ids: Sequence[str]) -> None:
        # Never with --name: scancel 22.05 then cancels a waiting array whole, whatever indices it was given.
        done = _completed(["scancel", *ids], self.conf, self.timeout_s)
        ended = ("Invalid job id specified", "already completing or completed")
        if [line for line in done.stderr.splitlines() if not line.endswith(ended)]:
            _checked(done)

    def _run(self, command: Sequence[str], timeout_s: float | None = None) -> str:
        return _checked(_completed(command, self.conf, timeout_s or self.timeout_s)).stdout


def conf_in_use(conf: Path | None) -> Path | None:
    """The slurm.conf that commands use: the given one, or the one that the environment names. None: the machine's."""
    named = os.environ.get("SLURM_CONF")
    return conf or (Path(named).absolute() if named else None)


def environment(conf: Path | None = None) -> dict[str, str]:
    """This process's environment without variables that change what Slurm's commands do (`SBATCH_*`, `SLURM_*` ...).

    conf: slurm.conf to use; None keeps the one the environment names, if any.
    """
    around = for_tasks(os.environ)  # which they get from sbatch
    kept = {name: value for name, value in around.items() if name in _KEPT_VARIABLES or not _SLURM_VARIABLE.match(name)}
    if conf is not None:
        kept["SLURM_CONF"] = str(conf)
    return kept


def _parsed_queue(text: str) -> list[QueuedTask]:
    try:
        return parse_queue(text)
    except ValueError as error:
        raise SlurmError(f"squeue: {error}") from error


def _ids_by_job(tasks: Iterable[QueuedTask]) -> dict[str, list[int]]:
    jobs: dict[str, list[int]] = {}
    for task in tasks:
        indices = jobs.setdefault(task.job_id, [])
        if task.index is not None:
            indices.append(task.index)
    return jobs


def _batches(job: str, indices: Sequence[int]) -> Iterator[list[str]]:
    """Arguments for scancel, `12_[1-3,7]`, none too long for the system and none with too many tasks for Slurm."""
    if not indices:
        yield [job]
    ordered = sorted(indices)
    for start in range(0, len(ordered), _MOST_CANCELLED):
        spans = ranges(ordered[start : start + _MOST_CANCELLED])
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


def _completed(command: Sequence[str], conf: Path | None, timeout_s: float) -> subprocess.CompletedProcess[str]:
    _log.debug("%s", shlex.join(command))
    around = environment(conf)
    if (named := around.get("SLURM_CONF")) and not os.path.exists(named):
        raise SlurmError(f"{named}: there is no such slurm.conf")  # Slurm's commands wait a minute for it to appear
    try:
        done = subprocess.run(
            command,
            env=around | (_FULL_INDICES if command[0] == "squeue" else {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=timeout_s,
        )
    except FileNotFoundError:
        raise SlurmError(
            f"{command[0]} not found: is this a Slurm login node? `holdfast sandbox up` starts one here"
        ) from None
    except subprocess.TimeoutExpired:
        raise SlurmError(f"{command[0]} gave no answer within {timeout_s:g} s") from None
    except (OSError, ValueError) as error:  # the latter for half a character or a NUL in an argument
        raise SlurmError(f"{command[0]} could not be run: {error}") from error
    # Other people's job names are any bytes. Nor are they read as text with universal newlines, where `\r` ends a line.
    said, errors = (text.decode("utf-8", errors="replace") for text in (done.stdout, done.stderr))
    return subprocess.CompletedProcess(done.args, done.returncode, said, errors)


def _checked(done: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    if done.returncode == 0:
        return done
    lines = [line.strip() for line in (done.stderr + "\n" + done.stdout).splitlines() if line.strip()]
    # A site's plugin may greet first.
    said = next((line for line in lines if ": error:" in line), lines[0] if lines else "")
    hint = ""
    if re.search(r"resolve_ctls|Unknown host|Unable to contact|Could not establish a configuration", done.stderr):
        hint = "; is this a login node, and its controller up? For the sandbox: export SLURM_CONF as `sandbox up` says"
    raise SlurmError(f"{done.args[0]} failed with status {done.returncode}: {said or 'it said nothing'}{hint}")
