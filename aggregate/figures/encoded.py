"""Every figure of a sweep as the bytes of its files: ours, from catalogue.py, then those of the user's functions.

Nothing is written here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import escape

from aggregate.analysis.study import Study
from aggregate.figures.canvas import Picture
from aggregate.figures.own.functions import draw_user_figures
from aggregate.figures.own.stamps import ends_of, with_stamp
from hpc.files import directories

FORMATS = ("png", "pdf", "svg")
_PAGE = (504.0, 648.0)  # points of text on a letter's page, 7 x 9 inches


@dataclass
class Drawn:
    """pictures: for the report, as PNG. files: content by path below plots/, a user's in place of ours of the same
    name. faults: of the user's functions, one line each. remark: on files that no page has room for; empty if none."""

    pictures: list[Picture] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    remark: str = ""


def draw(study: Study, document: bytes, stamp: str, targets: Collection[str], column: float | None = None) -> Drawn:
    """document: the content of aggregated_results.json. stamp: of the aggregation, for the figures' metadata.

    column: width of the files, points; None: as wide as the report's pictures.
    targets: functions of users that draw as well. They run here, so whoever calls this has decided that they may.
    """
    drawn = Drawn()
    for picture, files, _ in _own(study, stamp):
        drawn.pictures.append(picture)
        drawn.files |= files
    if column is not None:
        heights: dict[str, float] = {}
        for picture, files, height in _own(study, stamp, column):
            drawn.files |= files
            heights[picture.name] = height
        drawn.remark = _too_high(heights, column)
    for target, files, fault in draw_user_figures(targets, document):
        drawn.files |= {path: with_stamp(path, content, stamp) for path, content in files.items()}
        drawn.faults += [fault] if fault else []
        for path, content in files.items():
            if path.endswith(".png"):
                name = path.removesuffix(".png")
                drawn.pictures.append(Picture(name, "", f"{name}, by {target}", content, own=True))
    return drawn


def _too_high(heights: Mapping[str, float], column: float) -> str:
    """Which of the figures for a column are higher than a page. heights: by name, inches; column: points."""
    found = sorted(
        (name for name, height in heights.items() if 72 * height > _PAGE[1]), key=lambda name: -heights[name]
    )
    if not found:
        return ""
    size = f"{found[0]} ({column / 72:.1f} x {heights[found[0]]:.1f} inches)"
    which = f"{size} is" if len(found) == 1 else f"{len(found)} figures, such as {size}, are"
    wider = (
        f"--style paper:{_PAGE[0]:.0f} draws wider and lower ones" if column < _PAGE[0] else "--figure draws your own"
    )
    return f"{which} higher than a page; {wider}"


def _own(study: Study, stamp: str, column: float | None = None) -> Iterator[tuple[Picture, dict[str, bytes], float]]:
    """Pictures for the report, files by path, and the height of each figure in inches."""
    # Imported here: matplotlib takes longer to load than a small sweep to aggregate.
    from aggregate.figures.canvas import encoded, house_style
    from aggregate.figures.catalogue import plots

    narrow = _of_claims(study) if column is None else ()
    with house_style(column):
        for plot in plots(study.summary, study.curves(), study.evidence.claims.retained, narrow):
            about = {"Title": _title(plot.name), "Subject": f"aggregation {stamp}"}
            kinds = [kind for kind in FORMATS if kind == "png" or kind in study.analysis.formats]
            files = {f"{plot.name}.{kind}": encoded(plot.figure, kind, about) for kind in kinds}
            small = encoded(plot.narrow) if plot.narrow is not None else b""
            yield (
                Picture(plot.name, plot.metric, plot.caption, files[f"{plot.name}.png"], narrow=small),
                files,
                plot.figure.get_figheight(),
            )


def _of_claims(study: Study) -> set[str]:
    """Figures of the slopes and comparisons that were declared: those that stand in the report beside their claims."""
    from aggregate.figures.axes import versus_name

    factors = {factor.name: factor for factor in study.summary.factors}
    questions = [claim.question for claim in study.evidence.claims.family]
    return {versus_name(q.metric, factors[q.factors[0]]) for q in questions if q.factors[0] in factors}


def superseded(directory: Path, kept: Collection[Path]) -> list[Path]:
    """Figures of ours in ``directory`` that are not among those kept.

    A file is ours if it says so under the very name that it has. Whatever else lies there is left alone: figures of the
    user's, copies of ours under another name, links and what they lead to.
    """
    if directory.is_symlink():
        return []
    found = (Path(folder) / name for folder, _, names in directories.walk(directory) for name in names)
    return [path for path in found if path not in kept and _is_ours(path, path.relative_to(directory))]


def _is_ours(path: Path, name: Path) -> bool:
    if path.suffix.removeprefix(".") not in FORMATS or path.is_symlink() or not path.is_file():
        return False
    title = _title(name.with_suffix("").as_posix())
    return (escape(title) if path.suffix == ".svg" else title).encode() in ends_of(path)


def _title(name: str) -> str:
    """What a figure's metadata say of it. Its name ends with a mark, so that no other name begins with it."""
    return f"Holdfast figure <{name}>"
