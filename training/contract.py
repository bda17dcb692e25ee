"""What a trainer gets from Holdfast, and what it has to give. Standard library only.

A trainer is a function ``train(cells, options, run)`` in a module that declares at its top level, as literals, what it
varies and what it measures. Holdfast reads these literals without importing the module, so that planning and
aggregation never load torch, or anything else that the trainer needs::

    import random

    from training.contract import Checkpoint

    FACTORS = {"width": {"kind": "integer", "minimum": 1}}
    METRICS = {"error": {"kind": "positive", "better": "lower"}}


    def train(cells, options, run):
        for cell in cells:
            saved = run.restore(cell)
            step, x = (saved.step, saved.values["x"]) if saved else (0, random.Random(cell.seed).random())
            while step < options["steps"] and not run.stop:
                x -= 0.1 * x / cell.factors["width"]
                step += 1
                run.epoch(cell, step, options["steps"], {"error": abs(x)})
                if run.checkpoint_due():
                    run.save({cell: Checkpoint(step, values={"x": x})})
            if step < options["steps"]:
                run.save({cell: Checkpoint(step, values={"x": x})})
            else:
                run.finish(cell, {"error": abs(x)})

``train`` gets the cells of one task. It restores each of them, trains until the cell is finished or ``run.stop`` is
true, and reports epochs, checkpoints and final metrics through ``run``. It needs no knowledge of Slurm, files or
preemption. ``options`` is the section ``trainer_options`` of the configuration, as the user wrote it.

Four more literals are optional::

    OPTIONS = ["steps"]            # names in trainer_options; another one in a configuration is then refused
    PACK_MODE = "sequential"       # how the cells of one task are trained
    DATA_FILES = ["*.npy"]         # what the trainer reads, as patterns inside data.dir; default: every file
    SEEDED = "where x begins"      # what it draws from a cell's seed: the report says what intervals over seeds cover

``PACK_MODE`` is "sequential" (the default: one call per cell, one after another), "concurrent" (one call per cell, side
by side: each in a process of its own, all on the task's GPU, sharing its CPUs) or "fused" (one call with all cells of
the pack, to be trained as one batch). A trainer gives the same numbers in either of the first two modes and need not
know which it is. The content of the data files, but not their path, is part of a cell's identity.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NotRequired, Protocol, TypedDict

FactorValue = int | float | str


class FactorEntry(TypedDict):
    """One entry of a trainer's FACTORS.

    kind: integer, real or word.
    minimum: the smallest value allowed, for numbers.
    ordered: whether the order of the values means something, so that a slope makes sense. Default: true for numbers.
    field: name of this factor in results.json and aggregated_results.json. Default: the factor's name.
    label: axis label in figures. Default: the factor's name.
    slug: name of the factor in file names of figures. Default: the factor's name.
    log: whether figures use a logarithmic axis. Default: false.
    overrides: dotted configuration key that this factor replaces; the configured value is then not part of a cell's
        identity.
    about: what the factor is, in half a sentence for a reader of the report from outside the field.

    >>> width: Factor = {"kind": "integer", "minimum": 1, "label": "hidden units", "log": True}
    >>> method: Factor = {"kind": "word"}
    """

    kind: Literal["integer", "real", "word"]
    minimum: NotRequired[float]
    ordered: NotRequired[bool]
    field: NotRequired[str]
    label: NotRequired[str]
    slug: NotRequired[str]
    log: NotRequired[bool]
    overrides: NotRequired[str]
    about: NotRequired[str]


class MetricEntry(TypedDict):
    """One entry of a trainer's METRICS.

    kind: bounded (in [0, 1]), positive (0 or more) or real. It decides which confidence interval is reported.
    better: the direction of improvement.
    chance: the value that guessing reaches, in the metric's unit; figures show it as a base line.
    label: axis label in figures. Default: the metric's name.
    optional: a cell may end without a value of it. Default: false, and a cell whose final value is not finite is
        DIVERGED.
    scaled_by: a factor that multiplies a term of the metric, such as the weight of a loss in their sum. Its change with
        that factor is arithmetic, and it is neither tested nor compared over that factor.
    error: what kind of error the metric is, or is 1 minus a share of: "squared", or "cross entropy" in nats. A
        retention is then checked with information counted in nats as well (docs/statistics.md).
    about: what is measured, in half a sentence for a reader of the report from outside the field.

    >>> accuracy: Metric = {"kind": "bounded", "better": "higher", "chance": 0.5}
    >>> error: Metric = {"kind": "positive", "better": "lower", "label": "test error (m)"}
    """

    kind: Literal["bounded", "positive", "real"]
    better: Literal["higher", "lower"]
    chance: NotRequired[float]
    label: NotRequired[str]
    optional: NotRequired[bool]
    scaled_by: NotRequired[str]
    error: NotRequired[Literal["squared", "cross entropy"]]
    about: NotRequired[str]


class UnfitNodeError(RuntimeError):
    """For a trainer to raise where this machine lacks what it needs, and another one may have it.

    The task then ends at once: no cell is blamed, what was saved is kept, and another task resumes it. A node on which
    this happens twice is left out by later submissions. The message, one line, names what is missing.

    >>> raise UnfitNodeError("this machine has no license server")
    Traceback (most recent call last):
    training.contract.UnfitNodeError: this machine has no license server
    """


class Cell(Protocol):
    """One cell of the grid as a trainer sees it: hashable, and equal to itself after a restart.

    >>> cell.name, dict(cell.factors), cell.seed, cell.run_id
    ('width_8_run_1', {'width': 8}, 43, 1)
    """

    @property
    def name(self) -> str:
        """Factors and run, as in the names of directories; unique in a sweep."""
        ...

    @property
    def factors(self) -> Mapping[str, FactorValue]:
        """The cell's value of each factor, in the order of the axes."""
        ...

    @property
    def seed(self) -> int:
        """What every random number of this cell should follow from. Run r has the same seed in every condition."""
        ...

    @property
    def run_id(self) -> int:
        """Position of the seed in the sweep's list of seeds, from 0."""
        ...


@dataclass(frozen=True)
class Checkpoint:
    """All that is needed to continue one cell as if nothing had happened, random generators included.

    step: optimizer steps done, or any other count that only grows.
    arrays: numpy arrays (or what numpy.asarray takes without a copy), of any shape and plain dtype. Or functions
        without arguments that return such an array, which must no longer change: they are called when it is written,
        perhaps in another thread while training continues, so that a copy from a GPU can still be under way.
    values: plain JSON values; numbers come back exactly as they were.
    The metrics given to Run.epoch so far are saved with it and need not be repeated here.

    >>> import numpy as np
    >>> weights, generator = np.zeros(3), np.random.default_rng(0)
    >>> saved = Checkpoint(100, arrays={"weights": weights}, values={"rng": generator.bit_generator.state})
    >>> generator.bit_generator.state = saved.values["rng"]
    """

    step: int
    arrays: Mapping[str, Any] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)


class ContractError(Exception):
    """The trainer did something that the contract does not allow. The message names cell, value and fix.

    >>> run.epoch(cell, 1, 50, {"eror": 0.25})
    Traceback (most recent call last):
    training.contract.ContractError: width_8_run_1: metric 'eror' is not declared; did you mean 'error'?
    """


class Run(Protocol):
    """What a trainer asks and reports while it trains one task's cells.

    Every method raises ContractError for a cell that is not of this task, or that has already ended.
    """

    @property
    def stop(self) -> bool:
        """True once the task should end: preemption, time limit, Ctrl-C, or every cell taken over elsewhere.

        Look at it at every step; once it is true, save and return.

        >>> step = 0
        >>> while step < 1000 and not run.stop:
        ...     step += 1
        >>> if step < 1000:
        ...     run.save({cell: Checkpoint(step)})
        """
        ...

    @property
    def config(self) -> Mapping[str, Any]:
        """The validated sections data, model, synergy and training of the configuration, as far as the user wrote them.

        The built-in trainer gets them with their defaults, and ``experiment``, the chosen loss configuration:
        {"name": ..., "weights": {...}}.

        >>> run.config.get("training", {}).get("epochs", 50)
        50
        """
        ...

    @property
    def device(self) -> str:
        """The device to train on: cpu or cuda. A trainer must not fall back to another one.

        >>> run.device
        'cpu'
        """
        ...

    @property
    def threads(self) -> int:
        """CPU threads that this task may use, 1 or more.

        >>> run.threads >= 1      # in torch: torch.set_num_threads(run.threads)
        True
        """
        ...

    def numerics(self, **facts: str | int) -> None:
        """State what bit-identity depends on: device type, dtype, kernel, library versions. Call it before restore.

        If a cell is restored under other numerics, its result says so in its provenance.

        >>> import numpy
        >>> run.numerics(device=run.device, dtype="float32", numpy=numpy.__version__)
        """
        ...

    def stopped_early(self, cell: Cell) -> bool:
        """Whether ``stop_when`` of the configuration ends this cell after the epochs that it has reported.

        Ask before each epoch, also after `restore`; once it is true, finish the cell as after its last epoch. The
        answer follows from the metrics given to `epoch` alone. Without ``stop_when`` it is always False; with it, an
        epoch that is reported although it was True raises ContractError, and so does one without the rule's metric.

        >>> epoch = 0
        >>> while epoch < 50 and not run.stop and not run.stopped_early(cell):
        ...     epoch += 1
        ...     run.epoch(cell, epoch, 50, {"error": 0.25})
        >>> if epoch == 50 or run.stopped_early(cell):
        ...     run.finish(cell, {"error": 0.25})
        """
        ...

    def restore(self, cell: Cell) -> Checkpoint | None:
        """The newest valid checkpoint of this cell over all its attempts; None if there is none.

        Damaged checkpoints are set aside, and the one before is used.

        >>> saved = run.restore(cell)
        >>> step, x = (saved.step, saved.values["x"]) if saved else (0, 1.0)
        """
        ...

    def checkpoint_due(self) -> bool:
        """Whether the interval since the last checkpoint (``checkpoint.every_seconds``) has passed.

        >>> if run.checkpoint_due():
        ...     dropped = run.save({cell: Checkpoint(1)})
        """
        ...

    def save(self, checkpoints: Mapping[Cell, Checkpoint]) -> frozenset[Cell]:
        """Save all cells of the pack that are still training, crash-safe, as one new generation.

        The arrays may be changed as soon as this returns; 1 MB and more are copied and written while training
        continues, and so is what is given as functions. The log shows when they are on disk. Returns the cells that a
        newer attempt has claimed or finished: stop training them. Raises ContractError for a cell whose earlier state
        was never restored.

        >>> saved = run.restore(cell)
        >>> dropped = run.save({cell: Checkpoint(step=1, values={"x": 0.5})})
        >>> cell in dropped
        False
        >>> run.restore(cell).values["x"]
        0.5
        """
        ...

    def epoch(self, cell: Cell, epoch: int, of: int, metrics: Mapping[str, float]) -> None:
        """Record the metrics of one finished epoch, which is one row of history.csv.

        epoch: counted from 1; each epoch once and in order, across interruptions. of: the planned number of epochs.
        metrics: declared names; a non-finite number is recorded as missing.
        Raises ContractError for an epoch out of order, an undeclared metric, or a value that is not a number.

        >>> run.epoch(cell, 1, 50, {"error": 0.25})
        >>> run.epoch(cell, 2, 50, {"error": 0.20})
        """
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
        """Publish a cell's result, once and for all.

        metrics: declared names. A metric that is not optional must be reported here or by `epoch`; if its value is None
            or not finite, the cell is DIVERGED.
        best_epoch: counted from 1. weights: named numpy arrays, kept as weights.safetensors beside the result.
        diverged: training has left the finite numbers. Such a cell counts as done and is not trained again.
        Raises ContractError as `epoch` does.

        >>> import numpy as np
        >>> run.finish(cell, {"error": 0.2}, best_epoch=2, weights={"layer": np.ones((2, 3))})
        """
        ...

    def fail(self, cell: Cell, cause: str) -> None:
        """Give up one cell in this attempt and continue with the others.

        cause: one line, shown to the user. An exception that leaves ``train`` does the same for the cells of that
        call; a fused pack is first tried again in halves.

        >>> run.fail(cell, "the solver found no solution")
        """
        ...


class Trainer(Protocol):
    """A trainer; see the module's docstring."""

    def __call__(self, cells: Sequence[Any], options: Mapping[str, Any], run: Any, /) -> None: ...
