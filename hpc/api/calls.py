"""submit, status and wait for notebooks: each is one call of what the command of its name calls.

They print progress to stderr, which a notebook shows below the cell, ask nothing, never end the process, and leave its
signal handlers, its environment and its working directory as they are.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from hpc.api.asked import AnyPath, count, flag, path_of, profile_of, seconds, sweep_options, written
from hpc.api.refusals import one_call
from hpc.api.results import Rounds, Submission, SweepStatus, described
from hpc.errors import SweepError
from hpc.files import opening
from hpc.launch import local, slurm
from hpc.launch.escalation import check_escalation
from hpc.launch.options import SubmitOptions
from hpc.launch.request import Request, resolve
from hpc.launch.trust import confirm
from hpc.launch.watching import Pause, in_lines, to_the_end
from hpc.slurm.profile import Profile
from hpc.status import lines, sweep
from hpc.storage.store import Store
from hpc.submission import intents


@one_call
def submit(
    directory: AnyPath | None = None,
    *,
    profile: AnyPath,
    config: AnyPath | None = None,
    output_dir: AnyPath | None = None,
    axes: Mapping[str, Sequence[Any]] | None = None,
    runs_per_condition: int | None = None,
    settings: Mapping[str, Any] | None = None,
    profile_settings: Mapping[str, Any] | None = None,
    pack: int | Literal["auto"] | None = None,
    escalate: Mapping[str, Any] | None = None,
    include_failed: bool = False,
    allow_code_change: bool = False,
    all_nodes: bool = False,
    then_aggregate: bool = False,
    no_wandb: bool = False,
    take_over: bool = False,
    trust: bool = False,
    yes: bool = False,
) -> Submission:
    """Queue a sweep as Slurm arrays, as ``holdfast submit`` does. Only what is missing is queued.

    The same call therefore resumes a sweep, from another notebook too. With the profile ``local`` the cells are trained
    in worker processes of this machine, and this returns when they have ended; interrupting the kernel stops them, what
    they have saved is kept, and the same call resumes them.

    >>> from holdfast import load, submit, wait
    >>> sweep = submit(config="sweep.yaml", profile="lab", settings={"training.epochs": 50})
    >>> wait(sweep).done
    True
    >>> load(sweep).conditions

    directory: of an existing sweep to continue; its sweep.json settles what it is.
    profile: ``sandbox``, ``local``, a name in slurm_templates/profiles, or a path to a YAML file.
    config: YAML or JSON file that describes the sweep. output_dir: the sweep's directory, ``out`` by default.
    axes: values by factor, such as ``{"width": [8, 16]}``, in the place of the file's; with a directory, values to add.
    runs_per_condition: how many seeds, from 42 on; a larger number grows an existing sweep.
    settings: dotted keys of the configuration with their values, in the place of the file's.
    profile_settings: keys of the profile with their values, for this call alone, such as ``{"mem_gb": 32}``.
    pack: cells that a task trains together; ``"auto"`` for what a pilot found best.
    escalate: limits by key, such as ``{"mem_gb": 64}``, up to which cells that ran out of it run again with more.
    include_failed: also run cells that failed before. allow_code_change: continue although the trainer's code has
    changed, which is recorded. all_nodes: also use nodes on which tasks failed at the start. then_aggregate: queue a
    job that aggregates afterwards. no_wandb: log nothing to Weights & Biases. take_over: take over from a command or a
    cluster that is gone for good. trust: run what another user's directory names. yes: confirm a very large grid.

    Raises ConfigError (its message has one line per fault; nothing is written), SweepError if the directory holds
    another sweep or another command is at work there, SlurmError if Slurm refuses or does not answer, OSError naming
    the path, and KeyboardInterrupt once local workers have saved their state.
    """
    asked = sweep_options(directory, config, output_dir, axes, runs_per_condition, settings, no_wandb, yes)
    cluster = profile_of(profile, profile_settings)
    options = SubmitOptions(
        pack=count("pack", pack, instead="auto"),
        escalate=written("escalate", escalate),
        allow_code_change=flag("allow_code_change", allow_code_change),
        include_failed=flag("include_failed", include_failed),
        all_nodes=flag("all_nodes", all_nodes),
        then_aggregate=flag("then_aggregate", then_aggregate),
        take_over=flag("take_over", take_over),
    )
    check_escalation(options, cluster)
    trusted = flag("trust", trust)
    request = confirm(resolve(asked), trusted, can_ask=False)
    return _train(request, options) if cluster.is_local else _queue(request, options, cluster)


def _train(request: Request, options: SubmitOptions) -> Submission:
    ends = local.train(request, options)
    if ends.exit_code:
        raise SweepError(f"{request.store.root}: {ends.problems[-1]}")
    if ends.interrupted:
        raise KeyboardInterrupt  # the cells below are not to run on what is not there
    return Submission(request.store.root, "local")


def _queue(request: Request, options: SubmitOptions, profile: Profile) -> Submission:
    conf = slurm.cluster_for(request, profile)
    before = slurm.queue(request, options, profile, conf)
    store = request.store
    numbers = range(before.since + 1, intents.newest(store) + 1)
    jobs = tuple(job for number in numbers for job in intents.receipt(store, number).values())
    return Submission(store.root, profile.name, jobs, Rounds(request, options, profile, conf, before))


@one_call
def status(directory: AnyPath) -> SweepStatus:
    """Look at a sweep as it is now, as ``holdfast status`` does. Slurm is asked only while cells are unfinished.

    >>> from holdfast import status
    >>> now = status("out")
    >>> now.cells.query("state == 'FAILED'")[["cell", "cause"]]

    directory: of the sweep, or what ``submit`` returned.
    Raises SweepError if it holds no sweep, OSError naming the path if it cannot be read.
    """
    store = _store(directory)
    return described(store, sweep.take(store))


@one_call
def wait(directory: AnyPath, *, timeout: float | None = None) -> SweepStatus:
    """Wait until nothing more will happen to a sweep by itself. Returns where that ended; see its ``done``.

    Of what ``submit`` returned, cells that came back unfinished are queued again, as ``holdfast submit --wait`` does:
    tasks that Slurm lost, and those for which its limits left no room. Cells that failed are not. Of a directory, this
    only watches, as ``holdfast status --watch`` does; ``wait(submit("out", profile="lab"))`` queues again there, too.

    Changes are printed as they are seen: Slurm is asked twice a minute, the sandbox every second. Interrupting the
    kernel ends the waiting alone, as does a time-out: tasks train on, and another call waits for them again.

    timeout: seconds; None to wait without an end. It is looked at between two questions to Slurm.
    Raises TimeoutError, with where the sweep stands, and what submit() raises, if Slurm or a file system refuses, or
    does not answer, for half an hour.
    """
    pause = _pause(seconds("timeout", timeout))
    try:
        if isinstance(directory, Submission) and directory.rounds is not None:
            return _in_rounds(directory.rounds, pause)
        store = _store(directory)
        return described(store, to_the_end(store, in_lines(), pause))
    except _OverError:
        store = _store(directory)
        seen = lines.summary(sweep.take(store))
        raise TimeoutError(f"{store.root}: {seen} after {timeout:g} s; the tasks train on, wait again") from None


def _in_rounds(rounds: Rounds, pause: Pause) -> SweepStatus:
    store = rounds.request.store
    opening.guard(store.root)  # forgotten since it was submitted
    ended = slurm.wait_until_done(rounds.request, rounds.options, rounds.profile, rounds.conf, rounds.before, pause)
    return described(store, ended)


class _OverError(Exception):
    """The time to wait is over. No OSError, which would be waited for."""


def _pause(timeout: float | None) -> Pause:
    """Waits as long as it is told, but not beyond the time-out, at which it raises _OverError."""
    if timeout is None:
        return time.sleep
    end = time.monotonic() + timeout

    def pause(wanted: float) -> None:
        left = end - time.monotonic()
        if left <= 0:
            raise _OverError
        time.sleep(min(wanted, left))

    return pause


def _store(directory: AnyPath) -> Store:
    return Store(path_of("directory", directory).absolute())
