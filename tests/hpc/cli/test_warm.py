"""The command that most tests call stands for the one that a user starts: it says the same and ends the same way."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import yaml
from helpers import warm
from helpers.command_line import ROOT, WIDTH, environment


def _started(words: list[str], directory: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hpc", *words]
    return subprocess.run(command, cwd=directory, env=environment(), capture_output=True, text=True)


_HOW = {"forked_": warm.command, "started": _started}


@pytest.mark.command
def test_a_forked_command_says_and_does_what_one_that_is_started_says_and_does(tmp_path: Path) -> None:
    lines = (
        "plan --config c.yaml",
        "run --config c.yaml",
        "status out --json",
        "plan out",
        "show out nothing_like_it",
        "aggregate out --formats png",
        "aggregate nowhere",
        "runn",
        "--version",
    )
    trainer = {"trainer": f"{WIDTH}:train", "trainer_options": {"epochs": 2}}
    for name in _HOW:
        (tmp_path / name / "here").mkdir(parents=True)  # names of one length: tables fit what is in them
        config = trainer | {"sweep": {"axes": {"width": [1, 2]}, "runs_per_condition": 2}}
        (tmp_path / name / "here" / "c.yaml").write_text(yaml.safe_dump(config))
    said = {name: [_said(name, line.split(), tmp_path / name / "here") for line in lines] for name in _HOW}
    for line, forked, started in zip(lines, said["forked_"], said["started"], strict=True):
        assert forked == started, line
    assert {code for code, *_ in said["forked_"]} == {0, 2}


def test_what_commands_are_forked_from_has_done_their_imports() -> None:
    with warm._forking().Pool(1) as pool:
        assert pool.apply(eval, ("'helpers.imported_before' in __import__('sys').modules",))


def _said(name: str, words: list[str], directory: Path) -> tuple[int, str, str]:
    """Exit code, output, and the last line of errors: those before it tell of progress, as often as there is time."""
    done = _HOW[name](words, directory)
    errors = done.stderr.strip().rpartition("\n")[2]
    return done.returncode, *(text.replace(str(directory), "") for text in (done.stdout, errors))


@pytest.mark.command
def test_a_variable_that_a_test_sets_is_gone_with_it(tmp_path: Path) -> None:
    """Loading a trainer sets some. With one left, no later command of that process would be forked."""
    text = """
        import os
        from helpers import warm
        def test_one(): os.environ["LEFT"] = "1"
        def test_another(tmp_path, monkeypatch):
            assert "LEFT" not in os.environ
            monkeypatch.setattr(warm.subprocess, "run", None)  # would start it
            assert warm.command(["--version"], tmp_path).returncode == 0
    """
    (tmp_path / "test_both.py").write_text(textwrap.dedent(text))
    command = [sys.executable, "-m", "pytest", "-p", "conftest", "-p", "no:cacheprovider", "test_both.py"]
    command += ["--basetemp", str(tmp_path / "temporary")]  # beside those of others, it would remove the oldest of them
    surroundings = environment() | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "PYTEST_ADDOPTS": ""}
    done = subprocess.run(command, cwd=tmp_path, env=surroundings, capture_output=True, text=True)
    assert "2 passed" in done.stdout, done.stdout


def test_a_quick_run_leaves_out_every_test_that_calls_the_command() -> None:
    words = [sys.executable, "-m", "pytest", "--collect-only", "-m", "not command and not slurm"]
    files = ["tests/hpc/cli/test_designs.py", "tests/docs/test_commands.py"]
    done = subprocess.run([*words, *files], cwd=ROOT, env=environment(), capture_output=True, text=True)
    left = [line for line in done.stdout.splitlines() if "::" in line]
    for path in files:
        source = (ROOT / path).read_text()
        for name in re.findall(r"^def (test_\w+)\((?:[^)]*\bholdfast\b|[^)]*\bslurm_here\b)", source, re.MULTILINE):
            assert not [line for line in left if name in line], name
    assert left
