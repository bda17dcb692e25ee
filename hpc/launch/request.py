"""From what a user typed to a sweep in a directory: a configuration, or an existing sweep to continue."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hpc import provenance
from hpc.checkout import PROJECT_ROOT
from hpc.config.command_line import added_values
from hpc.config.declared_tests import cannot_be_tested
from hpc.config.grid_section import grow
from hpc.config.load import MOST_CELLS_UNASKED, CommandLine, load
from hpc.errors import ConfigError, SweepError
from hpc.paths import expanded
from hpc.storage.opening import MOST_CELLS, too_many
from hpc.storage.revisions import admit, has_work, write_sweep
from hpc.storage.store import Store
from hpc.submission.live import live_tasks
from hpc.sweep.definition import Sweep
from hpc.sweep.states import FINAL
from hpc.trainers import data, git
from hpc.trainers.snapshot import trainer_digest


@dataclass(frozen=True)
class Request:
    """A validated sweep and the directory it belongs to. Nothing has been written yet.

    existing: the sweep is the one that the directory holds, and not described by a configuration of the user's.
    """

    store: Store
    sweep: Sweep
    notes: tuple[str, ...] = ()
    existing: bool = False

    def record(self, allow_code_change: bool = False) -> Sweep:
        """Write the sweep, or the revision that grows it. Returns the sweep to run: the cells asked for.

        Raises SweepError if the directory holds another one, if the trainer is gone, or if its code is not what the
        cells were trained with, unless that is allowed: then the change is a revision of its own.
        """
        self.check_trainer()
        path = Path(self.sweep.trainer.path)
        code = trainer_digest(self.sweep.trainer)
        if self.store.exists():
            recorded = self.store.manifest()["revisions"][-1].get("provenance", {}).get("trainer_digest")
            if recorded not in (None, code) and not allow_code_change and has_work(self.store):
                raise SweepError(
                    f"{self.store.root}: the code of {self.sweep.trainer.target} has changed since cells were trained "
                    "here; use another --output-dir, or mix old and new with --allow-code-change, which is recorded"
                )
            self._check_nothing_lives()
        checkouts = {"holdfast": git.state(PROJECT_ROOT), "trainer": git.state(path.parent)}
        facts: dict[str, Any] = {"versions": provenance.versions(), "git": checkouts, "trainer_digest": code}
        write_sweep(self.store, self.sweep, facts)
        return self.sweep

    def check_trainer(self) -> None:
        """Raise SweepError if the trainer is gone."""
        path = Path(self.sweep.trainer.path)
        if not path.is_file():
            raise SweepError(
                f"{path}: the trainer of this sweep is not there; put it back, or say where it is with --config"
            )

    def _check_nothing_lives(self) -> None:
        """Raise SweepError if the identity of cells is to change while tasks of the sweep as it was are about.

        Such a correction is admitted where all that began has failed; but a task that is queued, or loads its trainer
        just now, would go on to train what it was queued for. Raises SlurmError if that cannot be found out.
        """
        current = self.store.sweep()
        same_cells = self.sweep.grid.covers(current.grid) or current.grid.covers(self.sweep.grid)
        unchanged = current.config_digest == self.sweep.config_digest and not current.changed_levels(self.sweep)
        if unchanged and same_cells:
            return
        count = len(live_tasks(self.store)) + len(self.store.running_here())
        if count:
            raise SweepError(
                f"{self.store.root}: its configuration or seeds cannot change while {count} of its tasks are queued or "
                f"running; wait for them, or holdfast cancel {self.store.root}, then submit again"
            )


@dataclass(frozen=True)
class SweepOptions:
    """Which sweep a command line asks for: an existing one by its directory, or one that its settings describe."""

    directory: Path | None = None
    line: CommandLine = field(default_factory=CommandLine)

    @classmethod
    def of(cls, words: Sequence[str], line: CommandLine) -> SweepOptions:
        """Of the words beside the options: a directory or dotted settings. Raises ConfigError for two directories."""
        # Not Path.is_dir: it raises for a setting that is too long for a path.
        overrides = [word for word in words if "=" in word and not os.path.isdir(word)]
        directories = [word for word in words if word not in overrides]
        files = [word for word in directories if word.endswith((".yaml", ".yml", ".json")) or os.path.isfile(word)]
        if files:
            raise ConfigError(
                [f"command line: {files[0]!r} is no sweep's directory; did you mean --config {files[0]}?"]
            )
        if len(directories) > 1:
            raise ConfigError([f"command line: {directories[1]!r} is a second directory; name one sweep, or key=value"])
        try:
            directory = expanded(directories[0]) if directories else None
        except ValueError as error:
            raise ConfigError([f"command line: DIR is {directories[0]!r}; {error}"]) from None
        return cls(directory, replace(line, overrides=tuple(overrides)))


def resolve(options: SweepOptions, *, needs_data: bool = True) -> Request:
    """The sweep that is asked for. Raises ConfigError, SweepError, OSError; writes nothing.

    needs_data: whether cells are to be trained, so that the data of an existing sweep has to be as it was.
    """
    if options.directory is not None:
        found = _existing(options.directory, options.line, needs_data)
    else:
        found = _described(options)
    if needs_data and os.pathsep in str(found.store.root):
        raise ConfigError(
            [f"{found.store.root}: Python loads no code from a path with ':' in it; name another directory"]
        )
    return found


def _described(options: SweepOptions) -> Request:
    """The sweep that a configuration and its changes on the command line describe."""
    loaded = load(options.line)
    store = Store(loaded.output_dir)
    if store.root.exists() and not store.root.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "not a directory; name another --output-dir", str(store.root))
    notes = loaded.notes
    if store.exists():
        admit(store, loaded.sweep)
        recorded = store.sweep()
        more = () if recorded.grid.covers(loaded.sweep.grid) else _more_conditions(store, recorded, loaded.sweep)
        notes = [*notes, *_fewer(recorded, loaded.sweep), *more, *_more_seeds(store, recorded, loaded.sweep)]
    return Request(store, loaded.sweep, tuple(notes))


def _fewer(recorded: Sweep, asked: Sweep) -> Iterator[str]:
    """A note if fewer runs are asked for than a sweep has."""
    seeds = len(recorded.grid.seeds)
    if len(asked.grid.seeds) < seeds:
        yield f"the sweep already has {seeds} runs per condition; only the first of them are looked at"


def _more_conditions(store: Store, recorded: Sweep, asked: Sweep) -> Iterator[str]:
    """A note on the claims if a sweep gets more conditions."""
    first = dict(store.manifest()["revisions"][0]["grid"]["axes"])
    for before, after in zip(recorded.grid.axes, asked.grid.axes, strict=True):
        if added := [value for value in after.values if value not in before.values]:
            shown, planned = (", ".join(map(str, values)) for values in (added, first[before.name]))
            yield (
                f"{before.name} gets {shown}: comparisons with these conditions are exploratory; the claims that were "
                f"fixed before the first job stay on {planned}"
            )


def _more_seeds(store: Store, recorded: Sweep, asked: Sweep) -> Iterator[str]:
    """A note on the claims if a sweep gets more seeds, and so is looked at more often than was planned."""
    from aggregate.analysis.fixed import Analysis, looks_of

    if len(asked.grid.seeds) <= len(recorded.grid.seeds):
        return
    grown = {"grid": asked.grid.to_json(), "results_seen": has_work(store)}
    looks = looks_of(Analysis.of(recorded.analysis), [*store.manifest()["revisions"], grown])
    if not looks.as_planned:
        yield (
            f"with more seeds the results are looked at {looks.taken} times, {looks.planned} planned (analysis.looks): "
            "no claim counts as fixed before the first job"
        )


# Options that describe a sweep: a directory has been described already.
_DESCRIBING = {
    "config": "--config",
    "experiment": "--experiment",
    "epochs": "--epochs",
    "batch_size": "--batch-size",
    "output_dir": "--output-dir",
}


def _existing(directory: Path, line: CommandLine, needs_data: bool) -> Request:
    given = [option for name, option in _DESCRIBING.items() if getattr(line, name) not in (None, ())]
    if given or line.overrides:
        option = line.overrides[0] if line.overrides else given[0]
        raise ConfigError(
            [f"command line: {option} cannot go with the directory {directory}, whose sweep.json settles it; drop one"]
        )
    store = Store(directory.absolute())
    sweep = recorded = store.sweep()
    if line.runs_per_condition is not None:
        sweep = _with_runs(recorded, line.runs_per_condition)
    if added := added_values(line):
        sweep = replace(sweep, grid=grow(sweep.grid, added, sweep.trainer))
        _check_settings(sweep)
    if sweep.grid.size > max(MOST_CELLS_UNASKED, recorded.grid.size) and not line.allow_huge:
        raise ConfigError([f"command line: the grid has {sweep.grid.size:,} cells; if that is meant, confirm with -y"])
    if line.no_wandb:
        sweep = replace(sweep, wandb={**sweep.wandb, "log_to_wandb": False})
    if needs_data:
        _check_data(store, sweep)
    untestable = cannot_be_tested(sweep.analysis, sweep.trainer, sweep.grid)
    changes = (
        *_fewer(recorded, sweep),
        *_more_conditions(store, recorded, sweep),
        *_more_seeds(store, recorded, sweep),
    )
    return Request(store, sweep, (*untestable, *changes), existing=True)


def _check_settings(sweep: Sweep) -> None:
    """Raise ConfigError for a new level of a factor whose levels stand for settings: it has none."""
    for axis in sweep.grid.axes:
        if axis.name in sweep.bundles:
            for value in axis.values:
                if value not in sweep.bundles[axis.name]:
                    fix = "add it with its settings to sweep.axes, and give --config"
                    raise ConfigError([f"command line: --axis {axis.name}: {value} has no settings; {fix}"])


def _with_runs(sweep: Sweep, runs: int) -> Sweep:
    if runs < 1:
        raise ConfigError([f"command line: --runs-per-condition is {runs}; must be 1 or more"])
    if fault := too_many(sweep.grid.n_conditions * runs, MOST_CELLS, "cells"):
        raise ConfigError([f"command line: the grid has {fault}"])
    return sweep.with_runs(runs)


def _check_data(store: Store, sweep: Sweep) -> None:
    """Raise SweepError if cells are to train on data that is gone or has changed: each task would only find it out."""
    found = data.fault(sweep)
    if found and any(status.state not in FINAL for status in store.statuses(sweep.grid, sweep.config_digest)):
        raise SweepError(found)
