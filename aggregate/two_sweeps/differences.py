"""What differs in how two sweeps were made: configuration, levels and seeds, code, versions, numerics."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from aggregate.reading.sweep import Reading
from aggregate.wording import dotted, listed, value_text
from hpc.storage.results import provenance_of
from hpc.sweep.cell import Point
from hpc.sweep.grid import Grid

_NONE = "-"
_NAMED = 3


@dataclass(frozen=True)
class Difference:
    """A setting in dotted words, and what each of the two sweeps has there."""

    what: str
    first: str
    second: str


def differences(a: Reading, b: Reading) -> list[Difference]:
    """Everything that may change a number, and is not the same in both."""
    first, second = dict(_facts(a)), dict(_facts(b))
    names = [*first, *(name for name in second if name not in first)]
    pairs = ((name, first.get(name, _NONE), second.get(name, _NONE)) for name in names)
    return [*_designs(a.sweep.grid, b.sweep.grid), *(Difference(*found) for found in pairs if found[1] != found[2])]


def _designs(a: Grid, b: Grid) -> Iterator[Difference]:
    """That two designs have different conditions, where one of them is no full product: its levels say it all."""
    ours, theirs = ([point for _, point in grid.conditions()] for grid in (a, b))
    if (a.rules or b.rules) and set(ours) != set(theirs):
        yield Difference("conditions", _alone(a, ours, set(theirs)), _alone(b, theirs, set(ours)))


def _alone(grid: Grid, points: Sequence[Point], others: Set[Point]) -> str:
    """How many conditions a design has, and the first of those that the other one lacks."""
    found = [
        ", ".join(f"{name} {value_text(value)}" for name, value in point) for point in points if point not in others
    ]
    more = f"; and {len(found) - _NAMED:,} more" if len(found) > _NAMED else ""
    return grid.share + (f", alone here: {'; '.join(found[:_NAMED])}{more}" if found else "")


def _facts(reading: Reading) -> Iterator[tuple[str, str]]:
    sweep = reading.sweep
    for axis in sweep.grid.axes:
        yield f"levels of {axis.name}", listed([value_text(value) for value in axis.values])
    yield "seeds", listed([str(seed) for seed in sweep.grid.seeds])
    yield from _flat("", sweep.identity())
    yield from _flat("levels", sweep.bundles)
    yield from _flat("metrics", sweep.trainer.metrics)
    where: dict[str, dict[str, None]] = {}
    for record in reading.gathered.records:
        made = provenance_of(record.result)
        # The digest of the whole snapshot counts what lies beside the trainer, too, and decides nothing.
        code = "trainer_digest" if made.get("trainer_digest") else "code_digest"
        for key in (code, "versions", "device", "threads", "numerics"):
            for name, text in _flat(key, made.get(key)):
                where.setdefault(name, {})[text[:12] if key.endswith("digest") else text] = None
        for name, text in _flat("commit", _commits(made.get("git"))):
            where.setdefault(name, {})[text] = None
    # Of cells that were made in several ways, all of them.
    yield from ((name, listed(sorted(texts))) for name, texts in where.items())


def _commits(git: Any) -> dict[str, str]:
    """Of each repository, the commit and whether it was changed."""
    found = git.items() if isinstance(git, dict) else ()
    return {
        name: f"{str(state.get('commit', ''))[:12]}{', modified' if state.get('modified') else ''}"
        for name, state in found
        if isinstance(state, dict)
    }


def _flat(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """Nested plain data as dotted names and texts; nothing of what is not there."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(dotted(name, str(key)), inner)
    elif value is not None:
        yield name, value if isinstance(value, str) else json.dumps(value)
