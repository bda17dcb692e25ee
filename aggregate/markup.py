"""HTML built from escaped pieces: text is escaped unless it was made here."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

_VOID = {"img", "meta"}


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def element(tag: str, *content: str | Iterable[Html], **attributes: str) -> Html:
    """An element with its content; plain strings are escaped. A trailing underscore of an attribute is dropped."""
    given = "".join(f' {name.rstrip("_")}="{html.escape(value)}"' for name, value in attributes.items())
    if tag in _VOID:
        return Html(f"<{tag}{given}>")
    return Html(f"<{tag}{given}>{''.join(map(_piece, content))}</{tag}>\n")


def table(head: Sequence[str], rows: Iterable[Sequence[str]], words: int = 1) -> Html:
    """A table that scrolls sideways by itself. words: leading columns that hold words, the others hold numbers."""
    first = element("tr", (element("th", text, class_=_kind(i, words), scope="col") for i, text in enumerate(head)))
    body = (element("tr", (element("td", text, class_=_kind(i, words)) for i, text in enumerate(row))) for row in rows)
    return element("div", element("table", element("thead", first), element("tbody", body)), class_="scroll")


def _kind(column: int, words: int) -> str:
    return "word" if column < words else "number"


def _piece(content: str | Iterable[Html]) -> str:
    if isinstance(content, Html):
        return content
    return html.escape(content) if isinstance(content, str) else "".join(content)
