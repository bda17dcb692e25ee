"""A directory with configurations and the command run in it against one cluster."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from hpc.sandbox.cluster import Sandbox
from hpc.storage.store import Store

WIDTH = Path(__file__).parents[1] / "trainers" / "width.py"
TIMEOUT_SECONDS = 240
_SAVE = """\
            if run.checkpoint_due():
                run.save({cell: Checkpoint(epoch, values={"total": total, "generator": generator.getstate()})})
"""
_HOLD = """\
            while epoch == options["epochs"] // 2 and os.path.exists(options["hold"]) and not run.stop:
                time.sleep(0.05)
                if run.checkpoint_due():
                    run.save({cell: Checkpoint(epoch, values={"total": total, "generator": generator.getstate()})})
"""


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
        """The 25-line trainer, which waits half-way as long as the file of its option ``hold`` is there."""
        text = WIDTH.read_text()
        assert text.count(_SAVE) == 1
        path = self.directory / name
        path.write_text(text.replace(_SAVE, _SAVE + _HOLD).replace("import random\n", "import os\nimport random\n"))
        return path

    def hold(self) -> dict[str, str]:
        """Make trainers wait half-way, from now on; the options that tell them so."""
        (self.directory / "hold").touch()
        return {"hold": str(self.directory / "hold")}

    def release(self) -> None:
        """Let what waits half-way go on."""
        (self.directory / "hold").unlink()

    def holdfast(self, *words: str, expect: int | None = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "hpc", *words],
            cwd=self.directory,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
        )
        if expect is not None:
            assert done.returncode == expect, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

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
        return [status.epoch for status in self.store(out).statuses(sweep.grid, sweep.config_digest)]

    def results(self, out: str = "out") -> dict[str, dict[str, Any]]:
        store = self.store(out)
        return {cell.name: store.result(cell) or {} for cell in store.sweep().grid}

    def wait_until_ended(self, out: str = "out") -> None:
        self.holdfast("status", out, "--watch", expect=None)

    def aggregated(self, out: str = "out") -> bytes:
        self.holdfast("aggregate", out)
        return self.store(out).paths.aggregated_file.read_bytes()


def wait_until(condition: Callable[[], bool], what: str, timeout: float = 150) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout} s for: {what}"
        time.sleep(0.1)


def outcomes(results: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {name: result["outcome_digest"] for name, result in results.items()}
