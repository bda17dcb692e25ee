"""A plan -> Slurm arrays, each queued once whatever happens to this process.

What the tasks run is our own command, so there is no pickle per task and nothing of submitit on the nodes.
"""

from __future__ import annotations

import os
import re
import shlex
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hpc import protocol
from hpc.files import atomic, directories
from hpc.planning.plan import Plan
from hpc.processes import host
from hpc.slurm import script
from hpc.slurm.commands import ElsewhereError, LimitError, Slurm, SlurmError, conf_in_use
from hpc.slurm.profile import Profile, command_line
from hpc.storage.revisions import shared_digest
from hpc.storage.store import Store
from hpc.submission import cancels
from hpc.submission.intents import SLURM, Intent, begin, write_receipt
from hpc.submission.live import Queues
from hpc.submission.lock import Held
from hpc.submission.replacement import replace_unconfirmed
from hpc.sweep import resources
from hpc.sweep.definition import Sweep
from hpc.sweep.resources import KEYS, Resources
from hpc.trainers.snapshot import code_digest, snapshot
from hpc.units import counted

_CONTAINER_PATHS = ("APPTAINER_BINDPATH", "SINGULARITY_BINDPATH")
# sbatch may fail ("Socket timed out") although the array is queued, and a busy controller shows it only after seconds.
# Seen: 14 s later. So no number of looks is enough; what appears after them is void once its cells are queued again.
_LOOK_UPS = 3
_LOOK_UP_SECONDS = 2.0


@dataclass(frozen=True)
class Queued:
    """What a submission queued: job ids of its arrays in order, or scripts that were only written.

    refused: why there are no more arrays than these, if these are not all.
    """

    intent: Intent
    job_ids: tuple[str, ...] = ()
    scripts: tuple[Path, ...] = ()
    refused: str = ""


def submit(
    store: Store,
    sweep: Sweep,
    plan: Plan,
    profile: Profile,
    held: Held,
    seen: Queues,
    *,
    since: int | None = None,
    code: tuple[str, Path] | None = None,
    conf: Path | None = None,
    prepare_only: bool = False,
    escalated: Mapping[str, Mapping[str, int | float]] | None = None,
    on_array: Callable[[str], None] = lambda text: None,
) -> Queued:
    """Queue a plan's tasks. held: the sweep's lock. seen: what was queued when the plan was made.

    since: number of the newest submission when the command began: cancellations after it concern these arrays, also one
    that was only half made when the queues were asked. None: when they were asked.
    code: digest and directory of the snapshot that they run; None: one is taken now.
    conf: slurm.conf of the cluster, None for the machine's own. prepare_only: write everything, queue nothing.
    escalated: see Intent.
    Raises LimitError if already the first array is more than Slurm's limits allow now, SlurmError if an array was not
    queued for another reason, or if it cannot be found out whether it was; the next submission looks it up by its name.
    Raises BusyError if the lock has been taken over.
    """
    digest, directory = code or snapshot(store, sweep.trainer)
    profiles = [profile.with_resources(asked) for asked in plan.resources]
    digests = {protocol.CONFIG_DIGEST: sweep.config_digest, protocol.SWEEP_DIGEST: shared_digest(store, sweep)}
    intent = begin(
        store,
        plan.arrays(),
        kind=SLURM,
        profile=profile.name,
        name=_job_name(sweep),
        code=digest,
        conf=conf_in_use(conf),
        cluster=Slurm(conf).cluster(),
        prepared=prepare_only,
        requested=[dict(own.asks(KEYS)) for own in profiles],
        escalated=escalated,
        signal_delay_s=profile.signal_delay_s,
    )
    held.check()  # before others' tasks are void: whoever took the lock over may have queued these cells by now
    replace_unconfirmed(store, intent, plan.tasks, seen)
    arrays = [_Array(store, intent, i, directory, own, digests) for i, own in enumerate(profiles)]
    scripts = tuple(array.write_script() for array in arrays)
    if prepare_only:
        return Queued(intent, scripts=scripts)
    return _queue_all(arrays, plan, held, seen.newest if since is None else since, conf, on_array)


def _job_name(sweep: Sweep) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]", "-", sweep.name)


def _queue_all(
    arrays: Sequence[_Array], plan: Plan, held: Held, since: int, conf: Path | None, on_array: Callable[[str], None]
) -> Queued:
    """since: number of the newest submission when the command began; a cancellation after it concerns these arrays."""
    store, intent = arrays[0].store, arrays[0].intent
    job_ids: list[str] = []
    for array, tasks in zip(arrays, plan.arrays(), strict=True):
        # This process may have been stopped for hours, and somebody may have cancelled: looked at as late as possible.
        held.check()
        if said := _cancelled(store, since, {cell.name for task in tasks for cell in task}):
            return Queued(intent, tuple(job_ids), refused=said)
        try:
            # One %N throttles one array only, so the arrays of a throttled submission run one after another.
            job_ids.append(array.queue(conf, job_ids[-1] if job_ids and array.profile.array_parallelism else None))
        except SlurmError as error:
            if not is_limit(error):
                raise
            if not job_ids:
                raise LimitError(str(error)) from error
            return Queued(intent, tuple(job_ids), refused=str(error))
        write_receipt(store, intent, job_ids)
        on_array(f"array {array.token}: job {job_ids[-1]}, {counted(array.size, 'task')}")
    return Queued(intent, tuple(job_ids), refused=_cancelled_meanwhile(store, intent, since, conf))


# What sbatch says where a user, account or QOS has as many jobs as it may have.
_LIMITS = ("QOSMax", "AssocMax", "AssocGrp", "QOSGrp", "accounting/QOS policy", "temporarily unable to accept job")


def is_limit(error: SlurmError) -> bool:
    """Whether sbatch refused for the number of jobs, which others that end make room for."""
    return any(limit in str(error) for limit in _LIMITS)


def _cancelled(store: Store, since: int, names: Collection[str]) -> str:
    """Who has cancelled some of these cells meanwhile; empty if nobody has."""
    found = [cancel for cancel in cancels.after(store, since) if cancel.cells.intersection(names)]
    return f"cancelled by {found[-1].by}: nothing more is queued" if found else ""


def _cancelled_meanwhile(store: Store, intent: Intent, since: int, conf: Path | None) -> str:
    """Take tasks out of the queue again that were cancelled while they were queued; `cancel` may not have seen them.

    It writes its record before it looks at the queue: so it sees the tasks, or they see the record here.
    """
    newer = cancels.after(store, since)
    found = [cancels.hit(store, cancel, intent) for cancel in newer]
    hit = {(intent.tokens[array], index) for by_array in found for array, own in by_array.items() for index in own}
    if not hit:
        return ""
    slurm = Slurm(conf)
    try:
        for cancel in newer:
            cancels.declare_void(store, cancel, intent)
    finally:  # also where a quota is full
        own = slurm.queue(intent.tokens, user=str(os.getuid()))
        slurm.cancel(task for task in own if (task.name, task.index) in hit)
    return f"cancelled by {newer[-1].by}: {counted(len(hit), 'task')} taken out of the queue again"


@dataclass(frozen=True)
class _Array:
    """One array of a submission."""

    store: Store
    intent: Intent
    number: int
    code: Path
    profile: Profile
    digests: Mapping[str, str]

    @property
    def token(self) -> str:
        return self.intent.tokens[self.number]

    @property
    def size(self) -> int:
        return self.intent.sizes[self.number]

    @property
    def command(self) -> str:
        """The body of the script. Slurm signals the batch shell, so task.sh is read by that very shell.

        Slurm keeps the script from here on: what it says nobody changes who can write in the sweep directory.
        """
        task = self.code / "slurm_templates" / "task.sh"
        words = (".", str(task), str(self.code), str(self.store.root), str(self.intent.number))
        arguments = (str(self.number), self.profile.device, self.intent.code)
        queued_for = {**self.digests, protocol.ARRAY: self.token}
        lines = [f"export {' '.join(f'{name}={value}' for name, value in queued_for.items())}"]
        if self.store.root not in self.code.parents:  # where a group shares it; task.sh binds the sweep directory alone
            shown = shlex.quote(str(self.code))
            lines += [f"export {name}=${{{name}:+${name},}}{shown}" for name in _CONTAINER_PATHS]
        return "\n".join([*lines, command_line((*words, *arguments, *self.profile.launcher))])

    def queue(self, conf: Path | None, after: str | None) -> str:
        """Queue the array, whose script is written, and return its job id. Raises SlurmError."""
        options = [] if after is None else [f"--dependency=afterany:{after}"]
        try:
            return Slurm(conf).sbatch(self.store.paths.array_script(self.intent.number, self.number), options)
        except ElsewhereError:
            raise
        except SlurmError as error:
            return self._look_up(conf, error)

    def text(self) -> str:
        """The whole script, which sbatch alone can submit."""
        log = str(self.store.paths.task_log(self.intent.number, self.number, 0))
        # A per cent sign in a path would be taken for one of sbatch's own patterns.
        output = log.replace("%", "%%").removesuffix("0.log") + "%a.log"
        job = script.Job(self.token, self.store.root, output, self.size, alone=self.intent.prepared)
        return script.text(self.profile, job, self.command, setup_apart=True)

    def write_script(self) -> Path:
        path = self.store.paths.array_script(self.intent.number, self.number)
        directories.make_directory(path.parent)
        atomic.publish(path, self.text().encode())
        return path

    def _look_up(self, conf: Path | None, error: SlurmError) -> str:
        """sbatch failed, but the array may have been queued: only its name tells. Raises SlurmError if it was not."""
        for _ in range(_LOOK_UPS):
            found = Slurm(conf).queue([self.token])
            if found:
                return found[0].job_id
            time.sleep(_LOOK_UP_SECONDS)
        reason = str(error).rpartition("sbatch: error: ")[2]
        raise SlurmError(f"sbatch did not queue array {self.number} of submission {self.intent.number}: {reason}")


def rehearse(store: Store, sweep: Sweep, plan: Plan, profile: Profile, conf: Path | None) -> tuple[str, str]:
    """(script of the first array, what Slurm says about it and about arrays that ask for something else).

    Nothing is queued, the sweep directory is not touched. Raises SlurmError if Slurm would refuse one of them.
    """
    digest = code_digest(sweep.trainer)
    sizes = tuple(map(len, plan.arrays()))
    tokens = tuple(f"{_job_name(sweep)}-dry-run.{i}" for i in range(len(sizes)))
    intent = Intent(0, SLURM, profile.name, tokens, sizes, None, digest, host(), time.time())
    digests = {protocol.CONFIG_DIGEST: sweep.config_digest, protocol.SWEEP_DIGEST: ""}
    first: dict[Resources, int] = {}
    for i, asked in enumerate(plan.resources):
        first.setdefault(asked, i)
    scripts = {
        asked: _Array(
            store, intent, i, store.paths.code_directory(digest), profile.with_resources(asked), digests
        ).text()
        for asked, i in first.items()
    }
    return scripts[plan.resources[0]], "\n".join(_verdicts(scripts, conf))


def _verdicts(scripts: Mapping[Resources, str], conf: Path | None) -> Iterator[str]:
    """What Slurm says about each script, by what its tasks ask for beside the profile. Raises SlurmError."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "array.sbatch"
        for asked, script_text in scripts.items():
            path.write_text(script_text, encoding="utf-8")
            of = f"of {resources.text(asked)}: " if asked else ""
            try:
                yield f"{of}{Slurm(conf).test_only(path)}"
            except SlurmError as error:
                raise SlurmError(f"{of}{error}") from None


def sbatch_line(scripts: Sequence[Path]) -> str:
    """What a person types to queue prepared scripts."""
    return " && ".join(f"sbatch {shlex.quote(os.fspath(path))}" for path in scripts)


def submit_aggregation(store: Store, queued: Queued, profile: Profile, conf: Path | None) -> str:
    """Queue a job that aggregates once all arrays have ended, however they ended. Returns its id. Raises SlurmError."""
    code = store.paths.code_directory(queued.intent.code)
    log = store.paths.logs_directory(queued.intent.number) / "aggregate.log"
    options = [f"--dependency=afterany:{':'.join(queued.job_ids)}", f"--output={log}", f"--chdir={store.root}"]
    for name in ("partition", "account", "qos"):
        if name in profile.parameters:
            options.append(f"--{name}={profile.parameters[name]}")
    options += [f"--{name}={value}" for name, value in profile.mail.items()]
    script = code / "slurm_templates" / "aggregate.sbatch"
    return Slurm(conf).sbatch(script, options, [str(code), str(store.root), *profile.launcher])
