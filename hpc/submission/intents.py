"""Submissions: the intent written before anything is queued, the receipt after it.

A submission's arrays carry unique job names (tokens). Whether a cell is queued is asked of Slurm by these names, so a
client that died at any point, or an sbatch that failed after it had queued, loses and doubles nothing.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from hpc.errors import SweepError
from hpc.files import atomic, directories
from hpc.paths import is_of, origin
from hpc.processes import host
from hpc.slurm.answers import Cluster
from hpc.storage import documents
from hpc.storage.claims import new_submission
from hpc.storage.permissions import owner_of
from hpc.storage.store import Store
from hpc.storage.task_list import task_cells, task_line
from hpc.submission import known_confs
from hpc.sweep.cell import Cell

LOCAL, SLURM = "local", "slurm"
_MOST_ARRAYS = Meta(max_length=100_000)  # of a submission: each asks Slurm for a job of its own


@dataclass(frozen=True)
class Intent:
    """What a submission was about to do, written before it did it.

    kind: local or slurm. tokens: job name of each array. conf: slurm.conf of the cluster, None for the default one.
    sizes: tasks per array. code: digest of the snapshot. host, at: labels for people; nothing is decided by them.

    The others are missing, and have their defaults, in intents of the first version. cluster, controller: as the
    cluster itself says. prepared: scripts were written for a person to submit. root, device, inode: the sweep directory
    that its tasks work in. requested: of each array, what its tasks ask of Slurm, by keys of a profile. escalated: what
    cells were given, by name, since attempts at them had run out of it. signal_delay_s: as in the profile.

    unknown_conf: the slurm.conf that the file names, if it is none of the reader's own; then conf is None. Not written.
    """

    number: int
    kind: str
    profile: str
    tokens: Annotated[tuple[documents.Name, ...], _MOST_ARRAYS]
    sizes: Annotated[tuple[documents.Count, ...], _MOST_ARRAYS]
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
    requested: Annotated[tuple[dict[str, str | documents.Amount], ...], _MOST_ARRAYS] = ()
    escalated: dict[str, dict[documents.Raised, documents.Amount]] = field(default_factory=dict)
    signal_delay_s: documents.Count = 0
    unknown_conf: str = ""


def is_copied(store: Store, intent: Intent) -> bool:
    """Whether a submission was made in another directory, of which this is a copy: its tasks work there."""
    return not is_of(store.root, vars(intent))


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
    requested: Sequence[Mapping[str, Any]] = (),
    escalated: Mapping[str, Mapping[str, Any]] | None = None,
    signal_delay_s: int = 0,
) -> Intent:
    """Make a submission's directory: task lists, then the intent. Nothing is queued yet. Raises OSError.

    requested, escalated, signal_delay_s: see Intent.
    """
    number = new_submission(store, [cell for tasks in arrays for cells in tasks for cell in cells])
    wanted = store.sweep()  # a task ends at once if sweep.json says something else by then
    directories.make_directory(store.paths.logs_directory(number))
    for i, tasks in enumerate(arrays):
        lines = "".join(task_line(cells, wanted) for cells in tasks)
        atomic.publish(store.paths.tasks_file(number, i), lines.encode())
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
        requested=tuple(map(dict, requested)),
        escalated={name: dict(amounts) for name, amounts in (escalated or {}).items()},
        signal_delay_s=signal_delay_s,
        **origin(store.root),
    )
    if conf:
        known_confs.remember(conf)
    record = {key: value for key, value in asdict(intent).items() if key != "unknown_conf"}
    atomic.publish(store.paths.intent_file(number), json.dumps(record, indent=1).encode())
    return intent


def write_receipt(store: Store, intent: Intent, job_ids: Sequence[str]) -> None:
    """Record the job ids of the arrays queued so far; labels for people."""
    record = [{"token": token, "job_id": job} for token, job in zip(intent.tokens, job_ids, strict=False)]
    atomic.publish(store.paths.receipt_file(intent.number), json.dumps({"arrays": record}, indent=1).encode())


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
    return max(directories.numbers(store.paths.submissions_root), default=0)


def intents(store: Store) -> list[Intent]:
    """All submissions that got as far as an intent, oldest first. Raises SweepError for one that cannot be read."""
    found = []
    for number in sorted(directories.numbers(store.paths.submissions_root)):
        path = store.paths.intent_file(number)
        try:
            intent = Intent(**documents.read(path, Intent))
            if intent.number != number:
                raise ValueError
            intent = replace(intent, tokens=tuple(intent.tokens), sizes=tuple(intent.sizes))
            found.append(_with_known_conf(replace(intent, requested=tuple(intent.requested))))
        except (FileNotFoundError, NotADirectoryError):
            continue  # it died before it could queue anything, or the number is that of a cancellation
        except (ValueError, TypeError):
            # Passing over it would make its tasks look absent, and queue their cells again.
            raise SweepError(
                f"{path}: cannot be read by this version of Holdfast; use the version that wrote it"
            ) from None
    return found


def raised_before(store: Store, *, by_others: bool) -> dict[str, dict[str, int | float]]:
    """What cells were given last, by name, since attempts at them had run out of it. Raises SweepError, OSError.

    by_others: with what other users' submissions gave, which is to be shown and not to be asked for in this one's name.
    """
    found: dict[str, dict[str, int | float]] = {}
    for intent in intents(store):
        if by_others or not owner_of(store.paths.intent_file(intent.number)):
            for name, amounts in intent.escalated.items():
                found[name] = found.get(name, {}) | amounts
    return found


def _with_known_conf(intent: Intent) -> Intent:
    """Nothing of Slurm's is started with a slurm.conf that only a sweep directory names."""
    if intent.conf is None or known_confs.is_known(Path(intent.conf)):
        return replace(intent, unknown_conf="")
    return replace(intent, conf=None, unknown_conf=str(intent.conf))
