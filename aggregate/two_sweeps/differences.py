"""What differs in how two sweeps were made: configuration, levels and seeds, code, versions, numerics."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from aggregate.reading.sweep import Reading
from aggregate.wording import listed, value_text
from hpc.storage.results import provenance_of

_NONE = "-"


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
    return [Difference(*found) for found in pairs if found[1] != found[2]]


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
        for key in ("code_digest", "trainer_digest", "versions", "device", "threads", "numerics"):
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
            yield from _flat(f"{name}.{key}" if name else str(key), inner)
    elif value is not None:
        yield name, value if isinstance(value, str) else json.dumps(value)
