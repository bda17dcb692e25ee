"""The family of tests, fixed before the first job: what the configuration declares, or the default; and what of it
cannot be tested, with the reason, for `plan` to say."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hpc.checkout import BUILT_IN_TRAINER
from hpc.config.schema import AnalysisSection, DeclaredTest, RetentionSection
from hpc.faults import Faults
from hpc.sweep.cell import FactorValue
from hpc.sweep.definition import DeclaredTrainer
from hpc.sweep.grid import Grid

# The hypothesis of the built-in experiment: as the workspace narrows, is synergy kept in preference to the rest?
_BUILT_IN = RetentionSection(
    name="synergy prior hypothesis",
    kept="fusion_attr_synergy_loss",
    kept_name="synergy",
    other="fusion_attr_non_synergy_features_mse",
    other_name="basic attributes",
    factor="dim",
)
_BUILT_IN_FACTOR = "dim"

Levels = Mapping[str, Sequence[FactorValue]]


def declared_tests(
    section: AnalysisSection,
    primary: Sequence[str],
    reference: Mapping[str, Any] | None,
    trainer: DeclaredTrainer,
    grid: Grid,
    faults: Faults,
) -> list[dict[str, Any]]:
    """The tests as they go to sweep.json, chance levels written out. Faults are added, not raised."""
    levels: Levels = {axis.name: axis.values for axis in grid.axes}
    if section.tests is None:
        metric = next((name for name in primary[:1] if name in trainer.metrics), None)
        found = [*_hypothesis(section, trainer, levels), *_default(metric, reference, trainer, levels)]
    else:
        given = [] if section.retention is None else [("analysis.retention", DeclaredTest(retention=section.retention))]
        found = [*given, *((f"analysis.tests[{i}]", test) for i, test in enumerate(section.tests))]
    return [_written(field, test, trainer, levels, faults) for field, test in found]


def cannot_be_tested(analysis: Mapping[str, Any], trainer: DeclaredTrainer, grid: Grid) -> list[str]:
    """One line for whatever will not be tested, with the reason. analysis: as sweep.json carries it."""
    tests, primary = analysis.get("tests"), analysis.get("primary_metrics") or ()
    if tests is None:  # as earlier versions had it
        return []
    levels: Levels = {axis.name: axis.values for axis in grid.axes}
    lines = ["no test: one seed says nothing of chance"] if len(grid.seeds) == 1 else []
    for test in tests:
        factor = _factor_of(test)
        if factor in levels and (why := _why_not(test, factor, levels[factor], trainer)):
            lines.append(f"{_named(test)} cannot be tested: {why}")
        if "metric" in test and factor == _scaled_by(test["metric"], trainer):
            lines.append(f"{_named(test)} tests arithmetic: {factor} multiplies a term of {test['metric']}")
        lines += _left_out(test, factor, levels.get(factor, ()), trainer)
    tested = {_factor_of(test) for test in tests}
    for name, values in levels.items():
        if name not in tested and primary and trainer.target != BUILT_IN_TRAINER:
            lines.append(f"{name} is not tested: {_why_untested(name, values, primary[0], trainer)}")
    return lines


def check_metric(field: str, name: str, trainer: DeclaredTrainer, faults: Faults) -> None:
    """Add a fault unless the trainer declares this metric."""
    if name not in trainer.metrics:
        near = difflib.get_close_matches(name, list(trainer.metrics), n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"valid: {', '.join(trainer.metrics)}"
        faults.value(field, name, f"the trainer does not declare it; {hint}")


# --- the default ----------------------------------------------------------------------------------------------------


def _hypothesis(
    section: AnalysisSection, trainer: DeclaredTrainer, levels: Levels
) -> Iterator[tuple[str, DeclaredTest]]:
    asked = section.retention
    if "retention" not in section.model_fields_set and trainer.target == BUILT_IN_TRAINER:
        asked = _BUILT_IN if len(levels.get(_BUILT_IN_FACTOR, ())) > 1 else None
    if asked is not None:
        yield "analysis.retention", DeclaredTest(retention=asked)


def _default(
    metric: str | None, reference: Mapping[str, Any] | None, trainer: DeclaredTrainer, levels: Levels
) -> Iterator[tuple[str, DeclaredTest]]:
    """Of the first primary metric: its slope on each ordered factor, and two words compared if one is the reference.

    The built-in experiment asks about the dimension. Its scale is a weight within the loss, so losses depend on it by
    definition; how accuracy depends on it is shown, not tested.
    """
    if metric is None:
        return
    scaled_by = _scaled_by(metric, trainer)
    sloping = [name for name in levels if name != scaled_by and _slope_levels(name, levels, trainer) > 1]
    if trainer.target == BUILT_IN_TRAINER and _BUILT_IN_FACTOR in sloping:
        sloping = [_BUILT_IN_FACTOR]
    for name in sloping:
        yield "analysis.tests", DeclaredTest(metric=metric, slope=name)
    for name, values in levels.items():
        if name != scaled_by and not _ordered(name, values, trainer) and len(values) == 2 and reference is not None:
            others = [value for value in values if value != reference[name]]
            yield "analysis.tests", DeclaredTest(metric=metric, compare={name: [*others, reference[name]]})


# --- as declared ----------------------------------------------------------------------------------------------------


def _written(
    field: str, test: DeclaredTest, trainer: DeclaredTrainer, levels: Levels, faults: Faults
) -> dict[str, Any]:
    if test.retention is not None:
        inner = field if field == "analysis.retention" else f"{field}.retention"
        return {"retention": _retention(inner, test.retention, trainer, levels, faults)}
    check_metric(f"{field}.metric", str(test.metric), trainer, faults)
    if test.slope is not None:
        _check_slope(f"{field}.slope", test.slope, trainer, levels, faults)
        return {"metric": test.metric, "slope": test.slope}
    return {"metric": test.metric, "compare": _comparison(f"{field}.compare", test.compare or {}, levels, faults)}


def _check_slope(field: str, name: str, trainer: DeclaredTrainer, levels: Levels, faults: Faults) -> None:
    if name not in levels:
        faults.value(field, name, f"the grid has no such factor; valid: {', '.join(levels)}")
    elif not _ordered(name, levels[name], trainer):
        fix = "its levels have no order, so it has no slope; declare it ordered, or compare two of its levels"
        faults.value(field, name, fix)


def _comparison(field: str, compare: Mapping[str, Any], levels: Levels, faults: Faults) -> dict[str, Any]:
    """The two levels as the grid has them."""
    ((name, pair),) = compare.items()
    if name not in levels:
        faults.value(field, name, f"the grid has no such factor; valid: {', '.join(levels)}")
        return dict(compare)
    found = [next((value for value in levels[name] if value == asked), None) for asked in pair]
    absent = [asked for asked, value in zip(pair, found, strict=True) if value is None]
    if absent:
        faults.value(
            f"{field}.{name}", absent[0], f"the grid lacks this level; valid: {', '.join(map(str, levels[name]))}"
        )
    elif len(found) != 2 or found[0] == found[1]:
        faults.value(f"{field}.{name}", pair, "name two different levels, such as [ours, baseline]")
    return {name: found}


def _retention(
    field: str, asked: RetentionSection, trainer: DeclaredTrainer, levels: Levels, faults: Faults
) -> dict[str, Any]:
    _check_slope(f"{field}.factor", asked.factor, trainer, levels, faults)
    chances = {f"{side}_chance": _chance(field, side, asked, trainer, faults) for side in ("kept", "other")}
    return asked.model_dump() | chances


def _chance(field: str, side: str, asked: RetentionSection, trainer: DeclaredTrainer, faults: Faults) -> float | None:
    """What guessing reaches in one of the two metrics: as given, or as the trainer declares it."""
    name: str = getattr(asked, side)
    check_metric(f"{field}.{side}", name, trainer, faults)
    declared = trainer.metrics.get(name)
    if declared is None:
        return None
    given: float | None = getattr(asked, f"{side}_chance")
    chance = declared.get("chance") if given is None else given
    if chance is None:
        faults.add(f"{field}.{side}_chance", f"{field}.{side}_chance is missing; {name} declares no chance")
        return None
    if (declared["better"] == "lower" and chance <= 0) or (declared["better"] == "higher" and chance >= 1):
        fix = "guessing leaves nothing to learn there; an error needs a chance above 0, a score one below 1"
        faults.value(f"{field}.{side}_chance", chance, fix)
        return None
    return float(chance)


# --- reasons --------------------------------------------------------------------------------------------------------


def _factor_of(test: Mapping[str, Any]) -> str:
    if "retention" in test:
        return str(test["retention"]["factor"])
    return str(test["slope"] if "slope" in test else next(iter(test["compare"])))


def _named(test: Mapping[str, Any]) -> str:
    if "retention" in test:
        return f"the hypothesis (retention over {_factor_of(test)})"
    what = f"slope on {_factor_of(test)}" if "slope" in test else f"comparison over {_factor_of(test)}"
    return f"{test['metric']}, {what},"


def _why_not(test: Mapping[str, Any], name: str, values: Sequence[FactorValue], trainer: DeclaredTrainer) -> str:
    usable = _slope_levels(name, {name: values}, trainer) if "slope" in test else len(values)
    if usable > 1:
        return ""
    return f"{name} has one level" if len(values) == 1 else f"{name} has fewer than two levels with a logarithm"


def _why_untested(name: str, values: Sequence[FactorValue], metric: str, trainer: DeclaredTrainer) -> str:
    if len(values) == 1:
        return "it has one level"
    if name == _scaled_by(metric, trainer):
        return f"it multiplies a term of {metric}"
    if not _ordered(name, values, trainer):
        declare = f"{{metric: {metric}, compare: {{{name}: [{values[0]}, {values[1]}]}}}}"
        return f"its levels have no order; {declare} in analysis.tests compares two"
    if _slope_levels(name, {name: values}, trainer) > 1:
        return f"{{metric: {metric}, slope: {name}}} in analysis.tests tests it"
    return "fewer than two of its levels have a logarithm"


def _left_out(test: Mapping[str, Any], name: str, values: Sequence[FactorValue], trainer: DeclaredTrainer) -> list[str]:
    off = [value for value in values if _logarithmic(name, trainer) and isinstance(value, int | float) and value <= 0]
    if not off or "slope" not in test or _slope_levels(name, {name: values}, trainer) < 2:
        return []
    return [f"{_named(test)} leaves out {name} {', '.join(map(str, off))}, which has no logarithm"]


def _ordered(name: str, values: Sequence[FactorValue], trainer: DeclaredTrainer) -> bool:
    numeric = not any(isinstance(value, str) for value in values)
    return bool(trainer.factors.get(name, {}).get("ordered", numeric))


def _logarithmic(name: str, trainer: DeclaredTrainer) -> bool:
    return bool(trainer.factors.get(name, {}).get("log", False))


def _scaled_by(metric: str, trainer: DeclaredTrainer) -> str:
    """The factor that multiplies a term of a metric; empty if there is none."""
    return str(trainer.metrics.get(metric, {}).get("scaled_by", ""))


def _slope_levels(name: str, levels: Levels, trainer: DeclaredTrainer) -> int:
    """How many levels a slope on this factor has."""
    values = levels.get(name, ())
    if not _ordered(name, values, trainer):
        return 0
    return sum(isinstance(value, str) or value > 0 or not _logarithmic(name, trainer) for value in values)
