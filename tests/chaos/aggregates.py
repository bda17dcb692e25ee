"""Aggregations at the same time, stopped and killed before any of their renames: what is left is one set, or shows that
it is none, and the next aggregation makes it right.

Every pair of places is tried: one process stops before its n-th rename, a cell ends, another one stops before its m-th;
then each goes on, or is killed. All of it is `holdfast aggregate` on a sweep directory, with its figures.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from helpers.sweeps import LOSS, Directory, make_sweep
from PIL import Image
from pyarrow import parquet

from hpc.storage.store import Store

from .attempts import ROOT, Attempt, ForkServer, wait_stopped

PRELOAD = ("hpc.cli.app", "aggregate.pipeline", "aggregate.figures.catalogue")
# Two figures, five documents, the memory of them.
RENAMES = 8
_INCOMPLETE = 4


@dataclass(frozen=True)
class Told:
    """One aggregation as its user sees it. counts: cells by state, as it printed them."""

    code: int
    counts: dict[str, int]


def campaign(directory: Path, seed: int, pairs: int, code: Path = ROOT) -> Counter[str]:
    """Try pairs of places, chosen by the seed. Returns what was done. code: the tree whose aggregate runs."""
    chance, counts = random.Random(seed), Counter[str]()
    places = [(n, m) for n in range(1, RENAMES + 1) for m in range(1, RENAMES + 1)]
    with ForkServer(code, PRELOAD) as server:
        for i, (first, second) in enumerate(chance.sample(places, min(pairs, len(places)))):
            killed = chance.choice([(), (0,), (1,), (0, 1)])
            counts += _pair(directory / str(i), server, chance, (first, second), killed)
    return counts


def _pair(
    root: Path, server: ForkServer, chance: random.Random, places: tuple[int, int], killed: tuple[int, ...]
) -> Counter[str]:
    sweep = _sweep(root)
    sweep.finish(sweep.cell("dim_4_run_0"), _metrics(0.25))
    running = []
    for place, name in zip(places, ("dim_4_run_1", "dim_8_run_0"), strict=True):
        running.append(_start(server, root, f"{len(running)}", stop_at=place))
        sweep.finish(sweep.cell(name), _metrics(chance.random()))
    for i in chance.sample((0, 1), 2):
        running[i].signal(signal.SIGKILL if i in killed else signal.SIGCONT)
        running[i].wait()
    told = [_told(root, f"{i}", running[i]) for i in (0, 1) if i not in killed]
    found = one_set(root)
    if not killed:
        assert found, f"stopped before renames {places}: the files are of two aggregations"
    if found and told and not killed:
        assert _counts(root) in [each.counts for each in told], f"{places}: nobody printed what the files say"
    _repaired(root, server)
    shutil.rmtree(root)
    return Counter({"aggregations at once": 2, "kills": len(killed), "mixtures that kills left": int(not found)})


def _repaired(root: Path, server: ForkServer) -> None:
    """One more aggregation, alone: the files are those of a directory that was never aggregated before."""
    told = _told(root, "after", _start(server, root, "after"))
    assert one_set(root), "an aggregation that ran alone left files of two"
    assert told == Told(_INCOMPLETE, _counts(root))
    fresh = root.with_name(f"{root.name}-fresh")
    shutil.copytree(root / "out", fresh / "out", ignore=shutil.ignore_patterns("plots", "*.parquet", ".*", "report*"))
    _told(fresh, "fresh", _start(server, fresh, "fresh"))
    assert dict(_outputs(fresh)) == dict(_outputs(root)), "a mixture survived, or figures that nobody makes any more"
    shutil.rmtree(fresh)


def one_set(root: Path) -> bool:
    """Whether all files are of one aggregation, as anybody can see who reads them."""
    paths = Store(root / "out").paths
    try:
        statistics = json.loads(paths.statistics_file.read_bytes())
        results = hashlib.sha256(paths.aggregated_file.read_bytes()).hexdigest()
        report = re.search(r'name="holdfast-aggregation" content="(\w+)"', paths.report_file.read_text())
        tables = [parquet.read_schema(path).metadata for path in (paths.table_file, paths.curves_file)]
    except FileNotFoundError:
        return False
    stamps = {statistics["aggregation"], *(table[b"aggregation"].decode() for table in tables)}
    for path in paths.plots_directory.rglob("*.png"):
        with Image.open(path) as picture:
            stamps.add(str(picture.info["Subject"]).removeprefix("aggregation "))
    stamps.add(report[1] if report else "")
    return len(stamps) == 1 and statistics["aggregated_results_sha256"] == results


def _sweep(root: Path) -> Directory:
    return Directory(root / "out", make_sweep({"dim": [4, 8]}, 2, primary=[LOSS]))


def _metrics(value: float) -> dict[str, float | None]:
    return {LOSS: value}


def _start(server: ForkServer, root: Path, name: str, stop_at: int = 0) -> Attempt:
    environment = {"CHAOS_STOP_AT_RENAME": str(stop_at)} if stop_at else {}
    argv = ["aggregate", str(root / "out")]
    attempt = server.start(argv, root / f"{name}.log", environment, module="hpc.cli.app")
    if stop_at:
        wait_stopped(attempt.pid)
    return attempt


def _told(root: Path, name: str, attempt: Attempt) -> Told:
    code, log = attempt.wait(), (root / f"{name}.log").read_text()
    assert code == _INCOMPLETE, f"exit status {code}: {log}"
    line = next(line for line in log.splitlines() if re.fullmatch(r"\d+ [A-Z]+(, \d+ [A-Z]+)*", line))
    return Told(code, {state: int(number) for number, state in (part.split() for part in line.split(", "))})


def _counts(root: Path) -> dict[str, int]:
    """Cells by state, as the table says."""
    states = parquet.read_table(Store(root / "out").paths.table_file, columns=["state"])["state"].to_pylist()
    return dict(Counter(states))


def _outputs(root: Path) -> Iterator[tuple[str, bytes]]:
    out = root / "out"
    for pattern in ("*.json", "*.parquet", "*.html", "plots/**/*.png"):
        for path in out.glob(pattern):
            yield path.relative_to(out).as_posix(), path.read_bytes()
