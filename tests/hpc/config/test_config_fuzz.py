"""Arbitrary nonsense: a configuration is read or refused in lines; it never ends in a traceback."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.nonsense import LEAVES, nested, paths, replaced
from helpers.predecessor import PREDECESSOR
from hypothesis import given, settings
from hypothesis import strategies as st

from hpc.config.load import CommandLine, load
from hpc.errors import ConfigError
from hpc.starter import files as starter

WORDS = """data model synergy training experiment sweep trainer trainer_options checkpoint keep analysis
    dir batch_size domains name domain_type workspace_dim fusion_weights feature_indices unique_indices
    loss_scale epochs optimizer lr type grad_clip loss_configs weights early_stopping patience fusion
    dims scales axes exclude include when zip draw n method ranges min max log dim scale
    runs_per_condition seeds every_seconds checkpoints alpha
    resources when mem_gb timeout_min partition source
    reference attr v command metrics measures progress checkpoint resume factors from kind better
    stop_when metric primary_metrics output_dir log_to_wandb wandb_project min_delta cycle int str [key] 0 a.b"""
KEYS = sorted(WORDS.split())
NAMES = st.sampled_from(KEYS) | st.text(max_size=6) | st.integers(-3, 3) | st.booleans()
NESTED = nested(NAMES)
ROOTS = st.dictionaries(st.sampled_from(KEYS[:]), NESTED, max_size=5) | NESTED


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def check(path: Path, **options: Any) -> None:
    """The promise: a sweep that goes through JSON unchanged, or faults of one line each that say where."""
    try:
        sweep = load(CommandLine(config=path, **options)).sweep
    except ConfigError as error:
        faults = error.faults
    else:
        assert json.loads(json.dumps(sweep.to_json(), allow_nan=False)) == sweep.to_json()
        return
    assert faults
    for line in faults:
        assert line.isprintable()
        assert line.startswith((f"{path.name}: ", "command line: "))
        assert len(line) < 1000


@settings(max_examples=120)
@given(ROOTS)
def test_any_structure_in_yaml_is_read_or_refused_in_lines(place: Path, document: Any) -> None:
    path = place / "f.yaml"
    path.write_text(yaml.dump(document, allow_unicode=True), encoding="utf-8", errors="surrogatepass")
    check(path)


PLAIN = st.recursive(
    LEAVES.filter(lambda leaf: leaf is None or isinstance(leaf, str | int | float)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
)


@settings(max_examples=100)
@given(PLAIN)
def test_any_structure_in_json_is_read_or_refused_in_lines(place: Path, document: Any) -> None:
    path = place / "f.json"
    path.write_text(json.dumps(document))
    check(path)


@settings(max_examples=120)
@given(st.sampled_from(list(paths(PREDECESSOR))), NESTED)
def test_any_value_in_the_place_of_a_good_one_is_read_or_refused_in_lines(
    place: Path, data_dir: Path, where: tuple[Any, ...], value: Any
) -> None:
    path = place / "f.yaml"
    document = replaced(replaced(PREDECESSOR, ("data", "dir"), str(data_dir)), where, value)
    path.write_text(yaml.dump(document, allow_unicode=True), encoding="utf-8", errors="surrogatepass")
    check(path)


@settings(max_examples=150)
@given(st.text(max_size=60) | st.text(alphabet="{}[]:,-&*!|>'\"#%@`? \n\tab1.~", max_size=40))
def test_any_text_is_read_or_refused_in_lines(place: Path, text: str) -> None:
    for name in ("f.yaml", "f.json"):
        path = place / name
        path.write_text(text, encoding="utf-8", errors="surrogatepass")
        check(path)


@settings(max_examples=100)
@given(st.binary(max_size=40))
def test_any_bytes_are_read_or_refused_in_lines(place: Path, data: bytes) -> None:
    for name in ("f.yaml", "f.json"):
        path = place / name
        path.write_bytes(data)
        check(path)


DOTTED = st.lists(st.sampled_from(KEYS) | st.text(max_size=4), max_size=4).map(".".join)


@settings(max_examples=120)
@given(
    st.lists(st.builds("{}={}".format, DOTTED, st.text(max_size=12)) | st.text(max_size=20), max_size=3),
    st.none() | st.text(max_size=12),
    st.lists(st.builds("{}={}".format, st.sampled_from(KEYS), st.text(max_size=8)), max_size=2),
    st.none() | st.integers(-3, 10**9),
)
def test_any_command_line_is_read_or_refused_in_lines(
    place: Path, data_dir: Path, overrides: list[str], dims: str | None, axes: list[str], runs: int | None
) -> None:
    path = place / "f.yaml"
    path.write_text(yaml.safe_dump(replaced(PREDECESSOR, ("data", "dir"), str(data_dir))))
    check(path, overrides=overrides, dims=dims, axes=axes, runs_per_condition=runs)


SCRIPT = {
    "trainer": {
        "command": "python train.py --lr {lr} {width} {wd} {warm} {drop} {heads} --seed {seed} --out {dir}",
        "metrics": "metrics.json",
        "progress": "log.csv",
        "checkpoint": "state.pt",
        "resume": "--from {checkpoint}",
        "measures": {"loss": {"from": "test.loss", "kind": "positive", "better": "lower"}, "acc": None},
        "factors": {"lr": {"log": True}},
    },
    "sweep": {
        "name": "script",
        "axes": {
            "lr": [0.1, 1.0, 2.0],
            "model": {"s": {"width": 1}, "l": {"width": 2}},
            "wd": [0.0, 1.0, 0.0],
            "warm": [0, 0, 5],
        },
        "zip": [["wd", "warm"]],
        "draw": {
            "n": 3,
            "method": "random",
            "seed": 1,
            "ranges": {"drop": {"min": 0.1, "max": 0.5, "log": True}, "heads": {"min": 1, "max": 8}},
        },
        "when": {"lr": {"model": ["s", "l"]}},
        "exclude": [{"lr": 0.1, "model": "l"}],
        "include": [{"lr": 9.5, "model": "s", "wd": 3.5, "warm": 1, "drop": 0.9, "heads": 1}],
        "runs_per_condition": 2,
    },
    "stop_when": {"metric": "loss", "patience": 3, "min_delta": 0.01},
    "resources": [
        {"when": {"lr": [0.1, 9.5]}, "mem_gb": 8, "timeout_min": "1:00:00", "cpus_per_task": 2},
        {"when": {"model": "l", "lr": 1.0}, "mem_gb": 64, "partition": "long", "constraint": "a&b", "qos": "q"},
        {"when": {"model": "s"}, "account": "lab", "source": "a pilot"},
    ],
}


@settings(max_examples=250)
@given(st.sampled_from(list(paths(SCRIPT))), NESTED)
def test_any_value_in_a_script_section_is_read_or_refused_in_lines(
    place: Path, where: tuple[Any, ...], value: Any
) -> None:
    (place / "train.py").touch()
    path = place / "f.yaml"
    document = replaced(SCRIPT, where, value)
    path.write_text(yaml.dump(document, allow_unicode=True), encoding="utf-8", errors="surrogatepass")
    check(path)


PASTED = st.lists(
    st.sampled_from(["python", "train.py", "--lr", "0.1", "--seed=3", "-o", "out", "{x}", "a=b", "=", "'", "$(", "\n"])
    | st.text(max_size=6)
)


@settings(max_examples=200)
@given(PASTED.map(" ".join))
def test_any_pasted_command_becomes_a_sound_configuration_or_is_refused_in_a_line(place: Path, line: str) -> None:
    (place / "train.py").touch()
    path = place / "f.yaml"
    try:
        text = starter.configuration(place, starter.Answers(command=line))
    except ConfigError as error:
        faults = error.faults
    else:
        path.write_text(text, encoding="utf-8", errors="surrogatepass")
        load(CommandLine(config=path))
        return
    assert len(faults) == 1
    assert faults[0].startswith("command line: --from")
