"""sweep.json: which sweep a directory may hold, and the revisions that grow it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hpc.errors import SweepError, one_line
from hpc.files import atomic, directories
from hpc.files.limits import MOST_CELLS, too_many
from hpc.storage import documents
from hpc.storage.layout import by_number, is_conflict
from hpc.storage.store import Store
from hpc.sweep.definition import Sweep
from hpc.sweep.grid import Grid

# What stood as cause in failure.json before it said `given_up`, too: hpc.node.giving_up.Futile.cause.
_GIVEN_UP = re.compile(r"(ended \d+ times without progress|was stopped \d+ times in a row)\b")


def write_sweep(
    store: Store, sweep: Sweep, provenance: Mapping[str, Any], check: Callable[[], None] = lambda: None
) -> Sweep:
    """Record a sweep, or a revision that grows it; the same again changes nothing.

    check: called right before the file is replaced, which what it raises prevents. Where several commands may come to
    write here, it asks whether the lock is still this one's.
    Returns the sweep as it now stands. Raises SweepError as admit() does, OSError.
    """
    revisions: list[dict[str, Any]] = store.manifest()["revisions"] if store.exists() else []
    sweep = admit(store, sweep)
    if revisions:
        before = revisions[-1].get("provenance", {}).get("trainer_digest")
        same_code = before in (None, provenance.get("trainer_digest"))
        same_plan = sweep.to_json() == store.sweep().to_json() or revisions[-1] == revisions[-1] | sweep.to_json()
        if same_code and same_plan:
            return store.sweep()
    else:
        directories.make_directory(store.root)
    entry = sweep.to_json() | {"provenance": dict(provenance)}
    if revisions:
        entry["results_seen"] = has_work(store)  # whether results could be looked at before the sweep grew
    text = json.dumps({"format": 1, "revisions": [*revisions, entry]}, indent=1, allow_nan=False)
    check()
    atomic.publish(store.paths.sweep_file, text.encode())
    return store.sweep()


def shared_digest(store: Store, sweep: Sweep) -> str:
    """Sweep.task_digest of the revision that tasks of a sweep are queued for, where a group shares the directory.

    Empty elsewhere. Raises SweepError if sweep.json, which any member can write, does not hold this sweep any more.
    """
    if store.paths.private_root == store.root:
        return ""
    wanted = admit(store, sweep).task_digest
    if store.queued_sweep(wanted) is None:
        raise SweepError(
            f"{store.paths.sweep_file}: was changed since this command wrote it; look at it, then try again"
        )
    return wanted


def begun_with(manifest: Mapping[str, Any]) -> Grid:
    """The grid of the first revision: what was planned before there were results. manifest: the content of sweep.json.

    Raises SweepError if it cannot be read.
    """
    try:
        grid = Grid.from_json(manifest["revisions"][0]["grid"])
    except (ValueError, KeyError, TypeError) as error:
        fault = f"sweep.json: its first revision cannot be read by this version of Holdfast: {error}"
        raise SweepError(one_line(fault)) from None
    if fault := too_many(grid.most, MOST_CELLS, "cells"):
        raise SweepError(f"sweep.json: the grid of its first revision has {fault}")
    return grid


def codes_together(revisions: Iterable[Mapping[str, Any]]) -> list[set[str]]:
    """Digests of the trainer's code on record, in order: a set for each stretch within which states may be resumed.

    A change of code that nobody allowed begins a new stretch, although it was admitted because all that had begun had
    failed: what the code of before has saved is not resumed. revisions: of sweep.json.
    """
    found: list[set[str]] = [set()]
    last = None
    for revision in revisions:
        about = revision.get("provenance", {})
        code = about.get("trainer_digest")
        # Versions that did not record it refused to change the code of what had begun, unless that was allowed.
        allowed = about.get("code_change_allowed", revision.get("results_seen", False))
        if None not in (code, last) and code != last and not allowed:
            found.append(set())
        found[-1].update([] if code is None else [code])
        last = code or last
    return found


def may_resume(revisions: Iterable[Mapping[str, Any]], ours: str | None, theirs: str | None) -> bool:
    """Whether our code may go on from a state that theirs has saved; None: not known. revisions: of sweep.json."""
    stretches = codes_together(revisions)
    if ours in (None, theirs) or len(stretches) == 1:
        return True
    return any(ours in codes and theirs in codes for codes in stretches)


def has_work(store: Store) -> bool:
    """Whether any cell has a result, or an attempt that did not fail: what a changed sweep would be mixed with."""
    for name in store.present():
        directory = store.paths.results_root / name
        entries = directories.entries(directory)
        if "results.json" in entries or any(map(is_conflict, entries)):
            return True
        if _has_open_attempt(directory / "attempts"):
            return True
    return False


def _has_open_attempt(directory: Path) -> bool:
    """Whether an attempt at a cell has not failed: its process may still be at work where nobody can see it.

    Those that a cell was given up for are known to have come to nothing.
    """
    for number in sorted(directories.entries(directory), key=by_number, reverse=True):
        if "failure.json" not in directories.entries(directory / number):
            return True
        failure = documents.known(directory / number / "failure.json", documents.FailureDocument)
        if failure.get("given_up", _GIVEN_UP.match(failure.get("cause", ""))):
            break
    return False


def admit(store: Store, sweep: Sweep) -> Sweep:
    """The sweep this directory would hold if ``sweep`` were run in it. Nothing is written.

    Its cells grow if more are asked for and stay if fewer are. What is not identity (paths, intervals, what is
    kept) is as asked for, so that data that has moved is found.

    Raises SweepError naming the fields that differ, or the cells that would be lost; and where there are cells of which
    no sweep.json says what they are, because it was removed.
    """
    if not store.exists():
        if store.present() or directories.numbers(store.paths.packs_root):
            raise SweepError(
                f"{store.root}: has cells of a sweep, but no sweep.json that says which; restore that from a backup, "
                "or use another --output-dir"
            )
        return sweep
    current = store.sweep()
    same = current.config_digest == sweep.config_digest and not current.changed_levels(sweep)
    if not (same and current.grid.covers(sweep.grid)) and store.present() and not has_work(store):
        return sweep  # all that began has failed: whatever was wrong may be corrected here
    if not same:
        names = ", ".join(current.conflicting(sweep))
        raise SweepError(
            f"{store.root}: holds a sweep of another configuration, different in: {names}; "
            "use another --output-dir, or go on with this one by giving the directory alone"
        )
    sweep = sweep.with_levels_of(current)
    if sweep.grid.covers(current.grid):
        same = current.grid.covers(sweep.grid)
        return replace(sweep, grid=current.grid) if same else sweep
    if current.grid.covers(sweep.grid):
        # The default analysis follows from the grid, so the one of a part says nothing about the whole.
        shown = sweep.analysis
        return replace(sweep, grid=current.grid, analysis=current.analysis).shown_as(shown)
    raise SweepError(
        f"{store.root}: the sweep here has cells that the new grid lacks; name all values it has "
        f"({current.grid.summary()}) and those to add; seeds can only be added at the end"
    )
