"""Shell completion: a script made from the command line's own parser, so that it cannot lag behind.

source <(holdfast completion bash)          # in ~/.bashrc; zsh likewise, in ~/.zshrc
"""

from __future__ import annotations

import argparse
import shlex

SHELLS = ("bash", "zsh")
# zsh takes bash's completions once its own are there, which a ~/.zshrc need not have started.
_ZSH_HEAD = """(( $+functions[compdef] )) || { autoload -Uz compinit && compinit -i -D; }
autoload -U +X bashcompinit && bashcompinit
"""

_SCRIPT = """\
_holdfast() {{
    local word path= words=
    for word in "${{COMP_WORDS[@]:1:$((COMP_CWORD-1))}}"; do
        case "$path $word" in {paths}) path="$path $word" ;; esac
    done
    case "$path" in
{cases}
    esac
    COMPREPLY=($(compgen -W "$words" -- "${{COMP_WORDS[COMP_CWORD]}}"))
}}
complete -o default -F _holdfast holdfast
"""


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """The script for a shell: subcommands and options; file names wherever none of them fits."""
    words = _words(parser, "")
    cases = "\n".join(
        f"        {shlex.quote(path)}) words={shlex.quote(' '.join(found))} ;;" for path, found in words.items()
    )
    paths = "|".join(shlex.quote(path) for path in words if path)
    head = _ZSH_HEAD if shell == "zsh" else ""
    return head + _SCRIPT.format(paths=paths, cases=cases)


def _words(parser: argparse.ArgumentParser, path: str) -> dict[str, list[str]]:
    """Path of subcommands, such as `` data generate`` -> what may follow it."""
    found: dict[str, list[str]] = {path: []}
    for action in parser._actions:
        found[path] += action.option_strings
        if isinstance(action, argparse._SubParsersAction):
            found[path] += action.choices
            for name, below in action.choices.items():
                found |= _words(below, f"{path} {name}")
        elif action.choices and not action.option_strings:
            found[path] += map(str, action.choices)
    return found
