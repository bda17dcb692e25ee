"""A W&B run as plain data, the same from a server, from a `.wandb` file and from a cell's published files."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

STEP, EPOCH = "_step", "epoch"
FINISHED, FAILED, CRASHED, RUNNING = "finished", "failed", "crashed", "running"
# Key of a run's summary that says how its cell ended; metrics stand beside it under their own names.
OUTCOME = "holdfast"


@dataclass(frozen=True)
class WandbRun:
    """One run.

    state: as a server shows it. config: without W&B's own entries. summary: as W&B has it.
    rows: one mapping per step, in the order of steps, each with `_step`. source: where it was read, for people.
    """

    id: str
    name: str
    project: str
    entity: str
    group: str
    state: str
    job_type: str = ""
    tags: tuple[str, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    summary: Mapping[str, Any] = field(default_factory=dict)
    rows: tuple[Mapping[str, Any], ...] = ()
    source: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, with null for numbers that are not finite."""
        found: dict[str, Any] = finite(asdict(self))
        return found

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> WandbRun:
        """What to_json gave. Raises TypeError for a field that does not exist."""
        return cls(**{**data, "tags": tuple(data["tags"]), "rows": tuple(data["rows"])})


def one_row_a_step(rows: Iterable[Mapping[str, Any]]) -> tuple[Mapping[str, Any], ...]:
    """Rows in the order of steps, the last one of each step.

    Attempts of one run that were synced one after another repeat steps, and the newest attempt is the one that counts.
    """
    found: dict[int, Mapping[str, Any]] = {}
    for row in rows:
        if is_count(row.get(STEP)):
            found[int(row[STEP])] = row
    return tuple(found[step] for step in sorted(found))


def is_count(value: object) -> bool:
    """Whether a value counts something: 0, 1, 2, ..., also as a float."""
    return is_number(value) and float(value).is_integer() and value >= 0  # type: ignore[arg-type, operator]


def is_number(value: object) -> bool:
    """Whether a value is a finite number, as a metric must be."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:  # JSON has whole numbers of any size, and a float has not
        return math.isfinite(value)
    except OverflowError:
        return False


def finite(value: Any) -> Any:
    """Plain data with null for NaN and infinities, which W&B also writes as words. Tuples become lists."""
    if isinstance(value, Mapping):
        return {key: finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [finite(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return None if isinstance(value, str) and value in ("NaN", "Infinity", "-Infinity") else value
