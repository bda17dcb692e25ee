"""What a person sees on a terminal, and the plain lines that everything else gets."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
import yaml
from helpers.command_line import WIDTH, Holdfast, environment
from helpers.waiting import PATIENCE

ESCAPE = "\x1b"
# Foreground and background colours; bold is none.
COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:[349]|10)[0-7][\d;]*m")


def seen_on_a_terminal(place: Path, *words: str, columns: int = 80, **variables: str) -> str:
    """Everything that a command writes to a terminal of this width."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    surroundings = {name: value for name, value in environment().items() if name not in ("COLUMNS", "NO_COLOR")}
    running = subprocess.Popen(
        [sys.executable, "-m", "hpc", *words],
        cwd=place,
        env=surroundings | {"TERM": "xterm-256color"} | variables,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    seen = b""
    try:
        while part := os.read(ours, 65536):
            seen += part
    except OSError:  # Linux says so when the last writer has closed its end
        pass
    os.close(ours)
    assert running.wait(timeout=PATIENCE) in (0, 4)
    return seen.decode().replace("\r\n", "\n")


def configure(place: Path, widths: list[int]) -> str:
    sweep = {"name": "small", "axes": {"width": widths}, "runs_per_condition": 2}
    content = {"trainer": f"{WIDTH}:train", "trainer_options": {"epochs": 4}, "sweep": sweep}
    (place / "sweep.yaml").write_text(yaml.safe_dump(content))
    return "sweep.yaml"


@pytest.fixture
def swept(holdfast: Holdfast, tmp_path: Path) -> Path:
    """One of four cells is done."""
    holdfast("run", "--config", configure(tmp_path, [1, 2]), "--cell", "width_1_run_0", "--debug")
    return tmp_path


def test_a_run_draws_a_bar_that_ends_full(tmp_path: Path) -> None:
    seen = seen_on_a_terminal(tmp_path, "run", "--config", configure(tmp_path, [1, 2]))
    assert "━━━━" in seen
    assert "4 of 4 cells, 100 % of the epochs" in seen
    assert f"{ESCAPE}[?25h" in seen  # the cursor is shown again


def test_status_has_colours_and_says_what_the_plain_lines_say(holdfast: Holdfast, swept: Path) -> None:
    plain = holdfast("status", "out", expect=4).stdout
    seen = seen_on_a_terminal(swept, "status", "out")
    assert ESCAPE not in plain
    assert COLOUR.search(seen)
    assert re.sub(r"\x1b\[[0-9;]*m", "", seen).split() == plain.split()


@pytest.mark.parametrize("words", [["status", "out"], ["status", "out", "--watch"], ["run", "out"]])
def test_no_colour_is_used_where_none_is_wanted(swept: Path, words: list[str]) -> None:
    assert not COLOUR.search(seen_on_a_terminal(swept, *words, NO_COLOR="1"))


@pytest.mark.parametrize("words", [["status", "out"], ["status", "out", "--watch"], ["run", "out"]])
def test_a_terminal_that_can_draw_nothing_gets_plain_lines(swept: Path, words: list[str]) -> None:
    seen = seen_on_a_terminal(swept, *words, TERM="dumb")
    assert ESCAPE not in seen
    assert "3 of 3 cells" in seen if words[0] == "run" else "width 2" in seen


@pytest.mark.parametrize("columns", [40, 80])
def test_tables_fit_the_terminal(holdfast: Holdfast, tmp_path: Path, columns: int) -> None:
    (tmp_path / "cursed.py").write_text(
        "FACTORS = {'width': {'kind': 'integer'}}\n"
        "METRICS = {'error': {'kind': 'positive', 'better': 'lower'}}\n"
        "def train(cells, options, run):\n"
        "    raise ZeroDivisionError('a reason that is longer than a terminal is wide, ' * 4)\n"
    )
    sweep = {"name": "small", "axes": {"width": [1, 2]}, "runs_per_condition": 1}
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump({"trainer": "cursed.py:train", "sweep": sweep}))
    holdfast("run", "--config", "sweep.yaml", expect=4)
    seen = re.sub(r"\x1b\[[0-9;]*m", "", seen_on_a_terminal(tmp_path, "status", "out", columns=columns))
    assert "ZeroDivisionError" in "".join(seen.split())
    assert max(map(len, seen.splitlines())) <= columns


COMMANDS_TO_A_TERMINAL = "\x1b]0;title\x07\x1b[2J\x9b31m\u202e"


@pytest.mark.parametrize("words", [("status", "out"), ("show", "out", "width_1_run_1"), ("aggregate", "out")])
def test_no_text_of_a_sweep_directory_commands_a_terminal(
    holdfast: Holdfast, tmp_path: Path, swept: Path, words: tuple[str, ...]
) -> None:
    attempt = tmp_path / "out" / "individual_results" / "width_1_run_1" / "attempts" / "0001"
    attempt.mkdir(parents=True)
    failure = {"cause": COMMANDS_TO_A_TERMINAL, "traceback": COMMANDS_TO_A_TERMINAL}
    (attempt / "failure.json").write_text(json.dumps(failure))
    done = holdfast(*words, expect=0 if words[0] == "show" else 4)
    watched = seen_on_a_terminal(tmp_path, *words)
    for text in (done.stdout + done.stderr, watched):
        assert r"\x1b]0;title" in text
        assert not any(mark in text for mark in ("\x1b]", "\x07", "\x1b[2J", "\x9b", "\u202e"))
