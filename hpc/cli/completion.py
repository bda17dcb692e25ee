"""holdfast completion: Print a script that completes this command in your shell."""

from __future__ import annotations

import click
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

from hpc.cli import options
from hpc.cli.command import Command

EXAMPLES = (
    "completion bash >> ~/.bashrc",
    "completion zsh >> ~/.zshrc",
    "completion fish > ~/.config/fish/completions/holdfast.fish",
)
_KINDS: dict[str, type[ShellComplete]] = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}
# A ~/.zshrc need not have started zsh's completions.
_ZSH_HEAD = "(( $+functions[compdef] )) || { autoload -Uz compinit && compinit -i -D; }\n"


@click.command("completion", cls=Command, examples=EXAMPLES)
@options.argument("shell", type=options.Word(*_KINDS), metavar="SHELL", text="bash, zsh or fish")
def command(shell: str) -> int:
    """Print a script that completes commands, options, profiles, states and cells in your shell."""
    print(script(shell), end="")
    return 0


def script(shell: str) -> str:
    """The script for a shell. It asks `holdfast` itself for what may follow, so it cannot lag behind."""
    from hpc.cli.app import COMPLETE, holdfast

    source = _KINDS[shell](holdfast, {}, "holdfast", COMPLETE).source()
    return (_ZSH_HEAD if shell == "zsh" else "") + source
