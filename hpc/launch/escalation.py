"""Cells that ran out of memory or time are queued again with more: which, how much, up to which limit.

What a cell was given once it keeps in later submissions, as long as a profile or the resources give it less:
what this user gave it, for what others write in a shared directory is not asked of Slurm in this one's name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from hpc.config.command_line import yaml_value
from hpc.errors import ConfigError
from hpc.faults import Faults
from hpc.launch.look import Look
from hpc.launch.options import SubmitOptions
from hpc.launch.preparation import asked_beside
from hpc.launch.request import Request
from hpc.planning.plan import Plan
from hpc.slurm.profile import Profile
from hpc.slurm.profile_keys import ProfileKeys
from hpc.status.shortage import GPU_MEMORY, MEMORY, TIME, Shortages
from hpc.submission.intents import raised_before
from hpc.sweep.cell import Cell
from hpc.sweep.resources import Resources, ordered, text
from hpc.sweep.states import FAILED, STARTED
from hpc.units import counted

# Of what an attempt had that ran out of it: half of what a cell turns out to need is found in one more try.
FACTOR = 2
Amounts = Mapping[str, int | float]
_WORDS = {MEMORY: "memory", TIME: "time"}


@dataclass(frozen=True)
class Escalation:
    """What cells get beyond profile and resources. raised: by name, what was given before and what is given now.

    fresh: cells that get more now. lines: for people.
    """

    raised: Mapping[str, Amounts] = field(default_factory=dict)
    fresh: frozenset[Cell] = frozenset()
    lines: tuple[str, ...] = ()

    def over(self, profile: Profile, asked: Callable[[Cell], Resources]) -> Callable[[Cell], Resources]:
        """What a cell asks for beside the profile with all that, of which only what is more counts."""

        def of(cell: Cell) -> Resources:
            base = asked(cell)
            more = self.raised.get(cell.name, {})
            full = dict(profile.with_resources(base).asks(more))
            given = {key: value for key, value in more.items() if key in full and value > full[key]}
            return ordered({**dict(base), **dict(profile.beside(given.items()))})

        return of

    def of(
        self, planned: Plan, profile: Profile, asked: Callable[[Cell], Resources]
    ) -> dict[str, dict[str, int | float]]:
        """What the cells of a plan get of it beyond profile and resources, by name."""
        if not self.raised:
            return {}
        over, given = self.over(profile, asked), dict[str, dict[str, int | float]]()
        for cell in (cell for task in planned.tasks for cell in task if cell.name in self.raised):
            got, plain = dict(over(cell)), dict(asked(cell))
            amounts = {key: value for key, value in self.raised[cell.name].items() if got.get(key) != plain.get(key)}
            given |= {cell.name: amounts} if amounts else {}
        return given


def limits_of(settings: Sequence[str]) -> dict[str, int | float]:
    """Limits by key, of `--escalate KEY=LIMIT`. Raises ConfigError."""
    given: dict[str, object] = {}
    for setting in settings:
        key, _, limit = setting.partition("=")
        value = yaml_value(limit)
        if key not in _WORDS or value is None:
            fix = "write mem_gb=LIMIT or timeout_min=LIMIT, up to which cells that ran out of it get more"
            raise ConfigError([f"command line: --escalate is {setting!r}; {fix}"])
        if key in given:
            raise ConfigError([f"command line: --escalate {key} is given twice; remove one"])
        given[key] = value
    keys = Faults("command line: --escalate").validate(given, ProfileKeys)
    return {key: getattr(keys, key) for key in given}


def check_escalation(options: SubmitOptions, profile: Profile) -> None:
    """Raise ConfigError for limits that are none, and where nothing is asked for that could be raised."""
    if limits_of(options.escalate) and profile.is_local:
        raise ConfigError(["command line: --escalate is for a cluster; the profile local asks for nothing; drop it"])


def escalation(request: Request, limits: Amounts, profile: Profile, seen: Look) -> Escalation:
    """What a submission to a cluster gives beyond profile and resources. limits: of what may be raised now, by key.

    Raises SweepError, OSError.
    """
    before = raised_before(request.store, by_others=False) if request.store.exists() else {}
    if not limits or not request.store.exists():
        return Escalation(before)
    asked = Escalation(before).over(profile, asked_beside(request.sweep, profile))
    shortages = Shortages(request.store)
    raised, fresh = {name: dict(amounts) for name, amounts in before.items()}, set[Cell]()
    told = dict[str, int]()
    for status in seen.statuses:
        if status.state not in (STARTED, FAILED) or status.cell.name in seen.queued:
            continue
        short = shortages.of(status.cell)
        if short is None:
            continue
        now = profile.with_resources(asked(status.cell)).parameters.get(short.of)
        more, line = _more(short.of, short.had, now, limits, profile)
        told[line] = told.get(line, 0) + 1
        if more is not None:
            raised.setdefault(status.cell.name, {})[short.of] = more
            fresh.add(status.cell)
    return Escalation(
        raised, frozenset(fresh), tuple(f"{counted(count, 'cell')} {line}" for line, count in told.items())
    )


def _more(
    key: str, had: int | float | None, now: int | float | None, limits: Amounts, profile: Profile
) -> tuple[int | float | None, str]:
    """(how much a cell is to get that ran out with so much, None if no more; what is said of it)."""
    if key == GPU_MEMORY:
        return (
            None,
            "ran out of GPU memory, which --escalate cannot give; name a larger GPU by `constraint` in resources",
        )
    ended, limit = f"ran out of {_WORDS[key]}", limits.get(key)
    if had is None or now is None:
        return None, f"{ended}, and how much it had is not on record; give {key} in the profile"
    ended = f"{ended} with {text([(key, had)])}"
    if key in profile.settled:
        return None, f"{ended}; --set {key} decides what it gets"
    if now > had:  # the profile or the resources were raised since
        return now, f"{ended}: run again with {text([(key, now)])}"
    if limit is None:
        return None, f"{ended}; --escalate {key}=LIMIT gives it more"
    if had >= limit:
        return None, f"{ended}, the limit of --escalate: not raised any more"
    more = min(FACTOR * had, limit)
    return more, f"{ended}: run again with {text([(key, more)])}"
