"""The analysis section against the grid and the trainer's declaration: what is fixed before the first job."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hpc.config.declared_tests import check_metric, declared_tests
from hpc.config.schema.analysis import AnalysisSection
from hpc.errors import unknown_key
from hpc.faults import Faults
from hpc.sweep.definition import DeclaredTrainer
from hpc.sweep.grid import Grid

_BUILT_IN_PRIMARY = ("predictability/synergy_acc", "best_val_loss")


def check_analysis(
    section: AnalysisSection,
    trainer: DeclaredTrainer,
    grid: Grid,
    search: Sequence[Path],
    faults: Faults,
    *,
    other_grid: bool,
) -> dict[str, Any]:
    """The section as it goes to sweep.json, with all defaults written out. Faults are added, not raised.

    search: directories for files of figures, in order. other_grid: the grid is not the file's own; then a reference
    condition that it lacks is left out.
    """
    primary = section.primary_metrics
    if primary is None:
        primary = [name for name in _BUILT_IN_PRIMARY if name in trainer.metrics] or list(trainer.metrics)[:1]
    for i, name in enumerate(primary):
        check_metric(f"analysis.primary_metrics[{i}]", name, trainer, faults)
    for name in section.equivalence_margin:
        check_metric(f"analysis.equivalence_margin.{name}", name, trainer, faults)
    for name in section.labels:
        if name not in (known := [*trainer.metrics, *trainer.factors]):
            faults.add("analysis.labels", unknown_key(f"analysis.labels.{name}", name, known))
    reference = _reference(section.reference, grid, faults, other_grid)
    figures = [
        figure_target(f"analysis.figures[{i}]", target, search, faults) for i, target in enumerate(section.figures)
    ]
    return {
        "primary_metrics": primary,
        "reference": reference,
        **section.model_dump(include={"alpha", "looks", "equivalence_margin", "last_epochs", "formats"}),
        **({"labels": section.labels} if section.labels else {}),
        "tests": declared_tests(section, primary, reference, trainer, grid, faults),
        "figures": figures,
    }


def figure_target(field: str, target: str, search: Sequence[Path], faults: Faults) -> str:
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
    if reference is not None and grid.rules and not other_grid and not grid.has(tuple(found.items())):
        faults.value("analysis.reference", reference, "the sweep has no such condition; name one that it has")
    if grid.rules and not grid.has(tuple(found.items())):
        return None
    for name in asked if reference is not None else ():
        if name not in values and values:
            faults.add("analysis.reference", unknown_key(f"analysis.reference.{name}", name, values))
    return found
