"""A process that ends, or is overtaken, between two calls that change names."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest


class KilledError(BaseException):
    """Stands for SIGKILL: no handler of ours may run after it."""


def dying(patch: pytest.MonkeyPatch, kill_at: int) -> None:
    """The process ends before its n-th call that changes a name."""
    interrupted(patch, 0, lambda: None, kill_at)


def interrupted(patch: pytest.MonkeyPatch, at: int, act: Callable[[], None], kill_at: int) -> None:
    """Others act before the process's n-th call that changes a name, and it ends before a later one."""
    calls = [0]
    for name in ("replace", "link", "unlink", "mkdir", "rename"):
        patch.setattr(f"os.{name}", _counted(getattr(os, name), calls, at, act, kill_at))


def _counted(
    real: Callable[..., object], calls: list[int], at: int, act: Callable[[], None], kill_at: int
) -> Callable[..., object]:
    def call(*arguments: object, **options: object) -> object:
        if calls[0] < 0:  # it is the others that call
            return real(*arguments, **options)
        calls[0] += 1
        if calls[0] == at:
            calls[0] = -1
            act()
            calls[0] = at
        if calls[0] >= kill_at:
            raise KilledError
        return real(*arguments, **options)

    return call
