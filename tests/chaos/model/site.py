"""Two clusters, three login hosts, one file system: commands and tasks of the real modules as virtual processes."""

from __future__ import annotations

import json
import shutil
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from helpers.small_sweeps import make_grid, make_sweep, write_trainer

from hpc import provenance
from hpc.errors import ConfigError, OutdatedError, SweepError
from hpc.launch import look, request, slurm, watching
from hpc.launch.options import SubmitOptions
from hpc.launch.request import Request
from hpc.node import pack, task, trial
from hpc.protocol import TaskExit
from hpc.slurm import commands
from hpc.slurm.commands import SlurmError
from hpc.slurm.profile import Profile
from hpc.storage import revisions, task_list
from hpc.storage.store import Store
from hpc.submission import arrays, cancels, known_confs
from hpc.submission.intents import Intent
from hpc.sweep.cell import Cell
from hpc.sweep.definition import Sweep
from hpc.sweep.outcome import Outcome
from hpc.sweep.states import COMPLETED
from hpc.trainers import git
from hpc.trainers.project import Project

from .clusters import Clusters, Controller, Task
from .machines import Clock, Command, Host, Machines
from .processes import outside
from .redoing import Redos
from .toy import Witness, check_believed, train_cell

GRID = make_grid((1, 2, 3), (42,))
CELLS = list(GRID)
# What a command does next, where that tells one moment of it from another.
_NOTABLE = {"sleep", "sbatch", "squeue answered"}
# Events that are not combined with others: together they would make too many kinds of situations.
_AROUND = {"edited", "renamed", "silent", "ended", "locked"}
# How often all go on in the end; and how often without a change before one who only waits is left to himself.
_ROUNDS, _IDLE_ROUNDS = 40, 3


class _Steps(Witness):
    """A task may be stopped, or killed, before every step of training."""

    def __init__(self, world: Machines) -> None:
        self._world = world

    def begins(self, cell: Cell, since: int) -> None:
        self._world.operation("begin")

    def trains(self, cell: Cell) -> None:
        self._world.operation("step")


class Site:
    """What the model's rules act on, and what must hold in it."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp())
        self.code = "toy"  # what a look at the trainer's file gives at this moment
        self.codes: dict[int, str] = {}  # what the tasks of a submission run
        self.store = Store(self.directory / "out")
        sweep = make_sweep(GRID, path=write_trainer(self.directory))
        revisions.write_sweep(self.store, sweep, {"trainer_digest": self.code})
        self.sweep = self.store.sweep()
        self.world = Machines(self.store.root)
        self.clusters = Clusters(self.world, self.directory)
        self.cancels: list[Command] = []
        self.foreign: set[Cell] = set()
        self._witness = _Steps(self.world)
        self.redos = Redos(self.world, self.store, self._is_live)
        self._replace_what_reaches_out()

    def close(self) -> None:
        self.world.close()
        shutil.rmtree(self.directory)

    def _replace_what_reaches_out(self) -> None:
        patch, current = self.world.patch, self.world.current
        patch(commands, "_completed", self.clusters.completed)
        patch(request, "snapshot", lambda store, trainer: (self.code, self.directory / self.code))
        patch(request, "damage", lambda code, digest: "")
        patch(arrays, "conf_in_use", lambda conf: conf)
        patch(known_confs, "user_state", lambda: self.directory / "state")
        patch(git, "state", lambda path: None)
        patch(slurm, "check_code", lambda request, profile: Project(Path(), {}, {}))
        patch(provenance, "versions", dict)
        patch(request, "trainer_digest", lambda trainer, code=None: code.name if code else self.code)
        patch(pack, "trainer_digest", lambda trainer: self.codes[current().job.job.place[0]])
        for module in (slurm, watching):
            patch(module, "time", Clock(self.world))
        for module in (slurm, look, request):
            patch(module, "say", lambda text: None)
        patch(watching, "say", lambda text: setattr(current(), "said", text))
        for module in (slurm, pack, task):
            patch(module, "print", lambda *words, **options: None)
        patch(slurm, "cluster_of", lambda profile: current().conf)
        silent = SimpleNamespace(format_exception=traceback.format_exception, print_exc=lambda: None)
        patch(trial, "traceback", silent)
        patch(pack, "load_function", lambda trainer: self._train)
        patch(slurm, "newest", _noting(slurm.newest, lambda found: setattr(current(), "since", found)))
        patch(cancels, "request", _noting(cancels.request, self._note_cancel))
        real_wait, real_give_up = slurm.wait, look.give_up

        def wait(*arguments: Any) -> int:
            current().take_over = False  # what was asked for was the first round
            return real_wait(*arguments)

        def give_up(*arguments: Any) -> None:
            if not current().take_over:
                self.world.faults.append(f"{current().name} gives up a cluster unasked")
            real_give_up(*arguments)

        real_replace = arrays.replace_unconfirmed

        def replace_checked(store: Store, intent: Intent, *arguments: Any) -> None:
            if current().works_without_lock:
                self.world.faults.append(f"{current().name} replaces tasks although its lock was taken over")
            self.codes[intent.number] = intent.code
            if intent.code != self._code_on_record() and current().lost_at is None:
                self.world.faults.append(f"{current().name} queues code that is not on record")
            before = self._training()
            real_replace(store, intent, *arguments)
            for process in before:
                if process.job.job.accepted_at < current().born and self.is_void(process.job) and not current().lagging:
                    self.world.faults.append(f"{process.trains} is replaced while it trains")

        patch(arrays, "replace_unconfirmed", replace_checked)
        patch(request, "write_sweep", self._write_sweep)
        patch(slurm, "wait", wait)
        patch(look, "give_up", give_up)

    def _note_cancel(self, found: Any) -> None:
        self.world.current().cancel = found  # type: ignore[union-attr]
        self.world.tell("cancelled")

    def _write_sweep(self, store: Store, sweep: Sweep, facts: Any, check: Callable[[], None]) -> None:
        command: Any = self.world.current()
        with outside():
            queued = [one for one in self._all_tasks() if one.job.number and self._is_seen(one, command)]
            changes = store.sweep().config_digest != sweep.config_digest
        revisions.write_sweep(store, sweep, facts, check)
        if changes:
            self.world.tell("corrected")
        if queued and changes and not command.lagging and not command.works_without_lock:
            self.world.faults.append(f"{command.name} changes what {len(queued)} queued tasks are to train")

    def _code_on_record(self) -> str:
        with outside():
            return str(self.store.manifest()["revisions"][-1]["provenance"]["trainer_digest"])

    def _is_seen(self, one: Task, command: Command) -> bool:
        """Whether a command that looks at the queues sees a task that will train."""
        before = one.job.accepted_at < command.born
        return before and one.job.name != "renamed" and not one.job.by.lagging and not self.is_void(one)

    def _is_live(self, cell: Cell, command: Command) -> bool:
        """Whether a task has the cell, on a cluster that has answered the command."""
        every = self._all_tasks() if not command.unanswered else []
        seen = (one for one in every if self._is_seen(one, command) and self._is_asked(one, command))
        return any(cell.name in self.cells_of(one) for one in seen)

    def _is_asked(self, one: Task, command: Command) -> bool:
        """Whether a command on this host can ask the cluster that has the task."""
        here = self.clusters.controllers[command.host.cluster]
        return one.job.by.conf is not None or one in here.tasks

    # --- processes ------------------------------------------------------------------------------------------------

    def submit(self, host: Host, conf: Path | None = None, sweep: Sweep | None = None, **asked: Any) -> Command:
        """`holdfast submit`, typed on a host; it has performed nothing yet."""
        chosen = SubmitOptions(**asked)

        def body(process: Command) -> None:
            asked_for = sweep or self.store.sweep()
            process.status = slurm.submit(Request(self.store, asked_for), chosen, Profile("p", {"timeout_min": 5}))

        verb = "correct" if sweep else "submit"
        return self._command(host, body, verb=verb, take_over=chosen.take_over, waits=chosen.wait, conf=conf)

    def correct(self, host: Host) -> Command:
        """`holdfast submit` of this sweep with another configuration."""
        changed = replace(self.sweep, options={"number": len(self.world.processes)})
        return self.submit(host, sweep=changed, include_failed=True)

    def put_foreign_result(self, cell: Cell) -> None:
        """A result that another sweep's task has made, in the place of this cell's own."""
        path = self.store.paths.result_file(cell)
        if not path.exists():
            outcome = Outcome("COMPLETED", {"loss": 1.0}, None, 0, b"epoch,loss\n", None)
            path.parent.mkdir(parents=True, exist_ok=True)
            record = {
                "width": cell.factors["width"],
                **outcome.to_json(cell, replace(self.sweep, options={"number": -1}).config_digest),
            }
            path.write_text(json.dumps(record | {"provenance": {}}))
            self.world.tell("ended")
            self.foreign.add(cell)

    def cancel(self, host: Host, cells: list[Cell]) -> Command:
        """`holdfast cancel` of some cells, typed on a host."""

        def body(process: Command) -> None:
            cancels.cancel(self.store, [cell.name for cell in cells])
            process.ended_at = self.world.tick
            if process.cancel is not None:
                self.cancels.append(process)
                if not process.unanswered:
                    self._check_stopping(process)

        return self._command(host, body, verb="cancel")

    def redo(self, host: Host, cells: list[Cell]) -> Command:
        """`holdfast redo --axis ...` of some cells, typed on a host."""
        return self._command(host, partial(self.redos.command, cells=cells), verb="redo")

    def _command(self, host: Host, body: Callable[[Command], None], **about: Any) -> Command:
        def told(process: Command) -> None:
            try:
                body(process)
            except (ConfigError, SweepError, SlurmError) as error:
                process.told = str(error)
                if process.waits and "is at work here" in process.told:
                    self.world.faults.append(f"{process.name} waits for its turn, and is refused: {process.told}")

        return self.world.start_on(host, told, **about)  # type: ignore[no-any-return]

    def start_task(self, waiting: Task) -> Command:
        """A task that a cluster starts, as hpc.node.task runs it."""
        words = [str(self.store.root), *map(str, waiting.job.place), str(waiting.index)]

        def body(process: Command) -> None:
            try:
                process.status = task._run(self.store, words, lambda: process.stopped)  # type: ignore[arg-type]
            except SweepError as error:  # as hpc.node.task has it
                process.status = TaskExit.OUTDATED if isinstance(error, OutdatedError) else TaskExit.USAGE

        waiting.state = "RUNNING"
        self.world.tell("started")
        waiting.process = self.world.start_on(self.world.node, body, job=waiting, void=self.is_void(waiting))
        return waiting.process  # type: ignore[no-any-return]

    def _train(self, cells: list[Cell], chosen: Any, run: Any) -> None:
        process: Any = self.world.current()
        for cell in cells:
            if process.fails:
                raise RuntimeError("as the schedule has it")
            process.trains = cell.name
            self._check_it_may_train(process)
            train_cell(run, cell, witness=self._witness)
        process.trains = ""

    # --- what must hold -------------------------------------------------------------------------------------------

    def check(self) -> None:
        assert not self.world.faults, self.world.faults[0]
        check_believed(self.store, CELLS, self.store.sweep())
        self._check_no_cell_is_queued_twice()
        self._check_no_cell_is_trained_twice()
        self.redos.check()

    def _all_tasks(self) -> list[Task]:
        controllers = self.clusters.controllers.values()
        late = [task for controller in controllers for job in controller.under_way for task in job.tasks]
        return [task for controller in controllers for task in controller.tasks] + late

    def is_void(self, one: Task) -> bool:
        submission, array = one.job.place
        return any(v.covers(array, one.index) for v in task_list.declared_voids(self.store.paths, submission))

    def cells_of(self, one: Task) -> tuple[str, ...]:
        return task_list.task_cells(self.store.paths.tasks_file(*one.job.place))[one.index]

    def _check_no_cell_is_queued_twice(self) -> None:
        valid = [one for one in self._all_tasks() if not one.job.by.lagging and not self.is_void(one)]
        counts = Counter(name for one in valid for name in self.cells_of(one))
        for name, count in counts.items():
            assert count == 1, f"{name} is queued {count} times"

    def _training(self) -> list[Command]:
        """Tasks that train and are not void."""
        return [p for p in self.world.live if p.trains and not p.lagging and not self.is_void(p.job)]  # type: ignore

    def _check_no_cell_is_trained_twice(self) -> None:
        for name, count in Counter(process.trains for process in self._training()).items():
            assert count == 1, f"{name} is trained by {count} tasks"

    def _check_it_may_train(self, process: Command) -> None:
        """Note a fault if a task trains that was void, or whose cell was cancelled, before it started."""
        by = process.job.job.by
        if process.lagging or by.lagging:
            return
        if process.void:
            self.world.faults.append(f"{process.trains} is trained by a task that was void before")
        for cancel in self.cancels:
            hit = process.trains in cancel.cancel.cells and by.since < cancel.cancel.number
            if hit and process.born > cancel.ended_at:
                self.world.faults.append(f"{process.trains} is trained by a task that started after it was cancelled")
        self.redos.check_training(process)

    def _check_stopping(self, cancel: Command) -> None:
        """All that ran of what it cancelled, on clusters that can be asked from there, has been asked to stop."""
        for controller in self.clusters.controllers.values():
            for one in controller.tasks:
                if not self._is_asked(one, cancel):
                    continue
                earlier = one.job.by.since < cancel.cancel.number
                if earlier and cancel.cancel.cells.intersection(self.cells_of(one)) and one.process is not None:
                    trains = one.process.trains in cancel.cancel.cells
                    if trains and not one.process.stopped:
                        self.world.faults.append(f"{one.process.trains} trains on after it was cancelled")

    # --- where a schedule has got ---------------------------------------------------------------------------------

    def situation(self) -> set[str]:
        """What there is, for a search: kinds of commands, of tasks and of cells."""
        commands = [self._standing(process) for process in self.world.live if process.job is None]
        cells = sorted({status.state for status in self.store.statuses(CELLS, self.store.sweep())})
        foreign = {cell.name for cell in self.foreign}
        tasks = {one: self._kind(one) for one in self._all_tasks()}
        beside = {f"foreign beside {kind}" for one, kind in tasks.items() if foreign.intersection(self.cells_of(one))}
        return {f"cells {', '.join(cells)}"}.union(*commands, tasks.values(), beside)

    def _standing(self, command: Any) -> set[str]:
        """How far a command has come, whether it has the lock, and what it cannot know of."""
        held = (self.store.paths.lock_directory / (command.lock_file or "-")).exists()
        lock = " with the lock" if held else " that lost the lock" if command.lost_at is not None else ""
        where = f"before {command.at}" if command.at in _NOTABLE else f"after {command.asked}"
        told = f"{command.verb}{' --wait' * command.waits}{' stopped' * command.frozen}{lock} {where}"
        unknown = self.world.unknown_to(command)
        of_tasks = ", ".join(sorted(unknown - _AROUND))
        return {f"{told}; unknown to it: {of_tasks}"} | {f"{told}; {what} meanwhile" for what in unknown & _AROUND}

    def _kind(self, one: Task) -> str:
        here = one.process
        how = ("trains" if here.trains else "runs") if here else "waits" if one.job.number else "is late"
        asked = one.cancelled or (here is not None and here.stopped)
        return (
            f"task {how}{', void' * self.is_void(one)}{', to stop' * asked}{', renamed' * (one.job.name == 'renamed')}"
        )

    # --- the end --------------------------------------------------------------------------------------------------

    def bring_to_an_end(self) -> None:
        """All that was stopped continues, first of all, and what is late arrives; then an edit is taken back, and one
        submission more has to finish the sweep.
        """
        for controller in self.clusters.controllers.values():
            controller.silent = controller.late = False
            self.arrive(controller)
        stopped = [process for process in self.world.live if process.frozen]
        for process in self.world.live:
            process.frozen = process.lagging = False
            process.lost_at = None if process.lost_at is None else process.operations  # only now can it see that
        for process in stopped:
            process.step(1_000)
        self._run_all()
        self.code = self._code_on_record()
        # The second gives up what may be queued on the other cluster, which does not answer on this host.
        for take_over in (self._needs_take_over(), True):
            last = self.submit(self.world.hosts[0], include_failed=True, take_over=take_over, pack=len(CELLS))
            self._finish_with(last)
        for status in self.store.statuses(CELLS, self.store.sweep()):
            done = status.state == COMPLETED or status.cell in self.foreign
            assert done, f"one more submission does not finish the sweep: {status.cell.name} is {status.state}"

    def _finish_with(self, last: Any) -> None:
        self._run_all()
        assert not last.told, f"the last submission is refused: {last.told}"

    def _needs_take_over(self) -> bool:
        """Whether a lock is left by a process whose end nobody can see from the first host."""
        return any(owner.host is not self.world.hosts[0] for owner in self._dead_owners())

    def _dead_owners(self) -> list[Command]:
        names = (path.name for path in self.store.paths.lock_directory.glob("owner-*"))
        return [owner for name in names if (owner := self.world.owners.get(name)) is not None and not owner.alive]

    def _run_all(self) -> None:
        idle = 0
        for _ in range(_ROUNDS):
            before = self._what_lives()
            for process in self.world.live:
                process.step(1_000)
            self.clusters.settle()
            waiting = [one for one in self._all_tasks() if one.process is None]
            for one in waiting:
                self.start_task(one)
            self.check()
            if not self.world.live and not waiting:
                return
            idle = idle + 1 if self._what_lives() == before else 0
            if idle == _IDLE_ROUNDS and all(map(self._waits_in_vain, self.world.live)):
                break
        for process in self.world.live:
            assert self._waits_in_vain(process), f"no end: {process.where}"
            process.kill()

    def _what_lives(self) -> list[str]:
        return [process.name for process in self.world.live]

    def _waits_in_vain(self, process: Any) -> bool:
        """Whether a command waits for what may have ended unseen, and has said so; then a person ends it.

        That is a process on another host that held the lock, or tasks on a cluster that cannot be asked from there.
        """
        said = "cannot be asked from here" in process.said
        return process.job is None and (said or bool(self._dead_owners()))

    def arrive(self, controller: Controller) -> None:
        for job in controller.under_way:
            self.clusters.accept(controller, job)
        controller.under_way = []


def _noting(function: Callable[..., Any], note: Callable[[Any], None]) -> Callable[..., Any]:
    def noting(*arguments: Any, **options: Any) -> Any:
        found = function(*arguments, **options)
        note(found)
        return found

    return noting
