"""The documentation builds without a warning, and the reference agrees with the code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import click
import pytest
import yaml
from helpers import modules
from helpers.waiting import PATIENCE

from hpc.cli import app
from hpc.config.schema.configuration import Configuration
from hpc.slurm.profile_keys import ProfileKeys

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    return modules.load("generate")


def test_every_option_of_every_command_is_in_the_reference(generate: ModuleType) -> None:
    text = generate.command_line()
    context = app.holdfast.make_context("holdfast", ["--"])
    for name in app.holdfast.list_commands(context):
        command = app.holdfast.get_command(context, name)
        assert command is not None
        inner = command.commands.values() if isinstance(command, click.Group) else [command]
        options = [option for found in inner for parameter in found.params for option in parameter.opts]
        assert all(option in text for option in options if option.startswith("-"))
        assert f"\n## holdfast {name}\n" in text
    assert all(len(line) <= 100 for line in text.splitlines())


def test_every_key_of_a_profile_is_in_the_reference(generate: ModuleType) -> None:
    text = generate.profile()
    assert all(f"| `{key}" in text for key in ProfileKeys.model_fields)


def test_every_section_of_a_configuration_is_in_the_reference(generate: ModuleType) -> None:
    text = generate.configuration()
    assert all(f"\n{section}:" in text for section in Configuration.model_fields)


def test_the_files_a_user_looks_for_are_in_the_reference_and_described(generate: ModuleType) -> None:
    text = generate.files()
    wanted = ("sweep.json", "results.json", "history.csv", "report.html", "table.parquet", "log.txt", "progress.json")
    for name in wanted:
        assert f"{name}` |" in text
    assert all(len(line.split(" | ")[1]) > 8 for line in text.splitlines() if line.startswith("| `"))


def test_the_documentation_builds_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="mkdocs is not installed (make setup)")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "site" / "tutorial" / "index.html").read_text()
    assert 'src="http' not in page
    assert 'rel="stylesheet" href="http' not in page


def test_every_page_is_in_the_navigation() -> None:
    text = (ROOT / "mkdocs.yml").read_text()
    written = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert all(f" {name}" in text for name in written if not name.startswith("reference/"))
    assert yaml.safe_load(text)["strict"] is True
