"""A small sweep, killed and continued by the command as a user runs it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import yaml
from helpers.command_line import environment
from helpers.held import held_trainer, hold, release
from helpers.waiting import PATIENCE, wait_until

__all__ = ["command", "configuration", "finished", "killed_after_a_save", "release", "saved", "start"]


def configuration(directory: Path) -> Path:
    """A sweep of the small trainer, each of whose cells waits half-way until `release(directory)`."""
    options = {"epochs": 12, "seconds": 0.02} | hold(directory)
    sweep = {"name": "small", "axes": {"width": [1, 2, 3]}, "runs_per_condition": 1}
    content = {"trainer": f"{held_trainer(directory)}:train", "trainer_options": options, "sweep": sweep}
    path = directory / "sweep.yaml"
    path.write_text(yaml.safe_dump(content | {"checkpoint": {"every_seconds": 0.1}}))
    return path


def command(config: Path, out: Path) -> list[str]:
    return [sys.executable, "-m", "hpc", "run", "--config", str(config), "--output-dir", str(out)]


def start(config: Path, out: Path) -> subprocess.Popen[str]:
    """The command in the background, in a process group of its own."""
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command(config, out), env=environment(), cwd="/tmp", stdout=pipe, stderr=pipe, text=True, start_new_session=True
    )


def finished(config: Path, out: Path) -> bytes:
    """The aggregate of the sweep, once it has been run to its end."""
    done = subprocess.run(
        command(config, out), env=environment(), cwd="/tmp", capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return (out / "aggregated_results.json").read_bytes()


def saved(out: Path) -> bool:
    """Whether the newest attempt has a checkpoint."""
    return bool(list(max(out.glob("packs/*"), default=out).glob("checkpoint-*")))


def killed_after_a_save(config: Path, out: Path) -> None:
    """Run the sweep and kill the command and its workers once a new attempt has saved."""
    attempts = len(list(out.glob("packs/*")))
    running = start(config, out)
    wait_until(
        lambda: (len(list(out.glob("packs/*"))) > attempts and saved(out)) or running.poll() is not None, "a save"
    )
    assert running.poll() is None, running.communicate()
    os.killpg(running.pid, signal.SIGKILL)
    running.communicate()
