"""How many files and bytes a plan will leave in the sweep directory, before the figures and the report."""

from __future__ import annotations

import itertools
import operator
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from hpc.checkout import BUILT_IN_TRAINER, COMMAND_TRAINER, SCRIPT_TRAINER
from hpc.planning.plan import Plan
from hpc.storage.named_files import HISTORY, WEIGHTS, named_files
from hpc.sweep.cell import Cell
from hpc.sweep.definition import Sweep

# Programs keep their weights to themselves: what they leave is metrics.
_WEIGHTLESS = (SCRIPT_TRAINER, COMMAND_TRAINER)

# What a directory takes; a file of fewer bytes may take as much of a quota.
_DIRECTORY = 4096
# Of a cell: its directory and two of its attempt; results.json, config.json, log and claim. Measured.
_CELL_BYTES = 3 * _DIRECTORY + 3_600
# Of a task: the directory of its pack attempt, with its record, and a line of a task list.
_TASK_BYTES = _DIRECTORY + 600
_SUBMISSION_FILES, _SUBMISSION_BYTES = 8, 3 * _DIRECTORY + 8_000
# Of a number in history.csv; epochs where the configuration does not say how many.
_NUMBER_BYTES, _EPOCHS, _MOST_EPOCHS = 20, 50, 10**9
# The built-in networks: inputs and outputs of each domain (training/model; a test compares).
_SHAPES = ((11, 19), (13, 13))
# Larger ones are none that it would train.
_LARGEST_WIDTH, _MOST_LAYERS = 10**6, 64


@dataclass(frozen=True)
class Volume:
    """files: entries, directories included. bytes: theirs. without_weights: whether those of weights are not known."""

    files: int
    bytes: int
    without_weights: bool = False


def volume(
    plan: Plan,
    sweep: Sweep,
    finished: Iterable[Mapping[str, Any]] = (),
    pilot_weights: int = 0,
    code: tuple[int, int] = (0, 0),
) -> Volume:
    """finished: provenance of finished cells, which names the sizes of their files. pilot_weights: bytes of a cell's
    weights by a pilot, 0 if there was none. code: files and bytes of the snapshot, if it is still to be taken.
    """
    if not plan.n_cells:
        return Volume(0, 0)
    known = [size for provenance in finished if (size := _beside(provenance)) is not None]
    weights = 0 if sweep.keep["weights"] == "none" else pilot_weights * plan.n_cells or _built_in_weights(plan, sweep)
    if known:
        beside: float = plan.n_cells * statistics.mean(known)
    else:
        epochs = _epochs(sweep)
        beside = plan.n_cells * epochs * _NUMBER_BYTES * (1 + len(sweep.trainer.metrics)) + weights
    total = plan.n_cells * _CELL_BYTES + beside + len(plan.tasks) * _TASK_BYTES + _SUBMISSION_BYTES + code[1]
    unknown = not known and not weights and sweep.keep["weights"] != "none" and sweep.trainer.target not in _WEIGHTLESS
    return Volume(plan.files + _SUBMISSION_FILES + code[0], int(total), unknown)


def _epochs(sweep: Sweep) -> int:
    said = sweep.sections.get("training", {}).get("epochs")
    return said if isinstance(said, int) and 0 <= said <= _MOST_EPOCHS else _EPOCHS


def _beside(provenance: Mapping[str, Any]) -> int | None:
    """Bytes of the history and weights of a finished cell; None if its result does not name them."""
    named = named_files({"provenance": provenance})
    if named is None or HISTORY not in named:
        return None
    return sum(int(named[name]["bytes"]) for name in (HISTORY, WEIGHTS) if name in named)


def _built_in_weights(plan: Plan, sweep: Sweep) -> int:
    """Bytes of the weights of all cells of the built-in trainer; 0 for another one, which says nothing of them."""
    if sweep.trainer.target != BUILT_IN_TRAINER:
        return 0
    try:
        return sum(_network(sweep, cell) for task in plan.tasks for cell in task)
    except (KeyError, TypeError, ValueError):  # a sweep.json that its trainer will refuse
        return 0


def _network(sweep: Sweep, cell: Cell) -> int:
    """Bytes of a cell's weights: 4 a parameter, and the names of the tensors."""
    model = {**sweep.sections["model"], **_overrides(sweep, cell)}
    width, hidden, decoder = model["workspace_dim"], model["hidden_dim"], model["decoder_hidden_dim"]
    inner = operator.index(model["n_layers"]) + 1
    if not 0 < inner <= _MOST_LAYERS or not all(0 < size <= _LARGEST_WIDTH for size in (width, hidden, decoder)):
        raise ValueError(f"no such network: {model}")
    count = 0
    for inputs, outputs in _SHAPES:
        for sizes in ([inputs, *[hidden] * inner, width], [width, *[decoder] * inner, outputs]):
            count += sum((a + 1) * b for a, b in itertools.pairwise(sizes))
    return 4 * count + 80 * 8 * (inner + 1)


def _overrides(sweep: Sweep, cell: Cell) -> dict[str, Any]:
    """What a cell's factors say of the model."""
    places = {name: str(sweep.trainer.factors.get(name, {}).get("overrides", "")) for name in cell.factors}
    return {
        place.removeprefix("model."): cell.factors[name] for name, place in places.items() if place.startswith("model.")
    }
