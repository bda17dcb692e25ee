"""What a command asks before it acts: the pack, the cells' states, what Slurm has, the price."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hpc.errors import ConfigError
from hpc.launch.request import Request
from hpc.planning.plan import Plan
from hpc.processes import cores
from hpc.slurm.commands import Slurm, SlurmError
from hpc.slurm.profile import Profile
from hpc.storage import published
from hpc.storage.store import Store
from hpc.submission.live import LiveTask, live_cells, live_tasks
from hpc.sweep.states import CONFLICT, FINAL, CellStatus

if TYPE_CHECKING:
    from hpc.planning.cost import Cost

# Finished cells that a cost estimate looks at.
_COST_SAMPLE = 200


def pack_asked_for(given: str | None) -> int | str | None:
    """Cells a task: a number, ``auto``, or None if not asked for. Raises ConfigError for anything else."""
    if given is None or given == "auto":
        return given
    if not given.isdecimal() or int(given) < 1:
        raise ConfigError([f"command line: --pack is {given!r}; give a whole number of cells, 1 or more, or auto"])
    return int(given)


def chosen_pack(
    wanted: int | str | None, request: Request, profile: Profile, statuses: list[CellStatus], conf: Path | None
) -> int | None:
    """The pack size; for ``--pack auto`` the one that a pilot says is best. Raises ConfigError without a pilot."""
    if not isinstance(wanted, str):
        return wanted
    from hpc.planning import pilot_record

    known = pilot_record.load(profile, request.sweep.config_digest)
    if known is None:
        raise ConfigError(
            [
                "command line: --pack auto needs a pilot of this configuration; "
                f"`holdfast check cluster --profile {profile.name} --pilot --config FILE` makes one"
            ]
        )
    left = sum(entry.state not in FINAL for entry in statuses)
    at_once = cores() if profile.is_local else pilot_record.tasks_at_once(profile, Slurm(conf).nodes())
    try:
        choice = pilot_record.choose_pack(known, profile, max(1, left), at_once)
    except ValueError as error:
        raise ConfigError([f"command line: --pack auto: {error}"]) from None
    say(f"pack {choice.pack_size}: {choice.reason}")
    return choice.pack_size


def statuses_of(request: Request) -> list[CellStatus]:
    """Where each cell of the grid stands, by the files."""
    return list(request.store.statuses(request.sweep.grid, request.sweep.config_digest))


def set_damaged_aside(request: Request) -> None:
    """Quarantine results that are none, and say so: their cells are trained again."""
    for status in statuses_of(request):
        if status.state == CONFLICT and (damage := published.set_damaged_aside(request.store.paths, status.cell)):
            say(f"{damage.partition(';')[0]}; it is set aside and the cell trained again")


def tell_notes(request: Request) -> None:
    """Say which keys of the configuration have no effect."""
    for note in request.notes:
        say(f"note: {note}")


def live(store: Store, strict: bool) -> dict[str, LiveTask]:
    """Cells that Slurm has. strict: raise SlurmError if it cannot be asked; otherwise say so and go on."""
    try:
        return live_cells(live_tasks(store))
    except SlurmError as error:
        if strict:
            raise
        say(f"note: Slurm cannot be asked which cells are queued ({error})")
        return {}


def price(request: Request, planned: Plan, profile: Profile, statuses: list[CellStatus]) -> Cost:
    """The plan's cost, from a sample of this sweep's finished cells or from a pilot."""
    from aggregate.stats.seed_planner import detectable_effect
    from hpc.planning import cost, pilot_record

    finished = [entry.cell for entry in statuses if entry.state in FINAL][:_COST_SAMPLE]
    provenances = [(request.store.result(cell) or {}).get("provenance") or {} for cell in finished]
    known = pilot_record.load(profile, request.sweep.config_digest)
    count = len(request.sweep.grid.seeds)
    effect = detectable_effect(count, float(request.sweep.analysis["alpha"])) if count > 1 else None
    return cost.estimate(planned, effect, provenances, known, profile)


def say(text: str) -> None:
    """Progress and remarks go to stderr; answers go to stdout."""
    print(text, file=sys.stderr, flush=True)


def cluster_of(profile: Profile) -> Path | None:
    """slurm.conf of the profile's cluster; None for the machine's own. Raises SlurmError if the sandbox is down."""
    if profile.name != "sandbox":
        return None
    from hpc.sandbox import cluster

    found = cluster.find()
    if found is None:
        raise SlurmError("the sandbox is not up; start it with `holdfast sandbox up`")
    return found.conf
