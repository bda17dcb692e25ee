"""stop_when from the command line: for functions, scripts and commands, from the configuration to the report."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
import yaml
from helpers.command_line import Holdfast, result

from aggregate.frames import load
from hpc.storage.store import Store

# Falls to a floor that it reaches after as many epochs as the cell's width says, by the seed a little earlier or later.
CURVE = """
def error(width, seed, epoch):
    return 0.1 + 0.1 * max(0, width + seed % 2 - epoch)
"""
FUNCTION = (
    CURVE
    + """
from training.contract import Checkpoint

FACTORS = {"width": {"kind": "integer"}}
METRICS = {"error": {"kind": "positive", "better": "lower"}}

def train(cells, options, run):
    for cell in cells:
        saved = run.restore(cell)
        epoch = saved.step if saved else 0
        while epoch < 12 and not run.stop and not run.stopped_early(cell):
            epoch += 1
            run.epoch(cell, epoch, 12, {"error": error(cell.factors["width"], cell.seed, epoch)})
        if epoch < 12 and not run.stopped_early(cell):
            run.save({cell: Checkpoint(epoch)})
        else:
            run.finish(cell, {"error": error(cell.factors["width"], cell.seed, epoch)}, best_epoch=epoch)
"""
)
SCRIPT = (
    CURVE
    + """
import argparse, json, pathlib, time
parser = argparse.ArgumentParser()
for name in ("--width", "--seed"):
    parser.add_argument(name, type=int)
parser.add_argument("--out", type=pathlib.Path)
parser.add_argument("--pause", type=float)
a = parser.parse_args()
with (a.out / "log.csv").open("w") as log:
    log.write("epoch,error\\n")
    for epoch in range(1, 13):
        log.write(f"{epoch},{error(a.width, a.seed, epoch)}\\n")
        log.flush()
        time.sleep(a.pause)
(a.out / "metrics.json").write_text(json.dumps({"error": 99.0, "late": 1.0}))
"""
).replace("\\\\n", "\\n")
COMMAND = (
    CURVE
    + """
import json, os, time
width, seed = int(os.environ["HOLDFAST_FACTOR_width"]), int(os.environ["HOLDFAST_SEED"])
with open(os.environ["HOLDFAST_EPOCHS"], "w") as log:
    for epoch in range(1, 13):
        entry = {"epoch": epoch, "of": 12, "metrics": {"error": error(width, seed, epoch)}}
        print(json.dumps(entry), file=log, flush=True)
        time.sleep(PAUSE)
with open(os.environ["HOLDFAST_RESULT"], "w") as file:
    json.dump({"metrics": {"error": 99.0}}, file)
"""
)
RULE = {"metric": "error", "patience": 3}
# Epoch of the last improvement, by width and seed, and three more.
ENDS = {(width, seed): width + seed % 2 + 3 for width in (1, 3, 20) for seed in (42, 43)}


def write(directory: Path, kind: str, pause: float = 0.0, **changes: Any) -> str:
    sources = {"function": FUNCTION, "script": SCRIPT, "command": COMMAND.replace("PAUSE", str(pause))}
    (directory / "falls.py").write_text(sources[kind])
    error = {"kind": "positive", "better": "lower"}
    script = f"python falls.py --width {{width}} --seed {{seed}} --out {{dir}} --pause {pause}"
    trainers: dict[str, Any] = {
        "function": "falls.py:train",
        "script": {
            "command": script,
            "metrics": "metrics.json",
            "progress": "log.csv",
            "measures": {"error": error},
        },
        "command": {
            "command": f"{sys.executable} {directory / 'falls.py'}",
            "factors": {"width": {"kind": "integer"}},
            "metrics": {"error": error},
        },
    }
    content = {
        "trainer": trainers[kind],
        "sweep": {"name": "early", "axes": {"width": [1, 3, 20]}, "runs_per_condition": 2},
        "stop_when": RULE,
    }
    (directory / "sweep.yaml").write_text(yaml.safe_dump(content | changes))
    return "sweep.yaml"


def results(directory: Path) -> dict[tuple[int, int], dict[str, Any]]:
    store = Store(directory / "out")
    found = [result(store, cell) for cell in store.sweep().grid]
    return {(entry["width"], entry["seed"]): entry for entry in found}


@pytest.mark.parametrize(("kind", "pause"), [("function", 0), ("script", 0), ("script", 0.2), ("command", 0.2)])
def test_every_kind_of_trainer_ends_each_cell_by_its_own_history(
    holdfast: Holdfast, tmp_path: Path, kind: str, pause: float
) -> None:
    """A script that is done before anybody looks ends where one does that is stopped."""
    holdfast("run", "--config", write(tmp_path, kind, pause), "--parallel-jobs", "2")
    for (width, seed), found in results(tmp_path).items():
        end = min(ENDS[width, seed], 12)
        assert found["status"] == "COMPLETED"
        assert found["epochs"] == end
        if width == 20 and kind != "script":
            assert "stopped_early" not in found
        elif width < 20:
            assert found["stopped_early"]["last_improvement"] == end - 3
            assert found["stopped_early"]["planned_epochs"] == (None if kind == "script" else 12)
            assert found["metrics"] == {"error": pytest.approx(0.1)}, "of the epoch at which it ended"


def test_a_script_whose_log_lacks_a_final_metric_fails_with_the_fix(holdfast: Holdfast, tmp_path: Path) -> None:
    config = write(tmp_path, "script")
    content = yaml.safe_load((tmp_path / config).read_text())
    content["trainer"]["measures"]["late"] = {"kind": "real", "better": "lower"}
    (tmp_path / config).write_text(yaml.safe_dump(content))
    holdfast("run", "--config", config, "--parallel-jobs", "2", expect=4)
    said = holdfast("status", "out", expect=4).stdout
    assert "metric 'late' was never reported" in said
    assert "stop_when ended the program before it wrote final metrics: write it to log.csv with every epoch" in said


def test_what_ended_early_is_counted_wherever_a_sweep_is_looked_at(holdfast: Holdfast, tmp_path: Path) -> None:
    holdfast("run", "--config", write(tmp_path, "function"), "--parallel-jobs", "1")
    said = holdfast("status", "out").stdout
    assert "stopped early: 4 of 6 cells with a result (error not lower in 3 epochs in a row)" in said
    cells = json.loads(holdfast("status", "out", "--json").stdout)["individual"]
    assert [cell.get("stopped_early") for cell in cells] == [True] * 4 + [None] * 2
    shown = holdfast("show", "out", "width_3_run_1").stdout
    assert "stopped early after epoch 7 of 12: no better error since epoch 4 (stop_when)" in shown
    assert "stopped early" not in holdfast("show", "out", "width_20_run_0").stdout

    out = tmp_path / "out"
    aggregated = json.loads((out / "aggregated_results.json").read_text())
    assert [entry["completeness"]["stopped_early"] for entry in aggregated.values()] == [2, 2, 0]
    assert [cell["epochs"] for entry in aggregated.values() for cell in entry["individual_results"]] == [
        4,
        5,
        6,
        7,
        12,
        12,
    ]
    assert aggregated["width_1"]["individual_results"][0]["stopped_early"]["metric"] == "error"
    table = pyarrow.parquet.read_table(out / "table.parquet")
    assert table.column("stopped_early").to_pylist() == [True] * 4 + [False] * 2
    report = (out / "report.html").read_text()
    assert "stopped early: 4 of 6 completed runs, from 0% to 100% of them by condition, after 4 to 7 epochs" in report
    assert "runs trained from 4 to 12 epochs" in report
    assert json.loads((out / "statistics.json").read_text())["completeness"]["stopped_early"] == 4


def test_a_mean_over_seeds_is_of_all_of_them_or_told_apart(holdfast: Holdfast, tmp_path: Path) -> None:
    """Seeds of one condition end at different epochs; nothing is carried forward into the epochs after."""
    holdfast("run", "--config", write(tmp_path, "function"), "--parallel-jobs", "1")
    curves = load(tmp_path / "out").curves
    lengths = curves.groupby(["width", "seed"])["epoch"].max().to_dict()
    assert lengths == {key: min(end, 12) for key, end in ENDS.items()}


def test_without_a_rule_nothing_is_said_of_it(holdfast: Holdfast, tmp_path: Path) -> None:
    holdfast("run", "--config", write(tmp_path, "function", stop_when=None), "--parallel-jobs", "1")
    assert {found["epochs"] for found in results(tmp_path).values()} == {12}
    assert "stopped early" not in holdfast("status", "out").stdout
    out = tmp_path / "out"
    assert "stopped_early" not in (out / "aggregated_results.json").read_text()
    assert '"stop_when"' not in (out / "sweep.json").read_text()
    assert "stopped_early" not in pyarrow.parquet.read_table(out / "table.parquet").column_names
    assert "stopped early" not in (out / "report.html").read_text()


def test_another_rule_is_another_sweep(holdfast: Holdfast, tmp_path: Path) -> None:
    holdfast("run", "--config", write(tmp_path, "function"), "--parallel-jobs", "1")
    refused = holdfast("run", "--config", write(tmp_path, "function", stop_when=RULE | {"patience": 4}), expect=2)
    assert "stop_when.patience" in refused.stderr


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"metric": "eror", "patience": 3}, "stop_when.metric is 'eror'; did you mean error? valid: error"),
        ({"metric": 3, "patience": 3}, "stop_when.metric is 3; must be text"),
        ({"patience": 3}, "stop_when.metric is missing; add it"),
        ({"metric": "error"}, "stop_when.patience is missing; add it"),
        ({"metric": "error", "patience": 0}, "stop_when.patience is 0; must be greater than or equal to 1"),
        ({"metric": "error", "patience": 1.5}, "stop_when.patience is 1.5; must be a whole number"),
        ({"metric": "error", "patience": "5"}, "stop_when.patience is '5'; must be a whole number"),
        ({"metric": "error", "patience": 3, "min_delta": -1}, "stop_when.min_delta is -1"),
        ({"metric": "error", "patience": 3, "min_delta": "x"}, "stop_when.min_delta is 'x'; must be a number"),
        ({"metric": "error", "epochs": 3}, "unknown key 'stop_when.epochs'; write stop_when.patience"),
        ({"monitor": "error", "patience": 3}, "unknown key 'stop_when.monitor'; write stop_when.metric"),
        ({**RULE, "mode": "min"}, "unknown key 'stop_when.mode'; which way is better is said where the metric"),
        ({**RULE, "warmup": 3}, "unknown key 'stop_when.warmup'. Valid: metric, patience, min_delta."),
        ({"metric": "error", "patiance": 3}, "unknown key 'stop_when.patiance'. Did you mean 'patience'?"),
        (["error", 3], "stop_when is ['error', 3]; must be a section with named keys"),
        (5, "stop_when is 5; must be a section with named keys"),
    ],
)
def test_a_rule_that_is_none_is_refused_in_lines_and_nothing_is_written(
    holdfast: Holdfast, tmp_path: Path, section: Any, said: str
) -> None:
    refused = holdfast("run", "--config", write(tmp_path, "function", stop_when=section), expect=2)
    assert any(line.startswith(f"sweep.yaml: {said}") for line in refused.stderr.splitlines()), refused.stderr
    assert not (tmp_path / "out").exists()


def test_a_script_without_a_log_of_epochs_cannot_be_followed(holdfast: Holdfast, tmp_path: Path) -> None:
    config = write(tmp_path, "script")
    content = yaml.safe_load((tmp_path / config).read_text())
    del content["trainer"]["progress"]
    (tmp_path / config).write_text(yaml.safe_dump(content))
    refused = holdfast("run", "--config", config, expect=2).stderr
    assert "sweep.yaml: stop_when follows a script by its epochs, and trainer.progress is missing" in refused


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            {"training": {"early_stopping": {"patience": 5}}},
            "training.early_stopping is {'patience': 5}; write stop_when: {metric: val_loss, patience: 5} instead",
        ),
        (
            {"stop_when": {"metric": "best_val_loss", "patience": 5}},
            "stop_when.metric is 'best_val_loss'; it is known at the end alone; write val_loss",
        ),
    ],
)
def test_the_built_in_trainer_has_one_rule_under_one_name(
    holdfast: Holdfast, tmp_path: Path, data_dir: Path, content: dict[str, Any], said: str
) -> None:
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump({"data": {"dir": str(data_dir)}} | content))
    refused = holdfast("run", "--config", "sweep.yaml", expect=2).stderr
    assert said in refused


@pytest.mark.parametrize("where", [(), ("sweep",), ("training",)])
def test_what_other_tools_call_it_is_told_where_it_goes(
    holdfast: Holdfast, tmp_path: Path, where: tuple[str, ...]
) -> None:
    content: dict[str, Any] = {"early_stop": {"patience": 5}}
    for section in where:
        content = {section: content}
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(content))
    refused = holdfast("plan", "--config", "sweep.yaml", expect=2).stderr
    assert "early_stop'; write stop_when: {metric: NAME, patience: 5}" in refused
