"""plan --target-halfwidth and --target-effect: how many seeds a claim needs, and what they cost."""

from __future__ import annotations

import math
import shlex
import statistics

from hpc.errors import ConfigError
from hpc.launch.options import SeedTarget
from hpc.planning.cost import device_seconds
from hpc.planning.family import alpha_of_a_test, tests_in_family
from hpc.storage.results import provenance_of
from hpc.storage.store import Store
from hpc.sweep.definition import Sweep
from hpc.sweep.states import COMPLETED
from hpc.units import duration

Values = dict[str, dict[int, float]]


def advice(store: Store, sweep: Sweep, target: SeedTarget) -> str:
    """Seeds needed, by the spread of the finished ones, with their cost; and what adding them does to the claims.

    The condition (or the paired difference with the reference condition) of the largest spread decides, so that all
    others need no more. Raises ConfigError if there are too few results or the target makes no sense.
    """
    from aggregate.stats.power import seeds_for_halfwidth, seeds_for_power

    metric = target.metric or next(iter(sweep.analysis.get("primary_metrics") or ()), "")
    if metric not in sweep.trainer.metrics:
        raise ConfigError([f"command line: --metric is {metric!r}; valid: {', '.join(sweep.trainer.metrics)}"])
    values, seconds = _values(store, sweep, metric)
    alpha = float(sweep.analysis.get("alpha", 0.05))
    try:
        if target.halfwidth is not None:
            where, deviation, pilot = _widest(values)
            plan = seeds_for_halfwidth(deviation, pilot, target.halfwidth, 1 - alpha)
            goal = f"{metric} known to +- {target.halfwidth:g} in every condition"
        elif target.effect is not None:
            where, deviation, pilot = _widest(_differences(values, sweep))
            each = alpha_of_a_test(sweep)
            plan = seeds_for_power(deviation, pilot, target.effect, target.power, each)
            goal = (
                f"a paired difference of {target.effect:g} in {metric} detected with {100 * target.power:g} % power "
                f"in a family of {tests_in_family(sweep)}"
            )
        else:
            raise ValueError("a goal is missing; add --target-halfwidth or --target-effect")
    except (ValueError, OverflowError) as error:  # of a spread that no number can hold
        raise ConfigError([f"command line: {error}"]) from None
    lines = [f"{goal}: {plan.seeds} seeds per condition, {plan.more} more than the {plan.pilot} there are"]
    lines.append(
        f"decided by {where}, standard deviation {deviation:.4g}; so few seeds know it only roughly: "
        f"from {plan.low:,} to {plan.high:,} seeds may be needed"
    )
    if plan.more:
        cells = plan.more * sweep.grid.n_conditions
        time = f", about {duration(cells * statistics.mean(seconds))} of device time" if seconds else ""
        command = f"holdfast submit {shlex.quote(str(store.root))} --runs-per-condition {plan.seeds}"
        lines.append(f"cost: {cells:,} cells{time}; {command}")
        lines.append(_another_look(store, sweep))
    return "\n".join(lines)


def _another_look(store: Store, sweep: Sweep) -> str:
    """What growing the sweep does to its claims."""
    from aggregate.analysis.fixed_analysis import Analysis, looks_of

    looks = looks_of(Analysis.of(sweep.analysis), store.manifest()["revisions"])
    if looks.taken < looks.planned:
        return f"this will be look {looks.taken + 1} of {looks.planned} planned ones; the claims stay confirmatory"
    return (
        "results have been seen, and analysis.looks planned no further look: the claims of the grown sweep will be "
        "exploratory. A new sweep with other seeds confirms them"
    )


def _values(store: Store, sweep: Sweep, metric: str) -> tuple[Values, list[float]]:
    """(finite values by condition and seed, device seconds of each cell)."""
    values: Values = {}
    seconds: list[float] = []
    for status, result in store.outcomes(sweep.grid, sweep):
        if status.state == COMPLETED and result is not None:
            value = result["metrics"].get(metric)
            if value is not None:
                values.setdefault(status.cell.condition, {})[status.cell.seed] = float(value)
            spent = device_seconds(provenance_of(result), sweep.trainer.pack_mode != "sequential")
            seconds += [] if spent is None else [spent]
    return values, seconds


def _widest(values: Values) -> tuple[str, float, int]:
    """(name, standard deviation, seeds) of the condition with the largest spread. Raises ValueError without one."""
    spreads = [(statistics.stdev(v.values()), name, len(v)) for name, v in values.items() if len(v) >= 2]
    if not spreads:
        raise ValueError("no condition has two finished seeds yet; run at least two per condition first")
    deviation, name, count = max(spreads)
    if math.isclose(deviation, 0.0):
        raise ValueError("the finished seeds do not differ at all; there is no spread to plan with")
    return name, deviation, count


def _differences(values: Values, sweep: Sweep) -> Values:
    """Paired differences with the reference condition. Raises ValueError without one."""
    reference = sweep.analysis.get("reference")
    names = {name for name, point in sweep.grid.conditions() if reference and dict(point) == dict(reference)}
    if not names:
        raise ValueError("--target-effect compares with analysis.reference; name one that is in the grid")
    base = values.get(names.pop(), {})
    return {
        name: {seed: value - base[seed] for seed, value in found.items() if seed in base}
        for name, found in values.items()
        if found is not base
    }
