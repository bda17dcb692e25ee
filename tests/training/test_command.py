"""A command is its whole process group: how it ends, and with what status."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.waiting import wait_until

from training import command
from training.command import end, run_command

# Saves when it is asked to end, slowly.
SAVES = """
import pathlib, signal, sys, time
def save(*_):
    time.sleep(0.5)
    pathlib.Path("saved").touch()
    sys.exit()
signal.signal(signal.SIGTERM, save)
pathlib.Path("started").touch()
time.sleep(60)
"""
# Ignores it, and never ends.
STUBBORN = SAVES.replace("save(*_):", "save(*_):\n    return").replace("sleep(60)", "sleep(10**6)")


def started(directory: Path, code: str, line: str) -> subprocess.Popen[bytes]:
    (directory / "x.py").write_text(code)
    process = run_command(line.format(f"{sys.executable} x.py"), directory, os.environ)
    wait_until((directory / "started").exists, "the script's start")
    return process


@pytest.mark.parametrize("line", ["exec {}", "{} | cat", "set -e; {}; true"])
def test_a_script_has_time_to_save_even_if_its_shell_ends_at_once(tmp_path: Path, line: str) -> None:
    with started(tmp_path, SAVES, line) as process:
        end(process)
        assert (tmp_path / "saved").exists()


def test_a_script_that_does_not_end_is_killed_after_its_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "_GRACE_SECONDS", 0.5)
    with started(tmp_path, STUBBORN, "echo $$ > group; {} | cat") as process:
        begun = time.monotonic()
        end(process)
        assert time.monotonic() - begun > 0.4, "it has had time to save"
    group = int((tmp_path / "group").read_text())
    running = subprocess.run(["ps", "-e", "-o", "pgid=,stat="], capture_output=True, text=True, check=True).stdout
    assert not [line for line in running.splitlines() if line.split()[0] == str(group) and "Z" not in line]


def test_a_pipeline_fails_with_the_script_in_it(tmp_path: Path) -> None:
    with run_command("exit 3 | cat", tmp_path, os.environ) as process:
        assert process.wait() == 3
