"""Any schedule of tasks, readers, kills, stops, lagging views and damage: what must hold holds after every step."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from helpers.small_sweeps import make_grid, make_store, make_sweep
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from hpc.node import training_run
from hpc.node.attempt import PackAttempt
from hpc.node.training_run import TrainingRun
from hpc.storage import published
from hpc.storage.checkpoint import CorruptCheckpointError, decode
from hpc.sweep.cell import Cell
from hpc.sweep.states import COMPLETED, FAILED

from .processes import Process, World
from .toy import check_believed, train_cell

CELLS = list(make_grid((1, 2), (42,)))
MOST_LIVE = 3


class Protocol(RuleBasedStateMachine):
    """Tasks at two cells that come, go and die in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.store = make_store(self.directory / "out", make_sweep(make_grid((1, 2), (42,))))
        self.sweep = self.store.sweep()
        self.world = World(self.store.root)
        self.acknowledged: set[Cell] = set()
        self.seen: dict[Cell, bytes] = {}
        self.touched: set[Cell] = set()  # by a rule: such a cell may rightly be trained again
        self.damaged_checkpoints = False
        self.world.patch(training_run, "_PROGRESS_SECONDS", 0.0)  # the same operations whatever the clock says

    def teardown(self) -> None:
        try:
            for process in self.world.live:
                process.lagging = False
                process.finish()
            last = self.world.start(self._task(CELLS))
            last.finish()
            self.what_is_believed_is_whole_and_right()
            assert {status.state for status in self._statuses()} == {COMPLETED}
            for cell in CELLS:
                assert self.store.paths.history_file(cell).exists(), "a whole sweep has every curve"
                assert self.store.paths.weights_file(cell).exists()
        finally:
            self.world.close()
            shutil.rmtree(self.directory)

    # --- what processes do ----------------------------------------------------------------------------------------

    def _task(self, cells: list[Cell]):  # type: ignore[no-untyped-def]
        """A task as hpc.node.pack runs it, with a trainer of three steps."""

        def body(process: Process) -> None:
            for cell in cells:
                published.set_damaged_aside(self.store.paths, cell)
            left = [cell for cell in cells if not self.store.has_result(cell.name)]
            if not left:
                return
            attempt = PackAttempt.begin(self.store, self.sweep, left, 1, {})
            run = TrainingRun(attempt, stop_requested=lambda: process.stopped, device="cpu", threads=1, provenance={})
            for cell in left:
                if not run.stop:
                    train_cell(run, cell, self.acknowledged.add)
            attempt.end()

        return body

    # --- rules ----------------------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.world.live) < MOST_LIVE)
    @rule(cells=st.sampled_from([CELLS, CELLS[:1], CELLS[1:]]), lagging=st.booleans())
    def start(self, cells: list[Cell], lagging: bool) -> None:
        self.world.start(self._task(cells)).lagging = lagging

    @precondition(lambda self: self.world.live)
    @rule(data=st.data(), operations=st.sampled_from([1, 2, 3, 5, 8, 13, 21, 34, 55]))
    def step(self, data: st.DataObject, operations: int) -> None:
        data.draw(st.sampled_from(self.world.live)).step(operations)

    @precondition(lambda self: self.world.live)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.world.live)).finish()

    @precondition(lambda self: self.world.live)
    @rule(data=st.data())
    def kill(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.world.live)).kill()

    @precondition(lambda self: self.world.live)
    @rule(data=st.data())
    def ask_to_stop(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.world.live)).stopped = True

    @precondition(lambda self: self.world.live)
    @rule(data=st.data())
    def see_the_present(self, data: st.DataObject) -> None:
        """A cache of directories expires."""
        process = data.draw(st.sampled_from(self.world.live))
        process.listings.clear()

    @rule(cell=st.sampled_from(CELLS), name=st.sampled_from(["result_file", "history_file", "weights_file"]))
    def damage(self, cell: Cell, name: str) -> None:
        path = getattr(self.store.paths, name)(cell)
        if path.exists() and path.stat().st_size > 1:
            data = path.read_bytes()[: path.stat().st_size // 2]
            path.unlink()  # not through the other name of the same content
            path.write_bytes(data)
            self.touched.add(cell)

    @rule(cell=st.sampled_from(CELLS))
    def move_the_result_away_by_hand(self, cell: Cell) -> None:
        self.store.paths.result_file(cell).unlink(missing_ok=True)
        self.touched.add(cell)

    @rule(data=st.data())
    def damage_a_checkpoint(self, data: st.DataObject) -> None:
        found = sorted(self.store.paths.packs_root.glob("*/checkpoint-??????"))
        if found:
            path = data.draw(st.sampled_from(found))
            path.write_bytes(path.read_bytes()[:-1])
            self.damaged_checkpoints = True

    # --- what must hold -------------------------------------------------------------------------------------------

    def _statuses(self):  # type: ignore[no-untyped-def]
        return list(self.store.statuses(CELLS, self.sweep.config_digest))

    @invariant()
    def what_is_believed_is_whole_and_right(self) -> None:
        check_believed(self.store, CELLS, self.sweep.config_digest)

    @invariant()
    def a_result_never_changes(self) -> None:
        for cell in set(CELLS) - self.touched:
            if self.store.has_result(cell.name):
                data = self.store.paths.result_file(cell).read_bytes()
                assert self.seen.setdefault(cell, data) == data, "a result has changed"

    @invariant()
    def deterministic_training_is_never_in_conflict(self) -> None:
        for cell in CELLS:
            assert not self.store.paths.conflict_files(cell)
        assert all(status.state != FAILED for status in self._statuses())

    @invariant()
    def what_was_acknowledged_is_there(self) -> None:
        if self.damaged_checkpoints:
            return
        for cell in self.acknowledged:
            if self.store.has_result(cell.name) or self._rows(cell):
                continue
            # A result that was there allowed the checkpoints to go; then a rule damaged it or moved it away.
            assert self._lost_its_result(cell), f"{cell.name}: no state is left"

    def _rows(self, cell: Cell) -> list[int]:
        steps = []
        for attempt in self.store.attempts(cell):
            pack = self.store.pack_of(cell, attempt)
            for path in self.store.paths.generations(pack) if pack is not None else ():
                try:
                    steps += [row.step for row in decode(path.read_bytes()) if row.cell == cell.name]
                except CorruptCheckpointError:
                    continue
        return steps

    def _lost_its_result(self, cell: Cell) -> bool:
        return "published" in self.store.paths.log_file(cell).read_text() or any(
            self.store.paths.cell_directory(cell).glob("*.corrupt-*")
        )


Protocol.TestCase.settings = settings(
    max_examples=25,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)
TestProtocol = Protocol.TestCase
