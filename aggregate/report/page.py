"""report.html: one file, no network, the answer first. Computes nothing; what it looks like is in templates/."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from aggregate.analysis.reliability import outlying
from aggregate.analysis.study import Study
from aggregate.answers.answer import Answer, answered
from aggregate.answers.caveats import cell_lines, elsewhere, limited, on_claims, on_the_whole, still_learning
from aggregate.answers.claim_numbers import EXTREME_DZ
from aggregate.answers.sentences import asked, pairing, sure, terms, tried, upper
from aggregate.described.epochs import value_of
from aggregate.figures.axes import versus_name
from aggregate.figures.canvas import Picture, lighter
from aggregate.reading.records import Gathered
from aggregate.report import claim_tables, tables
from aggregate.report.chart_data import chart_data
from aggregate.report.findings import ClaimFinding, found, told_by_claims
from aggregate.report.tables import Table
from aggregate.wording import dotted, percent, short, value_text
from hpc.sweep.states import COMPLETED, FINAL, STATES
from hpc.units import counted

_TEMPLATES = Path(__file__).with_name("templates")
_VENDOR = Path(__file__).with_name("vendor")
_LIBRARIES = ("d3", "plot")  # the second is made of the first
_SCREEN_DPI = 96 / 150  # figures are drawn at 150 dots an inch, browsers count 96
_MOST_SENTENCES, _MOST_BEFORE, _MOST_LINES, _MOST_LIMITS = 5, 3, 40, 3
PICTURES = 600_000  # bytes of pictures within the page


@dataclass(frozen=True)
class Material:
    """All a report is made of.

    remarks: on how it was made, one line each. certificates: of resuming, as they were written. stamp: of the
    aggregation.
    """

    study: Study
    remarks: Sequence[str]
    pictures: Sequence[Picture]
    certificates: Sequence[Mapping[str, Any]]
    stamp: str


def render(material: Material) -> bytes:
    """The report as UTF-8 HTML."""
    study, counts = material.study, material.study.gathered.counts
    findings = list(found(study))
    called = dict(zip(study.gathered.names, study.summary.cell_places(), strict=True)).__getitem__
    answers = answered(study)
    learning = still_learning(study.gathered) if answers else []  # beside the answers, and so not below them
    of_claims = [line for line in on_claims(study, called) if line not in learning]
    whole = [*of_claims, *on_the_whole(study, called), *material.remarks]
    numbers = chart_data(study)
    charts = [*map(_vendored, _LIBRARIES), own("charts.js")] if numbers else []
    page = environment().get_template("report.html")
    return page.render(
        css=own("report.css"),
        charts=charts,
        script=own("report.js"),
        allowed=" ".join(map(_allowed, [*charts, own("report.js")])),
        tables=tables,
        claim_tables=claim_tables,
        study=study,
        summary=study.summary,
        evidence=study.evidence,
        claims=study.evidence.claims,
        primary=study.summary.primary_metrics(),
        outlying=outlying(study.flags, study.summary.primary_metrics()),
        stamp=material.stamp,
        of_all=[f"{upper(line)}." for line in learning],
        asked=answers or [Answer(question, "") for question in asked(study)],
        tried=tried(study),
        terms=list(terms(study)),
        before=limited([*cell_lines(study.gathered, called), *whole], _MOST_LINES),
        found=findings,
        captions={picture.name: picture.caption.partition(". ")[0] for picture in material.pictures},
        most_limits=_MOST_LIMITS,
        most_sentences=_MOST_SENTENCES,
        most_before=_MOST_BEFORE,
        sure=sure(study),
        pairing=pairing(study),
        others=claim_tables.others(study.evidence.claims.family),
        extreme_dz=EXTREME_DZ,
        compared=sum(comparison.made for comparison in study.evidence.comparisons),
        absent=sum(count for state, count in counts.items() if state not in FINAL),
        tiles=list(_tiles(counts)),
        elsewhere=limited(elsewhere(study, told_by_claims(study)), _MOST_LINES),
        rows_shown=tables.rows_shown(study.summary),
        metrics=tables.metrics(study.summary, value_of(study)),
        chart_data=Markup(numbers or ""),  # it holds no "<", so it cannot end its script element
        drawn={picture.name for picture in material.pictures},
        figures=_figures(material, findings[:_MOST_SENTENCES]),
        certificates=_certificates(material.certificates),
        provenance=_provenance(study.manifest, study.gathered),
    ).encode(errors="backslashreplace")  # a path or a cause may hold a name that is no text


@lru_cache(maxsize=1)
def environment() -> Environment:
    """Every text is escaped where it is put into the page, but for our own style and script."""
    made = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"percent": percent, "counted": counted, "short": short, "thousands": "{:,}".format}
    return made


def own(name: str) -> Markup:
    return Markup((_TEMPLATES / name).read_text(encoding="utf-8"))


def _vendored(name: str) -> Markup:
    """A library as it was published, after its licence, which has to be in every copy."""
    licence = (_VENDOR / f"{name}.LICENSE").read_text(encoding="utf-8")
    text = (_VENDOR / f"{name}.min.js").read_text(encoding="utf-8")
    return Markup(f"/*\n{licence}*/\n{text}")


def _allowed(script: str) -> str:
    """What the page's policy calls a script that may run."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _tiles(counts: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    yield {"label": "planned", "count": sum(counts.values()), "bad": False}
    for state in STATES:
        if counts[state] or state == COMPLETED:
            yield {"label": state.lower(), "count": counts[state], "bad": state not in FINAL}


@dataclass(frozen=True)
class Figures:
    """Of plots/. shown: those within the page, by name: they are what a claim, or a user's own function, has to say.
    message: of the whole sweep where no claim has one. own: of the user's functions. files: all, as links: heading,
    pictures.
    """

    shown: Mapping[str, Mapping[str, Any]]
    message: str
    own: Sequence[Picture]
    files: Sequence[tuple[str, Sequence[Picture]]]


def _figures(material: Material, findings: Sequence[ClaimFinding]) -> Figures:
    """Within the page as long as there is room for them, the first in any case; all else are files beside it."""
    pictures = {picture.name: picture for picture in material.pictures}
    summary = material.study.summary
    primary = {"", *(entry.metric.name for entry in summary.primary_metrics())}
    first = [versus_name(e.metric, f) for e in summary.primary_metrics()[:1] for f in summary.factors[:1]]
    told = [name for finding in findings for name in finding.figures[:1] if name in pictures]
    message = "" if told else next((name for name in first if name in pictures), "")
    own = [picture for picture in pictures.values() if picture.own]
    shown: dict[str, dict[str, Any]] = {}
    room = PICTURES
    for name in dict.fromkeys([*told, *filter(None, [message]), *(picture.name for picture in own)]):
        found = _within_a_page(pictures[name])
        room -= len(found.png) + len(found.narrow)
        if room >= 0 or not shown:
            shown[name] = _figure(found)
    groups = {
        "Claims and primary metrics": lambda picture: "/" not in picture.name and picture.metric in primary,
        "Other metrics": lambda picture: "/" not in picture.name and picture.metric not in primary,
        "Training curves": lambda picture: "/" in picture.name,
    }
    ours = [picture for picture in pictures.values() if not picture.own]
    return Figures(shown, message, own, [(name, list(filter(among, ours))) for name, among in groups.items()])


def _within_a_page(picture: Picture) -> Picture:
    """Lighter than its file; a user's own as it is, which may be a photograph."""
    if picture.own:
        return picture
    return replace(picture, png=lighter(picture.png), narrow=lighter(picture.narrow) if picture.narrow else b"")


def _figure(picture: Picture) -> dict[str, Any]:
    width, height = struct.unpack(">II", picture.png[16:24])  # a PNG's header
    return {
        "name": picture.name,
        "own": picture.own,
        "caption": picture.caption,
        "source": _source(picture.png),
        "narrow": _source(picture.narrow) if picture.narrow else "",
        "width": round(width * _SCREEN_DPI),
        "height": round(height * _SCREEN_DPI),
    }


def _source(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _certificates(certificates: Sequence[Mapping[str, Any]]) -> Table:
    rows = [row for i, content in enumerate(certificates, start=1) for row in _flat(str(i), content)]
    return Table(["certificate", "value"], rows, words=2)


def _ran(gathered: Gathered) -> Iterator[tuple[str, str]]:
    """On what runs were trained, as their results have it: numbers may depend on it."""
    results = [record.result for record in gathered.records if record.state == COMPLETED and record.result]
    found: dict[str, dict[str, int]] = {}
    for result in results:
        for name, text in _flat("numerics", (result.get("provenance") or {}).get("numerics") or {}):
            counts = found.setdefault(name, {})
            counts[text] = counts.get(text, 0) + 1
    for name, counts in sorted(found.items()):
        told = [f"{text} ({counted(count, 'run')})" for text, count in counts.items()]
        yield f"results: {name}", "; ".join(limited(told, _MOST_LINES)) if len(told) > 1 else next(iter(counts))


def _provenance(manifest: Mapping[str, Any], gathered: Gathered) -> Table:
    revisions = manifest["revisions"]
    rows = [("revisions of sweep.json", str(len(revisions)))]
    shown = revisions[-1] | {"analysis": revisions[0].get("analysis", "")}  # the first analysis governs
    rows += _ran(gathered)
    for key in ("trainer", "options", "config_digest", "data_digest", "analysis", "sections", "provenance"):
        rows += _flat(key, shown.get(key, ""))
    by_grid = _set_by_the_grid(shown)
    kept = [
        (name, by_grid.get(name, text))
        for name, text in rows
        if not name.startswith(("trainer.factors", "trainer.metrics"))
    ]
    return Table(["sweep.json", "value"], kept, words=2)


def _set_by_the_grid(revision: Mapping[str, Any]) -> dict[str, str]:
    """Entries that no run was trained with, since a factor takes their place; and what runs were trained with."""
    declared = revision["trainer"]["factors"]
    axes = [(declared.get(name, {}).get("overrides"), values) for name, values in revision["grid"]["axes"]]
    return {f"sections.{key}": f"set by the grid: {', '.join(map(value_text, values))}" for key, values in axes if key}


def _flat(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """Nested plain data as dotted names and texts: strings as they are, all else as JSON has it."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flat(dotted(name, key), inner)
    elif name.endswith(".diff"):
        yield name, _patch(str(value))
    else:
        yield name, value if isinstance(value, str) else json.dumps(value)


def _patch(diff: str) -> str:
    """What differs from the commit, by its size: a page of text would bury all else. See hpc.trainers.git.state."""
    lines = diff.count("\n") + 1
    return f"modified, patch of {lines:,} lines in sweep.json" if lines > 1 else f"modified, patch of {diff}, not kept"
