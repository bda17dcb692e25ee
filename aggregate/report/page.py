"""report.html: one file, no network, the answer first. Computes nothing."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aggregate.analysis.claims import SHOWN
from aggregate.analysis.study import Study
from aggregate.figures.canvas import Picture
from aggregate.report import tables as tables
from aggregate.report.chart_data import chart_data
from aggregate.report.html import Html, element, folded, table
from aggregate.report.report_script import SCRIPT
from aggregate.report.report_style import CSS
from aggregate.report.sentences import asked, found, sure
from hpc.sweep.states import COMPLETED, DIVERGED, STATES

_SCREEN_DPI = 96 / 150  # figures are drawn at 150 dots an inch, browsers count 96
_MOST_SENTENCES = 5
# Nothing may be fetched from anywhere, whatever the text of a user's says.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


@dataclass(frozen=True)
class Material:
    """All a report is made of.

    cell_lines, doubts: what a reader must know, one line each. certificates: of resuming, as they were written.
    stamp: of the aggregation.
    """

    study: Study
    cell_lines: Sequence[str]
    doubts: Sequence[str]
    pictures: Sequence[Picture]
    certificates: Sequence[Mapping[str, Any]]
    stamp: str


def render(material: Material) -> bytes:
    """The report as UTF-8 HTML."""
    study = material.study
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="holdfast-aggregation", content=material.stamp),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", f"{study.summary.name} - Holdfast report"),
        element("style", Html(CSS)),
    )
    body = element(
        "body",
        _opening(study),
        _caveats(material),
        tables.claims(study),
        *_charts(study),
        tables.headline(study),
        _figures(material),
        tables.statistics(study.summary),
        tables.completeness(study),
        _certificates(material.certificates),
        _provenance(study.manifest),
        element("script", Html(SCRIPT)),
    )
    return f"<!doctype html>\n{element('html', head, body, lang='en')}".encode()


def _opening(study: Study) -> Html:
    summary = study.summary
    stamp, kind = "complete", "complete"
    if not summary.complete:
        absent = sum(count for state, count in study.gathered.counts.items() if state not in (COMPLETED, DIVERGED))
        stamp, kind = f"PARTIAL: {absent:,} of {summary.states.size:,} cells have no result", "partial"
    sentences = list(found(study))
    shown = [element("li", text, class_="shown" if status == SHOWN else "") for status, text in sentences]
    more = len(shown) - _MOST_SENTENCES
    if more > 0:
        shown[_MOST_SENTENCES:] = [element("li", f"{more} more in the table of claims.", class_="soft")]
    return element(
        "header",
        element("h1", summary.name),
        element("p", asked(study), class_="asked"),
        element("ul", shown, class_="found") if shown else Html(),
        element("p", sure(study), class_="soft"),
        element("div", stamp, class_=f"stamp {kind}"),
        element("ul", _tiles(study.gathered.counts), class_="tiles"),
    )


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


def _charts(study: Study) -> Iterator[Html]:
    """Places for the charts; the script draws them from the data. Without a script the figures below say the same."""
    data = chart_data(study)
    if data is None:
        return
    charts = element("div", id="chart-means", class_="chart"), element("div", id="chart-training", class_="chart")
    without = element("noscript", element("p", "The charts need JavaScript; the figures below do not.", class_="soft"))
    yield element("section", element("h2", "Look for yourself"), without, *charts)
    yield element("script", Html(data), type="application/json", id="chart-data")


def _figures(material: Material) -> Html:
    primary = {entry.metric.name for entry in material.study.summary.primary_metrics()}
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
        loading="lazy",
        width=str(round(width * _SCREEN_DPI)),
        height=str(round(height * _SCREEN_DPI)),
    )
    caption = element("figcaption", f"{picture.caption} (plots/{picture.name}.png)")
    return element("figure", element("div", image, class_="frame"), caption)


def _folded(picture: Picture) -> Html:
    return folded(picture.caption, _figure(picture))


def _certificates(certificates: Sequence[Mapping[str, Any]]) -> Html:
    if not certificates:
        return Html()
    rows = [row for i, content in enumerate(certificates, start=1) for row in _flat(str(i), content)]
    note = "What `holdfast check resume` wrote: cells trained straight and again under kills, compared bit by bit."
    shown = table(["certificate", "value"], rows, words=2)
    return element("section", element("h2", "Certificate of resuming"), element("p", note, class_="soft"), shown)


def _provenance(manifest: Mapping[str, Any]) -> Html:
    revisions = manifest["revisions"]
    rows = [("revisions of sweep.json", str(len(revisions)))]
    shown = revisions[-1] | {"analysis": revisions[0].get("analysis", "")}  # the first analysis governs
    for key in ("trainer", "config_digest", "data_digest", "analysis", "sections", "provenance"):
        rows += _flat(key, shown.get(key, ""))
    kept = [(name, text) for name, text in rows if not name.startswith(("trainer.factors", "trainer.metrics"))]
    return element("section", element("h2", "Provenance"), table(["sweep.json", "value"], kept, words=2))


def _flat(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """Nested plain data as dotted names and texts: strings as they are, all else as JSON has it."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flat(f"{name}.{key}", inner)
    elif name.endswith(".diff"):
        yield name, _patch(str(value))
    else:
        yield name, value if isinstance(value, str) else json.dumps(value)


def _patch(diff: str) -> str:
    """What differs from the commit, by its size: a page of text would bury all else. See hpc.provenance.git_state."""
    lines = diff.count("\n") + 1
    return f"modified, patch of {lines:,} lines in sweep.json" if lines > 1 else f"modified, patch of {diff}, not kept"
