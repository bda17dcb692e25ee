"""A directory with configurations and the command run in it against one cluster."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from helpers import warm
from helpers.command_line import WIDTH
from helpers.held import held_trainer, hold, release
from hpc.sandbox.cluster import Sandbox
from hpc.storage.store import Store


@dataclass
class Workplace:
    """A directory with configurations, and the command run in it against one cluster."""

    directory: Path
    cluster: Sandbox
    profiles: dict[str, Any] = field(default_factory=dict)

    def write(self, name: str, content: dict[str, Any]) -> str:
        (self.directory / name).write_text(yaml.safe_dump(content))
        return name

    def foreign(
        self, *, widths: list[int], runs: int = 1, epochs: int = 40, seconds: float = 0.1, held: bool = False
    ) -> str:
        """A configuration for the 25-line trainer.

        held: every cell waits half-way for release(), so that all are in mid-training at once on any machine.
        """
        trainer, options = WIDTH, {"epochs": epochs, "seconds": seconds}
        if held:
            trainer = self.held_trainer("held.py")
            options |= self.hold()
        sweep = {"name": "foreign", "axes": {"width": widths}, "runs_per_condition": runs}
        return self.write("sweep.yaml", {"trainer": f"{trainer}:train", "trainer_options": options, "sweep": sweep})

    def held_trainer(self, name: str) -> Path:
        return held_trainer(self.directory, name)

    def hold(self) -> dict[str, str]:
        return hold(self.directory)

    def release(self) -> None:
        release(self.directory)

    def holdfast(self, *words: str, expect: int | None = 0) -> subprocess.CompletedProcess[str]:
        done = warm.command(words, self.directory, self.environment())
        if expect is not None:
            assert done.returncode == expect, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def start(self, *words: str) -> subprocess.Popen[str]:
        """The command in the background; its output is to be read with communicate()."""
        pipe, command = subprocess.PIPE, [sys.executable, "-m", "hpc", *words]
        return subprocess.Popen(
            command, cwd=self.directory, env=self.environment(), stdout=pipe, stderr=pipe, text=True
        )

    def environment(self) -> dict[str, str]:
        root = str(Path(__file__).parents[2])
        return os.environ | {"HOLDFAST_SANDBOX": str(self.cluster.directory), "PYTHONPATH": root}

    @contextmanager
    def on_cluster(self) -> Iterator[None]:
        """The cluster as this machine's own, for profiles other than sandbox."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SLURM_CONF", str(self.cluster.conf))
            yield

    def submit(self, config: str, *words: str, out: str = "out", profile: str = "sandbox", expect: int = 0) -> str:
        arguments = ("--config", config, "--profile", profile, "--output-dir", out, *words)
        return self.holdfast("submit", *arguments, expect=expect).stderr

    def states(self, out: str = "out") -> dict[str, int]:
        # 4 is the answer of a sweep with failed cells; its states are asked for all the same.
        return json.loads(self.holdfast("status", out, "--json", expect=None).stdout)["states"]

    def store(self, out: str = "out") -> Store:
        return Store(self.directory / out)

    def epochs(self, out: str = "out") -> list[int]:
        sweep = self.store(out).sweep()
        return [status.epoch for status in self.store(out).statuses(sweep.grid, sweep)]

    def results(self, out: str = "out") -> dict[str, dict[str, Any]]:
        store = self.store(out)
        return {cell.name: store.result(cell) or {} for cell in store.sweep().grid}

    def attempts(self, out: str = "out") -> set[int]:
        """How many attempts the cells have had."""
        store = self.store(out)
        return {len(store.attempts(cell)) for cell in store.sweep().grid}

    def wait_until_ended(self, out: str = "out") -> None:
        self.holdfast("status", out, "--watch", expect=None)

    def aggregated(self, out: str = "out") -> bytes:
        self.holdfast("aggregate", out)
        return self.store(out).paths.aggregated_file.read_bytes()


def outcomes(results: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {name: result["outcome_digest"] for name, result in results.items()}
