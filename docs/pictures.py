"""Makes the pictures of the documentation again. python docs/pictures.py: the tutorial's picture of `holdfast status`,
from what its commands print. python docs/pictures.py demo: all others, from what `make demo` left.

The first needs the sandbox cluster and the data of the sections before it. Its sweep is a new one, in a folder of its
own, and is cancelled at the end. The second needs Chromium.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

from aggregate.figures.canvas import lighter

ROOT = Path(__file__).resolve().parents[1]
_SUBMIT = "holdfast submit --config {root}/examples/demo.yaml data.dir={root}/demo/data --profile sandbox --pack 5"
_SHOWN = ("holdfast status out", "holdfast sandbox preempt", "holdfast status out")
_MOST = 2  # lines of a list of cells; the others are left out, as in the tutorial
_FIGURES = {"accuracy.png": "predictability_synergy_acc_vs_dimensions.png"}  # of plots/, under another name here
_SCREEN = (1280, 1200)  # pixels
_PAPER, _INK, _MARGIN, _SIZE, _LEADING = "#1e1e24", "#ececec", 14, 14, 19


def printed(command: str, folder: Path) -> str:
    return subprocess.run(
        shlex.split(command), cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True
    ).stdout


def transcript(folder: Path) -> list[str]:
    """The commands and what they print, once cells have trained for some epochs."""
    printed(_SUBMIT.format(root=ROOT), folder)
    try:
        while len(re.findall(r"epoch [1-9]", printed(_SHOWN[0], folder))) < _MOST:
            time.sleep(1)
        told = [f"$ {command}\n{printed(command, folder)}" for command in _SHOWN]
    finally:
        printed("holdfast cancel out --yes", folder)
        subprocess.run(["holdfast", "status", "out", "--watch"], cwd=folder, stdout=subprocess.DEVNULL, check=False)
    return abridged("\n".join(told).splitlines())


def abridged(lines: list[str]) -> list[str]:
    """Of cells that are listed one by one, the first."""
    kept: list[str] = []
    listed = 0
    for line in lines:
        listed = listed + 1 if line.startswith("  ") and line.strip() and not line[2:].startswith(" ") else 0
        if listed <= _MOST:
            kept.append(line)
        elif listed == _MOST + 1:
            kept.append("  ...")
    return kept


def draw(lines: list[str], path: Path) -> None:
    font = ImageFont.truetype(font_manager.findfont("DejaVu Sans Mono"), _SIZE)
    width = max(round(font.getlength(line)) for line in lines)
    image = Image.new("RGB", (width + 2 * _MARGIN, len(lines) * _LEADING + 2 * _MARGIN), _PAPER)
    page = ImageDraw.Draw(image)
    for row, line in enumerate(lines):
        page.text((_MARGIN, _MARGIN + row * _LEADING), line, _INK, font)
    image.quantize(16).save(path, optimize=True)


def demo() -> None:
    """What `make demo` left: the figures that the pages show, and the first screen of the report."""
    for page in ("gallery.md", "tutorial.md"):
        for name in re.findall(r"\((images/(?:gallery/.+?|accuracy)\.png)\)", (ROOT / "docs" / page).read_text()):
            path = ROOT / "docs" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            drawn = _FIGURES.get(path.name) or path.relative_to(ROOT / "docs/images/gallery")
            path.write_bytes(lighter((ROOT / "demo/out/plots" / drawn).read_bytes()))
    first_screen(ROOT / "demo/out/report.html", ROOT / "docs/images/report.png")


def first_screen(report: Path, path: Path) -> None:
    """The beginning of a report as Chromium shows it."""
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "shot.png"
        words = ("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars")
        words += (
            f"--window-size={_SCREEN[0]},{_SCREEN[1]}",
            f"--user-data-dir={folder}/profile",
            f"--screenshot={shot}",
        )
        subprocess.run([*words, report.as_uri()], stderr=subprocess.DEVNULL, check=True)
        path.write_bytes(lighter(shot.read_bytes()))


if __name__ == "__main__" and sys.argv[1:] == ["demo"]:
    demo()
elif __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        draw(transcript(Path(folder)), ROOT / "docs/images/status.png")
