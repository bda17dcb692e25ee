"""`holdfast init`: files that work as they are, questions on a terminal, nothing overwritten."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from command_line import WIDTH, Holdfast, environment

from hpc.profile import load_profile
from hpc.schema import Configuration


def test_what_it_writes_can_be_planned_and_submitted_as_it_is(holdfast: Holdfast, tmp_path: Path) -> None:
    holdfast("init", "lab", "--trainer", f"{WIDTH}:train", "--runs", "3", "--partition", "gpu", "--gpus", "1")
    planned = holdfast("plan", "--config", "lab/sweep.yaml", "--set", "partition=low", "--profile", "lab/cluster.yaml")
    assert "6 cells: 0 done" in planned.stdout
    profile = load_profile(str(tmp_path / "lab" / "cluster.yaml"))
    assert (profile.parameters["partition"], profile.device) == ("gpu", "cuda")


def test_without_a_trainer_it_is_the_built_in_experiment(holdfast: Holdfast, tmp_path: Path) -> None:
    holdfast("init")
    written = Configuration(**yaml.safe_load((tmp_path / "sweep.yaml").read_text()))
    assert written.sweep.dims == [8, 12, 16, 24, 32]
    assert load_profile(str(tmp_path / "cluster.yaml")).parameters["timeout_min"] == 240
    assert all(line == line.rstrip() for line in (tmp_path / "cluster.yaml").read_text().splitlines())


def test_it_overwrites_nothing(holdfast: Holdfast, tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").write_text("mine")
    said = holdfast("init", expect=2).stderr
    assert "cluster.yaml: is there already" in said
    assert (tmp_path / "cluster.yaml").read_text() == "mine"
    assert not (tmp_path / "sweep.yaml").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--partition", "a b"), "partition is 'a b'"),
        (("--trainer", "nowhere.py:train"), "--trainer: trainer 'nowhere.py' was not found"),
        (("--name", "a b"), "--name is 'a b'; letters, digits, _ . - only"),
        (("--gpus", "-1"), "gpus_per_node"),
        (("--partition", "x\ny: z"), "partition is"),
    ],
)
def test_a_wrong_answer_is_one_line_and_writes_nothing(
    holdfast: Holdfast, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    heard = holdfast("init", *words, expect=2).stderr
    assert said in heard
    assert len(heard.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_on_a_terminal_it_asks_and_an_empty_line_keeps_the_default(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "hpc", "init"]
    asked = subprocess.Popen(command, cwd=tmp_path, env=environment(), stdin=theirs, stdout=subprocess.PIPE, text=True)
    os.write(ours, b"first\n\n\nlow\n30\n\n\n\n")
    told, _ = asked.communicate(timeout=30)
    os.close(ours)
    os.close(theirs)
    assert asked.returncode == 0, told
    assert "name of the sweep [sweep]:" in told
    assert yaml.safe_load((tmp_path / "sweep.yaml").read_text())["sweep"]["name"] == "first"
    parameters = load_profile(str(tmp_path / "cluster.yaml")).parameters
    assert (parameters["partition"], parameters["timeout_min"], parameters["mem_gb"]) == ("low", 30, 4)
