"""A command line that trains once -> the trainer section and axes of a sweep, to be edited by hand."""

from __future__ import annotations

import ast
import os
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path, PurePath

from hpc.config.script_section import by_name
from hpc.errors import ConfigError, shown
from hpc.sweep.cell import check_factor_name
from hpc.trainers.source import TrainerError, parse

_SEEDS = {"seed", "random_seed", "random_state", "rng_seed", "manual_seed"}
_OUTPUTS = {
    "out", "out_dir", "outdir", "output", "output_dir", "output_path", "save_dir", "save_path", "log_dir", "logdir",
    "run_dir", "results_dir", "work_dir", "default_root_dir", "hydra_run_dir",
}  # fmt: skip
# Numbers that are rarely compared; they stay as they are.
_NO_FACTORS = {
    "device", "devices", "epochs", "gpu", "gpus", "log_every", "max_epochs", "max_steps", "n_epochs", "n_jobs", "nproc",
    "num_epochs", "num_threads", "num_workers", "port", "save_every", "steps", "threads", "verbose", "workers",
}  # fmt: skip
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_QUOTED = re.compile(r"""'[^']*'|"(?:\\.|[^"\\])*"|\\.""")
_VARIABLE = re.compile(r"[A-Za-z_]\w*=")
_FILE = re.compile(r"[\w-]+\.(json|jsonl|csv|tsv|pt|pth|ckpt)")
# Options of scripts that say where to resume from, or only that they shall.
_RESUME = re.compile(r"--(resume|restart|restore|continue|load|ckpt|checkpoint)([-_](from|path|training|checkpoint))*")
_MOST_MEASURES = 4


@dataclass
class Pasted:
    """command: with placeholders. axes: factor -> its value as written. notes: what a person should look at.

    measures: metric -> its name in the files. resume: words for the command where there is a checkpoint.
    """

    command: str
    axes: dict[str, str] = field(default_factory=dict)
    metrics: str = "metrics.json"
    progress: str = ""
    checkpoint: str = ""
    resume: str = ""
    measures: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def read_pasted(line: str, places: Sequence[Path]) -> Pasted:
    """Replace what varies in a command line by placeholders. places: where its files may lie.

    Raises ConfigError if it is not a command line.
    """
    words = _split(line)
    if not any(word.strip() for word in words):
        raise ConfigError([f"command line: --from is {shown(line)}; paste the command that trains once"])
    pasted = Pasted("")
    pasted.command = " ".join(_words(words, pasted, places))
    if "{seed}" not in pasted.command:
        pasted.command += " --seed {seed}"
        pasted.notes.append("--seed {seed} was added: write it as the script takes its seed")
    if not pasted.axes:
        pasted.axes["value"] = "1"
        pasted.command += " --value {value}"
        pasted.notes.append(
            "found no number that looks like a factor: replace {value} and its axis by what you want to vary"
        )
    if "{dir}" not in pasted.command:
        pasted.notes.append("the script runs in a directory of its own, {dir}; what it writes there is read there")
    _look_into(words, places, pasted)
    return pasted


def _split(line: str) -> list[str]:
    """The words of one command. Raises ConfigError for what is not one."""
    line = line.replace("\\\n", " ")
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise ConfigError([f"command line: --from is {shown(line)}; {str(error).lower()}"]) from None
    if operator := shell_operator(line):
        fix = "paste the one command that trains"
        raise ConfigError([f"command line: --from is {shown(line)}, and has {operator} of the shell; {fix}"])
    return [os.path.expanduser(word) for word in words]


def shell_operator(line: str) -> str:
    """The first thing in a line that connects commands or files in a shell, such as ``|``; empty if there is none."""
    found = re.search(r"[&|;<>]+", _QUOTED.sub("", line))
    return found[0] if found else ""


def _words(words: Sequence[str], pasted: Pasted, places: Sequence[Path]) -> Iterator[str]:
    """The command's words again, with placeholders."""
    option = ""
    script = next((word for word in words if word.endswith(".py")), "")
    variables = list(takewhile(_VARIABLE.match, words))
    for word in variables:
        name, _, value = word.partition("=")
        yield f"{name}={'{seed}' if _plain(name) in _SEEDS else _quoted(value)}"
    for word in words[len(variables) :]:
        name, equals, value = word.partition("=")
        if equals and _plain(name):
            yield f"{shlex.quote(name)}={_replaced(_plain(name), value, pasted, places)}"
            option = ""
        elif option and not (word.startswith("-") and not _NUMBER.fullmatch(word)):
            yield _replaced(option, word, pasted, places)
            option = ""
        else:
            option = _plain(word) if word.startswith("-") else ""
            yield _quoted(word) if option or word == script else _absolute(word, pasted, places)


def _plain(option: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", option.lstrip("-+").lower()).strip("_")


def _replaced(option: str, value: str, pasted: Pasted, places: Sequence[Path]) -> str:
    """The placeholder for an option's value, or the value."""
    if option in _SEEDS:
        return "{seed}"
    if option in _OUTPUTS:
        name = PurePath(value).name
        if PurePath(name).suffix not in (".json", ".csv"):
            return "{dir}"
        pasted.metrics = name
        return "{dir}/" + shlex.quote(name)
    if not _NUMBER.fullmatch(value) or option in _NO_FACTORS:
        return _absolute(value, pasted, places)
    factor = option.rpartition("_")[2] if option in pasted.axes else option
    try:
        check_factor_name(factor)
    except ValueError:
        return value
    if factor in pasted.axes:
        return value
    pasted.axes[factor] = value
    pasted.notes.append(f"{factor} has one value so far, {value}: add those to compare, or put the value back")
    return f"{{{factor}}}"


def _absolute(word: str, pasted: Pasted, places: Sequence[Path]) -> str:
    """A word, or the whole path of the file or folder that it names as seen from here."""
    found = next(
        (place / word for place in places if word and not os.path.isabs(word) and (place / word).exists()), None
    )
    # A bare word may be a name that happens to be a folder's, too.
    if found is None or not (found.is_file() or "/" in word):
        return _quoted(word)
    pasted.notes.append(f"{word} became {found.resolve()}: the script runs in a directory of its own")
    return shlex.quote(str(found.resolve()))


def _quoted(word: str) -> str:
    """A word for the shell, which still fills in its variables."""
    escaped = re.sub(r'(["\\`])', r"\\\1", word)
    return f'"{escaped}"' if "$" in word else shlex.quote(word)


def _look_into(words: Sequence[str], places: Sequence[Path], pasted: Pasted) -> None:
    """Guess the names of files and metrics from texts in the script's source; it is not run."""
    names = (place / word for word in words if word.endswith(".py") for place in places)
    path = next((path for path in names if path.is_file()), None)
    try:
        tree = parse(path) if path else ast.Module([], [])
    except TrainerError:
        tree = ast.Module([], [])
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    files = [text for text in texts if _FILE.fullmatch(text)]
    tables = [name for name in files if name.endswith((".json", ".jsonl", ".csv", ".tsv"))]
    if tables and f"/{pasted.metrics}" not in pasted.command:
        pasted.metrics = next((name for name in tables if name.endswith(".json")), tables[0])
    pasted.progress = next((name for name in tables if not name.endswith(".json") and name != pasted.metrics), "")
    pasted.checkpoint = next((name for name in files if name.endswith((".pt", ".pth", ".ckpt"))), "")
    if pasted.checkpoint:
        pasted.resume = next((option for option in _resuming(tree) if option.split()[0] not in words), "")
    paths = {path.rpartition(".")[2]: path for path in reversed(list(_keys(tree))) if _is_measure(path)}
    pasted.measures = dict(list(reversed(paths.items()))[:_MOST_MEASURES]) or {"loss": "loss"}
    where = "they were guessed from texts in its source" if texts else "they are guesses"
    pasted.notes.append(f"metrics and measures: correct them to what the script writes; {where}")


def _resuming(tree: ast.Module) -> Iterator[str]:
    """Options of a script's parser that make it resume, as they are written: alone, or with the checkpoint."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "add_argument":
            names = [word.value for word in node.args if isinstance(word, ast.Constant) and isinstance(word.value, str)]
            alone = any(key.arg == "action" for key in node.keywords)
            yield from (f"{name}{'' if alone else ' {checkpoint}'}" for name in names if _RESUME.fullmatch(name))


def _keys(tree: ast.AST, before: str = "") -> Iterator[str]:
    """Keys of the dictionaries in a program, those of inner ones as paths: val.acc."""
    if not isinstance(tree, ast.Dict):
        for node in ast.iter_child_nodes(tree):
            yield from _keys(node)
        return
    for key, value in zip(tree.keys, tree.values, strict=True):
        name = key.value if isinstance(key, ast.Constant) and isinstance(key.value, str) else ""
        if name:
            yield f"{before}{name}"
        yield from _keys(value, f"{before}{name}." if name and isinstance(value, ast.Dict) else "")


def _is_measure(path: str) -> bool:
    name = path.rpartition(".")[2]
    try:
        by_name(name, name)
    except TrainerError:
        return False
    return re.fullmatch(r"[A-Za-z][A-Za-z0-9_./-]{0,60}", name) is not None
