"""Tables for papers, of the primary metrics: CSV with full numbers, LaTeX and Markdown with as many digits as the
intervals bear. Bold is what a declared test says is better, and nothing else."""

from __future__ import annotations

import csv
import io
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from aggregate.analysis.claims import SHOWN, Claim
from aggregate.analysis.questions import COMPARISON
from aggregate.analysis.study import Study
from aggregate.analysis.summary import MetricSummary, Summary
from aggregate.arrays import Floats
from aggregate.documents.paper_differences import Differences, differences, verdict
from aggregate.documents.paper_numbers import Estimate, rounded
from aggregate.reading.declared import Factor
from aggregate.stats.weighted import weighted_test
from aggregate.wording import better_text, percent, value_text
from hpc.files.reading import read
from hpc.sweep.cell import FactorValue
from hpc.units import counted

_LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}"}
_LATEX |= {">": r"\textgreater{}", "\u00b1": r"$\pm$"} | {sign: f"\\{sign}" for sign in "&%$#_{}"}
# What Markdown would take for its own, wherever it stands; none of it may bring a link or a picture into a table.
_MARKDOWN = {"<": "&lt;", ">": "&gt;", "&": "&amp;"} | {sign: f"\\{sign}" for sign in "\\|`*_[]!#~$"}
# What a spreadsheet would take for a formula: the signs of wide scripts, too.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_POWER = re.compile(r"e([-+]\d+)")
_CONDITIONS = "conditions"  # the table that every sweep has


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
    if not kinds:
        return {}
    written = {}
    code = _other_code(found)
    for table in map(_on_lines, _tables(found)):
        table = replace(table, caption=table.caption + code)
        for kind in kinds:
            suffix, write = _WRITERS[kind]
            written[f"{table.name}.{suffix}"] = write(table, found.summary, stamp).encode()
    return written


def reworded(directory: Path, tables: Mapping[str, bytes]) -> list[str]:
    """Names of the tables there whose headings are others in those that take their place."""
    there = {name: directory / name for name in tables if (directory / name).is_file()}
    return [name for name, path in there.items() if _heading(name, read(path)) != _heading(name, tables[name])]


def _heading(name: str, content: bytes) -> bytes:
    """The line of a table's file that names its columns; empty if it has none."""
    lines = content.splitlines()
    if name.endswith(".tex"):
        lines = lines[lines.index(rb"\toprule") + 1 :] if rb"\toprule" in lines else []
    elif name.endswith(".md"):
        lines = [line for line in lines if line.startswith(b"|")]
    return next(iter(lines), b"")


def kept_up(directory: Path, asked: Sequence[str]) -> tuple[str, ...]:
    """The kinds that are asked for, and those that are there: none may be left with the numbers of an earlier time."""
    there = (kind for kind, (suffix, _) in _WRITERS.items() if (directory / f"{_CONDITIONS}.{suffix}").is_file())
    return tuple(dict.fromkeys([*asked, *there]))


def _tables(found: Study) -> Iterator[PaperTable]:
    summary = found.summary
    family = found.evidence.claims.family
    compared = [claim for claim in family if claim.question.kind == COMPARISON and claim.estimated]
    yield _conditions(summary, compared, len(family))
    if sum(len(factor.values) > 1 for factor in summary.factors) > 1:
        for entry in summary.primary_metrics():
            for factor in summary.factors:
                if len(factor.values) > 1:
                    yield _by_factor(summary, entry, factor, compared, len(family))


# --- what stands in them ---------------------------------------------------------------------------------------------


def _other_code(found: Study) -> str:
    """A sentence on cells that ended with other code than most did; empty if there are none."""
    codes = Counter(record.code for record in found.gathered.records if record.code is not None)
    others = codes.total() - max(codes.values(), default=0)
    verb = "was" if others == 1 else "were"
    return f" {counted(others, 'cell')} {verb} trained by other code than the rest." if others else ""


def _conditions(summary: Summary, compared: Sequence[Claim], tests: int) -> PaperTable:
    """Conditions as rows, the primary metrics as columns. tests: in the family of those that were declared."""
    entries = summary.primary_metrics()
    # With several, a test is of an average over the levels of the others: no single condition is better by it.
    varied = [factor for factor in summary.factors if len(factor.values) > 1]
    claims = [_of(compared, entry, varied[0]) if len(varied) == 1 else [] for entry in entries]
    winners = [_best(made) for made in claims]
    rows: list[tuple[str | Estimate, ...]] = []
    for i, point in enumerate(summary.points):
        levels = [value_text(value) for _, value in point]
        best = [bool(won) and dict(point)[varied[0].name] in won for won in winners]
        cells = [_estimate(entry, i, bold) for entry, bold in zip(entries, best, strict=True)]
        rows.append((*levels, *cells, f"{summary.completed[i]} of {len(summary.seeds)}"))
    head = (*(factor.label for factor in summary.factors), *map(_named, entries), "completed")
    notes = [f"{_said(claim)}. {verdict(claim, tests, 1)}" for made in claims for claim in made]
    return PaperTable(_CONDITIONS, _caption(summary, entries, notes), head, tuple(rows), len(summary.factors))


def _by_factor(
    summary: Summary, entry: MetricSummary, factor: Factor, compared: Sequence[Claim], tests: int
) -> PaperTable:
    """Levels of one factor as columns, combinations of the others as rows; last, what a declared test compares."""
    axis = summary.factors.index(factor)
    others = [other for other in summary.factors if other is not factor]
    rows: dict[tuple[str, ...], dict[FactorValue, int]] = {}
    for i, point in enumerate(summary.points):
        rest = tuple(value_text(value) for k, (_, value) in enumerate(point) if k != axis)
        rows.setdefault(rest, {})[point[axis][1]] = i
    columns = [
        differences(claim, entry, [_both(places, claim) for places in rows.values()], summary.level)
        for claim in _of(compared, entry, factor)
    ]
    body: list[tuple[str | Estimate, ...]] = []
    for k, (rest, places) in enumerate(rows.items()):
        cells = (_estimate(entry, places[level]) if level in places else "-" for level in factor.values)
        body.append((*rest, *cells, *(column.rows[k] or "-" for column in columns)))
    for column in columns:
        if (pair := column.claim.question.pair) is not None:
            average = f"{_against(column.claim)}, averaged over {counted(len(pair[0]), 'combination')}"
            compared_levels = _averages(factor, column.claim, pair, summary.level)
            body.append((average, *[""] * (len(others) - 1), *compared_levels, *_alone(column, columns)))
    notes = [column.note(tests, summary.level) for column in columns]
    notes += ["Intervals of the averages of levels: t."] if columns else []
    levels = (f"{factor.label} {value_text(value)}" for value in factor.values)
    head = (*(other.label for other in others), *levels, *(column.head for column in columns))
    name, caption = f"{entry.metric.slug}_by_{factor.slug}", _caption(summary, [entry], notes)
    title = _named(entry)
    return PaperTable(name, f"{title[0].upper()}{title[1:]}. {caption}", head, tuple(body), len(others))


def _both(places: Mapping[FactorValue, int], claim: Claim) -> tuple[int, int] | None:
    """The two conditions of a row that a comparison is about; None where one was not planned."""
    first, second = claim.question.levels
    return (places[first], places[second]) if first in places and second in places else None


def _alone(one: Differences, columns: Sequence[Differences]) -> Iterator[str | Estimate]:
    """A row of the columns of differences in which one of them has its average."""
    return (column.average if column is one else "" for column in columns)


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


def _of(compared: Sequence[Claim], entry: MetricSummary, factor: Factor) -> list[Claim]:
    return [c for c in compared if c.question.metric.name == entry.metric.name and c.question.factors == (factor.name,)]


def _best(claims: Sequence[Claim]) -> set[FactorValue]:
    """Levels that declared comparisons found to be better than others, and none found to be worse."""
    won, lost = set[FactorValue](), set[FactorValue]()
    for claim in claims:
        if not (claim.confirmatory and claim.status == SHOWN):
            continue
        first, second = claim.question.levels
        better = (claim.estimate > 0) == (claim.question.metric.better == "higher")
        won.add(first if better else second)
        lost.add(second if better else first)
    return won - lost


def _against(claim: Claim) -> str:
    return " against ".join(map(value_text, claim.question.levels))


def _said(claim: Claim) -> str:
    return f"{claim.question.metric.label}: {_against(claim)}, paired by seed"


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
    return " ".join([text, *notes, "Bold: better by a test that was declared beforehand."]) if notes else text


def _on_lines(table: PaperTable) -> PaperTable:
    """The same, each word on one line: a label may hold a blank one, which ends a table."""
    rows = (tuple(_on_a_line(cell) if isinstance(cell, str) else cell for cell in row) for row in table.rows)
    return replace(table, caption=_on_a_line(table.caption), head=tuple(map(_on_a_line, table.head)), rows=tuple(rows))


def _on_a_line(text: str) -> str:
    return " ".join(text.split())


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
    return "".join(_MARKDOWN.get(sign, sign) for sign in text)


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


_WRITERS = {"csv": ("csv", _csv), "latex": ("tex", _latex), "markdown": ("md", _markdown)}
