"""Cluster profiles: a YAML file with submitit's names -> the resources of one task."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from hpc.checkout import PROJECT_ROOT
from hpc.errors import ConfigError, one_line, shown, unknown_key
from hpc.node.workers import WORKERS_VARIABLE
from hpc.slurm.profile_keys import FIELDS, SECTIONS, contradictions
from hpc.yaml_files import read_mapping, read_yaml

PROFILES = PROJECT_ROOT / "slurm_templates" / "profiles"
BUILT_IN = ("local", "sandbox")
# Keys that mean something to Holdfast; all others go to submitit as they are.
_OWN = {
    "setup",
    "modules",
    "python",
    "container",
    "device",
    "gpu_type",
    "signal_delay_s",
    "array_parallelism",
    "additional_parameters",
}


@dataclass(frozen=True)
class Profile:
    """Resources of one task, validated.

    parameters: for submitit's SlurmExecutor.update_parameters, without ``slurm_``.
    setup: shell lines before the task. device: cpu or cuda; gpu_type: the type asked for, "" if any will do.
    launcher: words in front of ``-m hpc.node.task``, ending with the node's Python.
    signal_delay_s: seconds before the time limit at which a task is asked to save and stop.
    array_parallelism: tasks at once, over all arrays of a submission.
    workers: processes that share a task's cells, one a GPU.
    """

    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    additional: Mapping[str, Any] = field(default_factory=dict)
    setup: tuple[str, ...] = ()
    launcher: tuple[str, ...] = (sys.executable,)
    device: str = "cpu"
    gpu_type: str = ""
    signal_delay_s: int = 90
    array_parallelism: int | None = None
    workers: int = 1

    @property
    def is_local(self) -> bool:
        return self.name == "local"

    @property
    def threads(self) -> int:
        """CPU threads of one worker."""
        return max(1, int(self.parameters.get("cpus_per_task", 1)) // self.workers)


def load_profile(name: str, overrides: Sequence[str] = ()) -> Profile:
    """A built-in profile, one of slurm_templates/profiles, or a file by its path.

    overrides: ``key=value`` for this submission alone; ``key=`` leaves a key out; ``section.key=value`` sets one entry.
    Raises ConfigError.
    """
    if name == "local":
        if overrides:
            raise ConfigError([f"command line: --set {overrides[0]}: the profile local has no settings; drop it"])
        return Profile("local")
    path = PROFILES / "sandbox.yaml" if name == "sandbox" else _file_of(name)
    raw, source = read_mapping(path), path.name
    for text in overrides:
        raw, source = _overridden(raw, text), f"{path.name} with --set"
    return parse_profile("sandbox" if name == "sandbox" else path.stem, raw, source)


def _file_of(name: str) -> Path:
    path = Path(name)
    if not path.suffix:
        path = PROFILES / f"{name}.yaml"
    if not path.is_file():
        known = [*BUILT_IN, *sorted(p.stem for p in PROFILES.glob("*.yaml") if p.stem != "sandbox")]
        raise ConfigError([f"command line: --profile is {name!r}; valid: {', '.join(known)}, or a path to a YAML file"])
    return path


def parse_profile(name: str, raw: Mapping[str, Any], source: str) -> Profile:
    """Validate a profile. Raises ConfigError with every fault."""
    faults: list[str] = []
    values: dict[str, Any] = {}
    for given, value in raw.items():
        key = given.removeprefix("slurm_")
        if key not in FIELDS:
            faults.append(f"{source}: {unknown_key(given, key, FIELDS)}")
            continue
        reason = FIELDS[key](value)
        if key in values:
            reason = "it is given twice, with and without slurm_; remove one"
        if reason:
            faults.append(f"{source}: {given} is {shown(value)}; {reason}")
        values[key] = value
    faults = faults or [f"{source}: {fault}" for fault in contradictions(values)]
    if faults:
        raise ConfigError(faults)
    gpus = values.get("gpus_per_node", 0)
    workers = max(1, gpus)
    return Profile(
        name=name,
        parameters=_parameters(values, gpus),
        additional=values.get("additional_parameters") or {},
        setup=_setup(values, workers),
        launcher=_launcher(values, gpus > 0),
        device=values.get("device") or ("cuda" if gpus else "cpu"),
        gpu_type=values.get("gpu_type", ""),
        signal_delay_s=values.get("signal_delay_s", 90),
        array_parallelism=values.get("array_parallelism"),
        workers=workers,
    )


def _parameters(values: Mapping[str, Any], gpus: int) -> dict[str, Any]:
    parameters = {key: value for key, value in values.items() if key not in _OWN}
    if values.get("gpu_type"):
        del parameters["gpus_per_node"]  # Slurm takes the type and the number in one place only
        parameters["gres"] = f"gpu:{values['gpu_type']}:{gpus}"
    return parameters


def _setup(values: Mapping[str, Any], workers: int) -> tuple[str, ...]:
    lines = [f"module load {name}" for name in values.get("modules") or ()]
    lines += values.get("setup") or ()
    if workers > 1:
        lines.append(f"export {WORKERS_VARIABLE}={workers}  # one worker a GPU; they share the task's cells")
    return tuple(lines)


def _launcher(values: Mapping[str, Any], gpu: bool) -> tuple[str, ...]:
    python = values.get("python") or ("python3" if values.get("container") else sys.executable)
    container = values.get("container")
    if not container:
        return (python,)
    flags = [*(["--nv"] if gpu else []), *(f"--bind={path}" for path in container.get("bind", []))]
    return (container.get("runtime", "apptainer"), "exec", *flags, container["image"], python)


def _overridden(raw: Mapping[str, Any], text: str) -> dict[str, Any]:
    """The profile with one ``key=value`` in the place of what it says there. Raises ConfigError."""
    name, equals, written = text.partition("=")
    if not equals or not name:
        raise ConfigError([f"command line: --set is {text!r}; write key=value, such as partition=long"])
    try:
        value = read_yaml(written)
    except (yaml.YAMLError, RecursionError):
        raise ConfigError([f"command line: --set {one_line(text)}: {shown(written)} is not valid YAML"]) from None
    section, dot, key = name.partition(".")
    if dot and section in SECTIONS:
        return _changed(raw, section, _changed(raw.get(section) or {}, key, value))
    short = name.removeprefix("slurm_")
    # The file may write the key with submitit's prefix; it is the same key.
    return _changed({k: v for k, v in raw.items() if k.removeprefix("slurm_") != short}, short, value)


def _changed(mapping: Any, key: str, value: Any) -> dict[str, Any]:
    kept = {k: v for k, v in dict(mapping).items() if k != key}
    return kept if value is None else kept | {key: value}


def command_line(words: tuple[str, ...]) -> str:
    """Words as a shell command, quoted."""
    return " ".join(shlex.quote(word) for word in words)
