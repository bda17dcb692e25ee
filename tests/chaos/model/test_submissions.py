"""Any schedule of commands on three hosts, tasks on two clusters, stops, kills, late and silent controllers."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant

from hpc.submission.intents import receipt

from .clusters import Task
from .site import CELLS, Site
from .swarm import BOTH, rule

MOST_COMMANDS, MOST_TASKS = 3, 3
WHICH = range(3)
CLUSTER = "ab"
PACK = [1, 2]
TO_ITS_END = 5_000
# How far a submission has come when a schedule begins, and before which operation it then is.
REACHED = {"holds the lock": "rmtree", "queues": "sbatch", "waits": "sleep"}
SCENES = ["nothing", *REACHED, "queued", "trains", "late", "failed", "done"]
# Stops in a row after which a cell must have been given up: the first may save something, and ten more are too many.
STOPS = 12
# Where a command may be stopped: right before it lists, removes, publishes, asks Slurm, or hears the answer.
PLACES = ["", "listdir", "mkdir", "rename", "replace", "link", "unlink", "rmdir", "rmtree", "open", "sleep"]
PLACES += ["sbatch", "sbatch answered", "squeue", "squeue answered", "scancel", "scancel answered"]


# How far a command gets that is typed: not at all, to its end, to where it has the lock, or has looked at the queue.
BEGUN = ["-", "", "rmtree", "squeue answered"]
# Where one is left behind: before it looks at the queue, and after that.
AMID = ["squeue", "squeue answered"]
# Operations in which a command hears an answer of Slurm's, unless it waits.
TO_AN_ANSWER = 400


class Submissions(RuleBasedStateMachine):
    """Commands and tasks that come, go, stop and die in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.site = Site()
        self.world, self.clusters = self.site.world, self.site.clusters

    def teardown(self) -> None:
        try:
            self.site.bring_to_an_end()
        finally:
            self.close()

    def close(self) -> None:
        self.site.close()

    @property
    def commands(self) -> list[Any]:
        return [process for process in self.world.live if process.job is None]

    @property
    def tasks(self) -> list[Any]:
        return [process for process in self.world.live if process.job is not None]

    def _queued(self) -> list[Task]:
        return [task for controller in self.clusters.controllers.values() for task in controller.tasks]

    def _waiting(self) -> list[Task]:
        return [task for task in self._queued() if task.process is None]

    def situation(self) -> set[str]:
        """What there is, for a search."""
        return self.site.situation()

    # --- rules ----------------------------------------------------------------------------------------------------

    @rule(
        first=True,
        scene=SCENES,
        host=WHICH,
        pack=PACK,
        take_over=BOTH,
        own_conf=BOTH,
        behind=["", "submit", "correct", "cancel", "redo"],
        amid=AMID,
        ahead=range(3),
    )
    def how_it_stands(
        self,
        scene: str,
        host: int,
        pack: int,
        take_over: bool,
        own_conf: bool = True,
        behind: str = "",
        amid: str = "",
        ahead: int = 0,
    ) -> None:
        """A submission that has come so far, where most that can go wrong begins.

        behind: and a command that is stopped amid what it does. ahead: how often all others have gone on since.
        """
        if scene != "nothing":
            self._submission(scene, host, pack, take_over, own_conf)
        if behind:
            cells = [CELLS] if behind in ("cancel", "redo") else []
            command = getattr(self.site, behind)(self.world.hosts[0], *cells)
            self._go_on(command, TO_ITS_END, amid)
            command.frozen = True
            for _ in range(ahead):
                self.all_go_on()

    def _submission(self, scene: str, host: int, pack: int, take_over: bool, own_conf: bool) -> None:
        cluster = self.world.hosts[host].cluster
        if scene == "late":
            self.late(cluster)
        self.submit(host, pack, scene == "waits", take_over, own_conf)
        self.step(0, TO_ITS_END, REACHED.get(scene, ""))
        if scene == "late":
            self.late(cluster)
        if scene == "failed":
            self.start_what_fails(0)
        if scene == "trains":
            self.start_and_train(0)
        while scene == "done" and self._waiting():
            self.start(0)
            self.train(0, TO_ITS_END)

    @rule(
        when=lambda self: len(self.commands) < MOST_COMMANDS,
        host=WHICH,
        pack=PACK,
        wait=BOTH,
        take_over=BOTH,
        own_conf=BOTH,
        lagging=[False, False, False, True],
    )
    def submit(self, host: int, pack: int, wait: bool, take_over: bool, own_conf: bool, lagging: bool = False) -> None:
        place = self.world.hosts[host]
        conf = self.clusters.controllers[place.cluster].conf if own_conf else None
        process = self.site.submit(place, conf, pack=pack, wait=wait, take_over=take_over)
        process.lagging = lagging

    @rule(when=lambda self: len(self.commands) < MOST_COMMANDS, host=WHICH, take_over=BOTH)
    def submit_without_a_break(self, host: int, take_over: bool) -> None:
        process = self.site.submit(self.world.hosts[host], take_over=take_over)
        self._go_on(process, TO_ITS_END)

    @rule(when=lambda self: len(self.commands) < MOST_COMMANDS, host=WHICH, place=list(REACHED))
    def submit_until(self, host: int, place: str) -> None:
        """One more that has come so far."""
        self._go_on(self.site.submit(self.world.hosts[host], wait=place == "waits"), TO_ITS_END, REACHED[place])

    @rule(when=lambda self: len(self.commands) < MOST_COMMANDS, host=WHICH, cells=[CELLS, CELLS[:1]], until=BEGUN)
    def cancel(self, host: int, cells: list[Any], until: str = "-") -> None:
        self._begin(self.site.cancel(self.world.hosts[host], cells), until)

    @rule(when=lambda self: len(self.commands) < MOST_COMMANDS, host=WHICH, cells=[CELLS, CELLS[:1]], until=BEGUN)
    def redo(self, host: int, cells: list[Any], until: str = "-") -> None:
        self._begin(self.site.redo(self.world.hosts[host], cells), until)

    def _begin(self, command: Any, until: str) -> None:
        if until != "-":
            self._go_on(command, TO_ITS_END, until)

    @rule(when=lambda self: self.tasks)
    def train_all(self) -> None:
        """What runs comes to its end."""
        for process in self.tasks:
            self._go_on(process, TO_ITS_END)

    @rule(
        when=lambda self: any(not process.frozen for process in self.commands),
        which=WHICH,
        operations=[1, 5, 21, 89, 400, TO_ITS_END],
        until=PLACES,
    )
    def step(self, which: int, operations: int, until: str = "") -> None:
        """Let a command go on for so many operations, or until it is about to do something."""
        self._go_on(_chosen([process for process in self.commands if not process.frozen], which), operations, until)

    @rule(
        when=lambda self: any(not process.frozen for process in self.commands),
        which=WHICH,
        until=["", "", "", "sleep", "sbatch", "answered", "answered"],
    )
    def go_on(self, which: int, until: str) -> None:
        """Let a command go on to its end, to where it waits or queues, or to Slurm's next answer."""
        self.step(which, TO_ITS_END, until)

    @rule(when=lambda self: self.world.live or self._waiting())
    def all_go_on(self) -> None:
        """All that is not stopped: commands to Slurm's next answer, tasks to their next step; what is queued starts."""
        for process in self.commands:
            if not process.frozen:
                self._go_on(process, TO_AN_ANSWER, "answered")
        for one in self._waiting()[: MOST_TASKS - len(self.tasks)]:
            self.site.start_task(one)
        for process in self.tasks:
            self._go_on(process, TO_ITS_END, "step")

    @rule(when=lambda self: self.tasks, which=WHICH)
    def train_until_a_step(self, which: int) -> None:
        self._go_on(_chosen(self.tasks, which), TO_ITS_END, "step")

    @rule(when=lambda self: self.tasks, which=WHICH, operations=[1, 5, 21, 89, TO_ITS_END])
    def train(self, which: int, operations: int) -> None:
        self._go_on(_chosen(self.tasks, which), operations)

    def _go_on(self, process: Any, operations: int, until: str = "") -> None:
        process.step(operations, until)
        self.clusters.settle()

    @rule(when=lambda self: self.world.live, which=WHICH)
    def kill(self, which: int) -> None:
        _chosen(self.world.live, which).kill()
        self.clusters.settle()

    @rule(when=lambda self: self.commands, which=WHICH)
    def stop_or_continue(self, which: int) -> None:
        """SIGSTOP, or SIGCONT if it is stopped."""
        process = _chosen(self.commands, which)
        process.frozen = not process.frozen

    @rule(when=lambda self: 0 < len(self.commands) < MOST_COMMANDS, which=WHICH, host=WHICH)
    def stop_take_over_and_continue(self, which: int, host: int) -> None:
        """A command is stopped for as long as another one takes, which is told to take over."""
        stopped = _chosen(self.commands, which)
        stopped.frozen = True
        self.submit_without_a_break(host, take_over=True)
        stopped.frozen = False

    @rule(when=lambda self: self._waiting() or self.tasks)
    def the_nodes_die(self) -> None:
        """With all that they run, and all that they are given next."""
        for one in self._waiting():
            self.site.start_task(one)
        for process in self.tasks:
            process.kill()
        self.clusters.settle()

    @rule(host=WHICH)
    def reboot(self, host: int) -> None:
        place = self.world.hosts[host]
        for process in self.commands:
            if process.host is place:
                process.kill()
        place.boots += 1

    @rule(when=lambda self: self._waiting() and len(self.tasks) < MOST_TASKS, which=WHICH)
    def start(self, which: int) -> None:
        self.site.start_task(_chosen(self._waiting(), which))

    @rule(when=lambda self: self._waiting() and len(self.tasks) < MOST_TASKS, which=WHICH)
    def start_and_train(self, which: int) -> None:
        """A task that trains at once, until its first step."""
        self._go_on(self.site.start_task(_chosen(self._waiting(), which)), TO_ITS_END, "step")

    @rule(when=lambda self: self.tasks, which=WHICH)
    def preempt(self, which: int) -> None:
        _chosen(self.tasks, which).stopped = True

    @rule(when=lambda self: self._waiting() and len(self.tasks) < MOST_TASKS, which=WHICH, loaded=BOTH)
    def stop_again_and_again(self, which: int, loaded: bool) -> None:
        """A partition that is preempted before anything can be trained: that must come to an end.

        loaded: not before a state is restored, so that it is saved once more.
        """
        task = _chosen(self._waiting(), which)
        most = STOPS * len(self.site.cells_of(task)) + 1
        for _ in range(most):
            if task.process is None and task in self._waiting():
                process = self.site.start_task(task)
                if loaded:
                    process.step(TO_ITS_END, "begin")
                process.stopped = True
                self._go_on(process, TO_ITS_END)
        assert task not in self._waiting(), f"a task was stopped {most} times before it got anywhere, and is queued"

    @rule(when=lambda self: len(self.commands) < MOST_COMMANDS, host=WHICH, until=BEGUN)
    def correct(self, host: int, until: str = "-") -> None:
        """`holdfast submit` of the sweep with another configuration, for where all that began has failed."""
        self._begin(self.site.correct(self.world.hosts[host]), until)

    @rule(when=lambda self: self._waiting() and len(self.tasks) < MOST_TASKS, which=WHICH)
    def start_what_fails(self, which: int) -> None:
        """A task whose trainer fails."""
        process = self.site.start_task(_chosen(self._waiting(), which))
        process.fails = True
        self._go_on(process, TO_ITS_END)

    @rule(cell=CELLS)
    def foreign_result(self, cell: Any) -> None:
        """A result of another configuration comes to lie in a cell's place."""
        self.site.put_foreign_result(cell)

    @rule(when=lambda self: self._known_by_number(), which=WHICH)
    def rename(self, which: int) -> None:
        _chosen(self._known_by_number(), which).job.name = "renamed"
        self.world.tell("renamed")

    def _known_by_number(self) -> list[Task]:
        """Those of jobs whose number is on record: no other can be found under another name."""
        store, queued = self.site.store, self._queued()
        return [task for task in queued if str(task.job.number) in receipt(store, task.job.place[0]).values()]

    @rule(code=["edited", "toy"])
    def edit(self, code: str) -> None:
        """The trainer's file is edited, or put back."""
        self.site.code = code
        self.world.tell("edited")

    @rule(cluster=CLUSTER)
    def late(self, cluster: str) -> None:
        """sbatch fails from now on, although what it sends is accepted once it arrives; or no longer."""
        controller = self.clusters.controllers[cluster]
        controller.late = not controller.late

    @rule(cluster=CLUSTER)
    def arrive(self, cluster: str) -> None:
        self.site.arrive(self.clusters.controllers[cluster])

    @rule(cluster=CLUSTER)
    def silence(self, cluster: str) -> None:
        """A controller answers nothing any more, or answers again."""
        controller = self.clusters.controllers[cluster]
        controller.silent = not controller.silent
        self.world.tell("silent")

    @invariant()
    def what_must_hold(self) -> None:
        self.world.tick += 1
        self.site.check()


def _chosen(processes: list[Any], which: int) -> Any:
    return processes[which % len(processes)]


Submissions.TestCase.settings = settings(
    max_examples=25,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)
TestSubmissions = Submissions.TestCase
