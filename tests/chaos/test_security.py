"""Nothing that is read can run code, nobody else can write, and no secret is written down."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from helpers.arguments import command_lines

from hpc.sandbox.cluster import Sandbox
from hpc.storage.permissions import check_writable

from .attempts import ROOT
from .bench import TRAINERS, Bench

CANARY = "canary-6e1f0c5d2b"
MODULES = [path for folder in ("hpc", "training", "aggregate") for path in sorted((ROOT / folder).rglob("*.py"))]
UNSAFE_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib"}
# It is the trainer, whose code the user named, under another module's name.
STAND_IN = ROOT / "hpc" / "trainers" / "stand_in" / "holdfast_trainer.py"
UNSAFE_CALLS = {"yaml.load", "yaml.unsafe_load", "yaml.full_load", "torch.save", "np.save", "numpy.save"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_reads_or_writes_what_can_run_code(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            assert not {alias.name.partition(".")[0] for alias in node.names} & UNSAFE_MODULES
        elif isinstance(node, ast.ImportFrom):
            assert (node.module or "").partition(".")[0] not in UNSAFE_MODULES
        elif isinstance(node, ast.Call):
            _check_call(ast.unparse(node.func), node, path)


def _check_call(name: str, call: ast.Call, path: Path) -> None:
    keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    assert name not in UNSAFE_CALLS - {"np.save", "numpy.save"}, name
    assert keywords.get("allow_pickle", "False") == "False", f"{name} reads pickles"
    if name == "torch.load":
        assert keywords.get("weights_only") == "True", "torch.load without weights_only=True reads pickles"
    assert name not in ("eval", "exec") or path == STAND_IN, name


@pytest.mark.parametrize("mode", [0o777, 0o757])
def test_a_sweep_directory_that_anybody_may_write_to_is_refused(tmp_path: Path, mode: int) -> None:
    out = tmp_path / "out"
    out.mkdir()
    out.chmod(mode)
    config = {"trainer": f"{TRAINERS / 'tiny.py'}:train", "trainer_options": {"steps": 4, "epoch": 2}}
    config |= {"sweep": {"name": "s", "axes": {"width": [1]}, "runs_per_condition": 1}}
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(config))
    done = subprocess.run(
        [sys.executable, "-m", "hpc", "run", "--config", "sweep.yaml", "--output-dir", "out"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert f"chmod o-w {out}" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert list(out.iterdir()) == []


@pytest.mark.parametrize("mode", [0o1777, 0o775, 0o700])
def test_a_sticky_or_shared_directory_will_do(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    check_writable(tmp_path)


def test_a_task_refuses_a_sweep_directory_that_anybody_may_write_to(memory: Path) -> None:
    bench = Bench.make(memory / "out")
    bench.store.paths.root.chmod(0o777)
    command = [sys.executable, "-P", "-m", "hpc.node.task", *bench.arguments(0)]
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "chmod o-w" in done.stderr


def test_a_secret_in_the_environment_is_in_no_file_script_log_or_argument(tmp_path: Path, cluster: Sandbox) -> None:
    config = {"trainer": f"{TRAINERS / 'tiny.py'}:train", "checkpoint": {"every_seconds": 0.1}}
    config |= {"trainer_options": {"steps": 30, "epoch": 10, "seconds": 0.1}}
    config |= {"sweep": {"name": "s", "axes": {"width": [1]}, "runs_per_condition": 2}}
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(config))
    environment = os.environ | {"PYTHONPATH": str(ROOT), "HOLDFAST_SANDBOX": str(cluster.directory)}
    environment |= {"WANDB_API_KEY": CANARY, "HF_TOKEN": CANARY}
    command = [sys.executable, "-m", "hpc", "submit", "--config", "sweep.yaml", "--profile", "sandbox"]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    assert not [line for line in command_lines() if CANARY.encode() in line]
    subprocess.run([*command[:3], "status", "out", "--watch"], cwd=tmp_path, env=environment, capture_output=True)
    subprocess.run([*command[:3], "aggregate", "out"], cwd=tmp_path, env=environment, check=True, capture_output=True)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 20
    assert not [path for path in files if CANARY.encode() in path.read_bytes()]
