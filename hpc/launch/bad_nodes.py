"""Nodes to leave out: tasks fail there at the start, lose their GPU or lack what they need, and do well elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from hpc.files import directories
from hpc.protocol import TaskExit
from hpc.storage.results import provenance_of
from hpc.storage.store import Store
from hpc.sweep.cell import Cell
from hpc.sweep.states import FAILED, FINAL, CellStatus

# One failure at the start may be anybody's; the second on the same node is the node's.
ENOUGH = 2
# In a task that did begin: it lost its GPU, or its trainer said what the node lacks.
_IN_TRAINING = {str(int(TaskExit.DEVICE)), str(int(TaskExit.UNFIT))}
# A node has nothing to do with a configuration or code that changed after the task was queued.
_OTHERS = {str(int(TaskExit.OUTDATED)), *_IN_TRAINING}
# Where nothing can be written, not even the status can.
_NO_FILES = {str(int(TaskExit.STORAGE)), ""}


@dataclass(frozen=True)
class BadNodes:
    """Where to train no more.

    nodes: each with how many tasks failed there at the start, lost their GPU or lacked what they need. cells: those
    that only failed there.
    """

    nodes: Mapping[str, int] = field(default_factory=dict)
    cells: frozenset[Cell] = frozenset()

    def among(self, names: Collection[str]) -> BadNodes:
        """The same without nodes that are not among these."""
        return replace(self, nodes={node: count for node, count in self.nodes.items() if node in names})


def find(
    store: Store, statuses: Iterable[CellStatus], elsewhere: Callable[[], Collection[int]] = frozenset[int]
) -> BadNodes:
    """The nodes on which a sweep's tasks keep failing at the start, losing their GPU or lacking what they need.

    elsewhere: says which submissions were made to other clusters than the one that is asked about; the nodes of those
    are judged apart, for their cells, and not returned.

    A node on which a cell has finished is no bad node: what fails there fails for another reason. Where nothing has
    finished anywhere, only failures before Python could start count: a broken trainer fails at the start everywhere,
    and files that cannot be read or written are mostly out of every node's reach.
    """
    known = list(statuses)
    marks = [_Task(mark.submission, mark.node, mark.status) for mark in store.paths.failed_starts()]
    # Where no task of a submission began anywhere, it is the sweep, not a node, that something is wrong with.
    began = _begun(store) if marks else []
    some_began = {task.submission for task in began}
    lost = [mark for mark in marks if mark.status in _IN_TRAINING]
    early = [mark for mark in marks if mark.status not in _OTHERS and mark.submission in some_began]
    loading = list(_failed_loading(store, known))
    if not early and not loading and not lost:
        return BadNodes()
    evidence, others = _Evidence(lost, early, loading, began, _finished(store, known)), set(elsewhere())
    here, away = (evidence.of(others, inside) for inside in (False, True))
    return BadNodes(here.bad(), here.cells() | away.cells())


class _Task(NamedTuple):
    """A task on a node. status: with which it ended before it tried a cell. cell: that failed there at the start."""

    submission: int
    node: str
    status: str = ""
    cell: Cell | None = None


@dataclass(frozen=True)
class _Evidence:
    """What became of tasks, on the nodes of one cluster or of several.

    lost: that lost their GPU or lacked what they need. early: that ended before they tried a cell. loading: in which a
    cell failed at the start. began: that tried one. finished: in which one has finished.
    """

    lost: Sequence[_Task]
    early: Sequence[_Task]
    loading: Sequence[_Task]
    began: Sequence[_Task]
    finished: Sequence[_Task]

    def of(self, submissions: Collection[int], inside: bool) -> _Evidence:
        """That of these submissions alone, or of all but these."""
        parts = (self.lost, self.early, self.loading, self.began, self.finished)
        return _Evidence(*([one for one in part if (one.submission in submissions) == inside] for part in parts))

    def bad(self) -> dict[str, int]:
        """Nodes to leave out, each with how many tasks failed there."""
        good = {task.node for task in self.finished}
        counted = Counter(mark.node for mark in self.early if mark.status not in _NO_FILES)
        counted += Counter(task.node for task in self.loading) if good else Counter()
        bad = _unless_everywhere(counted, good.union(task.node for task in self.began))
        bad |= _unless_everywhere(self._without_files(), good)
        lost = Counter(mark.node for mark in self.lost)
        return {node: count for node, count in bad.items() if node not in good} | _unless_everywhere(lost, good)

    def cells(self) -> frozenset[Cell]:
        """Those that only failed on bad nodes."""
        bad = self.bad()
        return frozenset(task.cell for task in self.loading if task.cell is not None and task.node in bad)

    def _without_files(self) -> Counter[str]:
        """Tasks that could not read or write the sweep, by node, since the newest submission that got on.

        A quota that was full and a file server that was down concern every node, for a while.
        """
        newest = max((task.submission for task in self.finished), default=0)
        return Counter(mark.node for mark in self.early if mark.status in _NO_FILES and mark.submission >= newest)


def _unless_everywhere(failed: Mapping[str, int], well: Collection[str]) -> dict[str, int]:
    """Nodes on which tasks failed again and again; none where this happens on all nodes that ever did well.

    Then it is the trainer or the file server, and leaving out every node would leave the sweep waiting for ever.
    """
    bad = {node: count for node, count in failed.items() if count >= ENOUGH}
    return bad if set(well).difference(bad) else {}


def _failed_loading(store: Store, statuses: Iterable[CellStatus]) -> Iterator[_Task]:
    """Cells that failed at the start, and where."""
    for status in statuses:
        for newest in store.counting_attempts(status.cell)[-1:] if status.state == FAILED else ():
            failure = store.failure(status.cell, newest) or {}
            if failure.get("at_start") and failure.get("node"):
                yield _Task(int(failure.get("submission", 0)), str(failure["node"]), cell=status.cell)


def _begun(store: Store) -> list[_Task]:
    """Tasks that got so far as to try a cell."""
    records = map(store.pack_record, directories.numbers(store.paths.packs_root))
    return [_Task(record.get("submission", 0), str(record.get("node", ""))) for record in records]


def _finished(store: Store, statuses: Iterable[CellStatus]) -> list[_Task]:
    """Tasks in which a cell has finished."""
    found = (provenance_of(store.result(status.cell)) for status in statuses if status.state in FINAL)
    return [_Task(int(one.get("submission", 0)), str(one["node"])) for one in found if one.get("node")]
