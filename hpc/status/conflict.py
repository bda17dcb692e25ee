"""Two attempts at one cell that ended differently: what there is of both, and how to settle it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hpc.errors import SweepError
from hpc.storage import files
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


def conflict(store: Store, cell: Cell) -> Conflict | None:
    """The conflict of a cell, if it has one. Raises SweepError if its record cannot be read."""
    path = store.paths.conflict_file(cell)
    try:
        record = files.read_json(path)
        other, pack = dict(record["outcome"]), record.get("pack")
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        raise SweepError(f"{path}: cannot be read; look into both attempts before removing it") from None
    try:
        published = store.result(cell)
    except SweepError:
        published = None
    winner = (published or {}).get("provenance", {}).get("pack")
    return Conflict(published, winner, other, pack)


def explain(store: Store, cell: Cell) -> str:
    """What happened and how to settle it, for people; empty if the cell has no conflict."""
    found = conflict(store, cell)
    if found is None:
        return ""
    directory = store.paths.cell_directory(cell)
    lines = [
        "two attempts ended with different outcomes: the trainer is not deterministic, or its surroundings differed"
    ]
    for name in found.differing:
        values = [
            (side or {}).get("metrics", {}).get(name, (side or {}).get(name)) for side in (found.published, found.other)
        ]
        lines.append(
            f"  {name}: {values[0]} published (pack {found.published_pack}), {values[1]} (pack {found.other_pack})"
        )
    if not found.differing:
        lines.append("  metrics agree; history or weights differ")
    for label, pack in (("published", found.published_pack), ("other", found.other_pack)):
        if pack is not None:
            lines.append(f"  {label}: {store.paths.pack_directory(pack)}")
    lines += [
        "neither counts until you settle it:",
        f"  keep the published one:   rm {store.paths.conflict_file(cell)}",
        f"  train the cell afresh:    mv {directory} {store.root}/{cell.name}.conflict, then submit again",
    ]
    return "\n".join(lines)
