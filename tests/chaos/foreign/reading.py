"""Calls of commands in processes that are limited and watched: the client of reader.py."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from ..attempts import ROOT
from ..syscalls import missing
from . import reader
from .reader import Answer
from .traces import OPTIONS, Rules

# Root reads and changes everything; without these it is a user like any other, among whose files are those of root.
_OF_ROOT_ALONE = ("dac_override", "dac_read_search", "fowner", "chown")
_INTERPRETER_BYTES = 3 << 30  # of addresses, most of them libraries'


def several_users() -> bool:
    """Whether directories can be given to other users and be read as none of them."""
    return os.geteuid() == 0 and shutil.which("setpriv") is not None


def _unprivileged() -> list[str]:
    """What comes before the words of a command that root must not run as root."""
    if not several_users():
        return []
    return [str(shutil.which("setpriv")), f"--bounding-set={','.join(f'-{name}' for name in _OF_ROOT_ALONE)}"]


class Reader:
    """A process that forks one for each call. place: its own directory, of which `case` is what is read.

    owned: places from which nothing may be executed. first: what it runs before it forks, see reader.py.
    """

    def __init__(self, place: Path, owned: Sequence[Path], first: Sequence[Sequence[str]]) -> None:
        self._place = place
        for name in ("cwd", "tmp", "nothing"):
            (place / name).mkdir(exist_ok=True)
        inside = [str(place / name) for name in ("case/out", "tmp", "log", "cwd")]
        self._rules = Rules(inside, [str(path) for path in owned], str(place / "cwd"))
        self._strace = shutil.which("strace") if not missing() else None
        self._python = [sys.executable, "-P", str(Path(reader.__file__))]
        self._process = subprocess.Popen(
            [*_unprivileged(), *self._python, json.dumps(first)],
            env=self._environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=place,
        )

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.communicate()  # closes its input, at which it ends

    def call(self, words: Sequence[str], fresh: bool = False) -> Answer:
        """Run a command. fresh: in an interpreter of its own, under strace where there is one."""
        traces = self._place / "traces"
        shutil.rmtree(traces, ignore_errors=True)
        traces.mkdir()
        order = {
            "words": words,
            "inside": self._rules.inside,
            "owned": self._rules.owned,
            "cwd": self._rules.cwd,
            "log": str(self._place / "log"),
            "room": _INTERPRETER_BYTES if fresh else reader.MOST_BYTES,
            "prefix": self._prefix(traces) if fresh else [],
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer = Answer(*json.loads(self._process.stdout.readline()))
        return answer._replace(outside=[*answer.outside, *self._rules.broken(traces)])

    def _prefix(self, traces: Path) -> list[str]:
        watched = [self._strace, *OPTIONS, "-o", str(traces / "of")] if self._strace else []
        return [*watched, *self._python, "once"]

    def _environment(self) -> dict[str, str]:
        """What no directory may change: no program is found, no cluster, no login."""
        tmp = str(self._place / "tmp")
        return {
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOME": tmp,
            "TMPDIR": tmp,
            "PATH": str(self._place / "nothing"),
            "LC_ALL": "C.UTF-8",
            "HOLDFAST_SANDBOX": "/nonexistent",
            "MPLCONFIGDIR": tmp,
            "NO_COLOR": "1",
            **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ARROW_NUM_THREADS"), "1"),
            "WANDB_API_KEY": "",
            "WANDB_MODE": "offline",
            "PYTHONFAULTHANDLER": "1",
        }
