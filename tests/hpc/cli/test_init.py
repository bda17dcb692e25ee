"""`holdfast init`: files that work as they are, questions on a terminal, nothing overwritten."""

from __future__ import annotations

import os
import pty
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from helpers.command_line import ROOT, WIDTH, Holdfast, environment, result
from helpers.waiting import PATIENCE

from hpc.config.schema.configuration import Configuration
from hpc.faults import Section
from hpc.slurm.profile_file import load_profile
from hpc.starter.pasted_command import read_pasted
from hpc.storage.store import Store


def test_what_it_writes_can_be_planned_and_submitted_as_it_is(holdfast: Holdfast, tmp_path: Path) -> None:
    holdfast("init", "lab", "--trainer", f"{WIDTH}:train", "--runs", "3", "--partition", "gpu", "--gpus", "1")
    planned = holdfast("plan", "--config", "lab/sweep.yaml", "--set", "partition=low", "--profile", "lab/cluster.yaml")
    assert "6 cells: 0 done" in planned.stdout
    profile = load_profile(str(tmp_path / "lab" / "cluster.yaml"))
    assert (profile.parameters["partition"], profile.device) == ("gpu", "cuda")


def test_without_a_trainer_it_is_the_built_in_experiment(holdfast: Holdfast, tmp_path: Path) -> None:
    holdfast("init")
    written = Configuration(**yaml.safe_load((tmp_path / "sweep.yaml").read_text()))
    assert written.sweep.dims == [8, 12, 16, 24, 32]
    assert load_profile(str(tmp_path / "cluster.yaml")).parameters["timeout_min"] == 240
    assert all(line == line.rstrip() for line in (tmp_path / "cluster.yaml").read_text().splitlines())


def test_it_overwrites_nothing(holdfast: Holdfast, tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").write_text("mine")
    said = holdfast("init", expect=2).stderr
    assert "cluster.yaml: already exists" in said
    assert (tmp_path / "cluster.yaml").read_text() == "mine"
    assert not (tmp_path / "sweep.yaml").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--partition", "a b"), "partition is 'a b'"),
        (("--trainer", "nowhere.py:train"), "--trainer: trainer 'nowhere.py' was not found"),
        (("--name", "a b"), "--name is 'a b'; letters, digits, _ . - only"),
        (("--gpus", "-1"), "gpus_per_node"),
        (("--partition", "x\ny: z"), "partition is"),
        (("--from", "python 'train.py"), '--from is "python \'train.py"; no closing quotation'),
        (("--from", " "), "--from is ' '; paste the command that trains once"),
        (("--from", "python nowhere.py --lr 0.1"), "--from: command names nowhere.py, which is not in"),
        (("--from", "cd a && python x.py"), "and has && of the shell; paste the one command that trains"),
        (("--from", "python -c pass --lr 1 | tee log"), "and has | of the shell"),
        (("--from", "python -c pass", "--trainer", "a.py:train"), "--from and --trainer name two trainers"),
    ],
)
def test_a_wrong_answer_is_one_line_and_writes_nothing(
    holdfast: Holdfast, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    heard = holdfast("init", *words, expect=2).stderr
    assert said in heard
    assert len(heard.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_all_keys_are_printed_with_their_defaults_and_nothing_is_written(holdfast: Holdfast, tmp_path: Path) -> None:
    printed = holdfast("init", "--all-keys").stdout
    assert not list(tmp_path.iterdir())
    written = yaml.safe_load(printed)
    assert set(written) == set(Configuration.model_fields)
    assert Configuration(**written).training == Configuration().training
    assert printed == (ROOT / "config_template.yaml").read_text()


def keys(section: type[Section]) -> Iterator[str]:
    """The names of a section's keys and of those of all sections in it."""
    for name, field in section.model_fields.items():
        yield name
        yield from (key for inner in sections(field.annotation) for key in keys(inner))


def sections(annotation: Any) -> list[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [found for argument in get_args(annotation) for found in sections(argument)]


def test_the_template_names_every_key_of_every_section() -> None:
    template = (ROOT / "slurm_templates" / "config_template.yaml").read_text()
    known = set(keys(Configuration)) - {"early_stopping"}  # which is refused, with what stands in its place
    assert {"workspace_dim", "lr", "min_delta", "mem_gb", "group"} < known
    assert {key for key in known if not re.search(rf"\b{key}\b", template)} == set()


def on_a_terminal(directory: Path, typed: str) -> tuple[int, str, str]:
    """(exit code, what it printed, what it printed to stderr) of `init` for these lines."""
    ours, theirs = pty.openpty()
    asked = subprocess.Popen(
        [sys.executable, "-m", "hpc", "init"],
        cwd=directory,
        env=environment(),
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.write(ours, typed.encode())
    told, heard = asked.communicate(timeout=PATIENCE)
    os.close(ours)
    os.close(theirs)
    return asked.returncode, told, heard


def test_on_a_terminal_it_asks_and_an_empty_line_keeps_the_default(tmp_path: Path) -> None:
    code, told, _ = on_a_terminal(tmp_path, "first\n\n\nlow\n30\n\n\n\n")
    assert code == 0, told
    assert "name of the sweep [sweep]:" in told
    assert yaml.safe_load((tmp_path / "sweep.yaml").read_text())["sweep"]["name"] == "first"
    parameters = load_profile(str(tmp_path / "cluster.yaml")).parameters
    assert (parameters["partition"], parameters["timeout_min"], parameters["mem_gb"]) == ("low", 30, 4)


def test_on_a_terminal_a_wrong_answer_is_told_at_once_and_asked_again(tmp_path: Path) -> None:
    wrong_then_right = [
        *("a b", "first"),
        *("nowhere.py:train", f"{WIDTH}:train"),
        *("three", "0", "3"),
        *("g p u", "gpu"),
        *("-5", "soon", ""),
        *("-1", "1"),
        *("0", "2"),
        *("inf", "nan", "8"),
    ]
    code, told, heard = on_a_terminal(tmp_path, "".join(f"{line}\n" for line in wrong_then_right))
    assert code == 0, heard
    assert told.count("time limit of a task in minutes [240]:") == 3
    faults = [line for line in heard.splitlines() if line.startswith("  ")]
    assert [fault.split()[0].strip(":") for fault in faults[:2]] == ["name", "trainer"]
    assert faults[2:4] == ["  'three' is not a whole number", "  runs is 0; give a whole number, 1 or more"]
    assert len(faults) == 11
    assert yaml.safe_load((tmp_path / "sweep.yaml").read_text())["sweep"]["runs_per_condition"] == 3
    parameters = load_profile(str(tmp_path / "cluster.yaml")).parameters
    kept = [parameters[name] for name in ("partition", "timeout_min", "gpus_per_node", "cpus_per_task", "mem_gb")]
    assert kept == ["gpu", 240, 1, 2, 8]


def test_the_end_of_input_writes_nothing(tmp_path: Path) -> None:
    code, _, heard = on_a_terminal(tmp_path, "first\n\x04")
    assert (code, heard.strip()) == (130, "")
    assert not list(tmp_path.iterdir())


def test_on_a_terminal_it_asks_nothing_if_the_files_are_there(tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text("mine")
    code, told, heard = on_a_terminal(tmp_path, "")
    assert (code, told) == (2, "")
    assert "sweep.yaml: already exists" in heard


def test_a_pasted_command_becomes_a_sweep_that_runs(holdfast: Holdfast, tmp_path: Path) -> None:
    shutil.copy(ROOT / "examples" / "scripts" / "classify.py", tmp_path / "train.py")
    pasted = "python train.py --lr 0.01 --width=16 --epochs 2 --random-seed 3 --out runs/first"
    holdfast("init", "--from", pasted.replace("--random-seed", "--seed"), "--runs", "2")
    written = yaml.safe_load((tmp_path / "sweep.yaml").read_text())
    command = "python train.py --lr {lr} --width={width} --epochs 2 --seed {seed} --out {dir}"
    assert written["trainer"]["command"] == command
    assert written["sweep"]["axes"] == {"lr": [0.01], "width": [16]}
    assert written["trainer"]["measures"] == ["test_acc", "train_loss"]
    holdfast("run", "--config", "sweep.yaml")
    store = Store(tmp_path / "out")
    assert [result(store, cell)["epochs"] for cell in store.sweep().grid] == [2, 2]


@pytest.mark.parametrize(
    ("pasted", "command", "axes"),
    [
        (
            "python {0} model.lr=1e-3 seed=1 hydra.run.dir=out",
            "python {0} model.lr={{model_lr}} seed={{seed}} hydra.run.dir={{dir}}",
            {"model_lr": "1e-3"},
        ),
        ("python {0} --out a/b.json -n 3", "python {0} --out {{dir}}/b.json -n {{n}} --seed {{seed}}", {"n": "3"}),
        (
            "python {0} --data sets/a --random-state 1",
            "python {0} --data {1}/sets/a --random-state {{seed}} --value {{value}}",
            {"value": "1"},
        ),
        (
            "CUDA=0 python {0} --lr -0.5 --num-workers 4",
            "CUDA=0 python {0} --lr {{lr}} --num-workers 4 --seed {{seed}}",
            {"lr": "-0.5"},
        ),
        (
            "SEED=1 python {0} \\\n  --lr 0.5 \\\n  --data $HOME/a",
            'SEED={{seed}} python {0} --lr {{lr}} --data "$HOME/a"',
            {"lr": "0.5"},
        ),
        (
            "python {0} --sep '|' --lr 0.5 --seed 1 --data ~/a",
            f"python {{0}} --sep '|' --lr {{{{lr}}}} --seed {{{{seed}}}} --data {Path.home()}/a",
            {"lr": "0.5"},
        ),
    ],
)
def test_seed_output_and_factors_of_a_pasted_command_are_recognised(
    tmp_path: Path, pasted: str, command: str, axes: dict[str, str]
) -> None:
    (tmp_path / "sets" / "a").mkdir(parents=True)
    (tmp_path / "x.py").touch()
    found = read_pasted(pasted.format("x.py"), [tmp_path])
    assert found.command == command.format("x.py", tmp_path)
    assert found.axes == axes
    assert len(found.notes) > len(axes) - ("value" in axes)


def test_what_a_script_reads_and_writes_is_found_in_its_source(tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text(
        "import argparse\nparser = argparse.ArgumentParser()\n"
        "parser.add_argument('--resume', action='store_true')\n"
        "row = {'epoch': 1, 'val': {'acc': 0.5, 'deep': {'loss': 1.0}}, 'acc': 0.5, 'note': {}}\n"
        "files = ['last.pt', 'log.jsonl', 'final.json']\n"
    )
    found = read_pasted("python x.py --lr 1 --seed 1", [tmp_path])
    assert (found.metrics, found.progress, found.checkpoint) == ("final.json", "log.jsonl", "last.pt")
    assert found.measures == {"acc": "val.acc", "loss": "val.deep.loss"}
    assert found.resume == "--resume"
    assert read_pasted("python x.py --lr 1 --seed 1 --resume", [tmp_path]).resume == ""


@pytest.mark.parametrize(
    ("options", "resume"),
    [
        ("'--resume-from', type=str", "--resume-from {checkpoint}"),
        ("'--ckpt_path'", "--ckpt_path {checkpoint}"),
        ("'-r', '--restart', action='store_true'", "--restart"),
        ("'--checkpoint-every', type=int", ""),
        ("'--lr', type=float", ""),
    ],
)
def test_how_a_script_is_made_to_resume_is_found_in_its_parser(tmp_path: Path, options: str, resume: str) -> None:
    (tmp_path / "x.py").write_text(f"import argparse\nargparse.ArgumentParser().add_argument({options})\n'a.pt'\n")
    assert read_pasted("python x.py --lr 1 --seed 1", [tmp_path]).resume == resume


def test_the_words_that_make_a_script_resume_stand_in_the_configuration(holdfast: Holdfast, tmp_path: Path) -> None:
    shutil.copy(ROOT / "examples" / "scripts" / "classify.py", tmp_path / "train.py")
    with (tmp_path / "train.py").open("a") as file:
        file.write("\n# parser.add_argument\nif False:\n    parser.add_argument('--resume', action='store_true')\n")
    holdfast("init", "--from", "python train.py --lr 0.01 --epochs 2 --seed 3 --out runs")
    written = yaml.safe_load((tmp_path / "sweep.yaml").read_text())
    assert written["trainer"]["resume"] == "--resume"
    assert "20 cells" in holdfast("plan", "--config", "sweep.yaml", "--axis", "lr=1,2,3,4").stdout
