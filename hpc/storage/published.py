"""A cell's result and the files beside it: one outcome, whose parts are believed together or not at all.

A result names its files by content: ``provenance.files`` has the SHA-256 and the size of config.json, history.csv and
weights.safetensors. So no reader can take the history of one attempt for that of another, whatever was damaged, moved
away or cut off in between. Results of versions that did not name them are believed as they are.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from hpc.errors import SweepError
from hpc.files import atomic, directories, limits, opening, reading
from hpc.storage import documents
from hpc.storage.layout import Layout, redos_in
from hpc.storage.results import provenance_of, read_result
from hpc.sweep.cell import Cell
from hpc.sweep.definition import Sweep

CELL_DIGEST = "cell_digest"
CONFIG, HISTORY, WEIGHTS = "config.json", "history.csv", "weights.safetensors"
# Bytes of each file that are read to tell whether it is the one that a result names, before HOLDFAST_LIMITS: anybody
# may have named a file without an end. A larger history is refused; larger weights are told by their size. Whoever has
# just written them reads them all.
_LOOKED_AT: Mapping[str, float] = {CONFIG: limits.DOCUMENT, HISTORY: limits.HISTORY, WEIGHTS: 0}
_REPAIRED: Mapping[str, float] = {**_LOOKED_AT, WEIGHTS: limits.HISTORY}
_THOROUGHLY: Mapping[str, float] = {**_LOOKED_AT, WEIGHTS: limits.WEIGHTS}
_ALL: Mapping[str, float] = dict.fromkeys(_LOOKED_AT, limits.ANY)
# Files that were set aside under a name of their own and may be the one that is missing; each is read.
_MOST_BESIDE = 8
# What the weights of another result are named after they had the name that readers look for.
_REPLACED = "replaced-"


def described(data: bytes) -> dict[str, Any]:
    """A file as a result names it."""
    return {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


def named_files(result: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The files that a result names, by name; None if it comes from a version that did not, or from elsewhere."""
    found = provenance_of(result).get("files")
    return found if isinstance(found, dict) else None


def foreign(result: Mapping[str, Any], cell: Cell, sweep: Sweep) -> str:
    """Why a whole result is not one of this cell in this sweep, for people; empty if it is.

    What a level stands for is no part of the configuration's digest, to which levels can be added, but of the cell's;
    results of versions that did not say that are believed.
    """
    if result["config_digest"] != sweep.config_digest:
        return "belongs to another configuration"
    if sweep.bundles and result.get(CELL_DIGEST, digest := sweep.cell_digest(cell)) != digest:
        return "was made with other settings of its levels"
    for key, own in (("seed", cell.seed), ("run_id", cell.run_id), ("cell", cell.name)):
        if result.get(key, own) != own:
            return f"is of another cell: {key} is {result[key]!r}, not {own!r}"
    return ""


def precedes_redo(result: Mapping[str, Any], names: Iterable[str]) -> bool:
    """Whether a result comes from a task that was queued before the cell's last redo: then it counts for nothing.

    names: what a listing of the cell's directory shows.
    """
    redos = redos_in(names)
    return bool(redos) and provenance_of(result).get("submission", 0) <= redos[-1]


def lacks_named(names: Collection[str], result: Mapping[str, Any]) -> bool:
    """Whether a file that a result names is missing beside it and may be made whole from what lies there.

    names: what a listing of the directory shows. Weights may have been removed to save room.
    """
    moved = WEIGHTS not in names and any(name.startswith(f"{WEIGHTS}.") for name in names)
    return HISTORY not in names or (moved and WEIGHTS in (named_files(result) or ()))


def is_named(data: bytes, result: Mapping[str, Any], name: str) -> bool:
    """Whether these bytes are the file of that name that a result names; a result that names no files takes any."""
    named = named_files(result)
    return named is None or name not in named or described(data) == named[name]


def fault(
    directory: str,
    names: Collection[str],
    result: Mapping[str, Any],
    thorough: bool = False,
    history: list[bytes] | None = None,
) -> str:
    """Which file beside a result is not the one it names, in a few words; empty if there is none.

    names: what a listing of the directory shows. A file that is not there is no fault: it may have been removed to
    save room, or another host does not see it yet. thorough: also read the weights, not only their size.
    history: gets the bytes of history.csv, in pieces; they are those that are named if there is no fault.
    Raises RefusedFileError for a file that is too large to be read, OSError.
    """
    named = named_files(result)
    if named is None:
        return ""
    for name in (CONFIG, HISTORY, WEIGHTS):
        most = _THOROUGHLY if thorough else _LOOKED_AT
        content = history if name == HISTORY else None
        if name in names and not _is_named(f"{directory}/{name}", named.get(name), name, most, content):
            return f"its {name} is not the one of its result"
    return ""


def _is_named(path: str, named: Any, name: str, most: Mapping[str, float], content: list[bytes] | None = None) -> bool:
    """Whether a file is the one that a result names; one that has gone meanwhile is not another one.

    name: which file it is. most: bytes of each that are read. content: gets them. Raises RefusedFileError if it has
    more.
    """
    if not isinstance(named, dict):
        return False
    try:
        if _told_by_size(path, name, most):
            return os.lstat(path).st_size == named.get("bytes")
        return reading.sha256(path, named.get("bytes"), most[name], content) == named.get("sha256")
    except FileNotFoundError:
        return True
    except IsADirectoryError:
        return False
    except opening.RefusedFileError as error:
        if error.errno == errno.EFBIG:
            raise
        return False


def _told_by_size(path: Path | str, name: str, most: Mapping[str, float]) -> bool:
    return name == WEIGHTS and os.lstat(path).st_size > most[name] * limits.factor()


# --- writing --------------------------------------------------------------------------------------------------------


def write_config(paths: Layout, cell: Cell, config: Mapping[str, Any]) -> bytes:
    """Make a cell's config.json say this, and return its bytes. Raises OSError.

    One that says something else, of a configuration that has been corrected since, is kept beside it.
    """
    path = paths.cell_config_file(cell)
    data = json.dumps(config, indent=1).encode()
    try:
        found = reading.read(path)
        if _says(reading.parse_json(found), config):
            return found
    except FileNotFoundError:
        if atomic.publish_once(path, data):
            return data
    except ValueError:
        pass  # damaged
    ours = path.with_name(f".{path.name}.{atomic.new_token()}.tmp")
    atomic.publish(ours, data)
    try:
        atomic.put_in_place(ours, path)
    finally:
        atomic.discard(ours)
    return data


def _says(found: Any, config: Mapping[str, Any]) -> bool:
    """Whether a config.json says this, as far as it goes: one of an earlier version says less, and results name it."""
    return isinstance(found, dict) and "config_digest" in found and found.items() <= config.items()


def link_outcome(paths: Layout, cell: Cell, result: Mapping[str, Any], most: Mapping[str, float] = _ALL) -> None:
    """Give the weights and the history of the attempt that won their public names. Raises OSError.

    The history comes last: where it is, nothing is missing. Doing it again changes nothing, and whoever finds a link
    missing or a stranger in its place may do it: the winner may have died in between. A stranger is kept under another
    name. Nothing is done for a result that has lost its place to another meanwhile. most: bytes of each file that are
    read.
    """
    pack_attempt = int(result["provenance"]["pack"])
    named = named_files(result)
    counts = partial(_is_in_its_place, paths, cell, named)
    if named and CONFIG in named:  # an attempt under another configuration may have put its own there since
        config = paths.cell_config_file(cell)
        _settle(config, config, named[CONFIG], CONFIG, most, counts)
    for name, private, public in (
        (WEIGHTS, paths.private_weights(pack_attempt, cell), paths.weights_file(cell)),
        (HISTORY, paths.private_history(pack_attempt, cell), paths.history_file(cell)),
    ):
        if named is None:
            _link(private, public)
        elif not counts():
            return
        elif name not in named:
            with contextlib.suppress(FileNotFoundError):
                atomic.quarantine(public)
        else:
            _settle(private, public, named[name], name, most, counts)


def _is_in_its_place(paths: Layout, cell: Cell, named: Mapping[str, Any] | None) -> bool:
    """Whether the cell's result is, at this moment, one that names these files. Raises OSError."""
    try:
        return named_files(read_result(str(paths.result_file(cell)))) == named
    except (SweepError, FileNotFoundError, NotADirectoryError):
        return False


def _link(private: Path, public: Path) -> bool:
    """Give a private file its public name. Returns whether it has that now; if another file has it, both stay."""
    if not private.exists():
        return False
    try:
        public_too = atomic.link_or_copy(private, public) or os.path.samefile(private, public)
        directories.sync_directory(public.parent)
    except FileNotFoundError:
        return True  # another process has just done so
    # Only now: a reader that finds neither name would take the file for lost.
    if public_too:
        atomic.remove(private)
    return public_too


def _settle(
    private: Path, public: Path, named: Any, name: str, most: Mapping[str, float], counts: Callable[[], bool]
) -> None:
    """Make ``public`` the file that is named, from whichever copy is that one; without one nothing is changed.

    counts: whether the result that names it still has its place.
    """
    if not public.exists() and _whole(private, named, name, most) and _link(private, public):
        return
    if not _whole(public, named, name, most):
        source = next((path for path in (private, *_beside(public)) if _whole(path, named, name, most)), None)
        if source is None:
            return
        try:
            if name != WEIGHTS:
                atomic.put_in_place(source, public)  # every reader tells whether it is the one of its result
            elif not _give_name(source, public, named, most, counts):
                return
        except FileNotFoundError:
            return  # another process has just done so
    elif _told_by_size(public, name, most):  # it may be another one
        return
    if private != public:
        atomic.remove(private)


def _beside(public: Path) -> list[Path]:
    """Files that have had its name, those first that lost it to others that were not known to be better."""
    there = (name for name in directories.entries(public.parent) if name.startswith(f"{public.name}."))
    found = sorted(there, key=lambda name: (not name.startswith(f"{public.name}.{_REPLACED}"), name))
    return [public.with_name(name) for name in found[:_MOST_BESIDE]]


def _give_name(source: Path, public: Path, named: Any, most: Mapping[str, float], counts: Callable[[], bool]) -> bool:
    """Give weights the public name that others have. Returns whether they got it; if not, those have it again.

    Readers tell weights by their size, so no process may take the name from those of a result that came after its own,
    however long it was stopped before the call that does it. Hence what has the name loses it first, which readers see
    and repair; only then is the result looked at; and a name that another process has given away since is not taken
    from that file without another look.
    """
    while True:
        aside = None
        with contextlib.suppress(FileNotFoundError):
            aside = atomic.quarantine(public, f"{_REPLACED}{atomic.new_token()}")
        try:
            ours = counts()
        except OSError:
            if aside:
                atomic.link_or_copy(aside, public)
            raise
        if aside and (not ours or _whole(aside, named, WEIGHTS, most)):
            source = aside  # it had the name rightly
        elif not ours:
            return False
        if atomic.link_or_copy(source, public):
            directories.sync_directory(public.parent)
            if source.name.startswith(f"{public.name}.{_REPLACED}"):
                atomic.remove(source)  # a second name would bring back what a user removes
            return ours
        if not ours:
            return False


def _whole(path: Path, named: Any, name: str, most: Mapping[str, float]) -> bool:
    return path.exists() and _is_named(str(path), named, name, most)


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
    _repair(paths, cell, result, _THOROUGHLY)
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

    Weights above 64 MiB are told by their size. Never raises: a reader may not be allowed to write here.
    """
    with contextlib.suppress(OSError):
        _repair(paths, cell, result, _REPAIRED)


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
        _repair(paths, cell, read_result(str(paths.result_file(cell))), _THOROUGHLY)


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
