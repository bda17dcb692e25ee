"""Cluster profiles: a YAML file with submitit's names -> resources, by an allow-list.

All that reaches a script is checked here: names and values that could carry another directive or command are refused.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hpc.documents import read_mapping
from hpc.errors import ConfigError, shown, unknown_key
from hpc.trainer import PROJECT_ROOT

PROFILES = PROJECT_ROOT / "slurm_templates" / "profiles"
BUILT_IN = ("local", "sandbox")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.,:@+-]{0,127}")
_CONSTRAINT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.,:&|*()\[\]-]{0,255}")
_OPTION = re.compile(r"[a-z][a-z-]{1,40}")
_OPTION_VALUE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.,:=/@%+&|*()\[\] -]{0,255}")
_PATH = re.compile(r"[^\x00-\x1f\x7f]{1,1000}")
# Ours to set: the requeue protocol and the bookkeeping rest on them.
_RESERVED = {
    "array",
    "chdir",
    "dependency",
    "error",
    "job-name",
    "open-mode",
    "output",
    "requeue",
    "no-requeue",
    "signal",
    "wrap",
    "ntasks",
    "ntasks-per-node",
    "nodes",
}


@dataclass(frozen=True)
class Profile:
    """Resources of one task, validated.

    parameters: for submitit's SlurmExecutor.update_parameters, without ``slurm_``.
    device: cpu or cuda. launcher: words in front of ``-m hpc.task``, ending with the node's Python.
    signal_delay_s: seconds before the time limit at which a task is asked to save and stop.
    array_parallelism: tasks at once, over all arrays of a submission.
    """

    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    additional: Mapping[str, Any] = field(default_factory=dict)
    setup: tuple[str, ...] = ()
    launcher: tuple[str, ...] = (sys.executable,)
    device: str = "cpu"
    signal_delay_s: int = 90
    array_parallelism: int | None = None

    @property
    def is_local(self) -> bool:
        return self.name == "local"

    @property
    def threads(self) -> int:
        return int(self.parameters.get("cpus_per_task", 1))


def load_profile(name: str) -> Profile:
    """A built-in profile, one of slurm_templates/profiles, or a file by its path. Raises ConfigError."""
    if name == "local":
        return Profile("local")
    if name == "sandbox":
        return parse_profile("sandbox", read_mapping(PROFILES / "sandbox.yaml"), "sandbox.yaml")
    path = Path(name)
    if not path.suffix:
        path = PROFILES / f"{name}.yaml"
    if not path.is_file():
        known = [*BUILT_IN, *sorted(p.stem for p in PROFILES.glob("*.yaml") if p.stem != "sandbox")]
        raise ConfigError([f"command line: --profile is {name!r}; valid: {', '.join(known)}, or a path to a YAML file"])
    return parse_profile(path.stem, read_mapping(path), path.name)


def parse_profile(name: str, raw: Mapping[str, Any], source: str) -> Profile:
    """Validate a profile. Raises ConfigError with every fault."""
    faults: list[str] = []
    values: dict[str, Any] = {}
    for given, value in raw.items():
        key = given.removeprefix("slurm_")
        if key not in _FIELDS:
            faults.append(f"{source}: {unknown_key(given, key, _FIELDS)}")
            continue
        reason = _FIELDS[key](value)
        if key in values:
            reason = "it is given twice, with and without slurm_; remove one"
        if reason:
            faults.append(f"{source}: {given} is {shown(value)}; {reason}")
        values[key] = value
    if faults:
        raise ConfigError(faults)
    own = {"setup", "python", "container", "device", "signal_delay_s", "array_parallelism", "additional_parameters"}
    gpus = values.get("gpus_per_node", 0)
    return Profile(
        name=name,
        parameters={key: value for key, value in values.items() if key not in own and value is not None},
        additional=values.get("additional_parameters") or {},
        setup=tuple(values.get("setup") or ()),
        launcher=_launcher(values, gpus > 0),
        device=values.get("device") or ("cuda" if gpus else "cpu"),
        signal_delay_s=values.get("signal_delay_s", 90),
        array_parallelism=values.get("array_parallelism"),
    )


def _launcher(values: Mapping[str, Any], gpu: bool) -> tuple[str, ...]:
    python = values.get("python") or ("python3" if values.get("container") else sys.executable)
    container = values.get("container")
    if not container:
        return (python,)
    flags = ("--nv",) if gpu else ()
    return (container.get("runtime", "apptainer"), "exec", *flags, container["image"], python)


def command_line(words: tuple[str, ...]) -> str:
    """Words as a shell command, quoted."""
    return " ".join(shlex.quote(word) for word in words)


# --- checks: each says what is wrong with a value, or nothing -------------------------------------------------------


def _matches(pattern: re.Pattern[str], what: str) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        return "" if isinstance(value, str) and pattern.fullmatch(value) else what

    return check


def _whole(minimum: int, maximum: int | None = None) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if isinstance(value, bool) or not isinstance(value, int):
            return "must be a whole number"
        if value < minimum or (maximum is not None and value > maximum):
            return f"must be {minimum} or more" if maximum is None else f"must be {minimum} to {maximum}"
        return ""

    return check


def _positive(value: Any) -> str:
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    return "" if plain and 0 < value < float("inf") else "must be a number above 0"


def _setup(value: Any) -> str:
    lines = value if isinstance(value, list) else [None]
    for line in lines:
        if not isinstance(line, str) or not _PATH.fullmatch(line):
            return "must be a list of shell lines, each without line breaks"
        if line.lstrip().startswith("#SBATCH"):  # sbatch reads directives up to the first command, and this may be it
            return "must not hold #SBATCH lines; use additional_parameters"
    return ""


def _container(value: Any) -> str:
    if not isinstance(value, Mapping) or set(value) - {"image", "runtime"} or "image" not in value:
        return "must be {image: FILE, runtime: apptainer}"
    if value.get("runtime", "apptainer") not in ("apptainer", "singularity"):
        return "runtime must be apptainer or singularity"
    return "" if isinstance(value["image"], str) and _PATH.fullmatch(value["image"]) else "image must be a path"


def _additional(value: Any) -> str:
    if not isinstance(value, Mapping):
        return "must be a section of sbatch options"
    for option, setting in value.items():
        name = str(option).replace("_", "-")
        if not _OPTION.fullmatch(name):
            return f"{option!r} is no sbatch option"
        if any(reserved.startswith(name) for reserved in _RESERVED):  # sbatch takes abbreviations
            return f"{option!r} is set by Holdfast; remove it"
        plain = isinstance(setting, str | int | float) and setting is not False
        if setting is not True and not (plain and _OPTION_VALUE.fullmatch(str(setting))):
            return f"{option!r} has a value that cannot stand in a script: {shown(setting)}"
    return ""


_word = _matches(_NAME, "may hold letters, digits and any of _ . , : @ + - only")
_constraint = _matches(_CONSTRAINT, "may hold letters, digits and any of _ . , : & | * ( ) [ ] - only")
_file = _matches(_PATH, "must be a path without line breaks")

_FIELDS: dict[str, Callable[[Any], str]] = {
    "partition": _word,
    "timeout_min": _whole(1),
    "gpus_per_node": _whole(0, 1),
    "cpus_per_task": _whole(1),
    "mem_gb": _positive,
    "array_parallelism": _whole(1),
    "python": _file,
    "setup": _setup,
    "container": _container,
    "additional_parameters": _additional,
    "constraint": _constraint,
    "account": _word,
    "qos": _word,
    "exclude": _constraint,
    "nodelist": _constraint,
    "gres": _constraint,
    "comment": _word,
    "device": lambda value: "" if value in ("cpu", "cuda") else "must be cpu or cuda",
    "signal_delay_s": _whole(5, 3600),
}
