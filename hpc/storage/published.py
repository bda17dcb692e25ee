"""A cell's published result and the files that belong to it."""

from __future__ import annotations

import contextlib

from hpc.errors import SweepError
from hpc.storage import files
from hpc.storage.layout import Layout
from hpc.storage.results import read_result
from hpc.sweep.cell import Cell


def link_outcome(paths: Layout, cell: Cell, pack_attempt: int) -> None:
    """Give the weights and the history of the attempt that won their public names. Raises OSError.

    The history comes last: where it is, nothing is missing. Doing it again changes nothing.
    """
    pairs = (
        (paths.private_weights(pack_attempt, cell), paths.weights_file(cell)),
        (paths.private_history(pack_attempt, cell), paths.history_file(cell)),
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


def set_damaged_aside(paths: Layout, cell: Cell) -> str:
    """Quarantine a results.json that is no result, so that the cell can be trained again.

    Returns what was wrong with it, one line; empty if nothing was. Raises OSError.
    """
    path = paths.result_file(cell)
    try:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            read_result(str(path))
    except SweepError as error:
        with contextlib.suppress(FileNotFoundError):  # another process has just done so
            files.quarantine(path)
        return str(error)
    return ""
