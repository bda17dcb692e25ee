"""Schedules drawn at random, each from some of the rules and some of their values only, and shortened where one fails.

With every rule at hand, one rule undoes what the last one built up: a reboot ends the command that was about to meet
another. A schedule that has no reboots gets there. So each schedule first leaves rules and values out, and weighs the
rest, by chance ("swarm testing").

Where a violation needs five steps in their order, chance alone hardly ever meets it, though each step is likely enough.
So half of the schedules continue one that had got somewhere: each model describes its situation by features ("a cancel
that has asked squeue, since when tasks were queued and started"), and the fewest steps that led to each are kept.
Features of every kind are taken equally often; among them, rather those from which fewer schedules have continued, or
more of them led on to something new; as in Go-Explore (arXiv:1901.10995).
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from hypothesis import stateful
from hypothesis import strategies as st

# How often a rule is chosen, against others of the same schedule. None: it is left out.
_WEIGHTS = (0, 0, 1, 1, 4)
# Steps of a schedule, at most. Most violations need few, and each step more can undo what the others have built up.
_STEPS = (3, 6, 20)
_CONTINUES = 0.5
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


@dataclass
class _Way:
    """The fewest steps known to lead to a feature; how many schedules continued them, and how many of these led on."""

    steps: Sequence[Step]
    continued: int = 0
    led_on: int = 0


class Search:
    """Schedules of a model, drawn one after another, and what those before have shown."""

    def __init__(self, model: type[Any], seed: object) -> None:
        self._model, self._seed = model, seed
        self._schedules = 0
        self._ways: dict[str, _Way] = {}  # by feature

    def run(self, schedules: int) -> Found | None:
        """Look for a violation in so many schedules more."""
        for _ in range(schedules):
            self._schedules += 1
            chance, steps = random.Random(f"{self._seed} {self._schedules}"), list[Step]()
            if violation := _violation(self._model, partial(self._draw, chance, steps)):
                return Found(violation, steps, self._schedules)
        return None

    def _draw(self, chance: random.Random, steps: list[Step], machine: Any) -> None:
        """A schedule by chance; its steps are noted as they are taken."""
        swarm = _Swarm(chance, _rules(type(machine)))

        def take(step: Step) -> None:
            steps.append(step)
            _take(machine, swarm.rules[step.rule], step)
            self._note(machine.situation(), steps)

        known = len(self._ways)
        before = self._one_to_continue(chance) if self._ways and chance.random() < _CONTINUES else None
        if before:
            steps += before.steps
            _replay(steps, machine)
        else:
            for step in swarm.first():
                take(step)
        for _ in range(chance.randint(1, chance.choice(_STEPS))):
            if found := swarm.next(machine):
                take(found)
        if before:
            before.led_on += len(self._ways) > known

    def _one_to_continue(self, chance: random.Random) -> _Way:
        """Features of each kind, which is their first word, as often as those of any other."""
        kinds = Counter(feature.split()[0] for feature in self._ways)
        weights = [
            (1 + way.led_on) / (1 + way.continued) / kinds[feature.split()[0]] for feature, way in self._ways.items()
        ]
        (one,) = chance.choices(list(self._ways.values()), weights)
        one.continued += 1
        return one

    def _note(self, situation: set[str], steps: Sequence[Step]) -> None:
        for feature in sorted(situation):
            way = self._ways.setdefault(feature, _Way(tuple(steps)))
            if len(steps) < len(way.steps):
                way.steps = tuple(steps)


class _Swarm:
    """Some rules and some of their values, weighed by chance."""

    def __init__(self, chance: random.Random, rules: Mapping[str, Drawn]) -> None:
        self.rules = rules
        self._chance = chance
        self._weights = {name: chance.choice(_WEIGHTS) for name in rules}
        self._choices = {
            (name, argument): values if chance.random() < 0.5 else chance.sample(values, chance.randint(1, len(values)))
            for name, drawn in rules.items()
            for argument, values in drawn.choices.items()
        }
        self._later = [name for name, drawn in rules.items() if self._weights[name] and not drawn.first]

    def first(self) -> list[Step]:
        """The steps with which a schedule begins."""
        return [self._step(name) for name, drawn in self.rules.items() if drawn.first]

    def next(self, machine: Any) -> Step | None:
        """A step that can be taken; None if there is none."""
        fitting = [name for name in self._later if self.rules[name].when(machine)]
        if not fitting:
            return None
        (name,) = self._chance.choices(fitting, [self._weights[name] for name in fitting])
        return self._step(name)

    def _step(self, name: str) -> Step:
        chosen = {argument: self._chance.choice(self._choices[name, argument]) for argument in self.rules[name].choices}
        return Step(name, chosen)


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
            violation = violation_of(model, fewer)
            if violation and says in violation:
                found, shorter = replace(found, violation=violation, steps=fewer), True
            else:
                start += size
        size = size if shorter and size == 1 else size // 2
    return found


def violation_of(model: type[Any], steps: Sequence[Step]) -> str:
    """What these steps violate, at any of them or when all is brought to an end; empty if nothing."""
    return _violation(model, partial(_replay, steps))


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
