"""The pilot as part of a check: prepare it, run it here or in a job, keep what it measured, and judge it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hpc.files import directories, reading
from hpc.planning import pilot_record
from hpc.planning.fitting import MARGIN, SOURCE, Need, fitting
from hpc.planning.packing import Measurement
from hpc.planning.pilot_record import Pilot, device_type, host_bytes
from hpc.preflight import job, pilot_on_node
from hpc.preflight.finding import Finding, note, ok, problem
from hpc.preflight.pilot_on_node import PilotRequest
from hpc.processes import cores
from hpc.slurm.answers import Node
from hpc.slurm.profile import Profile
from hpc.storage.revisions import write_sweep
from hpc.storage.store import Store
from hpc.sweep.definition import Sweep
from hpc.sweep.resources import Matching, ResourceRule, text
from hpc.trainers.snapshot import python_path, snapshot, trainer_digest
from hpc.units import counted, duration, size

# Training time per width: a warm-up and several checkpoint intervals, see hpc/preflight/pilot_width.py.
SECONDS = 6.0
# The narrowest width may take this long until an epoch has ended, which shows how long a cell is ...
_EPOCH_SECONDS = 150.0
# ... and all wider ones together this long.
_TOTAL_SECONDS = 240.0
# What the pilot adds to the time limit of a job: both of the above, and the start of a process for each width.
MINUTES = 10
# Fibonacci numbers: dense where packs are small and each cell matters, and few enough to measure all of them.
_WIDTHS = (1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233)
# On a GPU each width costs a context and a recorded graph, and only wide packs fill it.
_GPU_WIDTHS = (1, 8, 32, 128, 512)
_MORE_MEMORY = "if memory ran out, give the pilot more: --set mem_gb=N"
# Conditions in which the pilot failed that are named one by one.
_MOST_TOLD = 5


@dataclass
class PilotTrial:
    """A pilot in its scratch directory. minutes: for the conditions, 0 if none is measured by itself. code: digest
    of the trainer's.

    pilot, rules: once it has been measured, and what resources fit that.
    """

    directory: Path
    sweep: Sweep
    profile: Profile
    minutes: int = 0
    code: str = ""
    pilot: Pilot | None = None
    rules: tuple[ResourceRule, ...] = ()


def prepare(directory: Path, sweep: Sweep, profile: Profile, minutes: int = 0) -> PilotTrial:
    """Write the scratch sweep and the request. Raises SweepError if the trainer's code cannot be read, OSError."""
    write_sweep(Store(directory), sweep, {})
    request(sweep, profile, minutes).write(directory)
    return PilotTrial(directory, sweep, profile, minutes, trainer_digest(sweep.trainer))


def cut_short(profile: Profile, minutes: int) -> list[Finding]:
    """That a profile's time limit may end the job before all is measured. minutes: which it may take."""
    limit = profile.parameters.get("timeout_min")
    if limit is None or limit >= minutes:
        return []
    told = f"timeout_min of the profile is {limit}, and the job may take {minutes} min: Slurm may cut it off"
    return [note("pilot", told, f"give it its time by --set timeout_min={minutes}, or less to do by --minutes")]


def run_here(trial: PilotTrial) -> None:
    """Measure on this machine what hpc.preflight.pilot_on_node measures on a node. Raises OSError."""
    code = snapshot(Store(trial.directory), trial.sweep.trainer)[1]
    with (trial.directory / "log.txt").open("wb") as log:
        subprocess.run(
            [sys.executable, "-P", "-m", "hpc.preflight.pilot_on_node", str(trial.directory)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=os.environ | {"PYTHONPATH": python_path(code)},
            check=False,  # a missing answer is a finding
        )


def verdicts(trial: PilotTrial, nodes: Sequence[Node], facts: dict[str, Any]) -> list[Finding]:
    """What the pilot measured, kept for `--pack auto`. nodes: of the cluster, none for this machine. Raises OSError."""
    path = trial.directory / pilot_on_node.ANSWER
    if path.name not in directories.entries(path.parent):
        fix = f"{_MORE_MEMORY}; else see the configuration's trainer"
        return [problem("pilot", f"it gave no answer: {_last_line(trial.directory)}", fix)]
    answer = json.loads(reading.read(path))
    facts["pilot"] = answer
    needs = [_need(entry, trial.sweep) for entry in answer["conditions"]]
    resources = _resources(trial, needs) if trial.minutes else []  # first: packs have to fit what rules give
    return [*_packs(trial, answer, needs, nodes), *resources]


def _packs(trial: PilotTrial, answer: Mapping[str, Any], needs: Sequence[Need], nodes: Sequence[Node]) -> list[Finding]:
    """What packs of growing width took, and which is the best. Raises OSError.

    What is known of conditions is kept also where packs fail, and until they are measured anew: their cells can take
    long, and a pilot of packs alone says nothing of them.
    """
    earlier = pilot_record.load(trial.profile, trial.sweep.config_digest)
    earlier = earlier if earlier and earlier.code == trial.code else None
    every = pilot_record.merged(earlier.needs if earlier else (), needs)
    try:
        measured = replace(from_answer(answer, trial.sweep, trial.profile, every), code=trial.code)
    except ValueError as error:
        why = note("pilot", str(error), "an estimate needs two finished cells")
        if not answer["measurements"]:
            why = problem("pilot", str(error), "run one cell here to see it: holdfast run --cell NAME --debug")
        hardware = next((entry["device"] for entry in answer["conditions"] if not entry["trouble"]), None)
        if hardware is None:
            return [why]
        without = earlier or _without_packs(trial, hardware, str(error))
        kept = pilot_record.save(replace(without, needs=every), trial.profile)
        return [why, ok("pilot", f"what was measured of conditions is kept in {kept}")]
    trial.pilot = measured
    kept = pilot_record.save(measured, trial.profile)
    found = [ok("pilot", f"{described(measured)}; {measured.ended}"), ok("pilot", f"kept in {kept}")]
    return [*found, _choice(trial, measured, nodes)]


def _need(entry: Mapping[str, Any], sweep: Sweep) -> Need:
    """What a cell that was trained alone took, from what hpc.preflight.pilot_on_node wrote of it."""
    condition = sweep.grid[entry["cell"]].condition
    if entry["trouble"]:
        return Need(condition, trouble=entry["trouble"])
    seconds, epoch_s = entry["seconds_in_all"], entry["seconds_per_epoch"]
    if seconds is None and epoch_s and entry["epochs"]:
        seconds = entry["epochs"] * epoch_s
    whole = None if seconds is None else seconds + (entry["start_s"] or 0.0)
    trained = entry["seconds_in_all"] is not None or entry["epochs"] is not None
    return Need(condition, whole, entry["host_bytes"], entry["device_bytes"], trained=trained)


def _resources(trial: PilotTrial, needs: Sequence[Need]) -> list[Finding]:
    """What was measured of the conditions, and the rules that fit it."""
    known, every = [need for need in needs if not need.trouble], trial.sweep.grid.n_conditions
    found = [ok("conditions", _measured(known, every))] if known else []
    failed = [need for need in needs if need.trouble]
    found += [note("conditions", f"{need.condition}: {need.trouble}", _MORE_MEMORY) for need in failed[:_MOST_TOLD]]
    if len(failed) > _MOST_TOLD:
        found.append(note("conditions", f"{len(failed) - _MOST_TOLD} more failed"))
    if left := every - len(needs):
        said = f"{counted(left, 'condition')} not reached in {trial.minutes} min, which no rule is about"
        found.append(note("conditions", said, "give more time by --minutes"))
    if late := sum(not need.trained for need in known):
        said = f"no epoch of {counted(late, 'condition')} ended in {_EPOCH_SECONDS:g} s"
        found.append(note("conditions", f"{said}, which no rule is about: what they take to their end is not known"))
    if uncounted := sum(need.trained and need.seconds is None for need in known):
        said = f"the trainer does not report how many epochs cells of {counted(uncounted, 'condition')} take"
        found.append(note("conditions", f"{said}: no rule is about their time"))
    if known and (option := trial.profile.memory_per):
        said = f"no rule is about memory: the profile asks for {option}, beside which sbatch takes no mem_gb"
        found.append(note("resources", said, f"write mem_gb into the profile in its place, or raise {option}"))
    source = f"{SOURCE} {time.strftime('%Y-%m-%d')}, profile {trial.profile.name}: measured x {MARGIN:g}"
    try:
        fit = fitting(needs, trial.sweep.grid, trial.profile, source)
    except ValueError as error:
        return [*found, note("resources", str(error), "write rules by the factors that matter yourself")]
    trial.rules = fit.rules
    if trial.sweep.resources and (fit.rules or fit.everywhere):
        said = f"the configuration's own ({counted(len(trial.sweep.resources), 'rule')}) were not looked at"
        found.append(note("resources", f"{said}: what is found here is meant to take their place"))
    if fit.everywhere:
        found.append(ok("resources", f"every condition fits into {text(fit.everywhere)}; set this in the profile"))
    if fit.rules:
        shown = f"{counted(len(fit.rules), 'rule')} for the configuration, shown below"
        found.append(ok("resources", f"{shown}: of tasks with one cell per worker"))
    elif any(need.trained for need in known) and not fit.everywhere:
        found.append(ok("resources", "the profile fits every condition that was measured; no rule is needed"))
    return found


def _measured(known: Sequence[Need], every: int) -> str:
    """How many conditions are known, and from where to where their cells go."""
    memory, gpu, seconds = (
        [value for need in known if (value := getattr(need, name)) is not None]
        for name in ("host_bytes", "device_bytes", "seconds")
    )
    spans = [f"{size(min(memory))} to {size(max(memory))} of memory"]
    spans += [f"{size(min(gpu))} to {size(max(gpu))} on the GPU"] if gpu else []
    spans += [f"{duration(min(seconds))} to {duration(max(seconds))}"] if seconds else []
    return f"{len(known)} of {every} measured: {', '.join(spans)} per cell"


def described(measured: Pilot) -> str:
    """Times and memory by width, for people."""
    series = measured.measurements
    widths = ", ".join(str(m.width) for m in series)
    times = ", ".join(f"{m.seconds * 1e3:.3g}" for m in series)
    best = min(series, key=lambda m: m.seconds / m.width)
    widest = series[-1]
    used = widest.host_bytes if widest.device_bytes is None else widest.device_bytes
    memory = f"; {size(used)} of memory at {widest.width}" if used else ""
    plural = "packs" if len(series) > 1 else "a pack"
    article = "an" if measured.unit == "epoch" else "a"
    told = f"{measured.hardware}: {article} {measured.unit} of {plural} of {widths} takes {times} ms"
    gain = series[0].seconds / series[0].width / (best.seconds / best.width)
    better = f", {gain:.2g} times as fast per cell at {best.width}" if best.width > 1 else ""
    return f"{told}{better}{memory}"


def _choice(trial: PilotTrial, measured: Pilot, nodes: Sequence[Node]) -> Finding:
    profile, grid = trial.profile, trial.sweep.grid
    tasks = cores() if profile.is_local else pilot_record.tasks_at_once(profile, nodes)
    rules = () if profile.is_local else trial.rules  # this machine gives what it has
    matching = Matching(() if profile.is_local else rules or trial.sweep.resources)
    asked = {profile.beside(matching.resources(point)) for _, point in grid.conditions()}
    try:
        choice = pilot_record.choose_pack(measured, profile, len(grid), tasks, asked)
    except ValueError as error:
        return problem("pack", str(error), "raise mem_gb in the profile, or make the model smaller")
    whole = f"; about {duration(choice.seconds)} of computing for the whole sweep" if measured.units else ""
    when = "with the rules shown below" if rules else "now"
    told = f"--pack auto would {when} take {choice.pack_size}: {choice.reason}{whole}"
    if rules and choice.pack_size > profile.workers:
        fix = "raise timeout_min in the rules for packs, or submit without --pack"
        return note("pack", f"{told}; the rules are of tasks with one cell per worker", fix)
    return ok("pack", told)


def _last_line(directory: Path) -> str:
    lines = job.printed(directory).strip().splitlines()
    return lines[-1] if lines else "no output"


def request(sweep: Sweep, profile: Profile, minutes: int = 0) -> PilotRequest:
    """What a pilot of this sweep measures: widths up to the whole sweep for trainers that fuse a pack, else one; and
    for so many minutes the first cell of each condition."""
    widest = len(sweep.grid) if sweep.trainer.pack_mode == "fused" else 1
    tried = _GPU_WIDTHS if profile.device == "cuda" else _WIDTHS
    widths = [*(width for width in tried if width < widest), widest]
    each = list(range(0, len(sweep.grid), len(sweep.grid.seeds))) if minutes else []
    memory = host_bytes(profile)
    return PilotRequest(
        widths, SECONDS, _TOTAL_SECONDS, profile.threads, profile.device, memory, _EPOCH_SECONDS, each, 60.0 * minutes
    )


# What a pack advances by, as far as the trainer shows it, and where that is.
_UNITS = {"step": "seconds_per_step", "epoch": "seconds_per_epoch", "cell": "seconds_in_all"}


def from_answer(answer: Mapping[str, Any], sweep: Sweep, profile: Profile, needs: Sequence[Need] = ()) -> Pilot:
    """A pilot from what hpc.preflight.pilot_on_node wrote. Raises ValueError if nothing could be timed."""
    found: Sequence[Mapping[str, Any]] = answer["measurements"]
    if not found:
        raise ValueError(str(answer["ended"]))
    unit = next((unit for unit, key in _UNITS.items() if found[0][key]), None)
    if unit is None:
        raise ValueError("no epoch ended in the pilot's time, and nothing was saved")
    timed = [entry for entry in found if entry[_UNITS[unit]]]
    first, widest = timed[0], timed[-1]
    measurements = tuple(
        Measurement(entry["width"], entry[_UNITS[unit]], entry["host_bytes"], entry["device_bytes"]) for entry in timed
    )
    return Pilot(
        profile=profile.name,
        device=device_type(profile),
        config_digest=sweep.config_digest,
        hardware=first["device"],
        unit=unit,
        measurements=measurements,
        units=_units(first, unit),
        start_s=max(entry["start_s"] or 0.0 for entry in timed),
        checkpoint_s=widest["checkpoint_s"],
        checkpoint_bytes=widest["checkpoint_bytes"],
        device_total_bytes=first["device_total_bytes"],
        ended=str(answer["ended"]),
        at=time.time(),
        needs=tuple(needs),
        uncounted=first["epochs"] == 0,
    )


def _without_packs(trial: PilotTrial, hardware: str, ended: str) -> Pilot:
    """A pilot of which only conditions were measured."""
    profile, digest = trial.profile, trial.sweep.config_digest
    return Pilot(
        profile=profile.name,
        device=device_type(profile),
        config_digest=digest,
        hardware=hardware,
        unit="cell",
        ended=ended,
        at=time.time(),
        code=trial.code,
    )


def _units(entry: Mapping[str, Any], unit: str) -> int | None:
    """Steps or epochs of a whole cell, as far as the trainer reported them while it was measured."""
    if unit == "cell":
        return 1
    epochs = entry["epochs"]
    if not epochs:  # a command may leave the number of its epochs out
        return None
    if unit == "epoch":
        return int(epochs)
    if not entry["seconds_per_epoch"]:
        return None
    return int(0.5 + epochs * entry["seconds_per_epoch"] / entry["seconds_per_step"])
