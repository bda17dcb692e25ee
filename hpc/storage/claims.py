"""Numbers that belong to one process alone: of submissions, pack attempts and a cell's attempts.

Each is a directory made by mkdir, which is atomic on every file system. A number is an epoch: what carries a larger one
began later, whatever the clocks and job ids say.
"""

from __future__ import annotations

from hpc.storage import files
from hpc.storage.layout import ATTEMPT_DIGITS, PACK_DIGITS, SUBMISSION_DIGITS
from hpc.storage.store import Store
from hpc.sweep.cell import Cell


def new_submission(store: Store) -> int:
    files.make_directory(store.paths.submissions_root)
    return files.claim(store.paths.submissions_root, SUBMISSION_DIGITS)[0]


def new_pack(store: Store) -> int:
    files.make_directory(store.paths.packs_root)
    return files.claim(store.paths.packs_root, PACK_DIGITS)[0]


def new_attempt(store: Store, cell: Cell) -> int:
    files.make_directory(store.paths.attempts_directory(cell))
    return files.claim(store.paths.attempts_directory(cell), ATTEMPT_DIGITS)[0]
