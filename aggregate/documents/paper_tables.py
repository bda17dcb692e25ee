"""Tables for papers, of the primary metrics: CSV with full numbers, LaTeX and Markdown with as many digits as the
intervals bear. Bold is what a declared test says is better, and nothing else."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from aggregate.analysis.claims import SHOWN, Claim
from aggregate.analysis.questions import COMPARISON
from aggregate.analysis.study import Study
from aggregate.analysis.summary import MetricSummary, Summary
from aggregate.arrays import Floats
from aggregate.reading.declared import Factor
from aggregate.stats.weighted import weighted_test
from aggregate.wording import better_text, counted, p_equals, percent, value_text
from hpc.sweep.cell import FactorValue

_LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}"}
_LATEX |= {">": r"\textgreater{}"} | {sign: f"\\{sign}" for sign in "&%$#_{}"}
# What a spreadsheet would take for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_MOST_DECIMALS = 8
_POWER = re.compile(r"e([-+]\d+)")
_CONDITIONS = "conditions"  # the table that every sweep has


@dataclass(frozen=True)
class Estimate:
    """A mean and its interval, in the metric's unit; NaN where there is none. n: seeds. best: by a declared test."""

    centre: float
    low: float
    high: float
    n: int
    best: bool = False


@dataclass(frozen=True)
class PaperTable:
    """name: of its files, without a suffix. caption: what its numbers are. words: leading columns of words."""

    name: str
    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str | Estimate, ...], ...]
    words: int


def paper_tables(found: Study, kinds: Sequence[str], stamp: str) -> dict[str, bytes]:
    """Content of every table by file name. kinds: of csv, latex, markdown. stamp: of the aggregation."""
    written = {}
    for table in _tables(found):
        for kind in kinds:
            suffix, write = _WRITERS[kind]
            written[f"{table.name}.{suffix}"] = write(table, found.summary, stamp).encode()
    return written


def kept_up(directory: Path, asked: Sequence[str]) -> tuple[str, ...]:
    """The kinds that are asked for, and those that are there: none may be left with the numbers of an earlier time."""
    there = (kind for kind, (suffix, _) in _WRITERS.items() if (directory / f"{_CONDITIONS}.{suffix}").is_file())
    return tuple(dict.fromkeys([*asked, *there]))


def _tables(found: Study) -> Iterator[PaperTable]:
    summary = found.summary
    family = found.evidence.claims.family
    detected = [c for c in family if c.confirmatory and c.status == SHOWN and c.question.kind == COMPARISON]
    yield _conditions(summary, detected)
    if sum(len(factor.values) > 1 for factor in summary.factors) > 1:
        for entry in summary.primary_metrics():
            for factor in summary.factors:
                if len(factor.values) > 1:
                    yield _by_factor(summary, entry, factor, detected)


# --- what stands in them ---------------------------------------------------------------------------------------------


def _conditions(summary: Summary, detected: Sequence[Claim]) -> PaperTable:
    """Conditions as rows, the primary metrics as columns."""
    entries = summary.primary_metrics()
    # With several, a test is of an average over the levels of the others: no single condition is better by it.
    varied = [factor for factor in summary.factors if len(factor.values) > 1]
    claims = [_of(detected, entry, varied[0]) if len(varied) == 1 else [] for entry in entries]
    winners = [_best(made) for made in claims]
    rows: list[tuple[str | Estimate, ...]] = []
    for i, point in enumerate(summary.points):
        levels = [value_text(value) for _, value in point]
        best = [bool(won) and dict(point)[varied[0].name] in won for won in winners]
        cells = [_estimate(entry, i, bold) for entry, bold in zip(entries, best, strict=True)]
        rows.append((*levels, *cells, f"{summary.completed[i]} of {len(summary.seeds)}"))
    head = (*(factor.label for factor in summary.factors), *map(_named, entries), "completed")
    notes = [_said(claim) for made in claims for claim in made]
    return PaperTable(_CONDITIONS, _caption(summary, entries, notes), head, tuple(rows), len(summary.factors))


def _by_factor(summary: Summary, entry: MetricSummary, factor: Factor, detected: Sequence[Claim]) -> PaperTable:
    """Levels of one factor as columns, combinations of the others as rows; last, what a declared test compares."""
    axis = summary.factors.index(factor)
    others = [other for other in summary.factors if other is not factor]
    place = {point: i for i, point in enumerate(summary.points)}
    rows: dict[tuple[str, ...], dict[FactorValue, Estimate]] = {}
    for point, i in place.items():
        rest = tuple(value_text(value) for k, (_, value) in enumerate(point) if k != axis)
        rows.setdefault(rest, {})[point[axis][1]] = _estimate(entry, i)
    body: list[tuple[str | Estimate, ...]] = [
        (*rest, *(cells.get(level, "-") for level in factor.values)) for rest, cells in rows.items()
    ]
    claims = _of(detected, entry, factor)
    for claim in claims:
        if (pair := claim.question.pair) is not None:
            average = f"{_against(claim)}, averaged over {counted(len(pair[0]), 'combination')}"
            body.append((average, *[""] * (len(others) - 1), *_averages(factor, claim, pair, summary.level)))
    notes = [_said(claim) for claim in claims]
    notes += ["intervals of the averages: t"] if claims else []
    head = (*(other.label for other in others), *(f"{factor.label} {value_text(value)}" for value in factor.values))
    name, caption = f"{entry.metric.slug}_by_{factor.slug}", _caption(summary, [entry], notes)
    title = _named(entry)
    return PaperTable(name, f"{title[0].upper()}{title[1:]}. {caption}", head, tuple(body), len(others))


def _averages(factor: Factor, claim: Claim, pair: tuple[Floats, Floats], level: float) -> Iterator[str | Estimate]:
    """The two levels that were compared, each averaged as the test averages: their difference is what was tested."""
    asked, best = claim.question, _best([claim])
    for value in factor.values:
        if value not in asked.levels:
            yield "-"
            continue
        runs = pair[asked.levels.index(value)]
        test = weighted_test(np.log(runs) if asked.log else runs, np.full(len(runs), 1 / len(runs)))
        numbers = np.array([test.estimate, *test.interval(level)])
        centre, low, high = (np.exp(numbers) if asked.log else numbers).tolist()
        yield Estimate(centre, low, high, test.seeds, value in best)


def _estimate(entry: MetricSummary, i: int, best: bool = False) -> Estimate:
    low, high = entry.suited
    return Estimate(float(entry.centre[i]), float(low[i]), float(high[i]), int(entry.description.n[i]), best)


def _of(detected: Sequence[Claim], entry: MetricSummary, factor: Factor) -> list[Claim]:
    return [c for c in detected if c.question.metric.name == entry.metric.name and c.question.factors == (factor.name,)]


def _best(claims: Sequence[Claim]) -> set[FactorValue]:
    """Levels that declared comparisons found to be better than others, and none found to be worse."""
    won, lost = set[FactorValue](), set[FactorValue]()
    for claim in claims:
        first, second = claim.question.levels
        better = (claim.estimate > 0) == (claim.question.metric.better == "higher")
        won.add(first if better else second)
        lost.add(second if better else first)
    return won - lost


def _against(claim: Claim) -> str:
    return " against ".join(map(value_text, claim.question.levels))


def _said(claim: Claim) -> str:
    return f"{claim.question.metric.label}: {_against(claim)}, {p_equals(claim.adjusted)} after Holm's correction"


def _named(entry: MetricSummary) -> str:
    told = "; ".join(filter(None, [better_text(entry.metric), entry.centre_name if entry.log else ""]))
    return f"{entry.metric.label} ({told})" if told else entry.metric.label


def _caption(summary: Summary, entries: Sequence[MetricSummary], notes: Sequence[str]) -> str:
    ways = {entry.metric.label: f"{entry.centre_name}, {entry.method}" for entry in entries}
    one = len(set(ways.values())) == 1
    told = entries[0].method if one else "; ".join(f"{label}: {way}" for label, way in ways.items())
    centres = entries[0].centre_name if one else "mean"
    seeds = counted(len(summary.seeds), "seed")
    text = f"{centres.capitalize()} and {percent(summary.level)} interval ({told}) over {seeds}"
    # Where a run has no value, of a metric that may be absent, say, or the cell has not completed.
    fewer = any((entry.description.n < len(summary.seeds)).any() for entry in entries)
    text += "; in parentheses the number of seeds where it is smaller." if fewer else "."
    total, done = summary.states.size, int(summary.completed.sum())
    if done < total:
        text += f" Incomplete: {done:,} of {counted(total, 'cell')} completed."
    return f"{text} Bold: better by a test that was declared beforehand ({'; '.join(notes)})." if notes else text


# --- how they are written --------------------------------------------------------------------------------------------


def _csv(table: PaperTable, summary: Summary, stamp: str) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    estimates = [any(isinstance(row[i], Estimate) for row in table.rows) for i in range(len(table.head))]
    head: list[str] = []
    for title, several in zip(table.head, estimates, strict=True):
        ends = [f"{title}, {end} of {percent(summary.level)} interval" for end in ("low", "high")]
        head += [title, *ends, f"{title}, seeds"] if several else [title]
    writer.writerow(map(_harmless, head))
    for row in table.rows:
        cells: list[str] = []
        for cell, several in zip(row, estimates, strict=True):
            if isinstance(cell, Estimate):
                cells += [*map(_number, (cell.centre, cell.low, cell.high)), str(cell.n)]
            else:
                cells += ["", "", "", ""] if several else [_harmless(cell)]
        writer.writerow(cells)
    return text.getvalue()


def _harmless(text: str) -> str:
    """A word in a spreadsheet: never a formula."""
    return f"'{text}" if text.startswith(_FORMULA) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        return bool(float(text)) or True
    except ValueError:
        return False


def _number(value: float) -> str:
    return "" if math.isnan(value) else repr(value)


def _latex(table: PaperTable, summary: Summary, stamp: str) -> str:
    rows = [
        " & ".join(_text(cell, summary, r"\,\pm\,", r"\;", _tex, ("$%s$", r"$\mathbf{%s}$")) for cell in row) + r" \\"
        for row in table.rows
    ]
    return "\n".join(
        [
            f"% Holdfast, aggregation {stamp[:16]}; needs \\usepackage{{booktabs}}",
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{_tex(table.caption)}}}",
            rf"\begin{{tabular}}{{{'l' * table.words}{'r' * (len(table.head) - table.words)}}}",
            r"\toprule",
            " & ".join(map(_tex, table.head)) + r" \\",
            r"\midrule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def _tex(text: str) -> str:
    return "".join(_LATEX.get(sign, sign) for sign in text)


def _markdown(table: PaperTable, summary: Summary, stamp: str) -> str:
    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cells)} |"

    aligned = ["---"] * table.words + ["---:"] * (len(table.head) - table.words)
    rows = [line([_text(cell, summary, " ± ", " ", _piped, ("%s", "**%s**")) for cell in row]) for row in table.rows]
    parts = [f"<!-- Holdfast, aggregation {stamp[:16]} -->", f"{_piped(table.caption)}\n"]
    return "\n".join([*parts, line([*map(_piped, table.head)]), line(aligned), *rows, ""])


def _piped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def _text(
    cell: str | Estimate,
    summary: Summary,
    plus_minus: str,
    before_interval: str,
    words: Callable[[str], str],
    numbers: tuple[str, str],
) -> str:
    """numbers: how a number is written, and how one in bold."""
    if isinstance(cell, str):
        return words(cell)
    if math.isnan(cell.centre):
        return "-"
    text = rounded(cell.centre, cell.low, cell.high, plus_minus, before_interval)
    text = numbers[cell.best] % (_POWER.sub(r"\\times10^{\1}", text) if "\\" in plus_minus else text)
    return text if cell.n == len(summary.seeds) else f"{text} ({cell.n})"


def rounded(centre: float, low: float, high: float, plus_minus: str = " ± ", before_interval: str = " ") -> str:
    """``0.934 ± 0.012``, or ``0.93 [0.88, 0.96]`` where the two halves differ; the smaller one has two digits."""
    below, above = centre - low, high - centre
    half = min(below, above)
    if not (math.isfinite(half) and half > 0):
        return f"{centre:.6g}"
    decimals = max(0, 1 - math.floor(math.log10(half)))
    form = f".{decimals}f" if decimals <= _MOST_DECIMALS else ".1e"
    if max(below, above) - half < 10.0**-decimals:
        return f"{centre:{form}}{plus_minus}{half:{form}}"
    return f"{centre:{form}}{before_interval}[{low:{form}}, {high:{form}}]"


_WRITERS = {"csv": ("csv", _csv), "latex": ("tex", _latex), "markdown": ("md", _markdown)}
