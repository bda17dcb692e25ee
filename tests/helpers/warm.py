"""The command, forked from a process that has done its imports: they take most of a short command's time.

What a process takes from its environment as it starts, or when it imports, is what the forking one was started with. So
a test that is about that, and any whose environment differs in more than variables that are read later, starts the
command itself.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib import import_module
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

from helpers.command_line import ROOT, environment
from helpers.waiting import PATIENCE

# Read when a command needs them, by itself or by Slurm's commands, or by nobody.
_READ_LATE = ("HOLDFAST_", "PYTEST_", "SLURM_CONF", "XDG_STATE_HOME")
_TESTS = str(Path(__file__).parents[1])


def command(
    words: Sequence[str], directory: Path, variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """`python -m hpc WORDS` in a directory. Returns how it ended and what it wrote; raises as subprocess.run does.

    variables: its environment; None: that of a command without a cluster.
    """
    variables = environment() if variables is None else variables
    # A debug run is what a trainer's own processes start from: they load its main module, which here is another.
    if _read_early(variables) != _EARLY or "--debug" in words:
        return subprocess.run(
            [sys.executable, "-m", "hpc", *words],
            cwd=directory,
            env=variables,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        streams = [f"/proc/{os.getpid()}/fd/{file.fileno()}" for file in (out, err)]
        process = _forking().Process(target=_run, args=(list(words), str(directory), dict(variables), streams))
        process.start()
        process.join(PATIENCE)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired(list(words), PATIENCE)
        for file in (out, err):
            file.seek(0)
        return subprocess.CompletedProcess(list(words), process.exitcode, out.read(), err.read())


def _read_early(variables: Mapping[str, str]) -> dict[str, str]:
    """Variables that a process may read as it starts, or when it imports."""
    return {name: value for name, value in variables.items() if not name.startswith(_READ_LATE)}


# Of a command that the forking process can stand for, from before any test sets a variable.
_EARLY = _read_early(environment())


@cache
def _forking() -> ForkServerContext:
    """What starts the process that forks, and asks it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "hpc.cli.app", "helpers.imported_before"])
    # Python 3.11 does not hand it our search path, and is silent about what it cannot import.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{ROOT}:{_TESTS}")
        forkserver.ensure_running()
    return context


def _run(words: list[str], directory: str, variables: Mapping[str, str], streams: list[str]) -> None:
    """What `python -m hpc` does from here on."""
    code = 1
    try:
        os.chdir(directory)
        os.environ.clear()
        os.environ.update(variables)
        for target, name in enumerate(("/dev/null", *streams)):
            fd = os.open(name, os.O_RDONLY if target == 0 else os.O_WRONLY | os.O_APPEND)
            os.dup2(fd, target)
            os.close(fd)
        sys.argv = ["holdfast", *words]
        sys.path[:] = [directory, *(entry for entry in sys.path if not entry.startswith(_TESTS))]
        code = import_module("hpc.cli.app").main()
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
