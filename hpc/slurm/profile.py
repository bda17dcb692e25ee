"""A cluster profile as Holdfast uses it: the resources of one task. Loads little: `status` needs no more of it."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Profile:
    """Resources of one task, validated.

    parameters: for submitit's SlurmExecutor.update_parameters, without ``slurm_``.
    setup: shell lines before the task. device: cpu or cuda; gpu_type: the type requested, "" if any will do.
    launcher: words in front of ``-m hpc.node.task``, ending with the node's Python.
    signal_delay_s: seconds before the time limit at which a task is asked to save and stop.
    array_parallelism: tasks at once, over all arrays of a submission.
    workers: processes that share a task's cells, one per GPU.
    """

    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    additional: Mapping[str, Any] = field(default_factory=dict)
    setup: tuple[str, ...] = ()
    launcher: tuple[str, ...] = (sys.executable,)
    device: str = "cpu"
    gpu_type: str = ""
    # Enough for a checkpoint on a slow file system, and little beside the shortest time limits in use.
    signal_delay_s: int = 90
    array_parallelism: int | None = None
    workers: int = 1

    @property
    def is_local(self) -> bool:
        return self.name == "local"

    @property
    def cpus(self) -> int:
        """CPUs of one task; Slurm gives one unless asked for more."""
        return int(self.parameters.get("cpus_per_task", 1))

    @property
    def threads(self) -> int:
        """CPU threads of one worker."""
        return max(1, self.cpus // self.workers)


def command_line(words: tuple[str, ...]) -> str:
    """Words as a shell command, quoted."""
    return " ".join(shlex.quote(word) for word in words)
