"""The example trainers run, and give the same results when they are interrupted or packed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from helpers.command_line import ROOT, Holdfast

from hpc.config.load import CommandLine, load
from hpc.node.pack import PackTask
from hpc.node.trial import Surroundings
from hpc.storage.revisions import write_sweep
from hpc.storage.store import Store
from hpc.submission import intents
from hpc.sweep.cell import Cell

TRAINERS = ROOT / "examples" / "trainers"
NAMES = ("ridge", "torch_loop", "walk", "batched")


class StopAfter:
    """A stop flag that rises when it has been looked at so many times."""

    def __init__(self, looks: int) -> None:
        self.left = looks

    def __call__(self) -> bool:
        self.left -= 1
        return self.left < 0


def store_of(name: str, root: Path, *overrides: str) -> Store:
    config = TRAINERS / f"{name}.yaml"
    store = Store(root)
    write_sweep(store, load(CommandLine(config=config, overrides=overrides)).sweep, {})
    return store


def train(store: Store, packs: Sequence[Sequence[Cell]], looks: int | None = None) -> None:
    """Train packs of cells here; looks: ask each to stop after so many looks at the flag, until it has ended."""
    sweep = store.sweep()
    for pack in packs:
        for attempt in range(20):
            made = intents.begin(store, [[pack]], kind=intents.LOCAL, profile="local", name="example", code="")
            stop = StopAfter(10**9 if looks is None else looks + attempt)
            if PackTask(store, sweep, list(pack), Surroundings(made.number, stop, own_log=False)).run() == 0:
                break
        else:
            raise AssertionError(f"{pack} never ended")


def outcomes(store: Store) -> dict[str, Any]:
    return {cell.name: (store.result(cell) or {})["outcome_digest"] for cell in store.sweep().grid}


def singly(store: Store) -> list[list[Cell]]:
    return [[cell] for cell in store.sweep().grid]


@pytest.mark.parametrize("name", NAMES)
def test_an_example_runs_to_its_report_as_its_first_lines_say(holdfast: Holdfast, tmp_path: Path, name: str) -> None:
    done = holdfast("run", "--config", str(TRAINERS / f"{name}.yaml"), "--runs-per-condition", "2", "--pack", "6")
    assert "COMPLETED" in done.stdout
    aggregated = json.loads((tmp_path / "out" / "aggregated_results.json").read_text())
    assert all(condition["n_runs"] == 2 for condition in aggregated.values())
    assert (tmp_path / "out" / "report.html").stat().st_size > 10_000


@pytest.mark.parametrize(("name", "looks"), [("torch_loop", 14), ("batched", 14)])
def test_an_example_that_is_stopped_again_and_again_ends_with_identical_results(
    tmp_path: Path, name: str, looks: int
) -> None:
    overrides = ("trainer_options.epochs=12", "trainer_options.steps=2", "sweep.runs_per_condition=1")
    straight = store_of(name, tmp_path / "straight", *overrides)
    train(straight, singly(straight))
    stopped = store_of(name, tmp_path / "stopped", *overrides)
    train(stopped, singly(stopped), looks)
    restored = [stopped.result(cell)["provenance"].get("restored_at_step", 0) for cell in stopped.sweep().grid]  # type: ignore[index]
    assert min(restored) > 0
    assert outcomes(stopped) == outcomes(straight)


def test_the_batched_example_gives_the_same_results_in_packs_of_any_size(tmp_path: Path) -> None:
    alone = store_of("batched", tmp_path / "alone")
    train(alone, singly(alone))
    packed = store_of("batched", tmp_path / "packed")
    cells = list(packed.sweep().grid)
    train(packed, [cells[:7], cells[7:10]], looks=30)
    train(packed, [cells[10:]])
    assert outcomes(packed) == outcomes(alone)


def test_the_ridge_example_prefers_the_degree_that_fits(tmp_path: Path) -> None:
    store = store_of("ridge", tmp_path / "out")
    train(store, [list(store.sweep().grid)])
    errors: dict[Any, float] = {}
    for cell in store.sweep().grid:
        result = store.result(cell)
        assert result is not None
        errors[result["degree"]] = errors.get(result["degree"], 0.0) + result["metrics"]["test_error"]
    assert errors[3] < errors[1] / 3


def test_the_scikit_learn_example_reads_digits_far_above_chance(tmp_path: Path) -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    store = store_of("digits", tmp_path / "out", "sweep.runs_per_condition=2")
    train(store, singly(store))
    accuracy = {}
    for cell in store.sweep().grid:
        result = store.result(cell)
        assert result is not None
        accuracy[result["trees"], result["depth"]] = result["metrics"]["accuracy"]
    assert 0.3 < accuracy[1, 3] < accuracy[16, 9]
    assert accuracy[16, 9] > 0.9
    again = store_of("digits", tmp_path / "again", "sweep.runs_per_condition=2")
    train(again, [list(again.sweep().grid)])
    assert outcomes(store) == outcomes(again)
