"""Every figure of a sweep drawn, encoded and written: ours, then the user's own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from aggregate.report import Picture
from aggregate.study import Study
from aggregate.user_figures import draw_user_figures
from hpc.storage.files import make_directory, publish


@dataclass
class Drawn:
    """pictures: for the report, as PNG. files: everything that was written. faults: of the user's functions."""

    pictures: list[Picture] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def draw(directory: Path, study: Study, document: bytes) -> Drawn:
    """directory: for figures. document: the content of aggregated_results.json. Raises OSError naming the path."""
    drawn = Drawn()
    for picture, path in _own(directory, study, drawn.files):
        drawn.pictures.append(picture)
        drawn.files.append(path)
    if study.analysis.figures:
        make_directory(directory)
    for target, files, fault in draw_user_figures(study.analysis.figures, document, directory):
        drawn.files += files
        drawn.faults += [fault] if fault else []
        for path in files:
            if path.suffix == ".png":
                name = path.relative_to(directory).with_suffix("").as_posix()
                drawn.pictures.append(Picture(name, "", f"{name}, by {target}", path.read_bytes()))
    return drawn


def _own(directory: Path, study: Study, files: list[Path]) -> Iterator[tuple[Picture, Path]]:
    # Imported here: matplotlib takes longer to load than a small sweep to aggregate.
    from aggregate.canvas import encoded, house_style
    from aggregate.plots import plots

    with house_style():
        for plot in plots(study.summary, study.curves()):
            path = directory / f"{plot.name}.png"
            make_directory(path.parent)
            png = encoded(plot.figure)
            publish(path, png)
            if "pdf" in study.analysis.formats:
                publish(path.with_suffix(".pdf"), encoded(plot.figure, "pdf"))
                files.append(path.with_suffix(".pdf"))
            yield Picture(plot.name, plot.metric, plot.caption, png), path
