"""report.html: one file, no network, the answer first. Computes nothing; what it looks like is in templates/."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from aggregate.analysis.study import Study
from aggregate.figures.canvas import RETENTION, Picture
from aggregate.report import tables
from aggregate.report.caveats import on_claims
from aggregate.report.chart_data import chart_data
from aggregate.report.sentences import EXTREME_DZ, asked, found, information, sure
from aggregate.report.tables import Table
from aggregate.wording import counted, percent, short
from hpc.sweep.states import COMPLETED, FINAL, STATES

_TEMPLATES = Path(__file__).with_name("templates")
_SCREEN_DPI = 96 / 150  # figures are drawn at 150 dots an inch, browsers count 96
_MOST_SENTENCES = 5


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
    study, counts = material.study, material.study.gathered.counts
    page = _environment().get_template("report.html")
    return page.render(
        css=_own("report.css"),
        script=_own("report.js"),
        script_hash=base64.b64encode(hashlib.sha256(_own("report.js").encode()).digest()).decode(),
        tables=tables,
        study=study,
        summary=study.summary,
        evidence=study.evidence,
        claims=study.evidence.claims,
        primary=study.summary.primary_metrics(),
        stamp=material.stamp,
        asked=asked(study),
        information=information(study),
        on_claims=on_claims(study),
        found=list(found(study)),
        most_sentences=_MOST_SENTENCES,
        sure=sure(study),
        extreme_dz=EXTREME_DZ,
        absent=sum(count for state, count in counts.items() if state not in FINAL),
        tiles=list(_tiles(counts)),
        caveats=[*material.cell_lines, *material.doubts],
        rows_shown=tables.rows_shown(study.summary),
        chart_data=Markup(chart_data(study) or ""),  # it holds no "<", so it cannot end its script element
        figures=_figures(material),
        certificates=_certificates(material.certificates),
        provenance=_provenance(study.manifest),
    ).encode()


@lru_cache(maxsize=1)
def _environment() -> Environment:
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


def _own(name: str) -> Markup:
    return Markup((_TEMPLATES / name).read_text())


def _tiles(counts: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    yield {"label": "planned", "count": sum(counts.values()), "bad": False}
    for state in STATES:
        if counts[state] or state == COMPLETED:
            yield {"label": state.lower(), "count": counts[state], "bad": state not in FINAL}


def _figures(material: Material) -> dict[str, list[dict[str, Any]]]:
    """The hypothesis, primary metrics and what shows several of them, other metrics, training curves."""
    primary = {"", *(entry.metric.name for entry in material.study.summary.primary_metrics())}
    groups: dict[str, list[dict[str, Any]]] = {"hypothesis": [], "primary": [], "others": [], "curves": []}
    for picture in material.pictures:
        groups[_group(picture, primary)].append(_figure(picture))
    return groups


def _group(picture: Picture, primary: Collection[str]) -> str:
    if picture.name == RETENTION:
        return "hypothesis"
    if "/" in picture.name:
        return "curves"
    return "primary" if picture.metric in primary else "others"


def _figure(picture: Picture) -> dict[str, Any]:
    width, height = struct.unpack(">II", picture.png[16:24])  # a PNG's header
    return {
        "name": picture.name,
        "caption": picture.caption,
        "source": "data:image/png;base64," + base64.b64encode(picture.png).decode(),
        "width": round(width * _SCREEN_DPI),
        "height": round(height * _SCREEN_DPI),
    }


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
