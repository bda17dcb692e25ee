"""Code blocks of Markdown pages."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str) -> list[str]:
    """The blocks of one language in a page, in order."""
    return [text for kind, text in _BLOCK.findall(page.read_text()) if kind == language]


def commands(page: Path) -> list[str]:
    """Every line of the bash blocks, without comments."""
    lines = [line.partition(" #")[0].strip() for text in blocks(page, "bash") for line in text.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]
