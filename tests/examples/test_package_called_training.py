"""A user's package with the name of one of ours is refused at once, with a way out that works."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml
from helpers.command_line import Holdfast

DECLARED = """FACTORS = {"width": {"kind": "integer"}}
METRICS = {"error": {"kind": "positive", "better": "lower"}}
"""
MINE = "def error(width):\n    return 1 / width\n"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package of the user's, called training, beside the configuration."""
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "__init__.py").write_text("")
    (tmp_path / "training" / "models.py").write_text(MINE)
    (tmp_path / "training" / "mine.py").write_text(DECLARED + "def train(cells, options, run): pass\n")
    return tmp_path / "training"


def configure(directory: Path, trainer: object) -> str:
    sweep = {"name": "mine", "axes": {"width": [1, 2]}, "runs_per_condition": 1}
    (directory / "sweep.yaml").write_text(yaml.safe_dump({"trainer": trainer, "sweep": sweep}))
    return "sweep.yaml"


def test_a_trainer_in_a_package_called_training_is_refused_with_a_way_out(
    holdfast: Holdfast, tmp_path: Path, package: Path
) -> None:
    said = holdfast("plan", "--config", configure(tmp_path, "training.mine:train"), expect=2).stderr.strip()
    assert len(said.splitlines()) == 1
    assert str(package / "mine.py") in said
    assert "hidden by Holdfast's own package 'training'" in said
    assert "run it as a shell command" in said


@pytest.mark.parametrize(
    "line",
    ["from training.models import error", "import training.models", "from training import models", "import hpc.mine"],
)
def test_a_trainer_that_imports_a_package_with_the_name_of_ours_is_refused_by_line(
    holdfast: Holdfast, tmp_path: Path, package: Path, line: str
) -> None:
    (tmp_path / "mine.py").write_text(f"{DECLARED}{line}\ndef train(cells, options, run): pass\n")
    said = holdfast("plan", "--config", configure(tmp_path, "mine.py:train"), expect=2).stderr.strip()
    assert len(said.splitlines()) == 1
    assert "mine.py:3 imports " in said
    assert "rename your package" in said


def test_a_trainer_may_import_our_contract(holdfast: Holdfast, tmp_path: Path) -> None:
    text = "from training.contract import Checkpoint\nfrom training import contract\nimport training\n"
    (tmp_path / "mine.py").write_text(DECLARED + text + "def train(cells, options, run): pass\n")
    assert "2 to run" in holdfast("plan", "--config", configure(tmp_path, "mine.py:train")).stdout


def test_a_shell_command_imports_the_users_own_package(holdfast: Holdfast, tmp_path: Path, package: Path) -> None:
    (package / "run.py").write_text(
        "import json, os\n"
        "from training.models import error\n"
        "width = json.load(open(os.environ['HOLDFAST_CELL']))['factors']['width']\n"
        "json.dump({'metrics': {'error': error(width)}}, open(os.environ['HOLDFAST_RESULT'], 'w'))\n"
    )
    trainer = {
        "command": f"cd {tmp_path} && exec {sys.executable} -m training.run",
        "factors": {"width": {"kind": "integer"}},
        "metrics": {"error": {"kind": "positive", "better": "lower"}},
    }
    done = holdfast("run", "--config", configure(tmp_path, trainer))
    assert "2 COMPLETED" in done.stdout
