"""For mkdocs: the reference pages, made from the code as it is now; and links that leave the documentation."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

sys.path.insert(0, str(Path(__file__).parent))
import generate

_LINK = re.compile(r"\[([^\]]*)\]\(((?:\.\./)+)([^)#\s]+)[^)]*\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for name, text in generate.pages().items():
        files.append(File.generated(config, f"reference/{name}", content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Colleagues link to sources as GitHub shows them; built pages have no sources beside them and name the file."""
    depth = page.file.src_uri.count("/") + 1

    def named(found: re.Match[str]) -> str:
        leaves = found[2].count("../") >= depth
        return (
            f"{found[1]} (`{found[3]}`)" if leaves and found[1] != found[3] else f"`{found[3]}`" if leaves else found[0]
        )

    return _LINK.sub(named, markdown)
