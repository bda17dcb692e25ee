"""The command as a user has it, in a directory that holds nothing of the checkout, and what a sweep directory says."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from hpc.cli import app
from hpc.storage.store import Store

ROOT = Path(__file__).parents[2]
WIDTH = ROOT / "tests" / "trainers" / "width.py"
GREEDY = ROOT / "tests" / "trainers" / "greedy.py"
WITH_DATA = ROOT / "tests" / "trainers" / "with_data.py"
Holdfast = Callable[..., subprocess.CompletedProcess[str]]


def parsed(line: str) -> click.Context:
    """The command that a line names, with its options as values; nothing is run. Raises click.UsageError."""
    context = app.holdfast.make_context("holdfast", shlex.split(line))
    while isinstance(context.command, click.Group):
        name, command, words = context.command.resolve_command(context, [*context._protected_args, *context.args])
        assert command is not None
        context = command.make_context(name, words, parent=context)
    return context


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "HOLDFAST_SANDBOX": "/nonexistent/sandbox"}


def statuses(store: Store) -> list[Any]:
    sweep = store.sweep()
    return list(store.statuses(sweep.grid, sweep))


def result(store: Store, cell: Any) -> dict[str, Any]:
    found = store.result(cell)
    assert found is not None
    return found
