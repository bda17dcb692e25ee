"""Two sweeps on one page, and as lines for a terminal: differences drawn and as numbers, and what else differs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from aggregate.answers.estimates import round_numbers, tick
from aggregate.arrays import Floats
from aggregate.figures.axes import limits
from aggregate.reading.sweep import Reading
from aggregate.report.forest import ANY, Forest, Row, place
from aggregate.report.page import environment, own
from aggregate.report.tables import MOST_ROWS, Table
from aggregate.two_sweeps.differences import Difference
from aggregate.two_sweeps.pairs import Pairs, Rows
from aggregate.wording import listed, p_equals, p_text, percent, short, with_direction, with_interval
from hpc.units import counted

_AVERAGE = "average over conditions"
_MOST_DRAWN = 40


@dataclass(frozen=True)
class SideBySide:
    """readings, names: of the two sweeps. different: in how they were made."""

    readings: tuple[Reading, Reading]
    names: tuple[str, str]
    pairs: Pairs
    different: Sequence[Difference]


def render(made: SideBySide) -> bytes:
    """The page as UTF-8 HTML: no script, no network."""
    page = environment().get_template("comparison.html")
    return page.render(
        css=own("report.css"),
        names=made.names,
        asked=asked(made.pairs),
        remarks=list(remarks(made)),
        metrics=[
            (with_direction(rows.metric), _forest(made.pairs, rows), table(made.pairs, rows))
            for rows in made.pairs.metrics
        ],
        different=Table(["what differs", *made.names], [[e.what, e.first, e.second] for e in made.different], words=3),
        left_out=Table(["sweep", "condition"], list(made.pairs.left_out[:MOST_ROWS]), words=2),
    ).encode()


def asked(pairs: Pairs) -> str:
    """What was compared, in a sentence."""
    first, second = pairs.names
    where = counted(len(pairs.places), "condition")
    if pairs.paired:
        seeds = f"{len(pairs.seeds)} common {'seed' if len(pairs.seeds) == 1 else 'seeds'}"
        return f"{second} minus {first}, in {where} that both have, paired by {seeds}."
    return f"{second} minus {first}, in {where} that both have: means of conditions, not paired by seed."


def remarks(made: SideBySide) -> Iterator[str]:
    """What a reader must know first."""
    for reading, name in zip(made.readings, made.names, strict=True):
        if not reading.gathered.complete:
            states = [f"{number:,} {state}" for state, number in reading.gathered.counts.items() if number]
            yield f"PARTIAL: {name} has {listed(states)}"
    yield (
        "Nobody declared this comparison before the results could be seen: it describes. p values are adjusted over "
        "all conditions and metrics (Benjamini-Hochberg), intervals are not."
    )
    yield from made.pairs.remarks
    yield from filter(None, map(_cancelling, made.pairs.metrics))
    if any(entry.what in ("code_digest", "trainer_digest") for entry in made.different):
        yield "The two were trained by different code; see below."
    if made.pairs.left_out:
        yield f"{counted(len(made.pairs.left_out), 'condition')} that only one of them has: left out."


def _cancelling(rows: Rows) -> str:
    """The interval of the average that would hold without what the conditions share within seeds."""
    if rows.if_unrelated is None:
        return ""
    low, high = _shown(rows, np.array(rows.if_unrelated)).tolist()
    return (
        f"{rows.metric.label}: the interval of the average is narrow because the conditions' errors cancel within "
        f"seeds. Were they unrelated, it would be [{short(low)}, {short(high)}]{' %' if rows.log else ''}."
    )


def table(pairs: Pairs, rows: Rows) -> Table:
    """Every condition, the average first."""
    unit = "difference (%)" if rows.log else "difference"
    estimate, low, high = (_shown(rows, values) for values in (rows.estimate, rows.low, rows.high))
    body = [
        [name, with_interval(estimate[i], low[i], high[i]), str(rows.n[i]), p_text(rows.p[i]), p_text(rows.adjusted[i])]
        for i, name in enumerate((_AVERAGE, *pairs.places[: MOST_ROWS - 1]))
    ]
    interval = f"{unit} and {percent(pairs.level)} interval"
    return Table(["condition", interval, "seeds", "p", "p after Benjamini-Hochberg"], body, words=1)


def lines(made: SideBySide) -> Iterator[str]:
    """The same for a terminal: averages, and what differs."""
    yield asked(made.pairs)
    yield from remarks(made)
    for rows in made.pairs.metrics:
        estimate, low, high = (_shown(rows, values)[0] for values in (rows.estimate, rows.low, rows.high))
        unit = " %" if rows.log else ""
        p = f"{p_equals(rows.adjusted[0])}, adjusted" if rows.p[0] == rows.p[0] else "no p"
        number, seeds = with_interval(estimate, low, high), counted(int(rows.n[0]), "seed")
        yield f"{with_direction(rows.metric)}: {number}{unit}, {_AVERAGE} ({seeds}, {p})"
    if made.different:
        yield f"what differs ({' | '.join(made.names)}):"
    yield from (f"  {entry.what}: {entry.first} | {entry.second}" for entry in made.different)


def _shown(rows: Rows, values: Floats) -> Floats:
    """Differences of logarithms as changes in percent."""
    return 100 * np.expm1(np.minimum(values, 700.0)) if rows.log else values


def _forest(pairs: Pairs, rows: Rows) -> Forest | None:
    count = min(len(rows.estimate), _MOST_DRAWN)
    if not np.isfinite(rows.estimate[:count]).any():
        return None
    estimates, low, high = (_shown(rows, values[:count]) for values in (rows.estimate, rows.low, rows.high))
    seeds = _shown(rows, rows.per_seed[:count])
    span = limits(ANY, [estimates, seeds, np.zeros(1)], [low, high])
    drawn = []
    for i, name in enumerate((_AVERAGE, *pairs.places)[:count]):
        number = with_interval(estimates[i], low[i], high[i]) + (" %" if rows.log else "")
        if not math.isfinite(estimates[i]):
            drawn.append(Row(name, "", "no run of both", tested=False))
            continue
        known = math.isfinite(low[i])
        ends = (low[i], high[i]) if known else (estimates[i], estimates[i])
        own_seeds = tuple(place(span, value) for value in seeds[i][np.isfinite(seeds[i])])
        at = place(span, float(estimates[i]))
        drawn.append(Row(name, "", number, i == 0, place(span, ends[0]), place(span, ends[1]), at, own_seeds))
    first, second = pairs.names
    dots = "; dots: each seed" if pairs.paired else ""
    note = f"Bars: {percent(pairs.level)} intervals, each by itself{dots}; dashed: 0."
    more, shown = len(rows.estimate) - count, min(len(rows.estimate), MOST_ROWS) - count
    note += f" {shown} of {more} more conditions in the table; all with --json." if more > 0 else ""
    marks = [(place(span, value), tick(value)) for value in round_numbers(span.low, span.high)]
    unit = "%" if rows.log else ""
    less, more_in = f"lower in {second} than in {first}", f"higher in {second}"
    return Forest(drawn, place(span, 0.0), less, more_in, note, marks, unit)


def as_json(made: SideBySide) -> dict[str, object]:
    """For programs: plain numbers on the scale of the test, null where there is none."""
    pairs = made.pairs
    return {
        "sweeps": list(made.names),
        "seeds": list(pairs.seeds),
        "level": pairs.level,
        "metrics": {
            rows.metric.name: {
                "logarithm": rows.log,
                "rows": [
                    {
                        "condition": name,
                        "n": int(rows.n[i]),
                        **{key: _null(getattr(rows, key)[i]) for key in ("estimate", "low", "high", "p", "adjusted")},
                    }
                    for i, name in enumerate((_AVERAGE, *pairs.places))
                ],
            }
            for rows in pairs.metrics
        },
        "different": [vars(entry) for entry in made.different],
        "left_out": [list(entry) for entry in pairs.left_out],
        "remarks": list(pairs.remarks),
    }


def _null(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
