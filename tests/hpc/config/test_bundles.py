"""Levels of a factor that stand for several settings of a script's command, and levels that are true and false."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from hpc.config.load import CommandLine, load
from hpc.errors import ConfigError, SweepError
from hpc.files import directories
from hpc.launch.request import SweepOptions, resolve
from hpc.storage.revisions import admit, write_sweep
from hpc.storage.store import Store
from hpc.sweep.definition import Sweep
from hpc.trainers.project import deciding

SMALL, LARGE = {"width": 64, "depth": 2}, {"width": 512, "depth": 8}


def configured(directory: Path, axes: Any, **trainer: Any) -> CommandLine:
    section = {
        "command": "python -c pass --width {width} --depth {depth} --skip {skip} --seed {seed}",
        "metrics": "metrics.json",
        "measures": ["loss"],
    }
    content = {"trainer": section | trainer, "sweep": {"name": "b", "axes": axes, "runs_per_condition": 2}}
    (directory / "sweep.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return CommandLine(config=directory / "sweep.yaml")


def sweep(directory: Path, axes: Any) -> Sweep:
    return load(configured(directory, axes)).sweep


def axes(**levels: Any) -> dict[str, Any]:
    return {"model": levels, "skip": [True, False]}


def test_a_file_that_lies_with_the_script_travels_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    (tmp_path / "train.py").touch()
    (tmp_path / "configs" / "small.yaml").touch()
    words = "--width {width} --depth {depth} --skip {skip} --seed {seed}"

    def configured_with(word: str, script: str = "train.py") -> CommandLine:
        return configured(tmp_path, axes(small=SMALL), command=f"python {script} --config {word} {words}")

    with pytest.raises(ConfigError, match=r"runs in an empty directory; write \{code\}/configs/small.yaml"):
        load(configured_with("configs/small.yaml"))
    with pytest.raises(ConfigError, match=r"names \{code\}/configs/large.yaml, and .* has no such file"):
        load(configured_with("{code}/configs/large.yaml"))
    with pytest.raises(ConfigError, match=r"has \{code\}, the folder of its script's copy, and names no Python file"):
        load(configured_with("{code}/configs/small.yaml", script="-c pass"))
    for word in ("{code}/configs/small.yaml", "{code}/configs/{model}.yaml"):
        trainer = load(configured_with(word)).sweep.trainer
        assert set(deciding(trainer)) == {"train.py", "configs/small.yaml"}


def test_a_command_without_a_file_of_code_is_noted(tmp_path: Path) -> None:
    says = "trainer.command names no Python file: its code is neither copied nor in the results"
    assert says in load(configured(tmp_path, axes(small=SMALL))).notes
    (tmp_path / "train.py").touch()
    command = "python train.py --width {width} --depth {depth} --skip {skip} --seed {seed}"
    assert says not in load(configured(tmp_path, axes(small=SMALL), command=command)).notes


def test_levels_are_words_in_names_and_the_settings_are_options(tmp_path: Path) -> None:
    made = sweep(tmp_path, axes(small=SMALL, large=LARGE))
    assert [cell.name for cell in made.grid][::2] == [
        "model_small_skip_true_run_0",
        "model_small_skip_false_run_0",
        "model_large_skip_true_run_0",
        "model_large_skip_false_run_0",
    ]
    assert made.bundles == {"model": {"small": SMALL, "large": LARGE}}
    assert Sweep.from_json(made.to_json()) == made


@pytest.mark.parametrize("how", ["axis", "override"])
def test_levels_of_the_command_line_keep_their_settings(tmp_path: Path, how: str) -> None:
    expected = sweep(tmp_path, axes(large=LARGE))
    line = configured(tmp_path, axes(small=SMALL, large=LARGE))

    def chosen(levels: str) -> CommandLine:
        if how == "axis":
            return replace(line, axes=(f"model={levels}",))
        return replace(line, overrides=(f"sweep.axes.model=[{levels}]",))

    assert load(chosen("large")).sweep == expected
    assert load(chosen("large,small")).sweep.bundles == {"model": {"large": LARGE, "small": SMALL}}
    with pytest.raises(ConfigError) as caught:
        load(chosen("large,huge"))
    (fault,) = caught.value.faults
    assert fault == "command line: sweep.axes.model is 'huge'; this level has no settings; valid: small, large"


def test_rules_about_levels_that_the_command_line_does_not_name_do_not_count(tmp_path: Path) -> None:
    line = configured(tmp_path, axes(small=SMALL, large=LARGE))
    content = yaml.safe_load((tmp_path / "sweep.yaml").read_text())
    content["sweep"]["exclude"] = [{"model": "large", "skip": True}, {"model": "small", "skip": False}]
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    found = load(replace(line, axes=("model=small", "skip=true"))).sweep
    assert [cell.name for cell in found.grid] == [f"model_small_skip_true_run_{run}" for run in (0, 1)]
    assert found.bundles == {"model": {"small": SMALL}}


def begun(directory: Path, made: Sweep) -> Store:
    """A sweep directory in which a cell has an attempt, so that its configuration is settled."""
    store = Store(directory / "out")
    write_sweep(store, made, {})
    directories.make_directory(store.paths.results_root / made.grid[0].name / "attempts" / "0001")
    return store


def test_a_level_can_be_added_and_a_subset_asked_for(tmp_path: Path) -> None:
    first = sweep(tmp_path, axes(small=SMALL))
    store = begun(tmp_path, first)
    grown = admit(store, sweep(tmp_path, axes(small=SMALL, large=LARGE)))
    assert grown.config_digest == first.config_digest
    assert grown.grid.n_conditions == 4
    write_sweep(store, grown, {})
    part = admit(store, sweep(tmp_path, axes(large=LARGE)))
    assert part.grid == grown.grid
    assert part.bundles == grown.bundles


def test_a_level_with_other_settings_is_another_sweep_and_other_checkpoints(tmp_path: Path) -> None:
    first = sweep(tmp_path, axes(small=SMALL, large=LARGE))
    other = sweep(tmp_path, axes(small=SMALL | {"depth": 3}, large=LARGE))
    with pytest.raises(SweepError, match=r"different in: sweep.axes.model.small.depth; "):
        admit(begun(tmp_path, first), other)
    small, large = first.grid[0], first.grid[-1]
    assert first.cell_digest(small) != other.cell_digest(small)
    assert first.cell_digest(large) == other.cell_digest(large)


@pytest.mark.parametrize("bundles", [5, {"model": 5}, {"model": {"small": 5}}, {"model": {}}, {"other": {}}])
def test_a_sweep_directory_with_damaged_bundles_is_refused_in_a_line(tmp_path: Path, bundles: Any) -> None:
    store = begun(tmp_path, sweep(tmp_path, axes(small=SMALL)))
    content = json.loads(store.paths.sweep_file.read_text())
    content["revisions"][0]["options"]["bundles"] = bundles
    store.paths.sweep_file.write_text(json.dumps(content))
    with pytest.raises(SweepError, match="bundles"):
        Store(store.root).sweep()


def test_a_level_from_the_command_line_alone_has_no_settings(tmp_path: Path) -> None:
    store = begun(tmp_path, sweep(tmp_path, axes(small=SMALL)))
    with pytest.raises(ConfigError, match="--axis model: large has no settings; add it"):
        resolve(SweepOptions(directory=store.root, line=CommandLine(axes=("model=large",))))


@pytest.mark.parametrize(
    ("levels", "says"),
    [
        ({"small": 5}, "sweep.axes.model.small is 5; give the level its settings"),
        ({"small": {}}, "sweep.axes.model.small is {}; give the level its settings"),
        ({"small": SMALL, "large": {"width": 1}}, "all levels of model have the same settings: ['width', 'depth']"),
        ({"small": {"width": [1], "depth": 1}}, "sweep.axes.model.small.width is [1]; must be a number, true, false"),
        ({"small": {"width": float("nan"), "depth": 1}}, "sweep.axes.model.small.width is nan; must be finite"),
        ({"small": {"wi dth": 1, "depth": 1}}, "sweep.axes.model is 'wi dth'; a setting has a name of its own"),
        ({"small": {"depth": 1}}, "command has {width}, which is not a factor of sweep.axes"),
        ({"small": SMALL | {"heads": 4}}, "command has no {heads}, so heads changes nothing"),
        ({"small": SMALL | {"name": 4}}, "{name} has a meaning of its own in a command"),
        ({"a_b": SMALL}, "sweep.axes.model[0] is 'a_b'; a word is a letter"),
        ({}, "sweep.axes.model is {}; name its levels"),
        ({1: SMALL, 2: LARGE}, "sweep.axes.model is 1; name the level with a word, such as small"),
        ({"10": SMALL}, "sweep.axes.model is '10'; name the level with a word, such as small"),
        ({True: SMALL, False: LARGE}, "sweep.axes.model is True; name the level with a word, such as small"),
    ],
)
def test_a_wrong_bundle_is_one_line(tmp_path: Path, levels: Any, says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        sweep(tmp_path, {"model": levels, "skip": [True, False]})
    assert any(says in line for line in refused.value.faults), refused.value.faults


def test_a_trainer_of_ones_own_gets_names_alone(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "FACTORS = {'model': {'kind': 'word'}}\nMETRICS = {'loss': {'kind': 'positive', 'better': 'lower'}}\n"
        "def train(cells, options, run): pass\n"
    )
    content = {"trainer": "own.py:train", "sweep": {"axes": {"model": {"small": SMALL, "large": LARGE}}}}
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    with pytest.raises(ConfigError, match=r"only a script's command gets them; write the names: \[small, large\]"):
        load(CommandLine(config=tmp_path / "sweep.yaml"))
    content["sweep"] = {"axes": {"model": [True]}}
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    with pytest.raises(ConfigError, match="must be a word"):
        load(CommandLine(config=tmp_path / "sweep.yaml"))
