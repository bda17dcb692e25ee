"""A sweep: what is to be run, validated, as plain data that goes to sweep.json and comes back unchanged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import PurePath
from typing import Any

from hpc.checkout import BUILT_IN_TRAINER, SCRIPT_TRAINER
from hpc.sweep.cell import Cell, digest
from hpc.sweep.grid import Grid
from hpc.sweep.resources import ResourceRule, rules_from_json
from hpc.sweep.stopping import StopRule

# Code and tables fit; a data set belongs in a data directory, where it is read and not copied.
FILES_MB = 20.0
# Of the analysis: how results are shown, not what is tested. It may change at any time.
PRESENTATION = ("figures", "formats", "labels")

# What a declared test says beside its kind.
_TEST_NEEDS = {
    "slope": ("metric",),
    "compare": ("metric",),
    "retention": ("kept", "other", "factor", "kept_chance", "other_chance"),
}


@dataclass(frozen=True)
class DeclaredTrainer:
    """Which code trains a cell and what it declared.

    target: ``module:function`` or ``file.py:function`` (identity: the file's name without its directory).
    path: absolute path of the file, or of the module's source; provenance, never part of a digest.
    factors, metrics: the declaration, as training/contract.py describes.
    pack_mode: fused (one call for a pack), concurrent (one process a cell, side by side) or sequential (one call a
        cell, one after another).
    data_files: patterns of the files in the data directory whose content counts.
    files: patterns of files that the trainer reads, as seen from its own folder. files_mb: how much of what lies beside
        it is copied for its tasks, MB.
    seeded: what it draws from a cell's seed, in words for a reader of the report; may be empty.
    """

    target: str
    path: str
    factors: Mapping[str, Any]
    metrics: Mapping[str, Any]
    pack_mode: str = "sequential"
    data_files: tuple[str, ...] = ("*",)
    files: tuple[str, ...] = ()
    files_mb: float = FILES_MB
    seeded: str = ""

    def field_of(self, factor: str) -> str:
        """Name of a factor in results.json."""
        return str(self.factors.get(factor, {}).get("field", factor))


@dataclass(frozen=True)
class Sweep:
    """One revision of a sweep, complete and validated.

    sections: data, model, synergy, training and the chosen experiment, as the trainer gets them.
    data_digest: digest of the data's content; empty without data.
    stop_when: metric, patience, min_delta and better of the rule by which a cell ends early; empty without one.
    analysis, checkpoint_seconds, keep_weights, wandb, output_dir, resources: not part of a cell's identity.
    resources: what some cells ask of a cluster beside the others. Like a profile, it may change at any time.
    """

    name: str
    grid: Grid
    trainer: DeclaredTrainer
    options: Mapping[str, Any]
    sections: Mapping[str, Any]
    data_digest: str
    analysis: Mapping[str, Any]
    checkpoint_seconds: float
    keep: Mapping[str, Any]
    wandb: Mapping[str, Any] = field(default_factory=dict)
    stop_when: Mapping[str, Any] = field(default_factory=dict)
    resources: tuple[ResourceRule, ...] = ()

    @cached_property
    def stop_rule(self) -> StopRule | None:
        """When a cell ends early; None if every cell trains all its epochs."""
        if self.stop_when:
            return StopRule.of(self.stop_when)
        # What the built-in trainer was told before there was stop_when, in sweeps that were begun then.
        earlier = self.sections.get("training", {}).get("early_stopping")
        if self.trainer.target != BUILT_IN_TRAINER or not earlier:
            return None
        return StopRule.of({"metric": "val_loss", "better": "lower", **earlier})

    @property
    def metrics_are_free(self) -> bool:
        """Whether a cell may end with metrics missing or not finite, as in sweeps that were begun by early versions.

        Their analysis still has a choice of corrections. All cells of a sweep end by the rules that it began with.
        """
        return "correction" in self.analysis

    def identity(self) -> dict[str, Any]:
        """All that decides the numbers of a cell besides its factors and seed, without paths and factor values."""
        sections = {name: dict(section) for name, section in self.sections.items() if name != "data"}
        for axis in self.grid.axes:
            override = self.trainer.factors.get(axis.name, {}).get("overrides")
            if override:
                section, _, key = override.partition(".")
                sections.get(section, {}).pop(key, None)
        if self.data_digest or "data" in self.sections:
            data = self.sections.get("data", {})
            sections["data"] = {"digest": self.data_digest, "batch_size": data.get("batch_size")}
        # What a level stands for is compared level by level, so that levels can be added.
        options = {key: value for key, value in self.options.items() if not (key == "bundles" and self.bundles)}
        stop_when = {"stop_when": dict(self.stop_when)} if self.stop_when else {}
        return {"trainer": self.trainer.target, "options": options, **stop_when, **sections}

    @property
    def bundles(self) -> Mapping[str, Mapping[str, Mapping[str, Any]]]:
        """Factor of a script -> level -> the settings that it stands for."""
        found: Mapping[str, Any] = self.options.get("bundles", {}) if self.trainer.target == SCRIPT_TRAINER else {}
        return found

    @cached_property
    def config_digest(self) -> str:
        """A result belongs to this configuration if it carries this digest."""
        return digest(self.identity())

    @cached_property
    def task_digest(self) -> str:
        """Digest of all that a task may read of this revision: neither the analysis of its results nor what was asked
        of the cluster."""
        return digest({name: value for name, value in self.to_json().items() if name not in ("analysis", "resources")})

    def settings_of(self, cell: Cell) -> dict[str, Mapping[str, Any]]:
        """What a cell's levels stand for, by factor, where they stand for settings."""
        return {factor: levels[str(cell.factors[factor])] for factor, levels in self.bundles.items()}

    def cell_digest(self, cell: Cell) -> str:
        """Digest of a cell under this configuration, with what its levels stand for: of its checkpoints and result."""
        return digest([self.config_digest, cell.to_json(), *self.settings_of(cell).values()])

    def shown_as(self, presentation: Mapping[str, Any]) -> Sweep:
        """The same sweep with figures, formats and labels of another analysis, as far as that names them."""
        newer = {key: presentation[key] for key in PRESENTATION if key in presentation}
        return replace(self, analysis={**self.analysis, **newer})

    def conflicting(self, other: Sweep) -> list[str]:
        """Dotted names of the fields that differ between two configurations, for the error that refuses a mixture."""
        return sorted([*_differences(self.identity(), other.identity()), *self.changed_levels(other)])

    def changed_levels(self, other: Sweep) -> list[str]:
        """Dotted names of settings that a level has in both sweeps, and not the same."""
        ours, theirs = self.bundles, other.bundles
        common = [(factor, level) for factor in ours for level in ours[factor] if level in theirs.get(factor, {})]
        return [
            name
            for factor, level in common
            for name in _differences(ours[factor][level], theirs[factor][level], f"sweep.axes.{factor}.{level}")
        ]

    def with_levels_of(self, other: Sweep) -> Sweep:
        """The same sweep with the settings of the other's levels as well."""
        if not self.bundles:
            return self
        merged = {factor: {**other.bundles.get(factor, {}), **levels} for factor, levels in self.bundles.items()}
        return replace(self, options={**self.options, "bundles": merged})

    def with_runs(self, count: int) -> Sweep:
        """The same sweep with ``count`` runs a condition: the seeds it has, then the integers after the largest."""
        seeds = self.grid.seeds
        added = range(max(seeds) + 1, max(seeds) + 1 + count - len(seeds))
        return replace(self, grid=replace(self.grid, seeds=(*seeds, *added)[:count]))

    def to_json(self) -> dict[str, Any]:
        """As it stands in sweep.json, which also earlier versions read where it uses nothing that they lack."""
        data = asdict(replace(self, grid=Grid((), ())))
        if not self.stop_when:
            del data["stop_when"]
        if not self.trainer.files:  # versions that lack a key cannot read it, and tasks of theirs may be queued
            del data["trainer"]["files"]
        if self.trainer.files_mb == FILES_MB:
            del data["trainer"]["files_mb"]
        if not self.trainer.seeded:
            del data["trainer"]["seeded"]
        data["resources"] = [rule.to_json() for rule in self.resources]
        if not self.resources:
            del data["resources"]
        result: dict[str, Any] = plain(data | {"grid": self.grid.to_json(), "config_digest": self.config_digest})
        return result

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Sweep:
        """Raises KeyError or ValueError if ``data`` was not written by to_json of this version or an earlier one."""
        values = {key: value for key, value in data.items() if key in cls.__dataclass_fields__}
        lists = {key: tuple(data["trainer"][key]) for key in ("data_files", "files") if key in data["trainer"]}
        trainer = DeclaredTrainer(**data["trainer"] | lists)
        rules = rules_from_json(data.get("resources", ()))
        sweep = cls(**values | {"grid": Grid.from_json(data["grid"]), "trainer": trainer, "resources": rules})
        _check_stop(sweep)
        _check_bundles(sweep)
        _check_data(sweep)
        _check_tests(sweep)
        return sweep


def _check_stop(sweep: Sweep) -> None:
    """Raise KeyError or ValueError unless the rule by which cells end early is one, of a metric that there is."""
    if not isinstance(sweep.stop_when, Mapping):
        raise ValueError("stop_when is no section")
    try:
        rule = sweep.stop_rule
    except (TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"stop_when: {error}") from None
    if rule is not None and rule.metric not in sweep.trainer.metrics:
        raise ValueError(f"stop_when.metric: there is no metric {rule.metric!r}")


def _check_bundles(sweep: Sweep) -> None:
    """Raise ValueError unless every level of a factor with bundles has its settings."""
    axes = {axis.name: axis.values for axis in sweep.grid.axes}
    if not isinstance(sweep.bundles, Mapping):
        raise ValueError("options.bundles is no section")
    for factor, levels in sweep.bundles.items():
        if factor not in axes or not isinstance(levels, Mapping):
            raise ValueError(f"options.bundles.{factor} is no section of a factor")
        for value in axes[factor]:
            if not isinstance(levels.get(str(value)), Mapping):
                raise ValueError(f"options.bundles.{factor} has no settings of {value}")


def _check_data(sweep: Sweep) -> None:
    """Raise ValueError unless a sweep that was planned with data says where it lies, and which files of it count."""
    if not sweep.data_digest:
        return
    section = sweep.sections.get("data", {})
    if not isinstance(section.get("dir"), str):  # an empty one is of a sweep that came from W&B, without paths
        raise ValueError("sections.data.dir is no path, where data_digest is given")
    if not isinstance(section.get("image_dir"), str | None):
        raise ValueError("sections.data.image_dir is no path")
    for pattern in sweep.trainer.data_files:
        if not PurePath(pattern).parts or PurePath(pattern).is_absolute() or ".." in PurePath(pattern).parts:
            raise ValueError(f"trainer.data_files: {pattern!r} is no pattern of files below a folder")


def _check_tests(sweep: Sweep) -> None:
    """Raise ValueError unless every declared test is one of the three kinds, and says all that its kind needs."""
    for number, test in enumerate(sweep.analysis.get("tests") or ()):
        where, kinds = f"analysis.tests[{number}]", [kind for kind in _TEST_NEEDS if kind in test]
        if len(kinds) != 1:
            raise ValueError(f"{where} is not one of {', '.join(_TEST_NEEDS)}")
        said = test["retention"] if kinds == ["retention"] else test
        if missing := [key for key in _TEST_NEEDS[kinds[0]] if said.get(key) is None]:
            raise ValueError(f"{where} lacks {', '.join(missing)}")


def plain(value: Any) -> Any:
    """The value with tuples as lists and mappings as dictionaries, as JSON gives it back."""
    if isinstance(value, Mapping):
        return {key: plain(entry) for key, entry in value.items()}
    return [plain(entry) for entry in value] if isinstance(value, list | tuple) else value


def _differences(a: Any, b: Any, prefix: str = "") -> list[str]:
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        keys = a.keys() | b.keys()
        return [d for key in keys for d in _differences(a.get(key), b.get(key), f"{prefix}.{key}" if prefix else key)]
    return [] if a == b else [prefix]
