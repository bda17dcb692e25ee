"""Which cells of a sweep a command is about, and the question before it acts on them."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from hpc.cli import options
from hpc.errors import ConfigError
from hpc.launch.remarks import agreed, say
from hpc.status.cell import find_cell
from hpc.storage.store import Store
from hpc.sweep.cell import Cell
from hpc.sweep.definition import Sweep


@dataclass(frozen=True)
class Filter:
    """Which cells, by their factors' values and their names; everything where nothing is given."""

    dim: str | None = None
    scale: str | None = None
    axis: tuple[str, ...] = ()
    cell: tuple[str, ...] = ()

    def cells(self, sweep: Sweep, store: Store) -> list[Cell]:
        """The cells that match. Raises ConfigError for a factor, SweepError for a cell that the sweep does not have."""
        wanted = {name: value for name, value in (("dim", self.dim), ("scale", self.scale)) if value is not None}
        wanted |= dict(entry.split("=", 1) for entry in self.axis)
        factors = {axis.name: axis.values for axis in sweep.grid.axes}
        for name, value in wanted.items():
            if name not in factors:
                raise ConfigError([f"command line: no factor is called {name!r}; valid: {', '.join(sorted(factors))}"])
            if not any(_equal(known, value) for known in factors[name]):
                known = ", ".join(map(str, factors[name]))
                raise ConfigError([f"command line: {name} is {value!r}; one value of this sweep: {known}"])
        named = {find_cell(sweep, store, name) for name in self.cell}
        return [
            cell
            for cell in sweep.grid
            if (not named or cell in named) and all(_equal(cell.factors[name], value) for name, value in wanted.items())
        ]


which_cells = options.together(
    options.handed_over("filtered", Filter),
    options.option("--dim", metavar="8", help="Only cells of this dimension."),
    options.option("--scale", metavar="0.1", help="Only cells of this scale."),
    options.option(
        "--axis", type=options.SETTING, multiple=True, metavar="NAME=VALUE", help="Only cells with this value."
    ),
    options.option("--cell", type=options.CELL, multiple=True, metavar="NAME", help="Only this cell; may be repeated."),
    options.flag("-y", "--yes", help="Do not ask."),
)


def confirmed(question: str, yes: bool, otherwise: str) -> bool:
    """Whether a person agrees. otherwise: what is said if not."""
    if yes:
        return True
    if not sys.stdin.isatty():
        say(f"{question} add -y to confirm")
        return False
    if agreed(question):
        return True
    say(otherwise)
    return False


def _equal(value: object, text: str) -> bool:
    try:
        return value == text or (isinstance(value, int | float) and float(text) == value)
    except ValueError:
        return False
