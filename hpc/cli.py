"""The command line: parse, call one function, print faults, return an exit code."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
from collections.abc import Callable, Sequence

from hpc import commands
from hpc.errors import BusyError, ConfigError, SweepError, of_system
from hpc.options import parser
from hpc.slurm.commands import SlurmError

__all__ = ["main", "parser"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns its exit code; see the epilog of --help."""
    os.umask(os.umask(0o022) | 0o022)  # nothing we or a library writes is writable by others
    arguments = parser().parse_args(argv)
    logging.basicConfig(level=logging.DEBUG if arguments.verbose else logging.WARNING)
    try:
        return _action(arguments.call)(arguments)
    except KeyboardInterrupt:
        return commands.INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return commands.DONE
    except Exception as error:
        if arguments.verbose:
            logging.exception("the command failed")
        told = _told(error)
        if told is None:
            raise
        text, code = told
        print(text, file=sys.stderr)
        return code


def _action(name: str) -> Callable[[argparse.Namespace], int]:
    """A command's function. Imported when it is called: `status` need not load what `submit` needs."""
    module, _, function = name.partition(".")
    found: Callable[[argparse.Namespace], int] = getattr(importlib.import_module(f"hpc.commands.{module}"), function)
    return found


def _told(error: Exception) -> tuple[str, int] | None:
    """What a user is told of an error, and the exit code; None for what is a fault of ours."""
    if isinstance(error, ConfigError):
        return str(error), commands.CONFIGURATION
    # Two by their names: the modules that raise them are not loaded for every command.
    if isinstance(error, BusyError | SlurmError) or type(error).__name__ in ("SandboxError", "DataError"):
        return str(error), commands.TROUBLE
    if isinstance(error, SweepError):
        return str(error), commands.CONFIGURATION
    if isinstance(error, OSError):
        return of_system(error), commands.TROUBLE
    return None


if __name__ == "__main__":
    sys.exit(main())
