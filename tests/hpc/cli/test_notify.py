"""--notify COMMAND: whoever waits for a sweep is told how it ended, however it ended, and nothing else changes."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.command_line import WIDTH, Holdfast, environment, parsed, statuses
from helpers.held import held_trainer, hold
from helpers.waiting import PATIENCE, wait_until

from hpc.cli import notify
from hpc.storage.store import Store

TELL = """\
import json, os, sys
told = {name: value for name, value in os.environ.items() if name.startswith("HOLDFAST_NOTICE_")}
with open("told.json", "a") as file:
    print(json.dumps(told | {"stdin": sys.stdin.read(), "words": sys.argv[1:]}), file=file)
print("from the notifier")
"""


def configure(directory: Path, **changes: Any) -> str:
    content = {
        "trainer": f"{WIDTH}:train",
        "trainer_options": {"epochs": 2},
        "sweep": {"name": "small", "axes": {"width": [1, 2]}, "runs_per_condition": 2},
    }
    (directory / "sweep.yaml").write_text(yaml.safe_dump(content | changes))
    (directory / "tell.py").write_text(TELL)
    return "sweep.yaml"


def told(directory: Path) -> dict[str, Any]:
    (line,) = (directory / "told.json").read_text().splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


COMMAND = f"'{sys.executable}' tell.py 'two words' '$HOME'"


def test_a_run_that_is_done_tells_where_how_and_how_many(holdfast: Holdfast, tmp_path: Path) -> None:
    done = holdfast("run", "--config", configure(tmp_path), "--notify", COMMAND)
    notice = told(tmp_path)
    assert notice["words"] == ["two words", "$HOME"], "no shell has read them"
    assert notice["HOLDFAST_NOTICE_DIRECTORY"] == str(tmp_path / "out")
    assert notice["HOLDFAST_NOTICE_STATUS"] == "0"
    assert json.loads(notice["HOLDFAST_NOTICE_STATES"]) == {"COMPLETED": 4}
    assert notice["stdin"].splitlines() == notice["HOLDFAST_NOTICE_TEXT"].split("; ")
    assert "small: 4 cells: 4 COMPLETED" in notice["stdin"]
    assert "from the notifier" not in done.stdout, "what programs read of a command is its own"
    assert "from the notifier" in done.stderr


def test_a_sweep_with_failed_cells_tells_its_own_exit_status(holdfast: Holdfast, tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text(WIDTH.read_text() + "\n\ndef broken(cells, options, run):\n    raise OSError(5)\n")
    config = configure(tmp_path, trainer="bad.py:broken", trainer_options={})
    holdfast("submit", "--config", config, "--profile", "local", "--wait", "--notify", COMMAND, expect=4)
    assert told(tmp_path)["HOLDFAST_NOTICE_STATUS"] == "4"
    assert json.loads(told(tmp_path)["HOLDFAST_NOTICE_STATES"]) == {"FAILED": 4}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_wait_that_a_signal_ends_is_told_too(tmp_path: Path, number: signal.Signals) -> None:
    options = {"epochs": 40, "seconds": 0.1} | hold(tmp_path)
    config = configure(tmp_path, trainer=f"{held_trainer(tmp_path).name}:train", trainer_options=options)
    command = [sys.executable, "-m", "hpc", "run", "--config", config, "--notify", COMMAND]
    running = subprocess.Popen(command, cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True)
    store = Store(tmp_path / "out")
    wait_until(lambda: store.exists() and max(s.epoch for s in statuses(store)) >= 2, "a cell in mid-training")
    running.send_signal(number)
    running.communicate(timeout=PATIENCE)
    assert running.returncode == 130
    assert told(tmp_path)["HOLDFAST_NOTICE_STATUS"] == "130"
    assert sum(json.loads(told(tmp_path)["HOLDFAST_NOTICE_STATES"]).values()) == 4


def test_an_error_is_told_in_its_own_words_and_raised_as_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(tmp_path)
    monkeypatch.chdir(tmp_path)

    def act() -> int:
        raise OSError(28, "No space left on device", "/out/x")

    with pytest.raises(OSError, match="No space left"):
        notify.notified((sys.executable, "tell.py"), Store(tmp_path / "none"), act)
    assert told(tmp_path)["HOLDFAST_NOTICE_STATUS"] == "3"
    assert json.loads(told(tmp_path)["HOLDFAST_NOTICE_STATES"]) == {}
    assert "/out/x: No space left on device" in told(tmp_path)["stdin"]


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("exit 3", "--notify: sh ended with exit status 3"),
        ("kill -9 $$", "--notify: sh ended with exit status -9"),
        ("sleep 1000 & wait", "--notify: sh was ended after 0 s"),
        ("exec cat /dev/zero | sleep 1000", "--notify: sh was ended after 0 s"),
    ],
)
def test_what_the_command_does_is_one_line_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], script: str, said: str
) -> None:
    monkeypatch.setattr(notify, "SECONDS", 0.2 if "1000" in script else PATIENCE)
    assert notify.notified(("/bin/sh", "-c", script), Store(tmp_path), lambda: 4) == 4
    assert capfd.readouterr().err.splitlines() == [said]


def test_a_command_that_has_gone_meanwhile_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert notify.notified((str(tmp_path / "gone"),), Store(tmp_path), lambda: 0) == 0
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("--notify: gone was not run: ")


def test_an_interrupt_while_it_runs_ends_it_and_not_the_answer(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys; from hpc.cli import notify; from hpc.storage.store import Store; "
        "sys.exit(notify.notified(('/bin/sh', '-c', 'echo $$ > pid; sleep 1000'), Store(pathlib.Path('x')), lambda: 4))"
    )
    running = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env=environment())
    pid = tmp_path / "pid"
    wait_until(lambda: pid.exists() and pid.read_text().strip(), "the command")
    running.send_signal(signal.SIGINT)
    assert running.wait(PATIENCE) == 4
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["no-such-program x"], "--notify is 'no-such-program x'; there is no program 'no-such-program' here"),
        (["true && false"], "no shell reads it, and its && is for one; write sh -c '...'"),
        (["true $HOME"], "no shell reads it, and its $ is for one"),
        (['true "$HOME"'], "no shell reads it, and its $ is for one"),
        (["true 'x"], "no closing quotation; close the quotation"),
        (["  "], "give the command that is to be told"),
        ([], "--notify needs a value after it"),
    ],
)
def test_a_command_that_cannot_be_told_is_refused_before_anything_is_written(
    holdfast: Holdfast, tmp_path: Path, words: list[str], said: str
) -> None:
    done = holdfast("run", "--config", configure(tmp_path), "--notify", *words, expect=2)
    (line,) = done.stderr.splitlines()
    assert said in line
    assert not (tmp_path / "out").exists()


def test_where_nothing_waits_there_is_nothing_to_tell(holdfast: Holdfast, tmp_path: Path) -> None:
    config = configure(tmp_path)
    profile = tmp_path / "lab.yaml"
    profile.write_text("partition: low\n")
    words = ("submit", "--config", config, "--profile", str(profile), "--notify", "true")
    assert "nothing waits here; add --wait" in holdfast(*words, expect=2).stderr
    assert "nothing waits here; add --watch" in holdfast("aggregate", "out", "--notify", "true", expect=2).stderr
    assert not (tmp_path / "out").exists()


def test_a_dry_run_tells_nobody(holdfast: Holdfast, tmp_path: Path) -> None:
    words = ("submit", "--config", configure(tmp_path), "--profile", "local", "--dry-run")
    holdfast(*words, "--notify", COMMAND)
    assert not (tmp_path / "told.json").exists()


def test_a_watched_aggregation_tells_how_it_ended(holdfast: Holdfast, tmp_path: Path) -> None:
    holdfast("submit", "--config", configure(tmp_path), "--profile", "local")
    holdfast("aggregate", "out", "--watch", "--notify", COMMAND)
    assert told(tmp_path)["HOLDFAST_NOTICE_STATUS"] == "0"


def test_quotes_keep_what_only_looks_like_a_shell() -> None:
    words = lambda text: parsed(f"run --notify {shlex.quote(text)}").params["notify"]  # noqa: E731
    assert words("true '$HOME' 'a | b' \\$x") == ("true", "$HOME", "a | b", "$x")
    assert words("~/tell ~/x") == (os.path.expanduser("~/tell"), os.path.expanduser("~/x"))
