"""How a command ends that raised something: what is reported, and its exit status."""

from __future__ import annotations

from hpc.cli.surroundings import gone
from hpc.errors import BusyError, ConfigError, SweepError, of_system
from hpc.protocol import CommandExit

_BUG = 1  # what Python itself exits with


def told(error: BaseException) -> tuple[str, int] | None:
    """What is reported of an error, and the exit code; None for a bug of Holdfast, whose traceback is shown."""
    from hpc.slurm.commands import SlurmError  # not loaded by every command

    if isinstance(error, ConfigError):
        return str(error), CommandExit.CONFIGURATION
    # One by its name: the data of the built-in experiment is not loaded for every command.
    if isinstance(error, BusyError | SlurmError) or type(error).__name__ == "DataError":
        return str(error), CommandExit.TROUBLE
    if isinstance(error, SweepError):
        return str(error), CommandExit.CONFIGURATION
    if isinstance(error, OSError):
        return gone() or of_system(error), CommandExit.TROUBLE
    return None


def ending(error: BaseException) -> tuple[str, int]:
    """The same for whatever can end a command: a signal, a reader of its output that went away, and a bug."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", CommandExit.INTERRUPTED
    if isinstance(error, BrokenPipeError):
        return "", CommandExit.DONE
    return told(error) or (f"{type(error).__name__}: {error}", _BUG)
