"""Claims: the tests that were fixed before the first job, and beside them, stamped as such, exploratory ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from aggregate.analysis import BONFERRONI, Analysis
from aggregate.contrasts import Contrast, Levels, contrasts, level_means, per_seed
from aggregate.declaration import Metric
from aggregate.inference import benjamini_hochberg, bonferroni, holm, one_sample_t, page_p
from aggregate.ratio import never_learned, ratio_quantity
from aggregate.statistics import Floats
from aggregate.summary import MetricSummary, Summary
from aggregate.wording import counted
from hpc.sweep.states import MISSING, STARTED

SHOWN, NOT_SHOWN, WITHHELD, UNTESTABLE = "shown", "not shown", "withheld", "untestable"
RATIO = "ratio"


@dataclass(frozen=True)
class Quantity:
    """What is tested: values of shape (conditions, seeds). worst: what a failed cell counts as, one or two values;
    two where no direction is declared, and both must then agree."""

    metric: Metric
    values: Floats
    worst: tuple[float, ...]


@dataclass(frozen=True)
class Worst:
    """The same test with every failed cell counted as the worst value seen. cells: how many those are."""

    cells: int
    seeds: int
    estimate: float
    p: float


@dataclass(frozen=True)
class Claim:
    """One test. estimate: mean over seeds of a contrast, with its own (not simultaneous) interval low, high.

    kind: slope, interaction or ratio. factors: names. unit: what the estimate is per. per_seed: NaN where a seed lacks
    a condition; seeds of planned have all. p: two-sided t; adjusted: over the family. page: p of Page's L, a check.
    bar: why nothing may be claimed whatever the test says. status: shown, not shown, withheld or untestable; reason:
    why, or what else must be said.
    """

    metric: Metric
    kind: str
    factors: tuple[str, ...]
    unit: str
    confirmatory: bool
    per_seed: tuple[float, ...]
    seeds: int
    planned: int
    estimate: float
    low: float
    high: float
    p: float
    page: float
    worst: Worst | None
    adjusted: float = float("nan")
    status: str = UNTESTABLE
    reason: str = ""
    bar: str = ""


@dataclass(frozen=True)
class Claims:
    """family: the confirmatory tests, adjusted together. exploratory: all others, by Benjamini-Hochberg."""

    family: tuple[Claim, ...]
    exploratory: tuple[Claim, ...]
    alpha: float
    correction: str


def make_claims(summary: Summary, analysis: Analysis, planned: Levels) -> Claims:
    """All claims of a sweep. planned: the levels of every factor in the first revision of the grid.

    Contrasts over levels that were added later, and those of other metrics, are exploratory.
    """
    before = list(contrasts(summary.factors, planned))
    grown = any(len(planned.get(factor.name, ())) != len(factor.values) for factor in summary.factors)
    entries = {entry.metric.name: entry for entry in summary.metrics}
    primary = [
        _quantity(entries[metric.name]) if metric.name in entries else _absent(metric, summary)
        for metric in summary.primary
    ]
    others = [_quantity(entry) for name, entry in entries.items() if name not in analysis.primary]
    family = [*_tests(summary, primary, before), *_ratio_test(summary, analysis, before)]
    rest = list(_tests(summary, others, before, confirmatory=False))
    if grown:
        rest += _tests(summary, primary, list(contrasts(summary.factors)), confirmatory=False)
    correct = bonferroni if analysis.correction == BONFERRONI else holm
    return Claims(
        family=_judged(family, correct(_p_values(family)), analysis.alpha),
        exploratory=_judged(rest, benjamini_hochberg(_p_values(rest)), analysis.alpha),
        alpha=analysis.alpha,
        correction=analysis.correction,
    )


def failed_cells(values: Floats, states: NDArray[np.str_]) -> NDArray[np.bool_]:
    """Cells that ended without a value, whatever the reason; one that has not run yet is not among them."""
    return np.asarray(np.isnan(values) & (states != MISSING) & (states != STARTED))


def _quantity(entry: MetricSummary) -> Quantity:
    return Quantity(entry.metric, entry.values, _worst_values(entry.metric, entry.values))


def _absent(metric: Metric, summary: Summary) -> Quantity:
    """A primary metric that no result has still counts in the family."""
    return Quantity(metric, np.full(summary.states.shape, np.nan), ())


def _worst_values(metric: Metric, values: Floats) -> tuple[float, ...]:
    seen = values[np.isfinite(values)].tolist()
    if not seen:
        return ()
    seen += [] if metric.chance is None else [metric.chance]
    ends = {"higher": (min(seen),), "lower": (max(seen),)}
    return ends.get(metric.better, (min(seen), max(seen)))


def _tests(
    summary: Summary, quantities: Iterable[Quantity], chosen: Sequence[Contrast], *, confirmatory: bool = True
) -> Iterator[Claim]:
    for quantity in quantities:
        for contrast in chosen:
            yield _test(summary, quantity, contrast, contrast.kind, confirmatory)


def _ratio_test(summary: Summary, analysis: Analysis, chosen: Sequence[Contrast]) -> Iterator[Claim]:
    if analysis.ratio is None:
        return
    metric, values = ratio_quantity(summary, analysis.ratio)
    quantity = Quantity(metric, values, _worst_values(metric, values))
    never = "; ".join(
        f"{label} is nowhere shown to be better than guessing, and what was never learned cannot be lost"
        for label in never_learned(summary, analysis.ratio)
    )
    for contrast in chosen:
        if [factor.name for factor in contrast.factors] == [analysis.ratio.factor]:
            yield replace(_test(summary, quantity, contrast, RATIO, confirmatory=True), bar=never)


def _test(summary: Summary, quantity: Quantity, contrast: Contrast, kind: str, confirmatory: bool) -> Claim:
    slopes = per_seed(contrast, quantity.values)
    test = one_sample_t(slopes, summary.level)
    claim = Claim(
        metric=quantity.metric,
        kind=kind,
        factors=tuple(factor.name for factor in contrast.factors),
        unit=contrast.unit,
        confirmatory=confirmatory,
        per_seed=tuple(slopes.tolist()),
        seeds=int(test.n),
        planned=len(summary.seeds),
        estimate=float(test.mean),
        low=float(test.low),
        high=float(test.high),
        p=float(test.p),
        page=page_p(level_means(contrast, quantity.values)),
        worst=None,
        reason=contrast.note,
    )
    return _with_worst(claim, summary, quantity, contrast)


def _with_worst(claim: Claim, summary: Summary, quantity: Quantity, contrast: Contrast) -> Claim:
    """The claim with its sensitivity to failures; of two possible worsts, the one that speaks more against it."""
    failed = failed_cells(quantity.values, summary.states) & contrast.used[:, None]
    cells = int(failed.sum())
    if not cells or not quantity.worst:
        return claim
    tests = [
        one_sample_t(per_seed(contrast, np.where(failed, value, quantity.values)), summary.level)
        for value in quantity.worst
    ]
    test = min(tests, key=lambda test: float(test.mean) * (np.sign(claim.estimate) if claim.seeds else 1.0))
    return replace(claim, worst=Worst(cells, int(test.n), float(test.mean), float(test.p)))


def _p_values(tests: Sequence[Claim]) -> list[float]:
    return [claim.p for claim in tests]


def _judged(tests: Sequence[Claim], adjusted: Floats, alpha: float) -> tuple[Claim, ...]:
    return tuple(_judge(claim, p, alpha) for claim, p in zip(tests, adjusted.tolist(), strict=True))


def _judge(claim: Claim, adjusted: float, alpha: float) -> Claim:
    why = ""
    worst = claim.worst
    if np.isnan(adjusted):
        status = UNTESTABLE
        why = _why_untestable(claim)
    elif claim.bar:
        status, why = WITHHELD, claim.bar
    elif worst is not None and np.sign(worst.estimate) != np.sign(claim.estimate):
        status = WITHHELD
        cells = counted(worst.cells, "failed cell")
        why = f"counting {cells} as worst turns {claim.estimate:+.3g} into {worst.estimate:+.3g}"
    else:
        status = SHOWN if adjusted <= alpha else NOT_SHOWN
        if status == SHOWN and worst is not None and not worst.p <= alpha:
            why = f"with {counted(worst.cells, 'failed cell')} counted as worst, p is {worst.p:.2g}"
    return replace(claim, adjusted=adjusted, status=status, reason=_joined(why, claim.reason))


def _joined(*reasons: str) -> str:
    return "; ".join(filter(None, reasons))


def _why_untestable(claim: Claim) -> str:
    if claim.seeds >= 2:
        return "every seed gave the same number, so nothing is known of chance"
    if claim.planned == 1:
        return "one seed"
    if claim.seeds == 0:
        return "no seed has every condition"
    return f"only {claim.seeds} of {claim.planned} seeds has every condition"
