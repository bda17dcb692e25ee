"""Cluster profiles from YAML files with submitit's names."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from hpc import protocol
from hpc.checkout import PROJECT_ROOT
from hpc.errors import ConfigError, meant, one_line, shown
from hpc.faults import Faults
from hpc.paths import expanded
from hpc.slurm.profile import Profile
from hpc.slurm.profile_keys import ProfileKeys, check_together
from hpc.slurm.profile_names import PREFIX, SECTION, in_our_names, key_of
from hpc.yaml_files import read_mapping, read_yaml

PROFILES = PROJECT_ROOT / "slurm_templates" / "profiles"
_BUILT_IN = ("local", "sandbox")
# Keys that mean something to Holdfast, or nothing to submitit; all others go to it as they are.
_OWN = {
    "setup",
    "modules",
    "python",
    "container",
    "device",
    "gpu_type",
    "signal_delay_s",
    "array_parallelism",
    "export",
    "mail_user",
    "mail_type",
    "additional_parameters",
}
# When Slurm mails to a mail_user that is given alone; sbatch would never.
_MAIL_TYPE = "END,FAIL"
# Keys whose entries `--set section.key=value` reaches.
_SECTIONS = ("container", "additional_parameters")


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
    profile = parse_profile("sandbox" if name == "sandbox" else path.stem, raw, source)
    names = (text.partition("=")[0].removeprefix(f"{SECTION}.") for text in overrides)
    return replace(profile, settled=frozenset(map(key_of, names)))


def _file_of(name: str) -> Path:
    try:
        path = expanded(name)
    except ValueError as error:
        raise ConfigError([f"command line: --profile is {name!r}; {error}"]) from None
    if not path.suffix:
        path = PROFILES / f"{name}.yaml"
    if not path.is_file():
        hint, known = meant(path.stem, known_profiles()), ", ".join(known_profiles())
        raise ConfigError([f"command line: --profile is {name!r}; {hint}valid: {known}, or a path to a YAML file"])
    return path


def known_profiles() -> list[str]:
    """The names of profiles that need no path."""
    return [*_BUILT_IN, *sorted(path.stem for path in PROFILES.glob("*.yaml") if path.stem != "sandbox")]


def parse_profile(name: str, raw: Mapping[str, Any], source: str) -> Profile:
    """Validate a profile. source: the file, as faults name it. Raises ConfigError with every fault."""
    faults = Faults(source)
    given = in_our_names(raw, faults)
    keys = faults.validate(given, ProfileKeys)
    check_together(keys, faults)
    faults.stop()
    return Profile(
        name=name,
        parameters=_parameters(given, keys),
        additional=keys.additional_parameters | _options_of_keys(keys),
        setup=_setup(keys),
        launcher=_launcher(keys),
        device=keys.device or ("cuda" if keys.gpus_per_node else "cpu"),
        gpu_type=keys.gpu_type or "",
        signal_delay_s=keys.signal_delay_s,
        array_parallelism=keys.array_parallelism,
        workers=max(1, keys.gpus_per_node),
    )


def _parameters(given: Mapping[str, Any], keys: ProfileKeys) -> dict[str, Any]:
    # Numbers as they were written; what was written in Slurm's notation as the number it is.
    parameters = {
        key: getattr(keys, key) if isinstance(value, str) else value for key, value in given.items() if key not in _OWN
    }
    if keys.gpu_type:
        del parameters["gpus_per_node"]  # Slurm takes the type and the number in one place only
        parameters["gres"] = f"gpu:{keys.gpu_type}:{keys.gpus_per_node}"
    return parameters


def _options_of_keys(keys: ProfileKeys) -> dict[str, str]:
    """sbatch's options that have keys here and are none of submitit's parameters."""
    mail_type = keys.mail_type or (_MAIL_TYPE if keys.mail_user else None)
    options = {"export": keys.export, "mail-user": keys.mail_user, "mail-type": mail_type}
    return {name: value for name, value in options.items() if value}


def _setup(keys: ProfileKeys) -> tuple[str, ...]:
    lines = [*(f"module load {name}" for name in keys.modules), *keys.setup]
    if keys.gpus_per_node > 1:
        workers = f"export {protocol.WORKERS}={keys.gpus_per_node}"
        lines.append(f"{workers}  # one worker per GPU; they share the task's cells")
    return tuple(lines)


def _launcher(keys: ProfileKeys) -> tuple[str, ...]:
    container = keys.container
    if container is None:
        return (keys.python or sys.executable,)
    # --nv brings the node's GPU driver into the container; without GPUs it only warns that there is none.
    flags = [*(["--nv"] if keys.gpus_per_node else []), *(f"--bind={path}" for path in container.bind)]
    return (container.runtime, "exec", *flags, container.image, keys.python or "python3")


def _overridden(raw: Mapping[str, Any], text: str) -> dict[str, Any]:
    """The profile with one ``key=value`` in the place of what the file says there. Raises ConfigError."""
    name, equals, written = text.partition("=")
    if not equals or not name:
        raise ConfigError([f"command line: --set is {text!r}; write key=value, such as partition=long"])
    try:
        value = read_yaml(written)
    except (yaml.YAMLError, RecursionError):
        raise ConfigError([f"command line: --set {one_line(text)}: {shown(written)} is not valid YAML"]) from None
    section, dot, key = name.partition(".")
    if dot and section in _SECTIONS:
        entries = raw.get(section) or {}
        # Anything but a section stays, to be refused with all other faults.
        return _changed(raw, section, _changed(entries, key, value) if isinstance(entries, Mapping) else entries)
    short = name.removeprefix(PREFIX)
    # The file may write the key under another of its names, or among the additional parameters; it is the same key.
    kept = {k: _without(v, short) if k == SECTION else v for k, v in raw.items() if key_of(k) != key_of(short)}
    return _changed(kept, short, value)


def _without(entries: Any, key: str) -> Any:
    """A section without what means the same as a key."""
    if not isinstance(entries, Mapping):
        return entries
    return {k: v for k, v in entries.items() if key_of(str(k)) != key_of(key)}


def _changed(mapping: Mapping[str, Any], key: str, value: Any) -> dict[str, Any]:
    kept = {k: v for k, v in mapping.items() if k != key}
    return kept if value is None else kept | {key: value}
