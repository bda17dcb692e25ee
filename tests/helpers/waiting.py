"""Waiting in tests: on a condition, never for a time that a slower machine would need longer for."""

from __future__ import annotations

import time
from collections.abc import Callable

# Seconds. What holds is seen as soon as it is there; only a test that fails waits them out. Long enough for a machine
# with a third of the clock whose cores are busy four times over.
PATIENCE = 600.0


def wait_until(condition: Callable[[], object], what: str, patience: float = PATIENCE, pause: float = 0.05) -> None:
    """Return as soon as the condition holds. Raises AssertionError, saying what was waited for, if it never does."""
    assert comes(condition, patience, pause), f"waited {patience:.0f} s for: {what}"


def comes(condition: Callable[[], object], patience: float = PATIENCE, pause: float = 0.05) -> bool:
    """Whether a condition holds before the patience is at its end; asked every `pause` seconds."""
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
    return True
