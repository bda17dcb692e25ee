"""What a new submission does to earlier ones that had the same cells and are in no queue: it declares them void."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from hpc.storage import task_list
from hpc.storage.store import Store
from hpc.submission.intents import Intent, intents
from hpc.submission.live import Queues, Unasked
from hpc.sweep.cell import Cell


def replace_unconfirmed(store: Store, new: Intent, tasks: Iterable[Sequence[Cell]], seen: Queues) -> None:
    """Declare void every earlier array with a cell of the new submission that was seen in no queue.

    Its tasks are over, or were never queued; or they come later: sbatch timed out but slurmctld got the request, a
    person submits a prepared script, a stopped process is continued. Called with the lock, before anything is queued.
    Arrays that may be in the queue of a cluster which could not be asked are left alone. Raises OSError.
    """
    planned = {cell.name for task in tasks for cell in task}
    for intent in intents(store):
        if intent.number >= new.number or any(intent.number in cluster.submissions for cluster in seen.unasked):
            continue
        known = task_list.declared_voids(store.paths, intent.number)
        for array, token in enumerate(intent.tokens):
            if (
                token not in seen.tokens
                and not task_list.all_void(known, array)
                and _has(store, intent, array, planned)
            ):
                why = f"submission {new.number} has queued its cells again"
                task_list.declare_void(store.paths, intent.number, array, why)


def give_up(store: Store, clusters: Iterable[Unasked], by: str) -> None:
    """Declare void all tasks that may be queued on clusters which cannot be asked, and are given up. Raises OSError."""
    for cluster in clusters:
        for intent in intents(store):
            if intent.number in cluster.submissions:
                for array in range(len(intent.tokens)):
                    task_list.declare_void(store.paths, intent.number, array, f"{by} has given up {cluster.cluster}")


def _has(store: Store, intent: Intent, array: int, planned: Collection[str]) -> bool:
    tasks = task_list.task_cells(store.paths.tasks_file(intent.number, array))
    return any(name in planned for cells in tasks for name in cells)
