"""The analysis section against the grid and the trainer's declaration: what is fixed before the first job."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from hpc.checkout import BUILT_IN_TRAINER
from hpc.config.schema import Analysis, Ratio
from hpc.errors import unknown_key
from hpc.faults import Faults
from hpc.sweep.definition import Trainer
from hpc.sweep.grid import Grid

# The hypothesis of the built-in experiment: as the workspace narrows, is synergy lost less than other information?
_BUILT_IN_RATIO = Ratio(
    numerator="fusion_attr_synergy_loss", denominator="fusion_attr_non_synergy_features_mse", factor="dim"
)
_BUILT_IN_PRIMARY = ("predictability/synergy_acc", "best_val_loss")


def check_analysis(
    section: Analysis, trainer: Trainer, grid: Grid, search: Sequence[Path], faults: Faults, *, other_grid: bool
) -> dict[str, Any]:
    """The section as it goes to sweep.json, with all defaults written out. Faults are added, not raised.

    search: directories for files of figures, in order. other_grid: the grid is not the file's own; then a reference
    condition that it lacks is left out.
    """
    primary = section.primary_metrics
    if primary is None:
        primary = [name for name in _BUILT_IN_PRIMARY if name in trainer.metrics] or list(trainer.metrics)[:1]
    for i, name in enumerate(primary):
        _check_metric(f"analysis.primary_metrics[{i}]", name, trainer, faults)
    for name in section.equivalence_margin:
        _check_metric(f"analysis.equivalence_margin.{name}", name, trainer, faults)
    figures = [_figure(f"analysis.figures[{i}]", target, search, faults) for i, target in enumerate(section.figures)]
    return {
        "primary_metrics": primary,
        "reference": _reference(section.reference, grid, faults, other_grid),
        **section.model_dump(include={"alpha", "correction", "equivalence_margin", "last_epochs", "formats"}),
        "ratio": _ratio(section, trainer, grid, faults),
        "figures": figures,
    }


def _figure(field: str, target: str, search: Sequence[Path], faults: Faults) -> str:
    """A user's figure function; a file by its absolute path, so that it is found wherever the sweep is aggregated."""
    source, _, function = target.rpartition(":")
    if not source or not function.isidentifier():
        faults.value(field, target, "write module:function or path/to/file.py:function")
        return target
    if not source.endswith(".py"):
        return target
    for base in search:
        if (base / source).is_file():
            return f"{(base / source).resolve()}:{function}"
    faults.value(field, target, "there is no such file")
    return target


def _check_metric(field: str, name: str, trainer: Trainer, faults: Faults) -> None:
    if name not in trainer.metrics:
        near = difflib.get_close_matches(name, list(trainer.metrics), n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"valid: {', '.join(trainer.metrics)}"
        faults.value(field, name, f"the trainer does not declare it; {hint}")


def _ratio(section: Analysis, trainer: Trainer, grid: Grid, faults: Faults) -> dict[str, Any] | None:
    """The ratio with both levels of chance written out; None if none is asked for or the grid cannot answer it."""
    axes = {axis.name: axis.values for axis in grid.axes}
    if "ratio" in section.model_fields_set:
        ratio = section.ratio
    else:
        can = trainer.target == BUILT_IN_TRAINER and _has_slope(axes.get("dim", ()))
        ratio = _BUILT_IN_RATIO if can else None
    if ratio is None:
        return None
    if ratio.factor not in axes:
        faults.value("analysis.ratio.factor", ratio.factor, f"the grid has no such factor; valid: {', '.join(axes)}")
    elif not _has_slope(axes[ratio.factor]):
        fix = "a slope needs two different values of it, above 0"
        faults.value("analysis.ratio.factor", ratio.factor, fix)
    chances = {side: _chance(side, ratio, trainer, faults) for side in ("numerator", "denominator")}
    return ratio.model_dump() | {f"{side}_chance": chance for side, chance in chances.items()}


def _has_slope(values: Iterable[object]) -> bool:
    return sum(1 for value in values if isinstance(value, int | float) and value > 0) > 1


def _chance(side: str, ratio: Ratio, trainer: Trainer, faults: Faults) -> float | None:
    """The error of guessing on one side of the ratio: as given, or as the trainer declares it for the metric."""
    name: str = getattr(ratio, side)
    _check_metric(f"analysis.ratio.{side}", name, trainer, faults)
    given: float | None = getattr(ratio, f"{side}_chance")
    declared = trainer.metrics.get(name, {})
    if declared and not (declared["better"] == "lower" or declared["kind"] == "bounded"):
        fix = "no error can be made of it; name a metric of which lower is better, or a bounded one"
        faults.value(f"analysis.ratio.{side}", name, fix)
        return None
    if given is not None or not declared:
        return given
    chance = declared.get("chance")
    if chance is None:
        faults.add(
            f"analysis.ratio.{side}_chance", f"analysis.ratio.{side}_chance is missing; {name} declares no chance"
        )
        return None
    error = float(chance if declared["better"] == "lower" else 1 - chance)
    if not error > 0:
        faults.value(f"analysis.ratio.{side}", name, "guessing makes no error there, so nothing is relative to it")
        return None
    return error


def _reference(reference: dict[str, Any] | None, grid: Grid, faults: Faults, other_grid: bool) -> dict[str, Any] | None:
    """The reference condition, its values as the grid has them. Default: dim 32, scale 1.0 if the grid has them."""
    values = {axis.name: axis.values for axis in grid.axes}
    asked = {"dim": 32, "scale": 1.0} if reference is None else reference
    found: dict[str, Any] = {}
    for name, options in values.items():
        match = next((v for v in options if name in asked and v == asked[name]), None)
        if match is None:
            if reference is not None and not (other_grid and name in asked):
                faults.value(f"analysis.reference.{name}", asked.get(name), f"valid: {', '.join(map(str, options))}")
            return None
        found[name] = match
    for name in asked if reference is not None else ():
        if name not in values and values:
            faults.add("analysis.reference", unknown_key(f"analysis.reference.{name}", name, values))
    return found
