"""The submitting shell's variables: settings that Slurm would take from them, and secrets that it passes on."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from hpc.slurm.profile import Profile
from hpc.slurm.profile_keys import CLUSTER_OPTIONS, ONE_CLUSTER, ProfileKeys, is_reserved
from hpc.slurm.profile_names import SECTION

# sbatch's own variables, and those of srun and salloc that sites tell their users to set along with them.
_PREFIXES = ("SBATCH_", "SALLOC_", "SLURM_")
_OF_ALL = ("ACCOUNT", "PARTITION", "QOS", "TIMELIMIT", "RESERVATION", "CONSTRAINT", "GRES", "MEM_PER_CPU")
_KEYS = {
    "TIMELIMIT": "timeout_min",
    "MEM_PER_NODE": "mem_gb",
    "GPUS": "gpus_per_node",
    "GPUS_PER_TASK": "gpus_per_node",
}
# What sets how sbatch talks, not what a job gets.
_HARMLESS = {"DEBUG", "QUIET", "VERBOSE", "WAIT", "IGNORE_PBS"}
_SECRET = re.compile(r"(^|_)(API_?KEY|ACCESS_KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)(_|$)", re.IGNORECASE)


def notes(profile: Profile, variables: Mapping[str, str] = os.environ) -> list[str]:
    """One line per setting of the environment that this profile does not make: it is dropped, so that the same
    profile means the same to everybody."""
    given = {*profile.parameters, *(name.replace("-", "_") for name in profile.additional)}
    asked: dict[str, list[str]] = {}
    for variable in sorted(variables):
        if setting := _setting(variable, variables):
            asked.setdefault(setting, []).append(variable)
    found = []
    for setting, names in asked.items():
        key, value = _KEYS.get(setting, setting.lower()), variables[names[0]]
        if key not in given:
            verb = "is" if len(names) == 1 else "are"
            found.append(f"{' and '.join(names)} ({value}) {verb} not used; {_place(key, value)}")
    return found


def secrets(profile: Profile, variables: Mapping[str, str] = os.environ) -> list[str]:
    """Names of variables that look secret and that tasks get, because sbatch passes on all that it finds."""
    # Without the option, sbatch does what it does with ALL.
    if "ALL" not in str(profile.additional.get("export", "ALL")).split(","):
        return []
    return sorted(name for name, value in variables.items() if value and _SECRET.search(name))


def _setting(variable: str, variables: Mapping[str, str]) -> str | None:
    """ACCOUNT of SBATCH_ACCOUNT; None for a variable that sets nothing of a job."""
    prefix = next((prefix for prefix in _PREFIXES if variable.startswith(prefix)), None)
    setting = variable.removeprefix(prefix or "")
    if prefix is None or not variables[variable] or setting in _HARMLESS:
        return None
    # Inside a job Slurm sets dozens of SLURM_*, which describe that job.
    own = prefix == "SBATCH_" or (setting in _OF_ALL and "SLURM_JOB_ID" not in variables)
    return setting if own else None


def _place(key: str, value: str) -> str:
    """Where a profile says the same."""
    if key.replace("_", "-") in CLUSTER_OPTIONS:
        return ONE_CLUSTER.replace("NAME", value) if key == "clusters" else ONE_CLUSTER
    if is_reserved(key) or key == "array_inx":
        return "Holdfast sets this option itself"
    if key in ProfileKeys.model_fields:
        return f"write {key}: {value} in the profile, or --set {key}={value}"
    option = key.replace("_", "-")
    entry = f"{option}: {value}"
    return f"write {SECTION}: {{{entry}}} in the profile, or --set {SECTION}.{option}={value}"
