"""The log of epochs that a script writes for itself, of which only what is whole is read, and kept with its states."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from training.script_files import counts_epochs, epochs, rows_in


class EpochLog:
    """A script's table of epochs, while the script writes it in whatever way: row by row, or all of it anew.

    path: of the table, see training.script_files. names: metric -> its column. left_out: called with why a row is.
    """

    def __init__(self, path: Path, names: Mapping[str, str], left_out: Callable[[str], None]) -> None:
        self.path = path
        self._names = names
        self._left_out = left_out
        self._put = b""
        self._before: list[dict[str, Any]] = []
        self._seen: tuple[int, ...] | None = None
        self.content = b""
        self.counts = False

    def put(self, content: bytes) -> None:
        """Lay a saved table in its place before the script starts. Its rows stay known if the script begins it anew.

        Raises OSError.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_bytes(content)
        self._put = self.content = content
        with suppress(ValueError):  # saved by an earlier version in the middle of its writing
            self._before = self._rows(self._whole_lines(content))

    def look(self, ended: bool = False) -> list[tuple[float, dict[str, float]]]:
        """The epochs that are whole, as training.script_files.epochs has them; none if nothing is new.

        ended: the script has come to its end. From then on, `content` is the newest table that was whole, and `counts`
        says whether it has a column for the epoch. Raises ValueError for what is no table.
        """
        try:
            found = self.path.stat()
            version = (found.st_ino, found.st_size, found.st_mtime_ns)
            if version == self._seen and not ended:
                return []
            content = self._split(self.path.read_bytes())
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):  # not there yet, or just being replaced
            return []
        try:
            table = self._rows(content if ended else self._whole_lines(content))
        except ValueError:
            if ended or self.path.suffix != ".json":  # a document is written anew for each epoch
                raise
            return []
        self._seen = version
        if not ended and self._is_being_rewritten(content, table):
            return []
        self.content = content
        self.counts = counts_epochs(self._before + table)
        return list(epochs(self._before + table, self._names, ended, self._left_out))

    def _whole_lines(self, content: bytes) -> bytes:
        """A table less a last line that may have been cut off. A JSON document has no lines of its own."""
        return content if self.path.suffix == ".json" else content[: content.rfind(b"\n") + 1]

    def _split(self, content: bytes) -> bytes:
        """A table less the line that was cut off when the script was stopped, if it has gone on right behind it."""
        added = content[len(self._put) :]
        joined = bool(added) and content.startswith(self._put) and added[:1] not in (b"\n", b"\r")
        return self._whole_lines(self._put) + added if joined else content

    def _rows(self, content: bytes) -> list[dict[str, Any]]:
        return rows_in(content, self.path.suffix, self._left_out)

    def _is_being_rewritten(self, content: bytes, table: Sequence[Mapping[str, Any]]) -> bool:
        """Whether rows are gone, and none is new: where each epoch writes a table anew, only a part may be there."""
        if len(content) >= len(self.content):
            return False
        return self._last(table) <= self._last(self._rows(self._whole_lines(self.content)))

    def _last(self, table: Sequence[Mapping[str, Any]]) -> float:
        return max((key for key, _ in epochs(table, self._names, True, self._left_out)), default=-math.inf)
