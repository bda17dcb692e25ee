"""Submissions: the intent written before anything is queued, the receipt after it.

A submission's arrays carry unique job names (tokens). Whether a cell is queued is asked of Slurm by these names, so a
client that died at any point, or an sbatch that failed after it had queued, loses and doubles nothing.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from hpc.errors import SweepError
from hpc.paths import is_of, origin
from hpc.processes import host
from hpc.slurm.answers import Cluster
from hpc.storage import documents, files
from hpc.storage.claims import new_submission
from hpc.storage.store import Store
from hpc.storage.task_list import task_cells, task_line
from hpc.submission import known_confs
from hpc.sweep.cell import Cell

LOCAL, SLURM = "local", "slurm"


@dataclass(frozen=True)
class Intent:
    """What a submission was about to do, written before it did it.

    kind: local or slurm. tokens: job name of each array. conf: slurm.conf of the cluster, None for the default one.
    sizes: tasks per array. code: digest of the snapshot. host, at: labels for people; nothing is decided by them.

    The others are missing, and have their defaults, in intents of the first version. cluster, controller: as the
    cluster itself says. prepared: scripts were written for a person to submit. root, device, inode: the sweep directory
    that its tasks work in.

    unknown_conf: the slurm.conf that the file names, if it is none of the reader's own; then conf is None. Not written.
    """

    number: int
    kind: str
    profile: str
    tokens: tuple[str, ...]
    sizes: tuple[int, ...]
    conf: str | None
    code: str
    host: str
    at: float
    cluster: str = ""
    controller: str = ""
    prepared: bool = False
    root: str = ""
    device: int = 0
    inode: int = 0
    unknown_conf: str = ""


def is_copied(store: Store, intent: Intent) -> bool:
    """Whether a submission was made in another directory, of which this is a copy: its tasks work there."""
    return not is_of(store.root, asdict(intent))


def begin(
    store: Store,
    arrays: Sequence[Sequence[Sequence[Cell]]],
    *,
    kind: str,
    profile: str,
    name: str,
    code: str,
    conf: Path | None = None,
    cluster: Cluster | None = None,
    prepared: bool = False,
) -> Intent:
    """Make a submission's directory: task lists, then the intent. Nothing is queued yet. Raises OSError."""
    number = new_submission(store)
    wanted = store.sweep().config_digest  # a task ends at once if sweep.json says something else by then
    files.make_directory(store.paths.logs_directory(number))
    for i, tasks in enumerate(arrays):
        lines = "".join(task_line(cells, wanted) for cells in tasks)
        files.publish(store.paths.tasks_file(number, i), lines.encode())
    unique = uuid.uuid4().hex[:10]
    intent = Intent(
        number=number,
        kind=kind,
        profile=profile,
        tokens=tuple(f"{name}-{number}.{i}-{unique}" for i in range(len(arrays))),
        sizes=tuple(len(tasks) for tasks in arrays),
        conf=str(conf) if conf else None,
        code=code,
        host=host(),
        at=time.time(),
        cluster=cluster.name if cluster else "",
        controller=cluster.controller if cluster else "",
        prepared=prepared,
        **origin(store.root),
    )
    if conf:
        known_confs.remember(conf)
    record = {key: value for key, value in asdict(intent).items() if key != "unknown_conf"}
    files.publish(store.paths.intent_file(number), json.dumps(record, indent=1).encode())
    return intent


def write_receipt(store: Store, intent: Intent, job_ids: Sequence[str]) -> None:
    """Record the job ids of the arrays queued so far; labels for people."""
    record = [{"token": token, "job_id": job} for token, job in zip(intent.tokens, job_ids, strict=False)]
    files.publish(store.paths.receipt_file(intent.number), json.dumps({"arrays": record}, indent=1).encode())


def receipt(store: Store, submission: int) -> dict[str, str]:
    """Job id by token, of the arrays that sbatch has reported as queued; a label, since Slurm gives ids out again."""
    try:
        arrays = documents.read(store.paths.receipt_file(submission), documents.ReceiptDocument)["arrays"]
        return {array["token"]: array["job_id"] for array in arrays}
    except (FileNotFoundError, ValueError):
        return {}


def tasks_of(store: Store, intent: Intent) -> Iterator[tuple[int, int, tuple[str, ...]]]:
    """(array, index, names of the cells) of every task of a submission. Raises SweepError, OSError."""
    for array in range(len(intent.tokens)):
        for index, names in enumerate(task_cells(store.paths.tasks_file(intent.number, array))):
            yield array, index, names


def newest(store: Store) -> int:
    """The number of the newest submission or cancellation; 0 if there is none."""
    return max(files.numbers(store.paths.submissions_root), default=0)


def intents(store: Store) -> list[Intent]:
    """All submissions that got as far as an intent, oldest first. Raises SweepError for one that cannot be read."""
    found = []
    for number in sorted(files.numbers(store.paths.submissions_root)):
        path = store.paths.intent_file(number)
        try:
            intent = Intent(**documents.read(path, Intent))
            if intent.number != number:
                raise ValueError
            found.append(_with_known_conf(replace(intent, tokens=tuple(intent.tokens), sizes=tuple(intent.sizes))))
        except (FileNotFoundError, NotADirectoryError):
            continue  # it died before it could queue anything, or the number is that of a cancellation
        except (ValueError, TypeError):
            # Passing over it would make its tasks look absent, and queue their cells again.
            raise SweepError(
                f"{path}: cannot be read by this version of Holdfast; use the version that wrote it"
            ) from None
    return found


def _with_known_conf(intent: Intent) -> Intent:
    """Nothing of Slurm's is started with a slurm.conf that only a sweep directory names."""
    if intent.conf is None or known_confs.is_known(Path(intent.conf)):
        return replace(intent, unknown_conf="")
    return replace(intent, conf=None, unknown_conf=str(intent.conf))
