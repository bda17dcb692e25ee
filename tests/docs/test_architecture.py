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


def named_files(row: str) -> dict[str, str]:
    """Those that a row names: by their path from the root, by their last folder and name, or with their folder."""
    spans = [span for span in re.findall(r"`([^`]+)`", row) if "/" in span or "." in span]
    return {path: text for path, text in files().items() if any(is_named(path, span) for span in spans)}


def is_named(path: str, span: str) -> bool:
    return path == span or path.endswith(f"/{span}") or (span.endswith("/") and path.startswith(span))


def is_there(span: str, row: str) -> bool:
    """A folder, a file, or a word that a file of the row defines. Commands and whole sentences are none of these."""
    if span.endswith("/"):
        return (ROOT / span).is_dir()
    if re.fullmatch(r"[\w./-]+\.(py|h|sh|js|html|yaml|md)", span):
        return any(is_named(path, span) for path in files())
    if re.fullmatch(r"\w{3,}(?<!_)", span):
        defined = re.compile(
            rf"""\b(def|class) {span}\b|^[\w, ]*\b{span}\b[^=\n]*=|["']{span}["']|^\s*{span}:""", re.MULTILINE
        )
        return any(defined.search(text) for text in named_files(row).values())
    return True


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip())
def test_what_a_row_names_is_there(row: str) -> None:
    assert [span for span in re.findall(r"`([^`]+)`", row) if not is_there(span, row)] == []


@pytest.mark.parametrize("span", ["hpc/nowhere/", "hpc/slurm/nowhere.py", "no_where.py", "comparisons"])
def test_what_is_not_there_is_found(span: str) -> None:
    assert is_there("comparison", "`aggregate/report/tables.py`")
    assert not is_there(span, "`aggregate/report/tables.py`")


def test_the_drawing_shows_every_folder_and_every_module_beside_folders() -> None:
    drawing = (ROOT / "docs" / "images" / "architecture.svg").read_text()
    labels = re.findall(r'font-weight="bold"[^>]*>([^<]*)', drawing)  # captions are not bold
    shown = set(re.findall(r"[\w.]+", " ".join(labels)))
    beside = {path.name for name in HOUSE for path in (ROOT / name).glob("*.py")} - {"__init__.py", "__main__.py"}
    folders = {path.parent.name for name in HOUSE for path in (ROOT / name).glob("*/__init__.py")}
    assert (beside | folders) - shown == set()
