"""What a claim would have been, had the same runs been looked at after fewer epochs: whether the answer has settled."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from aggregate.analysis.claims import NOT_SHOWN, SHOWN, WITHHELD, Claim, InNats, counted_in_nats, sign
from aggregate.analysis.questions import Question, question
from aggregate.analysis.reliability import metrics_of_claim
from aggregate.analysis.study import Study, planned_conditions
from aggregate.analysis.summary import Summary, summarise_metric
from aggregate.arrays import Integers
from aggregate.described.epochs import value_at
from aggregate.stats.weighted import WeightedTest, weighted_test
from hpc.sweep.states import COMPLETED

# Of the epochs that a run trained. No other budget: with fewer epochs, a schedule might have trained otherwise.
_PARTS = ((1, 2, "half"), (2, 3, "two thirds"), (5, 6, "five sixths"))
_OF_EACH = " of each run's epochs"


@dataclass(frozen=True)
class Earlier:
    """A claim after fewer epochs of the same runs.

    after: which, in words: ``epoch 5``. test: of the same question, to be read at the claim's own level; in_nats: of a
    retention that can be counted in nats too. change, change_in_nats: of the estimates from then to the end, paired by
    seed. why: nothing can be said there.
    """

    after: str
    test: WeightedTest | None = None
    in_nats: WeightedTest | None = None
    change: WeightedTest | None = None
    change_in_nats: WeightedTest | None = None
    why: str = ""

    def of_nats(self, claim: Claim) -> InNats | None:
        """What the claim would have been in nats."""
        test, now = self.in_nats, claim.in_nats
        return None if test is None or now is None else counted_in_nats(test, now.level)


def earlier(study: Study, claim: Claim) -> tuple[Earlier, ...]:
    """The earliest first; empty if the histories do not say, or nothing is claimed."""
    return tuple(_all(study, claim)) if claim.estimated else ()


def signs(claim: Claim, at: Earlier) -> tuple[int, int] | None:
    """Which way a claim would go then, as it is and in nats; 0 where its interval includes 0. None where one of the two
    has no interval: what is not known then is no other result."""
    if not _known(at.test) or (claim.in_nats and not _known(at.in_nats)):
        return None
    level = claim.in_nats.level if claim.in_nats else claim.level
    return _sign(at.test, claim.level), _sign(at.in_nats, level)


def unsettled(claim: Claim, found: tuple[Earlier, ...]) -> tuple[Earlier, ...]:
    """The last of the earlier epochs of which that is known, if the claim would have gone another way there, in either
    unit, and those just before that say the same; the earliest first."""
    known = [(at, then) for at in found if (then := signs(claim, at)) is not None]
    if not known or known[-1][1] == signs_now(claim):
        return ()
    alike = itertools.takewhile(lambda one: one[1] == known[-1][1], reversed(known))
    return tuple(at for at, _ in alike)[::-1]


def steady(claim: Claim, at: Earlier) -> bool:
    """Whether the estimate itself is much the same at the end, in every unit in which only one of the two intervals
    leaves out 0: what comes or goes with a little more spread is no other answer."""
    then, now = signs(claim, at), signs_now(claim)
    if then is None:
        return False
    changes = ((at.change, claim.level), (at.change_in_nats, claim.in_nats.level if claim.in_nats else claim.level))
    return all(
        0 in (a, b) and _known(change) and not _sign(change, level)
        for (change, level), a, b in zip(changes, then, now, strict=True)
        if a != b
    )


def signs_now(claim: Claim) -> tuple[int, int]:
    """Which way a claim goes, as it is and in nats; 0 where its interval includes 0."""
    return claim.sign, sign(claim.in_nats.low, claim.in_nats.high) if claim.in_nats else 0


def named(alike: tuple[Earlier, ...]) -> str:
    """``epoch 3, 4 or 5``, ``half or two thirds of each run's epochs``."""
    *first, last = [at.after for at in alike]
    if not first:
        return last
    if last.startswith("epoch "):
        return f"{', '.join(first).replace(', epoch', ',')} or {last.removeprefix('epoch ')}"
    return f"{', '.join(one.removesuffix(_OF_EACH) for one in first)} or {last}"


def verdict_then(claim: Claim, at: Earlier) -> str | None:
    """The status that the claim would have had, by the rule for two units and at the level of the claim's own; None
    where something else decided what it has now, which nobody knows of then."""
    then, now = signs(claim, at), signs_now(claim)
    return _by_signs(claim, then) if then is not None and _by_signs(claim, now) == claim.status else None


def _by_signs(claim: Claim, found: tuple[int, int]) -> str:
    shares, nats = found
    if claim.in_nats is not None and shares != nats:
        return WITHHELD
    return SHOWN if shares else NOT_SHOWN


def _known(test: WeightedTest | None) -> bool:
    return test is not None and test.error > 0


def _sign(test: WeightedTest | None, level: float) -> int:
    return 0 if test is None else sign(*test.interval(level))


def _all(study: Study, claim: Claim) -> Iterator[Earlier]:
    present, _, lengths = study.histories.runs
    # Claims are about these alone; of others, some of the histories may be there.
    done = study.summary.states.ravel()[present] == COMPLETED
    planned = planned_conditions(study.manifest, study.summary)
    seen = set[bytes]()
    for part, of, words in _PARTS:
        kept = -(-lengths * part // of)
        own = kept[done]
        if not own.size or (own == lengths[done]).any() or own.tobytes() in seen:
            continue  # what is no earlier for some run is none for the sweep
        seen.add(own.tobytes())
        summary = _summary_at(study, claim, kept)
        if summary is None:
            return
        after = f"epoch {own[0]}" if (own == own[0]).all() else f"{words}{_OF_EACH}"
        yield _at(claim, question(summary, claim.question.test, planned), after)


def _summary_at(study: Study, claim: Claim, kept: Integers) -> Summary | None:
    """The summary of the claim's metrics then; None if it is not known of every run that has a value now."""
    summary, names = study.summary, metrics_of_claim(claim)
    made = []
    for entry in (entry for entry in summary.metrics if entry.metric.name in names):
        values = value_at(study, entry, kept)
        if values is None:
            return None
        found = summarise_metric(entry.metric, summary.states, values, summary.level)
        if found.method != entry.method or np.any(np.isfinite(entry.values) & ~np.isfinite(found.values)):
            return None
        made.append(found)
    return replace(summary, metrics=tuple(made))


def _at(claim: Claim, asked: Question, after: str) -> Earlier:
    if asked.why or asked.bar or _used(asked) != _used(claim.question):
        return Earlier(after, why="not the same combinations: what is a part of the claim had not been learnt then")
    now, nats, change = claim.question, None, None
    if asked.in_nats is not None and now.in_nats is not None:
        nats, change = (weighted_test(values, asked.weights) for values in (asked.in_nats, now.in_nats - asked.in_nats))
    test, own = (weighted_test(values, asked.weights) for values in (asked.values, now.values - asked.values))
    return Earlier(after, test, nats, own, change)


def _used(asked: Question) -> tuple[object, ...]:
    return asked.levels, asked.conditions
