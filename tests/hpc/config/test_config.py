from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from helpers.predecessor import PREDECESSOR

from hpc.config.load import CommandLine, Loaded, load
from hpc.errors import ConfigError
from hpc.files import limits
from hpc.sweep.definition import Sweep

Written = Callable[..., CommandLine]


def changed(document: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
    """A copy with the value under a dotted name."""
    copy = json.loads(json.dumps(document))
    target: Any = copy
    *sections, key = name.split(".")
    for section in sections:
        target = target[int(section)] if isinstance(target, list) else target.setdefault(section, {})
    target[int(key) if isinstance(target, list) else key] = value
    return copy


@pytest.fixture
def written(tmp_path: Path, data_dir: Path) -> Written:
    """Write a configuration, a document or a text, and name it on a command line."""

    def write(document: Any, suffix: str = "yaml", **options: Any) -> CommandLine:
        path = tmp_path / f"sweep.{suffix}"
        if not isinstance(document, str):
            document = json.dumps(document) if suffix == "json" else yaml.safe_dump(document, sort_keys=False)
        path.write_text(document.replace("DATA", str(data_dir)))
        return CommandLine(config=path, **options)

    return write


@pytest.fixture
def loaded(written: Written) -> Callable[..., Loaded]:
    return lambda document=PREDECESSOR, *arguments, **options: load(written(document, *arguments, **options))


@pytest.fixture
def faults(written: Written) -> Callable[..., list[str]]:
    """The lines with which a configuration is refused."""

    def refuse(document: Any, *arguments: Any, **options: Any) -> list[str]:
        if isinstance(document, dict):
            document = {"data": {"dir": "DATA"}} | document
        with pytest.raises(ConfigError) as caught:
            load(written(document, *arguments, **options))
        assert str(caught.value).splitlines() == caught.value.faults
        return caught.value.faults

    return refuse


def test_how_many_samples_the_built_in_trainer_has_is_written_down_and_is_no_part_of_identity(
    loaded: Callable[..., Loaded], data_dir: Path
) -> None:
    before = loaded({"data": {"dir": "DATA"}}).sweep
    assert "samples" not in before.sections["data"]  # these files hold no arrays
    labels = data_dir / "train_labels.npy"
    plain = labels.read_bytes()
    try:
        for version in (1, 2):
            with labels.open("wb") as file:
                np.lib.format.write_array(file, np.zeros((6, 12), dtype=np.float32), version=(version, 0))
            sweep = loaded({"data": {"dir": "DATA"}}).sweep
            assert sweep.sections["data"]["samples"] == {"training": 6}
            assert replace(sweep, data_digest=before.data_digest).config_digest == before.config_digest
    finally:
        labels.write_bytes(plain)


# --- what is read ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["json", "yaml"])
def test_the_predecessors_file_is_read_as_it_is(loaded: Callable[..., Loaded], suffix: str, data_dir: Path) -> None:
    found = loaded(PREDECESSOR, suffix)
    sweep = found.sweep
    assert sweep.sections["data"]["dir"] == str(data_dir)
    assert sweep.sections["data"]["batch_size"] == 64
    assert sweep.sections["experiment"]["name"] == "fusion_only"
    assert sweep.sections["experiment"]["weights"]["fusion"] == 1.0
    assert sweep.sections["synergy"]["unique_indices"] == {"attr": [0, 1, 2, 10], "v": [12]}
    assert sweep.sections["training"]["epochs"] == 50
    assert sweep.wandb == {"wandb_project": "synergy", "wandb_entity": "lab", "log_to_wandb": True}
    assert found.output_dir == Path.cwd() / "results"


def test_an_unused_checkpoint_path_is_reported_and_nothing_else(loaded: Callable[..., Loaded]) -> None:
    notes = loaded().notes
    assert len(notes) == 2
    assert all("checkpoint_path is not used" in note for note in notes)


def test_yaml_and_json_of_the_same_content_are_the_same_sweep(loaded: Callable[..., Loaded]) -> None:
    assert loaded(PREDECESSOR, "json").sweep == loaded(PREDECESSOR, "yaml").sweep


def test_without_a_grid_the_predecessors_holds(loaded: Callable[..., Loaded]) -> None:
    grid = loaded().sweep.grid
    assert [(axis.name, axis.values) for axis in grid.axes] == [
        ("dim", (8, 12, 16, 24, 32)),
        ("scale", (0.1, 0.5, 1.0, 2.0, 5.0, 10.0)),
    ]
    assert grid.seeds == (42, 43, 44, 45, 46)
    assert len(grid) == 5 * 6 * 5


def test_without_any_file_the_defaults_hold(data_dir: Path) -> None:
    sweep = load(CommandLine(overrides=[f"data.dir={data_dir}"])).sweep
    assert len(sweep.grid) == 150
    assert sweep.sections["training"]["optimizer"] == {"type": "Adam", "lr": 0.001, "weight_decay": 0.0}
    assert sweep.sections["model"]["hidden_dim"] == 128
    assert sweep.sections["data"]["batch_size"] == 32
    assert sweep.sections["training"]["grad_clip"] == 1.0


def test_the_command_line_wins_over_the_file(loaded: Callable[..., Loaded], tmp_path: Path) -> None:
    file = changed(PREDECESSOR, "sweep", {"dims": [2], "scales": [3.0], "seeds": [7, 8, 9]})
    found = loaded(
        file,
        dims="8, 12",
        scales="0.1,1",
        runs_per_condition=2,
        experiment="long",
        epochs=3,
        batch_size=16,
        output_dir=str(tmp_path / "o"),
        no_wandb=True,
        overrides=["training.optimizer.lr=3e-4", "model.hidden_dim=64"],
    )
    sweep = found.sweep
    assert [axis.values for axis in sweep.grid.axes] == [(8, 12), (0.1, 1.0)]
    assert sweep.grid.seeds == (42, 43)
    assert sweep.sections["experiment"]["name"] == "long"
    assert sweep.sections["training"]["epochs"] == 3
    assert sweep.sections["training"]["optimizer"]["lr"] == 0.0003
    assert sweep.sections["model"]["hidden_dim"] == 64
    assert sweep.sections["data"]["batch_size"] == 16
    assert sweep.wandb["log_to_wandb"] is False
    assert found.output_dir == tmp_path / "o"


def test_a_loss_configuration_brings_its_own_epochs(loaded: Callable[..., Loaded]) -> None:
    assert loaded(experiment="long").sweep.sections["training"]["epochs"] == 80


@pytest.mark.parametrize("given", [{"epochs": 3}, {"overrides": ["training.epochs=3"]}])
def test_epochs_on_the_command_line_win_over_a_loss_configurations_own(
    loaded: Callable[..., Loaded], given: dict[str, Any]
) -> None:
    assert loaded(experiment="long", **given).sweep.sections["training"]["epochs"] == 3


def test_axes_and_their_short_forms_give_the_same_cells(loaded: Callable[..., Loaded]) -> None:
    short = loaded(PREDECESSOR | {"sweep": {"dims": [8, 16], "scales": [1]}}).sweep
    long = loaded(PREDECESSOR | {"sweep": {"axes": {"dim": [8, 16], "scale": [1]}}}).sweep
    flags = loaded(axes=["dim=8,16", "scale=1"]).sweep
    assert list(short.grid) == list(long.grid) == list(flags.grid)


def test_whole_numbers_as_scales_are_named_like_the_others(loaded: Callable[..., Loaded]) -> None:
    sweep = loaded(PREDECESSOR | {"sweep": {"dims": ["8", 12.0], "scales": [1, "2", "1e-3", 1e-5]}}).sweep
    assert [axis.values for axis in sweep.grid.axes] == [(8, 12), (1.0, 2.0, 0.001, 1e-05)]
    assert all(isinstance(value, int) for value in sweep.grid.axes[0].values)
    assert sweep.grid[0].name == "dim_8_scale_1.0_run_0"


@pytest.mark.parametrize("text", ["1e-3", "'1e-3'", "1.0e-3", "0.001", "+1E-3", ".1e-2"])
def test_a_thousandth_is_read_however_it_is_written(loaded: Callable[..., Loaded], text: str) -> None:
    sweep = loaded(f"data: {{dir: DATA}}\ntraining: {{optimizer: {{lr: {text}}}}}\nsweep: {{scales: [{text}]}}").sweep
    assert sweep.sections["training"]["optimizer"]["lr"] == 0.001
    assert sweep.grid.axes[1].values == (0.001,)


@pytest.mark.parametrize("feature", ["xor_target_normalized", 11])
def test_the_synergy_feature_may_be_given_by_name_or_position(loaded: Callable[..., Loaded], feature: Any) -> None:
    by_name = loaded().sweep
    other = loaded(changed(PREDECESSOR, "synergy.feature_indices", {"attr": [feature]})).sweep
    assert other.config_digest == by_name.config_digest


def test_the_output_directory_may_begin_at_home(
    loaded: Callable[..., Loaded], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert loaded(changed(PREDECESSOR, "experiment.output_dir", "~/sweeps/a")).output_dir == tmp_path / "sweeps" / "a"


def test_a_data_directory_is_found_from_here_or_from_beside_the_file(
    written: Written, tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(data_dir, tmp_path / "shapes")
    line = written({"data": {"dir": "shapes"}})
    monkeypatch.chdir("/")
    assert load(line).sweep.sections["data"]["dir"] == str(tmp_path / "shapes")
    monkeypatch.chdir(tmp_path)
    assert load(line).sweep.sections["data"]["dir"] == str(tmp_path / "shapes")


def test_a_sweep_comes_back_from_json_as_it_went_in(loaded: Callable[..., Loaded]) -> None:
    sweep = loaded().sweep
    again = Sweep.from_json(json.loads(json.dumps(sweep.to_json(), allow_nan=False)))
    assert again.to_json() == sweep.to_json()
    assert again.config_digest == sweep.config_digest
    assert again.cell_digest(again.grid[3]) == sweep.cell_digest(sweep.grid[3])


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (float("nan"), "nan; a loss scale must be finite"),
        (float("inf"), "inf; a loss scale must be finite"),
        (float("-inf"), "-inf; a loss scale must be finite"),
        (-1.0, "-1.0; a loss scale must be 0 or more"),
        (True, "True; a loss scale must be a number"),
        (None, "None; a loss scale must be a number"),
        ("many", "'many'; a loss scale must be a number"),
        ([1], "[1]; a loss scale must be a number"),
        ({"a": 1}, "{'a': 1}; a loss scale must be a number"),
        (10**400, "; a loss scale must be below 2^63"),
        (0.5, "0.5; this value is given twice; remove one"),
        ("5e-1", "; this value is given twice; remove one"),
    ],
)
@pytest.mark.parametrize("suffix", ["json", "yaml"])
def test_a_scale_that_is_none_is_one_line(
    faults: Callable[..., list[str]], suffix: str, value: Any, reason: str
) -> None:
    (line,) = faults({"sweep": {"scales": [0.5, 1, value]}}, suffix)
    assert line.startswith(f"sweep.{suffix}: sweep.scales[2] is ")
    assert line.endswith(reason)


@pytest.mark.parametrize(
    ("sweep", "expected"),
    [
        ({"dims": [8, 2.5]}, "sweep.dims[1] is 2.5; a workspace dimension must be a whole number"),
        ({"dims": [0]}, "sweep.dims[0] is 0; a workspace dimension must be 1 or more"),
        ({"dims": [8, 8.0]}, "sweep.dims[1] is 8.0; this value is given twice; remove one"),
        ({"dims": []}, "sweep.dims is []; give at least one value"),
        ({"dims": 8}, "sweep.dims is 8; must be a list, such as [8]"),
        ({"scales": [0.0, -0.0]}, "sweep.scales[1] is -0.0; this value is given twice; remove one"),
        ({"seeds": [42, 43, 42]}, "sweep.seeds[2] is 42; this seed is given twice; remove one"),
        ({"seeds": []}, "sweep.seeds is []; give at least one seed"),
        ({"seeds": [1.5]}, "sweep.seeds[0] is 1.5; must be a whole number"),
        ({"seeds": [True]}, "sweep.seeds[0] is True; must be a whole number"),
        ({"seeds": [-1]}, "sweep.seeds[0] is -1; must be greater than or equal to 0"),
        ({"runs_per_condition": 0}, "sweep.runs_per_condition is 0; must be greater than or equal to 1"),
        ({"seeds": [1], "runs_per_condition": 2}, "sweep.runs_per_condition is 2; it differs from the number of seeds"),
        ({"axes": {"width": [1]}}, "factor 'width'; its factors: dim, scale"),
        ({"axes": {}}, "sweep.axes is missing; name a factor of training.workspace:train and its values"),
        ({"dims": [8], "axes": {"dim": [9]}}, "sweep.axes.dim: 'dim' has its values already; give them once"),
        ({"seed": 3}, "unknown key 'sweep.seed'. Did you mean 'seeds'? Valid: "),
        ({"name": "a b"}, "sweep.name is 'a b'; "),
        ({"name": "a\nb"}, "sweep.name is 'a\\nb'; "),
    ],
)
def test_a_wrong_grid_is_one_line(faults: Callable[..., list[str]], sweep: dict[str, Any], expected: str) -> None:
    (line,) = faults({"sweep": sweep})
    assert line.startswith("sweep.yaml: ")
    assert expected in line


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("trainig", {}, "unknown key 'trainig'. Did you mean 'training'?"),
        ("training.epoch", 3, "unknown key 'training.epoch'. Did you mean 'epochs'?"),
        ("training.optimizer.learning_rate", 1, "unknown key 'training.optimizer.learning_rate'. Valid: type, lr,"),
        ("training.loss_configs", [{"name": "a", "weights": {"fusoin": 1}}], "Did you mean 'fusion'?"),
        ("training.epochs", "many", "training.epochs is 'many'; must be a whole number"),
        ("training.epochs", 2.5, "training.epochs is 2.5; must be a whole number"),
        ("training.epochs", True, "training.epochs is True; must be a whole number"),
        ("training.epochs", 0, "training.epochs is 0; must be greater than or equal to 1"),
        ("training.optimizer.lr", 0, "training.optimizer.lr is 0; must be greater than 0"),
        ("training.optimizer.lr", "fast", "training.optimizer.lr is 'fast'; must be a number"),
        ("training.optimizer.lr", False, "training.optimizer.lr is False; must be a number"),
        ("training.optimizer.lr", float("nan"), "training.optimizer.lr is nan; must be"),
        ("training.optimizer.lr", float("inf"), "training.optimizer.lr is inf; must be"),
        ("training.optimizer.type", "SGD", "training.optimizer.type is 'SGD'; must be 'Adam'"),
        ("training.loss_configs", [], "training.loss_configs is []; "),
        ("training.loss_configs", [{"name": "a"}], "training.loss_configs[0].weights is missing; add it"),
        ("training.loss_configs", [{"name": "fusion_only", "weights": {}}], "has no weight above 0; raise one"),
        ("training.loss_configs", [{"name": "fusion_only", "weights": {"fusion": 1}}] * 2, "given twice; rename one"),
        ("training", 3, "training is 3; must be a section with named keys"),
        ("training", None, "training is None; must be a section with named keys"),
        ("training", [1], "training is [1]; must be a section with named keys"),
        ("experiment.name", "fussion", "experiment.name is 'fussion'; valid: fusion_only, "),
        ("experiment.output_dir", "", "experiment.output_dir is ''; "),
        ("experiment.output_dir", "a\nb", "experiment.output_dir is 'a\\nb'; this cannot be a path"),
        ("experiment.output_dir", "~nobody-knows-me/x", "this cannot be a path"),
        ("experiment.output_dir", "x" * 5000, "this is too long for a path"),
        ("data.batch_size", -1, "data.batch_size is -1; must be"),
        ("data.dir", "nowhere", "data.dir is 'nowhere'; there is no such directory"),
        ("data.dir", "a\0b", "data.dir is 'a\\x00b'; this cannot be a path"),
        ("data.dir", "~nobody-knows-me/x", "this cannot be a path"),
        ("data.dir", "/", "it contains no data set; `holdfast data generate /` makes one"),
        ("data.dir", 7, "data.dir is 7; must be text"),
        ("sweep.seeds", "42-46", "sweep.seeds is '42-46'; must be a list, such as [42, 43, ..., 46]"),
        ("sweep.seeds", "7-8", "sweep.seeds is '7-8'; must be a list, such as [7, 8]"),
        ("model.domains", [{"domain_type": "x", "name": "audio"}], "model.domains[0].name is 'audio'; must be 'v' or"),
        ("model.fusion_weights", {"audio": 1}, "model.fusion_weights.audio is 'audio'; must be 'v' or 'attr'"),
        ("synergy.feature_indices", {"attr": [3]}, "the data has one synergy feature"),
        ("synergy.unique_indices", {"attr": [-1]}, "synergy.unique_indices.attr[0] is -1; must be"),
        ("trainer", "nowhere:train", "trainer 'nowhere' was not found"),
        ("trainer", "training.workspace", "does not name a trainer"),
        ("trainer", "training.workspace:nothing", "workspace.py has no function 'nothing'"),
        ("trainer_options", {"a": 1}, "unknown key 'trainer_options.a'. Valid: kernel, precision."),
        ("trainer_options", {"kernel": "fast"}, "trainer_options.kernel is 'fast'; valid: auto, native, torch"),
        ("trainer_options", {"precision": "fp16"}, "trainer_options.precision is 'fp16'; valid: fp32, bf16"),
        ("trainer_options", {"precision": "bf16", "kernel": "torch"}, "only the compiled step multiplies in bf16"),
        ("checkpoint.every_seconds", 0, "checkpoint.every_seconds is 0; must be greater than 0"),
        ("keep.weights", "best", "keep.weights is 'best'; must be 'final' or 'none'"),
        ("keep.checkpoints", "yes please", "keep.checkpoints is 'yes please'; must be true or false"),
        ("analysis.alpha", 1, "analysis.alpha is 1; must be less than 1"),
        ("analysis.primary_metrics", ["best_val_los"], "did you mean 'best_val_loss'?"),
        ("analysis.reference", {"dim": 9, "scale": 1.0}, "analysis.reference.dim is 9; valid: 8, 12, 16, 24, 32"),
        ("analysis.reference", {"dim": 8, "scale": 1, "width": 2}, "unknown key 'analysis.reference.width'"),
    ],
)
def test_a_wrong_value_is_one_line_with_file_field_value_and_fix(
    faults: Callable[..., list[str]], name: str, value: Any, expected: str
) -> None:
    (line,) = faults(changed({"data": {"dir": "DATA"}}, name, value))
    assert line.startswith("sweep.yaml: ")
    assert expected in line
    assert name.partition(".")[0] in line


def test_all_faults_are_told_at_once(faults: Callable[..., list[str]]) -> None:
    lines = faults({"training": {"epochs": 0, "optimizer": {"lr": -1}}, "data": {"batchsize": 3}, "extra": 1})
    assert len(lines) == 4
    lines = faults({"sweep": {"scales": [-1, -2], "dims": [0]}, "experiment": {"name": "x"}, "data": {"dir": "none"}})
    assert len(lines) == 5


def test_a_missing_data_directory_tells_how_to_make_one(faults: Callable[..., list[str]]) -> None:
    (line,) = faults({"data": {"dir": "nowhere"}})
    assert line.endswith("; there is no such directory; `holdfast data generate nowhere` makes one")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sweep: [1, 2", "line 1: not valid YAML: "),
        ("a: 1\nb: : 2", "line 2: not valid YAML: "),
        ("sweep:\n  dims: [8]\n  dims: [9]", "line 3: not valid YAML: key 'dims' is given twice"),
        ("a: 1\n\tb: 2", "line 2: not valid YAML: "),
        ("sweep: {dims: [8]}\n---\nsweep: {dims: [9]}", "line 2: not valid YAML: "),
        (
            "a: !!python/object/apply:os.system [echo]",
            "line 1: not valid YAML: the tag !!python/object/apply:os.system means nothing here; remove it",
        ),
        ("\n\na: !!timestamp 2001-99-99", "line 3: not valid YAML: a value cannot be read as timestamp"),
        ("a: !!int x", "line 1: not valid YAML: a value cannot be read as int"),
        ("a: " + "1" * 5000, "line 1: not valid YAML: a value cannot be read as int"),
        ("a: &a [*a]", "line 1: not valid YAML: "),
        ("? [a]\n: 1", "line 1: not valid YAML: a key must be a word"),
        ("a: \x01", "line 1: a control character (U+0001) is no text; remove it"),
        ("just words", "the file must hold named sections, such as 'sweep:'"),
        ("- 1\n- 2", "the file must hold named sections, such as 'sweep:'"),
        ("3: 4", "the file must hold named sections, such as 'sweep:'"),
        ("[" * 100_000, "not a text file Holdfast can read"),
    ],
)
def test_broken_yaml_is_one_line_with_its_place(faults: Callable[..., list[str]], text: str, expected: str) -> None:
    (line,) = faults(text)
    assert line.startswith("sweep.yaml: ")
    assert expected in line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{", "line 1: not valid JSON: "),
        ('{"a": 1,\n}', "line 2: not valid JSON: there is a comma before the closing }; remove it"),
        ('{"a": [1,\n\n]}', "line 3: not valid JSON: there is a comma before the closing ]; remove it"),
        ('{"model": {"domains": [...]}}', "line 1: not valid JSON: '...' stands for what an example leaves out"),
        ('{"a": 1,\n"optimizer": {...}}', "line 2: not valid JSON: '...' stands for what an example leaves out"),
        ('{"a": ...}', "line 1: not valid JSON: '...' stands for what an example leaves out"),
        ('{"a": 1, "a": 2}', "not valid JSON: key 'a' is given twice"),
        ("[]", "the file must hold named sections"),
        ("", "line 1: not valid JSON: "),
        ('{"a": ' + "1" * 5000 + "}", "not valid JSON: "),
        ("[" * 100_000, "not a text file Holdfast can read"),
    ],
)
def test_broken_json_is_one_line_with_its_place(faults: Callable[..., list[str]], text: str, expected: str) -> None:
    (line,) = faults(text, "json")
    assert line.startswith("sweep.json: ")
    assert expected in line


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such file; name an existing YAML or JSON file"):
        load(CommandLine(config=tmp_path / "none.yaml"))


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    for suffix in ("yaml", "json"):
        path = tmp_path / f"a.{suffix}"
        path.write_bytes(os.urandom(8) + b"\xff\xfe\x00\x80" + os.urandom(64))
        with pytest.raises(ConfigError) as caught:
            load(CommandLine(config=path))
        assert len(caught.value.faults) == 1


# Seconds of work, twenty times what a busy machine needs; what must not be done takes hours.
AT_ONCE = 20.0


def billion_laughs(key: str) -> str:
    lines = ["laughs:", "  - &l0 [ha, ha, ha, ha, ha, ha, ha, ha, ha, ha]"]
    lines += [f"  - &l{i} [{', '.join([f'*l{i - 1}'] * 10)}]" for i in range(1, 10)]
    return "\n".join([*lines, f"{key}: *l9", ""])


@pytest.mark.parametrize("key", ["trainer_options", "sweep", "data"])
def test_a_billion_laughs_are_refused_at_once(faults: Callable[..., list[str]], key: str) -> None:
    started = time.process_time()
    (line,) = faults(billion_laughs(key))
    assert "its aliases stand for too many values" in line
    assert time.process_time() - started < AT_ONCE


def test_an_anchor_used_in_earnest_is_read(loaded: Callable[..., Loaded]) -> None:
    text = "data: {dir: DATA}\nsweep:\n  dims: &d [8, 12]\nmodel: {hidden_dim: &h 64, decoder_hidden_dim: *h}"
    sweep = loaded(text).sweep
    assert sweep.sections["model"]["decoder_hidden_dim"] == 64


def test_ten_million_cells_are_refused_with_their_number_at_once(faults: Callable[..., list[str]]) -> None:
    started = time.process_time()
    (line,) = faults({"sweep": {"dims": [8, 16], "scales": [1, 2, 3, 4, 5], "runs_per_condition": 1_000_000}})
    assert line == "sweep.yaml: the grid has 10,000,000 cells; if that is meant, confirm with -y"
    assert time.process_time() - started < AT_ONCE


def test_a_large_grid_that_is_confirmed_is_planned(
    loaded: Callable[..., Loaded], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "factor", lambda: 12.0)  # HOLDFAST_LIMITS=12: it must be read again, too
    sweep = loaded(PREDECESSOR | {"sweep": {"runs_per_condition": 40_000}}, allow_huge=True).sweep
    assert len(sweep.grid) == 30 * 40_000


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"dims": "8,,12"}, "command line: sweep.dims[1] is None; a workspace dimension must be a number"),
        ({"dims": ""}, "command line: sweep.dims[0] is None; a workspace dimension must be a number"),
        ({"dims": "eight"}, "command line: sweep.dims[0] is 'eight'; a workspace dimension must be a number"),
        ({"scales": "0.1,nan"}, "command line: sweep.scales[1] is 'nan'; a loss scale must be finite"),
        ({"scales": "0.1,-1"}, "command line: sweep.scales[1] is -1; a loss scale must be 0 or more"),
        ({"scales": "0.1,true"}, "command line: sweep.scales[1] is True; a loss scale must be a number"),
        ({"scales": "[" * 5000}, "command line: sweep.scales[0] is '[[["),
        ({"axes": ["dim"]}, "command line: --axis is 'dim'; write --axis name=value,value"),
        ({"axes": ["width=3"]}, "command line: sweep.axes.width: trainer training.workspace:train has no factor"),
        ({"axes": ["=3"]}, "no factor ''"),
        ({"runs_per_condition": 0}, "command line: sweep.runs_per_condition is 0; must be"),
        ({"epochs": -3}, "command line: training.epochs is -3; must be"),
        ({"batch_size": 0}, "command line: data.batch_size is 0; must be"),
        ({"experiment": "none"}, "command line: experiment.name is 'none'; valid: "),
        ({"output_dir": ""}, "command line: experiment.output_dir is ''; "),
        ({"overrides": ["training.optimiser.lr=1"]}, "command line: unknown key 'training.optimiser'. Did you mean"),
        ({"overrides": ["training.epochs=soon"]}, "command line: training.epochs is 'soon'; must be a whole number"),
        ({"overrides": ["training.epochs.x=3"]}, "command line: training.epochs is {'x': 3}; must be a whole number"),
        ({"overrides": ["data.dir.x=3"]}, "command line: data.dir.x: 'dir' is not a section; check the dotted name"),
        ({"overrides": ["=3"]}, "command line: '=3' is not a setting; write section.key=value"),
        ({"overrides": [".=3"]}, "command line: unknown key ''"),
        ({"overrides": ["training..lr=3"]}, "command line: unknown key 'training.'"),
        ({"overrides": ["sweep.scales[0]=3"]}, "command line: unknown key 'sweep.scales[0]'. Did you mean 'scales'?"),
        ({"overrides": ["training.epochs="]}, "command line: training.epochs is None; must be a whole number"),
        ({"overrides": ["training={epochs: [}"]}, "command line: training is '{epochs: [}'; must be a section"),
    ],
)
def test_a_wrong_command_line_is_one_line_that_says_so(
    faults: Callable[..., list[str]], options: dict[str, Any], expected: str
) -> None:
    (line,) = faults({}, **options)
    assert line.startswith(expected) or expected in line
    assert line.startswith("command line: ")


def test_runs_over_a_file_whose_sweep_is_no_section_are_refused(faults: Callable[..., list[str]]) -> None:
    (line,) = faults({"sweep": 3}, runs_per_condition=4)
    assert "'sweep' is not a section" in line


@pytest.mark.parametrize(
    "options",
    [
        {"a": {1: 2}},
        {"a": [{"b": {3, 4}}]},
        {"a": float("nan")},
        {"a": float("inf")},
        {"a": 2**70},
    ],
)
def test_options_that_json_cannot_give_back_are_refused(
    faults: Callable[..., list[str]], tmp_path: Path, options: dict[str, Any]
) -> None:
    (tmp_path / "mine.py").write_text("FACTORS={'w': {'kind': 'real'}}\nMETRICS={}\ndef train(c, o, r): pass\n")
    text = yaml.safe_dump({"trainer": "mine.py:train", "sweep": {"axes": {"w": [1]}}, "trainer_options": options})
    (line,) = faults(text)
    assert line.startswith("sweep.yaml: trainer_options is ")


OWN = "FACTORS={'w': {'kind': 'real'}, 'm': {'kind': 'word'}}\nMETRICS={}\ndef train(c, o, r): pass\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("trainer_options: {flag: no}", 'flag is no; without quotes this could be false, or the text "no"'),
        ("trainer_options: {a: {b: [010]}}", "a.b[0] is 010; without quotes this could be 10 or 8 (octal)"),
        ("trainer_options: {x: None}", "x is None; without quotes this could be null"),
        ("training: {epochs: 010}", "training.epochs is '010'; without quotes this could be 10 or 8 (octal)"),
        ("training: {epochs: 1:30}", "training.epochs is '1:30'; must be a whole number"),
        ("checkpoint: {every_seconds: no}", 'this could be false, or the text "no"'),
        ("analysis: {alpha: 0_1}", "this could be 1 or"),
    ],
)
def test_a_word_that_could_be_several_things_is_refused_with_all_of_them(
    faults: Callable[..., list[str]], tmp_path: Path, text: str, said: str
) -> None:
    (tmp_path / "mine.py").write_text(OWN)
    (line,) = faults(f"trainer: mine.py:train\nsweep: {{axes: {{w: [1], m: [a]}}}}\n{text}\n")
    assert said in line


def test_a_word_is_read_as_what_its_place_takes(loaded: Callable[..., Loaded], tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(OWN)
    text = """
trainer: mine.py:train
sweep: {name: on, axes: {w: [1e-3, 1_000], m: [no, yes]}}
keep: {checkpoints: yes}
wandb: off
checkpoint: {every_seconds: 1:30}
analysis: {ratio: null}
trainer_options: {at: 12:00:00, day: 2024-01-15}
"""
    sweep = loaded(text).sweep
    assert sweep.name == "on"
    assert [axis.values for axis in sweep.grid.axes] == [(0.001, 1000.0), ("no", "yes")]
    assert sweep.keep["checkpoints"] is True
    assert sweep.wandb["log_to_wandb"] is False
    assert sweep.checkpoint_seconds == 90
    assert sweep.options == {"at": "12:00:00", "day": "2024-01-15"}


def test_the_command_line_is_read_as_the_file_is(
    loaded: Callable[..., Loaded], faults: Callable[..., list[str]], tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(OWN)
    document = "trainer: mine.py:train\nsweep: {axes: {w: [1], m: [a]}}\n"
    assert loaded(document, axes=["m=off,on"]).sweep.grid.axes[1].values == ("off", "on")
    assert "could be 10 or 8 (octal)" in faults(document, axes=["w=010"])[0]
    assert (
        "flag is yes; without quotes this could be true" in faults(document, overrides=["trainer_options.flag=yes"])[0]
    )


# --- identity -------------------------------------------------------------------------------------------------------

UNCHANGED: dict[str, Any] = {
    "data.num_workers": 0,
    "data.image_dir": "elsewhere",
    "experiment.output_dir": "elsewhere",
    "experiment.wandb_project": "x",
    "experiment.log_to_wandb": False,
    "model.domains.0.checkpoint_path": "elsewhere.ckpt",
    "model.domains.1.checkpoint_path": None,
    "model.workspace_dim": 99,
    "synergy.loss_scale": 7.0,
    "checkpoint.every_seconds": 5,
    "keep.weights": "none",
    "analysis.alpha": 0.01,
    "analysis.primary_metrics": ["train_loss"],
    "sweep.name": "other",
    "sweep.runs_per_condition": 9,
    "sweep.dims": [2, 4],
    "sweep.scales": [0.05],
    "training.reset_model_per_experiment": False,
    "training.loss_configs.1.epochs": 81,
    "training.loss_configs.1.weights.cycle": 2,
}
CHANGED: dict[str, Any] = {
    "data.batch_size": 65,
    "training.epochs": 51,
    "training.optimizer.lr": 0.002,
    "training.optimizer.weight_decay": 0.1,
    "training.grad_clip": 2.0,
    "training.loss_configs.0.weights.fusion": 0.5,
    "training.loss_configs.0.epochs": 49,
    "training.standardize_inputs": True,
    "experiment.name": "long",
    "model.hidden_dim": 127,
    "model.decoder_hidden_dim": 127,
    "model.n_layers": 3,
    "model.fusion_weights.v": 0.25,
    "synergy.unique_indices": {"attr": [0]},
    "synergy.redundant_indices": {},
}


@pytest.mark.parametrize("name", UNCHANGED)
def test_what_decides_no_number_is_no_part_of_the_identity(loaded: Callable[..., Loaded], name: str) -> None:
    other = loaded(changed(PREDECESSOR, name, UNCHANGED[name])).sweep
    assert other.config_digest == loaded().sweep.config_digest
    assert loaded().sweep.conflicting(other) == []


@pytest.mark.parametrize("name", CHANGED)
def test_what_decides_a_number_is_part_of_the_identity_and_named_when_it_differs(
    loaded: Callable[..., Loaded], name: str
) -> None:
    other = loaded(changed(PREDECESSOR, name, CHANGED[name])).sweep
    assert other.config_digest != loaded().sweep.config_digest
    (field, *_) = loaded().sweep.conflicting(other)
    assert name.startswith((field, field.rpartition(".")[0])) or field.startswith(("experiment.", "training.epochs"))


def test_the_same_data_elsewhere_is_the_same_and_other_data_here_is_not(
    written: Written, data_dir: Path, tmp_path: Path
) -> None:
    here = load(written(PREDECESSOR)).sweep
    moved = tmp_path / "moved"
    shutil.copytree(data_dir, moved)
    (moved / "notes.txt").write_text("no part of the data")
    line = [f"data.dir={moved}"]
    assert load(written(PREDECESSOR, overrides=line)).sweep.config_digest == here.config_digest
    (moved / "val_labels.npy").write_bytes(b"other")
    other = load(written(PREDECESSOR, overrides=line)).sweep
    assert other.config_digest != here.config_digest
    assert here.conflicting(other) == ["data.digest"]


def test_a_factor_that_is_not_varied_is_part_of_the_identity(loaded: Callable[..., Loaded]) -> None:
    one = loaded(PREDECESSOR | {"sweep": {"axes": {"dim": [8]}}})
    other = loaded(changed(PREDECESSOR, "synergy.loss_scale", 7.0) | {"sweep": {"axes": {"dim": [8]}}})
    assert one.sweep.config_digest != other.sweep.config_digest


def test_options_of_ones_own_trainer_are_part_of_the_identity(written: Written, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("FACTORS={'w': {'kind': 'real'}}\nMETRICS={}\ndef train(c, o, r): pass\n")
    mine = {"trainer": "mine.py:train", "sweep": {"axes": {"w": [1]}}, "trainer_options": {"a": {"b": [1, None]}}}
    one = load(written(mine)).sweep
    assert one.config_digest != load(written(changed(mine, "trainer_options.a.b", [2, None]))).sweep.config_digest
    again = Sweep.from_json(json.loads(json.dumps(one.to_json())))
    assert again.config_digest == one.config_digest


def test_the_digest_of_a_known_configuration_stays_what_it_was(loaded: Callable[..., Loaded]) -> None:
    # If this fails on purpose, existing sweeps can no longer be gone on with: say so in the changelog.
    assert loaded().sweep.config_digest == "7a2ca5739172315a35118e98e0d4bf2c22b9f3033ea058e830dd8039f819a1dd"
