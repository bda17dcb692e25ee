"""What a command settles before it acts: the pack, the cost, the cluster."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from hpc.checkout import SCRIPT_TRAINER
from hpc.errors import ConfigError
from hpc.files import directories
from hpc.launch.look import Look
from hpc.launch.options import PackOptions
from hpc.launch.remarks import say
from hpc.launch.request import Request
from hpc.planning.plan import Plan
from hpc.processes import cores
from hpc.slurm import variables
from hpc.slurm.commands import Slurm, SlurmError
from hpc.slurm.profile import Profile
from hpc.storage.permissions import owner
from hpc.storage.results import provenance_of
from hpc.sweep.cell import Cell
from hpc.sweep.definition import Sweep
from hpc.sweep.resources import Matching, Resources, text
from hpc.sweep.states import FINAL
from hpc.trainers.compiled_step import required_precision
from hpc.trainers.project import Project, project
from hpc.trainers.snapshot import extent
from hpc.units import counted

if TYPE_CHECKING:
    from hpc.planning.cost import Cost

# Finished cells that a cost estimate looks at, of each kind.
_COST_SAMPLE = 200
# A command that starts with the task's own Python, perhaps after variables and before options.
_OWN_PYTHON = re.compile(r"(\w+=\S*\s+)*python3?(\s+-\S+)*\s+\{script\}")


def chosen_pack(
    options: PackOptions, request: Request, profile: Profile, seen: Look, conf: Path | None = None
) -> int | None:
    """The pack size; for ``--pack auto`` the best one by a pilot. Raises ConfigError without a pilot."""
    pack = _best_pack(request, profile, seen, conf) if options.pack == "auto" else options.pack
    if pack is not None and pack > profile.workers and (told := _measured_alone(request.sweep, profile)):
        say(f"note: {told}; with --pack {pack}, tasks may need more of both (docs/howto/resources.md)")
    return pack


def _best_pack(request: Request, profile: Profile, seen: Look, conf: Path | None) -> int:
    """The best pack size by a pilot. Raises ConfigError without one."""
    from hpc.planning import pilot_record

    known = pilot_record.load(profile, request.sweep.config_digest)
    if known is None or not known.measurements:
        raise ConfigError(
            [
                "command line: --pack auto needs a pilot of this configuration; "
                f"`holdfast check cluster --profile {profile.name} --pilot --config FILE` makes one"
            ]
        )
    at_once = cores() if profile.is_local else pilot_record.tasks_at_once(profile, Slurm(conf).nodes())
    beside = asked_beside(request.sweep, profile)
    asked = {beside(status.cell) for status in seen.statuses if status.state not in FINAL}
    try:
        choice = pilot_record.choose_pack(known, profile, max(1, seen.unfinished), at_once, asked or {()})
    except ValueError as error:
        raise ConfigError([f"command line: --pack auto: {error}"]) from None
    say(f"pack {choice.pack_size}: {choice.reason}")
    return choice.pack_size


def _measured_alone(sweep: Sweep, profile: Profile) -> str:
    """That a pilot's rules give tasks the memory and time of one cell; empty if none of them counts."""
    from hpc.planning.fitting import SOURCE

    ours = [] if profile.is_local else [rule for rule in sweep.resources if rule.source.startswith(SOURCE)]
    count = sum(bool(profile.beside(rule.asked)) for rule in ours)
    return f"resources have {counted(count, 'rule')} of a pilot, for the memory and time of one cell" if count else ""


def check_code(request: Request, profile: Profile) -> Project:
    """What tasks get of the trainer's project. Raises ConfigError if the trainer needs more, SweepError, OSError.

    What is read from the working directory is a fault where tasks have another one. What this Python lacks is a fault
    where it is the one that runs on the nodes, and a remark otherwise.
    """
    request.check_trainer()
    sweep = request.sweep
    if profile.device != "cpu":
        check_step(request, profile.device)
    written = [sweep.options[key] for key in ("metrics", "progress", "checkpoint") if key in sweep.options]
    found = project(sweep.trainer, written if sweep.trainer.target == SCRIPT_TRAINER else ())
    same_python = profile.launcher == Profile("local").launcher and not _starts_another_python(sweep)
    faults = [*found.faults, *(found.doubts if same_python else ()), *(() if profile.is_local else found.elsewhere)]
    if faults:
        raise ConfigError([f"trainer: {fault}" for fault in faults])
    for doubt in (*found.doubts, *found.elsewhere):
        say(f"note: trainer: {doubt}")
    return found


def check_step(request: Request, device: str) -> None:
    """Raise ConfigError if the built-in trainer is asked for a step that it cannot take on this machine."""
    if fault := _step_fault(request.sweep, device):
        raise ConfigError([fault])


def say_of_step(request: Request) -> None:
    """Report a step that this machine could not take: it is nodes that will train, and they may be other ones."""
    if fault := _step_fault(request.sweep, "cpu"):
        say(f"note: {fault} Nodes may have what this machine lacks: choose them by constraint in the profile.")


def _step_fault(sweep: Sweep, device: str) -> str:
    if not required_precision(sweep):
        return ""
    from training.contract import UnfitNodeError
    from training.model.settings import SettingsError
    from training.steps import choice

    try:
        choice.check(sweep.options, device)
    except (SettingsError, UnfitNodeError) as error:
        return str(error)
    return ""


def planned_code(request: Request, planned: Plan, profile: Profile) -> Project | None:
    """What the tasks of a plan would get of the trainer's project; None if there are none, or it is not looked at.

    What another user's directory calls its trainer's files is not searched only to show a plan: it can be a whole disk.
    Whoever runs its code has it all looked at. Raises as check_code does.
    """
    if not planned.tasks:
        return None
    if request.existing and (other := owner(request.store)):
        request.check_trainer()
        say(f"note: {request.store.root} belongs to {other}; what its tasks would get of the trainer is not looked at")
        return None
    return check_code(request, profile)


def _starts_another_python(sweep: Sweep) -> bool:
    """Whether a script's command may start it with another Python than that of its task."""
    command = str(sweep.options.get("command", ""))
    return sweep.trainer.target == SCRIPT_TRAINER and not _OWN_PYTHON.match(command)


def say_notes(request: Request) -> None:
    """Report the keys of the configuration that have no effect.

    Comes when all else is accepted: a refusal stands alone.
    """
    for note in request.notes:
        say(f"note: {note}")


def say_of_profile(profile: Profile) -> None:
    """Report what a submission lacks that its user may believe it has."""
    for note in variables.notes(profile):
        say(f"note: {note}")
    if "timeout_min" not in profile.parameters:
        say("note: the profile has no timeout_min; tasks get the default time limit of their partition")
    if secrets := variables.secrets(profile):
        limit = "export: NONE or a list in the profile limits that"
        say(f"note: tasks get this shell's variables, {', '.join(secrets)} included; {limit}")


def asked_beside(sweep: Sweep, profile: Profile) -> Callable[[Cell], Resources]:
    """What a cell asks for beside a profile: nothing of this machine, which gives what it has."""
    if profile.is_local or not sweep.resources:
        return lambda cell: ()
    matching = Matching(sweep.resources)
    return lambda cell: profile.beside(matching.resources(cell.point))


def check_resources(sweep: Sweep, profile: Profile) -> None:
    """Raise ConfigError for resources that cannot be together with what a profile says, and say what does not count.

    What the command line sets for all tasks wins over them, as it does over a profile.
    """
    asked = [pair for rule in sweep.resources for pair in rule.asked]
    if profile.is_local:
        if asked:
            say("note: resources are asked of a cluster; this machine gives what it has")
        return
    short = [value for key, value in profile.beside(asked) if key == "timeout_min" and not _lasts(value, profile)]
    if short:
        told = f"a task needs half of its {60 * short[0]} s to train, and signal_delay_s is {profile.signal_delay_s}"
        raise ConfigError([f"resources: timeout_min is {short[0]}; {told}; raise the one or lower the other"])
    per_task = [value for key, value in profile.beside(asked) if key == "mem_gb"]
    if per_task and profile.memory_per:
        fix = f"leave mem_gb out, or write mem_gb into the profile in the place of {profile.memory_per}"
        told = f"the profile asks for {profile.memory_per}, beside which sbatch takes none"
        raise ConfigError([f"resources: mem_gb is {per_task[0]:g}; {told}; {fix}"])
    for key in dict.fromkeys(key for key, _ in asked if key in profile.settled):
        said = ", ".join(dict.fromkeys(text([pair]) for pair in asked if pair[0] == key))
        say(f"note: --set {key} is for every task of this call; that resources ask for {said} does not count")
    if told := _less_than_measured(sweep, profile):
        say(f"note: {told}")


def _less_than_measured(sweep: Sweep, profile: Profile) -> str:
    """That tasks get less memory than a pilot saw their cells use; empty if they do not, or none was measured."""
    from hpc.planning import pilot_record

    known = pilot_record.load(profile, sweep.config_digest)
    used = {need.condition: need.host_bytes for need in known.needs if need.host_bytes} if known else {}
    matching, short = Matching(sweep.resources), list[int]()
    for name, point in sweep.grid.conditions() if used else ():
        given = pilot_record.host_bytes(profile.with_resources(profile.beside(matching.resources(point))))
        if given is not None and used.get(name, 0) > given:
            short.append(used[name])
    if not short:
        return ""
    told = f"the pilot saw cells of {counted(len(short), 'condition')} use up to mem_gb {max(short) / 2**30:.3g}"
    return f"{told}, and their tasks get less (docs/howto/resources.md)"


def _lasts(minutes: int, profile: Profile) -> bool:
    """Whether a time limit leaves time to train, as a profile's own is judged: not against the default delay."""
    delay = profile.signal_delay_s
    return delay == Profile.signal_delay_s or 2 * delay <= 60 * minutes


def cost_of(request: Request, planned: Plan, profile: Profile, seen: Look, found: Project | None = None) -> Cost:
    """The plan's cost, from a sample of this sweep's finished cells or from a pilot. found: what its tasks get."""
    from aggregate.stats.power import detectable_effect
    from hpc.planning import cost, pilot_record
    from hpc.planning.family import alpha_of_a_test, tests_in_family

    beside = asked_beside(request.sweep, profile)
    finished: dict[Resources, list[Cell]] = {}
    for cell in (entry.cell for entry in seen.statuses if entry.state in FINAL):
        if len(alike := finished.setdefault(beside(cell), [])) < _COST_SAMPLE:
            alike.append(cell)
    provenances = {
        asked: [provenance_of(request.store.result(cell)) for cell in cells] for asked, cells in finished.items()
    }
    known = pilot_record.load(profile, request.sweep.config_digest)
    count = len(request.sweep.grid.seeds)
    effect = detectable_effect(count, alpha_of_a_test(request.sweep)) if count > 1 else None
    tests = tests_in_family(request.sweep)
    fresh = found is not None and not any(directories.numbers(request.store.paths.submissions_root))
    code = extent(found) if found is not None and fresh else (0, 0)
    sweep = request.sweep
    return cost.estimate(planned, effect, provenances, known, profile, tests=tests, sweep=sweep, code=code)


def cluster_of(profile: Profile) -> Path | None:
    """slurm.conf of the profile's cluster; None for the machine's own. Raises SlurmError if the sandbox is down."""
    if profile.name != "sandbox":
        return None
    from hpc.sandbox import cluster

    found = cluster.find()
    if found is None:
        raise SlurmError("the sandbox is not up; start it with `holdfast sandbox up`")
    return found.conf
