"""A sweep: what is to be run, validated, as plain data that goes to sweep.json and comes back unchanged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

from hpc.checkout import SCRIPT_TRAINER
from hpc.sweep.cell import Cell, digest
from hpc.sweep.grid import Grid

# Code and tables fit; a data set belongs in a data directory, where it is read and not copied.
FILES_MB = 20.0
# Of the analysis: how results are shown, not what is tested. It may change at any time.
PRESENTATION = ("figures", "formats", "labels")


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
    """

    target: str
    path: str
    factors: Mapping[str, Any]
    metrics: Mapping[str, Any]
    pack_mode: str = "sequential"
    data_files: tuple[str, ...] = ("*",)
    files: tuple[str, ...] = ()
    files_mb: float = FILES_MB

    def field_of(self, factor: str) -> str:
        """Name of a factor in results.json."""
        return str(self.factors.get(factor, {}).get("field", factor))


@dataclass(frozen=True)
class Sweep:
    """One revision of a sweep, complete and validated.

    sections: data, model, synergy, training and the chosen experiment, as the trainer gets them.
    data_digest: digest of the data's content; empty without data.
    analysis, checkpoint_seconds, keep_weights, wandb, output_dir: not part of a cell's identity.
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
        return {"trainer": self.trainer.target, "options": options, **sections}

    @property
    def bundles(self) -> Mapping[str, Mapping[str, Mapping[str, Any]]]:
        """Factor of a script -> level -> the settings that it stands for."""
        found: Mapping[str, Any] = self.options.get("bundles", {}) if self.trainer.target == SCRIPT_TRAINER else {}
        return found

    @cached_property
    def config_digest(self) -> str:
        """A result belongs to this configuration if it carries this digest."""
        return digest(self.identity())

    def cell_digest(self, cell: Cell) -> str:
        """Digest of a cell under this configuration, carried by its checkpoints."""
        settings = [levels[str(cell.factors[factor])] for factor, levels in self.bundles.items()]
        return digest([self.config_digest, cell.to_json(), *settings])

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
        return replace(self, grid=Grid(self.grid.axes, (*seeds, *added)[:count]))

    def to_json(self) -> dict[str, Any]:
        data = asdict(replace(self, grid=Grid((), ())))
        if not self.trainer.files:  # versions that lack a key cannot read it, and tasks of theirs may be queued
            del data["trainer"]["files"]
        if self.trainer.files_mb == FILES_MB:
            del data["trainer"]["files_mb"]
        result: dict[str, Any] = plain(data | {"grid": self.grid.to_json(), "config_digest": self.config_digest})
        return result

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Sweep:
        """Raises KeyError or ValueError if ``data`` was not written by to_json of this version or an earlier one."""
        values = {key: value for key, value in data.items() if key in cls.__dataclass_fields__}
        lists = {key: tuple(data["trainer"][key]) for key in ("data_files", "files") if key in data["trainer"]}
        trainer = DeclaredTrainer(**data["trainer"] | lists)
        sweep = cls(**values | {"grid": Grid.from_json(data["grid"]), "trainer": trainer})
        _check_bundles(sweep)
        return sweep


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
