"""The check from end to end: asks the cluster, probes the directory here and on a node, and has all of it judged."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hpc import provenance
from hpc.checkout import BUILT_IN_TRAINER, PROJECT_ROOT
from hpc.config.resources_section import written
from hpc.config.schema.configuration import CheckpointSection
from hpc.files import directories, reading
from hpc.planning.pilot_record import Pilot
from hpc.preflight import job, judge_cluster, judge_node, on_node, pilot, probe, signal_trial
from hpc.preflight.finding import PROBLEM, Finding, note, ok, problem
from hpc.slurm.commands import Slurm, SlurmError
from hpc.slurm.profile import Profile
from hpc.storage.store import Store
from hpc.sweep.definition import Sweep
from hpc.sweep.resources import ResourceRule
from hpc.trainers.declaration import read_declaration
from hpc.trainers.snapshot import snapshot
from hpc.units import duration, size

# Time limit of the job on a node. Importing torch from a cold network file system can take minutes of it.
_NODE_MINUTES = 10
# No job runs as long, so the profile's own limit holds in what `sbatch --test-only` is asked.
_UNLIMITED_MINUTES = 1 << 20
# A Python error ends with its cause; more of the log would bury it.
_LOG_LINES = 3


@dataclass(frozen=True)
class CheckRequest:
    """What to check. profile: None to check only what this machine can. directory: the shared one, to be tested.

    conf: slurm.conf of the cluster, None for the machine's own. sweep: for its size and intervals, if there is one.
    pilot: also measure packs of the sweep's trainer; conditions_min: and for so many minutes a cell of each condition.
    start_s: seconds for which a job may wait in the queue. quick: the cluster is a sandbox, whose controller may be
    asked often.
    """

    profile: Profile | None
    directory: Path
    conf: Path | None = None
    sweep: Sweep | None = None
    pilot: bool = False
    conditions_min: int = 0
    start_s: float = 300.0
    quick: bool = False


@dataclass
class CheckReport:
    """Findings in order, and the facts they rest on, as plain JSON without secrets. rules: resources that fit."""

    findings: list[Finding] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    rules: tuple[ResourceRule, ...] = ()

    @property
    def good(self) -> bool:
        return not any(finding.level == PROBLEM for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """The stable output of ``holdfast check cluster --json``."""
        findings = [finding.to_json() for finding in self.findings]
        resources = [written(rule) for rule in self.rules]
        return {"good": self.good, "findings": findings, "resources": resources, "facts": self.facts}


def check(request: CheckRequest, say: Callable[[str], None]) -> CheckReport:
    """Check a cluster, a directory and, with a profile, a node. What does not work is a finding, not an error.

    Raises OSError if nothing can be written to the directory from here.
    """
    report = CheckReport()
    report.facts["versions"] = provenance.versions()
    cluster = _controller(request, report)
    with scratch(request.directory) as directory:
        if request.profile is not None and not request.profile.is_local and cluster is not None:
            report.facts["profile"] = profile_facts(request.profile)
            if report.good:
                _node(request, request.profile, cluster, directory, report, say)
            else:
                report.findings.append(note("node", "not tried: first fix what is above"))
        else:
            _here(request, directory, report)
            if request.pilot and request.sweep is not None and request.profile is not None and report.good:
                trial = pilot.prepare(directory, request.sweep, request.profile, request.conditions_min)
                if request.conditions_min:
                    say(f"training a cell of each condition, for {request.conditions_min} min at most")
                say("training packs of growing width for a few seconds each")
                pilot.run_here(trial)
                report.findings += pilot.verdicts(trial, [], report.facts)
                report.rules = trial.rules
    return report


def _controller(request: CheckRequest, report: CheckReport) -> judge_cluster.ClusterAnswers | None:
    if request.profile is not None and request.profile.is_local:
        return None
    try:
        cluster = judge_cluster.ask(Slurm(request.conf))
    except SlurmError as error:
        fix = "run this on a login node of the cluster; `holdfast sandbox up` starts a cluster here"
        report.findings.append(problem("Slurm", str(error), fix))
        return None
    report.facts["cluster"] = cluster.to_json()
    report.findings += judge_cluster.judge(cluster, request.profile)
    return cluster


def _here(request: CheckRequest, directory: Path, report: CheckReport) -> None:
    """The directory, as far as this machine alone can test it."""
    own = directory / "here"
    own.mkdir()
    faults = probe.alone(own)
    seconds = probe.checkpoint_seconds(own)
    space = probe.space(directory)
    report.facts["directory"] = {"faults": faults, "checkpoint_s": seconds, "space": space}
    cells = len(request.sweep.grid) if request.sweep else 0
    fix = "results would not be safe here: choose a directory on another file system (--directory)"
    fault = problem("directory", "; ".join(faults), fix)
    report.findings.append(fault if faults else ok("directory", "mkdir, link and rename behave, tried from here only"))
    report.findings += judge_node.space(space, cells)
    report.findings += judge_node.step(on_node.compiled_step(), request.sweep) if request.sweep else []
    text = f"{size(probe.CHECKPOINT_BYTES)} written safely in {duration(seconds)} from here"
    report.findings.append(ok("checkpoint", text))


def _node(
    request: CheckRequest,
    profile: Profile,
    cluster: judge_cluster.ClusterAnswers,
    directory: Path,
    report: CheckReport,
    say: Callable[[str], None],
) -> None:
    slurm = Slurm(request.conf)
    name = f"holdfast-check-{uuid.uuid4().hex[:10]}"
    code = code_for(directory, request.sweep)
    full = job.write(profile, directory, code, ["hpc.preflight.on_node"], name, minutes=_UNLIMITED_MINUTES)
    report.findings.append(judge_cluster.test_request(slurm, full))
    if not report.good:
        return
    modules, minutes, trial = ["hpc.preflight.on_node"], _NODE_MINUTES, None
    if request.pilot and request.sweep is not None:
        trial = pilot.prepare(directory, request.sweep, profile, request.conditions_min)
        modules = [*modules, "hpc.preflight.pilot_on_node"]
        minutes = _NODE_MINUTES + pilot.MINUTES + request.conditions_min
        for finding in pilot.cut_short(profile, minutes):
            say(f"{finding.level}: {finding.text}; {finding.fix}")
            report.findings.append(finding)
    script = job.write(profile, directory, code, modules, name, minutes)
    (directory / "race").mkdir()
    meeting = Meeting(directory)
    say(f"a small job tests a node (job {name}; at most {request.start_s:g} s in the queue)")
    end = job.run(slurm, script, name, start_s=request.start_s, end_s=60.0 * minutes, poll=meeting, quick=request.quick)
    answer = read_answer(directory / on_node.ANSWER)
    if answer is None:
        report.findings.append(job_trouble(end, directory, request.start_s))
        return
    report.facts["node"] = {**answer, "won_here": meeting.won, "waited_s": end.waited_s}
    report.findings += _verdicts(request, profile, answer, meeting.won, end.waited_s)
    report.findings += judge_node.site(answer, profile, job.printed(directory))
    if report.good:
        say("a second job shows whether a signal reaches a task that trains")
        report.findings.append(_signal(request, profile, directory))
    measured = None
    if trial is not None:
        report.findings += pilot.verdicts(trial, cluster.nodes, report.facts)
        measured, report.rules = trial.pilot, trial.rules
    if "checkpoint_s" in answer["shared"]:
        report.findings += _costs(request, profile, cluster, answer["shared"]["checkpoint_s"], measured)


def _signal(request: CheckRequest, profile: Profile, directory: Path) -> Finding:
    try:
        return signal_trial.try_signal(directory, profile, request.conf, request.start_s, request.quick)
    except SlurmError as error:
        return note("signal", f"not tried: {error}")


def _verdicts(
    request: CheckRequest,
    profile: Profile,
    answer: Mapping[str, Any],
    won: Mapping[str, list[int]] | None,
    waited_s: float,
) -> list[Finding]:
    found = [ok("node", f"{answer['node']} began the job after {waited_s:.2g} s")]
    found += judge_node.machine(answer, profile)
    found += judge_node.step(answer["compiled_step"], request.sweep) if request.sweep else []
    return found + judge_node.shared(answer["shared"], won, len(request.sweep.grid) if request.sweep else 0)


def _costs(
    request: CheckRequest,
    profile: Profile,
    cluster: judge_cluster.ClusterAnswers,
    seconds: float,
    measured: Pilot | None,
) -> list[Finding]:
    """What stopping costs: for the checkpoint of a pilot, which is a real one, else for a write of typical size."""
    content = probe.CHECKPOINT_BYTES
    if measured is not None and measured.checkpoint_s is not None:
        seconds, content = measured.checkpoint_s, measured.checkpoint_bytes
    how = judge_cluster.preemption(cluster, cluster.partition(profile.parameters.get("partition")))
    interval = request.sweep.checkpoint_seconds if request.sweep else CheckpointSection().every_seconds
    late = judge_node.time_limit_cost(profile, seconds)
    return [judge_node.preemption_cost(how, seconds, content, interval), *([late] if late else [])]


class Meeting:
    """This side of the rendezvous with the node: answers its call and races it, once."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.won: dict[str, list[int]] | None = None

    def __call__(self) -> None:
        if self.won is None and probe.called(self._directory):
            probe.reply(self._directory)
            self.won = probe.race(self._directory / "race", "here")


@contextlib.contextmanager
def scratch(parent: Path) -> Iterator[Path]:
    """A fresh directory in the shared one, removed afterwards. Raises OSError naming the path."""
    directories.make_directory(parent)
    directory = parent / f".holdfast-check-{uuid.uuid4().hex[:8]}"
    directories.make_directory(directory)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def code_for(directory: Path, sweep: Sweep | None) -> Path:
    """A snapshot of the code that a sweep's tasks would run, in the scratch directory. Raises OSError."""
    trainer = sweep.trainer if sweep else read_declaration(BUILT_IN_TRAINER, [PROJECT_ROOT])
    return snapshot(Store(directory), trainer)[1]


def read_answer(path: Path) -> dict[str, Any] | None:
    """What a job wrote; None if it wrote nothing. Listing the directory refreshes a network file system's view."""
    if path.name not in directories.entries(path.parent):
        return None
    return dict(json.loads(reading.read(path)))


def job_trouble(end: job.End, directory: Path, start_s: float) -> Finding:
    """Why a job gave no answer, as far as Slurm or its log shows. start_s: seconds it might wait in the queue."""
    if not end.started:
        text = f"the job did not start within {start_s:g} s and was cancelled: {end.state}, {end.reason}"
        fix = "wait longer with --wait SECONDS, or ask for less: `squeue --start` and `sinfo` show what is free"
        return problem("node", text, fix)
    lines = job.printed(directory).strip().splitlines()[-_LOG_LINES:]
    there = (directory / "log.txt").is_file()
    nothing = "no output" if there else "its log is missing, so the node may not see this directory"
    said = " / ".join(lines) or nothing
    # -P keeps the working directory out of sys.path; Python has it since 3.11.
    if "Unknown option: -P" in said:
        return problem("node", "the Python on the node is older than 3.11", "set python in the profile to a newer one")
    state = end.reason or end.state or "ended"
    text = f"the job on {end.node or '?'} gave no answer ({state}): {said}"
    return problem("node", text, "see python, modules, setup and container in the profile")


def profile_facts(profile: Profile) -> dict[str, Any]:
    """A profile for a bug report. Setup lines may hold secrets: only their number is reported."""
    return {
        "name": profile.name,
        "parameters": dict(profile.parameters),
        "additional": sorted(profile.additional),
        "setup_lines": len(profile.setup),
        "device": profile.device,
        "workers": profile.workers,
        "signal_delay_s": profile.signal_delay_s,
        "array_parallelism": profile.array_parallelism,
        "own_python": profile.launcher != (sys.executable,),
    }
