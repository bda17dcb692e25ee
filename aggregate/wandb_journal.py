"""What a server was seen to have, so that a mirror that was interrupted goes on where it stopped.

Losing it costs time, never a number: the server is asked again.
"""

from __future__ import annotations

import json
import time
from typing import Any

from hpc.storage import files
from hpc.storage.store import Store

_SECONDS = 2.0


class Journal:
    """Cells whose runs a server has exactly, by server; each with the outcome it was seen with."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._places = _read(store)
        self._written = 0.0

    def same(self, place: str, cell: str, outcome: str) -> bool:
        """Whether the whole run of this outcome was seen on this server."""
        return self._places.get(place, {}).get(cell) == outcome

    def note(self, place: str, cell: str, outcome: str | None) -> None:
        """Remember that the server has the outcome, or (None) that it has not. Raises OSError."""
        cells = self._places.setdefault(place, {})
        if cells.get(cell) == outcome:
            return
        if outcome is None:
            del cells[cell]
        else:
            cells[cell] = outcome
        if time.monotonic() - self._written > _SECONDS:
            self.write()

    def write(self) -> None:
        """Put it on disk. Raises OSError."""
        files.make_directory(self._store.wandb_root)
        text = json.dumps({"format": 1, "same": self._places}, indent=1)
        files.publish(self._store.wandb_journal_file, text.encode())
        self._written = time.monotonic()


def _read(store: Store) -> dict[str, dict[str, str]]:
    try:
        data: Any = json.loads(files.read(store.wandb_journal_file))
        return {str(place): {str(c): str(o) for c, o in cells.items()} for place, cells in data["same"].items()}
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return {}
