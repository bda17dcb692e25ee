"""What a trainer's end means for its cells: its own fault, the disk's, the GPU's or the node's; the record of that."""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hpc import provenance
from hpc.errors import nearest
from hpc.node.saving import StorageTroubleError, TroubleError
from hpc.node.training_run import TrainingRun, UnfitNodeError
from hpc.protocol import TaskExit
from hpc.storage.store import Store
from hpc.sweep.cell import Cell

# Errors of a file system, whoever meets them: a trainer whose output goes to a full disk has done nothing wrong.
_STORAGE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.ESTALE}

# As torch, its libraries and others name what a GPU or its driver could not do.
_DEVICE_ERROR = re.compile(
    r"(CUDA|HIP) (driver |unknown |runtime )?error|CUDA_ERROR_|cudaError|CU(BLAS|DNN|FFT|SPARSE|SOLVER)_STATUS_|"
    r"cuDNN error|NVML|uncorrectable ECC|No CUDA GPUs are available|Found no NVIDIA driver|CUDA-capable device",
)
# A smaller pack can do better, and the process can go on.
_MEMORY_ERROR = re.compile(r"out of memory|_ALLOC_FAILED|MEMORY_ALLOCATION", re.IGNORECASE)


class DeviceTroubleError(TroubleError):
    """The GPU cannot be used, or the process has lost it: no cell can be trained here any more, whatever it is."""

    status = TaskExit.DEVICE


class UnfitTroubleError(TroubleError):
    """The trainer says that this machine lacks what it needs: no cell can be trained here, whatever it is."""

    status = TaskExit.UNFIT


def check_node(error: BaseException) -> None:
    """Raise UnfitTroubleError if what a trainer raised says that this machine cannot train any cell."""
    if isinstance(error, UnfitNodeError):
        raise UnfitTroubleError(" ".join(f"{provenance.node()}: {error}".split())) from error


def check_device(error: BaseException, device: str) -> None:
    """Raise DeviceTroubleError if what a trainer raised is a GPU speaking that no cell can use after that.

    After an illegal access, a failed assertion or an ECC error every further call of the process fails; after a lack of
    memory none does. device: what the task trains on; without a GPU, a trainer that wants one is at fault itself.
    """
    if not device.startswith("cuda"):
        return
    link: BaseException | None = error
    while link is not None:
        text = f"{type(link).__name__}: {link}"
        if isinstance(link, RuntimeError) and _DEVICE_ERROR.search(text) and not _MEMORY_ERROR.search(text):
            said = text.strip().splitlines()[0]
            raise DeviceTroubleError(f"the GPU cannot be used here any more ({said}); saved states are kept") from error
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def check_disk(error: BaseException, root: Path) -> None:
    """Raise StorageTroubleError if what a trainer raised is a full or broken disk speaking."""
    if isinstance(error, OSError) and error.errno in _STORAGE_ERRORS:
        raise StorageTroubleError(f"{error.filename or root}: {error.strerror}") from error


def cause_of(error: BaseException, options: Mapping[str, Any]) -> str:
    """What a trainer raised, on one line; of a key that it did not find, whether it can be one of its options."""
    cause = " ".join(f"{type(error).__name__}: {error}".split())
    key = error.args[0] if isinstance(error, KeyError) and error.args else None
    if not isinstance(key, str) or key in options:
        return cause
    near = nearest(key, map(str, options))
    return f"{cause}; trainer_options has no {key!r}" + (f", but {near!r}" if near else "")


def failed_in(store: Store, cell: Cell, submission: int) -> bool:
    """Whether a cell's newest attempt that counts failed in this very submission, which then does not try it again."""
    attempts = store.counting_attempts(cell)
    failure = store.failure(cell, attempts[-1]) if attempts else None
    return failure is not None and failure.get("submission") == submission


def any_failed_in(store: Store, cells: Sequence[Cell], submission: int) -> bool:
    return any(failed_in(store, cell, submission) for cell in cells)


def blame(run: TrainingRun, cells: Sequence[Cell], cause: str, traceback: str) -> None:
    """Record as failed those of the cells that have not ended."""
    for cell in cells:
        if cell in run.unfinished():
            run.give_up(cell, cause, traceback)


def expect_ended(run: TrainingRun, cells: Sequence[Cell]) -> bool:
    """A trainer that returns without being asked to stop must have ended its cells. Returns whether one failed."""
    left = [cell for cell in cells if cell in run.unfinished()]
    if run.stop or not left:
        return False
    blame(run, left, "the trainer returned without finishing this cell; call run.finish or run.fail", "")
    return True
