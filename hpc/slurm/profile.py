"""A cluster profile as Holdfast uses it: the resources of one task. Loads little: `status` needs no more of it."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

_MAIL = ("mail-user", "mail-type")


@dataclass(frozen=True)
class Profile:
    """Resources of one task, validated.

    parameters: for submitit's SlurmExecutor.update_parameters, without ``slurm_``.
    setup: shell lines before the task. device: cpu or cuda; gpu_type: the type requested, "" if any will do.
    launcher: words in front of ``-m hpc.node.task``, ending with the node's Python.
    signal_delay_s: seconds before the time limit at which a task is asked to save and stop.
    array_parallelism: tasks at once, over all arrays of a submission.
    workers: processes that share a task's cells, one per GPU.
    settled: keys that the command line has set, for every task of this call.
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
    settled: frozenset[str] = frozenset()

    @property
    def mail(self) -> dict[str, Any]:
        """sbatch's options by which Slurm mails to people."""
        return {name: value for name, value in self.additional.items() if name in _MAIL}

    @property
    def memory_per(self) -> str:
        """sbatch's option that asks for memory per CPU or GPU, beside which it takes no mem_gb; empty if none does."""
        return next((name for name in self.additional if name.startswith("mem-per-")), "")

    def without_mail(self) -> Profile:
        return replace(self, additional={k: v for k, v in self.additional.items() if k not in _MAIL})

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

    def beside(self, asked: Iterable[tuple[str, Any]]) -> tuple[tuple[str, Any], ...]:
        """What of this a task does not ask for anyway. The command line wins over it."""
        return tuple(
            (key, value) for key, value in asked if key not in self.settled and self.parameters.get(key) != value
        )

    def with_resources(self, asked: Iterable[tuple[str, Any]]) -> Profile:
        """The same where tasks ask for this, by keys of a profile, in the place of what it says."""
        given = dict(asked)
        return replace(self, parameters={**self.parameters, **given}) if given else self

    def asks(self, keys: Iterable[str]) -> tuple[tuple[str, Any], ...]:
        """What a task asks for of these keys, where the profile says it."""
        return tuple((key, self.parameters[key]) for key in keys if key in self.parameters)


def command_line(words: tuple[str, ...]) -> str:
    """Words as a shell command, quoted."""
    return " ".join(shlex.quote(word) for word in words)
