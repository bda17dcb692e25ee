"""Which step trains, or why the one that is required cannot: for tasks, and for commands beforehand. No torch, but
where a GPU trains."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from training.contract import UnfitNodeError
from training.model.settings import Settings, SettingsError
from training.steps.build import Kernel, NoKernelError, check_compiler, load_kernel

if TYPE_CHECKING:
    import torch

T = TypeVar("T")


def check(options: Mapping[str, Any], device: str) -> None:
    """Raise as compiled_step does, as far as can be said without building it. options: some that require it."""
    _available(options, device, check_compiler)


def compiled_step(options: Mapping[str, Any], device: str) -> Kernel | None:
    """The compiled step if it is to train, None for the one in torch. options: trainer_options. device: cpu or cuda.

    Raises SettingsError if what is required is not for this device, UnfitNodeError if this machine does not have it.
    """
    if _required(options)[0]:
        return _available(options, device, load_kernel)
    if device != "cpu" or options.get("kernel") == "torch":
        return None
    try:
        return load_kernel()
    except NoKernelError:
        return None


def working_triton(options: Mapping[str, Any], settings: Settings, device: torch.device) -> str:
    """The version of Triton if its kernels are to clip and update: on a GPU, where they work. Empty if torch is.

    options: trainer_options. Raises RuntimeError if the GPU itself has failed.
    """
    if device.type != "cuda" or options.get("kernel") == "torch":
        return ""
    import torch

    try:
        from training.steps.triton_adam import tried

        return tried(settings, device)
    # Not installed, no C compiler, no place for its cache, a device of too old or too new an architecture: each raises
    # its own kind. Which one trained is part of the numerics.
    except Exception as error:
        torch.cuda.synchronize(device)  # raises where the process has lost the GPU: then torch cannot train either
        why = " ".join(f"{type(error).__name__}: {error}".split())
        print(f"note: torch clips and updates; Triton's kernels do not work here: {why}", file=sys.stderr, flush=True)
        return ""


def _available(options: Mapping[str, Any], device: str, get: Callable[[str], T]) -> T:
    required, instead = _required(options)
    if device != "cpu":
        raise SettingsError(f"{required}, but the device is {device}; {instead}.")
    try:
        return get(options.get("precision", "fp32"))
    except NoKernelError as error:
        raise UnfitNodeError(f"{required}, but {error}; {instead}.") from None


def _required(options: Mapping[str, Any]) -> tuple[str, str]:
    """The option that only the compiled step can honour, and what to do without; empty if any step may train."""
    if options.get("precision") == "bf16":
        return "trainer_options.precision is 'bf16'", "use fp32"
    if options.get("kernel") == "native":
        return "trainer_options.kernel is 'native'", "use auto or torch"
    return "", ""
