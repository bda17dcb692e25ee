"""report.html: one file, no network, the answer first. Computes nothing; what it looks like is in templates/."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from aggregate.analysis.study import Study
from aggregate.figures.axes import versus_name
from aggregate.figures.canvas import Picture
from aggregate.report import tables
from aggregate.report.caveats import cell_lines, elsewhere, limited, on_claims, on_the_whole
from aggregate.report.chart_data import chart_data
from aggregate.report.findings import EXTREME_DZ, ClaimFinding, found, told_by_claims
from aggregate.report.sentences import asked, sure, terms, tried
from aggregate.report.tables import Table
from aggregate.wording import counted, percent, short
from hpc.sweep.states import COMPLETED, FINAL, STATES

_TEMPLATES = Path(__file__).with_name("templates")
_SCREEN_DPI = 96 / 150  # figures are drawn at 150 dots an inch, browsers count 96
_MOST_SENTENCES, _MOST_LINES = 5, 40
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
    whole = [*on_claims(study, called), *on_the_whole(study, called), *material.remarks]
    page = environment().get_template("report.html")
    return page.render(
        css=own("report.css"),
        script=own("report.js"),
        script_hash=base64.b64encode(hashlib.sha256(own("report.js").encode()).digest()).decode(),
        tables=tables,
        study=study,
        summary=study.summary,
        evidence=study.evidence,
        claims=study.evidence.claims,
        primary=study.summary.primary_metrics(),
        stamp=material.stamp,
        asked=asked(study),
        tried=tried(study),
        terms=list(terms(study)),
        before=limited([*cell_lines(study.gathered, called), *whole], _MOST_LINES),
        found=findings,
        captions={picture.name: picture.caption.partition(". ")[0] for picture in material.pictures},
        most_sentences=_MOST_SENTENCES,
        sure=sure(study),
        extreme_dz=EXTREME_DZ,
        absent=sum(count for state, count in counts.items() if state not in FINAL),
        tiles=list(_tiles(counts)),
        elsewhere=limited(elsewhere(study, told_by_claims(study)), _MOST_LINES),
        rows_shown=tables.rows_shown(study.summary),
        chart_data=Markup(chart_data(study) or ""),  # it holds no "<", so it cannot end its script element
        drawn={picture.name for picture in material.pictures},
        figures=_figures(material, findings[:_MOST_SENTENCES]),
        certificates=_certificates(material.certificates),
        provenance=_provenance(study.manifest),
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
    return Markup((_TEMPLATES / name).read_text())


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
    """Within the page as long as there is room for them; everything else is a file beside it."""
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
        room -= len(pictures[name].png) + len(pictures[name].narrow)
        if room >= 0:
            shown[name] = _figure(pictures[name])
    groups = {
        "Claims and primary metrics": lambda picture: "/" not in picture.name and picture.metric in primary,
        "Other metrics": lambda picture: "/" not in picture.name and picture.metric not in primary,
        "Training curves": lambda picture: "/" in picture.name,
    }
    ours = [picture for picture in pictures.values() if not picture.own]
    return Figures(shown, message, own, [(name, list(filter(among, ours))) for name, among in groups.items()])


def _figure(picture: Picture) -> dict[str, Any]:
    width, height = struct.unpack(">II", picture.png[16:24])  # a PNG's header
    return {
        "name": picture.name,
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


def _provenance(manifest: Mapping[str, Any]) -> Table:
    revisions = manifest["revisions"]
    rows = [("revisions of sweep.json", str(len(revisions)))]
    shown = revisions[-1] | {"analysis": revisions[0].get("analysis", "")}  # the first analysis governs
    for key in ("trainer", "config_digest", "data_digest", "analysis", "sections", "provenance"):
        rows += _flat(key, shown.get(key, ""))
    kept = [(name, text) for name, text in rows if not name.startswith(("trainer.factors", "trainer.metrics"))]
    return Table(["sweep.json", "value"], kept, words=2)


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
    """What differs from the commit, by its size: a page of text would bury all else. See hpc.trainers.git.state."""
    lines = diff.count("\n") + 1
    return f"modified, patch of {lines:,} lines in sweep.json" if lines > 1 else f"modified, patch of {diff}, not kept"
