"""A trainer that waits until it is asked to stop, and saves: what `check cluster` trains on a node."""

from __future__ import annotations

import time
from typing import Any

FACTORS: dict[str, dict[str, Any]] = {"width": {"kind": "integer"}}
METRICS: dict[str, dict[str, Any]] = {"seconds": {"kind": "positive", "better": "lower"}}
# Enough for any queue of signals; a check that was killed must not occupy a node for longer.
SECONDS = 300.0


def train(cells: Any, options: Any, run: Any) -> None:
    """One cell; it ends once it has been stopped and started again, or after five minutes."""
    from training.contract import Checkpoint

    (cell,) = cells
    began, stopped_before = time.monotonic(), run.restore(cell) is not None
    run.epoch(cell, 1, 2, {"seconds": 1.0})
    while not (run.stop or stopped_before or time.monotonic() - began > SECONDS):
        time.sleep(0.05)
    if run.stop:
        run.save({cell: Checkpoint(1)})
    else:
        run.finish(cell, {"seconds": 1.0})
