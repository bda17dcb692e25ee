"""Scripts that know nothing of Holdfast run as sweeps, unchanged, and end alike when they are interrupted."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers import warm
from helpers.command_line import ROOT, Holdfast, environment, result, statuses
from helpers.here import lacking
from helpers.waiting import PATIENCE, wait_until

from hpc.files.directories import numbers
from hpc.storage.checkpoint import decode
from hpc.storage.store import Store

SCRIPTS = ROOT / "examples" / "scripts"


@pytest.mark.parametrize(
    ("name", "library", "fewer"),
    [
        ("classify", "torch", ["--axis", "width=4"]),
        ("forest", "sklearn", ["--axis", "trees=2"]),
        ("hydra_app", "hydra", []),
        ("lightning_fit", "lightning", ["--axis", "width=2"]),
    ],
)
def test_a_script_as_it_is_runs_to_its_report(
    holdfast: Holdfast, tmp_path: Path, name: str, library: str, fewer: list[str]
) -> None:
    """fewer: one level of one axis. To import a library takes longer than to train, for each cell anew."""
    if find_spec(library) is None:
        lacking(f"{library} is not installed")
    holdfast("run", "--config", str(SCRIPTS / f"{name}.yaml"), "--runs-per-condition", "2", *fewer)
    aggregated = json.loads((tmp_path / "out" / "aggregated_results.json").read_text())
    assert all(condition["n_runs"] == 2 for condition in aggregated.values())
    store = Store(tmp_path / "out")
    cells = [result(store, cell) for cell in store.sweep().grid]
    assert all(set(cell["metrics"]) <= set(store.sweep().trainer.metrics) for cell in cells)
    assert {cell["epochs"] for cell in cells} == {
        {"classify": 8, "forest": 0, "hydra_app": 40, "lightning_fit": 6}[name]
    }
    # A whole interpreter with its libraries: more than this process's own, which imports none of them.
    assert all(cell["provenance"]["peak_memory"] > 20e6 for cell in cells)


@pytest.mark.slow
@pytest.mark.command
@pytest.mark.parametrize(("name", "library"), [("classify", "torch"), ("lightning_fit", "lightning")])
def test_a_script_with_a_checkpoint_resumes_bit_for_bit_also_from_the_last_one(
    tmp_path: Path, name: str, library: str
) -> None:
    if find_spec(library) is None:
        lacking(f"{library} is not installed")
    for seed in range(10):  # of the times of the faults: a cell that ends before them decides nothing
        words = ("check", "resume", "--config", str(SCRIPTS / f"{name}.yaml"), "--cells", "1", "--seed", str(seed))
        checked = warm.command(words, tmp_path)
        if "UNDECIDED" not in checked.stdout + checked.stderr:
            break
    assert checked.returncode == 0, f"{checked.returncode}\n{checked.stdout}\n{checked.stderr}"
    assert "and from its last checkpoint" in checked.stdout + checked.stderr
    assert "EXACT: 1 cell, interrupted" in checked.stdout + checked.stderr
    assert "NOT EXACT" not in checked.stdout + checked.stderr


# What a script does that is not written for this: it writes its checkpoint in place, in two steps, and its log.
COUNT = """
import argparse, csv, json, os, pathlib, time
parser = argparse.ArgumentParser()
for name in ("--rate", "--seed", "--out", "--place"):
    parser.add_argument(name)
a = parser.parse_args()
out, place = pathlib.Path(a.out), pathlib.Path(a.place)
state, log = out / "state.txt", out / "log.csv"
x, epoch = float(a.seed), 0
if state.exists():
    text = state.read_text()
    assert text.endswith(" end"), f"half a checkpoint: {text!r}"
    x, epoch = float(text.split()[0]), int(text.split()[1])
    (place / "resumed").write_text(text)
new = not log.exists()
with log.open("a") as file:
    if new:
        file.write("epoch,error\\n")
    while epoch < 20:
        epoch += 1
        x = abs(x * float(a.rate) - 0.1)
        print(f"{epoch},{x!r}", file=file, flush=True)
        with state.open("w") as saved:
            saved.write(f"{x!r} {epoch}")
            saved.flush()
            if epoch == 10 and (place / "hold").exists():
                (place / "half").touch()
                while True:
                    time.sleep(0.05)
            saved.write(" end")
        if epoch == 9:
            while (place / "hold").exists() and not (place / "go").exists():
                time.sleep(0.05)
(out / "metrics.json").write_text(json.dumps({"final": {"error": x}}))
"""


def configure(directory: Path, **trainer: Any) -> str:
    (directory / "count.py").write_text(COUNT)
    section = {
        "command": f"python count.py --rate {{rate}} --seed {{seed}} --out {{dir}} --place {directory}",
        "metrics": "metrics.json",
        "progress": "log.csv",
        "checkpoint": "state.txt",
        "measures": {"error": {"from": "final.error"}},
    }
    content = {
        "trainer": section | trainer,
        "sweep": {"name": "count", "axes": {"rate": [0.5]}, "runs_per_condition": 1},
        "checkpoint": {"every_seconds": 0.1},
    }
    (directory / "sweep.yaml").write_text(yaml.safe_dump(content))
    return "sweep.yaml"


def ninth_epoch_is_saved(store: Store) -> bool:
    """Whether Holdfast has a checkpoint with the script's state of that epoch: neither log nor progress says which."""
    for path in [path for pack in numbers(store.paths.packs_root) for path in store.paths.generations(pack)]:
        with suppress(FileNotFoundError):  # a newer one has taken its place
            if any(row.arrays["state"].tobytes().endswith(b" 9 end") for row in decode(path.read_bytes())):
                return True
    return False


def test_a_script_stopped_in_the_middle_of_its_checkpoint_resumes_from_the_whole_one(
    holdfast: Holdfast, tmp_path: Path
) -> None:
    config = configure(tmp_path)
    (tmp_path / "hold").touch()
    command = [sys.executable, "-m", "hpc", "run", "--config", config]
    running = subprocess.Popen(command, cwd=tmp_path, env=environment(), stderr=subprocess.DEVNULL)
    store = Store(tmp_path / "out")
    wait_until(lambda: store.exists() and max(s.epoch for s in statuses(store)) == 9, "nine epochs")
    wait_until(lambda: ninth_epoch_is_saved(store), "the ninth epoch's checkpoint")
    (tmp_path / "go").touch()
    wait_until((tmp_path / "half").exists, "half a checkpoint")
    running.send_signal(signal.SIGINT)
    assert running.wait(timeout=PATIENCE) == 130
    (tmp_path / "hold").unlink()
    holdfast("run", "--config", config)
    assert (tmp_path / "resumed").read_text().split()[1:] == ["9", "end"]
    holdfast("run", "--config", config, "--output-dir", "straight")
    straight = Store(tmp_path / "straight")
    cell = store.sweep().grid[0]
    assert result(store, cell)["outcome_digest"] == result(straight, cell)["outcome_digest"]
    assert result(store, cell)["epochs"] == 20
    with store.paths.history_file(cell).open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == [str(number) for number in range(1, 21)]
    assert float(rows[-1]["error"]) == result(store, cell)["metrics"]["error"]


# The same script, if it resumes only from what it is told.
TOLD = COUNT.replace('"--place"):', '"--place", "--resume"):').replace(
    "if state.exists():\n    text = state.read_text()", "if a.resume:\n    text = pathlib.Path(a.resume).read_text()"
)


@pytest.mark.parametrize("where", ["", " {resume} --place {place}"], ids=["at the end", "in its place"])
def test_a_script_that_has_to_be_told_is_told_where_its_checkpoint_is(
    holdfast: Holdfast, tmp_path: Path, where: str
) -> None:
    command = "python count.py --rate {rate} --seed {seed} --out {dir}" + (where or " --place {place}")
    command = command.replace("{place}", str(tmp_path))
    config = configure(tmp_path, command=command, resume="--resume {checkpoint}")
    assert TOLD.count("resume") == 4
    (tmp_path / "count.py").write_text(TOLD)
    (tmp_path / "hold").touch()
    running = subprocess.Popen(
        [sys.executable, "-m", "hpc", "run", "--config", config],
        cwd=tmp_path,
        env=environment(),
        stderr=subprocess.DEVNULL,
    )
    store = Store(tmp_path / "out")
    wait_until(lambda: store.exists() and max(s.epoch for s in statuses(store)) == 9, "nine epochs")
    wait_until(lambda: ninth_epoch_is_saved(store), "the ninth epoch's checkpoint")
    running.send_signal(signal.SIGINT)
    assert running.wait(timeout=PATIENCE) == 130
    assert not (tmp_path / "resumed").exists(), "the first start has no checkpoint"
    (tmp_path / "hold").unlink()
    holdfast("run", "--config", config)
    assert (tmp_path / "resumed").read_text().split()[1:] == ["9", "end"]
    holdfast("run", "--config", config, "--output-dir", "straight")
    cell = store.sweep().grid[0]
    assert result(store, cell)["outcome_digest"] == result(Store(tmp_path / "straight"), cell)["outcome_digest"]


def test_the_script_that_runs_is_the_copy_and_its_digest_is_in_the_result(holdfast: Holdfast, tmp_path: Path) -> None:
    holdfast("run", "--config", configure(tmp_path))
    store = Store(tmp_path / "out")
    first = result(store, store.sweep().grid[0])["provenance"]["trainer_digest"]
    (tmp_path / "count.py").write_text(COUNT + "\n# edited\n")
    holdfast("run", "--config", "sweep.yaml", "--output-dir", "again")
    again = Store(tmp_path / "again")
    assert result(again, again.sweep().grid[0])["provenance"]["trainer_digest"] != first
    assert again.sweep().config_digest == store.sweep().config_digest
    planned = json.loads(holdfast("plan", "--config", "sweep.yaml", "--output-dir", "new", "--json").stdout)
    assert "count.py" in planned["code"]["files"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"metrics": "other.json"}, "left no other.json in {dir}, where there is log.csv, metrics.json, state.txt"),
        ({"command": "python -c 'raise SystemExit({rate} and -1)' {seed}"}, "the script ended with status 255"),
        ({"measures": {"loss": {}}}, "metrics.json has final.error, and none of loss; name its columns by `from`"),
        (
            {"measures": {"error": {}}},
            "none of error; name its columns by `from` in trainer.measures, such as {error: {from: final.error}}",
        ),
        (
            {"measures": {"error": {"from": "final.error"}, "loss": {"from": "final.eror"}}},
            "rate_0.5_run_0: metric 'loss' was never reported",
        ),
        ({"command": "python -c 'raise SystemExit({rate} and 7)' {seed}"}, "the script ended with status 7"),
    ],
)
def test_a_script_that_leaves_something_else_fails_with_what_it_left(
    holdfast: Holdfast, tmp_path: Path, change: dict[str, Any], says: str
) -> None:
    assert says in holdfast("run", "--config", configure(tmp_path, **change), expect=4).stderr
    assert "Traceback" not in holdfast("show", "out", "--failed").stdout


# Held back until the end, so that the traceback stands before it.
LATE = """
print("epoch 1 of 8")
def last():
    try:
        1 / 0
    except ZeroDivisionError:
        return acc
last()
"""


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("python late.py {rate} {seed}", "the script ended with status 1: NameError: name 'acc' is not defined; see"),
        (
            "echo epoch 1; echo no such data >&2; exit 3 # {rate} {seed}",
            "the script ended with status 3: no such data; see",
        ),
        ("exit 3 # {rate} {seed}", "the script ended with status 3; see"),
    ],
)
def test_the_error_that_a_script_named_is_in_the_cause(
    holdfast: Holdfast, tmp_path: Path, command: str, says: str
) -> None:
    (tmp_path / "late.py").write_text(LATE)
    assert says in holdfast("run", "--config", configure(tmp_path, command=command), expect=4).stderr
    assert says in holdfast("show", "out", "rate_0.5_run_0").stdout


def test_a_log_of_epochs_with_two_headers_and_an_odd_row_costs_that_row_alone(
    holdfast: Holdfast, tmp_path: Path
) -> None:
    config = configure(tmp_path)
    writes = 'print(f"{epoch},{x!r}", file=file'
    assert writes in COUNT
    odd = "print('epoch,error' if epoch == 3 else '?,?' if epoch == 5 else f\"{epoch},{x!r}\", file=file"
    (tmp_path / "count.py").write_text(COUNT.replace(writes, odd))
    holdfast("run", "--config", config)
    store = Store(tmp_path / "out")
    cell = store.sweep().grid[0]
    assert result(store, cell)["epochs"] == 18
    said = holdfast("show", "out", cell.name, "--log").stdout
    assert said.count("log.csv has epoch '?', expected a number; that row is left out") == 1


def test_a_log_without_epochs_is_refused_where_the_script_resumes(holdfast: Holdfast, tmp_path: Path) -> None:
    config = configure(tmp_path)
    (tmp_path / "count.py").write_text(COUNT.replace("epoch,error", "step,error"))
    said = holdfast("run", "--config", config, expect=4).stderr
    assert "log.csv has no column epoch; progress needs one, since the script resumes from its checkpoint" in said


def test_a_file_beside_the_script_is_read_from_the_copy(holdfast: Holdfast, tmp_path: Path) -> None:
    arguments = "--rate {rate} --seed {seed} --out {dir} --place ."
    config = configure(tmp_path, command=f"grep -q kept {{code}}/base.txt && python count.py {arguments}")
    (tmp_path / "base.txt").write_text("kept")
    holdfast("run", "--config", config)


def test_imports_that_only_another_python_may_have_are_a_note(holdfast: Holdfast, tmp_path: Path) -> None:
    arguments = "--rate {rate} --seed {seed} --out {dir} --place ."
    config = configure(tmp_path, command=f"python count.py {arguments}")
    (tmp_path / "count.py").write_text("import only_in_my_environment\n" + COUNT)
    says = "count.py:1 imports only_in_my_environment"
    assert says in holdfast("run", "--config", config, expect=2).stderr
    # /opt/mine is not there: the cell fails, but it was tried.
    configure(tmp_path, command=f"/opt/mine/bin/python count.py {arguments}")
    (tmp_path / "count.py").write_text("import only_in_my_environment\n" + COUNT)
    said = holdfast("run", "--config", config, expect=4).stderr
    assert f"note: trainer: {says}" in said
    assert "the script ended with status 127" in said


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"progress": "lgo.csv"}, "note: rate_0.5_run_0: progress: lgo.csv is not there"),
        ({"measures": {"loss": {"from": "final.error"}}}, "log.csv has no epochs with final.error, loss"),
    ],
)
def test_a_log_of_epochs_that_has_none_is_a_note(
    holdfast: Holdfast, tmp_path: Path, change: dict[str, Any], says: str
) -> None:
    holdfast("run", "--config", configure(tmp_path, **change))
    assert says in holdfast("show", "out", "rate_0.5_run_0", "--log").stdout


def test_a_file_of_an_earlier_run_beside_the_script_is_not_taken_for_its_input(
    holdfast: Holdfast, tmp_path: Path
) -> None:
    reads = "open('metrics.json') if 0 else open('input.json')\n"
    (tmp_path / "metrics.json").touch()
    (tmp_path / "input.json").write_text("{}")
    config = configure(tmp_path)
    (tmp_path / "count.py").write_text("import os\nif os.path.exists('x'):\n    " + reads + COUNT)
    said = holdfast("run", "--config", config).stderr
    says = "reads 'input.json' from the working directory, and a script runs in an empty directory; write"
    assert says in said
    assert "as an argument in trainer.command" in said
    assert "'metrics.json'" not in said


SEED, OUT = "{seed}", "{dir}"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"metrics": "metrics.txt"}, "metrics is 'metrics.txt'; its name must end in .json, .jsonl, .csv, .tsv"),
        ({"metrics": "/tmp/metrics.json"}, "without / at its beginning"),
        ({"checkpoint": "../state"}, "checkpoint is '../state'; write the name of a file"),
        ({"checkpoint": 3}, "checkpoint is 3; write the name of a file that the script writes in {dir}"),
        ({"measures": {}}, "measures is {}; name what metrics.json has"),
        ({"measures": {"thing": None}}, "measures.thing needs kind"),
        ({"measures": {"error": {"better": "up"}}}, "trainer: measures.error needs 'better': higher or lower"),
        (
            {"measures": {"error": {"kind": "positve", "better": "lower"}}},
            "trainer: measures.error has kind 'positve'; valid: bounded, positive, real",
        ),
        (
            {"measures": {"error": {"kind": "positive", "better": "lower", "chanse": 1}}},
            "trainer: measures.error: unknown key 'chanse'. Did you mean 'chance'?",
        ),
        ({"factors": {"rate": {"kind": "integr"}}}, "trainer: factors.rate has kind 'integr'; valid: integer, real"),
        ({"factors": {"model.lr": {}}}, "call it model_lr, and write {model_lr} in the command"),
        ({"factors": {"C": {}}}, "call it c, and write {c} in the command"),
        ({"measures": {"error": {"from": 3}}}, "measures.error: from is 3"),
        ({"meassures": ["error"]}, "unknown key 'meassures'. Did you mean 'measures'?"),
        ({"resume": ""}, "resume is ''; write words for the command"),
        ({"resume": "--from {chekpoint}"}, "resume has {chekpoint}, which is not a factor of sweep.axes; did you mean"),
        (
            {"command": "python count.py {rte} {seed}"},
            "command has {rte}, which is not a factor of sweep.axes; did you mean {rate}?",
        ),
        ({"command": "python count.py {seed}"}, "command has no {rate}, so rate changes nothing"),
        ({"command": "python count.py {rate}"}, "command has no {seed}, so seed changes nothing"),
        ({"command": "python cuont.py {rate} {seed}"}, "command names cuont.py, which is not in"),
        ({"command": "python 'count.py {rate} {seed}"}, "command cannot be read as a shell would"),
        ({"command": "python -m count {rate} {seed}"}, "command starts the module count; write its file, count.py"),
        ({"command": 5}, "command is 5; write the command line that trains one cell"),
        ({"factors": {"rate": 5}}, "factors.rate is 5; write a section"),
    ],
)
def test_a_wrong_script_section_is_one_line_and_nothing_is_written(
    holdfast: Holdfast, tmp_path: Path, change: dict[str, Any], says: str
) -> None:
    said = holdfast("plan", "--config", configure(tmp_path, **change), expect=2).stderr.strip()
    assert said.startswith(("sweep.yaml: ", "error: sweep.yaml: "))
    assert says in said
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_the_example_resumes_from_its_last_epoch(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    command = [sys.executable, str(SCRIPTS / "classify.py"), "--epochs", "1", "--width", "2", "--out", str(tmp_path)]
    subprocess.run(command, check=True)
    first = (tmp_path / "metrics.json").read_text()
    (tmp_path / "metrics.json").unlink()
    subprocess.run(command, check=True)
    assert (tmp_path / "metrics.json").read_text() == first
