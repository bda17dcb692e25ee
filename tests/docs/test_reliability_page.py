"""The page on crash safety names a test for every claim; those tests exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from chaos.run import PARTS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reliability.md").read_text()
NAMED = sorted(set(re.findall(r"[a-z_]+(?:/[a-z_]+)*/test_[a-z_]+\.py(?:::test_\w+)?", PAGE)))


# Files of tests that are no test modules, such as the scripts of the models; and parts of `make chaos`.
OTHER_FILES = sorted(set(re.findall(r"\bchaos/(?:[a-z_]+/)*(?!test_)[a-z_]+\.py", PAGE)))


def test_the_page_names_tests() -> None:
    assert len(NAMED) > 30


@pytest.mark.parametrize("name", NAMED)
def test_a_test_that_the_page_names_exists(name: str) -> None:
    file, _, function = name.partition("::")
    path = ROOT / "tests" / file
    assert path.is_file()
    defined = {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}
    assert not function or function in defined


@pytest.mark.parametrize("name", OTHER_FILES)
def test_another_file_that_the_page_names_exists(name: str) -> None:
    assert (ROOT / "tests" / name).is_file()


def test_every_guarantee_names_its_test_or_a_part_of_make_chaos_that_is_there() -> None:
    section = PAGE.partition("## Guarantees and their tests")[2].partition("\n## ")[0]
    rows = [line.split("|")[2] for line in section.splitlines() if line.startswith("|")][2:]
    assert len(rows) > 20
    for row in rows:
        parts = re.findall(r"`(\w+)`", row)
        assert set(parts) <= PARTS.keys(), row
        assert parts or re.search(r"test_[a-z_]+\.py", row), row


def test_every_invariant_names_its_test() -> None:
    section = PAGE.partition("## Invariants")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")][2:]
    assert len(rows) >= 8
    for row in rows:
        assert re.search(r"test_[a-z_]+\.py", row.split("|")[4]), row
