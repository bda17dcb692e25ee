"""The wheel holds all that runs outside a checkout: templates, profiles, types, kernel sources, and no tests."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest
from helpers.here import lacking
from helpers.waiting import PATIENCE

import holdfast

ROOT = Path(__file__).parents[2]
FOLDERS = ("hpc", "training", "aggregate", "slurm_templates", "holdfast-stubs")
COMMAND = "holdfast.py"
BUILD = ("pyproject.toml", "setup.py", "constraints.txt", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("build", reason="the package `build` is not installed (make setup)")
    directory = tmp_path_factory.mktemp("wheel")
    copy = directory / "source"  # building leaves files beside the sources
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        lacking("not a git checkout")
    for name in listed.stdout.splitlines():
        if name.partition("/")[0] in (*FOLDERS, COMMAND, *BUILD) and (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((ROOT / name).read_bytes())
    # Without isolation nothing is fetched: setuptools is here wherever pip is.
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(directory), str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    if "Missing dependencies" in done.stdout + done.stderr:
        lacking("setuptools is too old to build without fetching another")
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = directory.glob("holdfast-*.whl")
    return found


def test_the_wheel_has_every_file_that_is_needed_on_a_node(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"{folder}/py.typed" for folder in ("hpc", "training", "aggregate")} <= names
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*"):
            suffixes = (".py", ".pyi", ".sh", ".sbatch", ".yaml", ".c", ".h", ".html", ".css", ".js")
            if path.suffix in suffixes and _is_committed(path):
                assert path.relative_to(ROOT).as_posix() in names


def test_the_wheel_has_nothing_else(wheel: Path) -> None:
    tops = {name.partition("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {*FOLDERS, COMMAND}


def test_the_wheel_names_the_packages_that_it_was_tested_with(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (name,) = (name for name in archive.namelist() if ".dist-info/sboms/" in name)
    materials = json.loads(archive.read(name))
    named = {component["name"]: component["version"] for component in materials["components"]}
    pinned = dict(re.findall(r"^([\w.-]+)==([\w.]+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    assert named.items() <= {key.lower().replace("_", "-"): version for key, version in pinned.items()}.items()
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert {re.split("[>=]", requirement)[0] for requirement in needed} <= set(named)
    assert not {"pytest", "mypy", "ruff"} & set(named)


def test_the_installed_wheel_plans_a_sweep_outside_the_checkout(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    program = "import sys; sys.path.insert(0, 'site'); from holdfast import main; sys.exit(main())"
    keys = [sys.executable, "-P", "-c", program, "init", "--all-keys"]
    told = subprocess.run(keys, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE)
    assert told.stdout == (ROOT / "config_template.yaml").read_text(), told.stderr
    for words in (("init", "lab", "--trainer", "mine.py:train"), ("plan", "--config", "lab/sweep.yaml")):
        (tmp_path / "mine.py").write_text(
            "FACTORS = {'width': {'kind': 'integer'}}\nMETRICS = {'e': {'kind': 'real', 'better': 'lower'}}\n"
            "def train(cells, options, run): pass\n"
        )
        command = [sys.executable, "-P", "-c", program, *words]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == 0, done.stderr
    assert "10 cells: 0 done" in done.stdout
    find = "from hpc.slurm.profile_file import PROFILES; print(*sorted(PROFILES.iterdir()))"
    where = f"import sys; sys.path.insert(0, 'site'); {find}"
    told = subprocess.run(
        [sys.executable, "-P", "-c", where], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE
    )
    assert str(tmp_path / "site" / "slurm_templates" / "profiles" / "sandbox.yaml") in told.stdout


SCRIPT = """
from holdfast import load, status, submit, wait

sweep = submit(config="sweep.yaml", profile="lab", axes={"width": [8, 16]}, escalate={"mem_gb": 64}, pack="auto")
reveal_type(sweep)
reveal_type(sweep.jobs)
reveal_type(wait(sweep, timeout=600).done)
reveal_type(status("out").states)
reveal_type(load("out").conditions)
submit(profil="lab")
wait(sweep, timeout="600")
"""


@pytest.mark.slow
def test_a_type_checker_knows_the_functions_for_notebooks_in_an_environment_that_has_the_wheel(
    wheel: Path, tmp_path: Path
) -> None:
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True, timeout=PATIENCE
    )
    (site,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    zipfile.ZipFile(wheel).extractall(site)
    (site / "others.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    (tmp_path / "mine.py").write_text(SCRIPT)
    command = [sys.executable, "-m", "mypy", "--strict", "--no-incremental", "--python-executable"]
    done = subprocess.run(
        [*command, str(tmp_path / "venv" / "bin" / "python"), "mine.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    types = re.findall(r'Revealed type is "(.*)"', done.stdout)
    assert types[:4] == ["hpc.api.results.Submission", "tuple[str, ...]", "bool", "dict[str, int]"], done.stdout
    assert re.fullmatch(r"pandas\b.*\bDataFrame", types[4]), "with pandas' own types, wherever it keeps them"
    errors = [line.partition(": error: ")[2] for line in done.stdout.splitlines() if ": error: " in line]
    assert [error.partition(";")[0] for error in errors] == [
        'Unexpected keyword argument "profil" for "submit"',
        'Argument "timeout" to "wait" has incompatible type "str"',
    ]


def test_what_type_checkers_are_told_of_is_what_there_is() -> None:
    told = ast.parse((ROOT / "holdfast-stubs" / "__init__.pyi").read_text()).body
    names = {alias.asname for node in told if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert names == set(holdfast.__all__)


def _is_committed(path: Path) -> bool:
    command = ["git", "ls-files", "--error-unmatch", str(path)]
    return subprocess.run(command, cwd=ROOT, capture_output=True).returncode == 0
