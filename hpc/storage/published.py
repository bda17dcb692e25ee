"""A cell's result and the files beside it: given their names, repaired and set aside together.

Which files these are, and what they are told by, is hpc.storage.named_files'.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from hpc.errors import SweepError
from hpc.files import atomic, directories, limits, opening, reading
from hpc.storage import documents
from hpc.storage.layout import Layout
from hpc.storage.named_files import ALL, CONFIG, HISTORY, REPAIRED, THOROUGHLY, WEIGHTS, fault, is_whole, named_files
from hpc.storage.results import precedes_redo, provenance_of, read_result
from hpc.sweep.cell import Cell

# Files that were set aside under a name of their own and may be the one that is missing; each is read.
_MOST_BESIDE = 8
# What the weights of another result are named after they had the name that readers look for.
_REPLACED = "replaced-"


# --- writing --------------------------------------------------------------------------------------------------------


def write_config(paths: Layout, cell: Cell, config: Mapping[str, Any]) -> bytes:
    """Make a cell's config.json say this, and return its bytes. Raises OSError.

    One that says something else, of a configuration that has been corrected since, is kept beside it.
    """
    path = paths.cell_config_file(cell)
    data = json.dumps(config, indent=1).encode()
    with contextlib.suppress(FileNotFoundError, ValueError):  # there is none, or a damaged one
        found = reading.read(path)
        if _says(reading.parse_json(found), config):
            return found
    ours = atomic.write_temporary(path, data)
    try:
        atomic.put_in_place(ours, path)
    finally:
        atomic.discard(ours)
    return data


def _says(found: Any, config: Mapping[str, Any]) -> bool:
    """Whether a config.json says this, as far as it goes: one of an earlier version says less, and results name it."""
    return isinstance(found, dict) and "config_digest" in found and found.items() <= config.items()


def link_outcome(paths: Layout, cell: Cell, result: Mapping[str, Any], most: Mapping[str, float] = ALL) -> None:
    """Give the weights and the history of the attempt that won their public names. Raises OSError.

    The history comes last: where it is, nothing is missing. Doing it again changes nothing, and whoever finds a link
    missing or a stranger in its place may do it: the winner may have died in between. A stranger is kept under another
    name. Nothing is done for a result that has lost its place to another meanwhile. most: bytes of each file that are
    read.
    """
    pack_attempt = int(result["provenance"]["pack"])
    named = named_files(result)
    counts = partial(_is_in_its_place, paths, cell, named)
    config = paths.cell_config_file(cell)  # an attempt under another configuration may have put its own there since
    for name, private, public in (
        (CONFIG, config, config),
        (WEIGHTS, paths.private_weights(pack_attempt, cell), paths.weights_file(cell)),
        (HISTORY, paths.private_history(pack_attempt, cell), paths.history_file(cell)),
    ):
        if named is not None and name in named:
            _settle(private, public, named[name], name, most, counts)
        elif name != CONFIG and named is None:
            _link(private, public)
        elif name != CONFIG and counts():
            with contextlib.suppress(FileNotFoundError):
                atomic.quarantine(public)


def _is_in_its_place(paths: Layout, cell: Cell, named: Mapping[str, Any] | None) -> bool:
    """Whether the cell's result is, at this moment, one that names these files. Raises OSError."""
    try:
        return named_files(read_result(str(paths.result_file(cell)))) == named
    except (SweepError, FileNotFoundError, NotADirectoryError):
        return False


def _link(private: Path, public: Path) -> None:
    """Give a private file its public name; if another file has that, both stay."""
    try:
        public_too = atomic.link_or_copy(private, public) or os.path.samefile(private, public)
        directories.sync_directory(public.parent)
    except (FileNotFoundError, NotADirectoryError):
        return  # there is none, or another process has just done so
    # Only now: a reader that finds neither name would take the file for lost.
    if public_too:
        atomic.remove(private)


def _settle(
    private: Path, public: Path, named: Any, name: str, most: Mapping[str, float], counts: Callable[[], bool]
) -> None:
    """Make ``public`` the file that is named, from whichever copy is that one; without one nothing is changed.

    counts: whether the result that names it still has its place.
    """
    whole = partial(is_whole, named=named, name=name, most=most)
    settled = whole(public)
    if not settled:
        source = next(filter(whole, _copies(private, public)), None)
        try:
            if source is None or not _give_name(source, public, whole, counts):
                return
        except FileNotFoundError:
            return  # another process has just given it its name, and looks itself
    # Only where all of the public one was read, or where it is our own: else it may be another one.
    if private != public and (not settled or named["bytes"] <= most[name] * limits.factor()):
        atomic.remove(private)


def _copies(private: Path, public: Path) -> Iterator[Path]:
    """The private file, then those that have had the public name, first what lost it to others that may be worse."""
    yield private
    there = (name for name in directories.entries(public.parent) if name.startswith(f"{public.name}."))
    found = sorted(there, key=lambda name: (not name.startswith(f"{public.name}.{_REPLACED}"), name))
    yield from (public.with_name(name) for name in found[:_MOST_BESIDE])


def _give_name(source: Path, public: Path, whole: Callable[[Path], bool], counts: Callable[[], bool]) -> bool:
    """Give a file the public name that others may have. Returns whether it got it; if not, those have it again.

    No call gives a name only where another file says something, so a process may be stopped between its look at the
    result and the call that follows, until a later result has the place. Hence nothing is ever overwritten: the name is
    given only where it is free; what has it loses it first, which readers see and repair, and the result is looked at
    again; and if the result has lost its place when the name was given, that is taken back.
    """
    aside = None
    while True:
        try:
            ours = counts()
            if aside and (not ours or whole(aside)):
                source = aside  # it had the name rightly
            elif not ours:
                return False
            given = os.stat(source)
            if atomic.link_or_copy(source, public):
                break
        except OSError:
            if aside:
                with contextlib.suppress(OSError):
                    atomic.link_or_copy(aside, public)
            raise
        if not ours:
            return False
        aside = _taken(public)
    directories.sync_directory(public.parent)
    if ours and not counts():
        _take_back(source, public, given)
        return False
    if source.name.startswith(f"{public.name}.{_REPLACED}"):
        atomic.remove(source)  # a second name would bring back what a user removes
    return ours


def _taken(public: Path) -> Path | None:
    """Where that lies now which had a name until now; None if nothing had it."""
    with contextlib.suppress(FileNotFoundError):
        return atomic.quarantine(public, f"{_REPLACED}{atomic.new_token()}")
    return None


def _take_back(source: Path, public: Path, given: os.stat_result) -> None:
    """Take the public name from the file that was given it, and from no other one that may have it by now."""
    aside = _taken(public)
    if aside and not os.path.samestat(os.stat(aside), given):
        if atomic.link_or_copy(aside, public):
            atomic.remove(aside)
    elif aside and source.exists():
        atomic.remove(aside)


def keep_conflict(paths: Layout, cell: Cell, conflict: Mapping[str, Any], needless: Iterable[Path] = ()) -> None:
    """Keep an outcome that differs from the published one; the same outcome twice is kept once.

    needless: private files that are given up one after another where there is no room for it. If that does not help, an
    empty file with its digest in the name at least puts the cell in CONFLICT, and the error is raised. Raises OSError.
    """
    places = iter(needless)
    while True:
        try:
            return _keep_conflict(paths, cell, conflict)
        except OSError as error:
            given_up = next(places, None) if error.errno in (errno.ENOSPC, errno.EDQUOT) else None
            if given_up is None:
                with contextlib.suppress(OSError):  # a full quota of bytes still allows for a name
                    atomic.publish_once(paths.further_conflict_file(cell, conflict["outcome"]["outcome_digest"]), b"")
                raise
            with contextlib.suppress(OSError):
                atomic.remove(given_up)


def _keep_conflict(paths: Layout, cell: Cell, conflict: Mapping[str, Any]) -> None:
    data, path = json.dumps(conflict, indent=1).encode(), paths.conflict_file(cell)
    digest = conflict["outcome"]["outcome_digest"]
    # First: it needs no room. Then again: another process may have kept the same one since.
    if _is_kept(path, digest) or atomic.publish_once(path, data) or _is_kept(path, digest):
        return
    # A third outcome: a name of its own, since the second one's must not be taken from it.
    atomic.publish_once(paths.further_conflict_file(cell, digest), data)


def _is_kept(path: Path, digest: str) -> bool:
    try:
        found = documents.read(path, documents.ConflictDocument, limits.RESULT)["outcome"]
    except (FileNotFoundError, ValueError):
        return False
    return bool(found.get("outcome_digest") == digest)


# --- setting aside --------------------------------------------------------------------------------------------------


def set_damaged_aside(paths: Layout, cell: Cell) -> str:
    """Set aside a result that cannot be believed, with its history and weights, so that the cell can be trained again.

    Files that are not the ones it names are repaired from the winner's attempt if that still has them.
    Returns what was wrong, one line; empty if nothing was, or nothing is any more. Raises OSError; RefusedFileError for
    a history that is too large to be read, which is left where it is.
    """
    path = paths.result_file(cell)
    try:
        judged = reading.read(path)
        result = read_result(str(path))
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except SweepError as error:
        set_aside(paths, cell, judged)
        return str(error)
    if precedes_redo(result, directories.entries(path.parent)):
        set_aside(paths, cell, judged)
        return f"{path}: from a task that was queued before the cell was set aside for a redo; it is set aside, too"
    if not whole_fault(paths, cell, result):
        return ""
    _repair(paths, cell, result, THOROUGHLY)
    found = whole_fault(paths, cell, result)
    if not found:
        return ""
    set_aside(paths, cell, judged)
    return f"{path}: {found}; all of it is set aside"


def whole_fault(paths: Layout, cell: Cell, result: Mapping[str, Any]) -> str:
    """Which file of a result is not the one it names, every byte of them read but for weights above all limits; empty
    if there is none. Raises OSError."""
    directory = paths.cell_directory(cell)
    return fault(str(directory), directories.entries(directory), result, thorough=True)


def repair(paths: Layout, cell: Cell, result: Mapping[str, Any]) -> None:
    """Make the links that a result's writer could not make any more, as far as its files are still there.

    Weights above 64 MiB are told by their size and a sample. A folder that is held for reading is not relied on: it may
    be another one by now. Never raises: a reader may not be allowed to write here.
    """
    with contextlib.suppress(OSError), opening.by_name():
        _repair(paths, cell, result, REPAIRED)


def _repair(paths: Layout, cell: Cell, result: Mapping[str, Any], most: Mapping[str, float]) -> None:
    """The same for whoever acts on what is left then. Raises OSError where it could be done another time."""
    with contextlib.suppress(KeyError, TypeError, *documents.ABSENT):
        link_outcome(paths, cell, result, most)


def set_aside(paths: Layout, cell: Cell, judged: bytes, mark: str = "") -> None:
    """Set a cell's result aside with its history and weights, under names that end alike. Raises OSError.

    judged: the bytes that were found wanting. mark: how the names end; `corrupt-` and a word of their own by default.
    results.json goes first, so that nobody believes what is left; a process that ends right after it leaves files that
    the next winner puts aside. Where another process has done the same and a new result stands there by now, that one
    gets its name back, or is kept beside one that took the name meanwhile.
    """
    mark = mark or f"corrupt-{atomic.new_token()}"
    try:
        aside = atomic.quarantine(paths.result_file(cell), mark)
    except FileNotFoundError:
        return  # another process has just done so
    if reading.read(aside) != judged:
        _give_back(paths, cell, aside)
        return
    for path in (paths.history_file(cell), paths.weights_file(cell)):
        with contextlib.suppress(FileNotFoundError):
            atomic.quarantine(path, mark)
    # Meanwhile another process may have published a new result: what was moved was its own then, and goes back.
    with contextlib.suppress(SweepError, FileNotFoundError, NotADirectoryError):
        _repair(paths, cell, read_result(str(paths.result_file(cell))), THOROUGHLY)


def _give_back(paths: Layout, cell: Cell, aside: Path) -> None:
    """Give a result that was set aside by mistake its name again. If that is taken, another outcome is a conflict."""
    if not atomic.link_or_copy(aside, paths.result_file(cell)):
        try:
            ours, other = read_result(str(aside)), read_result(str(paths.result_file(cell)))
        except (SweepError, FileNotFoundError):
            return  # one of them cannot be believed, or has gone; ours stays where it can be looked at
        if ours.get("outcome_digest") != other.get("outcome_digest"):
            outcome = {key: value for key, value in ours.items() if key != "provenance"}
            pack = provenance_of(ours).get("pack")
            keep_conflict(paths, cell, {"pack": pack, "outcome": outcome, "published": other.get("outcome_digest")})
    atomic.remove(aside)
