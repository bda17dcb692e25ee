"""Tasks that are not to train any more, whenever they start: cancelled, or of a submission that another one replaced.

Whether sbatch has queued an array cannot always be found out: a request may reach slurmctld after sbatch has given up,
and a prepared script may be submitted at any time, or twice. So whoever queues the cells again first declares void, in
the directory of the old submission, what he could not find in the queue. A task looks there when it starts.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from hpc.storage import files
from hpc.storage.layout import Layout


@dataclass(frozen=True)
class Void:
    """Tasks of an array that are not to train. why: for people, the rest of a sentence. tasks: None for all of them."""

    array: int
    why: str
    tasks: frozenset[int] | None = None

    def covers(self, array: int, index: int) -> bool:
        return self.array == array and (self.tasks is None or index in self.tasks)


def declare(layout: Layout, submission: int, array: int, why: str, tasks: Collection[int] | None = None) -> None:
    """Declare tasks of an array void, for good. tasks: indices; None: all of them. Raises OSError."""
    record = {"why": why, "tasks": None if tasks is None else sorted(tasks)}
    files.publish_once(layout.void_file(submission, array, uuid.uuid4().hex[:10]), json.dumps(record).encode())


def declared(layout: Layout, submission: int) -> list[Void]:
    """What has been declared void of a submission. A file that cannot be read counts for its whole array."""
    return [_void(array, content) for array, content in _contents(layout, submission)]


def reason(layout: Layout, submission: int, array: int, index: int) -> str:
    """Why a task is not to train; empty if it is to. Raises OSError."""
    return next((void.why for void in declared(layout, submission) if void.covers(array, index)), "")


def is_whole(voids: Iterable[Void], array: int) -> bool:
    """Whether all tasks of an array are void."""
    return any(void.array == array and void.tasks is None for void in voids)


def _contents(layout: Layout, submission: int) -> Iterable[tuple[int, object]]:
    for array, path in layout.void_files(submission):
        try:
            yield array, files.read_json(path)
        except ValueError:
            yield array, None


def _void(array: int, content: object) -> Void:
    record = content if isinstance(content, dict) else {}
    tasks = record.get("tasks")
    return Void(array, str(record.get("why", "it was declared void")), None if tasks is None else frozenset(tasks))
