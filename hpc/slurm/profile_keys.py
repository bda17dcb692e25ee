"""The keys of a cluster profile and what each may hold: an allow-list, for all that reaches a script.

Names and values that could carry another directive or command are refused here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from hpc.errors import shown

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.,:@+-]{0,127}")
_CONSTRAINT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.,:&|*()\[\]-]{0,255}")
_GPU_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_MODULE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./+-]{0,127}")
_OPTION = re.compile(r"[a-z][a-z-]{1,40}")
_OPTION_VALUE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.,:=/@%+&|*()\[\] -]{0,255}")
_PATH = re.compile(r"[^\x00-\x1f\x7f]{1,1000}")
MOST_GPUS = 64
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


def _modules(value: Any) -> str:
    names = value if isinstance(value, list) else [None]
    good = all(isinstance(name, str) and _MODULE.fullmatch(name) for name in names)
    return "" if good else "must be a list of module names, such as [cuda/12.4]"


def _container(value: Any) -> str:
    if not isinstance(value, Mapping) or set(value) - {"image", "runtime", "bind"} or "image" not in value:
        return "must be {image: FILE, runtime: apptainer, bind: [DIRECTORY]}"
    if value.get("runtime", "apptainer") not in ("apptainer", "singularity"):
        return "runtime must be apptainer or singularity"
    bind = value.get("bind", [])
    if not isinstance(bind, list) or not all(isinstance(path, str) and _PATH.fullmatch(path) for path in bind):
        return "bind must be a list of directories, such as [/scratch]"
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

FIELDS: dict[str, Callable[[Any], str]] = {
    "partition": _word,
    "timeout_min": _whole(1),
    "gpus_per_node": _whole(0, MOST_GPUS),
    "gpu_type": _matches(_GPU_TYPE, "must be one GPU type as sinfo names it, such as a100"),
    "cpus_per_task": _whole(1),
    "mem_gb": _positive,
    "array_parallelism": _whole(1),
    "python": _file,
    "modules": _modules,
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
SECTIONS = ("container", "additional_parameters")


def contradictions(values: Mapping[str, Any]) -> list[str]:
    """What is wrong with values that are each right by themselves, a line a fault."""
    faults = []
    gpus = values.get("gpus_per_node") or 0
    if values.get("gpu_type") and not gpus:
        faults.append("gpu_type is given, but gpus_per_node is not; say how many GPUs a task gets")
    if values.get("gpu_type") and values.get("gres"):
        faults.append("gres and gpu_type both name resources; write all of them in gres, without gpu_type")
    limit_s = 60 * (values.get("timeout_min") or 0)
    asked_s = values.get("signal_delay_s") or 0
    if limit_s and 2 * asked_s > limit_s:
        faults.append(f"signal_delay_s is {asked_s}; a task must have half of its {limit_s} s to train, take less")
    return faults
