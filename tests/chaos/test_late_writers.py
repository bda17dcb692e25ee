"""Processes that are stopped between a look and the call after it, and go on when the cell has another result."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.small_sweeps import make_store, make_sweep

from hpc.files import atomic
from hpc.node.attempt import PackAttempt
from hpc.storage import published
from hpc.storage.named_files import REPAIRED, WEIGHTS
from hpc.sweep.cell import Cell
from hpc.sweep.outcome import Outcome, history_csv, weights_bytes
from hpc.sweep.states import COMPLETED

from .model.processes import Process, World

CHANGES = ("replace", "link", "unlink", "rename")
MOST_CHANGES = 9  # that a process makes which gives a result's files their names


class Place:
    """A sweep of one cell, and the processes that are at work on it."""

    def __init__(self, root: Path) -> None:
        self.store = make_store(root, make_sweep())
        self.paths = self.store.paths
        self.cell: Cell = self.store.sweep().grid[0]
        self.world = World(self.store.root)

    def wins(self, value: float, submission: int = 1) -> Mapping[str, Any]:
        """Publish a result whose writer has not come to give its files their names."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(published, "link_outcome", lambda *_: None)
            self.finishes(value, submission)
        found: dict[str, Any] = json.loads(self.paths.result_file(self.cell).read_bytes())
        return found

    def finishes(self, value: float, submission: int = 1) -> None:
        attempt = PackAttempt.begin(self.store, self.store.sweep(), [self.cell], submission, {})
        attempt.publish(self.cell, outcome(value), {})

    def links(self, result: Mapping[str, Any]) -> Process:
        return self.world.start(lambda process: published.link_outcome(self.paths, self.cell, result))

    def moves_away(self) -> None:
        """By hand, as a person does it."""
        self.paths.result_file(self.cell).unlink()

    def strangers(self) -> None:
        self.paths.cell_directory(self.cell).mkdir(parents=True)
        self.paths.history_file(self.cell).write_bytes(outcome(9.0).history_csv)
        self.paths.weights_file(self.cell).write_bytes(outcome(9.0).weights or b"")

    def check(self, value: float) -> None:
        """The result, its history and its weights are those of one outcome, after one look at all of them."""
        (status,) = self.store.statuses([self.cell], self.store.sweep())
        assert (status.state, status.cause) == (COMPLETED, "")
        history = self.paths.history_file(self.cell).read_text().splitlines()[-1].split(",")[1]
        weights = np.frombuffer(self.paths.weights_file(self.cell).read_bytes()[-8:], dtype=np.float64)[0]
        result = json.loads(self.paths.result_file(self.cell).read_bytes())
        assert [result["metrics"]["loss"], float(history), float(weights)] == [value] * 3


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Place]]:
    """A fresh place for each schedule. What is synced when is for real disks (powercut.py)."""
    monkeypatch.setattr(os, "fsync", lambda fd: None)
    made: list[Place] = []

    def place() -> Place:
        if made:
            made[-1].world.close()
        made.append(Place(tmp_path / str(len(made))))
        return made[-1]

    yield place
    made[-1].world.close()


def outcome(value: float) -> Outcome:
    """What training gives, recognisable by one number in all its parts."""
    history = history_csv([{"epoch": 1, "loss": value}], ["loss"])
    return Outcome(COMPLETED, {"loss": value}, 1, 1, history, weights_bytes({"w": np.array([value])}))


def change(process: Process, times: int) -> None:
    """Stop a process right before its n-th change of a name from here on."""
    for _ in range(times):
        process.step(1)
        while not process.done and process.at not in CHANGES:
            process.step(1)


def test_the_last_copy_of_a_history_is_not_removed_where_a_stranger_loses_its_name_that_moment(
    places: Callable[[], Place],
) -> None:
    """Whoever sets a damaged result aside takes the name of its history, while the next winner is between looks."""
    for operations in itertools.count(1):
        place = places()
        place.strangers()
        winner = place.links(place.wins(1.0))
        winner.step(operations)
        for path in (place.paths.history_file(place.cell), place.paths.weights_file(place.cell)):
            with contextlib.suppress(FileNotFoundError):
                atomic.quarantine(path)
        ended = winner.done
        winner.finish()
        place.check(1.0)
        if ended:
            return


@pytest.mark.parametrize("killed", [False, True])
def test_what_a_later_result_has_published_is_never_overwritten_by_a_late_writer(
    places: Callable[[], Place], killed: bool
) -> None:
    for changes, more in itertools.product(range(1, MOST_CHANGES), range(1, 4) if killed else [0]):
        place = places()
        place.strangers()
        late = place.links(place.wins(1.0))
        change(late, changes)
        place.moves_away()
        place.finishes(2.0)
        if killed:
            change(late, more)
            late.kill()
        late.finish()
        place.check(2.0)


@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.parametrize("before", ["nothing", "strangers"])
def test_two_late_writers_put_nothing_beside_a_third_ones_result(
    places: Callable[[], Place], before: str, killed: bool
) -> None:
    """Each was stopped between its last look at results.json and the call that follows."""
    for first, second, then, more in itertools.product(*[range(1, 5)] * 3, range(1, 3) if killed else [0]):
        place = places()
        if before == "strangers":
            place.strangers()
        late = []
        for value, changes in ((1.0, first), (2.0, second)):
            late.append(place.links(place.wins(value)))
            change(late[-1], changes)
            place.moves_away()
        place.finishes(3.0)
        change(late[0], then)
        if killed:
            change(late[1], more)
            late[1].kill()
            late[0].kill()
        late[1].finish()
        late[0].finish()
        place.check(3.0)


def test_a_configuration_that_a_result_names_is_not_overwritten_by_a_late_attempt_of_another_one(
    places: Callable[[], Place],
) -> None:
    for changes in range(1, MOST_CHANGES):
        place = places()
        corrected = replace(place.store.sweep(), options={"lr": 0.1})
        place.paths.cell_directory(place.cell).mkdir(parents=True)
        place.paths.cell_config_file(place.cell).write_text('{"config_digest": "of before"}')
        late = place.world.start(
            lambda process, place=place: PackAttempt.begin(place.store, place.store.sweep(), [place.cell], 1, {})
        )
        process_changes = 0
        while not late.done and process_changes < changes:
            change(late, 1)
            process_changes += place.paths.attempts_directory(place.cell).exists()
        assert PackAttempt.begin(place.store, corrected, [place.cell], 2, {}).publish(place.cell, outcome(2.0), {})
        late.finish()
        (status,) = place.store.statuses([place.cell], corrected)
        assert (status.state, status.cause) == (COMPLETED, "")
        config = json.loads(place.paths.cell_config_file(place.cell).read_bytes())
        assert config["config_digest"] == corrected.config_digest


def test_a_reader_gives_no_files_to_a_cell_whose_directory_is_another_one_by_now(places: Callable[[], Place]) -> None:
    """A person moves the directory of a cell away while a command looks at it, and the cell is trained again."""
    for operations in itertools.count(1):
        place = places()
        directory = place.paths.cell_directory(place.cell)
        place.wins(1.0)
        reader = place.world.start(
            lambda process, place=place: list(place.store.statuses([place.cell], place.store.sweep()))
        )
        reader.step(operations)
        ended = reader.done
        directory.rename(directory.with_name("elsewhere"))
        place.wins(2.0)
        reader.finish()
        history = place.paths.history_file(place.cell)
        assert not history.exists() or history.read_bytes() == outcome(2.0).history_csv
        place.check(2.0)
        if ended:
            return


def test_weights_of_the_same_size_are_told_apart_where_a_look_costs_little(
    places: Callable[[], Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if these were above the size up to which a reader compares all bytes of what it repairs."""
    monkeypatch.setattr(published, "REPAIRED", {**REPAIRED, WEIGHTS: 0})
    place = places()
    late = place.wins(1.0)
    place.moves_away()
    place.wins(2.0)
    private = place.paths.private_weights(int(late["provenance"]["pack"]), place.cell)
    os.link(private, place.paths.weights_file(place.cell))  # stopped before this call until now, and killed after it
    place.check(2.0)
