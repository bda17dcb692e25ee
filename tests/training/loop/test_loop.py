from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from helpers.memory_run import MemoryCell, MemoryRun, cell
from helpers.packs import make_setup

from hpc.sweep.stopping import StopRule
from training.contract import Checkpoint
from training.loop import loop as loop_module
from training.loop import width as width_module
from training.loop.loop import Loop
from training.loop.pack import Pack
from training.model.state import StateError
from training.steps.native_step import NativeStep
from training.workspace import METRICS, train

CELLS = [cell(8, 1.0, 42), cell(8, 1.0, 43), cell(40, 0.5, 42)]


@pytest.fixture(autouse=True)
def chosen(kernel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test here holds for both kernels; looking up after every step, they can be stopped anywhere."""
    monkeypatch.setitem(OPTIONS, "kernel", kernel)
    monkeypatch.setattr(NativeStep, "stride", 1)


OPTIONS: dict[str, str] = {}


def straight(config: dict[str, Any], cells: list[MemoryCell], **options: Any) -> MemoryRun:
    run = MemoryRun(config, **options)
    train(cells, OPTIONS, run)
    return run


def attempt(run: MemoryRun, cells: list[MemoryCell], stop_at: int | None) -> MemoryRun:
    """A new attempt that finds what the earlier one saved and finished, as a requeued task would."""
    saved = {name: checkpoint for name, checkpoint in run.saved.items() if name not in run.finished}
    again = MemoryRun(run.config, stop_at=stop_at, saved=saved, finished=dict(run.finished), stop_rule=run.stop_rule)
    steps = {name: checkpoint.step // 250 for name, checkpoint in saved.items()}
    again.history = {name: rows[: steps.get(name, 0)] for name, rows in run.history.items() if name not in run.finished}
    again.history |= {name: rows for name, rows in run.history.items() if name in run.finished}
    train([one for one in cells if one.name not in run.finished], OPTIONS, again)
    return again


def assert_same_outcome(found: MemoryRun, expected: MemoryRun) -> None:
    assert found.finished.keys() == expected.finished.keys()
    assert found.history == expected.history
    for name, outcome in expected.finished.items():
        other = found.finished[name]
        assert (other.metrics, other.best_epoch, other.diverged) == (
            outcome.metrics,
            outcome.best_epoch,
            outcome.diverged,
        )
        assert all(np.array_equal(other.weights[key], array) for key, array in outcome.weights.items())


@pytest.mark.parametrize("interval", [137, 250, 411])
def test_a_run_stopped_again_and_again_ends_with_identical_results(config: dict[str, Any], interval: int) -> None:
    expected = straight(config, CELLS)
    run = straight(config, CELLS, stop_at=interval)
    attempts = 1
    while len(run.finished) < len(CELLS):
        run = attempt(run, CELLS, stop_at=interval)
        attempts += 1
    assert attempts > 2
    assert_same_outcome(run, expected)


def test_cells_restored_at_different_steps_end_as_if_never_interrupted(config: dict[str, Any]) -> None:
    expected = straight(config, CELLS)
    first = straight(config, CELLS[:1], stop_at=320)
    second = straight(config, CELLS[1:2], stop_at=77)
    both = MemoryRun(config, saved={**first.saved, **second.saved}, history=first.history)
    train(CELLS, OPTIONS, both)
    assert_same_outcome(both, expected)


def test_stopping_saves_every_cell_within_one_step(config: dict[str, Any]) -> None:
    run = straight(config, CELLS[:2], stop_at=30)
    assert {name: checkpoint.step for name, checkpoint in run.saved.items()} == {one.name: 29 for one in CELLS[:2]}
    assert not run.finished


def test_checkpoints_are_saved_when_due(config: dict[str, Any]) -> None:
    run = straight(config, CELLS[:1], due_every=2)
    assert run.saves == 2
    assert run.saved[CELLS[0].name].step == 300


def test_a_cell_taken_over_elsewhere_is_dropped_without_effect_on_the_others(config: dict[str, Any]) -> None:
    expected = straight(config, CELLS[1:])
    run = straight(config, CELLS, due_every=1, taken={CELLS[0].name})
    assert CELLS[0].name not in run.finished
    assert_same_outcome_but(run, expected, CELLS[0].name)


def assert_same_outcome_but(found: MemoryRun, expected: MemoryRun, name: str) -> None:
    found.history.pop(name, None)
    found.finished.pop(name, None)
    assert_same_outcome(found, expected)


def test_a_cell_that_diverges_leaves_and_changes_no_bit_of_its_neighbours(config: dict[str, Any]) -> None:
    healthy = [cell(8, 1.0, 42), cell(8, 1.0, 43)]
    doomed = cell(8, 1e42, 44)
    expected = straight(config, healthy)
    run = straight(config, [healthy[0], doomed, healthy[1]])
    outcome = run.finished[doomed.name]
    assert outcome.diverged
    assert not outcome.weights
    assert outcome.metrics["predictability/synergy_acc"] is None
    assert doomed.name not in run.history
    assert_same_outcome_but(run, expected, doomed.name)


def test_a_checkpoint_of_another_shape_is_refused(config: dict[str, Any]) -> None:
    run = straight(config, CELLS[:1], stop_at=30)
    run.config["model"]["hidden_dim"] = 48
    with pytest.raises(StateError, match=r"dim_8_scale_1.0_run_0: checkpoint array 'parameters' has shape"):
        attempt(run, CELLS[:1], None)


def test_a_checkpoint_beyond_the_end_is_refused(config: dict[str, Any]) -> None:
    run = straight(config, CELLS[:1], stop_at=30)
    name = CELLS[0].name
    run.saved[name] = Checkpoint(500, run.saved[name].arrays, run.saved[name].values)
    with pytest.raises(StateError, match="checkpoint of step 500; training ends at 500"):
        attempt(run, CELLS[:1], None)


def stopping_early(config: dict[str, Any], patience: int, min_delta: float, **options: Any) -> MemoryRun:
    config["training"]["epochs"] = 6
    return straight(config, CELLS[:2], stop_rule=StopRule("val_loss", patience, min_delta, "lower"), **options)


def test_a_cell_stops_once_its_patience_ends_and_reports_only_the_epochs_it_trained(config: dict[str, Any]) -> None:
    run = stopping_early(config, 2, min_delta=100.0)
    for one in CELLS[:2]:
        assert len(run.history[one.name]) == 3
        assert run.finished[one.name].metrics["final_val_loss"] == run.history[one.name][-1]["val_loss"]
        assert run.finished[one.name].best_epoch == 3


def test_a_cell_that_keeps_improving_is_not_stopped(config: dict[str, Any]) -> None:
    run = stopping_early(config, 1, min_delta=0.0)
    losses = [row["val_loss"] for row in run.history[CELLS[0].name]]
    assert all(later < earlier for earlier, later in itertools.pairwise(losses[:-1]))
    assert len(losses) == 6 or losses[-1] >= losses[-2]


def test_early_stopping_is_the_same_after_an_interruption(config: dict[str, Any]) -> None:
    expected = stopping_early(config, 2, min_delta=100.0)
    run = stopping_early(config, 2, min_delta=100.0, stop_at=600)
    assert not run.finished
    assert_same_outcome(attempt(run, CELLS[:2], None), expected)


def test_a_pack_that_keeps_its_width_gives_the_same_results_for_the_cells_that_stay(
    config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU: rows of cells that are taken over or diverge stay in the pack and are never reported again."""
    cells = [CELLS[0], cell(8, 1e42, 44), CELLS[1]]
    expected = straight(config, cells, due_every=1, taken={CELLS[0].name})
    run = MemoryRun(config, due_every=1, taken={CELLS[0].name})
    assert fixed(config, run, cells, monkeypatch) == {3}
    assert set(run.finished) == {cells[1].name, CELLS[1].name}
    assert_same_outcome(run, expected)


def fixed(
    config: dict[str, Any],
    run: MemoryRun,
    cells: list[MemoryCell],
    monkeypatch: pytest.MonkeyPatch,
    rows: list[int] | None = None,
) -> set[int]:
    """Train as where a pack's width may change bits. Returns the numbers of rows that its packs had.

    rows: takes the rows of each step of each pack.
    """
    setup = replace(make_setup(config, native=OPTIONS["kernel"] == "native"), fixed_width=True)
    widths: set[int] = set()

    class Seen(Pack):
        def train(self, indices: torch.Tensor) -> None:
            widths.add(len(self.members))
            if rows is not None:
                rows.append(len(self.members) * len(indices))
            super().train(indices)

    monkeypatch.setattr(loop_module, "Pack", Seen)
    run.numerics(kernel="any")
    loop = Loop(cells, setup, run, list(METRICS))
    loop.train()
    assert widths <= {loop.width}
    return widths


def test_where_a_packs_width_may_change_bits_it_stays_what_it_was(
    config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = [cell(8, 1.0, 42), cell(8, 1.0, 43), cell(8, 0.5, 44)]
    expected = straight(config, cells)
    # Three steps, so that they begin in packs of their own and come together later.
    saved, history = {}, {}
    for one, stop_at in zip(cells, (320, 77, 3), strict=True):
        first = MemoryRun(config, stop_at=stop_at)
        assert fixed(config, first, cells, monkeypatch) == {3}
        saved[one.name] = first.saved[one.name]
        if one.name in first.history:
            history[one.name] = first.history[one.name]
    run = MemoryRun(config, saved=saved, history=history, stop_at=400)
    assert fixed(config, run, cells, monkeypatch) == {3}
    assert not run.finished
    # A requeue after one cell has left: two cells in three rows.
    left = {name: checkpoint for name, checkpoint in run.saved.items() if name != cells[0].name}
    again = MemoryRun(config, saved=left, history={name: run.history[name] for name in left})
    assert fixed(config, again, cells[1:], monkeypatch) == {3}
    for one in cells[1:]:
        assert again.history[one.name] == expected.history[one.name]
        assert again.finished[one.name].metrics == expected.finished[one.name].metrics


def test_a_checkpoint_names_the_width_only_where_it_matters(
    config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, wide = straight(config, CELLS, stop_at=3), MemoryRun(config, stop_at=3)
    assert fixed(config, wide, CELLS, monkeypatch) == {2}  # two of one width, one of another: packs of two rows
    assert all("width" not in checkpoint.values for checkpoint in plain.saved.values())
    assert {checkpoint.values["width"] for checkpoint in wide.saved.values()} == {2}
    for name, checkpoint in plain.saved.items():
        for key, array in checkpoint.arrays.items():
            assert np.array_equal(array, wide.saved[name].arrays[key])


def test_cells_close_ranks_in_packs_of_their_width_as_others_leave(
    config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(width_module, "NARROWEST", 1)
    stay, leave = (
        [cell(8, 1.0, 42), cell(16, 0.5, 43), cell(32, 2.0, 44)],
        [cell(8, 1e42, seed) for seed in (45, 46, 47)],
    )
    cells = [one for pair in zip(stay, leave, strict=True) for one in pair]
    expected = straight(config, cells)
    rows: list[int] = []
    run = MemoryRun(config)
    assert fixed(config, run, cells, monkeypatch, rows) == {2}
    # Three packs until the first look for divergence, and then two: their four rows have one without a cell.
    assert sum(rows) == 6 * loop_module.CHECK_EVERY + 4 * (2 * 250 - loop_module.CHECK_EVERY)
    assert_same_outcome(run, expected)


def test_a_cell_that_stops_early_makes_room_where_a_packs_width_stays(
    config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(width_module, "NARROWEST", 1)
    cells = [cell(8, 1.0, seed) for seed in range(42, 48)]
    early = {one.name for one in cells[::2]}

    class Stopping(MemoryRun):
        def stopped_early(self, cell: Any) -> bool:
            return cell.name in early

    expected, run, rows = Stopping(config), Stopping(config), []
    train(cells, OPTIONS, expected)
    assert fixed(config, run, cells, monkeypatch, rows) == {2}
    # Three packs in the first epoch, and two in the second: their four rows have one without a cell.
    assert sum(rows) == 6 * 250 + 4 * 250
    assert_same_outcome(run, expected)
    assert {name: len(history) for name, history in run.history.items()} == {
        one.name: 1 if one.name in early else 2 for one in cells
    }


def test_a_requeued_task_keeps_the_width_of_its_packs_whoever_has_left(
    config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(width_module, "NARROWEST", 1)
    cells = [cell(8, scale, seed) for scale in (0.5, 1.0) for seed in (42, 43, 44)]
    straight_run, stopped = MemoryRun(config), MemoryRun(config, stop_at=400)
    for run in (straight_run, stopped):
        assert fixed(config, run, cells, monkeypatch) == {2}
    left = cells[:5]
    saved = {one.name: stopped.saved[one.name] for one in left}
    again = MemoryRun(config, saved=saved, history={name: stopped.history.get(name, []) for name in saved})
    assert fixed(config, again, left, monkeypatch) == {2}
    for one in left:
        assert again.history[one.name] == straight_run.history[one.name]
