"""The recorded step under an emulator of CUDA graphs (helpers/graphs.py), and the faults that it has to catch."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from helpers.graphs import CUDAGraph, emulated_gpu
from helpers.memory_run import MemoryRun, cell
from helpers.packs import bits, make_pack, make_setup, train_steps
from helpers.streams import EmulatedError, Stream, Watch
from torch import Tensor

from training.loop import loop, width
from training.loop.order import Batches
from training.loop.pack import Pack
from training.model.optimizer import Adam
from training.model.transfer import HostCopy, Lane
from training.steps.graph_step import GraphStep
from training.steps.torch_step import TorchStep
from training.workspace import train

CELLS = [cell(8, 1.0, 42), cell(16, 0.5, 43), cell(32, 10.0, 44)]
ALL_LOSSES = {"fusion": 0.5, "demi_cycle": 0.5, "cycle": 0.5, "translation": 0.5}
STEPS = 7


@pytest.fixture
def gpu() -> Iterator[None]:
    with emulated_gpu():
        yield


def expected(config: dict[str, Any], steps: int = STEPS) -> dict[str, bytes]:
    """What the plain step trains."""
    pack = make_pack(make_setup(config), CELLS)
    train_steps(pack, steps)
    assert type(pack._step) is TorchStep
    return bits(pack)


def recorded(config: dict[str, Any], steps: int = STEPS) -> Pack:
    """What the recorded step trains; on an emulated GPU."""
    pack = make_pack(make_setup(config), CELLS)
    train_steps(pack, steps)
    assert type(pack._step) is GraphStep
    return pack


def recorded_bits(config: dict[str, Any]) -> dict[str, bytes]:
    with emulated_gpu():
        return bits(recorded(config))


@pytest.mark.parametrize("weights", [{"fusion": 1.0}, ALL_LOSSES])
def test_the_recorded_step_trains_the_bits_of_the_plain_one(config: dict[str, Any], weights: dict[str, float]) -> None:
    config["experiment"]["weights"] = weights
    assert recorded_bits(config) == expected(config)


@pytest.mark.usefixtures("gpu")
def test_a_step_is_recorded_once_and_replayed_from_the_first_on(config: dict[str, Any]) -> None:
    pack = recorded(config)
    assert isinstance(pack._step, GraphStep)
    graph = pack._step._graph
    assert isinstance(graph, CUDAGraph)
    assert graph.replays == STEPS


@pytest.mark.slow
def test_a_whole_run_gives_the_results_of_one_without_graphs(
    config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    quick(config, monkeypatch)
    plain = MemoryRun(config)
    train(CELLS, {"kernel": "torch"}, plain)
    with emulated_gpu():
        run = MemoryRun(config, due_every=2)
        train(CELLS, {"kernel": "torch"}, run)
    for name, outcome in plain.finished.items():
        for epoch, other in zip(plain.history[name], run.history[name], strict=True):
            assert epoch == pytest.approx(other, rel=1e-12)  # on a GPU the sums of a pack are taken together
        assert all(np.array_equal(run.finished[name].weights[key], array) for key, array in outcome.weights.items())
    assert run.facts["pack"] == len(CELLS)


def quick(config: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Four visits an epoch."""
    monkeypatch.setattr(loop, "CHECK_EVERY", 10)
    monkeypatch.setattr(GraphStep, "stride", 10)
    config["data"]["batch_size"] = 250


@pytest.mark.slow
def test_a_checkpoint_that_is_copied_while_training_goes_on_resumes_to_the_same_results(
    config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    quick(config, monkeypatch)
    with emulated_gpu():
        straight = MemoryRun(config)
        train(CELLS, {"kernel": "torch"}, straight)
        stopped = MemoryRun(config, stop_at=6)
        train(CELLS, {"kernel": "torch"}, stopped)
        # The last save before the stop, and one in the middle of training, whose copies nobody has waited for since.
        killed = MemoryRun(config, due_every=2, stop_at=4)
        killed.save = once(killed.save)  # type: ignore[method-assign]
        train(CELLS, {"kernel": "torch"}, killed)
        for before in (stopped, killed):
            history = {name: rows for name, rows in before.history.items() if before.saved[name].step >= 32}
            resumed = MemoryRun(config, saved=before.saved, history=history)
            train(CELLS, {"kernel": "torch"}, resumed)
            assert resumed.history == straight.history


def once(save: Callable[..., Any]) -> Callable[..., Any]:
    """As for a task that is killed after its first checkpoint."""
    saves = [save]
    return lambda checkpoints: saves.pop()(checkpoints) if saves else frozenset()


@pytest.mark.slow
def test_a_cell_that_diverges_leaves_one_visit_later_and_changes_nothing(
    config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    quick(config, monkeypatch)
    doomed, runs = cell(8, 1e42, 45), []
    for queued in (False, True):
        run = MemoryRun(config)
        with emulated_gpu() if queued else nullcontext():
            train([*CELLS[:2], doomed], {"kernel": "torch"}, run)
        runs.append(run)
    on_cpu, on_gpu = runs
    assert on_gpu.finished[doomed.name] == on_cpu.finished[doomed.name]
    assert on_gpu.finished[doomed.name].diverged
    for one in CELLS[:2]:
        weights = on_gpu.finished[one.name].weights
        assert all(np.array_equal(weights[key], array) for key, array in on_cpu.finished[one.name].weights.items())


@pytest.mark.slow
def test_packs_that_are_computed_at_once_end_like_packs_in_turn(
    config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two architectures, with one cell that diverges, one that is taken over, and checkpoints."""
    quick(config, monkeypatch)
    monkeypatch.setattr(width, "NARROWEST", 1)
    doomed, taken = cell(8, 1e42, 45), cell(8, 2.0, 46)
    cells, runs = [*CELLS, doomed, taken, cell(8, 0.1, 47), cell(40, 1.0, 42), cell(40, 1.0, 43)], []
    for queued in (False, True):
        run = MemoryRun(config, due_every=2, taken={taken.name})
        with emulated_gpu() if queued else nullcontext():
            train(cells, {"kernel": "torch"}, run)
        runs.append(run)
    on_cpu, on_gpu = runs
    assert on_gpu.facts["pack"] == 2
    assert on_gpu.finished.keys() == on_cpu.finished.keys() == {one.name for one in cells} - {taken.name}
    for name, outcome in on_cpu.finished.items():
        weights = on_gpu.finished[name].weights
        assert all(np.array_equal(weights[key], array) for key, array in outcome.weights.items())


def two_packs(config: dict[str, Any]) -> list[Pack]:
    setup = make_setup(config)
    packs = [make_pack(setup, CELLS[:2]), make_pack(setup, CELLS[1:])]
    for _ in range(2):
        for pack in packs:
            train_steps(pack, 3)
            pack.finite()
    return packs


def test_packs_are_queued_in_lanes_that_do_not_wait_for_each_other(config: dict[str, Any]) -> None:
    with emulated_gpu():
        packs = two_packs(config)
        first, second = (pack._lane._stream for pack in packs)
        assert isinstance(first, Stream)
        assert isinstance(second, Stream)
        before = first.count
        with packs[0]._lane.work():
            for _ in range(40):  # more copies than there are streams
                HostCopy([packs[0]._state.squares])
        train_steps(packs[1], 1)
        assert first.count > before
        assert 0 < second.seen[first] <= before  # all that was there before the second was recorded, and no more


def no_start(self: Lane, device: torch.device) -> None:
    self._stream = torch.cuda.Stream()


def outside(self: Pack) -> Any:
    return self._state.at(self._done).checkpoints()


@pytest.mark.parametrize(
    ("where", "name", "fault", "message"),
    [
        (Lane, "__init__", no_start, "written yet"),
        (Lane, "join", lambda self: None, "written yet"),
        (Lane, "uses", lambda self, tensors: None, "freed"),
        (Pack, "checkpoints", outside, "written yet"),
    ],
    ids=["a lane that waits for nothing", "no join", "memory not held", "a checkpoint outside of the lane"],
)
def test_lanes_that_do_not_wait_where_they_must_are_caught(
    config: dict[str, Any], monkeypatch: pytest.MonkeyPatch, where: type, name: str, fault: Any, message: str
) -> None:
    def used() -> None:
        packs = two_packs(config)
        for pack in packs:
            pack.checkpoints()
        state = packs[0].state.rows([0])
        state.parameters.add_(1)
        two_packs(config).clear()  # without a look at what they have computed
        gc.collect()
        torch.ones(1).add_(1)

    with emulated_gpu():
        used()
    monkeypatch.setattr(where, name, fault)
    with emulated_gpu(), pytest.raises(EmulatedError, match=message):
        used()


@pytest.mark.usefixtures("gpu")
def test_whether_losses_are_finite_is_answered_one_call_later(config: dict[str, Any]) -> None:
    pack = make_pack(make_setup(config), CELLS)
    with pack._lane.work():
        pack.state.squares[1] = torch.nan
    assert pack.finite() == [True, True, True]
    with pack._lane.work():
        pack.state.squares[2] = torch.inf
    assert pack.finite() == [True, False, True]
    assert pack.finite() == [True, False, False]


@pytest.mark.usefixtures("gpu")
def test_a_copy_to_the_host_is_of_the_moment_it_was_asked_for_and_arrives_when_waited_for() -> None:
    source = torch.ones(3)
    copy = HostCopy([source])
    source.add_(1)
    assert not Stream.current.late  # it is not in training's own stream, which would wait for it
    assert copy._arriving[0].isnan().all()
    assert copy.wait()[0].tolist() == copy.wait()[0].tolist() == [1.0, 1.0, 1.0]


def test_orders_of_an_epoch_are_the_same_drawn_beside_training_in_turn_or_out_of_turn(config: dict[str, Any]) -> None:
    steps = [0, 100, 249, 250, 500, 250, 1000]
    plain = Batches([42, 43, 42], 8000, 32, torch.device("cpu"))
    with emulated_gpu():
        ahead = Batches([42, 43, 42], 8000, 32, torch.device("cpu"))
        for step in steps:
            assert ahead.between(step, step + 1).equal(plain.between(step, step + 1))


@pytest.mark.usefixtures("gpu")
def test_orders_are_drawn_into_pinned_memory_from_which_the_device_copies_by_itself() -> None:
    batches = Batches([42, 43], 8000, 32, torch.device("cpu"))
    batches.between(0, 1)
    epoch, drawing = batches._ahead or pytest.fail("none is drawn ahead")
    assert epoch == 1
    for orders in (batches._orders, drawing.result()):
        assert orders.data_ptr() in Watch.current.pinned


@pytest.mark.usefixtures("gpu")
def test_a_checkpoint_that_is_copied_to_ordinary_memory_is_caught(
    config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = recorded(config, 1)
    pack.checkpoints()
    original = torch.empty
    monkeypatch.setattr(torch, "empty", lambda *sizes, pin_memory=False, **options: original(*sizes, **options))
    with pytest.raises(EmulatedError, match="not pinned"):
        pack.checkpoints()


def planted(fault: Callable[[TorchStep], None]) -> Callable[[TorchStep, Tensor], None]:
    original = TorchStep.step

    def step(self: TorchStep, index: Tensor) -> None:
        original(self, index)
        fault(self)

    return step


@pytest.mark.parametrize(
    "fault",
    [
        lambda step: step._adam.steps.item(),
        lambda step: float(step._adam.steps),
        lambda step: step._gradients[step._gradients > 0].sum(),
        lambda step: step._gradients.masked_fill_(step._gradients.isnan(), 0.0).nonzero(),
        lambda step: step._gradients.cpu(),
        lambda step: step._gradients.sum().tolist(),
        lambda step: step._gradients.numpy(),
        lambda step: step._gradients.mul_(torch.tensor(0.5)),
    ],
    ids=["item", "float", "mask", "nonzero", "cpu", "tolist", "numpy", "tensor from the host"],
)
def test_what_makes_the_host_wait_is_caught(
    config: dict[str, Any], monkeypatch: pytest.MonkeyPatch, fault: Callable[[TorchStep], None]
) -> None:
    monkeypatch.setattr(TorchStep, "step", planted(fault))
    train_steps(make_pack(make_setup(config), CELLS), 1)  # outside of a recording it is allowed
    with emulated_gpu(), pytest.raises(EmulatedError, match="wait"):
        recorded(config)


def test_a_step_counter_that_is_frozen_into_the_graph_is_caught(
    config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    right = expected(config)
    original = Adam.step

    def frozen(self: Adam, gradients: Tensor) -> None:
        self.count = getattr(self, "count", 0) + 1  # type: ignore[attr-defined]
        self.steps.fill_(self.count - 1)
        original(self, gradients)

    monkeypatch.setattr(Adam, "step", frozen)
    assert expected(config) == right  # without graphs the host counts just as well
    assert recorded_bits(config) != right


def test_a_warm_up_that_leaks_into_the_weights_is_caught(
    config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TorchStep, "counters", lambda self: [])
    assert recorded_bits(config) != expected(config)


def test_a_tensor_that_a_step_replaces_instead_of_writing_to_it_is_caught(
    config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def replacing(step: TorchStep) -> None:
        step._adam.steps = step._adam.steps + 0.0

    right = expected(config)
    monkeypatch.setattr(TorchStep, "step", planted(replacing))
    assert expected(config) == right
    with emulated_gpu(), pytest.raises(EmulatedError, match="freed after the recording"):
        recorded(config)


def test_memory_that_was_freed_after_the_recording_is_caught(
    config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = GraphStep.run

    def forgetful(self: GraphStep, indices: Tensor, done: int) -> None:
        original(self, indices, done)
        self._batches = self._batches.clone()

    monkeypatch.setattr(GraphStep, "run", forgetful)
    monkeypatch.setattr(GraphStep, "stride", 4)
    with emulated_gpu(), pytest.raises(EmulatedError, match="freed after the recording"):
        recorded(config)


@pytest.mark.usefixtures("gpu")
class TestTheEmulator:
    """By its own rules, apart from training."""

    def graph_of(self, work: Callable[[], Any]) -> CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            work()
        assert isinstance(graph, CUDAGraph)
        return graph

    def test_what_a_recording_writes_is_put_back_and_a_replay_writes_it(self) -> None:
        x = torch.tensor([1.0, 2.0])
        graph = self.graph_of(lambda: x.add_(1).mul_(2))
        assert x.tolist() == [1.0, 2.0]
        graph.replay()
        assert x.tolist() == [4.0, 6.0]

    def test_numbers_of_the_host_are_those_of_the_recording(self) -> None:
        x, count = torch.zeros(1), [1.0]
        graph = self.graph_of(lambda: x.add_(count[0]))
        count[0] = 5.0
        graph.replay()
        assert x.tolist() == [1.0]

    def test_memory_of_the_recording_holds_nonsense_outside_of_a_replay(self) -> None:
        x, made = torch.ones(2), []
        graph = self.graph_of(lambda: made.append(x + 1))
        assert made[0].isnan().all()
        graph.replay()
        assert made[0].isnan().all()

    def test_a_late_copy_on_a_side_stream_arrives_when_it_is_waited_for(self) -> None:
        source, side = torch.ones(3), torch.cuda.Stream()
        host = torch.empty(3, pin_memory=True)
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            host.copy_(source, non_blocking=True)
        assert host.isnan().all()
        torch.cuda.current_stream().wait_stream(side)
        source.add_(1)
        assert host.tolist() == [1.0, 1.0, 1.0]

    def test_a_late_copy_on_the_main_stream_reads_in_its_turn(self) -> None:
        source, event = torch.ones(3), torch.cuda.Event()
        host = torch.empty(3, pin_memory=True)
        host.copy_(source, non_blocking=True)
        event.record()
        source.add_(1)
        assert host.isnan().all()
        event.synchronize()
        assert host.tolist() == [1.0, 1.0, 1.0]

    def test_what_another_stream_may_still_write_is_neither_read_nor_written(self) -> None:
        x, side = torch.zeros(3), torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            x.add_(1)
        for use in (lambda: x + 1, lambda: x.mul_(2), x.tolist):
            with pytest.raises(EmulatedError, match="may not have written yet"):
                use()
        torch.cuda.current_stream().wait_stream(side)
        assert (x + 1).tolist() == [2.0, 2.0, 2.0]

    def test_what_another_stream_may_still_read_is_not_written(self) -> None:
        x, side = torch.zeros(3), torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            found = x + 1
        assert (x * 2).tolist() == [0.0, 0.0, 0.0]
        with pytest.raises(EmulatedError, match="may not have read yet"):
            x.add_(1)
        side.synchronize()
        x.add_(1)
        assert found.tolist() == [1.0, 1.0, 1.0]

    @pytest.mark.parametrize("held", [False, True])
    def test_memory_that_another_stream_may_still_use_is_freed_only_if_that_one_holds_it(self, held: bool) -> None:
        x, side = torch.zeros(3).add_(1), torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            found = x + 1
            if held:
                x.record_stream(side)
        del x
        with nullcontext() if held else pytest.raises(EmulatedError, match="freed"):
            torch.ones(1).add_(1)
        assert held is False or found.shape == (3,)

    def test_a_graph_is_replayed_only_in_the_stream_that_it_was_recorded_in(self) -> None:
        x, side = torch.zeros(1), torch.cuda.Stream()
        graph = self.graph_of(lambda: x.add_(1))
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side), pytest.raises(EmulatedError, match="another stream"):
            graph.replay()

    def test_a_recording_that_forbids_it_to_all_threads_is_not_waited_beside(self) -> None:
        event = torch.cuda.Event()
        event.record()
        for mode, caught in (("global", pytest.raises(EmulatedError, match="thread")), ("thread_local", nullcontext())):
            with torch.cuda.graph(torch.cuda.CUDAGraph(), capture_error_mode=mode), caught:
                event.synchronize()
