"""What a document of a sweep directory may hold is said by its type; all else is a line with file and field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.small_sweeps import make_store, make_sweep

from hpc.errors import SweepError
from hpc.storage import documents
from hpc.storage.documents import MalformedError
from hpc.storage.results import ResultProvenance
from hpc.storage.store import Store

RESULT_PROVENANCE = {"attempts": 1, "pack": 1, "seconds": 1.5, "trained_by": None}


@pytest.mark.parametrize(
    ("field", "value", "line"),
    [
        ("pack", "1", "pack: expected 'int', got 'str'"),
        ("pack", 2**60, "pack: expected 'int' <= "),
        ("seconds", 10**400, "seconds: number out of range"),
        ("trained_by", [{"from_step": 0}], r"trained_by\[0\]: object missing required field 'code'"),
    ],
)
def test_a_field_that_does_not_fit_is_named(field: str, value: Any, line: str) -> None:
    assert documents.fitting(RESULT_PROVENANCE, ResultProvenance) is RESULT_PROVENANCE
    with pytest.raises(MalformedError, match=line):
        documents.fitting(RESULT_PROVENANCE | {field: value}, ResultProvenance)


@pytest.mark.parametrize("text", ["", "{", "NaN", '{"cells": 1e999}', "[" * 100_000, '"\\ud800', "\xff"])
def test_what_is_no_json_is_said_to_be_none(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(text, encoding="latin-1")
    with pytest.raises(MalformedError):
        documents.read(tmp_path / "x.json", documents.ProgressDocument)


def test_what_a_later_version_adds_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"cells": {"a": [1, 2]}, "new": {"of": "later"}}')
    assert documents.read(tmp_path / "x.json", documents.ProgressDocument)["new"] == {"of": "later"}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": 3}, "name"),
        ({"grid": {"axes": [["width", []]], "seeds": [1]}}, r"grid.axes\[0\]\[1\]"),
        ({"grid": {"axes": [["width", [1]]], "seeds": []}}, "grid.seeds"),
        ({"grid": {"axes": [["width", [1, 1]]], "seeds": [1]}}, "has a value twice"),
        ({"grid": {"axes": [["../up", [1]]], "seeds": [1]}}, "factor's name"),
        ({"grid": {"axes": [[f"axis{i}", [1]] for i in range(60)], "seeds": [1]}}, "names of cells"),
        ({"analysis": {"alpha": 5}}, "analysis.alpha"),
        ({"analysis": {"tests": [{"metric": "loss", "slope": 3}]}}, r"analysis.tests\[0\].slope"),
        ({"wandb": "on"}, "wandb"),
        ({"checkpoint_seconds": -1}, "checkpoint_seconds"),
        ({"provenance": []}, "provenance"),
        ({"resources": {"mem_gb": 3}}, "resources"),
        ({"resources": [{"mem_gb": 3}]}, r"resources\[0\].*when"),
        ({"resources": [{"when": [["width", [1]]], "mem_gb": "all"}]}, r"resources\[0\].mem_gb"),
        ({"resources": [{"when": [["width", [1]]], "partition": "a\nb"}]}, r"resources\[0\].partition"),
        ({"resources": [{"when": []}] * 101}, "resources"),
    ],
)
def test_a_sweep_that_is_none_is_refused_by_its_field(change: dict[str, Any], field: str, tmp_path: Path) -> None:
    store: Store = make_store(tmp_path / "out", make_sweep())
    document = json.loads(store.paths.sweep_file.read_text())
    document["revisions"][-1] |= change
    store.paths.sweep_file.write_text(json.dumps(document))
    with pytest.raises(SweepError, match=field) as refused:
        store.sweep()
    assert str(refused.value).startswith(str(store.paths.sweep_file))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"sections": {}}, "sections.data.dir"),
        ({"sections": {"data": {"dir": 3}}}, "sections.data.dir"),
        ({"sections": {"data": {"dir": None}}}, "sections.data.dir"),
        ({"sections": {"data": {"dir": "/data", "image_dir": [1]}}}, "sections.data.image_dir"),
        ({"sections": {"data": {"dir": "/data"}}, "data_files": ["/etc/*"]}, "trainer.data_files"),
        ({"sections": {"data": {"dir": "/data"}}, "data_files": [""]}, "trainer.data_files"),
        ({"sections": {"data": {"dir": "/data"}}, "data_files": ["../*"]}, "trainer.data_files"),
    ],
)
def test_a_sweep_with_a_digest_of_data_says_where_they_lie(change: dict[str, Any], field: str, tmp_path: Path) -> None:
    store = make_store(tmp_path / "out", make_sweep())
    document = json.loads(store.paths.sweep_file.read_text())
    document["revisions"][-1] |= {"data_digest": "0" * 64, "sections": change["sections"]}
    document["revisions"][-1]["trainer"]["data_files"] = change.get("data_files", ["*.npy"])
    store.paths.sweep_file.write_text(json.dumps(document))
    with pytest.raises(SweepError, match=field):
        store.sweep()


RETENTION = {"kept": "loss", "other": "accuracy", "factor": "width", "kept_chance": 1.0, "other_chance": 0.5}


@pytest.mark.parametrize(
    ("test", "said"),
    [
        ({}, "is not one of"),
        ({"metric": "loss"}, "is not one of"),
        ({"metric": "loss", "slope": "width", "compare": {"width": [1, 2]}}, "is not one of"),
        ({"slope": "width"}, "lacks metric"),
        ({"compare": {"width": [1, 2]}}, "lacks metric"),
        ({"retention": RETENTION | {"other_chance": None}}, "lacks other_chance"),
        ({"retention": {key: value for key, value in RETENTION.items() if key != "kept_chance"}}, "lacks kept_chance"),
    ],
)
def test_a_declared_test_says_all_that_its_kind_needs(test: dict[str, Any], said: str, tmp_path: Path) -> None:
    store = make_store(tmp_path / "out", make_sweep())
    document = json.loads(store.paths.sweep_file.read_text())
    document["revisions"][-1]["analysis"]["tests"] = [test]
    store.paths.sweep_file.write_text(json.dumps(document))
    with pytest.raises(SweepError, match=rf"analysis.tests\[0\] {said}"):
        store.sweep()


def test_what_a_later_version_says_of_a_test_is_left_alone(tmp_path: Path) -> None:
    from aggregate.analysis.fixed_analysis import Analysis

    store = make_store(tmp_path / "out", make_sweep())
    document = json.loads(store.paths.sweep_file.read_text())
    document["revisions"][-1]["analysis"]["tests"] = [{"retention": RETENTION | {"later": 1}, "later": 2}]
    store.paths.sweep_file.write_text(json.dumps(document))
    (test,) = Analysis.of(store.sweep().analysis).tests or ()
    assert (test.kept, test.kept_chance) == ("loss", 1.0)  # type: ignore[union-attr]
