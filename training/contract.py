"""What a trainer gets from Holdfast and what it must give. Standard library only.

A trainer is a function ``train(cells, options, run)`` in a module that states, as two literal dictionaries at its top
level, what it can vary and what it measures. The literals are read without importing the module, so planning and
aggregation never load torch or anything else the trainer needs:

    FACTORS = {"width": {"kind": "integer", "minimum": 1}}
    METRICS = {"accuracy": {"kind": "bounded", "better": "higher", "chance": 0.5}}
    PACK_MODE = "sequential"            # how the cells of one task are trained, see below

PACK_MODE is "sequential" (one call for each cell, one after another), "concurrent" (one call for each cell, side by
side: a process for each cell, all on the task's GPU, sharing its CPUs) or "fused" (one call with all cells of the pack,
to be trained as one batch). A trainer gives the same numbers in either of the first two and need not know which it is.

``train`` gets the cells of one task, restores each, trains until it is finished or ``run.stop`` is true, and hands
over epochs, checkpoints and final metrics through ``run``. It needs to know nothing of Slurm, files or preemption:

    def train(cells, options, run):
        for cell in cells:
            saved = run.restore(cell)
            ...
            if run.checkpoint_due():
                run.save({cell: Checkpoint(step=step, values={"x": x})})
            ...
            if run.stop:
                run.save({cell: Checkpoint(step=step, values={"x": x})})
                return
            run.finish(cell, {"accuracy": accuracy})
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NotRequired, Protocol, TypedDict

FactorValue = int | float | str


class Factor(TypedDict):
    """One entry of a trainer's FACTORS.

    kind: integer, real or word.
    minimum: smallest value allowed, for numbers.
    ordered: whether the order of the values means something (a slope makes sense). Default: true for numbers.
    field: name of this factor in results.json and aggregated_results.json. Default: the factor's name.
    label: axis label in figures. Default: the factor's name.
    slug: name of the factor in file names of figures. Default: the factor's name.
    log: whether figures use a logarithmic axis. Default: false.
    overrides: dotted configuration key that this factor stands for (its configured value is then not part of a
        cell's identity).
    """

    kind: Literal["integer", "real", "word"]
    minimum: NotRequired[float]
    ordered: NotRequired[bool]
    field: NotRequired[str]
    label: NotRequired[str]
    slug: NotRequired[str]
    log: NotRequired[bool]
    overrides: NotRequired[str]


class Metric(TypedDict):
    """One entry of a trainer's METRICS.

    kind: bounded (in [0, 1]), positive (0 or more) or real: decides the interval that suits it.
    better: the direction of improvement.
    chance: what guessing would reach; drawn as a base line.
    label: axis label in figures. Default: the metric's name.
    """

    kind: Literal["bounded", "positive", "real"]
    better: Literal["higher", "lower"]
    chance: NotRequired[float]
    label: NotRequired[str]


class Cell(Protocol):
    """One cell of the grid as a trainer sees it; hashable."""

    @property
    def name(self) -> str: ...
    @property
    def factors(self) -> Mapping[str, FactorValue]: ...
    @property
    def seed(self) -> int: ...
    @property
    def run_id(self) -> int: ...


@dataclass(frozen=True)
class Checkpoint:
    """All that is needed to go on with one cell as if nothing had happened.

    step: optimizer steps done (any count that only grows).
    arrays: numpy arrays (or what numpy.asarray takes without a copy), of any shape and plain dtype.
    values: plain JSON values; numbers come back as they went in.
    The metrics given to Run.epoch so far are saved with it and need not be repeated here.
    """

    step: int
    arrays: Mapping[str, Any] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)


class ContractError(Exception):
    """The trainer did something the contract does not allow; the message names cell, value and fix."""


class Run(Protocol):
    """What a trainer may ask and must tell while it trains one task's cells."""

    @property
    def stop(self) -> bool:
        """True once the task should end: preemption, time limit, Ctrl-C, or every cell taken over elsewhere.
        Look at it at every step, save, and return."""
        ...

    @property
    def config(self) -> Mapping[str, Any]:
        """The validated sections data, model, synergy, training and experiment of the configuration.
        ``experiment`` is {"name": ..., "weights": {...}}, the chosen loss configuration."""
        ...

    @property
    def device(self) -> str:
        """The device asked for: cpu or cuda. A trainer must not fall back to another one."""
        ...

    @property
    def threads(self) -> int:
        """CPU threads this task may use."""
        ...

    def numerics(self, **facts: str | int) -> None:
        """State what bit-identity depends on (device type, dtype, kernel, library versions). Call before restore.
        A cell that is restored under other numerics is stamped in its provenance."""
        ...

    def restore(self, cell: Cell) -> Checkpoint | None:
        """The newest valid checkpoint of this cell over all its attempts; None if there is none."""
        ...

    def checkpoint_due(self) -> bool:
        """Whether the interval since the last checkpoint has passed."""
        ...

    def save(self, checkpoints: Mapping[Cell, Checkpoint]) -> frozenset[Cell]:
        """Save all cells of the pack that are still training, crash-safe, as one new generation. The arrays may be
        changed afterwards; 1 MB and more is written while training goes on, and the log says when it is.
        Returns the cells that a newer attempt has claimed or finished: drop them."""
        ...

    def epoch(self, cell: Cell, epoch: int, of: int, metrics: Mapping[str, float]) -> None:
        """Record the metrics of one finished epoch (counted from 1, of the planned number).
        A non-finite number is recorded as missing. Raises ContractError for an undeclared metric."""
        ...

    def finish(
        self,
        cell: Cell,
        metrics: Mapping[str, float | None],
        *,
        best_epoch: int | None = None,
        weights: Mapping[str, Any] | None = None,
        diverged: bool = False,
    ) -> None:
        """Publish a cell's result, once and for all. ``diverged`` says training left the finite numbers:
        such a cell is not tried again. ``weights``: named numpy arrays, kept beside the result."""
        ...

    def fail(self, cell: Cell, cause: str) -> None:
        """Give one cell up in this attempt and go on with the others; ``cause`` is shown to the user."""
        ...


class Trainer(Protocol):
    """A trainer: see the module's text."""

    def __call__(self, cells: Sequence[Any], options: Mapping[str, Any], run: Any, /) -> None: ...
