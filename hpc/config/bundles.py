"""Named bundles: a factor whose levels are names for several settings of a script's command.

`axes: {model: {small: {width: 64, depth: 2}, large: {width: 512, depth: 8}}}`: model is a factor of words, and in the
command `{width}` and `{depth}` move together with it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from hpc.errors import shown
from hpc.faults import Faults
from hpc.yaml_files import Unquoted

Bundles = dict[str, dict[str, dict[str, Any]]]


def take_bundles(raw: Mapping[str, Any]) -> dict[str, dict[Any, Any]]:
    """Factor -> level -> settings, unchecked. In ``raw`` the names of the levels are left, as a list."""
    section = raw.get("sweep")
    axes = section.get("axes") if isinstance(section, dict) else None
    if not isinstance(axes, dict):
        return {}
    found = {name: levels for name, levels in axes.items() if isinstance(levels, dict) and isinstance(name, str)}
    axes.update({name: list(levels) for name, levels in found.items()})
    return found


def checked_bundles(found: Mapping[str, Mapping[Any, Any]], faults: Faults) -> Bundles:
    """The bundles with plain settings. Faults are added, not raised."""
    bundles: Bundles = {}
    owners: dict[str, str] = {}
    for factor, levels in found.items():
        if not levels:
            faults.value(f"sweep.axes.{factor}", {}, "name its levels, each with its settings")
        first = next(iter(levels.values()), None)
        names = list(first) if isinstance(first, Mapping) else []
        for level, settings in levels.items():
            field = f"sweep.axes.{factor}.{level}"
            if not isinstance(level, str) or not level[:1].isalpha():
                faults.value(f"sweep.axes.{factor}", level, "name the level with a word, such as small")
            elif not isinstance(settings, Mapping) or not settings:
                faults.value(field, settings, "give the level its settings, such as {width: 64, depth: 2}")
            elif set(settings) != set(names):
                faults.value(field, list(settings), f"all levels of {factor} have the same settings: {shown(names)}")
            else:
                plain = {str(name): _setting(f"{field}.{name}", value, faults) for name, value in settings.items()}
                bundles.setdefault(factor, {})[level] = plain
        for name in names:
            if not isinstance(name, str) or not name.isidentifier() or name in found or name in owners:
                fix = "a setting has a name of its own, of letters, digits and underscores"
                faults.value(f"sweep.axes.{factor}", name, fix)
            else:
                owners[name] = factor
    return bundles


def _setting(field: str, value: object, faults: Faults) -> str | int | float:
    """A setting as it stands in the command."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Unquoted):
        faults.value(field, value, value.choice)
    elif isinstance(value, float) and not math.isfinite(value):
        faults.value(field, value, "must be finite")
    elif isinstance(value, int) and abs(value) >= 2**63:
        faults.value(field, value, "must be below 2^63")
    elif isinstance(value, int | float) or (isinstance(value, str) and value.isprintable() and len(value) <= 1000):
        return value
    else:
        faults.value(field, value, "must be a number, true, false or printable text")
    return 0
