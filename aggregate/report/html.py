"""HTML built from escaped pieces: text is escaped unless it was made here."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

_VOID = {"img", "meta"}


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def element(tag: str, *content: str | Iterable[Html], **attributes: str) -> Html:
    """An element with its content; plain strings are escaped. A trailing underscore of an attribute is dropped, one
    within is a hyphen; an empty attribute is left out."""
    given = "".join(f' {_attribute(name)}="{html.escape(value)}"' for name, value in attributes.items() if value)
    if tag in _VOID:
        return Html(f"<{tag}{given}>")
    return Html(f"<{tag}{given}>{''.join(map(_piece, content))}</{tag}>\n")


def table(head: Sequence[str], rows: Iterable[Sequence[str]], words: int = 1) -> Html:
    """A table that scrolls sideways by itself and sorts where scripts run. words: leading columns of words, the others
    hold numbers."""
    first = element("tr", (element("th", text, class_=_kind(i, words), scope="col") for i, text in enumerate(head)))
    opened = [f'<td class="{_kind(i, words)}">' for i in range(len(head))]
    body = (_row(opened, row) for row in rows)
    content = element("thead", first), element("tbody", body)
    return element("div", element("table", *content, class_="sortable"), class_="scroll")


def _row(opened: Sequence[str], row: Sequence[str]) -> Html:
    """A row from the opening tags of its cells and their text; a report has tens of thousands of cells."""
    cells = "".join([f"{tag}{_piece(text)}</td>\n" for tag, text in zip(opened, row, strict=True)])
    return Html(f"<tr>{cells}</tr>\n")


def folded(heading: str, *content: Html) -> Html:
    """Content behind a heading that opens it."""
    return element("details", element("summary", heading), *content)


def _attribute(name: str) -> str:
    return name.rstrip("_").replace("_", "-")


def _kind(column: int, words: int) -> str:
    return "word" if column < words else "number"


def _piece(content: str | Iterable[Html]) -> str:
    if isinstance(content, Html):
        return content
    return html.escape(content) if isinstance(content, str) else "".join(content)
