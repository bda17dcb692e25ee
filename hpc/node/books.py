"""What an attempt keeps of each cell while it trains: from it come a checkpoint's row and a result's provenance."""

from __future__ import annotations

import math
import operator
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from hpc.errors import nearest
from hpc.storage.checkpoint import SavedCell
from hpc.sweep.cell import Cell
from hpc.sweep.definition import Sweep
from hpc.sweep.outcome import Outcome, history_csv, plain_number, weights_bytes
from hpc.sweep.states import COMPLETED, DIVERGED
from hpc.sweep.stopping import Stopping

if TYPE_CHECKING:
    from training.contract import Checkpoint, ContractError

Part = Mapping[str, Any]
_CURVE_POINTS = 16


@dataclass
class Book:
    """One cell's record in this attempt, and whether what a trainer says of the cell is as it declared.

    history: metrics of each finished epoch, over all attempts. stopping: the rule by which the cell ends early, if
    there is one, along its history. restored: the row that training resumed from, less its arrays. asked: whether the
    trainer has asked for a saved state. planned: number of epochs, 0 if not known yet.
    """

    cell: Cell
    sweep: Sweep
    history: list[dict[str, Any]] = field(default_factory=list)
    restored: SavedCell | None = None
    asked: bool = False
    planned: int | None = None
    began: float = field(default_factory=time.monotonic)
    stopping: Stopping | None = field(init=False)

    def __post_init__(self) -> None:
        rule = self.sweep.stop_rule
        self.stopping = Stopping(rule) if rule else None

    def resume(self, row: SavedCell) -> None:
        """Take over what earlier attempts have done."""
        self.history = [dict(entry) for entry in row.history]
        self.restored = replace(row, arrays={})
        self.planned = row.epochs

    @property
    def stops(self) -> bool:
        """Whether the cell's history says that it ends here."""
        return self.stopping is not None and self.stopping.follow(self.history)

    @property
    def stopped_early(self) -> dict[str, Any]:
        """Of a cell that ends now: which rule ended it before the last epoch that was planned; empty if none did."""
        planned = self.planned or 0
        if self.stopping is None or not self.stops or self.stopping.ended == planned:
            return {}
        return self.stopping.facts(planned)

    def repeats(self, step: int) -> bool:
        """Whether the state at this step is no further than the one that training resumed from."""
        before = self.restored
        return before is not None and step <= before.step and len(self.history) <= len(before.history)

    @property
    def seconds(self) -> float:
        """Training time that went into the cell's state, over all attempts."""
        return (self.restored.seconds if self.restored else 0.0) + time.monotonic() - self.began

    @property
    def progress(self) -> tuple[int, int]:
        """(epochs finished, epochs planned)."""
        return len(self.history), self.planned or 0

    def curve(self, metric: str) -> list[float]:
        """A metric over the epochs so far, thinned to what a line of text shows, of few digits."""
        values = [entry.get(metric) for entry in self.history]
        step = -(-len(values) // _CURVE_POINTS) or 1
        kept = values[(len(values) - 1) % step :: step]  # the last one among them
        return [float(f"{value:.3g}") for value in kept if value is not None and math.isfinite(value)]

    def lineage(self, code: str | None, numerics: Mapping[str, Any]) -> list[Part]:
        """Which code and numerics trained the cell, from which step on, earliest first; ours is the last.

        A part for each attempt that trained under something else than the one before it. Travelling in the checkpoint,
        it survives any number of stops: a cell trained under A, then B, then B again still says A.
        """
        ours = {"code": code, "numerics": dict(numerics)}
        if self.restored is None:
            return [{"from_step": 0, **ours}]
        before = list(self.restored.lineage)
        if not before:  # written by a version that kept the last numerics only
            before = [{"from_step": 0, "code": None, "numerics": dict(self.restored.numerics)}]
        same = (before[-1]["code"], before[-1]["numerics"]) == (ours["code"], ours["numerics"])
        return before if same else [*before, {"from_step": self.restored.step, **ours}]

    def add_epoch(self, epoch: int, of: int, metrics: Mapping[str, float]) -> None:
        """Note an epoch's metrics. of: number of epochs planned. Raises ContractError."""
        if epoch != len(self.history) + 1:
            raise self._refused(
                f"epoch {epoch} was reported after epoch {len(self.history)}; "
                "report each epoch once, and go on from restore() where training went on before"
            )
        measured = self._checked(metrics)
        self._check_goes_on(epoch, measured)
        self.history.append({"epoch": len(self.history) + 1, **measured})
        self.planned = of

    def outcome(
        self, metrics: Mapping[str, Any], best_epoch: int | None, weights: Mapping[str, Any] | None, diverged: bool
    ) -> tuple[Outcome, str]:
        """(the cell's outcome, the first metric that had to be a number and is none). Raises ContractError."""
        measured = self._checked(metrics)
        if not diverged:
            self._check_reported(measured)
            self._check_judged()
        absent = self._not_finite(measured)
        outcome = Outcome(
            status=DIVERGED if diverged or absent else COMPLETED,
            metrics=measured,
            best_epoch=None if best_epoch is None else operator.index(best_epoch),
            epochs=len(self.history),
            history_csv=history_csv(self.history, list(self.sweep.trainer.metrics)),
            weights=weights_bytes(weights) if weights is not None else None,
            stopped_early=self.stopped_early,
        )
        return outcome, absent

    def row(self, checkpoint: Checkpoint, code: str | None, numerics: Mapping[str, Any]) -> SavedCell:
        """The cell's row of a generation."""
        return SavedCell(
            cell=self.cell.name,
            cell_digest=self.sweep.cell_digest(self.cell),
            config_digest=self.sweep.config_digest,
            step=checkpoint.step,
            values=checkpoint.values,
            history=self.history,
            numerics=numerics,
            lineage=self.lineage(code, numerics),
            seconds=self.seconds,
            epochs=self.planned or 0,
            arrays=checkpoint.arrays,
        )

    # --- what a trainer may say -----------------------------------------------------------------------------------

    def _refused(self, why: str) -> ContractError:
        from training.contract import ContractError  # a task that trains nothing needs nothing of training

        return ContractError(f"{self.cell.name}: {why}")

    def _checked(self, metrics: Mapping[str, Any]) -> dict[str, float | None]:
        if not isinstance(metrics, Mapping):
            raise self._refused(f"metrics are {metrics!r}; give a mapping of their names to numbers")
        declared = self.sweep.trainer.metrics
        for name, value in metrics.items():
            if name not in declared:
                near = nearest(name, declared)
                hint = f"did you mean {near!r}?" if near else "add it to METRICS"
                raise self._refused(f"metric {name!r} is not declared; {hint}")
            try:
                plain_number(value)
            except (TypeError, ValueError, OverflowError):
                raise self._refused(f"metric {name!r} is {value!r}; give a number") from None
        return {name: plain_number(value) for name, value in metrics.items()}

    def _check_goes_on(self, epoch: int, measured: Mapping[str, Any]) -> None:
        """Raise ContractError for an epoch that stop_when does not allow, or cannot judge."""
        rule = self.sweep.stop_rule
        if rule is None:
            return
        if self.stops:
            raise self._refused(
                f"epoch {epoch} was reported, and stop_when had ended training after epoch "
                f"{epoch - 1} ({rule}); let the trainer ask run.stopped_early(cell) before each epoch, and finish the "
                "cell"
            )
        if rule.metric not in measured:
            raise self._refused(
                f"epoch {epoch} has no {rule.metric!r}, which stop_when.metric names; report it with "
                f"every epoch, or name one of {', '.join(measured) or 'those that are'}"
            )

    def _check_judged(self) -> None:
        """Raise ContractError for a cell that ends well without an epoch: stop_when has changed nothing, unnoticed."""
        if self.sweep.stop_rule is not None and not self.history:
            raise self._refused("no epoch was reported, so that stop_when cannot judge; report them")

    def _check_reported(self, measured: Mapping[str, float | None]) -> None:
        """Raise ContractError for a declared metric that neither an epoch nor the end has reported."""
        if self.sweep.metrics_are_free:
            return
        reported = {*measured, *(name for row in self.history for name in row)}
        for name, declared in self.sweep.trainer.metrics.items():
            if name not in reported and not declared.get("optional"):
                raise self._refused(
                    f"metric {name!r} was never reported; give it to finish() or epoch(), "
                    "or declare it 'optional': True"
                )

    def _not_finite(self, measured: Mapping[str, float | None]) -> str:
        """The first metric whose final value must be a number and is none; empty if there is none of that kind."""
        if self.sweep.metrics_are_free:
            return ""
        declared = self.sweep.trainer.metrics
        absent = (name for name, value in measured.items() if value is None and not declared[name].get("optional"))
        return next(absent, "")


def mixture(lineage: Sequence[Part]) -> dict[str, Any]:
    """What a result's provenance says of a cell that was not trained by one code under one numerics; else nothing.

    numerics_before: the last ones that were other than those at the end. trained_by: every part, in order.
    What a part does not know (code: None, numerics: {}) is not taken for a difference.
    """
    codes = {part["code"] for part in lineage if part["code"]}
    end = lineage[-1]["numerics"]
    others = [part["numerics"] for part in lineage if end and part["numerics"] and part["numerics"] != end]
    found: dict[str, Any] = {"numerics_before": dict(others[-1])} if others else {}
    if others or len(codes) > 1:
        found["trained_by"] = [dict(part) for part in lineage]
    return found
