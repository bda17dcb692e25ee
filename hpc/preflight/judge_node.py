"""What the probes found in the shared directory and on a node, judged. Pure: answers in, verdicts out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from hpc.node.saving import BACKGROUND_BYTES, checkpoint_interval
from hpc.planning.plan import FILES_PER_CELL
from hpc.preflight import probe
from hpc.preflight.finding import Finding, note, ok, problem
from hpc.preflight.judge_cluster import Preemption
from hpc.slurm.profile import Profile
from hpc.sweep.definition import Sweep
from hpc.trainers.compiled_step import required_precision
from hpc.units import duration, size

# Below this, a sweep of ordinary size, with the checkpoints of its running cells, may fill the file system.
_LEAST_BYTES, _LEAST_INODES = 2 << 30, 20_000
# A parallel file system answers at once; NFS may show a directory as it was up to a minute ago.
_SLOW_REPLY_SECONDS = 5.0
# A local disk needs a few seconds; beyond this, the start of a task costs as much as small cells take to train.
_SLOW_IMPORT_SECONDS = 30.0
# As bash, dash and env put it: "line 5: module: command not found", "env: 'python': No such file or directory".
_NOT_FOUND = re.compile(r"([^\s:]+): (?:command )?not found$", re.MULTILINE)
_ELSEWHERE = "choose a directory on another file system (--directory)"


def shared(found: Mapping[str, Any], won_here: Mapping[str, list[int]] | None, cells: int) -> list[Finding]:
    """Verdicts on the shared directory, from a node's answer and what this side won meanwhile.

    cells: how many the sweep has, for the space it needs; 0 if unknown.
    """
    if "error" in found:
        fix = "use a directory that this machine and the nodes share and may write to (--directory)"
        return [problem("directory", f"a node cannot work in it: {found['error']}", fix)]
    return [_semantics(found, won_here), _visibility(found), *space(found["space"], cells)]


def _semantics(found: Mapping[str, Any], won_here: Mapping[str, list[int]] | None) -> Finding:
    faults = [f"on the node, {fault}" for fault in found["faults"]]
    if won_here is not None and found["won"] is not None:
        faults += probe.race_faults(won_here, found["won"])
    if faults:
        return problem("directory", "; ".join(faults), f"results would not be safe here: {_ELSEWHERE}")
    text = "mkdir, link and rename behave"
    if won_here is not None and found["won"] is not None:
        text += f"; raced against the node {2 * probe.ROUNDS} times, always exactly one side won"
    return ok("directory", text)


def _visibility(found: Mapping[str, Any]) -> Finding:
    seconds = found["round_trip_s"]
    if seconds is None:
        text = f"a file made on the node was not seen here and answered within {probe.REPLY_SECONDS:g} s"
        return problem("visibility", text, f"is the directory really shared? If so, {_ELSEWHERE}")
    text = f"a file made on the node was seen here and answered within {seconds:.2g} s"
    if seconds > _SLOW_REPLY_SECONDS:
        return note("visibility", f"{text}; `status` lags that far behind; results do not depend on it")
    return ok("visibility", text)


def space(found: Mapping[str, Any], cells: int) -> list[Finding]:
    """Verdicts on free space and inodes. statvfs shows a quota only on file systems that report it that way."""
    free = found["free_bytes"]
    text = f"{size(free)} free of {size(found['total_bytes'])} (according to statvfs; a quota may be lower)"
    findings = [ok("space", text) if free >= _LEAST_BYTES else problem("space", text, f"make room, or {_ELSEWHERE}")]
    if not found["total_inodes"]:
        return findings  # file systems without a fixed number of inodes
    files, needed = found["free_inodes"], max(_LEAST_INODES, cells * FILES_PER_CELL)
    text = f"{files:,} free" + (f"; this sweep makes about {cells * FILES_PER_CELL:,} files" if cells else "")
    short = files < needed
    return [*findings, problem("inodes", text, f"remove files, or {_ELSEWHERE}") if short else ok("inodes", text)]


def machine(answer: Mapping[str, Any], profile: Profile) -> list[Finding]:
    """Verdicts on a node's Python, torch and GPUs."""
    torch = answer["torch"]
    findings = [
        ok("Python", f"{answer['python']} on {answer['node']} ({answer['executable']}), {answer['cpus']} usable CPUs")
    ]
    if "error" in torch:
        text = f"torch cannot be imported on the node: {torch['error']}"
        fix = "install it for that Python, or set python in the profile; trainers that do not use torch run without it"
        return [*findings, problem("torch", text, fix) if profile.device == "cuda" else note("torch", text, fix)]
    text = f"{torch['version']}, imported in {torch['import_s']:.1f} s"
    slow = torch["import_s"] > _SLOW_IMPORT_SECONDS
    fix = "every task pays this: put the environment on a faster file system, or pack more cells into a task (--pack)"
    findings.append(note("torch", text, fix) if slow else ok("torch", text))
    return [*findings, *_gpus(answer, profile)]


def step(lacking: Mapping[str, str], sweep: Sweep) -> list[Finding]:
    """Verdict on the step that the built-in trainer is required to take. lacking: why it cannot, by precision."""
    precision = required_precision(sweep)
    if not precision:
        return []
    if not lacking[precision]:
        return [ok("compiled step", f"{precision} can be had")]
    fix = "choose nodes that have it by constraint in the profile, or take precision and kernel out of trainer_options"
    return [problem("compiled step", f"{precision} is asked for, but {lacking[precision]}", fix)]


def site(answer: Mapping[str, Any], profile: Profile, log: str) -> list[Finding]:
    """Verdicts on what a site may leave out on its nodes. log: what the job's shell printed."""
    found = []
    if missing := _NOT_FOUND.findall(log):
        text = f"on {answer['node']}, the job's shell did not find {', '.join(dict.fromkeys(missing))}"
        fix = "correct modules and setup; where nodes do not know `module`, source its init file in setup first"
        found.append(problem("setup", text, fix))
    if answer["environment"]["exported"] != "ALL":
        text = f"a job gets none of your environment (--export={answer['environment']['exported']}): it began with "
        text += f"{answer['environment']['variables']} variables"
        found.append(note("environment", text, "set what the trainer needs, such as paths and keys, in setup"))
    if answer["requeue_trouble"]:
        minutes = profile.parameters.get("timeout_min")
        limit = f"limit of {duration(60 * minutes)}" if minutes else "time limit"
        text = f"a task on {answer['node']} cannot requeue itself ({answer['requeue_trouble']}): one that reaches its "
        text += f"{limit} saves and ends, and its cells wait for another submission"
        found.append(
            note("requeue", text, "use `holdfast submit --wait`, which submits them again, or raise timeout_min")
        )
    return found


def _gpus(answer: Mapping[str, Any], profile: Profile) -> list[Finding]:
    torch, visible = answer["torch"], answer["cuda_visible_devices"]
    devices = [f"{device['name']} ({size(device['bytes'])})" for device in torch["devices"]]
    if profile.device != "cuda":
        return [note("GPU", f"the node has {', '.join(devices)}, unused by device: cpu")] if devices else []
    if torch["trouble"]:
        return [problem("GPU", f"torch cannot compute on it: {torch['trouble']}", "match torch and the node's driver")]
    if len(devices) < profile.workers:
        text = f"torch sees {len(devices)} GPUs where the profile has {profile.workers} workers"
        text += f" (CUDA_VISIBLE_DEVICES={visible})"
        return [problem("GPU", text, "check gpus_per_node, and that torch is a CUDA build that fits the node's driver")]
    return [ok("GPU", ", ".join(devices))]


def preemption_cost(how: Preemption, checkpoint_s: float, checkpoint_bytes: int, interval_s: float) -> Finding:
    """What one preemption costs. checkpoint_s: seconds to write checkpoint_bytes; interval_s: as configured."""
    text = f"a checkpoint of {size(checkpoint_bytes)} takes {duration(checkpoint_s)}"
    held_up_s = (
        checkpoint_s if checkpoint_bytes < BACKGROUND_BYTES else 0.0
    )  # a larger one is written while training continues
    interval = checkpoint_interval(interval_s, checkpoint_s, held_up_s)
    periodic = f"one is written every {duration(interval)}"
    if how.mode == "OFF":
        return ok("cost", f"{text}; {periodic}: a node that dies costs at most that much training")
    # Twice, as the file system may be slower when many tasks are evicted at once.
    if checkpoint_s * 2 <= how.seconds:
        return ok("cost", f"{text}, an evicted task has {how.seconds:g} s: a preemption loses no training")
    fix = "ask for preempt_send_user_signal with a GraceTime, or a longer KillWait; or lower checkpoint.every_seconds"
    lost = f"each preemption may lose up to {duration(interval + checkpoint_s)} of training"
    return note("cost", f"{text}, an evicted task has {how.seconds:g} s: {lost} ({periodic})", fix)


def time_limit_cost(profile: Profile, checkpoint_s: float) -> Finding | None:
    """Whether a task saves before its time limit; None if it does."""
    if checkpoint_s * 2 <= profile.signal_delay_s:
        return None
    text = (
        f"a task is asked to save {profile.signal_delay_s} s before its limit; a checkpoint takes {checkpoint_s:.0f} s"
    )
    return problem("time limit", text, f"set signal_delay_s to {4 * checkpoint_s:.0f} or more")
