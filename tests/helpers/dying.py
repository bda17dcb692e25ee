"""A process that ends between two calls that change names."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest


class KilledError(BaseException):
    """Stands for SIGKILL: no handler of ours may run after it."""


def dying(patch: pytest.MonkeyPatch, kill_at: int) -> None:
    """The process ends before its n-th call that changes a name."""
    left = [kill_at]
    for name in ("replace", "link", "unlink", "mkdir", "rename"):
        patch.setattr(f"os.{name}", _counted(getattr(os, name), left))


def _counted(real: Callable[..., object], left: list[int]) -> Callable[..., object]:
    def call(*arguments: object, **options: object) -> object:
        left[0] -= 1
        if left[0] <= 0:
            raise KilledError
        return real(*arguments, **options)

    return call
