"""Whether the code that an existing sweep names may run: in another user's directory, only if it is trusted."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

from hpc.errors import ConfigError
from hpc.launch.remarks import say
from hpc.launch.request import Request
from hpc.storage.ownership import owner_of, user_name
from hpc.storage.permissions import untrusted
from hpc.sweep.definition import Sweep


def confirm(request: Request, trusted: bool) -> None:
    """Report which code is about to run and whose it is, and ask where the sweep directory is not the user's own.

    trusted: it need not be asked for. Raises ConfigError without a confirmation.
    """
    if not request.store.root.exists():
        return
    sweep, root = request.sweep, request.store.root
    if request.existing and Path(sweep.trainer.path).is_file():
        say(f"{root}: runs {_code(sweep)}")
    why = untrusted(request.store.paths, [f"{sweep.trainer.path}:"] if request.existing else [])
    if not why or trusted:
        return
    if not sys.stdin.isatty():
        raise ConfigError([f"{why}; add --trust to run its code as yourself"])
    with contextlib.suppress(EOFError):  # Ctrl-D is no answer
        if input(f"{why}; run its code as yourself? [y/N] ").strip().lower() in ("y", "yes"):
            return
    raise ConfigError([f"{why}; nothing is run"])


def _code(sweep: Sweep) -> str:
    """The trainer, its owner, and the figures, as what runs."""
    path = Path(sweep.trainer.path)
    words = [f"trainer {sweep.trainer.target} in {path}, which belongs to {_owner(path)}"]
    if command := sweep.options.get("command"):
        words.append(f"command {str(command)!r}")
    if figures := sweep.analysis.get("figures"):
        words.append(f"figures {', '.join(map(str, figures))}")
    return "; ".join(words)


def _owner(path: Path) -> str:
    return owner_of(path) or user_name(path.stat().st_uid)
