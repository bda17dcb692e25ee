"""The process that talks to W&B on our behalf, watched: it can be slow, hang or die, and we go on."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from types import TracebackType
from typing import Any, TextIO

from aggregate.wandb_cells import Target
from hpc.store import Store
from hpc.trainer import PROJECT_ROOT

WRITER, READER = "aggregate.wandb_writer", "aggregate.wandb_reader"
# Everything else of W&B in the environment describes runs, and ours are described by their cells.
_KEPT = {
    "WANDB_API_KEY",
    "WANDB_BASE_URL",
    "WANDB_CACHE_DIR",
    "WANDB_CONFIG_DIR",
    "WANDB_DATA_DIR",
    "WANDB_ENTITY",
    "WANDB_HTTP_TIMEOUT",
    "WANDB_IDENTITY_TOKEN_FILE",
}
_POLL_SECONDS = 0.05


class WandbTroubleError(Exception):
    """W&B cannot be reached or does not answer; the message is one line."""


class Helper:
    """One helper process: `with Helper(module, request) as helper:`; it never outlives the block.

    needs_key: whether it may see the API key. Raises OSError if it cannot be started.
    """

    def __init__(self, module: str, request: Mapping[str, Any], *, needs_key: bool) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment(needs_key),
            # Slurm and Ctrl-C address the training; we decide when this one ends.
            start_new_session=True,
        )
        self._tell(request)

    def __enter__(self) -> Helper:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def close(self) -> None:
        """Say that nothing more will come."""
        if self._process.stdin is not None:
            self._process.stdin.close()

    def answers(
        self, *, seconds: float, idle: float | None = None, give_up: Callable[[], bool] = lambda: False
    ) -> Iterator[dict[str, Any]]:
        """Its answers until it ends. Raises WandbTroubleError.

        seconds: the longest it may take. idle: the longest between two answers. give_up: asked all the time.
        """
        began = last = time.monotonic()
        pending = b""
        out = self._process.stdout.fileno()  # type: ignore[union-attr]
        while True:
            now = time.monotonic()
            if now - began > seconds or (idle is not None and now - last > idle):
                raise WandbTroubleError(f"W&B did not answer in {min(seconds, idle or seconds):g} s")
            if give_up():
                raise WandbTroubleError("the task is being stopped")
            if not select.select([out], [], [], _POLL_SECONDS)[0]:
                continue
            data = os.read(out, 1 << 16)
            *lines, pending = (pending + data).split(b"\n")
            yield from map(json.loads, lines)
            if lines:
                last = time.monotonic()
            if not data:
                break
        if self._process.wait() != 0:
            raise WandbTroubleError(self._last_words())

    def stop(self) -> None:
        """End it, now. wandb's own service process ends with it."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._errors.close()

    def _tell(self, request: Mapping[str, Any]) -> None:
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")  # type: ignore[union-attr]
            self._process.stdin.flush()  # type: ignore[union-attr]
        except BrokenPipeError:  # it died; its last words say why
            return

    def _last_words(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return (
            without_key(lines[-1])[:300]
            if lines
            else f"the process that talks to W&B ended with {self._process.returncode}"
        )


def writing(store: Store, mode: str, cells: list[str], target: Target) -> dict[str, Any]:
    """The request to a writer."""
    return {"root": str(store.root), "mode": mode, "cells": cells, "target": asdict(target)}


def without_key(text: str) -> str:
    """A text for people, without the API key, whoever put it there."""
    key = os.environ.get("WANDB_API_KEY")
    return text.replace(key, "...") if key else text


def environment(needs_key: bool) -> dict[str, str]:
    """What a process that runs W&B's client may see of ours."""
    kept = _KEPT if needs_key else _KEPT - {"WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"}
    found = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_") or name in kept}
    path = os.pathsep.join(filter(None, [str(PROJECT_ROOT), found.get("PYTHONPATH")]))
    return found | {"PYTHONPATH": path, "WANDB_ERROR_REPORTING": "false", "WANDB_SILENT": "true"}


def own_stdout() -> TextIO:
    """In a helper: its answers get stdout for themselves; what wandb prints goes to stderr."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return answers
