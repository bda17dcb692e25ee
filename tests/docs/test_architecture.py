"""The page on architecture: what it names is there, and its drawing shows every folder."""

from __future__ import annotations

import re
from functools import cache

import pytest
from helpers.small_sweeps import ROOT

TEXT = (ROOT / "docs" / "architecture.md").read_text()
ROWS = [line for line in TEXT.splitlines() if line.startswith("| ") and not line.startswith("| change |")]
HOUSE = ("hpc", "aggregate", "training")
SEARCHED = (*HOUSE, "tests", "slurm_templates", "docs", "examples")


@cache
def files() -> dict[str, str]:
    """Content by path, of everything that is text and that the page could name."""
    paths = (path for folder in SEARCHED for path in (ROOT / folder).rglob("*") if path.is_file())
    texts = (path for path in paths if path.suffix in (".py", ".h", ".c", ".sh", ".js", ".html", ".yaml", ".md"))
    return {path.relative_to(ROOT).as_posix(): path.read_text() for path in texts}


def is_there(span: str) -> bool:
    """A path from the root, the name of a module, or a word that stands in some module. Commands are none of these."""
    if span.endswith("/"):
        return (ROOT / span).is_dir()
    if re.fullmatch(r"[\w./-]+\.(py|h|sh|js|html|yaml|md)", span):
        # A bare name, or one with its last folder, stands beside a path that was named before it.
        return any(path == span or path.endswith(f"/{span}") for path in files())
    if re.fullmatch(r"[A-Za-z_]\w{3,}", span):
        return any(re.search(rf"\b{span}\b", text) for path, text in files().items() if path.endswith((".py", ".sh")))
    return True


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip())
def test_what_a_row_names_is_there(row: str) -> None:
    assert [span for span in re.findall(r"`([^`]+)`", row) if not is_there(span)] == []


@pytest.mark.parametrize("span", ["hpc/nowhere/", "hpc/slurm/nowhere.py", "no_where.py", "_NO_" + "WHERE"])
def test_what_is_not_there_is_found(span: str) -> None:
    assert not is_there(span)


def test_the_drawing_shows_every_folder_and_every_module_beside_folders() -> None:
    drawing = (ROOT / "docs" / "images" / "architecture.svg").read_text()
    shown = set(re.findall(r"[\w.]+", re.sub(r"<[^>]*>", " ", drawing)))
    beside = {path.name for name in HOUSE for path in (ROOT / name).glob("*.py")} - {"__init__.py", "__main__.py"}
    folders = {path.parent.name for name in HOUSE for path in (ROOT / name).glob("*/__init__.py")}
    assert (beside | folders) - shown == set()
