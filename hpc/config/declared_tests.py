"""The family of tests, fixed before the first job: what the configuration declares, or the default; and what of it
cannot be tested, with the reason, for `plan` to say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hpc.checkout import BUILT_IN_TRAINER
from hpc.config.schema.analysis import AnalysisSection, DeclaredTest, RetentionSection
from hpc.errors import nearest
from hpc.faults import Faults
from hpc.sweep.cell import FactorValue, value_text
from hpc.sweep.crossing import Crossings
from hpc.sweep.definition import DeclaredTrainer
from hpc.sweep.grid import Grid
from hpc.units import first_few

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
# As many combinations of levels are named; of more, these and how many there are.
_NAMED = 4

Levels = Mapping[str, Sequence[FactorValue]]
_DECADE = 10


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
        crossed = {
            name: values for name, values in levels.items() if _where(name, _used(name, levels, trainer), grid)[0]
        }
        found = [*_hypothesis(section, trainer, crossed), *_default(metric, reference, trainer, crossed)]
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
    lines = ["no test: one seed says nothing about chance"] if len(grid.seeds) == 1 else []
    for test in tests:
        factor = _factor_of(test)
        if factor in levels and (why := _why_not(test, factor, levels, trainer, grid)):
            lines.append(f"{_named(test)} cannot be tested: {why}")
        elif factor in levels and (where := _somewhere(test, factor, levels, trainer, grid)):
            lines.append(f"{_named(test)} is tested {where}")
        if "metric" in test and factor == _scaled_by(test["metric"], trainer):
            lines.append(f"{_named(test)} tests arithmetic: {factor} multiplies a term of {test['metric']}")
        if "slope" in test and (wide := _wide(factor, levels.get(factor, ()), trainer)):
            lines.append(f"{_named(test)} is per unit of {factor}, {wide}")
        lines += _left_out(test, factor, levels.get(factor, ()), trainer)
    tested = {_factor_of(test) for test in tests}
    for name, values in levels.items():
        if name not in tested and primary and trainer.target != BUILT_IN_TRAINER:
            lines.append(f"{name} is not tested: {_why_untested(name, values, primary[0], trainer, grid)}")
    return lines


def _wide(name: str, values: Sequence[FactorValue], trainer: DeclaredTrainer) -> str:
    """That levels differ by a factor of ten and more, as those that multiply do, and the way out; empty if not."""
    numbers = [value for value in values if not isinstance(value, str)]
    if len(numbers) < max(2, len(values)) or trainer.factors[name].get("log") or min(numbers) <= 0:
        return ""
    times = max(numbers) / min(numbers)
    fix = f"declare it as {name}: {{log: true}}, and the slope is per doubling"
    return f"whose largest level is {times:.3g} times the smallest; {fix}" if times >= _DECADE else ""


def check_metric(field: str, name: str, trainer: DeclaredTrainer, faults: Faults) -> None:
    """Add a fault unless the trainer declares this metric."""
    if name not in trainer.metrics:
        near = nearest(name, trainer.metrics)
        hint = f"did you mean {near!r}?" if near else f"valid: {', '.join(trainer.metrics)}"
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


def described(analysis: Mapping[str, Any]) -> str:
    """The tests of a sweep on one line, as a plan shows them; empty if there are none."""
    told = "; ".join(map(_asked, analysis.get("tests", ())))
    return f"tests: {told}" if told else ""


def _asked(test: Mapping[str, Any]) -> str:
    if "retention" in test:
        asked = test["retention"]
        return f"retention of {asked['kept']} against {asked['other']} over {asked['factor']}"
    if "slope" in test:
        return f"slope of {test['metric']} on {test['slope']}"
    (factor, (first, second)), *_ = test["compare"].items()
    return f"{test['metric']}: {factor} {first} against {second}"


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


def _why_not(test: Mapping[str, Any], name: str, levels: Levels, trainer: DeclaredTrainer, grid: Grid) -> str:
    values = levels[name]
    usable = _slope_levels(name, levels, trainer) if "slope" in test else len(values)
    if usable < 2:
        return f"{name} has one level" if len(values) == 1 else f"{name} has fewer than two levels with a logarithm"
    asked = _asked_for(test, name, levels, trainer)
    return "" if _where(name, asked, grid)[0] else _nowhere(name, asked, grid)


def _why_untested(name: str, values: Sequence[FactorValue], metric: str, trainer: DeclaredTrainer, grid: Grid) -> str:
    if len(values) == 1:
        return "it has one level"
    if name == _scaled_by(metric, trainer):
        return f"it multiplies a term of {metric}"
    if not _ordered(name, values, trainer):
        if not _where(name, values[:2], grid)[0]:
            return _nowhere(name, values[:2], grid)
        declare = f"{{metric: {metric}, compare: {{{name}: [{values[0]}, {values[1]}]}}}}"
        return f"its levels have no order; {declare} in analysis.tests compares two"
    if _slope_levels(name, {name: values}, trainer) < 2:
        return "fewer than two of its levels have a logarithm"
    used = _used(name, {name: values}, trainer)
    if not _where(name, used, grid)[0]:
        return _nowhere(name, used, grid)
    return f"{{metric: {metric}, slope: {name}}} in analysis.tests tests it"


def _somewhere(test: Mapping[str, Any], name: str, levels: Levels, trainer: DeclaredTrainer, grid: Grid) -> str:
    """On which combinations of the other factors a test is made, if that is not on all; else empty."""
    asked = _asked_for(test, name, levels, trainer)
    where, elsewhere = _where(name, asked, grid)
    if not elsewhere:
        return ""
    lacks = f"{len(elsewhere):,} other {'combination lacks' if len(elsewhere) == 1 else 'combinations lack'}"
    return f"at {first_few(where, _NAMED, '; ')} alone: {lacks} a level of {name}"


def _nowhere(name: str, asked: Sequence[FactorValue], grid: Grid) -> str:
    """Why levels cannot be compared that no combination of the other factors has."""
    if tie := grid.rules.tie_of(name):
        others = " and ".join(other for other in tie.factors if other != name)
        return f"{name} moves together with {others}, so that what it does by itself cannot be told"
    return f"no combination of the other factors has {name} {first_few(list(map(value_text, asked)), _NAMED)}"


def _where(name: str, asked: Sequence[FactorValue], grid: Grid) -> tuple[list[str], list[str]]:
    """Combinations of the other factors, in words, in which a factor has all these levels, and those in which not."""
    if not grid.rules:
        return ["everything"], []
    axis = [axis.name for axis in grid.axes].index(name)
    found = Crossings(tuple(axis.values for axis in grid.axes), [point for _, point in grid.conditions()]).of(axis)
    whole = found.whole([grid.axes[axis].values.index(value) for value in asked]).tolist()
    others = [other.name for other in grid.axes if other.name != name]
    names = [
        ", ".join(f"{other} {value_text(value)}" for other, value in zip(others, values, strict=True))
        for values in found.combinations
    ]
    sides = [[text for text, here in zip(names, whole, strict=True) if here is side] for side in (True, False)]
    return sides[0], sides[1]


def _asked_for(test: Mapping[str, Any], name: str, levels: Levels, trainer: DeclaredTrainer) -> Sequence[FactorValue]:
    """The levels that have to be compared with one another."""
    if "compare" in test:
        return [value for value in test["compare"][name] if value in levels[name]]
    return levels[name] if "retention" in test else _used(name, levels, trainer)


def _used(name: str, levels: Levels, trainer: DeclaredTrainer) -> Sequence[FactorValue]:
    """Levels that a slope on this factor has; of a factor without order, all."""
    logarithmic = trainer.factors.get(name, {}).get("log", False)
    return [value for value in levels[name] if not logarithmic or isinstance(value, str) or value > 0]


def _left_out(test: Mapping[str, Any], name: str, values: Sequence[FactorValue], trainer: DeclaredTrainer) -> list[str]:
    off = [value for value in values if value not in _used(name, {name: values}, trainer)]
    if not off or "slope" not in test or _slope_levels(name, {name: values}, trainer) < 2:
        return []
    return [f"{_named(test)} leaves out {name} {', '.join(map(str, off))}, which has no logarithm"]


def _ordered(name: str, values: Sequence[FactorValue], trainer: DeclaredTrainer) -> bool:
    numeric = not any(isinstance(value, str) for value in values)
    return bool(trainer.factors.get(name, {}).get("ordered", numeric))


def _scaled_by(metric: str, trainer: DeclaredTrainer) -> str:
    """The factor that multiplies a term of a metric; empty if there is none."""
    return str(trainer.metrics.get(metric, {}).get("scaled_by", ""))


def _slope_levels(name: str, levels: Levels, trainer: DeclaredTrainer) -> int:
    """How many levels a slope on this factor has."""
    values = levels.get(name, ())
    if not _ordered(name, values, trainer):
        return 0
    return len(_used(name, {name: values}, trainer))
