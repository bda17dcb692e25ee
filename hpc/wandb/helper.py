"""The helper process that talks to W&B, seen from its parent: it may be slow, hang or die without harm to us."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, TextIO

from hpc.checkout import PROJECT_ROOT

READ, WRITE, PLACES = "read", "write", "places"
END = {"end": True}
# All other WANDB_ variables describe runs, such as their name or id. Ours are described by their cells.
_KEPT = {
    "WANDB_API_KEY",
    "WANDB_BASE_URL",
    "WANDB_CACHE_DIR",
    "WANDB_CONFIG_DIR",
    "WANDB_DATA_DIR",
    "WANDB_ENTITY",
    "WANDB_HTTP_TIMEOUT",
    "WANDB_IDENTITY_TOKEN_FILE",
    "WANDB__SERVICE_WAIT",
}
_SECRET = {"WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"}
# wandb takes its server from wandb/settings in the working directory. In a sweep directory of somebody else, that file
# could send our API key to a server of theirs. Only an administrator can put one into "/".
ELSEWHERE = "/"
# How late a stop may be noticed, and how long a killed process may take to be gone.
_POLL_SECONDS, _KILL_SECONDS = 0.05, 2.0
# Room for the names of some 20,000 cells in a request: a helper that does not read must not make the task wait.
_PIPE_BYTES = 1 << 20


class WandbTroubleError(Exception):
    """W&B cannot be reached or does not answer. The message is one line."""


class Helper:
    """The helper process: `with Helper(needs_key=True) as helper:`. It never outlives the block.

    needs_key: whether it may see the API key. idle: the longest it may take for one answer, in seconds.
    Raises OSError if it cannot be started.
    """

    def __init__(self, *, needs_key: bool, idle: float = float("inf")) -> None:
        self._idle = idle
        self._pending = b""
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "hpc.wandb.client"],
            cwd=ELSEWHERE,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment(needs_key),
            # Signals of Slurm and Ctrl-C are for the training. When this process ends is decided here.
            start_new_session=True,
        )
        with contextlib.suppress(OSError):
            fcntl.fcntl(self._process.stdin.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)  # type: ignore[union-attr]

    def __enter__(self) -> Helper:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def ask(self, request: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Send a request and yield its answers. Raises WandbTroubleError, OSError."""
        self.tell(request)
        yield from self.answers()

    def tell(self, request: Mapping[str, Any]) -> None:
        """Send a request. Raises OSError."""
        with contextlib.suppress(BrokenPipeError):  # it died: reading its answers then reports why
            self._process.stdin.write(json.dumps(request).encode() + b"\n")  # type: ignore[union-attr]
            self._process.stdin.flush()  # type: ignore[union-attr]

    def close(self) -> None:
        """End its stdin: no more requests will come."""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()  # type: ignore[union-attr]

    def answers(
        self, seconds: float = float("inf"), give_up: Callable[[], bool] = lambda: False
    ) -> Iterator[dict[str, Any]]:
        """The answers to a request that was sent. Raises WandbTroubleError, OSError.

        seconds: the longest all of them together may take. give_up: polled while waiting; true ends the wait.
        """
        deadline = time.monotonic() + seconds
        while True:
            answer = json.loads(self._line(min(deadline, time.monotonic() + self._idle), give_up))
            if answer == END:
                return
            yield answer

    def stop(self) -> None:
        """Kill it. wandb's own service process ends with it."""
        self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):  # it hangs in a file system, and dies when that answers
            self._process.wait(_KILL_SECONDS)
        self.close()
        self._process.stdout.close()  # type: ignore[union-attr]
        self._errors.close()

    def _line(self, deadline: float, give_up: Callable[[], bool]) -> bytes:
        began = time.monotonic()
        out = self._process.stdout.fileno()  # type: ignore[union-attr]
        while b"\n" not in self._pending:
            if time.monotonic() > deadline:
                raise WandbTroubleError(f"W&B did not answer in {time.monotonic() - began:.0f} s")
            if give_up():
                raise WandbTroubleError("the task is being stopped")
            if select.select([out], [], [], _POLL_SECONDS)[0]:
                data = os.read(out, 1 << 16)
                if not data:
                    raise WandbTroubleError(self._last_words())
                self._pending += data
        line, _, self._pending = self._pending.partition(b"\n")
        return line

    def _last_words(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        if not lines:
            return "the process that talks to W&B ended without a message"
        # The last line of a traceback is the error; its module path tells a user nothing.
        said = re.sub(r"^[A-Za-z_.]+\.(\w+Error): ", r"\1: ", lines[-1])
        return without_key(said)[:300].rstrip(".")


def without_key(text: str) -> str:
    """A text for people, without the API key: errors of the client may quote it."""
    key = os.environ.get("WANDB_API_KEY")
    return text.replace(key, "...") if key else text


def environment(needs_key: bool) -> dict[str, str]:
    """The environment of a process that runs W&B's client: ours, without what it must not see."""
    kept = _KEPT if needs_key else _KEPT - _SECRET
    found = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_") or name in kept}
    path = os.pathsep.join(filter(None, [str(PROJECT_ROOT), found.get("PYTHONPATH")]))
    return found | {"PYTHONPATH": path, "WANDB_ERROR_REPORTING": "false", "WANDB_SILENT": "true"}


def own_stdout() -> TextIO:
    """In the helper: keep stdout for answers, and send what wandb prints to stderr."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return answers
