"""report.html: one file, no network, the summary first. Computes nothing."""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aggregate.markup import Html, element, table
from aggregate.report_style import CSS
from aggregate.summary import MetricSummary, Summary
from aggregate.wording import better_text, percent, value_text
from hpc.store import COMPLETED, DIVERGED, STATES

_MOST_ROWS = 200
_SCREEN_DPI = 96 / 150  # figures are drawn at 150 dots an inch, browsers count 96
_ALL_ROWS = "; every condition is in aggregated_results.json, every cell in table.parquet"


@dataclass(frozen=True)
class Picture:
    """A figure as it goes into the report. metric: the one it shows, or empty."""

    name: str
    metric: str
    caption: str
    png: bytes


@dataclass(frozen=True)
class Material:
    """All a report is made of.

    counts: cells by state. cell_lines, doubts: what a reader must know, one line each. manifest: content of sweep.json.
    """

    summary: Summary
    counts: Mapping[str, int]
    cell_lines: Sequence[str]
    doubts: Sequence[str]
    pictures: Sequence[Picture]
    manifest: Mapping[str, Any]


def render(material: Material) -> bytes:
    """The report as UTF-8 HTML."""
    summary = material.summary
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", f"{summary.name} - Holdfast report"),
        element("style", Html(CSS)),
    )
    body = element(
        "body",
        _opening(material),
        _caveats(material),
        _headline(summary),
        _figures(material),
        _tables(summary),
        _provenance(material.manifest),
    )
    return f"<!doctype html>\n{element('html', head, body, lang='en')}".encode()


def _opening(material: Material) -> Html:
    summary = material.summary
    stamp, kind = ("complete", "complete") if summary.complete else ("PARTIAL: cells are missing", "partial")
    return element(
        "header",
        element("h1", summary.name),
        element("p", _asked(summary)),
        element("div", stamp, class_=f"stamp {kind}"),
        element("ul", _tiles(material.counts), class_="tiles"),
    )


def _asked(summary: Summary) -> str:
    """The question of the sweep in a sentence."""
    metrics = " and ".join(entry.metric.label for entry in summary.primary_metrics()) or "the trainer's metrics"
    factors = " and ".join(f"{f.label} ({', '.join(map(value_text, f.values))})" for f in summary.factors)
    seeds = f"{len(summary.seeds)} seeds" if len(summary.seeds) > 1 else "one seed"
    return f"How {metrics} depend on {factors}: {len(summary.conditions):,} conditions, {seeds} in each."


def _tiles(counts: Mapping[str, int]) -> Iterator[Html]:
    yield _tile("planned", sum(counts.values()))
    for state in STATES:
        if counts[state] or state == COMPLETED:
            yield _tile(state.lower(), counts[state], bad=state not in (COMPLETED, DIVERGED))


def _tile(label: str, count: int, *, bad: bool = False) -> Html:
    return element("li", element("b", f"{count:,}"), element("span", label), class_="bad" if bad else "")


def _caveats(material: Material) -> Html:
    lines = [*material.cell_lines, *material.doubts]
    if not lines:
        return Html()
    items = element("ul", (element("li", line) for line in lines), class_="caveats")
    return element("section", element("h2", "Before you read on"), items)


def _headline(summary: Summary) -> Html:
    metrics = summary.primary_metrics()
    head = [factor.label for factor in summary.factors] + [_metric_head(entry) for entry in metrics] + ["completed"]
    rows = [_headline_row(summary, metrics, i) for i in range(min(len(summary.conditions), _MOST_ROWS))]
    methods = ", ".join(dict.fromkeys(f"{entry.method} for {entry.metric.label}" for entry in metrics))
    note = f"Mean over seeds and {percent(summary.level)} interval for it ({methods}). {_shown(summary)}"
    return element(
        "section", element("h2", "Primary metrics"), element("p", note, class_="soft"), table(head, rows, words=0)
    )


def _metric_head(entry: MetricSummary) -> str:
    direction = better_text(entry.metric)
    return f"{entry.metric.label} ({direction})" if direction else entry.metric.label


def _shown(summary: Summary) -> str:
    if len(summary.conditions) <= _MOST_ROWS:
        return ""
    return f"The first {_MOST_ROWS} of {len(summary.conditions):,} conditions{_ALL_ROWS}."


def _headline_row(summary: Summary, metrics: Sequence[MetricSummary], i: int) -> list[str]:
    factors = [value_text(value) for _, value in summary.points[i]]
    cells = [_with_interval(entry.description.mean[i], entry.suited[0][i], entry.suited[1][i]) for entry in metrics]
    return [*factors, *cells, f"{summary.completed[i]} of {len(summary.seeds)}"]


def _with_interval(mean: float, low: float, high: float) -> str:
    if mean != mean:
        return "-"
    return _number(mean) if low != low else f"{_number(mean)} [{_number(low)}, {_number(high)}]"


def _number(value: float) -> str:
    return "-" if value != value else f"{value:#.4g}".rstrip(".")


def _figures(material: Material) -> Html:
    primary = {entry.metric.name for entry in material.summary.primary_metrics()}
    curves = [picture for picture in material.pictures if "/" in picture.name]
    plain = [picture for picture in material.pictures if "/" not in picture.name]
    first = [picture for picture in plain if not picture.metric or picture.metric in primary]
    shown = [element("h2", "Figures"), *map(_figure, first)] if first else []
    others = [_folded(picture) for picture in plain if picture not in first]
    shown += [element("h2", "Other metrics"), *others] if others else []
    shown += [element("h2", "Training curves"), *map(_folded, curves)] if curves else []
    return element("section", shown)


def _figure(picture: Picture) -> Html:
    width, height = struct.unpack(">II", picture.png[16:24])  # a PNG's header
    image = element(
        "img",
        src="data:image/png;base64," + base64.b64encode(picture.png).decode(),
        alt=picture.caption,
        width=str(round(width * _SCREEN_DPI)),
        height=str(round(height * _SCREEN_DPI)),
    )
    caption = element("figcaption", f"{picture.caption} (plots/{picture.name}.png)")
    return element("figure", element("div", image, class_="frame"), caption)


def _folded(picture: Picture) -> Html:
    return element("details", element("summary", picture.caption), _figure(picture))


def _tables(summary: Summary) -> Html:
    """All statistics of every metric, folded."""
    parts = [element("details", element("summary", e.metric.name), _metric_table(summary, e)) for e in summary.metrics]
    return element("section", element("h2", "All statistics"), parts) if parts else Html()


def _metric_table(summary: Summary, entry: MetricSummary) -> Html:
    d = entry.description
    columns = [d.mean, d.std, d.sem, *entry.t, *entry.suited, d.minimum, d.median, d.maximum]
    head = [factor.label for factor in summary.factors] + ["n", "mean", "std", "sem", "t low", "t high"]
    head += [f"{entry.method} low", f"{entry.method} high", "min", "median", "max"]
    rows = [
        [value_text(v) for _, v in summary.points[i]] + [str(d.n[i])] + [_number(column[i]) for column in columns]
        for i in range(min(len(summary.conditions), _MOST_ROWS))
    ]
    note = f"{entry.metric.label}; {percent(summary.level)} intervals. {_shown(summary)}"
    return element("div", element("p", note, class_="soft"), table(head, rows, words=0))


def _provenance(manifest: Mapping[str, Any]) -> Html:
    revisions = manifest["revisions"]
    rows = [("revisions of sweep.json", str(len(revisions)))]
    shown = revisions[-1] | {"analysis": revisions[0].get("analysis", "")}  # the first analysis governs
    for key in ("trainer", "config_digest", "data_digest", "analysis", "sections", "provenance"):
        rows += _flat(key, shown.get(key, ""))
    kept = [(name, text) for name, text in rows if not name.startswith(("trainer.factors", "trainer.metrics"))]
    return element("section", element("h2", "Provenance"), table(["sweep.json", "value"], kept, words=2))


def _flat(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """Nested plain data as dotted names and texts."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flat(f"{name}.{key}", inner)
    else:
        yield name, value if isinstance(value, str) else repr(value)
