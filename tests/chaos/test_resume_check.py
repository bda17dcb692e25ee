"""`holdfast check resume`: exact trainers get a certificate, others are told what differs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from hpc.sandbox.cluster import Sandbox
from hpc.storage.store import Store

from .attempts import ROOT
from .bench import TRAINERS

FORGETFUL = '''
"""Draws random numbers, but does not save its generator."""
import random, time
from training.contract import Checkpoint

FACTORS = {"width": {"kind": "integer", "minimum": 1}}
METRICS = {"level": {"kind": "real", "better": "higher"}}

def train(cells, options, run):
    for cell in cells:
        saved = run.restore(cell)
        generator = random.Random(cell.seed)
        step, x = (saved.step, saved.values["x"]) if saved else (0, 0.0)
        while step < 60 and not run.stop:
            x, step = x + generator.random(), step + 1
            time.sleep(0.02)
            run.epoch(cell, step, 60, {"level": x})
            if run.checkpoint_due() or run.stop:
                run.save({cell: Checkpoint(step, values={"x": x})})
        if step == 60:
            run.finish(cell, {"level": x})
'''


def check(directory: Path, trainer: str, *words: str, expect: int, **environment: str) -> Any:
    config = {"trainer": trainer, "trainer_options": {}}
    if "tiny" in trainer:
        config["trainer_options"] = {"steps": 60, "epoch": 10, "seconds": 0.02}
    config["sweep"] = {"name": "s", "axes": {"width": [1, 2]}, "runs_per_condition": 1}
    (directory / "sweep.yaml").write_text(yaml.safe_dump(config))
    done = subprocess.run(
        [sys.executable, "-m", "hpc", "check", "resume", "--config", "sweep.yaml", "--cells", "2", *words],
        cwd=directory,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == expect, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def test_an_exact_trainer_gets_a_certificate(tmp_path: Path) -> None:
    done = check(tmp_path, f"{TRAINERS / 'tiny.py'}:train", expect=0)
    assert "EXACT: 2 cells, interrupted" in done.stdout
    store = Store(tmp_path / "out")
    [certificate] = store.certificates()
    assert certificate["exact"] is True
    assert certificate["device"] == "cpu"
    assert [cell["cell"] for cell in certificate["cells"]] == ["width_1_run_0", "width_2_run_0"]
    assert all(sum(cell["faults"].values()) >= 1 for cell in certificate["cells"])
    assert store.paths.certificate_file(certificate["code_digest"], "cpu").exists()
    assert os.listdir(store.paths.certificates_directory) == [
        store.paths.certificate_file(certificate["code_digest"], "cpu").name
    ]


def test_a_trainer_that_forgets_its_generator_is_found_out(tmp_path: Path) -> None:
    (tmp_path / "forgetful.py").write_text(FORGETFUL)
    done = check(tmp_path, "forgetful.py:train", expect=4)
    assert "NOT EXACT" in done.stdout
    assert "metric level:" in done.stdout
    assert "history from epoch" in done.stdout
    [certificate] = Store(tmp_path / "out").certificates()
    assert certificate["exact"] is False


def test_a_cell_that_fails_is_named_with_its_cause(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(FORGETFUL.replace("step, x =", "raise ValueError('broken')\n        step, x ="))
    done = check(tmp_path, "broken.py:train", expect=2)
    assert "_run_0: failed in the check: ValueError: broken" in done.stderr
    assert Store(tmp_path / "out").certificates() == []


def test_on_a_cluster_cells_are_requeued_too(tmp_path: Path, cluster: Sandbox) -> None:
    words = ("--profile", "sandbox")
    text = (TRAINERS / "tiny.py").read_text().replace('options.get("seconds", 0.0)', "0.15")
    (tmp_path / "tiny_slow.py").write_text(text)
    done = check(tmp_path, "tiny_slow.py:train", *words, expect=0, HOLDFAST_SANDBOX=str(cluster.directory))
    assert "requeue" in done.stdout
    [certificate] = Store(tmp_path / "out").certificates()
    assert certificate["faults"]["requeue"] >= 1
    assert json.dumps(certificate)
