"""One cell: its state, its attempts, how they ended, what it gave, its log."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hpc.errors import SweepError, nearest
from hpc.files import logs
from hpc.status import early_ends, task_end
from hpc.status.conflict import explain
from hpc.status.lines import progress
from hpc.storage import published
from hpc.storage.results import provenance_of
from hpc.storage.store import Store
from hpc.submission import redo
from hpc.submission.intents import intents
from hpc.sweep.cell import Cell
from hpc.sweep.definition import Sweep
from hpc.sweep.resources import text as text_of
from hpc.sweep.states import CONFLICT, FAILED, FINAL, CellStatus
from hpc.units import counted, duration, size


def facts(store: Store, name: str) -> dict[str, Any]:
    """One cell: everything known, as plain data. Raises SweepError."""
    return _facts(store, *_found(store, name))


def text(store: Store, name: str) -> str:
    """The same for people, with what Slurm says of its last task. Raises SweepError."""
    cell, status = _found(store, name)
    known = _facts(store, cell, status)
    reached = progress(status) or "no epoch finished"
    lines = [f"{cell.name}: {status.state}", f"seed {cell.seed}, {reached}, {counted(status.attempts, 'attempt')}"]
    lines += map(_attempt_line, known["attempts"])
    said = "" if status.state in FINAL else task_end.word(store, cell)
    lines += [f"Slurm: {said}"] * bool(said)
    if not known["attempts"] and (log := early_ends.log_of(store, cell)):
        lines += [f"its task ended before training began: {early_ends.first_lines(log)} ({log})"]
    failure = known["attempts"][-1]["failure"] if known["attempts"] else None
    if failure and failure.get("traceback"):
        lines += ["", str(failure["traceback"]).rstrip()]
    if status.state == CONFLICT:
        lines += ["", explain(store, cell) or status.cause]
    lines += _result_lines(known["result"])
    for entry in known.get("redone", ()):
        lines += _redone_lines(store, cell, entry)
    return "\n".join(lines)


def _found(store: Store, name: str) -> tuple[Cell, CellStatus]:
    sweep = store.sweep()
    cell = find_cell(sweep, store, name)
    status, result = next(store.outcomes([cell], sweep))
    # Whoever looks at one cell gets all of it checked, its weights to the last byte.
    if result and (found := published.whole_fault(store.paths, cell, result)):
        way_out = f"move {store.paths.cell_directory(cell)} away and submit again"
        status = replace(status, state=CONFLICT, cause=f"{found}; {way_out}")
    return cell, status


def _facts(store: Store, cell: Cell, status: CellStatus) -> dict[str, Any]:
    attempts: list[dict[str, Any]] = []
    raised = {intent.number: intent.escalated for intent in intents(store)}
    for number in store.attempts(cell):
        pack = store.pack_of(cell, number)
        node = _node(store, pack)
        more = raised.get(store.submission_of(cell, number), {}).get(cell.name)
        attempts.append({"attempt": number, "pack": pack, "node": node, "failure": store.failure(cell, number)})
        attempts[-1] |= {"escalated": more} if more else {}
    result = store.result(cell) if status.state in FINAL else None
    redone = [{"redo": redo, "result": earlier} for redo, earlier in store.redone_results(cell)]
    known = {"cell": cell.name, "state": status.state, "cause": status.cause, "attempts": attempts, "result": result}
    return known | ({"redone": redone} if redone else {})


def _attempt_line(entry: dict[str, Any]) -> str:
    where = f" on {entry['node']}" if entry["node"] else ""
    more = f" with {text_of(entry['escalated'].items())} by --escalate" if "escalated" in entry else ""
    failed = f": failed: {entry['failure']['cause']}" if entry["failure"] else ""
    return f"  attempt {entry['attempt']} in pack {entry['pack']}{where}{more}{failed}"


def _result_lines(result: dict[str, Any] | None) -> list[str]:
    """What a cell gave and took, as far as its result says so: a result may come from elsewhere."""
    if result is None:
        return []
    lines = _early_lines(result)
    lines += ["metrics:", *(f"  {metric} {_number(value)}" for metric, value in result["metrics"].items())]
    provenance = provenance_of(result)
    if {"node", "device", "seconds"} <= provenance.keys():
        memory = size(provenance.get("peak_memory") or 0)
        where = f"{provenance['node']} ({provenance['device']}), {memory} of memory at most"
        lines.append(f"trained {duration(provenance['seconds'])} on {where}")
    return lines + _mixture_lines(provenance)


def _early_lines(result: Mapping[str, Any]) -> list[str]:
    """By what rule a cell ended before its last epoch, if one did."""
    facts = result.get("stopped_early")
    if not facts:
        return []
    of = f" of {facts['planned_epochs']}" if facts.get("planned_epochs") else ""
    since = f"no better {facts.get('metric')} since epoch {facts.get('last_improvement')}"
    return [f"stopped early after epoch {result['epochs']}{of}: {since} (stop_when)"]


def _redone_lines(store: Store, cell: Cell, entry: dict[str, Any]) -> list[str]:
    """An earlier result, who had it set aside and when."""
    record = redo.read(store, entry["redo"])
    when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(record["at"])) if record else ""
    by = f" on {when} by {record['by']}" if record else ""
    path, result = store.paths.redone_result_file(cell, entry["redo"]), entry["result"]
    lines = [f"earlier result, set aside by redo {entry['redo']}{by}: {result['status']}, kept as {path.name}"]
    return lines + [f"  {metric} {_number(value)}" for metric, value in result["metrics"].items()]


def _mixture_lines(provenance: Mapping[str, Any]) -> list[str]:
    """Under what a cell was trained, part by part, if it was not one code under one numerics."""
    parts = provenance.get("trained_by")
    if not isinstance(parts, list):
        return []
    lines = ["trained by more than one code or under more than one numerics:"]
    for part in parts:
        numerics = ", ".join(f"{name} {value}" for name, value in part["numerics"].items()) or "not stated"
        lines.append(f"  from step {part['from_step']}: code {(part['code'] or 'unknown')[:16]}, numerics: {numerics}")
    return lines


def _node(store: Store, pack: int | None) -> str:
    """The node of a pack attempt, as it wrote it down; empty if it did not come to that."""
    return str(store.pack_record(pack).get("node", "")) if pack else ""


def _number(value: float | None) -> str:
    return "not a finite number" if value is None else str(value)


def find_cell(sweep: Sweep, store: Store, name: str) -> Cell:
    """The planned cell with this name. Raises SweepError naming the nearest."""
    for cell in sweep.grid:
        if cell.name == name:
            return cell
    names = [cell.name for cell in sweep.grid[:5000]]
    longer = [known for known in names if known.startswith(name)]
    near = longer[0] if longer else nearest(name, names) or names[0]
    others = f" ({len(longer):,} begin so)" if len(longer) > 1 else ""
    raise SweepError(f"{store.root}: no cell is called {name!r}; did you mean {near}?{others}")


def has_ended(store: Store, cell: Cell) -> bool:
    """Whether a cell has a result, or its newest attempt failed."""
    status = next(store.statuses([cell], store.sweep()))
    return status.state in (*FINAL, FAILED, CONFLICT)


def log_text(store: Store, cell: Cell) -> str:
    """A cell's own log and the output of its newest pack attempt."""
    parts = (f"--- {title} ---\n{text}" if title else text for title, text in log_parts(store, cell).items())
    return "\n".join(parts) or "no log yet"


def log_parts(store: Store, cell: Cell) -> dict[str, str]:
    """The same by title; the cell's own log has none. Of each the end, if it is long."""
    parts = {}
    if os.path.lexists(store.paths.log_file(cell)):
        parts[""] = logs.tail(store.paths.log_file(cell)).rstrip()
    attempts = store.attempts(cell)
    pack = store.pack_of(cell, attempts[-1]) if attempts else None
    if pack is not None and os.path.lexists(store.paths.pack_log(pack)):
        output = logs.tail(store.paths.pack_log(pack)).strip()
        if output:
            parts[f"output of pack attempt {pack}"] = output
    if not parts and (log := early_ends.log_of(store, cell)):
        parts[f"its task, {log}"] = logs.tail(log).rstrip()
    return parts
