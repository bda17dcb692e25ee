"""Populations with a known mean, for trying intervals on: textbook shapes, and a user's own seeds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from scipy import special

from aggregate.analysis.study import Study
from aggregate.analysis.summary import DELTA_LOGIT, LOG_T, MetricSummary
from aggregate.arrays import Floats
from aggregate.reading.declared import BOUNDED, POSITIVE, REAL

Draw = Callable[[Generator, tuple[int, ...]], Floats]
_FEWEST_RESIDUALS = 20


@dataclass(frozen=True)
class Population:
    """kind: bounded, positive or real, which decides the interval that suits. draw: seeds of any shape.
    geometric: the geometric mean of a positive one."""

    name: str
    kind: str
    mean: float
    median: float
    draw: Draw
    geometric: float = float("nan")


def textbook() -> Iterator[Population]:
    """Normal, skewed and bounded seeds, and seeds that collapse now and then."""
    yield Population("normal", REAL, 0.0, 0.0, lambda random, shape: random.normal(size=shape))
    for sigma in (0.5, 1.0):
        yield _lognormal(sigma)
    for mean, size in ((0.90, 60.0), (0.967, 60.0)):
        yield _beta(mean, size)
    collapse = 0.1
    yield Population(
        "10 % of seeds collapse",
        BOUNDED,
        (1 - collapse) * 0.9 + collapse * 0.3,
        float("nan"),
        lambda random, shape: np.where(random.random(shape) < collapse, 0.3, 0.9) + random.normal(0, 0.01, shape),
    )


def _lognormal(sigma: float) -> Population:
    mean = float(np.exp(sigma**2 / 2))
    draw: Draw = lambda random, shape: random.lognormal(0.0, sigma, shape)  # noqa: E731
    return Population(f"lognormal, sigma {sigma}", POSITIVE, mean, 1.0, draw, geometric=1.0)


def _beta(mean: float, size: float) -> Population:
    a, b = mean * size, (1 - mean) * size
    median = float(special.betaincinv(a, b, 0.5))
    return Population(f"accuracy about {mean}", BOUNDED, mean, median, lambda random, shape: random.beta(a, b, shape))


def own(study: Study) -> Iterator[Population]:
    """The primary metrics of a sweep: its pooled residuals around a middling condition."""
    for entry in study.summary.primary_metrics():
        if (found := _own(entry)) is not None:
            yield found


def _own(entry: MetricSummary) -> Population | None:
    """Residuals on the scale on which conditions are most alike, widened by what estimated means took from them."""
    kind = {DELTA_LOGIT: BOUNDED, LOG_T: POSITIVE}.get(entry.method, REAL)
    values = _scaled(entry.values, kind)
    rows = values[np.isfinite(values).sum(axis=1) > 1]
    n = np.isfinite(rows).sum(axis=1, keepdims=True)
    centre = np.nanmean(rows, axis=1, keepdims=True) if len(rows) else np.empty((0, 1))
    residuals = ((rows - centre) * np.sqrt(n / np.maximum(n - 1, 1)))[np.isfinite(rows)]
    if len(residuals) < _FEWEST_RESIDUALS:
        return None
    middle = float(np.median(centre)) + residuals - residuals.mean()
    members = special.expit(middle) if kind == BOUNDED else np.exp(middle) if kind == POSITIVE else middle
    name = f"your {entry.metric.name} ({len(members)} residuals)"
    draw: Draw = lambda random, shape: random.choice(members, shape)  # noqa: E731
    geometric = float(np.exp(np.log(members).mean())) if kind == POSITIVE else float("nan")
    return Population(name, kind, float(members.mean()), float(np.median(members)), draw, geometric)


def _scaled(values: Floats, kind: str) -> Floats:
    """Logits of bounded values, logarithms of positive ones; what has none (0, 1) is left out."""
    if kind == BOUNDED:
        inside = (values > 0) & (values < 1)
        return np.where(inside, special.logit(np.where(inside, values, 0.5)), np.nan)
    if kind == POSITIVE:
        return np.where(values > 0, np.log(np.where(values > 0, values, 1.0)), np.nan)
    return values
