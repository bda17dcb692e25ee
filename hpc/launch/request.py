"""From what a user typed to a sweep in a directory: a configuration, or an existing sweep to go on with."""

from __future__ import annotations

import argparse
import errno
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hpc import provenance
from hpc.checkout import PROJECT_ROOT
from hpc.config.load import MOST_CELLS_UNASKED, CommandLine, load
from hpc.errors import ConfigError, SweepError
from hpc.storage.revisions import admit, has_work, write_sweep
from hpc.storage.store import Store
from hpc.submission.live import live_tasks
from hpc.sweep.definition import Sweep
from hpc.sweep.states import FINAL
from hpc.trainers import data
from hpc.trainers.snapshot import trainer_digest


@dataclass(frozen=True)
class Request:
    """A validated sweep and the directory it belongs to. Nothing has been written yet."""

    store: Store
    sweep: Sweep
    notes: tuple[str, ...] = ()

    def record(self, allow_code_change: bool = False) -> Sweep:
        """Write the sweep, or the revision that grows it. Returns the sweep to run: the cells asked for.

        Raises SweepError if the directory holds another one, if the trainer is gone, or if its code is not what the
        cells were trained with, unless that is allowed: then the change is a revision of its own.
        """
        path = Path(self.sweep.trainer.path)
        if not path.is_file():
            raise SweepError(
                f"{path}: the trainer of this sweep is not there; put it back, or say where it is with --config"
            )
        code = trainer_digest(self.sweep.trainer)
        if self.store.exists():
            recorded = self.store.manifest()["revisions"][-1].get("provenance", {}).get("trainer_digest")
            if recorded not in (None, code) and not allow_code_change and has_work(self.store):
                raise SweepError(
                    f"{self.store.root}: the code of {self.sweep.trainer.target} has changed since cells were trained "
                    "here; use another --output-dir, or mix old and new with --allow-code-change, which is recorded"
                )
            self._check_nothing_lives()
        git = {"holdfast": provenance.git_state(PROJECT_ROOT), "trainer": provenance.git_state(path.parent)}
        facts: dict[str, Any] = {"versions": provenance.versions(), "git": git, "trainer_digest": code}
        write_sweep(self.store, self.sweep, facts)
        return self.sweep

    def _check_nothing_lives(self) -> None:
        """Raise SweepError if the identity of cells is to change while tasks of the sweep as it was are about.

        Such a correction is admitted where all that began has failed; but a task that is queued, or loads its trainer
        just now, would go on to train what it was queued for. Raises SlurmError if that cannot be found out.
        """
        current = self.store.sweep()
        same_cells = self.sweep.grid.covers(current.grid) or current.grid.covers(self.sweep.grid)
        if current.config_digest == self.sweep.config_digest and same_cells:
            return
        count = len(live_tasks(self.store)) + len(self.store.running_here())
        if count:
            raise SweepError(
                f"{self.store.root}: its configuration or seeds cannot change while {count} tasks of it are queued or "
                f"running; wait for them, or holdfast cancel {self.store.root}, then submit again"
            )


def resolve(arguments: argparse.Namespace) -> Request:
    """The sweep a command line asks for. Raises ConfigError, SweepError, OSError; writes nothing."""
    # Not Path.is_dir: it raises for a setting that is too long for a path.
    overrides = [word for word in arguments.words if "=" in word and not os.path.isdir(word)]
    directories = [word for word in arguments.words if word not in overrides]
    if len(directories) > 1:
        raise ConfigError([f"command line: {directories[1]!r} is a second directory; name one sweep, or key=value"])
    if directories:
        return _existing(Path(directories[0]), arguments, overrides)
    loaded = load(_command_line(arguments, overrides))
    store = Store(loaded.output_dir)
    if store.root.exists() and not store.root.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "not a directory; name another --output-dir", str(store.root))
    if store.exists():
        admit(store, loaded.sweep)
    return Request(store, loaded.sweep, tuple(loaded.notes))


def _existing(directory: Path, arguments: argparse.Namespace, overrides: list[str]) -> Request:
    fixed = ["config", "dims", "synergy_scales", "experiment", "epochs", "batch_size", "output_dir"]
    given = [name for name in fixed if getattr(arguments, name) is not None]
    given += ["axis"] if arguments.axis else []
    if given or overrides:
        option = overrides[0] if overrides else "--" + given[0].replace("_", "-")
        raise ConfigError(
            [f"command line: {option} cannot go with the directory {directory}, whose sweep.json settles it; drop one"]
        )
    store = Store(directory.absolute())
    sweep = recorded = store.sweep()
    if arguments.runs_per_condition is not None:
        if arguments.runs_per_condition < 1:
            raise ConfigError(
                [f"command line: --runs-per-condition is {arguments.runs_per_condition}; must be 1 or more"]
            )
        cells = sweep.grid.n_conditions * arguments.runs_per_condition
        if cells > MOST_CELLS_UNASKED and not arguments.yes:
            raise ConfigError([f"command line: the grid has {cells:,} cells; if that is meant, confirm with -y"])
        sweep = sweep.with_runs(arguments.runs_per_condition)
    seeds = len(recorded.grid.seeds)
    notes: tuple[str, ...] = ()
    if arguments.runs_per_condition is not None and arguments.runs_per_condition < seeds:
        notes = (f"the sweep has {seeds} runs a condition already; only the first of them are looked at",)
    if arguments.no_wandb:
        sweep = replace(sweep, wandb={**sweep.wandb, "log_to_wandb": False})
    if not getattr(arguments, "analyze_only", False):
        _check_data(store, sweep)
    return Request(store, sweep, notes)


def _check_data(store: Store, sweep: Sweep) -> None:
    """Raise SweepError if cells are to train on data that is gone or has changed: each task would only find it out."""
    found = data.fault(sweep)
    if found and any(status.state not in FINAL for status in store.statuses(sweep.grid, sweep.config_digest)):
        raise SweepError(found)


def _command_line(arguments: argparse.Namespace, overrides: list[str]) -> CommandLine:
    return CommandLine(
        config=arguments.config,
        dims=arguments.dims,
        scales=arguments.synergy_scales,
        runs_per_condition=arguments.runs_per_condition,
        axes=arguments.axis,
        experiment=arguments.experiment,
        epochs=arguments.epochs,
        batch_size=arguments.batch_size,
        output_dir=arguments.output_dir,
        no_wandb=arguments.no_wandb,
        overrides=overrides,
        allow_huge=arguments.yes,
    )
