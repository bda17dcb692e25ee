"""What a notebook asks for, as the values that a command line is read into."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hpc.config.command_line import CommandLine
from hpc.errors import ConfigError, shown
from hpc.launch.request import SweepOptions
from hpc.paths import expanded
from hpc.slurm.profile import Profile
from hpc.slurm.profile_file import load_profile

AnyPath = str | os.PathLike[str]
_COUNT = "give a whole number, 1 or more"


def sweep_options(
    directory: AnyPath | None,
    config: AnyPath | None,
    output_dir: AnyPath | None,
    axes: Mapping[str, Sequence[Any]] | None,
    runs_per_condition: int | None,
    settings: Mapping[str, Any] | None,
    no_wandb: bool,
    yes: bool,
) -> SweepOptions:
    """Which sweep is meant. Raises ConfigError."""
    line = CommandLine(
        config=None if config is None else path_of("config", config),
        output_dir=None if output_dir is None else _text("output_dir", output_dir),
        axes=tuple((name, _levels(name, values)) for name, values in _mapping("axes", axes)),
        runs_per_condition=count("runs_per_condition", runs_per_condition),
        overrides=tuple((name, _plain(value)) for name, value in _mapping("settings", settings)),
        no_wandb=flag("no_wandb", no_wandb),
        allow_huge=flag("yes", yes),
    )
    return SweepOptions(None if directory is None else _directory(directory), line)


def _directory(given: AnyPath) -> Path:
    found = path_of("directory", given)
    if found.is_file():
        raise _refused(f"directory is {str(given)!r}, which is a file; did you mean config={str(given)!r}?")
    return found


def profile_of(profile: AnyPath, settings: Mapping[str, Any] | None) -> Profile:
    """The cluster profile of that name or path, with some of its keys changed. Raises ConfigError."""
    return load_profile(_text("profile", profile), written("profile_settings", settings))


def flag(name: str, value: Any) -> bool:
    """True or false; "no" would be true. Raises ConfigError."""
    plain = _plain(value)
    if not isinstance(plain, bool):
        raise _refused(f"{name} is {shown(plain)}; give True or False")
    return plain


def count(name: str, value: Any, *, instead: str | None = None) -> Any:
    """A whole number of 1 or more, None, or the word that may stand instead. Raises ConfigError."""
    plain = _plain(value)
    if plain is None or (instead is not None and plain == instead):
        return plain
    if not isinstance(plain, int) or isinstance(plain, bool) or plain < 1:
        raise _refused(f"{name} is {shown(plain)}; {_COUNT}{f', or {instead!r}' if instead else ''}")
    return plain


def seconds(name: str, value: Any) -> float | None:
    """A time of 0 or more, or None. Raises ConfigError."""
    plain = _plain(value)
    if plain is None:
        return None
    if not isinstance(plain, int | float) or isinstance(plain, bool) or not plain >= 0:
        raise _refused(f"{name} is {shown(plain)}; give seconds, 0 or more, or None to wait without an end")
    return float(plain)


def path_of(name: str, value: AnyPath) -> Path:
    """A path with ~ and variables of the environment replaced. Raises ConfigError."""
    text = _text(name, value)
    try:
        return expanded(text)
    except ValueError as error:
        raise _refused(f"{name} is {text!r}; {error}") from None


def _text(name: str, value: AnyPath) -> str:
    text = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(text, str) or not text:
        raise _refused(f"{name} is {shown(value)}; give a name or a path")
    return text


def written(name: str, given: Mapping[str, Any] | None) -> tuple[str, ...]:
    """`KEY=VALUE` each, as the command line has them. Raises ConfigError."""
    return tuple(f"{key}={_json(f'{name}[{key!r}]', value)}" for key, value in _mapping(name, given))


def _json(name: str, value: Any) -> str:
    try:
        return json.dumps(_plain(value))
    except (TypeError, ValueError):
        raise _refused(f"{name} is {shown(value)}; give text, a number, a list or a dict") from None


def _mapping(name: str, given: Mapping[str, Any] | None) -> list[tuple[str, Any]]:
    if given is None:
        return []
    if not isinstance(given, Mapping) or not all(isinstance(key, str) and key for key in given):
        raise _refused(f"{name} is {shown(given)}; give a dictionary whose keys are names")
    return list(given.items())


def _levels(name: str, values: Any) -> list[Any]:
    plain = _plain(values)
    if not isinstance(plain, list) or not plain:
        raise _refused(f"axes[{name!r}] is {shown(plain)}; give the list of its values")
    return plain


def _plain(value: Any) -> Any:
    """Arrays and numbers of numpy, series of pandas and paths as what a configuration file would hold."""
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | range):
        return [_plain(entry) for entry in value]
    return value


def _refused(fault: str) -> ConfigError:
    return ConfigError([f"command line: {fault}"])
