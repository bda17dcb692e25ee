"""The family of tests that a sweep declares: its size, and what one test may spend of alpha."""

from __future__ import annotations

from hpc.sweep.definition import Sweep


def tests_in_family(sweep: Sweep) -> int:
    """At least 1. A sweep of before there were declared tests has a slope for each primary metric and factor."""
    tests = sweep.analysis.get("tests")
    if tests is None:
        return max(1, len(sweep.analysis.get("primary_metrics") or ()) * len(sweep.grid.axes))
    return max(1, len(tests))


def alpha_of_a_test(sweep: Sweep) -> float:
    """Of the first step of Holm's correction, at one of the planned looks: what a single effect is detected at."""
    return float(sweep.analysis.get("alpha", 0.05)) / tests_in_family(sweep) / int(sweep.analysis.get("looks", 1))
