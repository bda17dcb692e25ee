"""Schedules drawn at random, each from some of the rules and some of their values only, and shortened where one fails.

With every rule at hand, one rule undoes what the last one built up: a reboot ends the command that was about to meet
another. A schedule that has no reboots gets there. So each schedule first leaves rules and values out, and weighs the
rest, by chance ("swarm testing").
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from hypothesis import stateful
from hypothesis import strategies as st

# How often a rule is chosen, against others of the same schedule. None: it is left out.
_WEIGHTS = (0, 0, 1, 1, 4)
_STEPS = 40
BOTH = (False, True)


@dataclass(frozen=True)
class Drawn:
    """A rule as a swarm draws it. when: whether it can be taken. choices: the values of its arguments. first: once."""

    function: Callable[..., None]
    when: Callable[[Any], Any]
    choices: Mapping[str, Sequence[Any]]
    first: bool


def rule(
    when: Callable[[Any], Any] = lambda machine: True, first: bool = False, **choices: Sequence[Any]
) -> Callable[[Callable[..., None]], Any]:
    """A rule of a model, which hypothesis draws as well as a swarm does. See Drawn."""

    def decorated(function: Callable[..., None]) -> Any:
        strategies = {name: st.sampled_from(values) for name, values in choices.items()}
        made = stateful.initialize(**strategies)(function) if first else stateful.rule(**strategies)(function)
        made = made if first else stateful.precondition(when)(made)
        made.drawn = Drawn(function, when, choices, first)
        return made

    return decorated


def _rules(machine: type[Any]) -> dict[str, Drawn]:
    """All rules of a model by name."""
    every = {name: getattr(getattr(machine, name), "drawn", None) for name in dir(machine)}
    return {name: drawn for name, drawn in every.items() if drawn}


@dataclass(frozen=True)
class Step:
    """A rule with the values of its arguments."""

    rule: str
    arguments: Mapping[str, Any]

    def __str__(self) -> str:
        told = {name: _told(value) for name, value in self.arguments.items()}
        return f"{self.rule}({', '.join(f'{name}={value}' for name, value in told.items())})"


@dataclass(frozen=True)
class Found:
    """A violation, and the steps that lead there. schedule: the number of the one that found it, from 1."""

    violation: str
    steps: Sequence[Step]
    schedule: int = 0

    def __str__(self) -> str:
        return "\n    ".join([self.violation, *map(str, self.steps)])


def search(model: type[Any], schedules: int, seed: object) -> Found | None:
    """Look for a violation in so many schedules."""
    for number in range(1, schedules + 1):
        steps: list[Step] = []
        if violation := _violation(model, partial(_draw, random.Random(f"{seed} {number}"), steps)):
            return Found(violation, steps, number)
    return None


def shrunk(model: type[Any], found: Found, says: str, seconds: float) -> Found:
    """The same violation by fewer steps: parts are left out as long as it remains.

    says: part of the violation that is looked for; another one is as good where that was not the one found.
    """
    deadline = time.monotonic() + seconds
    says = says if says in found.violation else ""
    size = len(found.steps)
    while size and time.monotonic() < deadline:
        start, shorter = 0, False
        while start < len(found.steps) and time.monotonic() < deadline:
            fewer = [*found.steps[:start], *found.steps[start + size :]]
            violation = _violation(model, partial(_replay, fewer))
            if violation and says in violation:
                found, shorter = replace(found, violation=violation, steps=fewer), True
            else:
                start += size
        size = size if shorter and size == 1 else size // 2
    return found


def _violation(model: type[Any], play: Callable[[Any], None]) -> str:
    """What a schedule violates, at any step or when all is brought to an end; empty if nothing."""
    machine = model()
    try:
        try:
            play(machine)
        except BaseException:
            machine.close()
            raise
        machine.teardown()
    except AssertionError as error:
        return str(error).partition("\n")[0] or "an invariant fails"
    return ""


def _draw(chance: random.Random, steps: list[Step], machine: Any) -> None:
    """A schedule by chance; its steps are noted as they are taken."""
    rules = _rules(type(machine))
    weights = {name: chance.choice(_WEIGHTS) for name in rules}
    choices = {
        (name, argument): values if chance.random() < 0.5 else chance.sample(values, chance.randint(1, len(values)))
        for name, drawn in rules.items()
        for argument, values in drawn.choices.items()
    }

    def take(name: str) -> None:
        steps.append(Step(name, {argument: chance.choice(choices[name, argument]) for argument in rules[name].choices}))
        _take(machine, rules[name], steps[-1])

    for name, drawn in rules.items():
        if drawn.first:
            take(name)
    later = [name for name, drawn in rules.items() if weights[name] and not drawn.first]
    for _ in range(chance.randint(1, _STEPS)):
        if fitting := [name for name in later if rules[name].when(machine)]:
            take(*chance.choices(fitting, [weights[name] for name in fitting]))


def _replay(steps: Sequence[Step], machine: Any) -> None:
    """A schedule once more; steps that can no longer be taken are passed over."""
    rules = _rules(type(machine))
    for step in steps:
        if rules[step.rule].when(machine):
            _take(machine, rules[step.rule], step)


def _take(machine: Any, drawn: Drawn, step: Step) -> None:
    drawn.function(machine, **step.arguments)
    machine.what_must_hold()


def _told(value: Any) -> str:
    """As a person reads it: a cell by its name."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_told, value))}]"
    return getattr(value, "name", None) or repr(value)
