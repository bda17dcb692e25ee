"""Help that shows how, and completion that knows every command and many a value."""

from __future__ import annotations

import os
import pty
import select
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from helpers.command_line import ROOT, parsed
from helpers.here import lacking
from helpers.small_sweeps import make_store, make_sweep
from helpers.waiting import PATIENCE

from hpc.cli import app, completion
from hpc.cli.command import Command, Group
from hpc.sandbox.directory import LONGEST_DIRECTORY


def commands(group: Group = app.holdfast, above: click.Context | None = None) -> Iterator[tuple[str, str, Command]]:
    """Every command that does something: its words, its --help, itself."""
    context = group.make_context(group.name, ["--"], parent=above)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, Group):
            yield from commands(command, context)
        else:
            assert isinstance(command, Command)
            inner = click.Context(command, info_name=name, parent=context)
            yield inner.command_path.removeprefix("holdfast "), inner.get_help(), command


def test_every_command_has_an_example_that_it_understands() -> None:
    for name, text, command in commands():
        assert command.examples, name
        for example in command.examples:
            assert f"  holdfast {example}\n" in text
            assert parsed(example.partition(">")[0]).command is command


def test_every_command_says_in_its_help_what_itself_does_and_not_what_its_family_does() -> None:
    described = [command.help for _, _, command in commands()]
    assert all(described)
    assert len(set(described)) == len(described) >= 20


def test_every_command_has_its_place_in_the_list_of_all() -> None:
    context = app.holdfast.make_context("holdfast", ["--"])
    assert app.holdfast.list_commands(context) == list(app._ORDER)


def test_every_option_has_a_line_of_help() -> None:
    for name, _, command in commands():
        for parameter in command.params:
            assert getattr(parameter, "help", None) or getattr(parameter, "text", None), (name, parameter.name)


def test_the_help_of_a_command_repeats_the_summary_that_the_top_shows(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["--help"]) == 0
    listed = capsys.readouterr().out
    for name in ("plan", "submit", "cancel", "wandb", "completion"):
        assert f"\n  {name} " in listed


def test_help_of_the_sandbox_tells_the_longest_path_there_can_be() -> None:
    (text,) = [text for name, text, _ in commands() if name == "sandbox up"]
    assert f"{LONGEST_DIRECTORY} bytes" in " ".join(text.split())


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with the sweep `out`, and `holdfast` on the path that PATH gets."""
    make_store(tmp_path / "out", make_sweep())
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "holdfast"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m hpc "$@"\n')
    program.chmod(0o755)
    return tmp_path


def surroundings(place: Path) -> dict[str, str]:
    return os.environ | {"PATH": f"{place / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (["su"], {"submit"}),
        (["check", "cl"], {"cluster"}),
        (["data", ""], {"generate", "check"}),
        (["submit", "--con"], {"--config"}),
        (["sandbox", "pre"], {"preempt"}),
        (["status", "out", "--w"], {"--watch"}),
        (["submit", "--profile", "san"], {"sandbox"}),
        (["submit", "--pack", "a"], {"auto"}),
        (["cancel", "out", "--state", "r"], {"RUNNING"}),
        (["show", "out", "width_2"], {"width_2_run_0", "width_2_run_1"}),
        (["run", "out", "--cell", "width_1_run_1"], {"width_1_run_1"}),
        (["show", "nowhere", "width"], set()),
        (["run", "--config", "swee"], set()),
    ],
)
def test_bash_completes_commands_options_values_and_leaves_files_to_the_shell(
    place: Path, line: list[str], expected: set[str]
) -> None:
    words = " ".join(shlex.quote(word) for word in ["holdfast", *line])
    script = "compopt() { :; }\n" + completion.script("bash")
    script += f'COMP_WORDS=({words}); COMP_CWORD={len(line)}; _holdfast_completion holdfast; echo "${{COMPREPLY[@]}}"'
    done = subprocess.run(
        ["bash", "-c", script], cwd=place, env=surroundings(place), capture_output=True, text=True, timeout=PATIENCE
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert set(done.stdout.split()) == expected


@pytest.mark.parametrize("before", ["", "autoload -Uz compinit; compinit -i -D;"])
def test_zsh_completes_likewise_whether_or_not_its_own_completions_were_started(place: Path, before: str) -> None:
    if shutil.which("zsh") is None:
        lacking("zsh is not installed")
    (place / "script").write_text(f"{before}\n{completion.script('zsh')}\nprint -r -- $_comps[holdfast]\n")
    ours, theirs = pty.openpty()
    shell = subprocess.Popen(
        ["zsh", "-fi"], cwd=place, env=surroundings(place), stdin=theirs, stdout=theirs, stderr=theirs
    )
    try:
        os.write(ours, b"source ./script\n")
        heard_from(ours, "_holdfast_completion")
        os.write(ours, b"holdfast sandbox pre\t")
        heard_from(ours, "preempt")
    finally:
        shell.kill()
        shell.wait()
        os.close(ours)
        os.close(theirs)


def heard_from(terminal: int, awaited: str) -> None:
    """Read until the terminal shows a text."""
    heard, deadline = "", time.monotonic() + PATIENCE
    while awaited not in heard:
        assert time.monotonic() < deadline, heard
        if select.select([terminal], [], [], 1)[0]:
            heard += os.read(terminal, 4096).decode(errors="replace")


def test_fish_is_answered_as_it_asks(place: Path) -> None:
    asked = {"_HOLDFAST_COMPLETE": "fish_complete", "COMP_WORDS": "holdfast show out width_1", "COMP_CWORD": "width_1"}
    done = subprocess.run(
        ["holdfast"], cwd=place, env=surroundings(place) | asked, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.stdout.splitlines() == ["plain,width_1_run_0", "plain,width_1_run_1"]
    assert "complete --no-files --command holdfast" in completion.script("fish")
