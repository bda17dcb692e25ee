"""The line with which `holdfast check stats` ends: what its tables mean."""

from __future__ import annotations

from aggregate.coverage.row import CoverageRow
from aggregate.coverage.shortfall import fallen, verdict


def row(what: str, data: str, share: float, nominal: float = 0.95) -> CoverageRow:
    return CoverageRow(what, data, 5, nominal, share, 10_000)


def test_the_verdict_names_each_method_that_falls_short_once_where_it_is_worst() -> None:
    rows = [row("t", "normal", 0.95), row("t", "skew", 0.80), row("t", "more skew", 0.60), row("band", "any", 0.97)]
    said = verdict([*rows, row("Holm", "normal", 0.09, nominal=0.05)])
    assert said == (
        "verdict: not as promised, at worst: t holds in 60.0 +- 0.5 % instead of at least 95 % (more skew, 5 seeds); "
        "Holm errs in 9.0 +- 0.3 % instead of at most 5 % (normal, 5 seeds). "
        "All else keeps its promise (within 3.5 standard errors)."
    )


def test_what_chance_explains_is_no_shortfall_and_more_than_promised_is_none() -> None:
    rows = [row("t", "normal", 0.945), row("median", "any", 0.99), row("Holm", "normal", 0.054, nominal=0.05)]
    assert verdict(rows) == "verdict: everything keeps its promise, within 3.5 standard errors of the simulation"


def test_what_fell_below_the_baseline_is_named_and_what_chance_explains_is_not() -> None:
    before = [row("Yes", "kept", 0.99), row("family-wise error", "normal", 0.05, nominal=0.05)]
    baseline = {(r.what, r.data, r.seeds): r for r in before}
    now = [row("Yes", "kept", 0.90), row("family-wise error", "normal", 0.055, nominal=0.05), row("new", "any", 0.1)]
    (line,) = fallen(now, baseline)
    assert line.startswith("below the baseline: Yes holds in 90.0 +- 0.3 % instead of at least 95 %")
    assert line.endswith("it was 99.0 +- 0.1 %")
