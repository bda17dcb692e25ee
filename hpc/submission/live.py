"""Which tasks of a sweep are in a queue now, on whatever cluster, and which cells they train.

Where a cluster does not answer, is not known here, or hides the jobs of others, its queue is not taken for empty: the
unfinished cells that were submitted to it count as queued, and are reported.

A job counts as one of the sweep by its name alone, a token that no other job has: a mistake here delays a cell, the
opposite one would train it twice. What is passed to scancel must also work in the sweep directory (LiveTask.ours),
since whoever wrote the files there may have put the name of any job into them.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hpc.errors import SweepError
from hpc.slurm.answers import Cluster, QueuedTask
from hpc.slurm.commands import Slurm, SlurmError
from hpc.storage import task_list
from hpc.storage.results import read_result
from hpc.storage.store import Store
from hpc.submission.intents import SLURM, Intent, intents, is_copied, newest, receipt, tasks_of


@dataclass(frozen=True)
class LiveTask:
    """A task of the sweep that Slurm has now, and its cells. conf: slurm.conf of the cluster that has it.

    void: it waits, but is not to train: it ends as soon as it starts. ours: it is seen to work in the sweep directory;
    no other task is cancelled.
    """

    queued: QueuedTask
    submission: int
    cells: tuple[str, ...]
    conf: Path | None = None
    void: bool = False
    ours: bool = True


@dataclass(frozen=True)
class Unasked:
    """A cluster that could not be asked. cells: unfinished ones that may be queued there. submissions: to it."""

    cluster: str
    why: str
    cells: frozenset[str]
    submissions: tuple[int, ...]

    def __str__(self) -> str:
        return f"{len(self.cells)} cells may be queued on {self.cluster}, which cannot be asked from here ({self.why})"


@dataclass(frozen=True)
class Queues:
    """What all clusters of a sweep say. tasks: in their queues, void ones included. tokens: of the arrays seen there.

    newest: number of the newest submission or cancellation before they were asked. elsewhere: directories that this one
    is a copy of, whose tasks are theirs alone.
    """

    tasks: tuple[LiveTask, ...] = ()
    tokens: frozenset[str] = frozenset()
    unasked: tuple[Unasked, ...] = ()
    newest: int = 0
    elsewhere: tuple[str, ...] = ()

    @property
    def live(self) -> list[LiveTask]:
        """Tasks that train, or will."""
        return [task for task in self.tasks if not task.void]

    @property
    def cells(self) -> set[str]:
        """Names of the cells that are, or may be, queued."""
        return set(live_cells(self.live)).union(*(cluster.cells for cluster in self.unasked))


def queues(store: Store, without: Collection[int] = ()) -> Queues:
    """Ask every cluster to which the sweep has been submitted. Raises SweepError, OSError.

    without: numbers of submissions to leave out, because their cluster has just not answered.
    """
    before = newest(store)
    every_known = [intent for intent in intents(store) if intent.kind == SLURM and intent.number not in without]
    copied = [intent for intent in every_known if is_copied(store, intent)]
    known = [intent for intent in every_known if intent not in copied]
    every = [token for intent in known for token in intent.tokens]
    tasks: list[LiveTask] = []
    tokens: set[str] = set()
    unasked: list[Unasked] = []
    for place, ours in _by_place(known).items():
        try:
            slurm = Slurm(place.reached())
            found = list(_tasks(store, slurm, ours, every))
            hidden = _hidden(store, slurm, ours)
        except SlurmError as error:
            unasked += _unasked(store, place, ours, str(error))
            continue
        unasked += _unasked(store, place, hidden, "PrivateData=jobs hides the jobs of its other users")
        tasks += [task for task, _ in found]
        tokens |= {token for _, token in found}
    elsewhere = tuple(dict.fromkeys(intent.root for intent in copied))
    return Queues(tuple(tasks), frozenset(tokens), tuple(unasked), before, elsewhere)


def _unasked(store: Store, place: _Place, silent: Sequence[Intent], why: str) -> list[Unasked]:
    """What may be queued of submissions to a cluster that says nothing of them: nothing, or one entry."""
    cells = _unfinished(store, silent)
    return [Unasked(str(place), why, cells, tuple(intent.number for intent in silent))] if cells else []


def _hidden(store: Store, slurm: Slurm, ours: Sequence[Intent]) -> list[Intent]:
    """Submissions of other members of a group, where a cluster shows jobs to their owners alone. Raises SlurmError."""
    others = [intent for intent in ours if os.stat(store.paths.intent_file(intent.number)).st_uid != os.getuid()]
    return others if others and slurm.hides_jobs() else []


def live_tasks(store: Store) -> list[LiveTask]:
    """Tasks of this sweep that Slurm has waiting or running. Raises SlurmError if a cluster cannot be asked."""
    found = queues(store)
    if found.unasked:
        raise SlurmError("; ".join(map(str, found.unasked)))
    return found.live


def by_cluster(tasks: Iterable[LiveTask]) -> dict[Path | None, list[LiveTask]]:
    """The tasks by the slurm.conf of the cluster that has them."""
    found: dict[Path | None, list[LiveTask]] = {}
    for task in tasks:
        found.setdefault(task.conf, []).append(task)
    return found


def live_cells(tasks: Sequence[LiveTask]) -> dict[str, LiveTask]:
    """The live task of each cell that has one, running ones first."""
    order = sorted(tasks, key=lambda task: task.queued.waiting)
    found: dict[str, LiveTask] = {}
    for task in order:
        for cell in task.cells:
            found.setdefault(cell, task)
    return found


# --- where a cluster is ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Place:
    """A cluster as intents name it. conf: None for a machine's own. cluster: None in intents of the first version.

    unknown_conf: see Intent; the cluster may still be the machine's own.
    """

    conf: Path | None
    cluster: Cluster | None
    unknown_conf: str = ""

    def __str__(self) -> str:
        named = self.conf or self.unknown_conf or "this machine"
        return f"cluster {self.cluster}" if self.cluster else f"the cluster of {named}"

    def reached(self) -> Path | None:
        """The slurm.conf through which the cluster, and no other one, answers. Raises SlurmError."""
        way_out = (
            "only this sweep directory names its slurm.conf, which is none of yours; "
            f"if you trust it, export SLURM_CONF={shlex.quote(self.unknown_conf)}"
        )
        if self.cluster is None:
            if self.unknown_conf:
                raise SlurmError(way_out)
            return self.conf
        faults = []
        for conf in dict.fromkeys((self.conf, None)):  # the place may be known here by another path, or by none
            try:
                answers = Slurm(conf).cluster()
            except SlurmError as error:
                faults.append(str(error))
                continue
            if self.is_that(answers, conf):
                return conf
            faults.append(f"{conf or 'this machine'} belongs to cluster {answers}")
        raise SlurmError(f"{faults[0]}; {way_out}" if self.unknown_conf else faults[0])

    def is_that(self, other: Cluster, conf: Path | None) -> bool:
        """Whether the one that answered is meant: the same controller, or its successor at the same path."""
        if self.cluster is None or other.name != self.cluster.name:
            return False
        hosts = [cluster.controller.rpartition(":")[0] for cluster in (other, self.cluster)]
        # A sandbox that is started again has other ports; its slurm.conf is its own.
        moved = conf is not None and conf == self.conf and hosts[0] == hosts[1]
        return moved or other.controller == self.cluster.controller


def _by_place(found: Iterable[Intent]) -> dict[_Place, list[Intent]]:
    places: dict[_Place, list[Intent]] = {}
    for intent in found:
        cluster = Cluster(intent.cluster, intent.controller) if intent.cluster else None
        conf = Path(intent.conf) if intent.conf else None
        places.setdefault(_Place(conf, cluster, intent.unknown_conf), []).append(intent)
    return places


def submitted_elsewhere(store: Store, conf: Path | None) -> set[int]:
    """Numbers of the submissions to other clusters than the one of this slurm.conf, and of those to none.

    Of one whose cluster is not on record, nothing is known. Raises SweepError, SlurmError.
    """
    here, every = Slurm(conf).cluster(), intents(store)
    places = _by_place(intent for intent in every if intent.kind == SLURM)
    away = [ours for place, ours in places.items() if place.cluster is not None and not place.is_that(here, conf)]
    local = [intent for intent in every if intent.kind != SLURM]
    return {intent.number for ours in (*away, local) for intent in ours}


# --- what it has of ours --------------------------------------------------------------------------------------------


def _tasks(store: Store, slurm: Slurm, ours: Sequence[Intent], every: Sequence[str]) -> Iterator[tuple[LiveTask, str]]:
    """Tasks of these submissions in a cluster's queue, each with the token of its array. Raises SlurmError.

    every: tokens of all submissions of the sweep.
    """
    places = {token: (intent, array) for intent in ours for array, token in enumerate(intent.tokens)}
    lists: dict[str, list[tuple[str, ...]]] = {}
    void = {intent.number: task_list.declared_voids(store.paths, intent.number) for intent in ours}
    for task, is_ours in _queued(store, slurm, places, every):
        intent, array = places[task.name]
        if task.name not in lists:
            lists[task.name] = task_list.task_cells(store.paths.tasks_file(intent.number, array))
        if task.index is not None and task.index < len(lists[task.name]):
            is_void = task.waiting and any(v.covers(array, task.index) for v in void[intent.number])
            cells = lists[task.name][task.index]
            yield LiveTask(task, intent.number, cells, slurm.conf, is_void, is_ours), task.name


def _queued(
    store: Store, slurm: Slurm, places: dict[str, tuple[Intent, int]], every: Sequence[str]
) -> Iterator[tuple[QueuedTask, bool]]:
    """Tasks by their job's name or, where that was changed, by its id and directory; under our name in any case.

    Each with whether it is seen to work in the sweep directory.
    """
    found = slurm.queue(every)
    by_number = {intent.number: intent for intent, _ in places.values()}
    reported = {token: job for number in by_number for token, job in receipt(store, number).items() if token in places}
    seen = {task.name for task in found}
    ids = {task.job_id for task in found}  # given out again, perhaps, to a later submission of the same sweep
    renamed = {job: token for token, job in reported.items() if token not in seen and job not in ids}
    numbered = [task for task in slurm.numbered(sorted(renamed)) if task.job_id in renamed]
    # Where its submission says that it works: another machine's name for this directory, whatever has that name here.
    counted = {intent.root for intent in by_number.values() if intent.root}
    counted |= _here(store.root, {task.directory for task in numbered})
    found = [task for task in found if task.name in places]
    found += [replace(task, name=renamed[task.job_id]) for task in numbered if task.directory in counted]
    own = {intent.root for intent in by_number.values() if _is_own(store, intent)}
    here = _here(store.root, {task.directory for task in found}, own)
    yield from ((task, task.directory in here) for task in found)


def _here(root: Path, directories: Iterable[str], told: Collection[str] = ()) -> set[str]:
    """Those of some jobs' work directories that are the sweep directory, by whatever path.

    told: where submissions say that it was. This is believed of what cannot be examined: it may have been moved since,
    or be out of this user's reach, or of this machine's.
    """
    return {directory for directory in directories if _is_here(root, directory, told)}


def _is_here(root: Path, directory: str, told: Collection[str]) -> bool:
    try:
        return os.path.samefile(directory, root)
    except (OSError, ValueError):
        return directory != "" and directory in told


def _is_own(store: Store, intent: Intent) -> bool:
    """Whether this user submitted it, in this very directory as far as this machine can tell."""
    about = os.stat(store.paths.intent_file(intent.number))
    return (about.st_uid, about.st_dev) == (os.getuid(), intent.device)


def _unfinished(store: Store, ours: Sequence[Intent]) -> frozenset[str]:
    """Cells without a result that counts, which tasks of these submissions may still train."""
    found: set[str] = set()
    for intent in ours:
        known = task_list.declared_voids(store.paths, intent.number)
        for array, index, cells in tasks_of(store, intent):
            if not any(void.covers(array, index) for void in known):
                found.update(cells)
    digest = store.sweep().config_digest if found else ""
    return frozenset(name for name in found if not has_ended(store, name, digest))


def has_ended(store: Store, name: str, config_digest: str) -> bool:
    """Whether a cell's result counts. With one that is damaged, or another sweep's, the cell is trained again."""
    if not store.has_result(name):
        return False
    try:
        return bool(read_result(store.paths.result_path(name))["config_digest"] == config_digest)
    except (SweepError, FileNotFoundError):
        return False
