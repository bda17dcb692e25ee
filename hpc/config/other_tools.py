"""Keys of another tool, or of another section: where what they say is written in a configuration of Holdfast's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import BaseModel

from hpc.config.schema.configuration import Configuration
from hpc.config.script_section import KEYS
from hpc.errors import shown
from hpc.slurm.profile_names import is_profile_name, key_of
from hpc.sweep.resources import KEYS as KEYS_OF_RULES

_TRAINER = (
    'write trainer: {command: "python train.py --lr {lr} --seed {seed} --out {dir}", metrics: FILE, measures: [NAME]} '
    "(docs/howto/scripts.md)"
)
_GRID = "write the values of each factor: sweep: {axes: {lr: [0.1, 0.01]}} (docs/migration.md)"
_HYDRA = (
    "Hydra's keys stay in the application's own configuration; trainer.command starts it, with overrides such as "
    "model.lr={lr} (docs/migration.md)"
)
_NO_SEARCH = (
    "Holdfast does not search: every combination of sweep.axes runs, and what sweep.draw draws at random, with "
    "sweep.runs_per_condition seeds (docs/howto/designs.md)"
)
_DESIGN = (
    "sweep.exclude leaves combinations out, as in [{width: 64, mode: ours}], and sweep.include lists single ones "
    "(docs/howto/designs.md)"
)
_DEPENDS = (
    "a factor that matters only with some levels of another: write sweep.when, as in when: {dropout: {model: big}}"
)
_PROFILE = "what Slurm is asked for stands in a profile: --profile cluster.yaml, which `holdfast init` writes"
_COUNT = "write sweep.runs_per_condition, the number of seeds"
# Of Hydra, W&B sweeps, seml, Ray Tune, DVC, and of what people call things by themselves.
_INSTEAD = {
    **dict.fromkeys(("hydra", "defaults", "hydra/launcher", "hydra/sweeper", "_target_"), _HYDRA),
    **dict.fromkeys(("program", "executable", "script", "entrypoint", "entry_point", "cmd"), _TRAINER),
    **dict.fromkeys(
        ("parameters", "grid", "param_space", "params", "search_space", "hyperparameters", "matrix"), _GRID
    ),
    **dict.fromkeys(("method", "early_terminate", "run_cap", "random", "num_samples", "tune_config"), _NO_SEARCH),
    **dict.fromkeys(("search_alg", "search", "sampler", "pruner"), _NO_SEARCH),
    **dict.fromkeys(("skip", "filter", "filters", "constraints", "conditions", "points", "combinations"), _DESIGN),
    **dict.fromkeys(("if", "condition", "conditional"), _DEPENDS),
    **dict.fromkeys(("slurm", "sbatch", "launcher", "executor", "cluster", "seml"), _PROFILE),
    **dict.fromkeys(("run_config", "resources_per_trial", "profile"), _PROFILE),
    **dict.fromkeys(("n_seeds", "num_seeds", "nseeds", "repeats", "n_repeats", "num_repeats", "repetitions"), _COUNT),
    **dict.fromkeys(("replicates", "runs", "n_runs", "num_runs", "trials", "n_trials", "num_trials"), _COUNT),
    "resources": "write it beside `sweep`: resources: [{when: {width: 1024}, mem_gb: 64}] (docs/howto/resources.md)",
    "seed": "write sweep.seeds, a list such as [1, 2, 3], or sweep.runs_per_condition, their number",
    "metric": "write analysis: {primary_metrics: [NAME]}; what is better is said where the metric is declared",
    "fixed": "what does not vary is part of trainer.command, or of trainer_options",
    "project": "write experiment.wandb_project",
    "entity": "write experiment.wandb_entity",
}
# When cells end early: what others call it, and its keys.
_STOP = ("early_stopping", "early_stop", "early_stopping_patience")
_OF_STOPPING = {
    "monitor": "write stop_when.metric",
    **dict.fromkeys(("epochs", "rounds", "wait"), "write stop_when.patience"),
    **dict.fromkeys(("threshold", "delta", "tolerance"), "write stop_when.min_delta"),
    **dict.fromkeys(("mode", "better", "direction"), "which way is better is said where the metric is declared"),
}
# Of a factor: its values, and what they are drawn from.
_LISTS = ("values", "choices", "options", "grid_search", "value")
_DRAWN = {"min", "max", "low", "high", "start", "stop", "distribution", "type"}
# Of a range that is drawn from.
_ENDS = {
    **dict.fromkeys(("low", "lower", "start", "from"), "write min"),
    **dict.fromkeys(("high", "upper", "stop", "end", "to"), "write max"),
    **dict.fromkeys(
        ("distribution", "type", "scale"),
        "write log: true for an even draw on a logarithmic scale; else, none is needed",
    ),
    **dict.fromkeys(("values", "choices", "options"), "list levels in sweep.axes, and all draws are run with each"),
}
# Where people put such keys. Elsewhere the section's own keys are nearer.
_PLACES = ((), ("sweep",), ("experiment",))


def pointer(location: Sequence[Any]) -> str:
    """Where to write what an unknown key says; empty if that is not known. location: of the key, from the outside."""
    *sections, key = location
    if found := next((letter for letter in str(key) if letter != " " and letter.isspace()), ""):
        return f"U+{ord(found):04X} looks like a space and is none; type the spaces of this line anew"
    if sections[:3] == ["sweep", "draw", "ranges"]:
        return _ENDS.get(str(key), "")
    name = str(key).removeprefix("#SBATCH").strip().lstrip("-")
    if name in _STOP:
        return "write stop_when: {metric: NAME, patience: 5}"
    if sections == ["stop_when"] and name in _OF_STOPPING:
        return _OF_STOPPING[name]
    if sections[:1] == ["resources"]:
        return _of_a_rule(name)
    if owners := [owner for owner in _owners(name) if owner.rpartition(".")[0] != ".".join(map(str, sections))]:
        return f"write {' or '.join(owners)}"
    if tuple(sections) not in _PLACES or (sections, name) == (["sweep"], "seed"):
        return ""
    if "." in name:
        section, _, rest = name.partition(".")
        return f"a dot makes no section in a file; write {section}: {{{rest}: ...}}" if not sections else ""
    return _INSTEAD.get(name, _PROFILE if is_profile_name(name) else "")


def _of_a_rule(name: str) -> str:
    """What to write for a key of a profile that a rule of `resources` does not have; empty for other keys."""
    if (key := key_of(name)) in KEYS_OF_RULES:
        return f"write {key}"
    return "it is the same for every task, and stands in the profile" if is_profile_name(name) else ""


def axis(levels: dict[Any, Any]) -> str:
    """How to write the values of a factor that are given as another tool has them; empty if they are not."""
    if any(isinstance(value, dict) for value in levels.values()):
        return ""
    if (key := next((key for key in _LISTS if key in levels), None)) is not None:
        values = levels[key] if isinstance(levels[key], list) else [levels[key]]
        return f"write the values alone: {shown(values)}"
    if _DRAWN & levels.keys():
        return (
            "write the values out, such as [0.001, 0.01, 0.1], or draw some: sweep.draw, with n, seed and ranges "
            "(docs/howto/designs.md)"
        )
    return ""


def _owners(name: str) -> list[str]:
    """Dotted names of the configuration that end in this one."""
    found = [dotted for dotted in _dotted(Configuration) if dotted.rpartition(".")[2] == name and "." in dotted]
    return found + ([f"trainer.{name}"] if name in KEYS else [])


def _dotted(model: type[BaseModel], before: str = "") -> Iterator[str]:
    for name, key in model.model_fields.items():
        yield f"{before}{name}"
        if isinstance(key.annotation, type) and issubclass(key.annotation, BaseModel):
            yield from _dotted(key.annotation, f"{before}{name}.")
