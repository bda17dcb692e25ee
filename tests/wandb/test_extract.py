"""`holdfast wandb extract` gives the table of `aggregate`, number for number, from a server and from files."""

from __future__ import annotations

import json
import textwrap
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers.small_sweeps import make_sweep
from helpers.wandb_files import run, segment
from helpers.wandb_server import WandbServer
from helpers.wandb_sweeps import GROUP, PROJECT, client, tables, train, wandb_settings, width_sweep

from aggregate.pipeline import aggregate
from hpc.cli.app import main
from hpc.storage.permissions import untrusted
from hpc.storage.revisions import write_sweep
from hpc.storage.store import Store
from hpc.sweep.definition import Sweep
from hpc.sweep.grid import Axis, Grid
from hpc.trainers.declaration import read_declaration
from hpc.wandb.cells import SWEEP_KEY, cell_run, sweep_of, target_of

AWKWARD = """
FACTORS = {"kind": {"kind": "word"}, "rate": {"kind": "real", "field": "learning_rate"}}
METRICS = {
    "acc/a.b": {"kind": "bounded", "better": "higher"},
    "loss": {"kind": "positive", "better": "lower"},
    "never": {"kind": "real", "better": "lower"},
}


def train(cells, options, run):
    for cell in cells:
        rate = cell.factors["rate"]
        for epoch in range(1, 8):
            loss = {1: float("nan"), 2: 1e-300, 3: 1.0, 4: 1e22}.get(epoch, rate / (3 * epoch + cell.seed))
            row = {"loss": loss, "never": float("inf")} | ({"acc/a.b": 1 / epoch} if epoch % 2 else {})
            run.epoch(cell, epoch, 7, row)
        diverged = cell.factors["kind"] == "b" and cell.run_id == 1
        metrics = {"acc/a.b": None if diverged else rate / 7, "loss": rate + cell.seed / 3, "never": None}
        run.finish(cell, metrics, best_epoch=2, diverged=diverged)
"""


@pytest.fixture(autouse=True)
def without_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than all else here; test_wandb_cluster.py draws."""
    monkeypatch.setattr("aggregate.pipeline.aggregate", partial(aggregate, figures=False))


def extract(out: Path, *words: str, project: str = PROJECT, group: str = GROUP, expect: int = 0) -> None:
    arguments = ["--project", project, "--group", group, "--output-dir", str(out), *words]
    assert main(["wandb", "extract", *arguments]) == expect


def awkward_sweep(root: Path, directory: Path) -> tuple[Store, Sweep]:
    """Words and numbers as factors, metrics with dots and slashes, none, tiny and huge values, a cell that diverged."""
    (directory / "awkward.py").write_text(AWKWARD)
    sweep = Sweep(
        name="awkward",
        grid=Grid((Axis("kind", ("b", "a")), Axis("rate", (0.1, 0.05))), (7, 42)),
        trainer=read_declaration("awkward.py:train", [directory]),
        options={},
        sections={},
        data_digest="",
        analysis={"primary_metrics": ["loss"], "reference": None, "alpha": 0.1},
        checkpoint_seconds=60.0,
        keep={"weights": "final", "checkpoints": False},
        wandb=wandb_settings("offline"),
    )
    store = Store(root)
    write_sweep(store, sweep, {"versions": {}, "git": None})
    return store, sweep


def test_server_and_files_give_the_table_of_aggregate_byte_for_byte(server: WandbServer, tmp_path: Path) -> None:
    store, sweep = awkward_sweep(tmp_path / "out", tmp_path)
    assert train(store, sweep) == 0
    assert main(["wandb", "sync", str(store.paths.root), "--settle", "0"]) == 0
    expected = tables(store.paths.root)
    extract(tmp_path / "server", expect=4)  # all of them diverged
    extract(tmp_path / "files", "--offline", str(store.paths.root), expect=4)
    assert tables(tmp_path / "server") == expected
    assert tables(tmp_path / "files") == expected
    for cell in sweep.grid:
        for copy in ("server", "files"):
            assert (
                Store(tmp_path / copy).paths.history_file(cell).read_bytes()
                == store.paths.history_file(cell).read_bytes()
            )
    raw = json.loads((tmp_path / "server" / "wandb_raw.json").read_text())
    processed = json.loads((tmp_path / "server" / "wandb_processed.json").read_text())
    assert len(raw) == len(processed) == len(sweep.grid)
    results = {cell.name: json.loads(store.paths.result_file(cell).read_text()) for cell in sweep.grid}
    assert {entry["cell"]: entry["metrics"] for entry in processed} == {n: r["metrics"] for n, r in results.items()}


def test_no_code_is_run_that_a_run_names(tmp_path: Path) -> None:
    """Whoever wrote the .wandb files, what is made of them lies in a directory of one's own."""
    (tmp_path / "evil.py").write_text(f"def draw(*_):\n    open({str(tmp_path / 'drawn')!r}, 'w').close()\n")
    store, sweep = width_sweep(tmp_path / "theirs", mode="offline")
    named = {"analysis": dict(sweep.analysis) | {"figures": [f"{tmp_path}/evil.py:draw"]}}
    assert train(store, sweep) == 0
    target = replace(target_of(sweep), mode="offline")
    for cell in sweep.grid:
        run = cell_run(store, replace(sweep, **named), cell, target)
        assert run is not None
        assert "evil.py" in str(run.config), "the attack is in the run"
        assert (found := sweep_of(run)) is not None
        assert "evil" not in str(found.to_json())
    extract(tmp_path / "mine", "--offline", str(store.root))
    manifest = json.loads((tmp_path / "mine" / "sweep.json").read_text())
    manifest["revisions"][-1]["analysis"] |= named["analysis"]  # as an earlier version would have left it
    (tmp_path / "mine" / "sweep.json").write_text(json.dumps(manifest))
    (line,) = [text for text in aggregate(tmp_path / "mine").problems if "evil" in text]
    assert line.startswith(f"{tmp_path}/mine: it was made from runs of W&B, which anybody may have written; not drawn:")
    assert not (tmp_path / "drawn").exists()
    aggregate(tmp_path / "mine", trust=True)
    assert (tmp_path / "drawn").exists()
    assert "runs of W&B" in untrusted(Store(tmp_path / "mine"), ["width.py:train"])


def test_a_cell_without_a_run_is_missing_and_never_shrinks_n(
    server: WandbServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, sweep = width_sweep(tmp_path / "out")
    train(store, sweep)
    assert main(["wandb", "sync", str(store.paths.root), "--group", GROUP, "--settle", "0"]) == 0
    gone, partial, tampered = (server.named(cell.name) for cell in sweep.grid[:3])
    del server.runs[gone.entity, gone.project, gone.name]
    partial.state, partial.summary = "crashed", {}
    row = tampered.history[1]
    tampered.lines[1] = json.dumps(row | {"error": row["error"] * (1 + 1e-15) + 1e-16})
    extract(tmp_path / "x", expect=4)
    document = json.loads((tmp_path / "x" / "aggregated_results.json").read_text())
    counts = [condition["completeness"] for condition in document.values()]
    assert counts[0] == {"planned": 2, "completed": 0, "diverged": 0, "failed": 0, "conflict": 0, "missing": 2}
    assert counts[1] == {"planned": 2, "completed": 1, "diverged": 0, "failed": 0, "conflict": 1, "missing": 0}
    processed = json.loads((tmp_path / "x" / "wandb_processed.json").read_text())
    causes = {entry["cell"]: entry["cause"] for entry in processed}
    assert "its history is not the one that was published" in causes[tampered.fields["displayName"]]
    assert "after 5 epochs" in causes[partial.fields["displayName"]]
    extract(tmp_path / "x", "--partial")


@pytest.mark.parametrize(
    "words", [["plan"], ["run"], ["submit", "--profile", "local"], ["submit", "--profile", "local", "--dry-run"]]
)
def test_an_extracted_sweep_is_not_trained_with_whatever_has_the_name_of_its_trainer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    store, sweep = width_sweep(tmp_path / "out", mode="offline")
    train(store, sweep, list(sweep.grid)[:1])
    extract(tmp_path / "x", "--partial", "--offline", str(store.paths.root))
    capsys.readouterr()
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert main([words[0], str(tmp_path / "x"), *words[1:]]) == 2
        told = capsys.readouterr()
        (line,) = told.err.splitlines()
        assert "this sweep came from W&B, where the place of its trainer is not on record" in line
        assert "--config" in line
        (tmp_path / "width.py").write_text("raise SystemExit('another trainer of the same name')")
    assert list((tmp_path / "x").rglob("results.json")), "what was extracted stays"
    (again,) = Store(tmp_path / "x").manifest()["revisions"]
    assert again["provenance"]["wandb"]["runs"] == 1


def test_a_wrong_project_or_group_lists_those_that_the_files_have(
    server: WandbServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, sweep = width_sweep(tmp_path / "out", mode="offline")
    train(store, sweep)
    files = ("--offline", str(store.paths.root))
    for wrong in ({"project": "synergie"}, {"group": "pilott"}):
        extract(tmp_path / "x", *files, **wrong, expect=2)
        (line,) = capsys.readouterr().err.splitlines()
        assert f"project {PROJECT}, group {GROUP}: {len(sweep.grid)} runs" in line
    (tmp_path / "empty").mkdir()
    extract(tmp_path / "x", "--offline", str(tmp_path / "empty"), expect=2)
    assert capsys.readouterr().err.endswith("empty has no run at all\n")
    assert not (tmp_path / "x").exists()


def test_a_wrong_project_or_group_lists_those_that_the_server_has(
    server: WandbServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    extract(tmp_path / "x", expect=2)
    assert capsys.readouterr().err == (
        f"no run of group {GROUP!r} in project {PROJECT!r} matches; tester has no project at all\n"
    )
    store, sweep = width_sweep(tmp_path / "out")
    train(store, sweep)
    assert main(["wandb", "sync", str(store.paths.root), "--group", GROUP, "--settle", "0"]) == 0
    capsys.readouterr()
    for wrong, line in (
        ({"project": "synergie"}, f"in project 'synergie' matches; tester has the projects {PROJECT}\n"),
        ({"group": "pilott"}, f"matches; project {PROJECT} of tester has group {GROUP}: {len(sweep.grid)} runs\n"),
    ):
        extract(tmp_path / "x", **wrong, expect=2)
        (said,) = capsys.readouterr().err.splitlines(keepends=True)
        assert said.endswith(line)
    assert server.unknown == []
    assert not (tmp_path / "x").exists()


def test_a_sweep_that_was_run_is_never_overwritten(
    server: WandbServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, sweep = width_sweep(tmp_path / "out", mode="offline")
    train(store, sweep)
    before = {path: path.read_bytes() for path in store.paths.root.rglob("*") if path.is_file()}
    extract(store.paths.root, "--offline", str(store.paths.root), expect=2)
    assert "holds a sweep that was run there" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in store.paths.root.rglob("*") if path.is_file()} == before


# --- runs of the predecessor ------------------------------------------------------------------------------------------

PREDECESSOR = """
    import json, sys, wandb
    for spec in json.loads(sys.argv[2]):
        config = {
            "workspace_dim": spec["dim"], "synergy_loss_scale": spec["scale"], "seed": spec["seed"], "epochs": 3,
            "experiment_type": spec.get("experiment", "fusion_only"), "hidden_dim": 32, "decoder_hidden_dim": 32,
            "n_layers": 2, "loss_weights": {"fusion": 1.0, "cycle": 0.0},
        }
        run = wandb.init(
            project="synergy-bottleneck-sweep-2025", group="lowdim-synergy-prior", entity="lab", config=config,
            name=f"dim{spec['dim']}_scale{spec['scale']}_seed{spec['seed']}", tags=spec.get("tags", []),
            dir=sys.argv[1], mode=spec.get("mode"), reinit="create_new", id=spec["id"],
        )
        for epoch in range(3):
            loss = spec["loss"] + (2 - epoch) ** 2
            run.log({"epoch": epoch, "val_loss": loss, "train_loss": float("nan") if epoch == 0 else loss / 2})
        run.log({"predictability/synergy_acc": spec["acc"]})
        run.finish(exit_code=spec.get("exit", 0))
"""


def old_runs() -> list[dict[str, Any]]:
    grid = [(dim, scale, seed) for dim in (8, 2) for scale in (0.05, 1) for seed in (42, 43)]
    return [
        {
            "dim": d,
            "scale": s,
            "seed": seed,
            "loss": d / 7 + s + seed / 1000,
            "acc": d / 10 - seed / 1000,
            "id": f"o{i}",
        }
        for i, (d, s, seed) in enumerate(grid)
    ]


def old(out: Path, *words: str, expect: int = 0) -> None:
    project, group = "synergy-bottleneck-sweep-2025", "lowdim-synergy-prior"
    extract(out, "--entity", "lab", *words, project=project, group=group, expect=expect)


@pytest.mark.parametrize("place", ["server", "files"])
def test_runs_of_the_previous_tool_become_a_sweep(
    server: WandbServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    specs = old_runs()
    specs[3]["exit"] = 1
    others = [specs[0] | {"id": "other", "experiment": "all_losses", "acc": 0.9}]
    others.append(specs[1] | {"id": "second", "acc": 0.77, "tags": ["again"]})
    mode = {"mode": "offline" if place == "files" else "online"}
    client(PREDECESSOR, str(tmp_path / "wandb_files"), json.dumps([spec | mode for spec in specs + others]))
    words = ["--offline", str(tmp_path / "wandb_files")] if place == "files" else []
    old(tmp_path / "x", *words, expect=2)
    assert 'the runs differ in experiment_type: "fusion_only" in 9 runs, "all_losses" in 1 runs' in (
        capsys.readouterr().err
    )
    words += ["--config", "experiment_type=fusion_only"]
    old(tmp_path / "x", *words, expect=4)
    assert "dim_8_scale_0.05_run_1: runs o1, second ended differently; choose with --tags" in capsys.readouterr().err
    table = pd.read_parquet(tmp_path / "x" / "table.parquet").set_index("cell")
    assert list(table.index[:2]) == ["dim_2_scale_0.05_run_0", "dim_2_scale_0.05_run_1"]
    good = {f"dim_{s['dim']}_scale_{float(s['scale'])}_run_{s['seed'] - 42}": s for s in specs}
    failed, conflict = "dim_8_scale_1.0_run_1", "dim_8_scale_0.05_run_1"
    assert dict(table["state"]) == {
        name: {failed: "FAILED", conflict: "CONFLICT"}.get(name, "COMPLETED") for name in table.index
    }
    for name, spec in good.items():
        if name not in (failed, conflict):
            assert table.loc[name, "predictability/synergy_acc"] == spec["acc"]
            assert table.loc[name, "best_val_loss"] == spec["loss"]
            assert (table.loc[name, "workspace_dim"], table.loc[name, "seed"]) == (spec["dim"], spec["seed"])
            assert table.loc[name, "best_epoch"] == 3
    document = json.loads((tmp_path / "x" / "aggregated_results.json").read_text())
    accuracies = [spec["acc"] for spec in specs if (spec["dim"], spec["scale"]) == (2, 1)]
    found = document["dim_2_scale_1.0"]["aggregated_metrics"]["predictability/synergy_acc"]
    assert (found["mean"], found["n"]) == (pytest.approx(np.mean(accuracies), abs=1e-15), 2)
    curves = pd.read_parquet(tmp_path / "x" / "curves.parquet")
    first = curves[curves["cell"] == "dim_2_scale_1.0_run_0"]
    assert list(first["epoch"]) == [1, 2, 3]
    assert first["train_loss"].isna().iloc[0]
    chosen = ["--tags", "again"]
    old(tmp_path / "y", *words, *chosen)
    (only,) = json.loads((tmp_path / "y" / "wandb_processed.json").read_text())
    assert only["metrics"]["predictability/synergy_acc"] == 0.77
    capsys.readouterr()
    old(tmp_path / "z", *words, "--state", "killed", expect=2)
    assert "no run of group 'lowdim-synergy-prior'" in capsys.readouterr().err


def test_a_killed_runs_file_is_never_complete_whatever_it_holds(
    server: WandbServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, sweep = width_sweep(tmp_path / "out", mode="offline")
    train(store, sweep)
    paths = [
        store.paths.wandb_segment_file(run)
        for run in sorted(p.name.split("-")[1] for p in store.paths.wandb_root.iterdir())
    ]
    whole = paths[0].read_bytes()
    paths[0].write_bytes(whole[:-20])
    paths[1].write_bytes(whole[:7])
    extract(tmp_path / "x", "--offline", str(store.paths.root), expect=4)
    said = capsys.readouterr()
    assert textwrap.shorten(said.err, 10_000).count("rows before that are used") == 2
    assert "2 COMPLETED" in said.out


# --- files that no client has written -------------------------------------------------------------------------------


def offline(tmp_path: Path, *payloads: bytes) -> list[str]:
    """Words to extract what a file with these records holds."""
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "run-abc.wandb").write_bytes(segment(payloads))
    return ["--offline", str(tmp_path / "files")]


def recorded(**changes: Any) -> str:
    """A sweep as a run records it."""
    sweep = make_sweep().to_json()
    return json.dumps(sweep | changes)


@pytest.mark.parametrize("key", [[1], 3, None, "", "{", "[1]", "null", '{"name": 3}', '"\\ud800"'])
def test_a_run_whose_record_of_its_sweep_is_none_is_refused(
    key: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    extract(tmp_path / "x", *offline(tmp_path, *run({SWEEP_KEY: key})), project="p", group="g", expect=2)
    assert f"no run's {SWEEP_KEY} is a sweep as Holdfast writes it" in capsys.readouterr().err
    assert not (tmp_path / "x" / "sweep.json").exists()


def test_a_sweep_of_any_size_that_a_run_records_costs_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = {"axes": [[f"a{number}", list(range(10))] for number in range(12)], "seeds": [42]}
    words = offline(tmp_path, *run({SWEEP_KEY: recorded(grid=grid)}))
    extract(tmp_path / "x", *words, project="p", group="g", expect=2)
    said = capsys.readouterr().err
    assert "run-abc.wandb: the grid of its sweep has 1,000,000,000,000 cells, where at most 100,000 are read" in said


def test_runs_of_the_previous_tool_that_span_too_large_a_grid_cost_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "files").mkdir()
    for number in range(60):
        config = {"workspace_dim": number, "synergy_scale": number / 10, "seed": number}
        records = [record.replace(b"abc", b"a%02d" % number) for record in run(config, summary={"best_val_loss": 1.0})]
        (tmp_path / "files" / f"run-{number}.wandb").write_bytes(segment(records))
    extract(tmp_path / "x", "--offline", str(tmp_path / "files"), project="p", group="g", expect=2)
    assert "has 216,000 cells, where at most 100,000 are read" in capsys.readouterr().err


@pytest.mark.parametrize("text", [b"[" * 900 + b"]" * 900, b'{"a":' * 300 + b"1" + b"}" * 300, b'"\\ud800"', b"{"])
def test_a_value_that_no_file_can_hold_ends_the_reading(
    text: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = offline(tmp_path, *run({"workspace_dim": 8, "synergy_scale": 1.0, "seed": 42, "deep": text}))
    extract(tmp_path / "x", *words, project="p", group="g", expect=4)
    assert "a record is not as W&B writes it" in capsys.readouterr().err
