"""Notations and keys that people bring from other tools: each is answered with what is written here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from hpc.config.load import CommandLine, load
from hpc.errors import ConfigError
from hpc.faults import several

SCRIPT = {
    "command": "python train.py --lr {lr} model.depth=3 --seed {seed}",
    "metrics": "metrics.json",
    "measures": ["loss"],
}


def refused(directory: Path, configuration: dict[str, Any], *overrides: str, **line: Any) -> str:
    """The one line that a script's configuration is refused with."""
    (directory / "train.py").touch()
    (directory / "sweep.yaml").write_text(yaml.safe_dump(configuration))
    with pytest.raises(ConfigError) as caught:
        load(CommandLine(config=directory / "sweep.yaml", overrides=overrides, **line))
    (fault,) = caught.value.faults
    return fault


def script(**changes: Any) -> dict[str, Any]:
    return {"trainer": SCRIPT, "sweep": {"axes": {"lr": [0.1]}}} | changes


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("range(3)", "[0, 1, 2]"),
        ("range(1,3)", "[1, 2]"),
        ("np.arange(0, 100, 10)", "[0, 10, ..., 90]"),
        ("range(5, 0, -2)", "[5, 3, 1]"),
        ("1-5", "[1, 2, ..., 5]"),
        ("1..3", "[1, 2, 3]"),
        ("1 to 3", "[1, 2, 3]"),
        ("1:5", "[1, 2, ..., 5], or without the 5"),
        ("1,2, 3", "[1, 2, 3]"),
        ("(sgd, adam)", "[sgd, adam]"),
        ("range(0, 999999999999999999)", "[0, 1, ..., 999999999999999998]"),
        ("1 2  4", "[1, 2, 4]"),
        ("0.1; 1e-3", "[0.1, 1e-3]"),
        ("-1 -2", "[-1, -2], or - and a space before each"),
        ("2024 is", ""),
        ("5-1", ""),
        ("adam", ""),
        ("1" * 5000 + "-" + "2" * 5000, ""),
        (3, ""),
    ],
)
def test_a_text_that_stands_for_several_values_is_written_out(written: object, meant: str) -> None:
    assert several(written) == meant


@pytest.mark.parametrize(
    ("sweep", "says"),
    [
        ({"seeds": 5}, "sweep.seeds is 5; write runs_per_condition: 5 for so many seeds, or [5] for the only one"),
        ({"seeds": "range(1,3)"}, "sweep.seeds is 'range(1,3)'; must be a list, such as [1, 2]"),
        ({"seeds": "1..5"}, "sweep.seeds is '1..5'; must be a list, such as [1, 2, ..., 5]"),
        ({"seeds": ["1-5"]}, "sweep.seeds[0] is '1-5'; must be a whole number; write each of several, as in [1, 2, "),
        ({"axes": {"lr": ["range(3)"]}}, "sweep.axes.lr[0] is 'range(3)'; a word is a letter"),
        ({"axes": {"lr": ["1-3"]}}, "; write each of several, as in [1, 2, 3]"),
        ({"axes": {"lr": "np.logspace(0, 3, 4)"}}, "must be a list; nothing is computed here, so write its values out"),
        ({"axes": {"lr": {"values": [8, 12]}}}, "sweep.axes.lr is {'values': [8, 12]}; write the values alone: [8,"),
        ({"axes": {"lr": {"min": 8, "max": 12}}}, "write the values out, such as [0.001, 0.01, 0.1], or draw"),
        ({"num_seeds": 5}, "unknown key 'sweep.num_seeds'; write sweep.runs_per_condition, the number of seeds"),
        ({"parameters": {}}, "unknown key 'sweep.parameters'; write the values of each factor: sweep: {axes: {lr: "),
        ({"epochs": 3}, "unknown key 'sweep.epochs'; write training.epochs"),
        ({"skip": [{"lr": 0.1}]}, "unknown key 'sweep.skip'; sweep.exclude leaves combinations out, as in [{width: 64"),
        ({"filter": "lr > 1"}, "unknown key 'sweep.filter'; sweep.exclude leaves"),
        (
            {"if": {"lr": 1}},
            "unknown key 'sweep.if'; a factor that matters only with some levels of another: write sweep.when",
        ),
        ({"constraints": []}, "unknown key 'sweep.constraints'; sweep.exclude leaves"),
        ({"points": []}, "and sweep.include lists single ones (docs/howto/designs.md)"),
        ({"exclude": {"lr": 0.1}}, "sweep.exclude is {'lr': 0.1}; must be a list, such as [{'lr': 0.1}]"),
        ({"include": {"lr": 0.1}}, "sweep.include is {'lr': 0.1}; must be a list, such as [{'lr': 0.1}]"),
        ({"exclude": "lr=0.1"}, "sweep.exclude is 'lr=0.1'; must be a list, such as [{width: 4}]"),
        (
            {"exclude": [{"lr": 0.1}] * 1001},
            "; has 1,001 entries, where at most 1,000 are read; one entry can name sev",
        ),
        (
            {"include": [{"lr": 0.1}] * 2001},
            "; has 2,001 entries, where at most 2,000 are read; cross levels in sweep.",
        ),
        ({"partition": "gpu"}, "unknown key 'sweep.partition'; what Slurm is asked for stands in a profile"),
    ],
)
def test_a_grid_in_another_notation_is_answered_with_ours(tmp_path: Path, sweep: dict[str, Any], says: str) -> None:
    assert says in refused(tmp_path, script(sweep={"axes": {"lr": [0.1]}} | sweep))


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("defaults", "Hydra's keys stay in the application's own configuration; trainer.command starts it"),
        ("hydra", "Hydra's keys stay"),
        ("hydra/launcher", "Hydra's keys stay"),
        ("program", 'write trainer: {command: "python train.py'),
        ("method", "Holdfast does not search: every combination of sweep.axes runs, and what sweep.draw draws at"),
        ("parameters", "write the values of each factor: sweep: {axes: {lr: [0.1, 0.01]}}"),
        ("metric", "write analysis: {primary_metrics: [NAME]}"),
        ("seml", "what Slurm is asked for stands in a profile: --profile cluster.yaml"),
        ("slurm", "stands in a profile"),
        ("grid", "write the values of each factor"),
        ("fixed", "what does not vary is part of trainer.command"),
        ("num_samples", "Holdfast does not search"),
        ("resources_per_trial", "stands in a profile"),
        ("timeout_min", "stands in a profile"),
        ("slurm_partition", "stands in a profile"),
        ("gres", "stands in a profile"),
        ("#SBATCH --time", "stands in a profile"),
        ("--mem", "stands in a profile"),
        ("project", "write experiment.wandb_project"),
        ("seed", "write sweep.seeds, a list such as [1, 2, 3], or sweep.runs_per_condition"),
        ("seeds", "write sweep.seeds"),
        ("\u00a0axes", "U+00A0 looks like a space and is none; type the spaces of this line anew"),
        ("output_dir", "write experiment.output_dir"),
        ("measures", "write trainer.measures"),
        ("training.epochs", "a dot makes no section in a file; write training: {epochs: ...}"),
    ],
)
def test_a_key_of_another_tool_or_section_is_answered_with_its_place(tmp_path: Path, key: str, says: str) -> None:
    line = refused(tmp_path, script(**{key: {}}))
    assert line.startswith(f"sweep.yaml: unknown key {key!r}; ")
    assert says in line


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("lr=0.1,0.2", "lr is a factor; write --axis lr=0.1,0.2"),
        ("+lr=0.1", "lr is a factor; write --axis lr=0.1"),
        ("model.depth=4", "model.depth is the script's own; change it in trainer.command"),
        ("++keep.weights=none", "+ and ~ are Hydra's; write keep.weights=none"),
    ],
)
def test_a_setting_as_hydra_has_it_is_answered_with_ours(tmp_path: Path, setting: str, says: str) -> None:
    assert refused(tmp_path, script(), setting) == f"command line: {setting!r}: " + says + (
        ", or make it a factor there" if "own" in says else ""
    )


@pytest.mark.parametrize(
    ("changes", "line", "says"),
    [
        ({"training": {"epochs": 3}}, {}, "sweep.yaml: training.epochs is for trainers in Python"),
        ({}, {"epochs": 3}, "command line: training.epochs is for trainers in Python"),
        ({}, {"batch_size": 3}, "command line: data.batch_size is for trainers in Python"),
        ({"model": {"hidden_dim": 3}}, {}, "sweep.yaml: model.hidden_dim is for trainers in Python"),
        ({}, {"axes": ["lr2=0.1"]}, "so lr2 changes nothing; add it, such as --lr2 {lr2}, or did you mean lr?"),
    ],
)
def test_what_changes_nothing_in_a_script_is_refused(
    tmp_path: Path, changes: dict[str, Any], line: dict[str, Any], says: str
) -> None:
    """It would make another sweep, by its digest, of the same training."""
    assert says in refused(tmp_path, script(**changes), **line)


def test_a_training_section_reaches_a_trainer_in_python_as_before(tmp_path: Path) -> None:
    text = 'FACTORS = {"lr": {"kind": "real"}}\nMETRICS = {"loss": {"kind": "real", "better": "lower"}}\n'
    (tmp_path / "mine.py").write_text(text + "def train(cells, options, run): pass\n")
    content = {"trainer": "mine.py:train", "training": {"epochs": 3}, "sweep": {"axes": {"lr": [0.1]}}}
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(content))
    assert load(CommandLine(config=tmp_path / "sweep.yaml")).sweep.sections["training"] == {"epochs": 3}


@pytest.mark.parametrize("where", [".", "..", "../..", "/", "out/.."])
def test_a_sweep_is_not_mixed_with_what_somebody_works_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "notes.txt").touch()
    (tmp_path / "a" / "b" / "notes.txt").touch()
    monkeypatch.chdir(tmp_path / "a" / "b")
    assert refused(tmp_path, script(), output_dir=where) == (
        f"command line: experiment.output_dir is {where!r}; a sweep needs a directory of its own; "
        "name one in it, such as out"
    )


@pytest.mark.parametrize("there", [[], ["sweep.json", "notes.txt"]], ids=["empty", "a sweep"])
def test_an_empty_directory_or_a_sweep_may_be_where_somebody_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: list[str]
) -> None:
    (tmp_path / "train.py").touch()
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(script()))
    (tmp_path / "own").mkdir()
    for name in there:
        (tmp_path / "own" / name).touch()
    monkeypatch.chdir(tmp_path / "own")
    assert load(CommandLine(config=tmp_path / "sweep.yaml", output_dir=".")).output_dir == tmp_path / "own"
