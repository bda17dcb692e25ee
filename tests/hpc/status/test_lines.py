"""A sweep in words: what stands first."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from helpers.small_sweeps import make_sweep
from rich.console import Console

from hpc.status import lines
from hpc.status.screen import screen
from hpc.status.sweep import RUNNING, Snapshot
from hpc.sweep.grid import Axis, Grid, Rules
from hpc.sweep.states import COMPLETED, FAILED, MISSING, STARTED, CellStatus


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


@pytest.mark.parametrize(
    ("epoch", "epochs", "said"), [(0, 0, ""), (3, 0, " epoch 3"), (3, 9, " epoch 3 of 9"), (0, 9, " epoch 0 of 9")]
)
def test_epochs_are_shown_also_where_nobody_knows_how_many_there_will_be(epoch: int, epochs: int, said: str) -> None:
    """A script's own log has rows, and no number of them that are planned."""
    sweep = make_sweep()
    cell, *others = sweep.grid
    running = CellStatus(cell, RUNNING, attempts=1, epoch=epoch, epochs=epochs)
    seen = Snapshot(sweep, (running, *(CellStatus(other, STARTED) for other in others)), {})
    assert f"  {cell.name}{said}\n" in f"{lines.text(seen)}\n"
    drawn = Console(file=(out := io.StringIO()), width=200)
    drawn.print(screen(seen, ""))
    assert said.strip() in next(line for line in out.getvalue().splitlines() if cell.name in line)


def test_cells_that_a_command_trains_here_are_listed_with_how_far_they_are() -> None:
    sweep = make_sweep()
    first, *others = sweep.grid
    statuses = (CellStatus(first, STARTED, attempts=2, epoch=3, epochs=9), *(CellStatus(c, MISSING) for c in others))
    seen = Snapshot(sweep, statuses, {})
    drawn = Console(file=(out := io.StringIO()), width=200)
    drawn.print(screen(seen, ""))
    for text in (lines.text(seen), out.getvalue()):
        (line,) = (line for line in text.splitlines() if first.name in line)
        assert "epoch 3 of 9" in line
        assert "attempt 2" in line
        assert all(cell.name not in text for cell in others)
    assert f"  {first.name} epoch 3 of 9, attempt 2" in lines.text(seen)


def test_every_cell_is_a_letter_in_a_grid_of_the_factors() -> None:
    sweep = make_sweep()
    states = [COMPLETED, FAILED, "RUNNING", MISSING]
    statuses = tuple(CellStatus(cell, state) for cell, state in zip(sweep.grid, states, strict=True))
    drawn = lines.grid_lines(sweep.grid.axes, statuses)
    letters = [letter for line in drawn[:-1] for letter in line if letter in "CFr."]
    assert sorted(letters) == sorted("CFr.")
    assert drawn[-1] == "C COMPLETED, r RUNNING, . MISSING, F FAILED"
    assert "\n".join(drawn) in lines.text(Snapshot(sweep, statuses, {}))
    for value in {cell.point[-1][1] for cell in sweep.grid}:
        assert str(value) in " ".join(drawn)


def test_levels_stand_in_the_order_of_their_axis_also_where_a_design_has_others_first() -> None:
    axes = (Axis("width", (1, 2, 4)), Axis("mode", ("base", "ours")))
    design = Grid(axes, (42,), Rules(((("width", (1,)), ("mode", ("base",))),)))
    sweep = replace(make_sweep(), grid=design)
    seen = Snapshot(sweep, tuple(CellStatus(cell, COMPLETED) for cell in design), {})
    table, drawn = lines.table(axes, seen.statuses), lines.grid_lines(axes, seen.statuses)
    assert [line.split("  ")[0] for line in table.splitlines()[1:]] == [
        *("width 1", "width 2", "width 4", "mode base", "mode ours")
    ]
    assert drawn[1].split() == ["base", "ours"]
    assert drawn[2] == "width 1        C", "the combination that is not run stays empty"


@pytest.mark.parametrize("width", [40, 60, 80, 100, 118, 120, 160])
def test_a_grid_is_drawn_where_its_lines_fit_and_is_never_wrapped(width: int) -> None:
    """Eleven levels of two cells: 22 letters, in lines of 118 characters."""
    axes = (Axis("learning_rate", (0.1, 0.01)), Axis("width", tuple(1000000 + i for i in range(11))))
    sweep = replace(make_sweep(), grid=Grid(axes, (42, 43)))
    seen = Snapshot(sweep, tuple(CellStatus(cell, COMPLETED) for cell in sweep.grid), {})
    whole = lines.grid_lines(axes, seen.statuses, width=1000)
    needed = max(map(len, whole[:-1]))
    assert 80 < needed < 120
    drawn = Console(file=(out := io.StringIO()), width=width)
    drawn.print(screen(seen, ""))
    printed = [line.rstrip() for line in out.getvalue().splitlines()]
    assert all(len(line) <= width for line in printed)
    assert (lines.key(seen.statuses) in printed) == (needed <= width)
    if needed <= width:
        at = printed.index(whole[1])
        assert printed[at : at + len(whole) - 1] == whole[1:]


def test_a_running_cell_shows_what_it_has_measured_as_bars() -> None:
    sweep = make_sweep()
    statuses = tuple(CellStatus(cell, "RUNNING", epoch=4, epochs=9) for cell in sweep.grid)
    name = statuses[0].cell.name
    seen = Snapshot(sweep, statuses, {}, curves={name: ("val_loss", [4.0, 2.0, 1.0, 0.5])})
    assert f"{name} epoch 4 of 9 █▄▂▁ val_loss 0.5" in lines.text(seen)
    assert lines.curve(statuses[1], seen) == ""
    flat = Snapshot(sweep, statuses, {}, curves={name: ("val_loss", [1.0, 1.0])})
    assert lines.curve(statuses[0], flat) == " ▁▁ val_loss 1"
