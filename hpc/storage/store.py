"""What the files of a sweep directory say.

Where they are is known to hpc.storage.layout alone, of which a Store is one. Reading never waits and never
believes a file that is not whole: results are JSON published by link, checkpoints carry a checksum.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from hpc.errors import SweepError
from hpc.storage import files
from hpc.storage.layout import ATTEMPT_DIGITS, PACK_DIGITS, SUBMISSION_DIGITS, Layout
from hpc.storage.results import content, parse_result
from hpc.sweep.cell import Cell
from hpc.sweep.definition import Sweep
from hpc.sweep.states import CONFLICT, FAILED, MISSING, STARTED, CellStatus


class Store(Layout):
    """A sweep directory. Constructing one touches nothing."""

    # --- the plan -------------------------------------------------------------------------------------------------

    def exists(self) -> bool:
        return self.sweep_file.name in files.entries(self.root)

    def manifest(self) -> dict[str, Any]:
        """sweep.json as written. Raises SweepError."""
        if not self.exists():
            raise SweepError(f"{self.root}: there is no sweep here (no sweep.json); check the path, or start one")
        try:
            data = files.read_json(self.sweep_file)
            if not data["revisions"]:
                raise ValueError
        except (ValueError, KeyError, TypeError):
            raise SweepError(f"{self.sweep_file}: not a sweep of Holdfast; restore it from a backup") from None
        return data  # type: ignore[no-any-return]

    def sweep(self) -> Sweep:
        """The newest revision, with the analysis of the first. Raises SweepError."""
        revisions = self.manifest()["revisions"]
        try:
            sweep = Sweep.from_json(revisions[-1] | {"analysis": revisions[0]["analysis"]})
        except (ValueError, KeyError, TypeError) as error:
            raise SweepError(f"{self.sweep_file}: cannot be read by this version of Holdfast: {error}") from None
        return sweep

    def write_sweep(self, sweep: Sweep, provenance: Mapping[str, Any]) -> Sweep:
        """Record a sweep, or a revision that grows it; the same again changes nothing.

        Returns the sweep as it now stands. Raises SweepError as admit() does, OSError.
        """
        revisions: list[dict[str, Any]] = []
        if self.exists():
            revisions = self.manifest()["revisions"]
            sweep = self.admit(sweep)
            before = revisions[-1].get("provenance", {}).get("trainer_digest")
            same_code = before in (None, provenance.get("trainer_digest"))
            same_plan = sweep.to_json() == self.sweep().to_json() or revisions[-1] == revisions[-1] | sweep.to_json()
            if same_code and same_plan:
                return self.sweep()
        else:
            files.make_directory(self.root)
        entry = sweep.to_json() | {"provenance": dict(provenance)}
        text = json.dumps({"format": 1, "revisions": [*revisions, entry]}, indent=1, allow_nan=False)
        files.publish(self.sweep_file, text.encode())
        return self.sweep()

    def has_work(self) -> bool:
        """Whether any cell has a result, or an attempt that did not fail: what a changed sweep would be mixed with."""
        for name in self.present():
            entries = files.entries(self.results_root / name)
            if "results.json" in entries or "conflict.json" in entries:
                return True
            attempts = sorted(files.entries(self.results_root / name / "attempts"))
            if attempts and "failure.json" not in files.entries(self.results_root / name / "attempts" / attempts[-1]):
                return True
        return False

    def admit(self, sweep: Sweep) -> Sweep:
        """The sweep this directory would hold if ``sweep`` were run in it. Nothing is written.

        Its cells grow if more are asked for and stay if fewer are. What is not identity (paths, intervals, what is
        kept) is as asked for, so that data that has moved is found.

        Raises SweepError naming the fields that differ, or the cells that would be lost.
        """
        if not self.exists():
            return sweep
        current = self.sweep()
        if self.present() and not self.has_work():
            return sweep  # all that began has failed: whatever was wrong may be corrected here
        if current.config_digest != sweep.config_digest:
            names = ", ".join(current.conflicting(sweep))
            raise SweepError(
                f"{self.root}: holds a sweep of another configuration, different in: {names}; "
                "use another --output-dir, or go on with this one by giving the directory alone"
            )
        if sweep.grid.covers(current.grid):
            same = current.grid.covers(sweep.grid)
            return replace(sweep, grid=current.grid) if same else sweep
        if current.grid.covers(sweep.grid):
            # The default analysis follows from the grid, so the one of a part says nothing about the whole.
            return replace(sweep, grid=current.grid, analysis=current.analysis)
        raise SweepError(
            f"{self.root}: the sweep here has cells that the new grid lacks; name all values it has "
            f"({current.grid.summary()}) and those to add; seeds can only be added at the end"
        )

    # --- what the files say ---------------------------------------------------------------------------------------

    def new_submission(self) -> int:
        files.make_directory(self.submissions_root)
        return files.claim(self.submissions_root, SUBMISSION_DIGITS)[0]

    def new_pack(self) -> int:
        files.make_directory(self.packs_root)
        return files.claim(self.packs_root, PACK_DIGITS)[0]

    def new_attempt(self, cell: Cell) -> int:
        files.make_directory(self.attempts_directory(cell))
        return files.claim(self.attempts_directory(cell), ATTEMPT_DIGITS)[0]

    def certificates(self) -> list[dict[str, Any]]:
        """All certificates that can be read, in the order of their names; reports may cite them."""
        found = []
        for name in sorted(files.entries(self.certificates_directory)):
            with contextlib.suppress(OSError, ValueError):
                found.append(files.read_json(self.certificates_directory / name))
        return [entry for entry in found if isinstance(entry, dict) and entry.get("format") == 1]

    def present(self) -> set[str]:
        """Names of the cells that have a directory; one listing, however large the grid."""
        return set(files.entries(self.results_root))

    def commits(self) -> dict[str, Any]:
        """Git commits of our code and of the trainer's that the newest revision was planned with, without the patches;
        what a submission runs is a snapshot, which is no checkout."""
        states = self.manifest()["revisions"][-1].get("provenance", {}).get("git") or {}
        kept = ("commit", "modified")
        return {name: state and {key: state.get(key) for key in kept} for name, state in states.items()}

    def result(self, cell: Cell) -> dict[str, Any] | None:
        """A cell's published result, or None. Raises SweepError if the file is there but is no result."""
        try:
            return _result(self.result_path(cell.name))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def set_damaged_aside(self, cell: Cell) -> str:
        """Quarantine a results.json that is no result, so that the cell can be trained again.

        Returns what was wrong with it, one line; empty if nothing was. Raises OSError.
        """
        try:
            self.result(cell)
        except SweepError as error:
            with contextlib.suppress(FileNotFoundError):  # another process has just done so
                files.quarantine(self.result_file(cell))
            return str(error)
        return ""

    def has_result(self, name: str) -> bool:
        """Whether a result of the cell of this name is there, whatever it says."""
        return "results.json" in files.entries(self.results_root / name)

    def attempts(self, cell: Cell) -> list[int]:
        """Numbers of a cell's attempts, oldest first."""
        return sorted(files.numbers(self.attempts_directory(cell)))

    def pack_of(self, cell: Cell, attempt: int) -> int | None:
        """The pack attempt that a cell's attempt belongs to; None if the process died before it said so."""
        try:
            return int(files.read_json(self.pointer_file(cell, attempt))["pack"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def cells_of(self, pack: int) -> list[str] | None:
        """Names of the cells of a pack attempt; None if its record is missing or cannot be read."""
        cells = self.pack_record(pack).get("cells")
        return [str(name) for name in cells] if isinstance(cells, list) else None

    def pack_record(self, pack: int) -> dict[str, Any]:
        """What a pack attempt wrote down at its start: cells, submission, node, process; empty if it cannot be read."""
        try:
            record = files.read_json(self.pack_file(pack))
        except (OSError, ValueError):
            return {}
        return record if isinstance(record, dict) else {}

    def failure(self, cell: Cell, attempt: int) -> dict[str, Any] | None:
        """How an attempt at a cell failed, with a cause in any case; None if it did not."""
        if "failure.json" not in files.entries(self.attempt_directory(cell, attempt)):
            return None
        try:
            data = files.read_json(self.failure_file(cell, attempt))
        except ValueError:
            return {"cause": "failed; its failure.json cannot be read"}
        return {"cause": "", **data} if isinstance(data, dict) else {"cause": str(data)}

    def progress(self, pack: int) -> dict[str, Any]:
        """Epochs of a pack's cells as last reported: {name: [epoch, of]}; advisory."""
        try:
            return dict(files.read_json(self.progress_file(pack))["cells"])
        except (OSError, ValueError, KeyError, TypeError):
            return {}

    def statuses(self, cells: Iterable[Cell], config_digest: str) -> Iterator[CellStatus]:
        """State of every cell, from files alone. A result under another configuration does not count."""
        return (status for status, _ in self.outcomes(cells, config_digest))

    def link_outcome(self, cell: Cell, pack: int) -> None:
        """Give the weights and the history of the attempt that won their public names. Raises OSError.

        The history comes last: where it is, nothing is missing. Doing it again changes nothing.
        """
        pairs = (
            (self.private_weights(pack, cell), self.weights_file(cell)),
            (self.private_history(pack, cell), self.history_file(cell)),
        )
        for private, public in pairs:
            if private.exists():
                try:
                    files.link_once(private, public)
                    files.sync_directory(public.parent)
                except FileNotFoundError:
                    continue  # another process has just done so
                except OSError:  # some file systems link within one directory only
                    files.publish_once(public, files.read(private))
                files.remove(private)

    def stamps(self) -> dict[str, int]:
        """Time stamp of every cell's directory, ns; a new file in it changes the stamp."""
        try:
            with os.scandir(self.results_root) as found:
                return {entry.name: entry.stat().st_mtime_ns for entry in found if not entry.name.startswith(".")}
        except FileNotFoundError:
            return {}

    def outcomes(
        self, cells: Iterable[Cell], config_digest: str, names: Iterable[str] | None = None
    ) -> Iterator[tuple[CellStatus, dict[str, Any] | None]]:
        """State of every cell and, where that is COMPLETED or DIVERGED, its result; each file is read once.

        names: of the cells, from whoever has them already; making one takes a tenth of the time of a cell.
        """
        present = self.present()
        root = str(self.results_root)
        pairs = ((cell, cell.name) for cell in cells) if names is None else zip(cells, names, strict=True)
        for cell, name in pairs:
            if name in present:
                yield self._outcome(cell, f"{root}/{name}", config_digest)
            else:
                yield CellStatus(cell, MISSING), None

    def _outcome(self, cell: Cell, directory: str, config_digest: str) -> tuple[CellStatus, dict[str, Any] | None]:
        # Plain strings and one listing a cell: a sweep may have a hundred thousand of them.
        names = files.entries(directory)
        if "conflict.json" in names:
            cause = "two attempts ended with different outcomes; see conflict.json"
            return CellStatus(cell, CONFLICT, len(self.attempts(cell)), cause=cause), None
        foreign = ""
        if "results.json" in names:
            try:
                result = _result(f"{directory}/results.json")
            except (SweepError, IsADirectoryError) as error:
                return CellStatus(cell, CONFLICT, len(self.attempts(cell)), cause=str(error)), None
            if result["config_digest"] == config_digest:
                epochs = int(result["epochs"])
                provenance = result.get("provenance")
                attempts = provenance.get("attempts", 1) if isinstance(provenance, dict) else 1
                if "history.csv" not in names and isinstance(provenance, dict):
                    # Its writer may have died between the result and these links; whoever looks makes them.
                    with contextlib.suppress(OSError, KeyError, ValueError, TypeError):
                        self.link_outcome(cell, int(provenance["pack"]))
                return CellStatus(cell, result["status"], attempts, epochs, epochs), result
            foreign = "its results.json belongs to another configuration"
        return self._unfinished(cell, foreign), None

    def _unfinished(self, cell: Cell, cause: str) -> CellStatus:
        attempts = self.attempts(cell)
        if not attempts:
            return CellStatus(cell, MISSING, cause=cause)
        failure = self.failure(cell, attempts[-1])
        pack = self.pack_of(cell, attempts[-1])
        epoch, epochs = self._epochs(pack, cell)
        if failure:
            return CellStatus(cell, FAILED, len(attempts), epoch, epochs, str(failure["cause"]), pack)
        return CellStatus(cell, STARTED, len(attempts), epoch, epochs, cause, pack)

    def _epochs(self, pack: int | None, cell: Cell) -> tuple[int, int]:
        """(epoch, of) of a cell in its newest pack attempt; zeros where that is not known."""
        try:
            epoch, epochs = self.progress(pack)[cell.name] if pack is not None else (0, 0)
            return int(epoch), int(epochs)
        except (KeyError, ValueError, TypeError):
            return 0, 0


def _result(path: str) -> dict[str, Any]:
    """Raises SweepError naming the path and the reason if the file is no whole result, OSError if it is no file."""
    try:
        return parse_result(content(path))
    except ValueError as error:
        raise SweepError(f"{path}: not a whole result: {error}; set it aside and run the cell again") from None
