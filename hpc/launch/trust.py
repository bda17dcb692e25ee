"""Whether the code that an existing sweep names may run: in another user's directory, only if it is trusted."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

from hpc.errors import ConfigError
from hpc.launch.remarks import agreed
from hpc.launch.request import Request
from hpc.storage.permissions import owner_of, untrusted, user_name
from hpc.sweep.definition import Sweep
from hpc.sweep.resources import text
from hpc.terminal import visible
from hpc.units import first_few

_MOST_TOLD = 5  # different requests


def confirm(request: Request, trusted: bool, can_ask: bool = True) -> Request:
    """Ask whether code may run where the sweep directory is not the user's own.

    trusted: it need not be asked for. can_ask: whether a person at the terminal may be.
    Returns the request, with which code runs and whose it is among its notes where that, or the directory, is another
    user's.
    Raises ConfigError without a confirmation, SweepError where there is no trainer to run.
    """
    request.check_trainer()
    sweep, root = request.sweep, request.store.root
    code = _code(sweep)
    why = untrusted(request.store, [f"{sweep.trainer.path}:"] if request.existing else [])
    asked = f"{why}; run {code} as yourself?"
    if why and not trusted and not (can_ask and sys.stdin.isatty() and agreed(visible(asked))):
        raise ConfigError([f"{why}; nothing is run; add --trust to run {code} as yourself"])
    foreign = why or Path(sweep.trainer.path).stat().st_uid != os.geteuid()
    told = (f"{root}: runs {code}",) if request.existing and foreign else ()
    return replace(request, notes=(*request.notes, *told))


def _code(sweep: Sweep) -> str:
    """The trainer, its owner, and the figures, as what runs; and what is asked of a cluster for it."""
    path = Path(sweep.trainer.path)
    words = [f"trainer {sweep.trainer.target} in {path}, which belongs to {_owner(path)}"]
    if command := sweep.options.get("command"):
        words.append(f"command {str(command)!r}")
    if figures := sweep.analysis.get("figures"):
        words.append(f"figures {', '.join(map(str, figures))}")
    if asked := list(dict.fromkeys(text(rule.asked) for rule in sweep.resources)):
        words.append(f"resources {first_few(asked, _MOST_TOLD, ' or ')}")
    return "; ".join(words)


def _owner(path: Path) -> str:
    return owner_of(path) or user_name(path.stat().st_uid)
