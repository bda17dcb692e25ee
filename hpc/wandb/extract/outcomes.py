"""From W&B runs to outcomes of cells: what results.json and history.csv would say, or why a run does not count."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hpc.errors import ConfigError
from hpc.storage import documents
from hpc.storage.results import StoppedEarly
from hpc.sweep.cell import Cell
from hpc.sweep.definition import Sweep
from hpc.sweep.outcome import history_csv
from hpc.sweep.states import COMPLETED, CONFLICT, DIVERGED, FAILED, FINAL, STARTED
from hpc.wandb.cells import SWEEP_KEY, sweep_of
from hpc.wandb.runs import EPOCH, FINISHED, OUTCOME, RUNNING, STEP, WandbRun, is_count, is_number


@dataclass(frozen=True)
class Entry:
    """What W&B has of one cell. result, history: as in results.json and history.csv, if the state is final."""

    cell: Cell
    state: str
    run: WandbRun
    result: Mapping[str, Any] = field(default_factory=dict)
    history: bytes = b""
    cause: str = ""


@dataclass(frozen=True)
class Extracted:
    """A sweep reconstructed from runs. remarks: what was left out or looks odd, one line each."""

    sweep: Sweep
    entries: list[Entry]
    remarks: list[str]


def mirrored_outcomes(runs: Sequence[WandbRun]) -> Extracted:
    """The sweep that runs written by Holdfast belong to.

    Raises ConfigError unless they share one configuration, SweepError if it has more cells than are gone through.
    """
    known: dict[str, Sweep | None] = {}  # nearly all runs of a sweep say the same
    for run in runs:
        text = str(run.config.get(SWEEP_KEY))
        if text not in known:
            known[text] = sweep_of(run)
    found = {run.id: known[str(run.config.get(SWEEP_KEY))] for run in runs}
    sweeps = {name: sweep for name, sweep in found.items() if sweep is not None}
    sweep = _one_sweep(list(sweeps.values()))
    cells = {cell.name: cell for cell in sweep.grid}
    entries: list[Entry] = []
    remarks: list[str] = []
    for run in runs:
        cell = cells.get(str(run.config.get("cell")))
        if run.id in sweeps and cell is not None:
            entries.append(_mirrored(run, sweep, cell))
        else:
            remarks.append(f"run {run.id} ({run.name}) belongs to no cell of this sweep; left out")
    return Extracted(sweep, one_entry_per_cell(entries), remarks)


def one_entry_per_cell(entries: Iterable[Entry]) -> list[Entry]:
    """Of several runs of one cell, the one that ended. Two that ended differently are a conflict: none is chosen."""
    by_cell: dict[Cell, list[Entry]] = defaultdict(list)
    for entry in entries:
        by_cell[entry.cell].append(entry)
    return [_chosen(group) for group in by_cell.values()]


def _chosen(group: list[Entry]) -> Entry:
    ended = [entry for entry in group if entry.state in FINAL]
    if not ended:
        return min(group, key=lambda entry: entry.state == STARTED)
    if len({entry.result["outcome_digest"] for entry in ended}) == 1:
        return ended[0]
    ids = ", ".join(sorted(entry.run.id for entry in ended))
    cause = f"runs {ids} ended differently; choose with --tags, --state or --config"
    return Entry(ended[0].cell, CONFLICT, ended[0].run, cause=cause)


def _one_sweep(found: list[Sweep]) -> Sweep:
    if not found:
        raise ConfigError([f"no run's {SWEEP_KEY} is a sweep as Holdfast writes it; choose others with --tags"])
    digests = Counter(sweep.config_digest for sweep in found)
    if len(digests) > 1:
        first = found[0]
        other = next(sweep for sweep in found if sweep.config_digest != first.config_digest)
        named = ", ".join(f"{digest} ({count} runs)" for digest, count in digests.items())
        raise ConfigError(
            [
                f"the runs have {len(digests)} configurations, which differ in: {', '.join(first.conflicting(other))}; "
                f"choose one with --config config_digest=DIGEST: {named}"
            ]
        )
    # A grid only grows: the revision of the newest run covers those of all others.
    largest = max(found, key=lambda sweep: len(sweep.grid))
    if not all(largest.grid.covers(sweep.grid) for sweep in {id(sweep): sweep for sweep in found}.values()):
        raise ConfigError(["the runs come from sweeps with one configuration and different grids; choose with --tags"])
    return largest


def _mirrored(run: WandbRun, sweep: Sweep, cell: Cell) -> Entry:
    outcome = run.summary.get(OUTCOME)
    if run.state != FINISHED or not isinstance(outcome, Mapping):
        return Entry(cell, STARTED, run, cause=f"its run is {run.state}, after {len(run.rows)} epochs")
    try:
        # Numbers pass through JSON twice on their way. The digest shows that every digit came back.
        history = _history(run.rows, outcome["history"]["columns"])
        if hashlib.sha256(history).hexdigest() != outcome["history"]["digest"]:
            raise ValueError("its history is not the one that was published")
        result = {
            **_identity(sweep, cell),
            "status": str(outcome["status"]),
            "metrics": _metrics(run, outcome["metrics"]),
            "best_epoch": _count(outcome.get("best_epoch")),
            "epochs": _count(outcome["epochs"]),
            "config_digest": sweep.config_digest,
            "outcome_digest": str(outcome["outcome_digest"]),
        }
        if early := outcome.get("stopped_early"):
            result["stopped_early"] = documents.fitting(dict(early), StoppedEarly)
        if result["status"] not in (COMPLETED, DIVERGED):
            raise ValueError(f"its status is {result['status']!r}")
    except (ValueError, KeyError, TypeError) as error:
        return Entry(cell, CONFLICT, run, cause=f"run {run.id} is not as Holdfast wrote it: {error}")
    return Entry(cell, str(result["status"]), run, result, history)


def _identity(sweep: Sweep, cell: Cell) -> dict[str, Any]:
    fields = {sweep.trainer.field_of(name): value for name, value in cell.point}
    about = {"cell": cell.name, "condition_id": cell.condition, "run_id": cell.run_id, "seed": cell.seed}
    return {**fields, **about}


def _metrics(run: WandbRun, measured: Mapping[str, Any]) -> dict[str, float | None]:
    """Metrics of a result; null exactly where the result says so. Raises ValueError, KeyError, TypeError."""
    null = set(measured["null"])
    return {name: None if name in null else _number(run.summary[name]) for name in measured["names"]}


def entry_of(
    run: WandbRun, sweep: Sweep, cell: Cell, metrics: Mapping[str, Any], history: list[dict[str, Any]]
) -> Entry:
    """The entry of a run that Holdfast did not write. metrics: name -> number or None. history: one row per epoch."""
    if run.state != FINISHED:
        state = STARTED if run.state in (RUNNING, "pending") else FAILED
        return Entry(cell, state, run, cause=f"its run is {run.state} on the server")
    names = list(dict.fromkeys(name for row in history for name in row if name != EPOCH))
    text = history_csv(history, names)
    losses = [(row["val_loss"], row[EPOCH]) for row in history if "val_loss" in row]
    result = {
        **_identity(sweep, cell),
        "status": COMPLETED,
        "metrics": dict(metrics),
        "best_epoch": min(losses)[1] if losses else None,
        "epochs": len(history),
        "config_digest": sweep.config_digest,
        "outcome_digest": hashlib.sha256(repr(sorted(metrics.items())).encode() + text).hexdigest(),
    }
    return Entry(cell, COMPLETED, run, result, text)


def _history(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> bytes:
    """history.csv as the attempt wrote it, with its columns: some may have no value in any epoch."""
    lines = [",".join([EPOCH, *columns])]
    for row in rows:
        if not is_count(row.get(EPOCH)) or row[EPOCH] != row[STEP]:
            raise ValueError(f"step {row.get(STEP)} is not an epoch")
        values = (_number(row.get(name)) for name in columns)
        lines.append(",".join([repr(int(row[EPOCH])), *("" if value is None else repr(value) for value in values)]))
    return ("\n".join(lines) + "\n").encode()


def _number(value: object) -> float | None:
    """A value as a float or None: a server returns 1.0 as 1. Raises ValueError for what is not a number."""
    if value is None:
        return None
    if not is_number(value):
        raise ValueError(f"{value!r} is not a number")
    return float(value)  # type: ignore[arg-type]


def _count(value: object) -> int | None:
    if value is None:
        return None
    if not is_count(value):
        raise ValueError(f"{value!r} is not a number of epochs")
    return int(value)  # type: ignore[call-overload, no-any-return]
