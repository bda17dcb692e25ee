"""Of a declared comparison, what a paper's table shows: differences by row, and the average that was tested."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aggregate.analysis.claims import NOT_SHOWN, SHOWN, Claim
from aggregate.analysis.summary import MetricSummary
from aggregate.documents.paper_numbers import Estimate, rounded
from aggregate.stats.weighted import WeightedTest, weighted_test
from aggregate.wording import p_equals, percent, value_text
from hpc.units import counted


@dataclass(frozen=True)
class Differences:
    """The column of one comparison. rows: as the table has them; average: that which was tested."""

    claim: Claim
    rows: tuple[Estimate | None, ...]
    average: Estimate

    @property
    def head(self) -> str:
        return f"{_operation(self.claim)}, paired"

    def note(self, tests: int, level: float) -> str:
        """How the column and its average came about, and what they say. tests: in the family. level: of intervals."""
        known = [row for row in self.rows if row is not None]
        intervals = f"{percent(level)} t intervals, not corrected for the number of rows"
        paired = f"{_operation(self.claim)} is paired by seed within each row, with {intervals}."
        text = f"{paired[0].upper()}{paired[1:]} {verdict(self.claim, tests, len(known))}"
        against = sum(_against(row.centre, self.average.centre, self.claim.question.log) for row in known)
        return f"{text} The difference has the other sign in {counted(against, 'row')}." if against else text


def differences(
    claim: Claim, entry: MetricSummary, rows: Sequence[tuple[int, int] | None], level: float
) -> Differences:
    """rows: conditions of the two levels in each row of the table, None where one of them was not planned."""
    values = entry.scaled if claim.question.log else entry.values
    tests = [None if row is None else weighted_test(values[list(row)], np.array([1.0, -1.0])) for row in rows]
    found = tuple(None if test is None else _estimate(claim, test, level) for test in tests)
    return Differences(claim, found, _estimate(claim, claim.test, claim.level))


def verdict(claim: Claim, tests: int, rows: int) -> str:
    """The test in a sentence, whatever came of it. rows: that it averages over."""
    found, test = _estimate(claim, claim.test, claim.level), claim.test
    what = f"Averaged over {counted(rows, 'row')} within each seed" if rows > 1 else "Over all seeds"
    number = rounded(found.centre, found.low, found.high)
    statistic = f"t({test.freedom:.3g}) = {test.estimate / test.error:.3g}" if test.error > 0 else "no spread"
    corrected = f"{p_equals(claim.adjusted)} after Holm's correction over {counted(tests, 'declared test')}"
    scope = "The unit is the seed: other seeds are covered"
    scope += f", other rows than these {rows} are not." if rows > 1 else "."
    return (
        f"{what}: {number} ({percent(claim.level)} interval), {statistic}, {counted(test.seeds, 'seed')}, "
        f"{corrected}; {_outcome(claim)}. {scope}"
    )


def _outcome(claim: Claim) -> str:
    """What was found, with all else that must be said of it."""
    if claim.status not in (SHOWN, NOT_SHOWN):
        return f"no verdict: {claim.reason}"
    found = "no difference was detected" if claim.status == NOT_SHOWN else _better(claim)
    exploratory = "" if claim.confirmatory else "exploratory, since it does not count as fixed before the first run: "
    return f"{exploratory}{found}" + (f" ({claim.reason})" if claim.reason else "")


def _better(claim: Claim) -> str:
    if not claim.question.metric.better:
        return "they differ"
    first, second = claim.question.levels
    first_is_better = (claim.estimate > 0) == (claim.question.metric.better == "higher")
    return f"{value_text(first if first_is_better else second)} is better"


def _operation(claim: Claim) -> str:
    return (" divided by " if claim.question.log else " minus ").join(map(value_text, claim.question.levels))


def _estimate(claim: Claim, test: WeightedTest, level: float) -> Estimate:
    numbers = np.array([test.estimate, *test.interval(level)])
    centre, low, high = (np.exp(numbers) if claim.question.log else numbers).tolist()
    return Estimate(centre, low, high, test.seeds)


def _against(one: float, average: float, log: bool) -> bool:
    return (one - log) * (average - log) < 0
