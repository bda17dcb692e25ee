"""Whether the code that an existing sweep names may run: in another user's directory, only if it is trusted."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from hpc.errors import ConfigError
from hpc.launch.remarks import agreed
from hpc.launch.request import Request
from hpc.storage.permissions import owner_of, untrusted, user_name
from hpc.sweep.definition import Sweep
from hpc.terminal import visible


def confirm(request: Request, trusted: bool) -> Request:
    """Ask whether code may run where the sweep directory is not the user's own.

    trusted: it need not be asked for. Returns the request, with which code runs and whose it is among its notes.
    Raises ConfigError without a confirmation.
    """
    sweep, root = request.sweep, request.store.root
    code = _code(sweep)
    why = untrusted(request.store.paths, [f"{sweep.trainer.path}:"] if request.existing else [])
    asked = f"{why}; run {code} as yourself?"
    if why and not trusted and not (sys.stdin.isatty() and agreed(visible(asked))):
        raise ConfigError([f"{why}; nothing is run; add --trust to run {code} as yourself"])
    return replace(request, notes=(*request.notes, f"{root}: runs {code}")) if request.existing and code else request


def _code(sweep: Sweep) -> str:
    """The trainer, its owner, and the figures, as what runs; empty if the trainer is gone, which is another refusal."""
    path = Path(sweep.trainer.path)
    if not path.is_file():
        return ""
    words = [f"trainer {sweep.trainer.target} in {path}, which belongs to {_owner(path)}"]
    if command := sweep.options.get("command"):
        words.append(f"command {str(command)!r}")
    if figures := sweep.analysis.get("figures"):
        words.append(f"figures {', '.join(map(str, figures))}")
    return "; ".join(words)


def _owner(path: Path) -> str:
    return owner_of(path) or user_name(path.stat().st_uid)
