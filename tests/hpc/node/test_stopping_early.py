"""stop_when on a node: a cell ends by what it has measured itself, whatever else is trained, saved or killed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers.small_sweeps import TRAINER, make_grid, make_store, make_sweep, run_here, run_task, submit, write_trainer

from hpc.storage.store import Store
from hpc.sweep.cell import Cell

RULE = {"metric": "loss", "patience": 2, "min_delta": 0.0, "better": "lower"}
# The chaotic map of the usual trainer, which asks before every epoch.
ASKS = TRAINER.replace("while epoch < 8:", "while epoch < 8 and not run.stopped_early(cell):")


def store_of(tmp_path: Path, body: str = ASKS, **changes: Any) -> Store:
    """Ten conditions and three seeds, so that cells end after many different numbers of epochs."""
    grid = make_grid(range(1, 11), (42, 43, 44))
    path = write_trainer(tmp_path / "user", body)
    return make_store(tmp_path / "out", make_sweep(grid, path=path, **{"stop_when": RULE} | changes))


def ends(store: Store) -> dict[str, Any]:
    found = {}
    for cell in store.sweep().grid:
        result = json.loads(store.paths.result_file(cell).read_text())
        history = store.paths.history_file(cell).read_text()
        facts = {key: result.get(key) for key in ("status", "epochs", "best_epoch", "stopped_early", "outcome_digest")}
        found[cell.name] = {**facts, "metrics": result["metrics"], "history": history}
    return found


def literal_end(losses: Sequence[float]) -> int:
    """The first epoch that, like the one before it, is no better than all epochs before these two."""
    return next((e for e in range(3, len(losses) + 1) if min(losses[e - 2 : e]) >= min(losses[: e - 2])), len(losses))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    store = store_of(tmp_path_factory.mktemp("undisturbed"), checkpoint_seconds=1e9)
    assert run_here(store, list(store.sweep().grid)) == 0
    return ends(store)


def test_each_cell_ends_where_its_own_full_history_says(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    full = store_of(tmp_path, stop_when={})
    assert run_here(full, list(full.sweep().grid)) == 0
    lengths = set()
    for name, whole in ends(full).items():
        lines = whole["history"].splitlines()
        end = literal_end([float(line.split(",")[1]) for line in lines[1:]])
        early = undisturbed[name]
        assert early["history"].splitlines() == lines[: end + 1]
        assert (early["status"], early["epochs"]) == ("COMPLETED", end)
        assert whole["stopped_early"] is None
        if end < 8:
            facts = early["stopped_early"]
            assert facts == {
                "metric": "loss",
                "patience": 2,
                "min_delta": 0.0,
                "last_improvement": end - 2,
                "planned_epochs": 8,
            }
        else:
            assert early["stopped_early"] is None, "it came to its own end"
        lengths.add(end)
    assert len(lengths) > 3, "a rule that ends all cells alike would show little"


@pytest.mark.parametrize("order", ["backwards", "one by one", "in pairs"])
def test_packs_and_their_order_change_nothing(tmp_path: Path, undisturbed: dict[str, Any], order: str) -> None:
    store = store_of(tmp_path)
    cells = list(store.sweep().grid)
    size = {"backwards": len(cells), "one by one": 1, "in pairs": 2}[order]
    for start in range(0, len(cells), size):
        assert run_here(store, cells[start : start + size][:: -1 if order == "backwards" else 1]) == 0
    assert ends(store) == undisturbed


@pytest.mark.parametrize("signal", ["SIGKILL", "SIGTERM"])
def test_a_resumed_cell_ends_where_one_that_was_never_interrupted_does(
    tmp_path: Path, undisturbed: dict[str, Any], signal: str
) -> None:
    """Each cell is interrupted in its fifth epoch, if it has one, and saves after every epoch."""
    store = store_of(tmp_path, options={"signal": signal})
    cells = list(store.sweep().grid)
    for _ in range(2 * len(cells)):
        left = [cell for cell in cells if not store.paths.result_file(cell).exists()]
        if not left:
            break
        run_task(store, submit(store, left))
    assert ends(store) == undisturbed


def test_a_cell_that_was_saved_at_its_end_and_killed_is_finished_and_trained_no_further(tmp_path: Path) -> None:
    """A trainer may save after its last epoch; the next attempt asks before it trains."""
    finish = "        run.finish(cell"
    late = ASKS.replace(finish, f"        end(cell, epoch, run, x, rng, saved)\n{finish}")
    late += """
def end(cell, epoch, run, x, rng, saved):
    if saved is None:
        run.save({cell: Checkpoint(step=epoch, values={"x": x, "rng": rng.getstate()})})
        run.check_storage()
        os.kill(os.getpid(), signal.SIGKILL)
"""
    expected = store_of(tmp_path / "expected")
    assert run_here(expected, list(expected.sweep().grid)[:3]) == 0
    store = store_of(tmp_path / "killed", late)
    cells: list[Cell] = list(store.sweep().grid)[:3]
    for _ in range(4):
        run_task(store, submit(store, [cell for cell in cells if not store.paths.result_file(cell).exists()]))
    for cell in cells:
        one, other = (json.loads(s.paths.result_file(cell).read_text()) for s in (expected, store))
        assert one["outcome_digest"] == other["outcome_digest"]
        assert one.get("stopped_early") == other.get("stopped_early")


def causes(store: Store) -> set[str]:
    sweep = store.sweep()
    return {f"{status.state}: {status.cause}" for status in store.statuses(sweep.grid[:1], sweep)}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (TRAINER, "stop_when had ended training after epoch"),
        (ASKS.replace('8, {"loss": x})', '8, {"accuracy": x})'), "epoch 1 has no 'loss', which stop_when.metric names"),
        (ASKS.replace("            run.epoch(cell, epoch", "            (lambda *a: 0)(cell, epoch"), "no epoch was"),
    ],
    ids=["does not ask", "does not measure", "reports no epochs"],
)
def test_a_trainer_that_cannot_keep_the_rule_fails_with_the_fix(tmp_path: Path, body: str, said: str) -> None:
    store = store_of(tmp_path, body)
    assert run_here(store, list(store.sweep().grid)[:1]) == 1
    (cause,) = causes(store)
    assert cause.startswith("FAILED: ")
    assert said in cause


def test_the_rule_belongs_to_the_identity_of_a_sweep_and_none_leaves_it_as_it_was(tmp_path: Path) -> None:
    plain, ruled = make_sweep(), make_sweep(stop_when=RULE)
    assert "stop_when" not in plain.to_json()
    assert "stop_when" not in plain.identity()
    digests = {plain.config_digest, ruled.config_digest, make_sweep(stop_when=RULE | {"patience": 3}).config_digest}
    assert len(digests) == 3
    assert type(ruled).from_json(json.loads(json.dumps(ruled.to_json()))) == ruled
    assert ruled.conflicting(plain) == ["stop_when"]


@pytest.mark.parametrize(
    "broken",
    [
        [],
        "soon",
        {"metric": "loss"},
        RULE | {"patience": "5"},
        RULE | {"min_delta": None},
        RULE | {"metric": "lost"},
        RULE | {"metric": ["loss"]},
    ],
)
def test_a_rule_that_somebody_broke_in_sweep_json_is_refused(broken: Any) -> None:
    data = make_sweep(stop_when=RULE).to_json() | {"stop_when": broken}
    with pytest.raises((ValueError, KeyError)):
        type(make_sweep()).from_json(data)


def test_what_the_built_in_trainer_was_told_before_there_was_stop_when_still_holds() -> None:
    sweep = make_sweep(sections={"training": {"early_stopping": {"patience": 3, "min_delta": 0.1}}})
    assert sweep.stop_rule is None, "another trainer may read such a key as it likes"
    trainer = replace(sweep.trainer, target="training.workspace:train", metrics={"val_loss": {"better": "lower"}})
    rule = replace(sweep, trainer=trainer).stop_rule
    assert str(rule) == "val_loss not lower by more than 0.1 in 3 epochs in a row"
