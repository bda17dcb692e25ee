"""A sweep in words: what stands first."""

from __future__ import annotations

import io

from helpers.small_sweeps import make_sweep
from rich.console import Console

from hpc.status import lines
from hpc.status.screen import screen
from hpc.status.sweep import Snapshot
from hpc.sweep.states import STARTED, CellStatus


def test_a_cluster_that_does_not_answer_is_said_before_the_table() -> None:
    sweep = make_sweep()
    statuses = tuple(CellStatus(cell, STARTED) for cell in sweep.grid)
    seen = Snapshot(sweep, statuses, {}, trouble="4 cells may be queued on cluster lab, which cannot be asked")
    drawn = Console(file=(out := io.StringIO()), width=200)
    drawn.print(screen(seen, ""))
    for text in (lines.text(seen), out.getvalue()):
        assert text.startswith(
            "4 cells may be queued on cluster lab, which cannot be asked; RUNNING and PENDING are not"
        )
        assert text.count("cannot be asked") == 1
        assert text.index("small: 4 cells") < text.index("width 1")
    assert lines.text(Snapshot(sweep, statuses, {})).startswith("small: 4 cells")
