"""Turn runs from a server or from `.wandb` files into a sweep directory, which is then aggregated like any other.

Statistics, bands and figures thus come from the same code, whoever wrote the runs.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hpc import provenance
from hpc.errors import ConfigError
from hpc.files import atomic, directories
from hpc.storage.claims import new_attempt
from hpc.storage.revisions import write_sweep
from hpc.storage.store import Store
from hpc.sweep.states import CONFLICT, FAILED, FINAL
from hpc.units import first_few
from hpc.wandb.cells import SWEEP_KEY
from hpc.wandb.compare import same
from hpc.wandb.extract.outcomes import Entry, Extracted, mirrored_outcomes
from hpc.wandb.extract.predecessor import predecessor_outcomes
from hpc.wandb.helper import Helper
from hpc.wandb.offline_files import find_segments, join_segments, read_segment
from hpc.wandb.reader import places_on_server, runs_on_server
from hpc.wandb.runs import WandbRun

# Marks a sweep directory as an extraction, which a later extraction may replace.
_SOURCE = "wandb"
_MOST_PLACES = 6


@dataclass(frozen=True)
class Query:
    """Which runs to extract; an empty field matches any. tags: one of them suffices. config: all must be equal."""

    project: str
    group: str
    entity: str = ""
    tags: Sequence[str] = ()
    state: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)

    def filters(self) -> dict[str, Any]:
        """As wandb.Api().runs takes them: a mapping as in MongoDB, not a text."""
        parts: list[dict[str, Any]] = [{"group": self.group}]
        parts += [{"tags": {"$in": list(self.tags)}}] if self.tags else []
        parts += [{"state": self.state}] if self.state else []
        parts += [{f"config.{key}": value} for key, value in self.config.items()]
        return {"$and": parts}

    def fits(self, run: WandbRun) -> bool:
        """Whether a run from a file matches. Files may lack project and entity, which then match."""
        return (
            run.group == self.group
            and run.project in (self.project, "")
            and (not self.entity or run.entity in (self.entity, ""))
            and (not self.tags or bool(set(self.tags) & set(run.tags)))
            and self.state in ("", run.state)
            and all(same(value, run.config.get(key)) for key, value in self.config.items())
        )


def from_server(query: Query, *, idle: float) -> list[WandbRun]:
    """Matching runs with their complete histories. idle: seconds to wait for an answer.

    Raises WandbTroubleError, OSError, and ConfigError naming what is there if nothing matches.
    """
    with Helper(needs_key=True, idle=idle) as helper:
        matching = runs_on_server(helper, query.project, query.entity, query.filters())
        if not matching:
            entity, projects, groups = places_on_server(helper, query.project, query.entity)
            found = "; ".join(f"group {group or '(none)'}: {count} runs" for group, count in _most(Counter(groups)))
            there = f"project {query.project} of {entity} has {found}"
            if not groups:
                there = f"the projects {first_few(projects, _MOST_PLACES)}" if projects else "no project at all"
                there = f"{entity} has {there}"
            raise ConfigError([f"{_unmatched(query)}; {there}"])
    return matching


def from_files(query: Query, root: Path, say: Callable[[str], None]) -> list[WandbRun]:
    """Matching runs in the `.wandb` files below a directory. Damaged files are named and used up to the fault.

    Raises OSError, ImportError where wandb is not installed, and ConfigError naming what is there if nothing matches.
    """
    segments = [read_segment(path) for path in find_segments(root)]
    for segment in segments:
        if segment.fault:
            say(f"{segment.path}: {segment.fault}; the {len(segment.rows)} rows before that are used")
    runs = join_segments(segments)
    matching = [run for run in runs if query.fits(run)]
    if not matching:
        raise ConfigError([_nothing(query, runs, root)])
    return matching


def _nothing(query: Query, runs: Sequence[WandbRun], root: Path) -> str:
    """Why no run in files matches: what there is instead."""
    places = Counter((run.project or "(none)", run.group or "(none)") for run in runs)
    found = "; ".join(f"project {p}, group {g}: {count} runs" for (p, g), count in _most(places))
    return f"{_unmatched(query)}; {root} has " + (found or "no run at all")


def _unmatched(query: Query) -> str:
    return f"no run of group {query.group!r} in project {query.project!r} matches"


def _most(counts: Counter[Any]) -> list[tuple[Any, int]]:
    return counts.most_common(_MOST_PLACES)


def extract(runs: Sequence[WandbRun], query: Query, output: Path) -> list[str]:
    """Write raw and processed JSON and a sweep directory. Returns remarks, one line each.

    Raises ConfigError if the runs are not one sweep or the directory holds a sweep that was trained there, and OSError.
    """
    store = Store(output)
    _make_room(store)
    # A server lists runs by time, files by name: the documents must not depend on it.
    ordered = sorted(runs, key=lambda run: run.id)
    _write(store.paths.wandb_raw_file, [run.to_json() for run in ordered])
    mirrored = any(SWEEP_KEY in run.config for run in ordered)
    found = mirrored_outcomes(ordered) if mirrored else predecessor_outcomes(ordered, query.group)
    _write(store.paths.wandb_processed_file, list(_processed(found)))
    _fill(store, found, query)
    return [*found.remarks, *(f"{e.cell.name}: {e.cause}" for e in found.entries if e.state == CONFLICT)]


def _make_room(store: Store) -> None:
    """Remove an earlier extraction; a sweep that was trained is never touched. Raises ConfigError, SweepError."""
    if store.exists():
        if not store.is_extracted:
            raise ConfigError([f"{store.root}: holds a sweep that was run there; give another --output-dir"])
        # In this order: cells without sweep.json, which a kill in between would leave, are nobody's.
        directories.remove_tree(store.paths.results_root)
        atomic.remove(store.paths.sweep_file)
    directories.make_directory(store.root)


def _fill(store: Store, found: Extracted, query: Query) -> None:
    about = {"project": query.project, "group": query.group, "runs": len(found.entries)}
    write_sweep(store, found.sweep, {"versions": provenance.versions(), "git": None, _SOURCE: about})
    for entry in found.entries:
        directories.make_directory(store.paths.cell_directory(entry.cell))
        if entry.state in FINAL:
            atomic.publish(store.paths.history_file(entry.cell), entry.history)
            result = {**entry.result, "provenance": {_SOURCE: entry.run.source}}
            atomic.publish(store.paths.result_file(entry.cell), json.dumps(result, indent=1, allow_nan=False).encode())
        elif entry.state == CONFLICT:
            atomic.publish(store.paths.conflict_file(entry.cell), json.dumps({"cause": entry.cause}).encode())
        else:  # an attempt without a result: STARTED, or FAILED with its cause
            attempt = new_attempt(store, entry.cell)
            if entry.state == FAILED:
                failure = json.dumps({"cause": entry.cause}).encode()
                atomic.publish(store.paths.failure_file(entry.cell, attempt), failure)


def _processed(found: Extracted) -> Iterator[dict[str, Any]]:
    """One entry per cell that has a run, in the order of the grid."""
    by_cell: dict[Any, Entry] = {entry.cell: entry for entry in found.entries}
    for cell in found.sweep.grid:
        entry = by_cell.get(cell)
        if entry is not None:
            fields = {found.sweep.trainer.field_of(name): value for name, value in cell.point}
            yield {
                "cell": cell.name,
                "run": entry.run.source,
                "state": entry.state,
                "cause": entry.cause,
                **fields,
                "seed": cell.seed,
                "run_id": cell.run_id,
                "metrics": dict(entry.result.get("metrics", {})),
                "history": entry.history.decode().splitlines(),
            }


def _write(path: Path, entries: list[dict[str, Any]]) -> None:
    lines = ",\n".join(json.dumps(entry, allow_nan=False) for entry in entries)
    atomic.publish(path, f"[\n{lines}\n]\n".encode())
