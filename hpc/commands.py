"""What each command does: ask the other rooms, print, and return an exit code."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from hpc import local, status, submission
from hpc.code import snapshot
from hpc.faults import ConfigError
from hpc.plan import Plan, make_plan
from hpc.profile import Profile, load_profile
from hpc.requests import Request, resolve
from hpc.slurm import Slurm, SlurmError
from hpc.store import FAILED, FINAL, CellStatus, Store, check_writable
from hpc.sweep import Sweep

DONE, CONFIGURATION, TROUBLE, INCOMPLETE, INTERRUPTED = 0, 2, 3, 4, 130
# A fused pack of this many cells still fits a core's cache at the default model size (docs/performance.md).
_CACHE_PACK = 5
_WATCH_SECONDS = 30.0
_SANDBOX_WATCH_SECONDS = 1.0


def say(text: str) -> None:
    """Progress and remarks go to stderr; answers go to stdout."""
    print(text, file=sys.stderr, flush=True)


# --- plan -----------------------------------------------------------------------------------------------------------


def plan(arguments: argparse.Namespace) -> int:
    request = resolve(arguments)
    _notes(request)
    queued: dict[str, submission.LiveTask] = {}
    if request.store.exists():
        queued = _live(request.store, strict=False)
    planned = make_plan(
        _statuses(request), queued=queued, pack=_pack(arguments.pack), include_failed=arguments.include_failed
    )
    print(json.dumps(planned.to_json(), indent=1) if arguments.json else planned)
    return DONE


def _statuses(request: Request) -> list[CellStatus]:
    return list(request.store.statuses(request.sweep.grid, request.sweep.config_digest))


def _notes(request: Request) -> None:
    for note in request.notes:
        say(f"note: {note}")


def _pack(given: str | None) -> int:
    if given is None:
        return 1
    if not given.isdecimal() or int(given) < 1:
        raise ConfigError([f"command line: --pack is {given!r}; give a whole number of cells, 1 or more"])
    return int(given)


# --- run ------------------------------------------------------------------------------------------------------------


def run(arguments: argparse.Namespace) -> int:
    request = resolve(arguments)
    _notes(request)
    if arguments.analyze_only:
        return _aggregate(request.store, partial=False)
    if arguments.debug and not arguments.cell:
        raise ConfigError(["command line: --debug runs one cell in the foreground; add --cell NAME"])
    check_writable(request.store.root)
    with submission.lock(request.store, "holdfast run", arguments.take_over):
        sweep = request.record()
        if arguments.cell and arguments.debug:
            return _debug(request.store, sweep, arguments)
        ends = _run_here(request, sweep, arguments)
    if ends.interrupted:
        say(f"stopped; the same command goes on ({request.store.root})")
        return INTERRUPTED
    if ends.storage_trouble:
        return TROUBLE
    return _aggregate(request.store, partial=False)


def _run_here(request: Request, sweep: Sweep, arguments: argparse.Namespace) -> local.Ends:
    statuses = _statuses(request)
    if arguments.cell:
        wanted = status.find_cell(sweep, request.store, arguments.cell)
        statuses = [entry for entry in statuses if entry.cell == wanted]
    elsewhere = _live(request.store, strict=False)
    parallel = arguments.parallel_jobs or local.cores()
    to_do = sum(1 for entry in statuses if entry.state not in FINAL)
    pack = _pack(arguments.pack) if arguments.pack else _local_pack(sweep, to_do, parallel)
    planned = make_plan(statuses, queued=elsewhere, pack=pack, include_failed=arguments.include_failed)
    say(str(planned))
    if not planned.tasks:
        return local.Ends()
    digest, code = snapshot(request.store, sweep.trainer)
    intent = submission.begin(
        request.store, [planned.tasks], kind=submission.LOCAL, profile="local", name=sweep.name, code=digest
    )
    return _run_tasks(request.store, sweep, planned, intent, code, parallel, arguments.device)


def _run_tasks(
    store: Store,
    sweep: Sweep,
    planned: Plan,
    intent: submission.Intent,
    code: Path,
    parallel: int,
    device: str,
) -> local.Ends:
    from hpc.progress import Progress

    progress = Progress(store, [cell for task in planned.tasks for cell in task], sweep.config_digest)
    ends = local.run_tasks(store, intent, code, parallel=parallel, device=device, on_poll=progress)
    progress.end()
    for problem in ends.problems:
        say(problem)
    return ends


def _local_pack(sweep: Sweep, cells: int, parallel: int) -> int:
    """Fused trainers gain from packs that keep every worker busy and stay in cache; others run cell by cell."""
    if sweep.trainer.pack_mode != "fused":
        return 1
    return max(1, min(_CACHE_PACK, -(-cells // parallel)))


def _debug(store: Store, sweep: Sweep, arguments: argparse.Namespace) -> int:
    """One cell in this very process, its output on the terminal."""
    from hpc.pack_task import PackTask
    from hpc.stop import StopFlag

    cell = status.find_cell(sweep, store, arguments.cell)
    digest, _ = snapshot(store, sweep.trainer)
    intent = submission.begin(store, [[[cell]]], kind=submission.LOCAL, profile="debug", name=sweep.name, code=digest)
    stop = StopFlag()
    stop.install()
    task = PackTask(store, sweep, [cell], intent.number, stop, arguments.device, own_log=False)
    ended = task.run()
    print(status.show(store, cell.name)[1])
    return {0: DONE, 1: INCOMPLETE}.get(ended, INTERRUPTED)


# --- submit ---------------------------------------------------------------------------------------------------------


def submit(arguments: argparse.Namespace) -> int:
    request = resolve(arguments)
    profile = load_profile(arguments.profile)
    _notes(request)
    conf = _cluster(profile)
    if profile.is_local:
        arguments.parallel_jobs, arguments.device, arguments.cell = None, "cpu", None
        with submission.lock(request.store, "holdfast submit", arguments.take_over):
            ends = _run_here(request, request.record(), arguments)
        return TROUBLE if ends.storage_trouble else INTERRUPTED if ends.interrupted else DONE
    if arguments.dry_run:
        print(_plan_for_slurm(request, arguments, conf))
        return DONE
    check_writable(request.store.root)
    with submission.lock(request.store, "holdfast submit", arguments.take_over):
        request.record()
        code = _submit_once(request, arguments, profile, conf)
    if code == DONE and arguments.wait:
        return _wait(request, arguments, profile, conf)
    return code


def _plan_for_slurm(request: Request, arguments: argparse.Namespace, conf: Path | None) -> Plan:
    """The plan, with what Slurm has now taken into account. Raises SlurmError if it cannot be asked."""
    queued = submission.live_cells(submission.live_tasks(request.store))
    return make_plan(
        _statuses(request),
        queued=queued,
        pack=_pack(arguments.pack),
        include_failed=arguments.include_failed,
        largest_array=Slurm(conf).max_array_size(),
    )


def _submit_once(request: Request, arguments: argparse.Namespace, profile: Profile, conf: Path | None) -> int:
    from hpc.submit import sbatch_line
    from hpc.submit import submit as queue

    planned = _plan_for_slurm(request, arguments, conf)
    say(str(planned))
    if not planned.tasks:
        return DONE
    queued = queue(
        request.store, request.sweep, planned, profile, conf=conf, prepare_only=arguments.prepare, on_array=say
    )
    if queued.scripts:
        say("everything is written; this queues it:")
        print(sbatch_line(queued.scripts))
        return DONE
    if arguments.then_aggregate:
        from hpc.submit import submit_aggregation

        say(f"aggregation after them: job {submit_aggregation(request.store, queued, profile, conf)}")
    say(f"holdfast status {request.store.root} --watch")
    return DONE


def _wait(request: Request, arguments: argparse.Namespace, profile: Profile, conf: Path | None) -> int:
    """Wait for the tasks; queue again what came back unfinished, as long as something moves."""
    before = _progress_mark(request)
    while True:
        _watch(request.store, profile.name, quiet=True)
        planned = _plan_for_slurm(request, arguments, conf)
        after = _progress_mark(request)
        if not planned.tasks or after == before:
            break
        before = after
        with submission.lock(request.store, "holdfast submit", arguments.take_over):
            _submit_once(request, arguments, profile, conf)
    snapshot_now = status.take(request.store)
    print(status.text(snapshot_now))
    return DONE if all(entry.state in FINAL for entry in snapshot_now.statuses) else INCOMPLETE


def _progress_mark(request: Request) -> tuple[int, int]:
    """Grows whenever a cell ends or gets an epoch further."""
    statuses = _statuses(request)
    ended = sum(entry.state in (*FINAL, FAILED) for entry in statuses)
    return ended, sum(entry.epoch for entry in statuses)


def _cluster(profile: Profile) -> Path | None:
    """slurm.conf of the profile's cluster; None for the machine's own. Raises SlurmError if the sandbox is down."""
    if profile.name != "sandbox":
        return None
    from hpc import sandbox

    found = sandbox.find()
    if found is None:
        raise SlurmError("the sandbox is not up; start it with `holdfast sandbox up`")
    return found.conf


def _live(store: Store, strict: bool) -> dict[str, submission.LiveTask]:
    """Cells that Slurm has. strict: raise SlurmError if it cannot be asked; otherwise say so and go on."""
    try:
        return submission.live_cells(submission.live_tasks(store))
    except SlurmError as error:
        if strict:
            raise
        say(f"note: Slurm cannot be asked which cells are queued ({error})")
        return {}


# --- questions ------------------------------------------------------------------------------------------------------


def show_status(arguments: argparse.Namespace) -> int:
    store = Store(arguments.directory.absolute())
    if arguments.watch:
        taken = _watch(store, "", quiet=False)
    else:
        taken = status.take(store)
        print(json.dumps(taken.to_json(), indent=1) if arguments.json else _status_text(store, taken))
    return INCOMPLETE if taken.problems else DONE


def _status_text(store: Store, taken: status.Snapshot) -> str:
    estimate = status.estimate(store, taken)
    return status.text(taken) + (f"\n\n{estimate}" if estimate else "")


def _watch(store: Store, profile: str, quiet: bool) -> status.Snapshot:
    """Look again and again until nothing more will happen by itself; Slurm is asked at most twice a minute."""
    here = profile == "sandbox" or any(entry.profile == "sandbox" for entry in submission.intents(store))
    pause = _SANDBOX_WATCH_SECONDS if here else _WATCH_SECONDS
    live_view = sys.stdout.isatty() and not quiet
    last = ""
    while True:
        taken = status.take(store)
        text = _status_text(store, taken)
        if live_view:
            print(f"\x1b[H\x1b[2J{text}", flush=True)
        elif text != last:
            (say if quiet else print)(text.splitlines()[0] if quiet else text + "\n")
        last = text
        if taken.finished and not taken.trouble:
            return taken
        time.sleep(pause)


def show(arguments: argparse.Namespace) -> int:
    store = Store(arguments.directory.absolute())
    _, text = status.show(store, arguments.cell)
    cell = status.find_cell(store.sweep(), store, arguments.cell)
    print(status.log_text(store, cell) if arguments.log or arguments.follow else text)
    if arguments.follow:
        _follow(store, lambda: status.log_text(store, cell))
    return DONE


def _follow(store: Store, text: Callable[[], str]) -> None:
    shown = text()
    while True:
        time.sleep(1.0)
        now = text()
        if now != shown:
            print(now[len(shown) :] if now.startswith(shown) else now, end="", flush=True)
            shown = now


def cancel(arguments: argparse.Namespace) -> int:
    store = Store(arguments.directory.absolute())
    sweep = store.sweep()
    wanted = _filter(sweep, arguments)
    chosen = [
        task
        for task in submission.live_tasks(store)
        if any(wanted(name) for name in task.cells)
        and (arguments.state is None or task.queued.state == arguments.state)
    ]
    if not chosen:
        say("no task of this sweep is queued that matches")
        return DONE
    cells = sorted({name for task in chosen for name in task.cells})
    if not _confirmed(f"cancel {len(chosen)} tasks with {len(cells)} cells? ", arguments.yes):
        return CONFIGURATION
    for conf in {entry.conf for entry in submission.intents(store) if entry.kind == submission.SLURM}:
        numbers = {entry.number for entry in submission.intents(store) if entry.conf == conf}
        Slurm(Path(conf) if conf else None).cancel([task.queued for task in chosen if task.submission in numbers])
    say(f"cancelled {len(chosen)} tasks; what they had finished is kept, and submitting again goes on")
    return DONE


def _filter(sweep: Sweep, arguments: argparse.Namespace) -> Callable[[str], bool]:
    asked = {"dim": arguments.dim, "scale": arguments.scale}
    asked |= dict(entry.split("=", 1) for entry in arguments.axis if "=" in entry)
    wanted = {name: value for name, value in asked.items() if value is not None}
    names = {axis.name for axis in sweep.grid.axes}
    for name in wanted:
        if name not in names:
            raise ConfigError([f"command line: no factor is called {name!r}; valid: {', '.join(sorted(names))}"])
    matching = {
        cell.name
        for cell in sweep.grid
        if all(_equal(cell.factors[name], value) for name, value in wanted.items())
        and (arguments.cell is None or cell.name == arguments.cell)
    }
    return matching.__contains__


def _equal(value: object, text: str) -> bool:
    try:
        return value == text or (isinstance(value, int | float) and float(text) == value)
    except ValueError:
        return False


def _confirmed(question: str, yes: bool) -> bool:
    if yes:
        return True
    if not sys.stdin.isatty():
        say(f"{question}add -y to confirm")
        return False
    return input(question).strip().lower() in ("y", "yes")


# --- results --------------------------------------------------------------------------------------------------------


def aggregate(arguments: argparse.Namespace) -> int:
    return _aggregate(Store(arguments.directory.absolute()), arguments.partial)


def _aggregate(store: Store, partial: bool) -> int:
    from aggregate.pipeline import aggregate as gather_all

    outcome = gather_all(store.root)
    for problem in outcome.problems:
        say(problem)
    counts = ", ".join(f"{number} {state}" for state, number in outcome.counts.items() if number)
    print(f"{counts}\nreport: {outcome.report}\nplots:  {store.plots_directory}")
    return DONE if outcome.complete or partial else INCOMPLETE


# --- data and sandbox -----------------------------------------------------------------------------------------------


def data_generate(arguments: argparse.Namespace) -> int:
    from training.generate import generate

    generate(
        arguments.directory,
        train=arguments.train,
        val=arguments.val,
        test=arguments.test,
        seed=arguments.seed,
        progress=say,
    )
    return DONE


def data_check(arguments: argparse.Namespace) -> int:
    from training.data import check

    if not arguments.directory.is_dir():
        raise ConfigError([f"{arguments.directory}: no such directory; `holdfast data generate DIR` makes a data set"])
    print(check(arguments.directory))
    return DONE


def sandbox(arguments: argparse.Namespace) -> int:
    from hpc import sandbox as cluster

    if arguments.action == "up":
        started = time.monotonic()
        found = cluster.up(nodes=arguments.nodes)
        say(f"sandbox up in {time.monotonic() - started:.1f} s: {arguments.nodes} nodes, partitions low and high")
        print(f"export SLURM_CONF={found.conf}")
        return DONE
    if arguments.action == "down":
        cluster.down()
        say("sandbox down")
        return DONE
    running = cluster.find()
    if running is None:
        say("the sandbox is not up; start it with `holdfast sandbox up`")
        return TROUBLE
    if arguments.action == "preempt":
        evicted = running.preempt(arguments.count)
        say(f"evicted {len(evicted)} tasks: {', '.join(task.id for task in evicted) or 'none was running'}")
        return DONE
    state = running.status()
    for name, alive in state.daemons.items():
        print(f"{name:<12} {'up' if alive else 'DOWN'}")
    for node in state.nodes:
        print(f"{node.name:<12} {node.state}, {node.idle_cpus} of {node.cpus} CPUs idle")
    return DONE
