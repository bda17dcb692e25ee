"""sweep.json: which sweep a directory may hold, and the revisions that grow it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hpc.errors import SweepError
from hpc.storage import files
from hpc.storage.store import Store
from hpc.sweep.definition import Sweep


def write_sweep(store: Store, sweep: Sweep, provenance: Mapping[str, Any]) -> Sweep:
    """Record a sweep, or a revision that grows it; the same again changes nothing.

    Returns the sweep as it now stands. Raises SweepError as admit() does, OSError.
    """
    revisions: list[dict[str, Any]] = []
    if store.exists():
        revisions = store.manifest()["revisions"]
        sweep = admit(store, sweep)
        before = revisions[-1].get("provenance", {}).get("trainer_digest")
        same_code = before in (None, provenance.get("trainer_digest"))
        same_plan = sweep.to_json() == store.sweep().to_json() or revisions[-1] == revisions[-1] | sweep.to_json()
        if same_code and same_plan:
            return store.sweep()
    else:
        files.make_directory(store.root)
    entry = sweep.to_json() | {"provenance": dict(provenance)}
    if revisions:
        entry["results_seen"] = has_work(store)  # whether results could be looked at before the sweep grew
    text = json.dumps({"format": 1, "revisions": [*revisions, entry]}, indent=1, allow_nan=False)
    files.publish(store.paths.sweep_file, text.encode())
    return store.sweep()


def has_work(store: Store) -> bool:
    """Whether any cell has a result, or an attempt that did not fail: what a changed sweep would be mixed with."""
    for name in store.present():
        directory = store.paths.results_root / name
        entries = files.entries(directory)
        if "results.json" in entries or "conflict.json" in entries:
            return True
        attempts = sorted(files.entries(directory / "attempts"))
        if attempts and "failure.json" not in files.entries(directory / "attempts" / attempts[-1]):
            return True
    return False


def admit(store: Store, sweep: Sweep) -> Sweep:
    """The sweep this directory would hold if ``sweep`` were run in it. Nothing is written.

    Its cells grow if more are asked for and stay if fewer are. What is not identity (paths, intervals, what is
    kept) is as asked for, so that data that has moved is found.

    Raises SweepError naming the fields that differ, or the cells that would be lost.
    """
    if not store.exists():
        return sweep
    current = store.sweep()
    if store.present() and not has_work(store):
        return sweep  # all that began has failed: whatever was wrong may be corrected here
    if current.config_digest != sweep.config_digest or current.changed_levels(sweep):
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
        return replace(sweep, grid=current.grid, analysis=current.analysis)
    raise SweepError(
        f"{store.root}: the sweep here has cells that the new grid lacks; name all values it has "
        f"({current.grid.summary()}) and those to add; seeds can only be added at the end"
    )
