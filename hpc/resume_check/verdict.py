"""What a check of resuming found, cell by cell."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from hpc.units import counted


@dataclass(frozen=True)
class CellVerdict:
    """One cell: faults that interrupted it by kind, and what differs from the straight run; nothing if all is equal.

    from_the_end: whether it also ended once more from its last checkpoint; a trainer that saves none there has no such.
    """

    cell: str
    faults: dict[str, int]
    differences: list[str]
    from_the_end: bool = False

    @property
    def interrupted(self) -> bool:
        return sum(self.faults.values()) > 0


@dataclass(frozen=True)
class Verdict:
    """What the check found. certificate: where it was written. weights: whether there were any to compare."""

    cells: list[CellVerdict]
    device: str
    hardware: str
    certificate: Path | None = None
    faults: dict[str, int] = field(default_factory=dict)
    weights: bool = True

    @property
    def good(self) -> bool:
        return all(cell.interrupted and not cell.differences for cell in self.cells)

    def __str__(self) -> str:
        lines = []
        for cell in self.cells:
            faults = ", ".join(f"{number} {kind}" for kind, number in cell.faults.items()) or "no fault took effect"
            faults += ", and from its last checkpoint" if cell.from_the_end else ""
            lines.append(f"{cell.cell}: {'DIFFERENT' if cell.differences else 'identical'} after {faults}")
            lines += [f"    {line}" for line in cell.differences]
        return "\n".join([*lines, "", self.conclusion])

    @property
    def conclusion(self) -> str:
        """EXACT, NOT EXACT or UNDECIDED, and what to do, in words."""
        where = self.device + (f" ({self.hardware})" if self.hardware else "")
        if any(cell.differences for cell in self.cells):
            return (
                f"NOT EXACT: on {where} a resumed cell ends differently. Usual causes: state that the checkpoint lacks "
                "(a random generator, the data order, a schedule), a script that writes its metrics only if it has "
                "trained an epoch since it was resumed, rows of epochs that are written, or flushed, later than the "
                "checkpoint that comes after them, or a kernel that is not deterministic."
            )
        if not all(cell.interrupted for cell in self.cells):
            return "UNDECIDED: some cells finished before a fault took effect; train longer, such as --epochs N."
        total = sum(self.faults.values())
        found = f"{counted(len(self.cells), 'cell')}, interrupted {counted(total, 'time')} on {where}"
        return (
            f"EXACT: {found}, ended with the same results, "
            f"metrics{', histories and weights' if self.weights else ' and histories'} as undisturbed, bit for bit."
        )
