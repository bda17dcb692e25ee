"""What Holdfast's processes tell each other: exit statuses, and variables of the environment.

task.sh and array.sbatch in slurm_templates use the same numbers and names.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum


class CommandExit(IntEnum):
    """How a command of the command line ended; documented in its --help."""

    DONE = 0
    CONFIGURATION = 2
    TROUBLE = 3
    INCOMPLETE = 4
    INTERRUPTED = 130


class TaskExit(IntEnum):
    """How a task ended: to task.sh, and to the process that started it."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    STORAGE = 3
    # The code or the configuration is not what the task was queued for. No node is to blame: submit again.
    OUTDATED = 4
    # The GPU cannot be used, or not any more: what was saved is kept, and another process, elsewhere, goes on.
    DEVICE = 5
    # The trainer says that this machine lacks what it needs: what was saved is kept, and a task elsewhere goes on.
    UNFIT = 6
    # Stopped early with all state saved: run it again. task.sh asks Slurm for the requeue. No shell, signal or Python
    # error ends with this number.
    STOPPED = 85


# cpu or cuda: what a task trains on.
DEVICE = "HOLDFAST_DEVICE"
# CPU threads of a task where Slurm does not say (SLURM_CPUS_PER_TASK).
THREADS = "HOLDFAST_THREADS"
# Digest of the code that a task runs, for its results.
CODE_DIGEST = "HOLDFAST_CODE_DIGEST"
# Digest of the configuration that a task was queued for, from its script: where a group shares a sweep directory, its
# members can change what sweep.json and the task lists say.
CONFIG_DIGEST = "HOLDFAST_CONFIG_DIGEST"
# In a directory that a group shares: digest of all that a task reads of the sweep that it was queued for, which is then
# what it trains. More of it may change than the configuration's digest covers, such as where data lies.
SWEEP_DIGEST = "HOLDFAST_SWEEP_DIGEST"
# Unique name of the array that a task was queued in, from its script: submission 1 of a directory that was removed and
# made anew is another one.
ARRAY = "HOLDFAST_ARRAY"
# Process id of whoever started this one: without it nobody waits for the result.
PARENT = "HOLDFAST_PARENT"
# Process id and start of the task that a trainer's own processes belong to.
TASK = "HOLDFAST_TASK"
# The signal that reached a task's script before Python ran.
STOP = "HOLDFAST_STOP"
# How many GPUs a task deals out, one to each worker.
WORKERS = "HOLDFAST_WORKERS"
# In a worker: positions of the task's cells that are its own, with commas.
CELLS = "HOLDFAST_CELLS"
# In a worker: how many processes share its GPU.
SIDE_BY_SIDE = "HOLDFAST_SIDE_BY_SIDE"
# From which level on a task's log has what its trainer logs; Python's own default where it is not set.
LOG_LEVEL = "HOLDFAST_LOG_LEVEL"
# In what a trainer starts: file of the trainer's code where another module has its name; see hpc.trainers.loading.
TRAINER_FILE = "HOLDFAST_TRAINER_FILE"
# What one task was told, and no command or task that is started within it.
OF_ONE_TASK = (STOP, WORKERS, CELLS, SIDE_BY_SIDE, TRAINER_FILE)
# Where the sandbox cluster is kept.
SANDBOX = "HOLDFAST_SANDBOX"
# What a command of --notify is told: its variables begin with this (hpc.cli.notify).
NOTICE = "HOLDFAST_NOTICE"
# What all limits of the size of a sweep directory's files are multiplied by; see hpc.files.limits.
LIMITS = "HOLDFAST_LIMITS"
# What matplotlib can draw with where nobody looks; a notebook names a backend of its own, that only its Python has.
_BACKENDS = ("agg", "cairo", "pdf", "pgf", "ps", "svg", "template")


def for_tasks(variables: Mapping[str, str]) -> dict[str, str]:
    """An environment without what is about the shell or the notebook that it comes from, and would fail a task."""
    # A task would wait for somebody to type, and end with another status.
    kept = {name: value for name, value in variables.items() if name != "PYTHONINSPECT"}
    if kept.get("MPLBACKEND", "agg").lower() not in _BACKENDS:
        kept["MPLBACKEND"] = "agg"
    return kept
