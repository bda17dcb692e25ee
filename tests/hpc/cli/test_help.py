"""Help that shows how, and completion that knows every command."""

from __future__ import annotations

import argparse
import shlex
import shutil
import subprocess

import pytest
from helpers.here import lacking
from helpers.waiting import PATIENCE

from hpc.cli import app, completion_script
from hpc.cli.help_examples import EXAMPLES
from hpc.sandbox.directory import LONGEST_DIRECTORY


def commands(parser: argparse.ArgumentParser, path: str = "") -> dict[str, argparse.ArgumentParser]:
    """Every command that does something, by its words."""
    below = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    found = {} if below else {path: parser}
    for action in below:
        for name, made in action.choices.items():
            found |= commands(made, f"{path} {name}".strip())
    return found


def test_every_command_has_an_example_that_it_understands() -> None:
    known = commands(app.parser())
    assert set(known) == set(EXAMPLES)
    for name, parser in known.items():
        for example in EXAMPLES[name]:
            assert f"  holdfast {example}\n" in parser.format_help()
            words = shlex.split(example.partition(">>")[0])
            assert app.parser().parse_args(words).call


def test_every_command_says_in_its_help_what_itself_does_and_not_what_its_family_does() -> None:
    described = [parser.description for parser in commands(app.parser()).values()]
    assert all(described)
    assert len(set(described)) == len(described)


def test_help_of_the_sandbox_tells_the_longest_path_there_can_be() -> None:
    told = commands(app.parser())["sandbox up"].format_help()
    assert f"{LONGEST_DIRECTORY} bytes" in " ".join(told.split())


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (["su"], {"submit"}),
        (["check", "cl"], {"cluster"}),
        (["data", ""], {"generate", "check", "-h", "--help", "-v", "--verbose"}),
        (["submit", "--con"], {"--config"}),
        (["sandbox", "pre"], {"preempt"}),
        (["status", "out", "--w"], {"--watch"}),
        (["run", "--config", "swee"], set()),
    ],
)
def test_bash_completes_commands_options_and_leaves_files_to_the_shell(line: list[str], expected: set[str]) -> None:
    words = " ".join(shlex.quote(word) for word in ["holdfast", *line])
    script = completion_script.script(app.parser(), "bash")
    script += f'COMP_WORDS=({words}); COMP_CWORD={len(line)}; _holdfast; echo "${{COMPREPLY[@]}}"'
    done = subprocess.run(["bash", "-uc", script], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == expected


@pytest.mark.parametrize("before", ["", "autoload -Uz compinit; compinit -i -D;"])
def test_zsh_completes_likewise_whether_or_not_its_own_completions_were_started(before: str) -> None:
    if shutil.which("zsh") is None:
        lacking("zsh is not installed")
    script = f"{before}\n{completion_script.script(app.parser(), 'zsh')}"
    script += "print -r -- $_comps[holdfast]\n"
    # compgen is what bashcompinit asks when the key is pressed; zsh itself takes what begins with the word.
    script += "COMP_WORDS=(holdfast sandbox pre) COMP_CWORD=2\n"
    script += "compgen -F _holdfast -- pre"
    done = subprocess.run(["zsh", "-fc", script], capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stderr) == (0, "")
    registered, *offered = done.stdout.splitlines()
    assert "_holdfast" in registered
    assert set(offered) == {"-h", "--help", "-v", "--verbose", "up", "down", "status", "preempt"}
