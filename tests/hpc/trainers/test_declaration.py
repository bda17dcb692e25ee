from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.small_sweeps import make_sweep

from hpc import protocol
from hpc.config.load import CommandLine, load
from hpc.config.script_section import read_script
from hpc.sweep.definition import DeclaredTrainer, Sweep
from hpc.trainers import loading
from hpc.trainers.data import data_digest
from hpc.trainers.declaration import command_declaration, read_declaration
from hpc.trainers.loading import load_function
from hpc.trainers.source import TrainerError

GOOD = """FACTORS = {"w": {"kind": "integer"}}
METRICS = {"loss": {"kind": "positive", "better": "lower"}}
def train(cells, options, run): pass
"""


def declare(directory: Path, text: str) -> DeclaredTrainer:
    (directory / "mine.py").write_text(text)
    return read_declaration("mine.py:train", [directory])


def refusal(directory: Path, text: str) -> str:
    with pytest.raises(TrainerError) as caught:
        declare(directory, text)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_a_module_that_cannot_even_be_imported_is_planned(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("raise RuntimeError('imported')\nimport a_package_that_is_nowhere\n" + GOOD)
    config = tmp_path / "sweep.yaml"
    config.write_text(yaml.safe_dump({"trainer": "mine.py:train", "sweep": {"axes": {"w": [1, 2]}, "seeds": [1]}}))
    before = set(sys.modules)
    sweep = load(CommandLine(config=config)).sweep
    assert [cell.name for cell in sweep.grid] == ["w_1_run_0", "w_2_run_0"]
    assert sweep.trainer.metrics == {"loss": {"kind": "positive", "better": "lower"}}
    assert not {"mine", "holdfast_trainer"} & (set(sys.modules) - before)


def test_annotated_declarations_are_read(tmp_path: Path) -> None:
    found = declare(
        tmp_path,
        "from training.contract import Factor, Metric\n"
        'FACTORS: dict[str, Factor] = {"w": {"kind": "word", "field": "w_size"}}\n'
        "METRICS: dict[str, Metric] = {}\n"
        'PACK_MODE: str = "fused"\n'
        'DATA_FILES: list[str] = ["*.npy"]\n'
        "def train(cells, options, run): pass\n",
    )
    assert found.factors == {"w": {"kind": "word", "field": "w_size"}}
    assert found.pack_mode == "fused"
    assert found.data_files == ("*.npy",)
    assert found.field_of("w") == "w_size"


def test_cells_run_one_by_one_and_all_data_counts_unless_the_trainer_says_otherwise(tmp_path: Path) -> None:
    found = declare(tmp_path, GOOD)
    assert found.pack_mode == "sequential"
    assert found.data_files == ("*",)


@pytest.mark.parametrize("declared", ['["steps"]', '("steps",)', '{"steps": 100}'])
def test_an_option_that_a_trainer_does_not_declare_is_refused(tmp_path: Path, declared: str) -> None:
    (tmp_path / "mine.py").write_text(f"OPTIONS = {declared}\n{GOOD}")
    assert read_declaration("mine.py:train", [tmp_path], ["steps"]).factors
    with pytest.raises(TrainerError, match=r"unknown key 'trainer_options.stpes'. Did you mean 'steps'\?"):
        read_declaration("mine.py:train", [tmp_path], ["stpes"])


def test_a_trainer_that_declares_no_options_takes_any(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(GOOD)
    assert read_declaration("mine.py:train", [tmp_path], ["anything"]).factors
    (tmp_path / "mine.py").write_text(f"OPTIONS = 'steps'\n{GOOD}")
    with pytest.raises(TrainerError, match="OPTIONS is 'steps'; write a list of names"):
        read_declaration("mine.py:train", [tmp_path])


def test_a_file_in_another_encoding_is_read_as_python_reads_it(tmp_path: Path) -> None:
    text = "# -*- coding: latin-1 -*-\n# gr\xf6\xdfe\n" + GOOD
    (tmp_path / "mine.py").write_bytes(text.encode("latin-1"))
    assert read_declaration("mine.py:train", [tmp_path]).factors


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('{"loss"', 'dict(a=1) or {"loss"', "mine.py:2: METRICS is computed; write it as a literal"),
        ('{"kind": "integer"}', "SHARED", "mine.py:1: FACTORS is computed; write it as a literal"),
        ('"w":', "[1]:", "mine.py:1: FACTORS is computed; write it as a literal"),
        ("METRICS", "metrics", "mine.py does not declare METRICS; add a literal dictionary at its top level"),
        ("FACTORS = ", "if True: FACTORS = ", "mine.py does not declare FACTORS"),
        ("def train", "def fit", "mine.py has no function 'train'; give the trainer's name after the colon"),
        ("def train", "class train:\n  def f", "mine.py has no function 'train'"),
        ("def train(", "def train((", "mine.py:3 is not valid Python: "),
        ("def train", "\0def train", "is not valid Python: "),
        ('"integer"', '"number"', "mine.py: FACTORS['w'] has kind 'number'; valid: integer, real, word"),
        (
            '"integer"',
            '"integer", "minimun": 1',
            "mine.py: FACTORS['w']: unknown key 'minimun'. Did you mean 'minimum'? ",
        ),
        ('"integer"', '"integer", "minimum": "1"', "mine.py: FACTORS['w']: 'minimum' is '1'; it must be a number"),
        ('"integer"', '"integer", "minimum": 1e999', "mine.py: FACTORS['w']: 'minimum' is inf; it must be a number"),
        ('"integer"', '"integer", "log": 1', "mine.py: FACTORS['w']: 'log' is 1; it must be True or False"),
        ('"integer"', '"integer", "overrides": 3', "mine.py: FACTORS['w']: 'overrides' is 3; it must be text"),
        ('"integer"', '"integer", "field": "Size"', "mine.py: FACTORS['w']: 'Size': a factor's name is lower-case"),
        ('"integer"', '"integer", "field": "seed"', "mine.py: FACTORS['w']: 'seed': this name is taken"),
        ('"integer"}', '"integer"}, "v": {"kind": "real", "field": "w"}', "FACTORS['v'] has the field 'w' of 'w'"),
        ('"w"', '"W"', "mine.py: FACTORS['W']: 'W': a factor's name is lower-case"),
        ('"w"', "1", "mine.py: FACTORS[1]: a name is text; put it in quotes"),
        ('"lower"', '"less"', "mine.py: METRICS['loss'] needs 'better': higher or lower"),
        ('"lower"', '"lower", "chance": True', "mine.py: METRICS['loss']: 'chance' is True; it must be a number"),
        ('"lower"', '"lower", "about": 3', "mine.py: METRICS['loss']: 'about' is 3; it must be text"),
        ('"lower"', '"lower", "scaled_by": "x"', "mine.py: METRICS['loss']: 'scaled_by' is 'x'; valid: w"),
        ('"lower"', '"lower", "error": "MSE"', "METRICS['loss']: 'error' is 'MSE'; valid: squared, cross entropy"),
        ('"loss"', '"epoch"', "mine.py: METRICS['epoch']: a metric's name is letters"),
        ('"loss"', '"a,b"', "mine.py: METRICS['a,b']: a metric's name is letters"),
        ('"loss"', r'"a\nb"', r"mine.py: METRICS['a\nb']: a metric's name is letters"),
        ('"loss"', '"../x"', "mine.py: METRICS['../x']: a metric's name is letters"),
        (
            "def train",
            "PACK_MODE = 'all'\ndef train",
            "mine.py: PACK_MODE is 'all'; valid: fused, concurrent, sequential",
        ),
        ("(cells, options, run)", "(cells)", "mine.py: train(cells) cannot be called; write (cells, options, run)"),
        ("(cells, options, run)", "(a, b, c, d)", "mine.py: train(a, b, c, d) cannot be called; write (cells, "),
        ("(cells, options, run)", "(a, b, c, *, d)", "mine.py: train(a, b, c, *, d) cannot be called; write (cells, "),
        ("def train", "DATA_FILES = '*.npy'\ndef train", "mine.py: DATA_FILES is '*.npy'; write a list of patterns"),
        ("def train", "DATA_FILES = []\ndef train", "mine.py: DATA_FILES is []; write a list of patterns"),
        ("def train", "DATA_FILES = ['/etc/*']\ndef train", "mine.py: DATA_FILES has '/etc/*'; write text relative"),
        ("def train", "DATA_FILES = ['../*']\ndef train", "mine.py: DATA_FILES has '../*'; write text relative"),
        ("def train", "DATA_FILES = [3]\ndef train", "mine.py: DATA_FILES has 3; write text relative"),
    ],
)
def test_a_wrong_declaration_is_one_line_with_its_place(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert expected in refusal(tmp_path, GOOD.replace(old, new, 1))


@pytest.mark.parametrize("target", ["mine", "mine.py", ":train", "mine.py:", "mine.py:not a name", "", "a.b.c:1x"])
def test_what_names_no_function_is_refused(tmp_path: Path, target: str) -> None:
    with pytest.raises(TrainerError, match=r"write module:function or path/to/file\.py:function"):
        read_declaration(target, [tmp_path])


@pytest.mark.parametrize(
    "target", ["nowhere:train", "no/where.py:train", "\0.py:train", "x" * 9000 + ".py:train", "..:t"]
)
def test_a_trainer_that_is_not_there_is_one_line(tmp_path: Path, target: str) -> None:
    with pytest.raises(TrainerError, match="was not found in"):
        read_declaration(target, [tmp_path])


def test_modules_and_packages_are_found_by_their_dotted_name(tmp_path: Path) -> None:
    (tmp_path / "lab" / "models").mkdir(parents=True)
    (tmp_path / "lab" / "models" / "__init__.py").write_text(GOOD)
    (tmp_path / "lab" / "net.py").write_text(GOOD)
    assert read_declaration("lab.models:train", [tmp_path]).target == "lab.models:train"
    assert read_declaration("lab.net:train", [tmp_path]).path == str(tmp_path / "lab" / "net.py")


def test_the_directory_of_a_file_is_no_part_of_its_identity(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "mine.py").write_text(GOOD)
    assert read_declaration("a/mine.py:train", [tmp_path]).target == "mine.py:train"


def test_the_built_in_trainer_declares_itself() -> None:
    root = Path(__file__).resolve().parents[3]
    found = read_declaration("training.workspace:train", [root])
    assert list(found.factors) == ["dim", "scale"]
    assert [found.field_of(name) for name in found.factors] == ["workspace_dim", "synergy_scale"]
    assert {"best_val_loss", "predictability/synergy_acc"} <= set(found.metrics)
    assert found.pack_mode == "fused"


COMMAND = {
    "command": "true",
    "factors": {"width": {"kind": "integer"}},
    "metrics": {"error": {"kind": "positive", "better": "lower"}},
}


def test_a_commands_cells_run_one_after_another_unless_the_configuration_says_otherwise() -> None:
    assert command_declaration(COMMAND)[0].pack_mode == "sequential"
    assert command_declaration(COMMAND | {"pack_mode": "concurrent"})[0].pack_mode == "concurrent"


@pytest.mark.parametrize("keys", [{"comand": "true"}, {0: None, "0": None}])
def test_an_unknown_key_of_a_command_is_refused(keys: dict[Any, Any]) -> None:
    with pytest.raises(TrainerError, match=rf"unknown key '{next(iter(keys))}'\..* Valid: command, factors, metrics"):
        command_declaration(COMMAND | keys)


@pytest.mark.parametrize("mode", ["fused", "all", ["concurrent"], None])
def test_a_command_gets_one_cell_a_call(mode: object) -> None:
    with pytest.raises(TrainerError, match="valid for a command: concurrent, sequential"):
        command_declaration(COMMAND | {"pack_mode": mode})


def test_a_file_is_loaded_under_a_name_that_hides_nothing_of_ours(tmp_path: Path) -> None:
    (tmp_path / "neighbour_of_mine.py").write_text("VALUE = 7\n")
    (tmp_path / "training.py").write_text(
        "from neighbour_of_mine import VALUE\n" + GOOD.replace("pass", "return VALUE")
    )
    import training

    train = load_function(read_declaration("training.py:train", [tmp_path]))
    assert train([], {}, None) == 7
    assert sys.modules["training"] is training


def test_a_module_found_beside_the_configuration_can_be_loaded(tmp_path: Path) -> None:
    (tmp_path / "lab_only_here").mkdir()
    (tmp_path / "lab_only_here" / "net.py").write_text(GOOD.replace("pass", "return 7"))
    assert load_function(read_declaration("lab_only_here.net:train", [tmp_path]))([], {}, None) == 7


# --- the data's digest ----------------------------------------------------------------------------------------------


def test_the_data_digest_follows_names_and_bytes_and_nothing_else(tmp_path: Path) -> None:
    for place in ("one", "two"):
        (tmp_path / place / "sub").mkdir(parents=True)
        (tmp_path / place / "sub" / "b.npy").write_bytes(b"b")
        (tmp_path / place / "a.npy").write_bytes(b"a")
    (tmp_path / "two" / "notes.txt").write_text("not data")
    patterns = ["a.npy", "sub/*.npy"]
    first = data_digest(tmp_path / "one", patterns)
    assert data_digest(tmp_path / "two", patterns) == first
    assert data_digest(tmp_path / "two", [*patterns[::-1], "*.npy"]) == first
    (tmp_path / "two" / "a.npy").rename(tmp_path / "two" / "sub" / "a.npy")
    assert data_digest(tmp_path / "two", patterns) != first


def test_content_moved_between_two_files_changes_the_digest(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"xy")
    (tmp_path / "b").write_bytes(b"z")
    before = data_digest(tmp_path, ["*"])
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "b").write_bytes(b"yz")
    assert data_digest(tmp_path, ["*"]) != before


def test_a_directory_without_the_data_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        data_digest(tmp_path, ["*.npy"])


@pytest.mark.parametrize(("first_line", "documentation"), [("x = 1", None), ('"""Trains."""', "Trains.")])
def test_what_stands_in_for_a_trainer_whose_name_is_taken_is_its_code_alone(
    tmp_path: Path, first_line: str, documentation: str | None
) -> None:
    (tmp_path / "json.py").write_text(f"{first_line}\ndef train(cells, options, run): pass\n")
    place = Path(loading.__file__).parent / "stand_in"
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", "import holdfast_trainer as t; print(t.__file__, t.train, t.__doc__)"],
        env=os.environ | {"PYTHONPATH": str(place), protocol.TRAINER_FILE: str(tmp_path / "json.py")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith(f"{tmp_path / 'json.py'} <function train")
    assert done.stdout.endswith(f" {documentation}\n")
    assert done.stderr == ""  # also no warning that the file is left open


def test_a_colon_too_many_is_called_that(tmp_path: Path) -> None:
    with pytest.raises(TrainerError, match=r"has a colon too many; write mine\.py:FUNCTION"):
        read_declaration("mine.py::train", [tmp_path])


def test_what_a_trainer_draws_from_its_seed_is_one_line_of_text(tmp_path: Path) -> None:
    for name, value in (("good.py", "the order of the samples"), ("bad.py", 3), ("long.py", "two\nlines")):
        (tmp_path / name).write_text(f"SEEDED = {value!r}\n{GOOD}")
    assert read_declaration("good.py:train", [tmp_path]).seeded == "the order of the samples"
    for name in ("bad.py", "long.py"):
        with pytest.raises(TrainerError, match=rf"{name}: SEEDED is .*; write one line of text"):
            read_declaration(f"{name}:train", [tmp_path])
    assert command_declaration(COMMAND | {"seeded": "all of it"})[0].seeded == "all of it"
    with pytest.raises(TrainerError, match="seeded is 3; write one line of text"):
        command_declaration(COMMAND | {"seeded": 3})
    script = {"command": "train {dim} {seed}", "metrics": "metrics.json", "measures": {"loss": {}}}
    assert read_script(script | {"seeded": "all of it"}, {"dim": [4, 8]}, [], False).trainer.seeded == "all of it"
    with pytest.raises(TrainerError, match="seeded is 3; write one line of text"):
        read_script(script | {"seeded": 3}, {"dim": [4, 8]}, [], False)


def test_a_declaration_without_words_on_its_seed_is_written_as_earlier_versions_read_it() -> None:
    sweep = make_sweep()
    for seeded in ("", "the initial weights"):
        told = replace(sweep, trainer=replace(sweep.trainer, seeded=seeded))
        assert ("seeded" in told.to_json()["trainer"]) == bool(seeded)
        assert Sweep.from_json(told.to_json()).trainer.seeded == seeded
