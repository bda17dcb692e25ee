"""`holdfast check resume`: exact trainers get a certificate, others are told what differs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from hpc.sandbox.cluster import Sandbox
from hpc.storage.store import Store

from .attempts import ROOT
from .bench import TRAINERS

FORGETFUL = '''
"""Draws random numbers, but does not save its generator."""
import os, pathlib, random, time
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
            time.sleep(float(pathlib.Path(os.environ["CHAOS_PACE"]).read_text()))
            run.epoch(cell, step, 60, {"level": x})
            if run.checkpoint_due() or run.stop:
                run.save({cell: Checkpoint(step, values={"x": x})})
        if step == 60:
            run.finish(cell, {"level": x})
'''


# Each saves after its last step and needs a variable of the loop to end: if nothing is left to train, there is none.
UNENDING = FORGETFUL.replace(
    "generator = random.Random(cell.seed)",
    "generator = random.Random(cell.seed)\n        saved and generator.setstate(eval(saved.values['rng']))",
)
UNENDING = UNENDING.replace('values={"x": x}', "values={'x': x, 'rng': repr(generator.getstate())}")
UNENDING = UNENDING.replace("time.sleep(", "last = x; time.sleep(")
UNENDING = UNENDING.replace('{"level": x})\n', '{"level": x})\n', 1).replace(
    'run.finish(cell, {"level": x})', 'run.finish(cell, {"level": last})'
)
LOOP = """
import json, os, pathlib, sys, time
place = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".")
state = pathlib.Path(os.environ.get("HOLDFAST_STATE", place / "state"))
done = int(state.read_text()) if state.exists() else 0
for epoch in range(done + 1, 31):
    level = epoch / 2
    time.sleep(float(pathlib.Path(os.environ["CHAOS_PACE"]).read_text()))
    new = state.with_suffix(".new")
    new.write_text(str(epoch))
    new.rename(state)
metrics = {"level": level}
if "HOLDFAST_RESULT" in os.environ:
    metrics, place = {"metrics": metrics}, pathlib.Path(os.environ["HOLDFAST_RESULT"]).parent
(place / ("result.json" if "HOLDFAST_RESULT" in os.environ else "metrics.json")).write_text(json.dumps(metrics))
"""
MEASURES = {"level": {"kind": "real", "better": "higher"}}
# A training takes about a second at first, and so many times as long where that was too short.
LONGER = (1, 2, 4, 8, 16, 32)


def check(
    directory: Path, trainer: Any, *words: str, expect: int, pace: float = 0.02, **environment: str
) -> subprocess.CompletedProcess[str]:
    """The check, decided: where cells end before a busy machine gets to strike them, they train longer.

    pace: seconds per step, at first.
    """
    config = {"trainer": trainer, "trainer_options": {"steps": 60, "epoch": 10} if "tiny" in trainer else {}}
    config["sweep"] = {"name": "s", "axes": {"width": [1, 2]}, "runs_per_condition": 1}
    (directory / "sweep.yaml").write_text(yaml.safe_dump(config))
    words = ("--config", "sweep.yaml", "--cells", "2", "--minutes", "60", *words)
    environment |= {"PYTHONPATH": str(ROOT), "CHAOS_PACE": str(directory / "pace")}
    for times in LONGER:
        (directory / "pace").write_text(str(pace * times))
        done = _check(directory, words, environment)
        if "UNDECIDED" not in done.stdout:
            break
    assert done.returncode == expect, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def _check(directory: Path, words: Sequence[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hpc", "check", "resume", *words],
        cwd=directory,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


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


@pytest.mark.parametrize("ends", [False, True], ids=["only after an epoch", "always"])
@pytest.mark.parametrize("kind", ["function", "command", "script"])
def test_a_trainer_that_cannot_end_from_its_last_checkpoint_is_found_out(tmp_path: Path, kind: str, ends: bool) -> None:
    function, loop = UNENDING, LOOP
    if ends:
        function = function.replace('{"level": last}', '{"level": x}')
        loop = loop.replace('metrics = {"level": level}', 'metrics = {"level": 15.0}')
    (tmp_path / "unending.py").write_text(function)
    (tmp_path / "loop.py").write_text(loop)
    program = f"{sys.executable} {tmp_path}/loop.py"
    factors = {"width": {"kind": "integer"}}
    trainer: Any = {
        "function": "unending.py:train",
        "command": {"command": program, "factors": factors, "metrics": MEASURES},
        "script": {
            "command": f"{program} {{dir}} {{width}} {{seed}}",
            "metrics": "metrics.json",
            "checkpoint": "state",
            "measures": MEASURES,
        },
    }[kind]
    done = check(tmp_path, trainer, expect=0 if ends else 4, pace=0.02 if kind == "function" else 0.05)
    assert ("resumed, it failed: " in done.stdout) is not ends
    [certificate] = Store(tmp_path / "out").certificates()
    assert certificate["exact"] is ends
    assert ("the same results, metrics and histories as undisturbed" in done.stdout) is ends
    assert all(cell["from_the_end"] is ends for cell in certificate["cells"])
    assert any("from its last checkpoint" in line for line in done.stdout.splitlines()) is ends


def test_on_a_cluster_cells_are_requeued_too(tmp_path: Path, cluster: Sandbox) -> None:
    sandbox = str(cluster.directory)
    words = ("--profile", "sandbox")
    done = check(tmp_path, f"{TRAINERS / 'tiny.py'}:train", *words, expect=0, pace=0.15, HOLDFAST_SANDBOX=sandbox)
    assert "requeue" in done.stdout
    [certificate] = Store(tmp_path / "out").certificates()
    assert certificate["faults"]["requeue"] >= 1
    assert json.dumps(certificate)
