"""Changes that chance finds hardly ever: fields that fit one another, names of many files, content of one purpose.

Each of them once cost a reader more than a line.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers import wandb_files

from hpc.wandb.cells import SWEEP_KEY
from hpc.wandb.offline_files import FILE_HEADER

_TERABYTE = 1 << 40
_HERE, _EXCHANGE = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
HALF = "a\ud800b"  # of a character: JSON can write it, and no file can
STATUS, PLAN, SHOW = ("status", "OUT"), ("plan", "OUT"), ("show", "OUT", "CELL")
TABLES, CANCEL, REDO = ("tables", "OUT"), ("cancel", "OUT", "-y"), ("redo", "OUT", "-y", "--cell", "CELL")
DRY = ("submit", "OUT", "--dry-run", "--profile", "local")
EXTRACT = ("wandb", "extract", "--project", "p", "--group", "g", "--offline", "OUT", "--output-dir", "NEW")
# (sweep directory, its first cell, a directory outside with a file that is called canary)
Change = Callable[[Path, str, Path], None]


@dataclass(frozen=True)
class Aim:
    """kind: of the directory that is changed. commands: those that came to harm, as in commands.py. swapped: a folder
    below it in whose place a link to a folder of that name outside is put, and taken away, while they run.
    """

    kind: str
    change: Change
    commands: tuple[tuple[str, ...], ...]
    swapped: str = ""


@contextlib.contextmanager
def swapping(folder: Path, outside: Path) -> Iterator[None]:
    """Exchange a folder with a link to another one, and back, as fast as that goes."""
    link, ended = folder.with_name(f"{folder.name}.away"), threading.Event()
    link.symlink_to(outside)
    exchange = ctypes.CDLL(None).renameat2

    def dance() -> None:
        while not ended.wait(1e-4):
            exchange(_HERE, os.fsencode(folder), _HERE, os.fsencode(link), _EXCHANGE)

    thread = threading.Thread(target=dance)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def edited(path: Path, edit: Callable[[Any], object]) -> None:
    document = json.loads(path.read_text())
    edit(document)
    path.write_text(json.dumps(document, separators=(",", ":")))


def _cell(out: Path, cell: str) -> Path:
    return out / "individual_results" / cell


def _in_sweep(edit: Callable[[Any], object]) -> Change:
    def change(out: Path, cell: str, outside: Path) -> None:
        edited(out / "sweep.json", lambda document: [edit(revision) for revision in document["revisions"]])

    return change


def _in_result(edit: Callable[[Any], object]) -> Change:
    def change(out: Path, cell: str, outside: Path) -> None:
        edited(_cell(out, cell) / "results.json", edit)

    return change


# --- sizes ----------------------------------------------------------------------------------------------------------


def _named(name: str, size: int, links: int = 0) -> Change:
    """A file of the size that its result names, which takes no room, under some more names."""

    def change(out: Path, cell: str, outside: Path) -> None:
        path = _cell(out, cell) / name
        named = {"sha256": "0" * 64, "bytes": size}
        edited(_cell(out, cell) / "results.json", lambda result: result["provenance"]["files"].update({name: named}))
        path.touch()
        os.truncate(path, size)
        for number in range(links):
            os.link(path, path.with_name(f"{name}.{number}"))

    return change


def _unnamed(out: Path, cell: str) -> Path:
    edited(_cell(out, cell) / "results.json", lambda result: result["provenance"].pop("files", None))
    return _cell(out, cell) / "history.csv"


def _wide(out: Path, cell: str, outside: Path) -> None:
    header = ",".join(map(str, range(1_000_000)))
    _unnamed(out, cell).write_text(f"epoch,{header}\n1{',' * 1_000_000}\n")


def _crossed(out: Path, cell: str, outside: Path) -> None:
    """Many epochs in one history and many metrics in the others."""
    for place, path in enumerate(sorted((out / "individual_results").iterdir())):
        names = [f"m{number}" for number in range(1900)] if place else ["loss"]
        rows = 2 if place else 200_000
        _unnamed(out, path.name).write_text(f"epoch,{','.join(names)}\n" + f"1{',0' * len(names)}\n" * rows)


def _many_metrics(result: Any) -> None:
    result["metrics"] |= {f"m{number}": 0.5 for number in range(30_000)}


def _rules(revision: Any) -> None:
    levels = list(range(1, 1341))
    pattern = [["a", levels], ["b", levels[1:]]]
    revision["grid"] = {"axes": [["a", levels], ["b", levels]], "seeds": [42], "exclude": [pattern] * 1100}


def _few_rules(revision: Any) -> None:
    levels = list(range(1, 1341))
    patterns = [[["a", levels], ["b", [level]]] for level in levels[1:75]]
    revision["grid"] = {"axes": [["a", levels], ["b", levels]], "seeds": [42], "exclude": patterns}


def _task_lists(line: bytes, count: int) -> Change:
    def change(out: Path, cell: str, outside: Path) -> None:
        for path in out.glob("submissions/*/tasks-*.jsonl"):
            path.write_bytes(line * count)

    return change


def _large_file(out: Path, cell: str, outside: Path) -> None:
    (_cell(out, cell) / "sweep_results_2.json").write_bytes(b"[" + b"{}," * 13_000_000 + b"{}]")


def _same_file(out: Path, cell: str, outside: Path) -> None:
    first = _cell(out, cell) / "sweep_results_1.json"
    first.write_text(json.dumps({"seed": 1, "loss": 1.0, "more": [[]] * 1_000_000}))
    for number in range(2, 300):
        os.link(first, first.with_name(f"sweep_results_{number}.json"))


def _loops(out: Path, cell: str, outside: Path) -> None:
    for name in ("one", "other"):
        (_cell(out, cell) / name).symlink_to("..")


def _endless_trainer(out: Path, cell: str, outside: Path) -> None:
    (out / "endless.py").touch()
    os.truncate(out / "endless.py", _TERABYTE)
    where = {"path": str(out / "endless.py"), "target": "endless.py:train"}
    _in_sweep(lambda revision: revision["trainer"].update(where))(out, cell, outside)


# --- kinds ----------------------------------------------------------------------------------------------------------


def _token(token: str) -> Change:
    def change(out: Path, cell: str, outside: Path) -> None:
        for path in out.glob("submissions/*/intent.json"):
            edited(path, lambda intent: intent.update(tokens=[token] * len(intent["tokens"])))

    return change


def _redone(out: Path, cell: str, outside: Path) -> None:
    """A redo at a time that no calendar has, of which an earlier result is left."""
    path = _cell(out, cell) / "results.json"
    path.with_name("results.json.redone-000001").write_bytes(path.read_bytes())
    (out / "submissions" / "000001").mkdir(parents=True, exist_ok=True)
    redo = {"by": "x", "at": 1e300, "cells": [cell]}
    (out / "submissions" / "000001" / "redo.json").write_text(json.dumps(redo))


def _no_memory(result: Any) -> None:
    result["provenance"] |= {"node": "n", "device": "cpu", "seconds": 1.0, "peak_memory": None}


def _former_metric(out: Path, cell: str, outside: Path) -> None:
    runs = [{"workspace_dim": 8, "synergy_scale": 0.1, "run_id": run, "loss": run, HALF: run} for run in (0, 1)]
    (out / "aggregated_results.json").write_text(json.dumps({"all": {"individual_results": runs}}))


def _no_text_folder(out: Path, cell: str, outside: Path) -> None:
    (out / "individual_results" / "a\udcffb").mkdir()


# --- files of W&B ---------------------------------------------------------------------------------------------------


def _segment(out: Path, content: bytes) -> None:
    place = out / "wandb" / "offline-run-abc"
    place.mkdir(parents=True, exist_ok=True)
    (place / "run-abc.wandb").write_bytes(content)


def _recorded(edit: Callable[[Any, Path], object]) -> Change:
    """A run of the sweep that the directory holds, changed."""

    def change(out: Path, cell: str, outside: Path) -> None:
        sweep = json.loads((out / "sweep.json").read_text())["revisions"][-1]
        edit(sweep, outside)
        _segment(out, wandb_files.segment(wandb_files.run({SWEEP_KEY: json.dumps(sweep), "cell": cell})))

    return change


def _run(key: Any) -> Change:
    return lambda out, cell, outside: _segment(out, wandb_files.segment(wandb_files.run({SWEEP_KEY: key})))


def _huge_grid(sweep: Any, outside: Path) -> None:
    sweep["grid"] = {"axes": [[f"a{number}", list(range(10))] for number in range(12)], "seeds": [42]}


def _empty_records(out: Path, cell: str, outside: Path) -> None:
    _segment(out, FILE_HEADER + wandb_files.fragment(1, b"") * 4_000_000)


def _deep_value(out: Path, cell: str, outside: Path) -> None:
    deep = b"[" * 700 + b"]" * 700
    _segment(
        out, wandb_files.segment(wandb_files.run({"workspace_dim": 8, "synergy_scale": 1.0, "seed": 1, "a": deep}))
    )


def _figures(sweep: Any, outside: Path) -> None:
    _write_figure(outside / "evil.py")
    sweep["analysis"]["figures"] = [f"{outside}/evil.py:draw"]


def _write_figure(path: Path) -> None:
    path.write_text("def draw(results, directory):\n    raise SystemExit('executed')\n")


# --- places ---------------------------------------------------------------------------------------------------------


def _output_led_away(out: Path, cell: str, outside: Path) -> None:
    shutil.copytree(out, outside / "away")
    (out / "holdfast").symlink_to(outside / "away")


def _folders_led_away(out: Path, cell: str, outside: Path) -> None:
    """Folders and files that nothing has made yet."""
    (outside / "away").mkdir()
    for name in ("tables", "plots", "packs", "submissions", "certificates", "code", ".aggregate-cache", "report.html"):
        place = out / name
        if place.is_dir():
            place /= "000900"
        if not place.exists():
            place.symlink_to(outside / ("canary" if "." in name else "away"))


def _pack_led_away(out: Path, cell: str, outside: Path) -> None:
    """A private file in the place of the history that a pack attempt left."""
    (outside / "private").mkdir()
    private = outside / "private" / f"{cell}.history.csv"
    private.write_text("epoch,loss\n1,0.5\n")
    private.chmod(0o600)
    (out / "packs" / "000900").symlink_to(outside / "private")
    edited(_cell(out, cell) / "results.json", lambda result: result["provenance"].update(pack=900))
    _unnamed(out, cell).unlink()


def _figure_beside(out: Path, cell: str, outside: Path) -> None:
    """A figure by a path from where the command is started: the directory beside that of this run."""
    _write_figure(outside / "evil.py")
    named = "../case/outside/evil.py:draw"
    _in_sweep(lambda revision: revision["analysis"].update(figures=[named]))(out, cell, outside)


def _same_outside(name: str) -> Change:
    """A folder outside with all the names that the one inside has."""

    def change(out: Path, cell: str, outside: Path) -> None:
        (out / name).mkdir(parents=True, exist_ok=True)
        shutil.copytree(out / name, outside / Path(name).name)

    return change


def _in_first_cell(out: Path, cell: str, outside: Path) -> None:
    _same_outside(f"individual_results/{cell}")(out, cell, outside)
    (outside / cell).rename(outside / "CELL")


AIMS: dict[str, Aim] = {
    "a history of a terabyte": Aim("finished", _named("history.csv", _TERABYTE), (STATUS, SHOW, TABLES, REDO)),
    "a configuration of a terabyte": Aim("finished", _named("config.json", _TERABYTE), (STATUS, SHOW)),
    "weights of a terabyte": Aim("finished", _named("weights.safetensors", _TERABYTE), (STATUS, SHOW)),
    "a history under 1,000 names": Aim("finished", _named("history.csv", 60 << 20, 1000), (STATUS,)),
    "a million columns": Aim("finished", _wide, (TABLES,)),
    "many columns and many rows": Aim("finished", _crossed, (TABLES,)),
    "many metrics": Aim("finished", _in_result(_many_metrics), (SHOW, TABLES)),
    "rules of megabytes": Aim("finished", _in_sweep(_rules), (STATUS, PLAN)),
    "rules that leave out much": Aim("finished", _in_sweep(_few_rules), (STATUS, PLAN)),
    "tasks of nothing": Aim("half_finished", _task_lists(b'{"cells":[]}\n', 3_000_000), (STATUS, CANCEL)),
    "empty lines of tasks": Aim("half_finished", _task_lists(b"\n", 3_000_000), (STATUS,)),
    "all files of a disk": Aim(
        "half_finished",
        _in_sweep(lambda revision: revision["trainer"].update(files=[f"{'../' * 20}**/*"])),
        (PLAN, DRY),
    ),
    "a trainer of a terabyte": Aim("half_finished", _endless_trainer, (PLAN, DRY)),
    "a large file of the predecessor": Aim("former", _large_file, (TABLES,)),
    "a file of the predecessor under 300 names": Aim("former", _same_file, (TABLES,)),
    "links of the predecessor that lead back": Aim("former", _loops, (TABLES,)),
    "a token with a NUL": Aim("half_finished", _token("a\0b"), (STATUS, CANCEL)),
    "a token with half a character": Aim("half_finished", _token(HALF), (STATUS, CANCEL)),
    "a redo at no time": Aim("finished", _redone, (SHOW,)),
    "no peak of memory": Aim("finished", _in_result(_no_memory), (SHOW,)),
    "half a character in a metric": Aim(
        "finished", _in_result(lambda result: result["metrics"].update({HALF: 0.5})), (STATUS, TABLES)
    ),
    "half a character in a metric of the predecessor": Aim("former", _former_metric, (TABLES,)),
    "half a character in a label": Aim(
        "finished", _in_sweep(lambda revision: revision["trainer"]["metrics"]["loss"].update(label=HALF)), (TABLES,)
    ),
    "labels in a list": Aim(
        "finished", _in_sweep(lambda revision: revision["analysis"].update(labels=["loss"])), (STATUS, TABLES)
    ),
    "numbers for patterns": Aim(
        "half_finished", _in_sweep(lambda revision: revision["trainer"].update(files=[1, 2])), (PLAN, DRY)
    ),
    "a word for megabytes": Aim(
        "half_finished", _in_sweep(lambda revision: revision["trainer"].update(files_mb="x")), (PLAN, DRY)
    ),
    "a folder whose name is no text": Aim("finished", _no_text_folder, (STATUS, TABLES)),
    "a list for a sweep": Aim("finished", _run([1]), (EXTRACT,)),
    "text for a sweep": Aim("finished", _run("[1]"), (EXTRACT,)),
    "a run of many cells": Aim("finished", _recorded(_huge_grid), (EXTRACT,)),
    "records of nothing": Aim("finished", _empty_records, (EXTRACT,)),
    "a value of 700 lists": Aim("finished", _deep_value, (EXTRACT,)),
    "figures of a run": Aim("finished", _recorded(_figures), (EXTRACT,)),
    "a figure by a path from here": Aim("finished", _figure_beside, (("aggregate", "OUT"),)),
    "the predecessor's output led away": Aim("former", _output_led_away, (TABLES,)),
    "what is not there led away": Aim("finished", _folders_led_away, (STATUS, TABLES, REDO, PLAN)),
    "a pack led away": Aim("finished", _pack_led_away, (STATUS, SHOW, TABLES, REDO)),
    "the lock swapped": Aim("half_finished", _same_outside("submissions/lock"), (CANCEL, REDO) * 3, "submissions/lock"),
    "the submissions swapped": Aim("half_finished", _same_outside("submissions"), (CANCEL, REDO) * 3, "submissions"),
    "a cell swapped": Aim("finished", _in_first_cell, (REDO, STATUS, SHOW) * 3, "individual_results/CELL"),
    "tables swapped": Aim("finished", _same_outside("plots"), (TABLES,) * 2, "plots"),
}
