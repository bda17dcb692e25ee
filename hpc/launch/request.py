"""From what a user typed to a sweep in a directory: a configuration, or an existing sweep to continue."""

from __future__ import annotations

import errno
import os
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from hpc import provenance
from hpc.checkout import PROJECT_ROOT
from hpc.config.command_line import added_values
from hpc.config.declared_tests import cannot_be_tested
from hpc.config.grid_section import departures, grow
from hpc.config.load import MOST_CELLS_UNASKED, CommandLine, load
from hpc.config.resources_section import told_clash
from hpc.errors import ConfigError, SweepError
from hpc.files.limits import MOST_CELLS, too_many
from hpc.launch.remarks import say
from hpc.paths import expanded
from hpc.storage.permissions import owner
from hpc.storage.revisions import admit, begun_with, has_work, write_sweep
from hpc.storage.store import Store
from hpc.submission.live import live_tasks
from hpc.submission.lock import Held
from hpc.sweep.definition import PRESENTATION, Sweep
from hpc.sweep.grid import levels_text
from hpc.sweep.states import FINAL
from hpc.trainers import data, git
from hpc.trainers.snapshot import damage, snapshot, trainer_digest


@dataclass(frozen=True)
class Request:
    """A validated sweep and the directory it belongs to. Nothing has been written yet.

    existing: the sweep is the one that the directory holds, and not described by a configuration of the user's.
    """

    store: Store
    sweep: Sweep
    notes: tuple[str, ...] = ()
    existing: bool = False

    def record(self, held: Held, allow_code_change: bool = False) -> Sweep:
        """Write the sweep, or the revision that grows it. Returns the sweep to run: the cells asked for.

        held: the sweep's lock. Raises BusyError if it has been taken over: then what is there is the other command's.
        Raises SweepError if the directory holds another one, if the trainer is gone, or if its code is not what the
        cells were trained with, unless that is allowed: then the change is a revision of its own.
        """
        self.check_trainer()
        self._record_with(trainer_digest(self.sweep.trainer), held, allow_code_change)
        return self.sweep

    def freeze(self, held: Held, allow_code_change: bool = False) -> tuple[str, Path]:
        """(digest, directory) of the code that tasks are to run: the same one for all that this command queues, so that
        an edit meanwhile changes nothing.

        Raises as record() does if it is not the code on record: files may have been edited between that look and this
        copy, and another command may have put other code on record since.
        """
        digest, code = self._snapshot
        if damage(code, digest):  # removed since, or changed
            digest, code = snapshot(self.store, self.sweep.trainer)
        found = trainer_digest(self.sweep.trainer, code)
        if self._is_other(found):
            self._record_with(found, held, allow_code_change)
        return digest, code

    @cached_property
    def _snapshot(self) -> tuple[str, Path]:
        return snapshot(self.store, self.sweep.trainer)

    def _is_other(self, code: str) -> bool:
        """Whether another code than this is on record. code: digest of what decides the numbers."""
        if not self.store.exists():
            return False
        recorded = self.store.manifest()["revisions"][-1].get("provenance", {}).get("trainer_digest")
        return recorded not in (None, code)

    def _record_with(self, code: str, held: Held, allow_code_change: bool) -> None:
        """Write the sweep with this digest of its code. Raises SweepError as record() does."""
        other = self._is_other(code)
        if other and not allow_code_change:
            self._check_no_work()
        if self.store.exists():
            self._check_nothing_lives(other and not allow_code_change)
        checkouts = {"holdfast": git.state(PROJECT_ROOT), "trainer": git.state(Path(self.sweep.trainer.path).parent)}
        facts: dict[str, Any] = {"versions": provenance.versions(), "git": checkouts, "trainer_digest": code}
        if other:
            facts["code_change_allowed"] = allow_code_change
        write_sweep(self.store, self.sweep, facts, held.check)
        if other and not allow_code_change and self.store.present():
            say(f"note: the code of {self.sweep.trainer.target} has changed; what it saved before is not resumed")

    def _check_no_work(self) -> None:
        """Raise SweepError if cells were trained with other code."""
        if has_work(self.store):
            raise SweepError(
                f"{self.store.root}: the code of {self.sweep.trainer.target} has changed since cells were trained "
                "here; use another --output-dir, or mix old and new with --allow-code-change, which is recorded"
            )

    def check_trainer(self) -> None:
        """Raise SweepError if the trainer is gone, or was never here."""
        path = Path(self.sweep.trainer.path)
        if not path.is_absolute():  # a file of that name in the working directory is another one
            raise SweepError(
                f"{self.store.root}: this sweep came from W&B, where the place of its trainer is not on record; say "
                f"where {path} is with --config and --output-dir {self.store.root}"
            )
        if not path.is_file():
            raise SweepError(
                f"{path}: the trainer of this sweep is not there; put it back, or say where it is with --config"
            )

    def _check_nothing_lives(self, code_changed: bool) -> None:
        """Raise SweepError if the identity of cells is to change while tasks of the sweep as it was are about.

        code_changed: or their code, and that was not allowed. Such a correction is admitted where all that began has
        failed; but a task that is queued, or loads its trainer just now, would go on to train what it was queued for.
        Raises SlurmError if that cannot be found out.
        """
        current, admitted = self.store.sweep(), admit(self.store, self.sweep)
        unchanged = current.config_digest == admitted.config_digest and not current.changed_levels(admitted)
        if unchanged and admitted.grid.covers(current.grid) and not code_changed:
            return
        count = len(live_tasks(self.store)) + len(self.store.running_here())
        if count:
            raise SweepError(
                f"{self.store.root}: its configuration, seeds or code cannot change while {count} of its tasks are "
                "queued or running; wait for them, or "
                f"holdfast cancel {shlex.quote(str(self.store.root))}, then submit again"
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
    admit(store, loaded.sweep)
    if store.exists():
        recorded = store.sweep()
        more = () if recorded.grid.covers(loaded.sweep.grid) else _more_conditions(store, recorded, loaded.sweep)
        edited = _edited_analysis(recorded, loaded.sweep)
        notes = [*notes, *edited, *_fewer(recorded, loaded.sweep), *more, *_more_seeds(store, recorded, loaded.sweep)]
    return Request(store, loaded.sweep, tuple(notes))


# What is tested whatever the grid. The other settings have defaults that follow from it.
_OF_ANY_GRID = ("looks", "alpha", "equivalence_margin", "last_epochs")


def _edited_analysis(recorded: Sweep, asked: Sweep) -> Iterator[str]:
    """A note for each setting of the analysis that is another one than that with which the sweep began."""
    same_grid = recorded.grid.covers(asked.grid) and asked.grid.covers(recorded.grid)
    tested = [name for name in asked.analysis if name not in PRESENTATION]
    for name in tested if same_grid else _OF_ANY_GRID:
        before, now = recorded.analysis.get(name), asked.analysis.get(name)
        if name in recorded.analysis and before != now:
            was = f" is {before}" if isinstance(before, int | float) else " stands"
            yield f"analysis.{name}{was} since the sweep began; this edit does not count"


def _fewer(recorded: Sweep, asked: Sweep) -> Iterator[str]:
    """A note if fewer runs are asked for than a sweep has."""
    seeds = len(recorded.grid.seeds)
    if len(asked.grid.seeds) < seeds:
        yield f"the sweep already has {seeds} runs per condition; only the first {len(asked.grid.seeds)} are looked at"


def _more_conditions(store: Store, recorded: Sweep, asked: Sweep) -> Iterator[str]:
    """A note on the claims if a sweep gets more conditions."""
    first = dict(store.manifest()["revisions"][0]["grid"]["axes"])
    grown = False
    for before, after in zip(recorded.grid.axes, asked.grid.axes, strict=True):
        known = set(before.values)
        if added := [value for value in after.values if value not in known]:
            grown = True
            shown, planned = map(levels_text, (added, first[before.name]))
            yield (
                f"{before.name} gets {shown}: comparisons with these conditions are exploratory; the claims that were "
                f"fixed before the first job stay on {planned}"
            )
    more = sum(not recorded.grid.has(point) for _, point in asked.grid.conditions()) if not grown else 0
    if more:
        yield (
            f"the sweep gets {more:,} more of the combinations of its levels: claims that use these conditions are "
            "exploratory; those that were fixed before the first job stay on the conditions of then"
        )


def _more_seeds(store: Store, recorded: Sweep, asked: Sweep) -> Iterator[str]:
    """A note on the claims if a sweep gets more seeds, and so is looked at more often than was planned."""
    from aggregate.analysis.fixed_analysis import Analysis, looks_of

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
        first = next(iter(line.overrides), given[0] if given else "")
        option = first if isinstance(first, str) else first[0]
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
        if fault := told_clash(sweep.resources, sweep.grid):
            raise ConfigError([f"{store.paths.sweep_file}: {fault}, and give --config"])
    if sweep.grid.most > max(MOST_CELLS_UNASKED, recorded.grid.most) and not line.allow_huge:
        raise ConfigError([f"command line: the grid has {sweep.grid.most:,} cells; if that is meant, confirm with -y"])
    if line.no_wandb:
        sweep = replace(sweep, wandb={**sweep.wandb, "log_to_wandb": False})
    if needs_data:
        _check_data(store, sweep)
    # Claims stay on the conditions that were planned before there were results.
    planned = replace(begun_with(store.manifest()), seeds=sweep.grid.seeds)
    untestable = cannot_be_tested(sweep.analysis, sweep.trainer, planned)
    changes = (
        *departures(sweep.grid),
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
    """Raise SweepError if cells are to train on data that is gone or has changed: each task would only find it out.

    What another user's directory calls its data is not read unasked: it can be a whole disk. Tasks look by themselves.
    """
    if owner(store):
        return
    found = data.fault(sweep)
    if found and any(status.state not in FINAL for status in store.statuses(sweep.grid, sweep)):
        raise SweepError(found)
