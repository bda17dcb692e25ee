"""The device and the process-wide arithmetic settings, made once before anything is computed."""

from __future__ import annotations

import torch

SUBNORMAL = 1e-40
ENOUGH_FOR_ALL_THREADS = 1 << 20


class DeviceError(RuntimeError):
    """The device asked for cannot be used; there is no falling back to another one."""


def prepare(device: str, threads: int) -> torch.device:
    """Set threads, flush subnormals, and prove that the device works.

    Adam's moments of dead units become subnormal after some thousand steps and would slow a step threefold. The
    setting is taken over by torch's threads when they start, so it must come before the first parallel operation.
    Raises DeviceError.
    """
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    if device == "cpu":
        _refuse_kept_subnormals()
        return torch.device("cpu")
    try:
        chosen = torch.device(device)
        torch.zeros(1, device=chosen).add_(1).item()
        if chosen.index is not None:
            torch.cuda.set_device(chosen)  # graphs are recorded on the current device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise DeviceError(f"device {device!r} was asked for and cannot be used: {reason}") from error
    torch.backends.cuda.matmul.allow_tf32 = False
    return chosen


def _refuse_kept_subnormals() -> None:
    kept = int(torch.full((ENOUGH_FOR_ALL_THREADS,), SUBNORMAL).mul_(1.0).ne(0.0).sum())
    if kept:
        raise DeviceError(
            "this process computed with several torch threads before training began, so subnormal numbers are not "
            "flushed on all of them; start training in a fresh process"
        )
