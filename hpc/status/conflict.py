"""Attempts at one cell that ended differently: what there is of each, and how to settle it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpc.errors import SweepError
from hpc.files import limits
from hpc.storage import documents
from hpc.storage.results import provenance_of
from hpc.storage.store import Store
from hpc.sweep.cell import Cell


@dataclass(frozen=True)
class Conflict:
    """The published outcome and the other one, as results.json has them, each with its pack attempt.

    published: None if results.json cannot be read.
    """

    published: dict[str, Any] | None
    published_pack: int | None
    other: dict[str, Any]
    other_pack: int | None

    @property
    def differing(self) -> list[str]:
        """Names of what differs: metrics, or fields. Where none does, history or weights differ."""
        ours, theirs = self.published or {}, self.other
        metrics = [ours.get("metrics", {}), theirs.get("metrics", {})]
        names = [name for name in metrics[1] if metrics[0].get(name) != metrics[1][name]]
        fields = ("status", "epochs", "best_epoch", "config_digest")
        return names + [name for name in fields if ours.get(name) != theirs.get(name)]


def conflicts(store: Store, cell: Cell) -> list[Conflict]:
    """The published outcome of a cell with each other one it has. Raises SweepError if a record cannot be read.

    Without those for which there was no room: of these there is an empty file alone.
    """
    published, winner = _published(store, cell)
    unwritten = _unwritten(store, cell)
    paths = (path for path in store.paths.conflict_files(cell) if path not in unwritten)
    return [Conflict(published, winner, *_record(path)) for path in paths]


def _published(store: Store, cell: Cell) -> tuple[dict[str, Any] | None, int | None]:
    """The published outcome and its pack attempt; None if it cannot be read."""
    try:
        found = store.result(cell)
    except SweepError:
        found = None
    return found, provenance_of(found).get("pack")


def _unwritten(store: Store, cell: Cell) -> list[Path]:
    """Records of other outcomes that are empty, since there was no room for them."""
    return [path for path in store.paths.conflict_files(cell) if path.stat().st_size == 0]


def _record(path: Path) -> tuple[dict[str, Any], int | None]:
    try:
        record = documents.read(path, documents.ConflictDocument, limits.RESULT)
        return dict(record["outcome"]), record.get("pack")
    except ValueError:
        raise SweepError(f"{path}: cannot be read; look into all attempts before removing it") from None


def explain(store: Store, cell: Cell) -> str:
    """What happened and how to settle it, for people; empty if the cell has no conflict."""
    found, unwritten = conflicts(store, cell), _unwritten(store, cell)
    others = len(found) + len(unwritten)
    if not others:
        return ""
    directory = store.paths.cell_directory(cell)
    number = {1: "two", 2: "three"}.get(others, str(others + 1))
    lines = [
        f"{number} attempts ended with different outcomes: the trainer is not deterministic, or its surroundings "
        "differed"
    ]
    lines += [line for entry in found for line in _differences(entry)]
    lines += [f"  {path.name}: there was no room for another outcome; see its task's log" for path in unwritten]
    labelled = [("published", _published(store, cell)[1]), *(("other", entry.other_pack) for entry in found)]
    lines += [f"  {label}: {store.paths.pack_directory(pack)}" for label, pack in labelled if pack is not None]
    records = shlex.join(map(str, store.paths.conflict_files(cell)))
    moving = shlex.join(map(str, (directory, store.root / f"{cell.name}.conflict")))
    lines += [
        "none counts until you settle it:",
        f"  keep the published one:   rm {records}",
        f"  train the cell afresh:    mv {moving}, then submit again",
    ]
    return "\n".join(lines)


def _differences(found: Conflict) -> list[str]:
    lines = []
    for name in found.differing:
        sides = (found.published or {}, found.other)
        here, there = (side.get("metrics", {}).get(name, side.get(name)) for side in sides)
        lines.append(f"  {name}: {here} published (pack {found.published_pack}), {there} (pack {found.other_pack})")
    return lines or ["  metrics agree; history or weights differ"]
