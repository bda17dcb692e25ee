"""What a sweep's factors and metrics are called, drawn and measured against: the trainer's declaration, made whole.

Nothing about any experiment is known here; labels, slugs and chance levels come from sweep.json.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from hpc.sweep.cell import FactorValue
from hpc.sweep.definition import Sweep

_NOT_IN_FILE_NAMES = re.compile(r"[^A-Za-z0-9.+-]+")
_WIDE = 8.0  # highest level over lowest, from which on a linear axis crowds the low ones
BOUNDED, POSITIVE, REAL = "bounded", "positive", "real"
SQUARED, CROSS_ENTROPY = "squared", "cross entropy"


@dataclass(frozen=True)
class Factor:
    """One axis of the grid.

    field: its name in results; slug: its name in file names; log: declared to be logarithmic, so that slopes are per
    doubling; drawn_log: drawn logarithmically, since it is so declared or, with nothing declared, by its levels;
    ordered: whether it makes sense to join its levels by a line; about: what it is, for readers from outside; may be
    empty.
    """

    name: str
    field: str
    label: str
    slug: str
    values: tuple[FactorValue, ...]
    log: bool
    ordered: bool
    about: str = ""
    drawn_log: bool = False

    @property
    def numeric(self) -> bool:
        return _numeric(self.values)


@dataclass(frozen=True)
class Metric:
    """One measured quantity. kind: bounded, positive or real; better: higher or lower, empty if not declared.

    scaled_by: the factor that multiplies a term of it, so that it changes with that factor by definition; may be empty.
    error: squared or cross entropy, of which it is the mean, or 1 minus a share; may be empty. about: what it is, for
    readers from outside; may be empty.
    """

    name: str
    label: str
    slug: str
    kind: str
    better: str
    chance: float | None
    scaled_by: str = ""
    error: str = ""
    about: str = ""


def factors_of(sweep: Sweep) -> tuple[Factor, ...]:
    """The factors of a sweep in the order of its axes."""
    factors = sweep.trainer.factors
    return tuple(
        _factor(axis.name, axis.values, _labelled(sweep, axis.name, factors), sweep.trainer.field_of(axis.name))
        for axis in sweep.grid.axes
    )


def metrics_of(sweep: Sweep, found: Iterable[str]) -> tuple[Metric, ...]:
    """The metrics that were found, declared ones first in the order of their declaration, then others by name."""
    names = set(found)
    declared = sweep.trainer.metrics
    ordered = [name for name in declared if name in names] + sorted(names - set(declared))
    slugs = _distinct_slugs(ordered)
    return tuple(_metric(name, slugs[name], _labelled(sweep, name, declared)) for name in ordered)


def slug(name: str) -> str:
    """A name as it stands in file names: ``predictability/synergy_acc`` -> ``predictability_synergy_acc``."""
    return _NOT_IN_FILE_NAMES.sub("_", name).lstrip(".")[:100] or "_"


def _labelled(sweep: Sweep, name: str, declared: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    """A declaration with the label that the analysis gives, if it gives one; that one may change at any time."""
    labels = sweep.analysis.get("labels") or {}
    return {**declared.get(name, {}), **({"label": labels[name]} if name in labels else {})}


def _factor(name: str, values: tuple[FactorValue, ...], declared: Mapping[str, Any], field: str) -> Factor:
    return Factor(
        name=name,
        field=field,
        label=str(declared.get("label", name)),
        slug=slug(str(declared.get("slug", name))),
        values=values,
        log=bool(declared.get("log", False)),
        drawn_log=bool(declared.get("log", _multiplied(values))),
        ordered=bool(declared.get("ordered", _numeric(values))),
        about=str(declared.get("about", "")),
    )


def _numeric(values: Iterable[FactorValue]) -> bool:
    return not any(isinstance(value, str) for value in values)


def _multiplied(values: tuple[FactorValue, ...]) -> bool:
    """Whether levels such as 2, 4, 8 ... 128 lie more evenly by their logarithms, and far enough apart to need it."""
    levels = sorted({float(value) for value in values}) if _numeric(values) else []
    if len(levels) < 3 or levels[0] <= 0 or levels[-1] < _WIDE * levels[0]:
        return False
    steps = [high - low for low, high in pairwise(levels)]
    factors = [math.log(high / low) for low, high in pairwise(levels)]
    return max(factors) / min(factors) < max(steps) / min(steps)


def _metric(name: str, file_name: str, declared: Mapping[str, Any]) -> Metric:
    chance = declared.get("chance")
    return Metric(
        name=name,
        label=str(declared.get("label", name)),
        slug=file_name,
        kind=str(declared.get("kind", REAL)),
        better=str(declared.get("better", "")),
        chance=None if chance is None else float(chance),
        scaled_by=str(declared.get("scaled_by", "")),
        error=str(declared.get("error", "")),
        about=str(declared.get("about", "")),
    )


def _distinct_slugs(names: Iterable[str]) -> dict[str, str]:
    """``a/b`` and ``a_b`` must not overwrite each other's figures: later ones get a number."""
    slugs: dict[str, str] = {}
    taken = set[str]()
    for name in names:
        base, count = slug(name), 1
        candidate = base
        while candidate in taken:
            count += 1
            candidate = f"{base}_{count}"
        taken.add(candidate)
        slugs[name] = candidate
    return slugs
