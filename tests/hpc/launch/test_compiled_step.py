"""A step that a machine cannot take: refused where it would train, noted where nodes will, found by a check."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from helpers.command_line import Holdfast
from helpers.here import lacking
from helpers.small_sweeps import make_sweep

from hpc.checkout import BUILT_IN_TRAINER
from hpc.preflight import judge_node
from hpc.preflight.finding import OK, PROBLEM
from hpc.sweep.definition import DeclaredTrainer
from training.steps import build
from training.steps.build import NoKernelError

LACKING = "trainer_options.precision is 'bf16', but "


@pytest.fixture
def config(data_dir: Path, tmp_path: Path) -> str:
    content = {
        "data": {"dir": str(data_dir)},
        "model": {"hidden_dim": 16, "decoder_hidden_dim": 16, "n_layers": 1},
        "sweep": {"dims": [8], "scales": [1.0], "runs_per_condition": 1},
        "training": {"epochs": 1},
        "trainer_options": {"precision": "bf16"},
    }
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(content))
    return "sweep.yaml"


@pytest.fixture
def without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiler for which no processor has AVX512-BF16."""
    try:
        compiler = build.find_compiler()
    except NoKernelError as error:
        lacking(str(error))
    script = tmp_path / "cc-old"
    script.write_text(f'#!/bin/bash\nexec {compiler} "${{@/-march=native/-march=x86-64}}"\n')
    script.chmod(0o700)
    monkeypatch.setenv("CC", str(script))


@pytest.mark.usefixtures("without")
def test_what_this_machine_cannot_train_is_refused_in_one_line_and_nothing_is_written(
    holdfast: Holdfast, config: str, tmp_path: Path
) -> None:
    for command in (["run"], ["submit", "--profile", "local"], ["submit", "--profile", "local", "--dry-run"]):
        done = holdfast(*command, "--config", config, "--output-dir", "out", expect=2)
        (line,) = done.stderr.splitlines()
        assert line.startswith(LACKING)
        assert line.endswith("; use fp32.")
        assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("without")
def test_plan_says_so_of_this_machine_and_does_not_speak_for_the_nodes(holdfast: Holdfast, config: str) -> None:
    told = holdfast("plan", "--config", config).stderr
    assert f"note: {LACKING}" in told
    assert "constraint in the profile" in told
    assert LACKING not in holdfast("plan", "--config", config, "trainer_options.precision=fp32").stderr


@pytest.mark.parametrize("options", ["precision=bf16", "kernel=native"])
def test_the_compiled_step_is_not_for_gpus(holdfast: Holdfast, config: str, tmp_path: Path, options: str) -> None:
    (tmp_path / "gpu.yaml").write_text("gpus_per_node: 1\n")
    chosen = ["trainer_options.precision=fp32", f"trainer_options.{options}"]
    for command in (["run", "--device", "cuda"], ["plan", "--profile", "gpu.yaml"]):
        said = holdfast(*command, "--config", config, *chosen, expect=2).stderr
        assert "but the device is cuda; use" in said.splitlines()[-1]


@pytest.mark.usefixtures("without")
def test_a_check_with_the_configuration_finds_it(holdfast: Holdfast, config: str, tmp_path: Path) -> None:
    written = yaml.safe_load((tmp_path / config).read_text())
    for options, level in (({"precision": "bf16"}, [PROBLEM]), ({}, []), ({"kernel": "native"}, [OK])):
        (tmp_path / config).write_text(yaml.safe_dump(written | {"trainer_options": options}))
        words = ["check", "cluster", "--profile", "local", "--config", config, "--directory", str(tmp_path), "--json"]
        found = json.loads(holdfast(*words, expect=3 if PROBLEM in level else 0).stdout)["findings"]
        assert [one["level"] for one in found if one["subject"] == "compiled step"] == level


def test_what_a_node_lacks_is_a_problem_only_of_sweeps_of_the_built_in_trainer_that_require_it() -> None:
    lacking_bf16 = {"fp32": "", "bf16": "this machine's processor has no AVX512-BF16"}
    built_in = DeclaredTrainer(BUILT_IN_TRAINER, "", {}, {}, "fused")

    def level(trainer: DeclaredTrainer, **options: str) -> list[str]:
        sweep = replace(make_sweep(), trainer=trainer, options=options)
        return [finding.level for finding in judge_node.step(lacking_bf16, sweep)]

    assert level(built_in) == level(built_in, precision="fp32", kernel="torch") == []
    assert level(built_in, precision="bf16") == [PROBLEM]
    assert level(built_in, kernel="native") == [OK]
    assert level(make_sweep().trainer, precision="bf16") == []
