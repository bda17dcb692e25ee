"""For mkdocs: the reference pages, generated from the current code; and links that leave the documentation."""

from __future__ import annotations

import posixpath
import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

sys.path.insert(0, str(Path(__file__).parent))
import generate

_LINK = re.compile(r"\[([^\]]*)\]\(([^)#\s]+)(#[^)]*)?\)")
# Sources that a reader of the checkout is sent to, and the reference page that the site has instead.
_REFERENCE = {
    "slurm_templates/config_template.yaml": "reference/configuration.md",
    "slurm_templates/profiles/example.yaml": "reference/profile.md",
    "docs/json_outputs.py": "reference/json.md",
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for name, text in generate.pages().items():
        files.append(File.generated(config, f"reference/{name}", content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Pages link to sources as GitHub shows them; the site has no sources beside it and names the file instead."""
    folder = posixpath.dirname(f"docs/{page.file.src_uri}")

    def in_site(found: re.Match[str]) -> str:
        label, target = found[1], posixpath.normpath(posixpath.join(folder, found[2]))
        if target in _REFERENCE:
            return f"[{label}]({posixpath.relpath(f'docs/{_REFERENCE[target]}', folder)})"
        if ":" in found[2] or target.startswith("docs/"):
            return found[0]
        return f"`{target}`" if label in target else f"{label} (`{target}`)"

    return _LINK.sub(in_site, markdown)
