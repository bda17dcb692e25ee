"""Nodes on which tasks fail before they train anything or lose their GPU, and do well elsewhere: to be left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from hpc.protocol import TaskExit
from hpc.storage import files
from hpc.storage.results import provenance_of
from hpc.storage.store import Store
from hpc.sweep.cell import Cell
from hpc.sweep.states import FAILED, FINAL, CellStatus

# One failure at the start may be anybody's; the second on the same node is the node's.
ENOUGH = 2


@dataclass(frozen=True)
class BadNodes:
    """Where to train no more.

    nodes: each with how many tasks failed there at the start or lost their GPU. cells: those that only failed there.
    """

    nodes: Mapping[str, int] = field(default_factory=dict)
    cells: frozenset[Cell] = frozenset()


def find(store: Store, statuses: Iterable[CellStatus]) -> BadNodes:
    """The nodes on which a sweep's tasks keep failing at the start, or keep losing their GPU.

    A node on which a cell has finished is no bad node: what fails there fails for another reason. Where nothing has
    finished anywhere, only failures before Python could start count: a broken trainer fails at the start everywhere.
    """
    known = list(statuses)
    marks = store.paths.failed_starts()
    lost = Counter(mark.node for mark in marks if mark.status == str(int(TaskExit.DEVICE)))
    # A node has nothing to do with a configuration or code that changed after the task was queued.
    others = {str(int(TaskExit.OUTDATED)), str(int(TaskExit.DEVICE))}
    starts = [mark for mark in marks if mark.status not in others]
    # Where no task of a submission began anywhere, it is the sweep, not a node, that something is wrong with.
    began = _submissions_that_began(store) if starts else set()
    early = Counter(start.node for start in starts if start.submission in began)
    loading: dict[Cell, str] = {}
    for status in known:
        if status.state == FAILED and status.attempts:
            failure = store.failure(status.cell, store.attempts(status.cell)[-1]) or {}
            if failure.get("at_start") and failure.get("node"):
                loading[status.cell] = str(failure["node"])
    if not early and not loading and not lost:
        return BadNodes()
    good = _nodes_with_results(store, known)
    counted = early + (Counter(loading.values()) if good else Counter())
    bad = {node: count for node, count in counted.items() if count >= ENOUGH and node not in good}
    bad |= _without_gpu(lost, good)
    return BadNodes(bad, frozenset(cell for cell, node in loading.items() if node in bad))


def _without_gpu(lost: Mapping[str, int], good: set[str]) -> dict[str, int]:
    """Nodes whose GPUs were lost again and again, also after they had done well; none where this happens everywhere.

    Then it is the trainer that breaks them, and leaving out every node would leave the sweep waiting for ever.
    """
    bad = {node: count for node, count in lost.items() if count >= ENOUGH}
    return bad if good.difference(bad) else {}


def _submissions_that_began(store: Store) -> set[int]:
    """Submissions of which a task got so far as to try a cell."""
    return {store.pack_record(pack).get("submission", 0) for pack in files.numbers(store.paths.packs_root)}


def _nodes_with_results(store: Store, statuses: Iterable[CellStatus]) -> set[str]:
    nodes = (provenance_of(store.result(s.cell)).get("node") for s in statuses if s.state in FINAL)
    return {str(node) for node in nodes if node}
