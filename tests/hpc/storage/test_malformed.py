"""What lies in a directory is not what Holdfast writes: every command says so in a line and ends."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpc.checkout import BUILT_IN_TRAINER
from hpc.cli.app import main
from hpc.storage.store import Store
from hpc.submission import intents

CELL = "width_1_run_0"
HALF = "a\ud800b"  # of a character: JSON can write it, and no file can
STOP = {"metric": "loss", "patience": 1, "min_delta": 0.0, "better": "lower"}
LOOKING = ("status", "plan", "show", "cancel", "aggregate", "redo", "submit")
Edit = Callable[[Any], None]


@pytest.fixture
def out(swept: Path, tmp_path: Path) -> Path:
    shutil.copytree(swept, tmp_path / "out")
    return tmp_path / "out"


def edit(path: Path, change: Edit) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def in_every_revision(change: Edit) -> Edit:
    return lambda document: [change(revision) for revision in document["revisions"]] and None


def said(command: str, out: Path, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """Exit code and output. An exception that nothing catches would come through."""
    more = {"show": (CELL,), "cancel": ("-y",), "redo": ("-y", "--cell", CELL), "submit": ("--profile", "local")}
    dry = ("--dry-run",) if command == "submit" else ()
    code = main([command, str(out), *more.get(command, ()), *dry, *words])
    printed = capsys.readouterr()
    return code, printed.out + printed.err


@pytest.mark.parametrize("command", LOOKING)
@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda r: r["keep"].pop("weights"), "keep"),
        (lambda r: r["trainer"].update(files=[1, 2]), "trainer.files[0]"),
        (lambda r: r["trainer"].update(files=["a\0b"]), "trainer.files[0]"),
        (lambda r: r["trainer"].update(files=["a"] * 20_000), "trainer.files"),
        (lambda r: r["trainer"].update(files_mb="x"), "trainer.files_mb"),
        (lambda r: r["trainer"].update(files_mb=-1), "trainer.files_mb"),
        (lambda r: r["trainer"]["metrics"].update({HALF: r["trainer"]["metrics"]["loss"]}), "trainer.metrics"),
        (lambda r: r["trainer"]["metrics"]["loss"].update(label=HALF), "trainer.metrics[...].label"),
        (lambda r: r["trainer"]["metrics"]["loss"].update(about=3), "trainer.metrics[...].about"),
        (lambda r: r["trainer"]["factors"]["width"].update(label=HALF), "trainer.factors[...].label"),
        (lambda r: r["analysis"].update(labels=["loss"]), "analysis.labels"),
        (lambda r: r["analysis"].update(labels={"loss": HALF}), "analysis.labels[...]"),
        (lambda r: r.update(stop_when=STOP | {"min_delta": 10**400}), "stop_when.min_delta"),
        (lambda r: r.update(stop_when=STOP | {"patience": 10**400}), "stop_when.patience"),
        (lambda r: r.update(name=HALF), "name"),
        (lambda r: r.update(name="a\nb"), "name"),
    ],
)
def test_a_field_of_the_sweep_that_is_none_is_named(
    command: str, change: Edit, field: str, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(out / "sweep.json", in_every_revision(change))
    code, text = said(command, out, capsys)
    assert code == 2
    (line,) = text.splitlines()
    assert line.startswith(f"{out / 'sweep.json'}: not a sweep of Holdfast: ")
    assert f".{field}: " in line


@pytest.mark.parametrize("key", ["min_delta", "patience"])
def test_a_rule_of_an_early_version_that_is_none_is_refused_in_a_line(
    key: str, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The built-in trainer was told before there was stop_when."""
    rule = {"patience": 1, "min_delta": 0.0, key: 10**400 if key == "min_delta" else "x"}

    def change(revision: Any) -> None:
        revision["trainer"]["target"] = BUILT_IN_TRAINER
        revision["sections"]["training"] = {"early_stopping": rule}

    edit(out / "sweep.json", in_every_revision(change))
    code, text = said("status", out, capsys)
    assert code == 2
    (line,) = text.splitlines()
    assert "cannot be read by this version of Holdfast: stop_when" in line


@pytest.mark.parametrize("token", ["a\0b", HALF, "a\nb", ""])
@pytest.mark.parametrize("command", ["status", "plan", "cancel", "submit"])
def test_a_name_that_no_job_can_have_is_no_intent(
    token: str, command: str, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (out / "individual_results" / CELL / "results.json").unlink()
    store = Store(out)
    intent = intents.begin(store, [[[store.sweep().grid[0]]]], kind=intents.SLURM, profile="p", name="n", code="0" * 64)
    path = store.paths.intent_file(intent.number)
    edit(path, lambda document: document.update(tokens=[token]))
    code, text = said(command, out, capsys)
    assert code in (2, 3), text
    assert str(path) in text
    assert len(text.splitlines()) == 1


@pytest.mark.parametrize("at", [1e300, -1e300, 1e12, -1e12])
def test_a_redo_at_a_time_that_no_calendar_has_is_shown_without_one(
    at: float, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cell = out / "individual_results" / CELL
    shutil.copy(cell / "results.json", cell / "results.json.redone-000001")
    record = {"by": "x", "at": at, "cells": [CELL]}
    (out / "submissions" / "000001" / "redo.json").write_text(json.dumps(record))
    code, text = said("show", out, capsys)
    assert code == 0, text
    assert "earlier result, set aside by redo 1: COMPLETED" in text


@pytest.mark.parametrize("key", ["alpha", "primary_metrics", "reference", "looks"])
def test_seeds_are_advised_also_where_the_analysis_leaves_something_to_its_default(
    key: str, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(out / "sweep.json", in_every_revision(lambda revision: revision["analysis"].pop(key, None)))
    for goal in ("--target-halfwidth", "--target-effect"):
        code, text = said("plan", out, capsys, goal, "0.1")
        assert code in (0, 2), text
        assert len(text.splitlines()) < 10


@pytest.mark.parametrize("memory", [None, 0, 1e308])
def test_a_result_without_a_peak_of_memory_is_shown(
    memory: float | None, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = {"node": "n1", "device": "cpu", "seconds": 3.0, "peak_memory": memory}
    edit(out / "individual_results" / CELL / "results.json", lambda result: result["provenance"].update(facts))
    code, text = said("show", out, capsys)
    assert code == 0, text
    assert "trained 3 s on n1 (cpu)" in text


@pytest.mark.parametrize(
    ("command", "told"), [("plan", "cost not known yet"), ("aggregate", "whole result: seconds: ")]
)
def test_a_time_that_no_training_takes_is_none(
    command: str, told: str, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three finished cells, from whose times that of the fourth would be estimated."""
    (first, *others) = sorted((out / "individual_results").glob("*/results.json"))
    first.unlink()
    for path, seconds in zip(others, (1.7e308, 1e300, 1.0), strict=True):
        edit(path, lambda result, seconds=seconds: result["provenance"].update(seconds=seconds))
    code, text = said(command, out, capsys, *(["--partial"] if command == "aggregate" else []))
    assert code == 0, text
    assert told in text


@pytest.mark.parametrize(
    ("field", "value"),
    [("signal_delay_s", 10**400), ("sizes", [10**400]), ("requested", [{"timeout_min": 10**400}])],
    ids=["signal_delay_s", "sizes", "requested"],
)
def test_a_number_of_a_submission_that_is_out_of_range_is_none(
    field: str, value: Any, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (out / "individual_results" / CELL / "results.json").unlink()
    store = Store(out)
    intent = intents.begin(store, [[[store.sweep().grid[0]]]], kind=intents.SLURM, profile="p", name="n", code="0" * 64)
    edit(store.paths.intent_file(intent.number), lambda document: document.update({field: value}))
    code, text = said("status", out, capsys)
    assert code in (2, 3), text
    assert "intent.json: cannot be read by this version of Holdfast" in text


@pytest.mark.parametrize("name", [HALF, "a\udcffb", "a\0b", "a\nb"])
@pytest.mark.parametrize("command", ["status", "show", "aggregate"])
def test_a_metric_whose_name_cannot_be_printed_is_none(
    name: str, command: str, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(out / "individual_results" / CELL / "results.json", lambda result: result["metrics"].update({name: 0.5}))
    _, text = said(command, out, capsys, *(["--partial"] if command == "aggregate" else []))
    assert f"{CELL}/results.json: not a whole result: a metric's name cannot be printed" in text


@pytest.mark.parametrize("key", ["outcome_digest", "config_digest"])
def test_a_digest_that_cannot_be_printed_is_none(key: str, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit(out / "individual_results" / CELL / "results.json", lambda result: result.update({key: HALF}))
    _, text = said("aggregate", out, capsys, "--partial")
    assert f"not a whole result: {key} cannot be printed" in text


def test_a_folder_whose_name_is_no_text_belongs_to_no_cell(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (out / "individual_results" / "a\udcffb").mkdir()
    for command in ("status", "aggregate"):
        code, text = said(command, out, capsys)
        assert code == 0, text


def test_a_metric_of_the_predecessor_whose_name_cannot_be_printed_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [
        {"workspace_dim": 8, "synergy_scale": 0.1, "run_id": run, "loss": run, HALF: run, "a\0b": run} for run in (0, 1)
    ]
    (tmp_path / "aggregated_results.json").write_text(json.dumps({"all": {"individual_results": runs}}))
    code, text = said("aggregate", tmp_path, capsys)
    assert code == 0, text
