"""For mkdocs: links out of docs/ (to a source file, a template) go to the repository, where they mean something."""

from __future__ import annotations

import re
from typing import Any

_OUT = re.compile(r"\]\((?:\.\./)+((?!docs/)[A-Za-z_][^)#]*)\)")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """A file outside docs/ is named, not linked: the pages may be read without the repository beside them."""
    depth = page.file.src_uri.count("/") + 1

    def named(found: re.Match[str]) -> str:
        ups = found[0].count("../")
        return found[0] if ups < depth else f"] (`{found[1]}`)"

    return re.sub(r"\[([^\]]*)\] \(`([^`]*)`\)", r"\1 (`\2`)", _OUT.sub(named, markdown))
