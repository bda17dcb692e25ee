"""Bring a sweep's runs to a server and compare them with the disk.

The published files are the truth; offline files of W&B are not needed. Every run is looked up first, only what differs
is sent, and what was sent is read back. A journal records what the server was seen to have, so that an interrupted sync
resumes where it stopped. Losing the journal costs time, never a number: the server is asked again.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from hpc.files import atomic, directories
from hpc.storage import documents
from hpc.storage.store import Store
from hpc.sweep.cell import Cell
from hpc.sweep.definition import Sweep
from hpc.wandb.cells import NotWholeError, Target, cell_run, run_id
from hpc.wandb.compare import MISSING, differences
from hpc.wandb.foreign import check_segments, send_segments
from hpc.wandb.helper import Helper, WandbTroubleError
from hpc.wandb.reader import runs_on_server
from hpc.wandb.runs import OUTCOME, WandbRun
from hpc.wandb.writer import ONLINE, writing

_PROGRESS_SECONDS = 5.0
# Writing the journal syncs a file: not after every cell, and often enough that a kill costs little.
_JOURNAL_SECONDS = 2.0


@dataclass(frozen=True)
class Patience:
    """How long to wait, in seconds. idle: for the next answer. settle: until the server shows what was sent."""

    idle: float = 120.0
    settle: float = 20.0


@dataclass
class Synced:
    """How a sync ended. same: cells whose runs the server has exactly. sent: cells written by this call.

    without_result: cells that have none yet. differing: what differs, one line each. remarks: what else the user should
    know, one line each.
    """

    same: int = 0
    sent: int = 0
    without_result: int = 0
    differing: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def sync(
    store: Store,
    sweep: Sweep,
    target: Target,
    say: Callable[[str], None],
    patience: Patience | None = None,
    others: bool = False,
) -> Synced:
    """Bring every cell with a result to the server, then compare.

    say: called with a line of progress. others: send complete runs of other programs, too; see hpc.wandb.foreign.
    Raises WandbTroubleError if the server cannot be used, and OSError. It may be
    interrupted at any point and called again.
    """
    patience = patience or Patience()
    synced = Synced()
    # Local faults first: they are found without a server, and are reported even if there is none.
    segments = check_segments(store, others)
    synced.remarks += segments.remarks
    runs = _runs_on_disk(store, sweep, target, synced)
    journal = Journal(store)
    try:
        with Helper(needs_key=True, idle=patience.idle) as helper:
            synced.differing += send_segments(segments.whole, helper, say)
            _Mirror(store, sweep, target, runs, journal, helper, say, patience.settle).bring(synced)
    finally:  # also after Ctrl-C: what was compared need not be read again
        journal.write()
    return synced


def _runs_on_disk(store: Store, sweep: Sweep, target: Target, synced: Synced) -> dict[Cell, WandbRun]:
    runs: dict[Cell, WandbRun] = {}
    present = store.present()
    for cell in sweep.grid:
        try:
            run = cell_run(store, sweep, cell, target) if cell.name in present else None
        except NotWholeError as error:
            synced.differing.append(str(error))
            continue
        if run is None:
            synced.without_result += 1
        else:
            runs[cell] = run
    return runs


@dataclass
class _Mirror:
    """One pass: look up, send what differs, look up again."""

    store: Store
    sweep: Sweep
    target: Target
    runs: dict[Cell, WandbRun]
    journal: Journal
    helper: Helper
    say: Callable[[str], None]
    settle: float

    def bring(self, synced: Synced) -> None:
        """Send what W&B lacks or has otherwise, look again, and note in ``synced`` what still differs."""
        found = self._ask(list(self.runs), trusting=True)
        synced.differing += self._strays(found)
        faulty = self._compare(found)
        faults: dict[str, str] = {}
        if faulty:
            faults = self._send(list(faulty))
            sent = [cell for cell in faulty if cell.name not in faults]
            synced.sent = len(sent)
            faulty = {cell: faulty[cell] for cell in faulty if cell.name in faults} | self._settled(sent)
        for cell, lines in faulty.items():
            cause = [f"it could not be sent: {faults[cell.name]}"] if cell.name in faults else []
            synced.differing += [f"{cell.name}: {line}" for line in [*cause, *lines]]
        synced.same = len(self.runs) - len(faulty)

    def _ask(self, cells: Sequence[Cell], *, trusting: bool) -> dict[str, WandbRun]:
        """Runs of our group by id, with rows where the journal does not vouch for them. Raises WandbTroubleError."""
        wanted = [self.runs[cell].id for cell in cells if not (trusting and self._vouched(cell))]
        self.say(f"asking the server for {len(cells)} runs, {len(wanted)} with their history")
        # The whole group: asking cell by cell would take a round trip each, and would not find strays.
        filters = {"group": self.target.group}
        found = runs_on_server(self.helper, self.target.project, self.target.entity, filters, wanted)
        return {run.id: run for run in found}

    def _vouched(self, cell: Cell) -> bool:
        return self.journal.same(self._address, cell.name, self._outcome(cell))

    @property
    def _address(self) -> str:
        server = os.environ.get("WANDB_BASE_URL", "")
        return " ".join([server, self.target.entity, self.target.project, self.target.group])

    def _outcome(self, cell: Cell) -> str:
        return str(self.runs[cell].summary[OUTCOME]["outcome_digest"])

    def _compare(self, found: dict[str, WandbRun], cells: Sequence[Cell] | None = None) -> dict[Cell, list[str]]:
        """Cells that differ, and how. Notes in the journal which are the same."""
        faulty: dict[Cell, list[str]] = {}
        for cell in self.runs if cells is None else cells:
            run = self.runs[cell]
            history = not (cells is None and self._vouched(cell))
            lines = differences(run, found[run.id], history=history) if run.id in found else [f"its run {MISSING}"]
            self.journal.note(self._address, cell.name, None if lines else self._outcome(cell))
            if lines:
                faulty[cell] = lines
        return faulty

    def _strays(self, found: dict[str, WandbRun]) -> list[str]:
        """Runs on the server that claim this sweep's configuration, and belong to none of its cells; one line each."""
        known = {run_id(self.sweep, cell) for cell in self.sweep.grid}
        digest = self.sweep.config_digest
        return [
            f"run {run.id} ({run.name}) is on the server and belongs to no cell of this sweep"
            for run in found.values()
            if run.id not in known and run.config.get("config_digest") == digest
        ]

    def _send(self, cells: Sequence[Cell]) -> dict[str, str]:
        """Write runs, continuing those that the server has in part. Returns the cells that failed, and why."""
        faults: dict[str, str] = {}
        shown = 0.0
        request = writing(self.store, ONLINE, [cell.name for cell in cells], self.target)
        for number, answer in enumerate(self.helper.ask(request), start=1):
            if answer["fault"]:
                faults[answer["cell"]] = answer["fault"]
            if number == len(cells) or time.monotonic() - shown > _PROGRESS_SECONDS:
                self.say(f"{number} of {len(cells)} runs sent")
                shown = time.monotonic()
        # If none could be sent, the fault is in the server or the login, and a line per cell would bury it.
        if len(faults) == len(cells):
            raise WandbTroubleError(next(iter(faults.values())))
        return faults

    def _settled(self, cells: Sequence[Cell]) -> dict[Cell, list[str]]:
        """Compare what was sent, again and again: the server may take some time to show it."""
        deadline = time.monotonic() + self.settle
        pause = 0.5
        while True:
            faulty = self._compare(self._ask(cells, trusting=False), cells)
            if not faulty or time.monotonic() + pause > deadline:
                return faulty
            time.sleep(pause)
            cells, pause = list(faulty), 2 * pause


class Journal:
    """Cells whose runs a server has exactly, by server; each with the outcome digest that was seen."""

    def __init__(self, store: Store) -> None:
        self._store = store
        # Where it is missing or damaged, everything is compared again.
        known = documents.known(store.paths.wandb_journal_file, documents.JournalDocument)
        self._places: dict[str, dict[str, str]] = known.get("same", {})
        self._written = 0.0

    def same(self, place: str, cell: str, outcome: str) -> bool:
        """Whether the complete run of this outcome was seen on this server."""
        return self._places.get(place, {}).get(cell) == outcome

    def note(self, place: str, cell: str, outcome: str | None) -> None:
        """Record that the server has this outcome, or (None) that it does not. Raises OSError."""
        cells = self._places.setdefault(place, {})
        if cells.get(cell) == outcome:
            return
        if outcome is None:
            del cells[cell]
        else:
            cells[cell] = outcome
        if time.monotonic() - self._written > _JOURNAL_SECONDS:
            self.write()

    def write(self) -> None:
        """Write it to disk. Raises OSError."""
        directories.make_directory(self._store.paths.wandb_root)
        text = json.dumps({"format": 1, "same": self._places}, indent=1)
        atomic.publish(self._store.paths.wandb_journal_file, text.encode())
        self._written = time.monotonic()
