"""The device and the process-wide arithmetic settings, set once before anything is computed."""

from __future__ import annotations

import warnings

import torch

# Between the smallest float32 (1.4e-45) and the smallest normal one (1.2e-38).
SUBNORMAL = 1e-40
# Torch hands an elementwise operation to a further thread for every 32,768 elements: this reaches 32 threads.
ENOUGH_FOR_ALL_THREADS = 1 << 20


class DeviceError(RuntimeError):
    """The requested device cannot be used. Training never falls back to another one, which would give other numbers."""


def prepare(device: str, threads: int) -> torch.device:
    """Set threads, flush subnormals, let MKL find its functions, and prove that the device works.

    Adam's moments of dead units become subnormal after some thousand steps and would make a step three times as slow.
    Torch's threads take the setting over when they start, so it must come before the first parallel operation.

    device: cpu, cuda or cuda:N. threads: CPU threads of torch. Raises DeviceError.
    """
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    find_vector_functions()
    if device == "cpu":
        _refuse_kept_subnormals()
        return torch.device("cpu")
    try:
        chosen = torch.device(device)
        # A device can be listed and still be unusable: taken by another process, or of too new an architecture.
        torch.zeros(1, device=chosen).add_(1).item()
        if chosen.index is not None:
            torch.cuda.set_device(chosen)  # graphs are recorded on the current device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise DeviceError(f"device {device!r} was asked for and cannot be used: {reason}") from error
    refuse_tf32()
    return chosen


def refuse_tf32() -> None:
    """TF32 keeps ten bits of each factor's mantissa: results would differ from a CPU's in the third digit.

    Torch 2.9 warns of this name. Its newer one (fp32_precision) does not undo what TORCH_ALLOW_TF32_CUBLAS_OVERRIDE has
    set, as images of NVIDIA do: every product would then be refused, because the two contradict each other.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Please use the new API settings to control TF32")
        torch.backends.cuda.matmul.allow_tf32 = False


def find_vector_functions() -> None:
    """Let MKL choose its vector functions (tanh, exp ...) while one thread asks for them.

    At the first call it stores its number for this processor, and then the place in its table that the number stands
    for, in one variable and without a lock. A second thread that reads it in between takes functions of another
    instruction set, with other bits (MKL 2024.2 in torch 2.13; about 1 start in 80 on a busy machine, two threads).
    """
    torch.zeros(1).tanh_()  # too small to be shared among threads


def _refuse_kept_subnormals() -> None:
    kept = int(torch.full((ENOUGH_FOR_ALL_THREADS,), SUBNORMAL).mul_(1.0).ne(0.0).sum())
    if kept:
        raise DeviceError(
            "this process computed with several torch threads before training began, so subnormal numbers are not "
            "flushed on all of them; start training in a fresh process"
        )
