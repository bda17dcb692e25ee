"""The states of cells and the growth of a sweep, on directories made by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers.small_sweeps import make_grid, make_store, make_sweep

from hpc.errors import SweepError
from hpc.storage.claims import new_attempt, new_pack, new_submission
from hpc.storage.permissions import check_writable
from hpc.storage.results import parse_result
from hpc.storage.revisions import admit, write_sweep
from hpc.storage.store import Store
from hpc.sweep.cell import Cell
from hpc.sweep.grid import Grid
from hpc.sweep.states import STATES


def write(path: Path, data: bytes | str | dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(data) if isinstance(data, dict) else data
    path.write_bytes(text.encode() if isinstance(text, str) else text)


def a_result(store: Store, cell: Cell, **changes: Any) -> dict[str, Any]:
    """The content of results.json, as documented for people who read it."""
    return {
        "width": cell.factors["width"],
        "cell": cell.name,
        "condition_id": cell.condition,
        "run_id": cell.run_id,
        "seed": cell.seed,
        "status": "COMPLETED",
        "metrics": {"loss": 0.5, "accuracy": None},
        "best_epoch": 2,
        "epochs": 3,
        "config_digest": store.sweep().config_digest,
        "outcome_digest": "0" * 64,
        "provenance": {"attempts": 2, "pack": 1},
    } | changes


def state(store: Store, cell: Cell) -> Any:
    (status,) = store.statuses([cell], store.sweep())
    return status


# --- states ---------------------------------------------------------------------------------------------------------


def test_a_cell_without_files_is_missing(store: Store, cells: list[Cell]) -> None:
    assert [entry.state for entry in store.statuses(cells, store.sweep())] == ["MISSING"] * 4


@pytest.mark.parametrize("status", ["COMPLETED", "DIVERGED"])
def test_a_cell_with_a_result_has_ended(store: Store, cells: list[Cell], status: str) -> None:
    write(store.paths.result_file(cells[0]), a_result(store, cells[0], status=status))
    found = state(store, cells[0])
    assert (found.state, found.epoch, found.epochs, found.attempts) == (status, 3, 3, 2)


def test_a_claim_alone_is_a_start(store: Store, cells: list[Cell]) -> None:
    new_attempt(store, cells[0])
    assert state(store, cells[0]).state == "STARTED"


def test_progress_is_that_of_the_newest_attempt(store: Store, cells: list[Cell]) -> None:
    for epoch in (7, 3):
        pack, attempt = new_pack(store), new_attempt(store, cells[0])
        write(store.paths.pointer_file(cells[0], attempt), {"pack": pack})
        write(store.paths.progress_file(pack), {"cells": {cells[0].name: [epoch, 9]}})
    found = state(store, cells[0])
    assert (found.state, found.attempts, found.epoch, found.epochs, found.pack_attempt) == ("STARTED", 2, 3, 9, 2)


def test_a_cell_has_failed_if_its_newest_attempt_has(store: Store, cells: list[Cell]) -> None:
    first = new_attempt(store, cells[0])
    write(store.paths.failure_file(cells[0], first), {"cause": "ValueError: no"})
    found = state(store, cells[0])
    assert (found.state, found.cause) == ("FAILED", "ValueError: no")
    new_attempt(store, cells[0])
    assert state(store, cells[0]).state == "STARTED"


def test_a_failure_that_cannot_be_read_is_still_a_failure(store: Store, cells: list[Cell]) -> None:
    write(store.paths.failure_file(cells[0], new_attempt(store, cells[0])), b"{")
    assert state(store, cells[0]).state == "FAILED"


def test_a_result_outweighs_a_failure(store: Store, cells: list[Cell]) -> None:
    write(store.paths.failure_file(cells[0], new_attempt(store, cells[0])), {"cause": "x"})
    write(store.paths.result_file(cells[0]), a_result(store, cells[0]))
    assert state(store, cells[0]).state == "COMPLETED"


def test_two_different_outcomes_are_a_conflict_whatever_else_is_there(store: Store, cells: list[Cell]) -> None:
    write(store.paths.result_file(cells[0]), a_result(store, cells[0]))
    write(store.paths.conflict_file(cells[0]), {})
    found = state(store, cells[0])
    assert found.state == "CONFLICT"
    assert "conflict.json" in found.cause


def test_a_result_of_another_configuration_does_not_count_and_is_said(store: Store, cells: list[Cell]) -> None:
    write(store.paths.result_file(cells[0]), a_result(store, cells[0], config_digest="f" * 64))
    found = state(store, cells[0])
    assert found.state == "MISSING"
    assert "another configuration" in found.cause


def test_every_state_is_one_of_those_documented(store: Store, cells: list[Cell]) -> None:
    assert set(STATES) == {"COMPLETED", "DIVERGED", "FAILED", "CONFLICT", "STARTED", "MISSING"}


def test_leftovers_of_network_file_systems_are_no_cells_and_no_attempts(store: Store, cells: list[Cell]) -> None:
    write(store.paths.results_root / ".nfs0001", b"")
    write(store.paths.attempts_directory(cells[0]) / ".nfs0002", b"")
    assert state(store, cells[0]).state == "MISSING"
    assert ".nfs0001" not in store.present()


# --- results that are none ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [0, 1, 20, -1])
def test_a_truncated_result_is_named_and_not_counted(store: Store, cells: list[Cell], length: int) -> None:
    text = json.dumps(a_result(store, cells[0]))
    write(store.paths.result_file(cells[0]), text[:length])
    found = state(store, cells[0])
    assert found.state == "CONFLICT"
    assert str(store.paths.result_file(cells[0])) in found.cause
    assert "not a whole result" in found.cause


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("0.5", "NaN", "it holds NaN"),
        ("0.5", "-Infinity", "it holds -Infinity"),
        ("0.5", "1e999", "metric 'loss' is beyond all numbers"),
        ("0.5", "true", "metric 'loss' is True, not a number"),
        ("0.5", '"0.5"', "metric 'loss' is '0.5', not a number"),
        ("0.5", "[0.5]", "metric 'loss' is [0.5], not a number"),
        ('"COMPLETED"', '"RUNNING"', "status or metrics are not as Holdfast writes them"),
        ('"metrics"', '"metrix"', "'metrics' is missing"),
        ('"epochs": 3', '"epochs": "3"', "epochs is '3', not a whole number"),
        ('"seed"', '"sead"', "'seed' is missing"),
        ('"outcome_digest"', '"digest"', "'outcome_digest' is missing"),
        ("{", "[{", ""),
    ],
)
def test_a_result_that_is_no_result_is_named_with_the_reason(
    store: Store, cells: list[Cell], old: str, new: str, reason: str
) -> None:
    path = store.paths.result_file(cells[0])
    write(path, json.dumps(a_result(store, cells[0])).replace(old, new, 1))
    with pytest.raises(SweepError) as caught:
        store.result(cells[0])
    assert str(caught.value).startswith(f"{path}: not a whole result: {reason}")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("text", ["null", "3", '"COMPLETED"', "[]", "[" * 100_000, '{"a":' * 100_000, "\xff"])
def test_json_that_is_no_mapping_is_no_result(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - json's own reasons are many
        parse_result(text.encode("latin-1"))


def test_no_result_is_none(store: Store, cells: list[Cell]) -> None:
    assert store.result(cells[0]) is None
    assert store.has_result(cells[0].name) is False


# --- sweep.json -----------------------------------------------------------------------------------------------------


def written(root: Path, first: Any, *later: Any) -> Store:
    store = make_store(root, first)
    for sweep in later:
        write_sweep(store, sweep, {})
    return store


def revisions(store: Store) -> list[dict[str, Any]]:
    return json.loads((store.paths.root / "sweep.json").read_text())["revisions"]


def test_the_same_sweep_written_again_changes_nothing(tmp_path: Path) -> None:
    store = written(tmp_path, make_sweep())
    before = (tmp_path / "sweep.json").stat()
    write_sweep(store, make_sweep(), {"versions": {"python": "another"}})
    write_sweep(store, store.sweep(), {})
    after = (tmp_path / "sweep.json").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


@pytest.mark.parametrize("grid", [make_grid((1,)), make_grid((1, 2), (42,)), make_grid((2, 1))])
def test_a_part_of_the_cells_or_another_order_changes_nothing(tmp_path: Path, grid: Grid) -> None:
    store = written(tmp_path, make_sweep(), make_sweep(grid))
    assert len(revisions(store)) == 1
    assert store.sweep().grid == make_grid()


def test_more_values_and_more_seeds_add_a_revision_and_keep_the_names(tmp_path: Path) -> None:
    larger = make_grid((1, 2, 4), (42, 43, 44))
    store = written(tmp_path, make_sweep(), make_sweep(larger))
    assert len(revisions(store)) == 2
    assert store.sweep().grid == larger
    assert {cell.name for cell in make_grid()} <= {cell.name for cell in store.sweep().grid}


@pytest.mark.parametrize(
    "grid", [make_grid((1, 4)), make_grid((4,)), make_grid((1, 2), (43, 44)), make_grid((1, 2, 4), (42,))]
)
def test_a_grid_that_would_lose_cells_is_refused_and_nothing_is_written(tmp_path: Path, grid: Grid) -> None:
    store = written(tmp_path, make_sweep())
    before = (tmp_path / "sweep.json").read_bytes()
    with pytest.raises(SweepError, match="the sweep here has cells that the new grid lacks") as caught:
        write_sweep(store, make_sweep(grid), {})
    assert "width 1, 2" in str(caught.value)
    assert (tmp_path / "sweep.json").read_bytes() == before


def test_another_configuration_is_refused_with_the_fields_that_differ(tmp_path: Path) -> None:
    store = written(tmp_path, make_sweep(options={"lr": 1, "a": {"b": 1, "c": 2}}))
    before = (tmp_path / "sweep.json").read_bytes()
    with pytest.raises(SweepError, match=r"different in: options\.a\.b, options\.lr;") as caught:
        write_sweep(store, make_sweep(options={"lr": 2, "a": {"b": 2, "c": 2}}), {})
    assert str(tmp_path) in str(caught.value)
    assert (tmp_path / "sweep.json").read_bytes() == before


def test_the_analysis_of_the_first_revision_governs(tmp_path: Path) -> None:
    later = {"primary_metrics": ["accuracy"], "reference": {"width": 1}, "alpha": 0.1}
    store = written(tmp_path, make_sweep(), make_sweep(make_grid((1, 2, 4)), analysis=later))
    assert store.sweep().analysis == make_sweep().analysis
    assert revisions(store)[1]["analysis"] == later


def test_an_edited_analysis_of_the_same_cells_is_recorded_and_does_not_govern(tmp_path: Path) -> None:
    later = {"primary_metrics": ["accuracy"], "reference": None, "alpha": 0.1}
    store = written(tmp_path, make_sweep(), make_sweep(analysis=later), make_sweep(analysis=later))
    assert [entry["analysis"]["alpha"] for entry in revisions(store)] == [0.05, 0.1]
    assert store.sweep().analysis["alpha"] == 0.05


def test_what_is_no_identity_follows_the_newest_wish(tmp_path: Path) -> None:
    first = make_sweep(sections={"data": {"dir": "/old"}}, data_digest="d")
    moved = make_sweep(make_grid((1,)), sections={"data": {"dir": "/new"}}, data_digest="d", checkpoint_seconds=5.0)
    store = written(tmp_path, first, moved)
    assert store.sweep().sections["data"]["dir"] == "/new"
    assert store.sweep().checkpoint_seconds == 5.0
    assert store.sweep().grid == make_grid()
    assert store.sweep().config_digest == first.config_digest


def test_asking_what_would_be_admitted_writes_nothing(tmp_path: Path) -> None:
    store = written(tmp_path, make_sweep())
    before = (tmp_path / "sweep.json").read_bytes()
    assert len(admit(store, make_sweep(make_grid((1, 2, 4)))).grid) == 6
    assert (tmp_path / "sweep.json").read_bytes() == before


@pytest.mark.parametrize("left", ["individual_results/width_1_run_0", "packs/000001"])
def test_cells_without_a_sweep_json_are_refused_and_nothing_is_written(tmp_path: Path, left: str) -> None:
    """What trained them is not known any more: other code would resume their states."""
    (tmp_path / left).mkdir(parents=True)
    with pytest.raises(SweepError, match=r"has cells of a sweep, but no sweep\.json that says which; restore"):
        make_store(tmp_path, make_sweep())
    assert not (tmp_path / "sweep.json").exists()


def test_an_empty_directory_admits_anything_and_stays_empty(tmp_path: Path) -> None:
    assert admit(Store(tmp_path / "none"), make_sweep()) == make_sweep()
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"revisions": []}', '{"revisions": [{}]}', '{"revisions": 3}'])
def test_a_sweep_json_that_is_none_is_named(tmp_path: Path, text: str) -> None:
    write(tmp_path / "sweep.json", text)
    with pytest.raises(SweepError, match=str(tmp_path / "sweep.json")) as caught:
        Store(tmp_path).sweep()
    assert len(str(caught.value).splitlines()) == 1


def test_a_directory_without_a_sweep_is_named(tmp_path: Path) -> None:
    with pytest.raises(SweepError, match=rf"{tmp_path}: there is no sweep here \(no sweep.json\); check the path"):
        Store(tmp_path).sweep()


@pytest.mark.parametrize("below", ["", "sweep.json", "packs", "individual_results/width_1_run_0"])
def test_a_path_beside_a_sweep_is_answered_with_the_sweep(store: Store, below: str) -> None:
    """As people name it: a file or folder in it, or the folder that they keep it in."""
    place = store.paths.root / below if below else store.paths.root.parent
    with pytest.raises(SweepError) as caught:
        Store(place).sweep()
    assert str(caught.value) == (f"{place}: there is no sweep here (no sweep.json); did you mean {store.paths.root}?")


def test_runs_are_added_behind_the_largest_seed_and_names_stay() -> None:
    sweep = make_sweep(make_grid(seeds=(7, 50)))
    assert sweep.with_runs(4).grid.seeds == (7, 50, 51, 52)
    assert sweep.with_runs(1).grid.seeds == (7,)
    assert sweep.with_runs(4).grid.covers(sweep.grid)


def test_a_sweep_of_a_later_version_with_more_keys_is_read(tmp_path: Path) -> None:
    store = written(tmp_path, make_sweep())
    data = json.loads((tmp_path / "sweep.json").read_text())
    data["revisions"][0]["something_new"] = 1
    write(tmp_path / "sweep.json", data)
    assert store.sweep() == make_sweep()


# --- where one can write --------------------------------------------------------------------------------------------


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    with pytest.raises(NotADirectoryError) as caught:
        check_writable(tmp_path / "a" / "b" / "c")
    assert caught.value.filename == str(tmp_path / "a")
    check_writable(tmp_path / "x" / "y")
    assert not (tmp_path / "x").exists()


NUMBERED: dict[str, Callable[[Store, Cell], int]] = {
    "packs": lambda store, cell: new_pack(store),
    "submissions": lambda store, cell: new_submission(store),
    "attempts": lambda store, cell: new_attempt(store, cell),
}


@pytest.mark.parametrize("kind", NUMBERED)
def test_numbers_begin_at_one_and_are_never_given_twice(store: Store, cells: list[Cell], kind: str) -> None:
    assert [NUMBERED[kind](store, cells[0]) for _ in range(3)] == [1, 2, 3]


def test_a_sweep_that_is_unlike_any_before_has_a_digest_of_its_own() -> None:
    sweep = make_sweep()
    assert replace(sweep, options={"a": 1}).config_digest != sweep.config_digest
    assert replace(sweep, data_digest="x").config_digest != sweep.config_digest
    assert replace(sweep, grid=make_grid((8,))).config_digest == sweep.config_digest


def test_a_link_in_the_place_of_a_cell_has_its_own_time_stamp_and_may_lead_nowhere(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.paths.results_root.mkdir()
    link = store.paths.results_root / "cell"
    link.symlink_to(tmp_path / "none")
    assert store.stamps() == {"cell": link.lstat().st_mtime_ns}
