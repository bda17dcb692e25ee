"""Terminals that somebody watches, rich's console for them, and output in which no foreign text can command a terminal.

Names, causes and logs come from sweep directories, which anybody may have written. A control character in them could
move the cursor, change the title or hide a line; so whatever is printed passes here, and such characters are written
out.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, TextIO, cast

if TYPE_CHECKING:
    from rich.console import Console


def visible(text: str) -> str:
    """The text with control characters written out, all but line breaks and tabs; a carriage return begins a line."""
    if text.isprintable():
        return text
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    return "".join(
        c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape", "replace").decode() for c in lines
    )


def watched(stream: TextIO) -> bool:
    """Whether a stream is a terminal that can draw a line again; TERM=dumb cannot."""
    return stream.isatty() and os.environ.get("TERM", "") not in ("", "dumb", "unknown")


def console(stream: TextIO) -> Console:
    """What draws there. It uses no colour if NO_COLOR is set, and takes text as it is, but for control characters."""
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment

    class Safe(Console):
        def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
            for segment in super().render(renderable, options):
                yield segment if segment.control else segment._replace(text=visible(segment.text))

    return Safe(file=cast(TextIO, getattr(stream, "unescaped", stream)), highlight=False, markup=False, emoji=False)


class _Escaping:
    """A text stream that writes control characters out. unescaped: the stream itself, for what draws on it."""

    def __init__(self, stream: TextIO) -> None:
        self.unescaped = stream

    def write(self, text: str) -> int:
        self.unescaped.write(visible(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.unescaped, name)


class _Unheard:
    """A text stream whose reader may go, as a terminal that is closed or a `tee` that got Ctrl-C, too."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with self._whoever_hears():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._whoever_hears():
            self._stream.flush()

    @contextlib.contextmanager
    def _whoever_hears(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            # What is still to be written goes nowhere, so that Python does not complain at its end.
            with contextlib.suppress(OSError), open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), self._stream.fileno())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def escaped_output() -> Iterator[None]:
    """Let nothing reach stdout and stderr as a command to the terminal, for as long as a command runs.

    Progress and remarks, on stderr, may be heard by nobody: that must not end what they are about.
    """
    before = sys.stdout, sys.stderr
    sys.stdout = cast(TextIO, _Escaping(sys.stdout))
    sys.stderr = cast(TextIO, _Escaping(cast(TextIO, _Unheard(sys.stderr))))
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
