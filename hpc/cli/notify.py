"""--notify COMMAND: a person's own command, told how a command that takes long has ended, however it ended.

No shell reads it, unless it names one. It is told by its environment and its standard input, has a minute, and changes
nothing of how the command itself ends.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

from hpc.cli.endings import ending
from hpc.cli.options import ReadValue, option
from hpc.errors import ConfigError, SweepError, one_line, shown
from hpc.launch.remarks import say
from hpc.processes import ENDING, noted, wait_until
from hpc.protocol import NOTICE
from hpc.storage.store import Store

SECONDS = 60.0
_POLL_SECONDS = 0.05
# A shell replaces these also within double quotes.
_LITERAL = re.compile(r"'[^']*'|\\.")


def _words(text: str) -> tuple[str, ...]:
    """The words of a command. Raises ValueError."""
    from hpc.starter.pasted_command import shell_operator

    replaced = re.search(r"[$`]", _LITERAL.sub("", text))
    if mark := replaced[0] if replaced else shell_operator(text):
        raise ValueError(f"no shell reads it, and its {mark} is for one; write sh -c '...'")
    try:
        words = [os.path.expanduser(word) for word in shlex.split(text)]
    except ValueError as error:
        raise ValueError(f"{str(error).lower()}; close the quotation") from None
    if not words:
        raise ValueError("give the command that is to be told, such as 'mail -s done ada@example.org'")
    return tuple(words)


_OPTION = option(
    "--notify",
    type=ReadValue(_words),
    metavar="COMMAND",
    help="Run this, without a shell, when it has ended in whatever way: the outcome is in HOLDFAST_NOTICE_* and stdin.",
)


def notify(function: Callable[..., int]) -> Callable[..., int]:
    """The option; the command gets it with the path of its program, which is there, or None."""

    @functools.wraps(function)
    def called(notify: tuple[str, ...] | None, **given: Any) -> int:
        return function(notify=notify and _found(notify), **given)

    return _OPTION(called)


def _found(words: Sequence[str]) -> tuple[str, ...]:
    program = shutil.which(words[0])
    if program is None:
        text = f"there is no program {shown(words[0])} here; check its name, or write its path"
        raise ConfigError([f"command line: --notify is {shown(shlex.join(words))}; {text}"])
    return (os.path.abspath(program), *words[1:])


def notified(command: Sequence[str] | None, store: Store, act: Callable[[], int]) -> int:
    """Do what takes long and tell the command how it ended. Returns, or raises, what ``act`` does."""
    if not command:
        return act()
    try:
        code = act()
    except BaseException as error:
        _tell(command, store, *ending(error))
        raise
    _tell(command, store, "", code)
    return code


def _tell(command: Sequence[str], store: Store, trouble: str, code: int) -> None:
    """Run the command and wait for it. What goes wrong is one line, and nothing else happens."""
    try:
        wrong = _run(command, *_notice(store, trouble, code))
    except (OSError, ValueError) as error:  # ValueError: a null byte
        wrong = f"was not run: {one_line(str(error))}"
    if wrong:
        with contextlib.suppress(OSError):  # the terminal may have gone
            say(f"--notify: {os.path.basename(command[0])} {wrong}")


def _run(command: Sequence[str], text: str, variables: dict[str, str]) -> str:
    """What went wrong; empty if nothing did. Raises OSError, ValueError."""
    with tempfile.TemporaryFile() as file, noted(*ENDING) as interrupted:
        file.write(text.encode(errors="backslashreplace"))
        file.seek(0)
        # Its output goes to stderr: what the command that has ended answers may be read by a program.
        running = subprocess.Popen(command, stdin=file, stdout=2, env=os.environ | variables, start_new_session=True)
        wait_until(lambda: running.poll() is not None or interrupted(), SECONDS, _POLL_SECONDS)
        if running.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)
            running.wait()
            return f"was ended after {'an interrupt' if interrupted() else f'{SECONDS:.0f} s'}"
    return f"ended with exit status {running.returncode}" if running.returncode else ""


def _notice(store: Store, trouble: str, code: int) -> tuple[str, dict[str, str]]:
    """(what the command reads, its variables). States are those that files show: Slurm may be what is in trouble."""
    counts, cells = _states(store)
    lines = [f"holdfast: {store.root}: exit status {int(code)}", *filter(None, (cells, trouble))]
    values = {
        "DIRECTORY": str(store.root),
        "STATUS": str(int(code)),
        "STATES": json.dumps(counts),
        "TEXT": "; ".join(map(one_line, lines)),
    }
    return "\n".join(lines) + "\n", {f"{NOTICE}_{name}": value for name, value in values.items()}


def _states(store: Store) -> tuple[dict[str, int], str]:
    """How many cells are in which state, also in words; nothing where there is no sweep to be read."""
    from hpc.status import lines, sweep

    try:
        seen = sweep.take(store, ask_slurm=False)
    except (SweepError, OSError):
        return {}, ""
    return seen.counts, lines.summary(seen)
