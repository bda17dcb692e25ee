"""Speed of gathering, statistics and figures: python -m benchmarks.aggregation [--cells N ...] [--json F].

Synthetic sweeps with 15 metrics and 50 epochs per cell, on a local disk with a warm cache, beside reading the same
files and nothing else, and beside a plain loop. Only aggregate's own functions are timed, not the loading of Python and
its libraries. Ratios are taken within a round: of the processor's time, and of the time that passes, which says
something only on a machine that does nothing else. Nothing here passes or fails.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import machine
from hpc.config.schema.configuration import Configuration
from hpc.files import atomic
from hpc.storage.named_files import CONFIG, HISTORY, described
from hpc.storage.revisions import write_sweep
from hpc.storage.store import Store
from hpc.sweep.cell import Cell
from hpc.sweep.definition import DeclaredTrainer, Sweep
from hpc.sweep.grid import Axis, Grid

# About as much as the built-in experiment has.
METRICS, EPOCHS, SEEDS = 15, 50, 5
LARGEST_LOOP = 10_000  # cells; beyond, the plain loop takes minutes
FIGURES = 30
FLOOR, FIRST = "open and read every file, nothing else", "aggregate, first time, all files written"
# What a cell that has ended leaves and a reader looks at.
FILES = ("results.json", "config.json", "history.csv")


def metric_declarations() -> dict[str, Any]:
    """A third of each kind."""
    kinds = [("bounded", "higher"), ("positive", "lower"), ("real", "higher")]
    return {f"m{i:02d}": {"kind": kinds[i % 3][0], "better": kinds[i % 3][1]} for i in range(METRICS)}


def make_sweep(root: Path, conditions: tuple[int, int]) -> Store:
    """A finished sweep of conditions[0] x conditions[1] x 5 cells, as its nodes would have left it."""
    dims, scales = (tuple(2 + i for i in range(conditions[0])), tuple(0.1 * (1 + i) for i in range(conditions[1])))
    trainer = DeclaredTrainer(
        "synthetic.py:train",
        "",
        {"dim": {"kind": "integer", "log": True}, "scale": {"kind": "real", "log": True}},
        metric_declarations(),
    )
    grid = Grid((Axis("dim", dims), Axis("scale", scales)), tuple(range(42, 42 + SEEDS)))
    analysis = {"primary_metrics": ["m00", "m01"], "reference": {"dim": dims[0], "scale": scales[0]}, "alpha": 0.05}
    keep = Configuration().keep.model_dump()
    sweep = Sweep("synthetic", grid, trainer, {}, {}, "", analysis, 60.0, keep)
    store = Store(root)
    write_sweep(store, sweep, {})
    # Values to sixteen digits: rounder ones would be shorter to read, parse and write than real ones.
    random = np.random.default_rng(0)
    for cell in grid:
        _write_cell(store, sweep, cell, random)
    return store


def _write_cell(store: Store, sweep: Sweep, cell: Cell, random: np.random.Generator) -> None:
    values = random.uniform(0.05, 0.95, METRICS)
    curve = values * (1 + np.exp(-0.1 * np.arange(EPOCHS))[:, None] * random.uniform(0.5, 0.6, METRICS)) / 2
    names = list(sweep.trainer.metrics)
    directory = store.paths.cell_directory(cell)
    os.makedirs(directory / "attempts" / "0001")
    rows = [",".join(["epoch", *names])]
    rows += [f"{epoch}," + ",".join(map(repr, row)) for epoch, row in enumerate(curve.tolist(), start=1)]
    beside = {
        CONFIG: json.dumps({"cell": cell.name, **sweep.identity(), "note": "x" * 700}, indent=1).encode(),
        HISTORY: ("\n".join(rows) + "\n").encode(),
    }
    named = {name: described(name, content) for name, content in beside.items()}
    result = {
        **{sweep.trainer.field_of(name): value for name, value in cell.point},
        "cell": cell.name,
        "condition_id": cell.condition,
        "run_id": cell.run_id,
        "seed": cell.seed,
        "status": "COMPLETED",
        "metrics": dict(zip(names, values.tolist(), strict=True)),
        "best_epoch": 49,
        "epochs": EPOCHS,
        "config_digest": sweep.config_digest,
        "outcome_digest": "0" * 64,
        "provenance": {"attempts": 1, "seconds": 12, "node": "n1", "pack": 1, "files": named, "note": "x" * 700},
    }
    # Written plainly: `atomic.publish` syncs each file, which is not what is measured here.
    for name, content in (beside | {"results.json": json.dumps(result, indent=1).encode()}).items():
        (directory / name).write_bytes(content)


@dataclass(frozen=True)
class Seconds:
    """Of one action: the processor's, in all threads, and those that passed."""

    processor: float
    elapsed: float


Found = dict[str, list[Seconds]]  # of every round, by what was done


def timed(action: Callable[[], object]) -> Seconds:
    processor, elapsed = time.process_time(), time.perf_counter()
    action()
    return Seconds(time.process_time() - processor, time.perf_counter() - elapsed)


def open_and_read(store: Store) -> None:
    """The lower bound: read the bytes of every file."""
    for path in store.paths.results_root.iterdir():
        for name in FILES:
            (path / name).read_bytes()


def plain_loop(store: Store) -> None:
    """What people write today: json per cell, pandas, read_csv per history, scipy.stats per condition and metric."""
    import pandas as pd
    import scipy.stats

    rows, curves = [], []
    for path in sorted(store.paths.results_root.iterdir()):
        result = json.loads((path / "results.json").read_text())
        rows.append({"condition": result["condition_id"], **result["metrics"]})
        curves.append(pd.read_csv(path / "history.csv").assign(cell=path.name))
    table, _ = pd.DataFrame(rows), pd.concat(curves)
    for _, group in table.groupby("condition"):
        for metric in group.columns[1:]:
            seeds = group[metric].to_numpy()
            scipy.stats.t.interval(0.95, len(seeds) - 1, loc=seeds.mean(), scale=scipy.stats.sem(seeds))
            np.median(seeds), seeds.min(), seeds.max()


def gather_and_compute(store: Store) -> None:
    from aggregate.analysis.study import study
    from aggregate.reading.sweep import read

    study(read(store))


def measure_gathering(cells: int, folder: Path, rounds: int, *, beside: bool) -> Found:
    """In each round a first aggregation and two that follow. All take turns, so that a busy machine slows all alike."""
    from aggregate.pipeline import aggregate

    side = {10_000: (40, 50), 100_000: (100, 200)}.get(cells, (cells // SEEDS, 1))
    store = make_sweep(folder / f"sweep-{cells}", side)
    gather_and_compute(store)  # once unmeasured: the files are in memory from here on
    found: Found = {}
    path = store.paths.result_file(store.sweep().grid[0])

    def note(what: str, action: Callable[[], object]) -> None:
        found.setdefault(what, []).append(timed(action))

    def again() -> None:
        aggregate(store.root, figures=False)

    for number in range(rounds):
        note(FLOOR, lambda: open_and_read(store))
        note("gather and compute", lambda: gather_and_compute(store))
        store.paths.cache_file.unlink(missing_ok=True)  # what it remembers of the round before
        note(FIRST, again)
        note("aggregate, nothing changed", again)
        content = path.read_bytes().replace(b'"seconds": %d' % (12 + number), b'"seconds": %d' % (13 + number))
        atomic.publish(path, content)
        note("aggregate, one cell changed", again)
    if beside:
        note("plain json + pandas + scipy loop", lambda: plain_loop(store))
    shutil.rmtree(store.root)
    return found


def measure_figures(folder: Path, rounds: int) -> Found:
    from aggregate.analysis.study import study
    from aggregate.figures.canvas import encoded, house_style
    from aggregate.figures.catalogue import plots
    from aggregate.reading.sweep import read

    store = make_sweep(folder / "figures", (7, 6))
    found = study(read(store))

    def every() -> Iterator[Any]:
        """Figures of five metrics: the summary, means and training curves."""
        summary = replace(found.summary, metrics=found.summary.metrics[:5])
        return plots(summary, itertools.islice(found.curves(), 5))

    def draw() -> None:
        with house_style():
            made = [encoded(plot.figure) for plot in itertools.islice(every(), FIGURES)]
        if len(made) != FIGURES:
            raise RuntimeError(f"{len(made)} figures, not {FIGURES}")

    measured = {f"{FIGURES} figures as PNG": [timed(draw) for _ in range(rounds)]}
    shutil.rmtree(store.root)
    return measured


def show(sweep: str, found: Found) -> None:
    """Medians, and those of the ratios within each round."""
    for what, seconds in found.items():
        line = f"{sweep:>16}  {what:40}"
        for kind in (field.name for field in fields(Seconds)):
            own = [getattr(one, kind) for one in seconds]
            line += f"{statistics.median(own):9.2f} s {kind}"
            for name, other in (("floor", FLOOR), ("first", FIRST)):
                if what != other and len(found.get(other, ())) == len(own):
                    ratios = (a / getattr(b, kind) for a, b in zip(own, found[other], strict=True))
                    line += f"{statistics.median(ratios):8.2f} x {name}"
        print(line, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, nargs="*", default=[10_000, 100_000], metavar="N")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-loop", action="store_true", help="skip the plain loop")
    parser.add_argument("--no-figures", action="store_true")
    parser.add_argument("--directory", type=Path, help="where the sweeps are made (default: a temporary directory)")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    found: dict[str, Any] = {"machine": machine()}
    print(found["machine"])
    with tempfile.TemporaryDirectory(dir=arguments.directory) as name:
        folder = Path(name)
        if not arguments.no_figures:
            found["figures"] = measure_figures(folder, arguments.rounds)
            show("210 cells", found["figures"])
        for cells in arguments.cells:
            beside = not arguments.no_loop and cells <= LARGEST_LOOP
            found[f"{cells} cells"] = measure_gathering(cells, folder, arguments.rounds, beside=beside)
            show(f"{cells:,} cells", found[f"{cells} cells"])
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2, default=asdict) + "\n")


if __name__ == "__main__":
    main()
