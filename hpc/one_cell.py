"""One cell: its state, its attempts, how they ended, what it gave, its log."""

from __future__ import annotations

import difflib
from typing import Any

from hpc import last_task
from hpc.cell import Cell
from hpc.conflict import explain
from hpc.states import CONFLICT, FAILED, FINAL, MISSING, CellStatus
from hpc.status import duration, failed_starts
from hpc.store import Store, SweepError
from hpc.sweep import Sweep


def show(store: Store, name: str) -> tuple[dict[str, Any], str]:
    """One cell: (everything known as plain data, the same as text). Raises SweepError."""
    sweep = store.sweep()
    cell = find_cell(sweep, store, name)
    status = next(store.statuses([cell], sweep.config_digest))
    attempts: list[dict[str, Any]] = []
    for number in store.attempts(cell):
        pack = store.pack_of(cell, number)
        node = _node(store, pack)
        attempts.append({"attempt": number, "pack": pack, "node": node, "failure": store.failure(cell, number)})
    result = store.result(cell) if status.state in FINAL else None
    facts = {"cell": cell.name, "state": status.state, "cause": status.cause, "attempts": attempts, "result": result}
    lines = [f"{cell.name}: {status.state}", f"seed {cell.seed}, {_progress(status)}, {status.attempts} attempts"]
    for entry in attempts:
        failed = f": failed: {entry['failure']['cause']}" if entry["failure"] else ""
        where = f" on {entry['node']}" if entry["node"] else ""
        lines.append(f"  attempt {entry['attempt']} in pack {entry['pack']}{where}{failed}")
    said = "" if status.state in FINAL else last_task.word(store, cell)
    lines += [f"Slurm: {said}"] * bool(said)
    if status.state == MISSING and (told := failed_starts(store)):
        lines += [told]
    if attempts and attempts[-1]["failure"] and attempts[-1]["failure"].get("traceback"):
        lines += ["", attempts[-1]["failure"]["traceback"].rstrip()]
    if status.state == CONFLICT:
        lines += ["", explain(store, cell)]
    if result is not None:
        lines += ["metrics:"] + [f"  {metric} {_number(value)}" for metric, value in result["metrics"].items()]
        provenance = result["provenance"]
        memory = provenance.get("peak_memory", 0) / 1e9
        where = f"{provenance['node']} ({provenance['device']}), {memory:.1f} GB of memory at most"
        lines.append(f"trained {duration(provenance['seconds'])} on {where}")
    return facts, "\n".join(lines)


def _node(store: Store, pack: int | None) -> str:
    """The node of a pack attempt, as it wrote it down; empty if it did not come to that."""
    return str(store.pack_record(pack).get("node", "")) if pack else ""


def _number(value: float | None) -> str:
    return "not a finite number" if value is None else str(value)


def _progress(status: CellStatus) -> str:
    return f"epoch {status.epoch} of {status.epochs}" if status.epochs else "no epoch finished"


def find_cell(sweep: Sweep, store: Store, name: str) -> Cell:
    """The planned cell with this name. Raises SweepError naming the nearest."""
    for cell in sweep.grid:
        if cell.name == name:
            return cell
    near = difflib.get_close_matches(name, [cell.name for cell in sweep.grid[:5000]], n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise SweepError(f"{store.root}: no cell is called {name!r}{hint}")


def has_ended(store: Store, cell: Cell) -> bool:
    """Whether a cell has a result, or its newest attempt failed."""
    status = next(store.statuses([cell], store.sweep().config_digest))
    return status.state in (*FINAL, FAILED, CONFLICT)


def log_text(store: Store, cell: Cell) -> str:
    """A cell's own log and the output of its newest pack attempt."""
    parts = []
    if store.log_file(cell).exists():
        parts.append(store.log_file(cell).read_text(errors="replace").rstrip())
    attempts = store.attempts(cell)
    pack = store.pack_of(cell, attempts[-1]) if attempts else None
    if pack is not None and store.pack_log(pack).exists():
        output = store.pack_log(pack).read_text(errors="replace").strip()
        if output:
            parts.append(f"--- output of pack attempt {pack} ---\n{output}")
    return "\n".join(parts) or "no log yet"
