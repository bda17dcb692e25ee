"""What the pages tell a reader to type works: every `holdfast` command is valid, and the most important ones run."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.blocks import ROOT, blocks, commands
from helpers.command_line import parsed
from helpers.waiting import PATIENCE

from hpc.sandbox import cluster as sandbox

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "examples" / "synergy" / "README.md"]
HOLDFAST_LINES = [(page, line) for page in PAGES for line in commands(page) if line.startswith("holdfast ")]


def environment(tmp_path: Path, cluster: str = "/nonexistent/sandbox") -> dict[str, str]:
    """As in a shell with the virtual environment active: `holdfast` is this checkout's."""
    programs = tmp_path / "bin"
    programs.mkdir(exist_ok=True)
    (programs / "holdfast").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m hpc "$@"\n')
    (programs / "holdfast").chmod(0o755)
    return os.environ | {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "HOLDFAST_SANDBOX": cluster,
        "XDG_STATE_HOME": str(tmp_path / "state"),
    }


@pytest.mark.parametrize(("page", "line"), HOLDFAST_LINES, ids=lambda value: getattr(value, "name", value))
def test_every_holdfast_command_on_a_page_is_valid(page: Path, line: str) -> None:
    assert parsed(line.removeprefix("holdfast ")).command.callback


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_make_target_on_a_page_exists(page: Path) -> None:
    targets = (ROOT / "Makefile").read_text()
    for line in commands(page):
        if line.startswith("make "):
            assert f"\n{line.split()[1]}:" in targets, line


def test_the_trainer_of_the_readme_runs_as_it_stands(tmp_path: Path) -> None:
    (code,) = [text for text in blocks(ROOT / "README.md", "python") if "def train" in text]
    (config,) = [text for text in blocks(ROOT / "README.md", "yaml") if "decay.py" in text]
    (tmp_path / "decay.py").write_text(code)
    (tmp_path / "sweep.yaml").write_text(config)
    command = [sys.executable, "-m", "hpc", "run", "--config", "sweep.yaml", "--pack", "9"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr
    aggregated = json.loads((tmp_path / "out" / "aggregated_results.json").read_text())
    assert [condition["n_runs"] for condition in aggregated.values()] == [3, 3, 3]


def test_the_sandbox_block_of_the_readme_runs_as_it_stands(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, slurm_here: None
) -> None:
    (block,) = [text for text in blocks(ROOT / "README.md", "bash") if "holdfast sandbox up" in text]
    lines = [line for line in block.splitlines() if line.strip() and "slurm-install" not in line]
    assert len(lines) >= 6
    (tmp_path / "examples").mkdir()
    # The demo's sweep, with a trainer that needs neither its data nor its minutes.
    trainer = str(ROOT / "tests" / "trainers" / "width.py")
    sweep = {"name": "demo", "axes": {"width": [1, 2]}, "runs_per_condition": 2}
    config = {"trainer": f"{trainer}:train", "trainer_options": {"epochs": 30, "seconds": 0.1}, "sweep": sweep}
    (tmp_path / "examples" / "demo.yaml").write_text(json.dumps(config))
    cluster = tmp_path_factory.mktemp("c")  # short: sockets have to fit below it
    try:
        done = subprocess.run(
            ["bash", "-ec", "\n".join(lines)],
            cwd=tmp_path,
            env=environment(tmp_path, str(cluster)),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
    finally:
        sandbox.down(cluster)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "4 COMPLETED" in done.stdout
    assert (tmp_path / "out" / "report.html").is_file()
