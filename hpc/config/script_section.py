"""`trainer: {command: "python train.py --lr {lr} ...", metrics: metrics.json, ...}` -> a trainer and its options.

Such a script keeps its own command line and files. What it varies is known from the sweep's axes, what it measures from
`measures`; kinds that are not given follow from the values, or from the metric's name, with a note.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any

from hpc.checkout import SCRIPT_TRAINER, by_file
from hpc.config.bundles import Bundles
from hpc.config.schema.values import read_number
from hpc.errors import nearest, shown, unknown_key
from hpc.sweep.cell import check_factor_name
from hpc.sweep.definition import DeclaredTrainer
from hpc.trainers.declaration import declared_in_configuration
from hpc.trainers.source import TrainerError

_OWN_KEYS = ("measures", "progress", "checkpoint", "resume")
KEYS = ("command", "metrics", *_OWN_KEYS, "factors", "data_files", "pack_mode", "seeded")
_TABLES = (".json", ".jsonl", ".csv", ".tsv")
# What a command may name besides its factors.
_GIVEN = ("seed", "dir", "name", "run_id", "device", "threads", "checkpoint", "data", "code")
# Words of a metric's name -> what it is, as a rule.
_HIGHER = {"acc", "accuracy", "auc", "auroc", "dice", "f1", "iou", "precision", "recall"}
_LOWER = {"err", "error", "fid", "loss", "mae", "mse", "perplexity", "ppl", "rmse", "wer"}


@dataclass(frozen=True)
class Script:
    """trainer and options: as a sweep holds them. notes: what was assumed, for the user to read."""

    trainer: DeclaredTrainer
    options: dict[str, Any]
    notes: list[str]


def is_script(section: object) -> bool:
    """Whether a trainer section is that of a script, and not of a command that reads HOLDFAST_ variables."""
    return isinstance(section, Mapping) and (
        isinstance(section.get("metrics"), str) or any(key in section for key in _OWN_KEYS)
    )


def read_script(
    section: Mapping[str, Any],
    axes: Mapping[str, Sequence[Any]],
    places: Sequence[Path],
    with_data: bool,
    bundles: Bundles | None = None,
) -> Script:
    """A script as the configuration gives it.

    axes: factor -> values as written. places: where a relative path may begin. with_data: whether data.dir is set.
    bundles: the settings that a factor's levels stand for. Raises TrainerError.
    """
    for key in section:
        if key not in KEYS:
            raise TrainerError(unknown_key(str(key), str(key), KEYS))
    command = _text(section, "command", "the command line that trains one cell, such as python train.py --lr {lr}")
    if command is None:
        raise TrainerError("command is missing; write the command line that trains one cell")
    options: dict[str, Any] = {"metrics": _file(section, "metrics", _TABLES)}
    if options["metrics"] is None:
        raise TrainerError("metrics is missing; name the file in {dir} that has the metrics when the script has ended")
    for key, suffixes in (("progress", _TABLES), ("checkpoint", ())):
        if (name := _file(section, key, suffixes)) is not None:
            options[key] = name
    resume = _text(section, "resume", "words for the command where there is a checkpoint, as --resume {checkpoint}")
    if resume is not None:
        if "checkpoint" not in options:
            raise TrainerError("resume needs checkpoint: the file in {dir} that the script writes and resumes from")
        options["resume"] = resume
    factors = _factors(section, axes)
    if bundles:
        options["bundles"] = bundles
    _check_placeholders(command, resume, factors, with_data, bundles or {})
    if resume is not None and "{resume}" not in command:
        command += " {resume}"
    path, options["command"] = _script_of(command, places)
    check_paths_of(options["command"], places, path)
    metrics, options["names"], notes = _measures(section, options["metrics"])
    if path is None:
        notes.append("trainer.command names no Python file: its code is neither copied nor in the results")
    trainer = declared_in_configuration(section, SCRIPT_TRAINER, path, factors, metrics, "measures")
    files = _files_of(f"{options['command']} {resume or ''}", path)
    return Script(replace(trainer, files=files), options, notes)


def _text(section: Mapping[str, Any], key: str, what: str) -> str | None:
    value = section.get(key)
    if key in section and (not isinstance(value, str) or not value.strip()):
        raise TrainerError(f"{key} is {shown(value)}; write {what}")
    return None if value is None else str(value).strip()


def _file(section: Mapping[str, Any], key: str, suffixes: Sequence[str]) -> str | None:
    """A file's name below {dir}."""
    value = section.get(key)
    if value is None and key not in section:
        return None
    fix = "write the name of a file that the script writes in {dir}"
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise TrainerError(f"{key} is {shown(value)}; {fix}")
    path = PurePosixPath(value)
    if path.is_absolute() or ".." in path.parts or path.name in ("", "."):
        raise TrainerError(f"{key} is {shown(value)}; {fix}, without / at its beginning and without ..")
    if suffixes and path.suffix not in suffixes:
        raise TrainerError(f"{key} is {shown(value)}; its name must end in {', '.join(suffixes)}")
    return str(path)


def _factors(section: Mapping[str, Any], axes: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """Declarations of all factors: those given, and the others by the kind of their values."""
    given = section.get("factors", {})
    if not isinstance(given, Mapping):
        raise TrainerError(f"factors is {shown(given)}; write a section such as {{lr: {{kind: real, log: true}}}}")
    found: dict[str, Any] = {}
    for name in dict.fromkeys([*axes, *given]):
        _check_name(name)
        entry = given.get(name)
        if entry is not None and not isinstance(entry, Mapping):
            raise TrainerError(f"factors.{name} is {shown(entry)}; write a section such as {{kind: real, log: true}}")
        found[name] = {"kind": _kind_of(axes.get(name, ()))} | dict(entry or {})
    return found


def _check_name(name: object) -> None:
    """Raise TrainerError, with a name that would do, for a factor that cannot be one: model.lr, or C."""
    if not isinstance(name, str):
        raise TrainerError(f"factor {shown(name)}: a name is text; put it in quotes")
    try:
        check_factor_name(name)
    except ValueError as error:
        better = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
        hint = f"; call it {better}, and write {{{better}}} in the command" if better not in ("", name) else ""
        raise TrainerError(f"factor {name!r}: {error}{hint}") from None


def _kind_of(values: Iterable[Any]) -> str:
    kinds = set()
    for value in values:
        try:
            kinds.add("integer" if isinstance(read_number(value), int) else "real")
        except (ValueError, TypeError):
            return "word"
    return "integer" if kinds == {"integer"} else "real"


def _check_placeholders(
    command: str, resume: str | None, factors: Mapping[str, Any], with_data: bool, bundles: Bundles
) -> None:
    names_in: Callable[[str], list[str]] = by_file("training.placeholders").names_in
    settings = {factor: list(next(iter(levels.values()))) for factor, levels in bundles.items()}
    own = [name for name in factors if name not in settings] + [name for names in settings.values() for name in names]
    if taken := next((name for name in own if name in _GIVEN), None):
        raise TrainerError(f"{{{taken}}} has a meaning of its own in a command; rename the factor")
    known = [*own, *settings, *(name for name in _GIVEN if name != "data" or with_data)]
    for key, text in (("command", command), ("resume", resume or "")):
        for name in names_in(text):
            if name in known or (key, name) == ("command", "resume"):
                continue
            near = nearest(name, known, likeness=0.5)
            hint = f"did you mean {{{near}}}?" if near else f"valid: {', '.join(known)}"
            raise TrainerError(f"{key} has {{{name}}}, which is not a factor of sweep.axes; {hint}")
    there = set(names_in(command))
    for name in [*own, "seed"]:
        if name not in there:
            fix = "SEED={seed} before it" if name == "seed" else f"--{name} {{{name}}}"
            near = nearest(name, [other for other in own if other != name])
            meant = f", or did you mean {near}?" if near else ""
            raise TrainerError(f"command has no {{{name}}}, so {name} changes nothing; add it, such as {fix}{meant}")
    if "resume" in there and resume is None:
        raise TrainerError("command has {resume}, and resume is missing; write resume: --resume {checkpoint}")


def _script_of(command: str, places: Sequence[Path]) -> tuple[Path | None, str]:
    """(the Python file that a command starts, the command with {script} in its place). None where it starts no such."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise TrainerError(f"command cannot be read as a shell would: {str(error).lower()}") from None
    module = next((b for a, b in pairwise(words) if a == "-m"), "")
    below = f"{module.replace('.', '/')}.py"
    if any((place / below).is_file() for place in places):
        raise TrainerError(f"command starts the module {module}; write its file, {below}: tasks run a copy of that")
    word = next((word for word in words if word.endswith(".py") and not set("*$={") & set(word)), None)
    if word is None:
        return None, command
    path = next((place / word for place in places if (place / word).is_file()), None)
    if path is None:
        if "cd" in words:
            return None, command
        where = ", ".join(map(str, dict.fromkeys(places)))
        raise TrainerError(f"command names {word}, which is not in {where}; correct the path")
    return path.resolve(), re.sub(rf"(?<!\S)(['\"]?){re.escape(word)}\1(?!\S)", "{script}", command)


def _files_of(text: str, script: Path | None) -> tuple[str, ...]:
    """Files that a command reads beside the copy of its script, as patterns. Raises TrainerError where none is."""
    if "{code}" in text and script is None:
        raise TrainerError("command has {code}, the folder of its script's copy, and names no Python file")
    found = [re.sub(r"\{\w+\}", "*", name) for name in re.findall(r"\{code\}/+([^\s\"'`|&;<>()]+)", text)]
    for pattern in found:
        if script and not any(script.parent.glob(pattern)):
            raise TrainerError(f"command names {{code}}/{pattern}, and {script.parent} has no such file; correct it")
    return tuple(dict.fromkeys(found))


def check_paths_of(command: str, places: Sequence[Path], script: Path | None = None) -> None:
    """Raise TrainerError for a file that a command names as seen from here: it runs in a directory of its own.

    script: the command's own, of whose folder tasks get a copy.
    """
    if re.search(r"\bcd\s", command):
        return
    for word in re.findall(r"[^\s\"'`|&;<>()=]+", command):
        found = next((place / word for place in places if not word.startswith("/") and (place / word).is_file()), None)
        if found:
            path = found.resolve()
            inside = script and path.is_relative_to(script.parent)
            fix = f"{{code}}/{path.relative_to(script.parent)}" if script and inside else path
            raise TrainerError(f"command names {word}, and runs in an empty directory; write {fix}")


def _measures(section: Mapping[str, Any], file: str) -> tuple[dict[str, Any], dict[str, str], list[str]]:
    """(declarations, metric -> its name in the files, notes)."""
    given = section.get("measures")
    if isinstance(given, list) and all(isinstance(name, str) for name in given):
        given = dict.fromkeys(given)
    if not isinstance(given, Mapping) or not given:
        has = f"measures is {shown(given)}" if "measures" in section else "measures is missing"
        raise TrainerError(f"{has}; name what {file} has, such as {{accuracy: {{kind: bounded, better: higher}}}}")
    metrics: dict[str, Any] = {}
    names: dict[str, str] = {}
    notes = []
    for name, value in given.items():
        entry = {"from": value} if isinstance(value, str) else {} if value is None else value
        if not isinstance(name, str) or not isinstance(entry, Mapping):
            raise TrainerError(f"measures.{name} is {shown(value)}; write {{kind: ..., better: ..., from: COLUMN}}")
        names[name] = entry.get("from", name)
        if not isinstance(names[name], str) or not names[name]:
            raise TrainerError(f"measures.{name}: from is {shown(names[name])}; write the metric's name in the file")
        metrics[name] = {key: entry[key] for key in entry if key != "from"}
        if not {"kind", "better"} <= metrics[name].keys():
            metrics[name] = by_name(name, names[name]) | metrics[name]
            kind, better = metrics[name]["kind"], metrics[name]["better"]
            notes.append(f"measures.{name} is taken as kind {kind}, better {better}, by its name; write both if wrong")
    return metrics, names, notes


def by_name(name: str, column: str) -> dict[str, str]:
    """Kind and direction of a metric as its names suggest. Raises TrainerError if they do not."""
    words = {word for text in (name, column) for word in re.split(r"[^a-z0-9]+", text.lower())}
    if words & _LOWER:
        return {"kind": "positive", "better": "lower"}
    if words & _HIGHER:
        return {"kind": "bounded", "better": "higher"}
    raise TrainerError(
        f"measures.{name} needs kind (bounded: in [0, 1]; positive; real) and better (higher or lower), "
        f"such as {name}: {{kind: real, better: higher}}"
    )
