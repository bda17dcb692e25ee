"""A trainer in any language: here a few lines of bash, stopped, resumed, failing."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.command_line import Holdfast, environment, result
from helpers.held import hold, release
from helpers.waiting import PATIENCE, wait_until

from hpc.storage.store import Store

SCRIPT = """
n=0; [ -f "$HOLDFAST_STATE" ] && n=$(cat "$HOLDFAST_STATE")
width=$(sed 's/.*"width": \\([0-9]*\\).*/\\1/' "$HOLDFAST_CELL")
trap 'stop=1' TERM
while [ $n -lt 20 ]; do
    n=$((n + 1))
    echo "{\\"epoch\\": $n, \\"of\\": 20, \\"metrics\\": {\\"error\\": 0.$((width * 100 + n))}}" >> "$HOLDFAST_EPOCHS"
    echo $n > "$HOLDFAST_STATE.new" && mv "$HOLDFAST_STATE.new" "$HOLDFAST_STATE"
    [ -n "$stop" ] && exit 0
    [ $n = 10 ] && touch "$PLACE.reached"
    while [ $n = 10 ] && [ -e "$PLACE" ] && [ -z "$stop" ]; do sleep 0.05; done
done
[ $width = 3 ] && echo no width of 3 >&2 && exit 7
echo "{\\"metrics\\": {\\"error\\": 0.$((width * 100 + n))}}" > "$HOLDFAST_RESULT"
"""


def configure(directory: Path, widths: list[int]) -> str:
    """A sweep of the script above, which waits half-way as long as there is a file called hold."""
    (directory / "train.sh").write_text(f"PLACE={shlex.quote(str(directory / 'hold'))}\n{SCRIPT}")
    trainer: dict[str, Any] = {"command": f"exec bash {directory / 'train.sh'}"}
    trainer["factors"] = {"width": {"kind": "integer", "minimum": 1}}
    trainer["metrics"] = {"error": {"kind": "positive", "better": "lower"}}
    sweep = {"name": "shell", "axes": {"width": widths}, "runs_per_condition": 1}
    content = {"trainer": trainer, "sweep": sweep, "checkpoint": {"every_seconds": 0.2}}
    (directory / "sweep.yaml").write_text(yaml.safe_dump(content))
    return "sweep.yaml"


def test_a_shell_command_trains_and_a_failing_one_is_named(holdfast: Holdfast, tmp_path: Path) -> None:
    done = holdfast("run", "--config", configure(tmp_path, [1, 2, 3]), expect=4)
    assert "2 COMPLETED" in done.stdout
    said = "the command ended with status 7 and left nothing in $HOLDFAST_RESULT: no width of 3; see show --log"
    assert said in done.stderr
    store = Store(tmp_path / "out")
    assert result(store, store.sweep().grid[1])["metrics"] == {"error": 0.220}
    assert result(store, store.sweep().grid[1])["epochs"] == 20


def test_a_shell_command_stopped_half_way_goes_on_from_its_own_state(
    holdfast: Holdfast,
    tmp_path: Path,
) -> None:
    config = configure(tmp_path, [1])
    hold(tmp_path)
    command = [sys.executable, "-m", "hpc", "run", "--config", config]
    running = subprocess.Popen(command, cwd=tmp_path, env=environment(), stderr=subprocess.DEVNULL)
    store = Store(tmp_path / "out")
    wait_until((tmp_path / "hold.reached").exists, "mid-training")
    running.send_signal(signal.SIGINT)
    assert running.wait(timeout=PATIENCE) == 130
    release(tmp_path)
    holdfast("run", "--config", config)
    stopped = result(store, store.sweep().grid[0])
    assert 5 <= stopped["provenance"]["restored_at_step"] < 20
    holdfast("run", "--config", config, "--output-dir", "straight")
    straight = Store(tmp_path / "straight")
    assert stopped["outcome_digest"] == result(straight, straight.sweep().grid[0])["outcome_digest"]


@pytest.mark.parametrize(
    ("trainer", "said"),
    [
        ({"command": "x", "factors": {}, "metrics": {}, "speed": 1}, "unknown key 'speed'"),
        ({"factors": {}, "metrics": {}}, "needs a command"),
        ({"command": "x", "metrics": {}}, "needs factors"),
        (5, "trainer is 5; must be module:function"),
    ],
)
def test_a_wrong_declaration_is_one_line(holdfast: Holdfast, tmp_path: Path, trainer: Any, said: str) -> None:
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump({"trainer": trainer, "sweep": {"axes": {"width": [1]}}}))
    heard = holdfast("plan", "--config", "sweep.yaml", expect=2).stderr.strip()
    assert said in heard
    assert len(heard.splitlines()) == 1


def script(directory: Path, command: str, **files: str) -> str:
    """A sweep of one command over a factor."""
    for name, text in files.items():
        (directory / f"{name}.py").write_text(text)
    trainer = {
        "command": command,
        "factors": {"alpha": {"kind": "real", "minimum": 0}},
        "metrics": {"mse": {"kind": "positive", "better": "lower"}},
    }
    sweep = {"name": "ridge", "axes": {"alpha": [0.5, 2]}, "runs_per_condition": 2}
    (directory / "sweep.yaml").write_text(yaml.safe_dump({"trainer": trainer, "sweep": sweep}))
    return "sweep.yaml"


FIT = """
import argparse, json
parser = argparse.ArgumentParser()
for name, kind in (("--alpha", float), ("--seed", int), ("--out", str)):
    parser.add_argument(name, type=kind)
given = parser.parse_args()
json.dump(RESULT, open(given.out, "w"))
"""
CALL = '--alpha $HOLDFAST_FACTOR_alpha --seed $HOLDFAST_SEED --out "$HOLDFAST_RESULT"'


def test_a_script_with_arguments_gets_factors_and_seed(holdfast: Holdfast, tmp_path: Path) -> None:
    fit = FIT.replace("RESULT", '{"metrics": {"mse": given.alpha + given.seed}}')
    holdfast("run", "--config", script(tmp_path, f"exec {sys.executable} {tmp_path}/fit.py {CALL}", fit=fit))
    store = Store(tmp_path / "out")
    found = [result(store, cell)["metrics"]["mse"] for cell in store.sweep().grid]
    assert found == [42.5, 43.5, 44, 45]


@pytest.mark.parametrize(
    ("left", "says"),
    [
        ('{"mse": given.alpha}', "has the keys mse"),
        ('"text"', "has no JSON object"),
        ('{"metrics": 3}', "has the keys"),
    ],
)
def test_a_result_of_another_form_is_answered_with_the_right_one(
    holdfast: Holdfast, tmp_path: Path, left: str, says: str
) -> None:
    command = f"exec {sys.executable} {tmp_path}/fit.py {CALL}"
    told = holdfast("run", "--config", script(tmp_path, command, fit=FIT.replace("RESULT", left)), expect=4).stderr
    (line,) = [line for line in told.splitlines() if line.startswith("FAILED")]
    assert "4 cells" in line
    assert says in line
    assert 'write {"metrics": {"NAME": number}} with the names declared under trainer.metrics' in line


@pytest.mark.parametrize("word", ["fit.py", "./fit.py"])
def test_a_command_that_names_a_file_as_seen_from_here_is_refused_with_its_path(
    holdfast: Holdfast, tmp_path: Path, word: str
) -> None:
    said = holdfast("plan", "--config", script(tmp_path, f"python {word} {CALL}", fit=FIT), expect=2).stderr
    assert (
        said == f"sweep.yaml: trainer: command names {word}, and runs in an empty directory; write {tmp_path}/fit.py\n"
    )
    holdfast("plan", "--config", script(tmp_path, f"cd {tmp_path} && python {word} {CALL}"))
