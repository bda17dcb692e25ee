"""From what a pilot measured of conditions to the resources that fit: exactly those, by the factors that decide."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpc.planning.fitting import Fit, Need, fitting
from hpc.slurm.profile import Profile
from hpc.slurm.profile_file import parse_profile
from hpc.sweep.grid import Axis, Grid, Rules
from hpc.sweep.resources import Matching, clash, rules_from_json

GB = 2**30
WIDTHS, MODES = (64, 256, 1024), ("ours", "baseline")
GRID = Grid((Axis("width", WIDTHS), Axis("mode", MODES)), (42, 43))


def profile(**keys: Any) -> Profile:
    return parse_profile("lab", {"partition": "gpu"} | keys, "lab.yaml")


def fit(needs: dict[tuple[int, str], dict[str, Any]], lab: Profile | None = None, grid: Grid = GRID) -> Fit:
    given = [Need(f"width_{width}_mode_{mode}", **need) for (width, mode), need in needs.items()]
    return fitting(given, grid, lab or profile(), "a pilot")


def shown(found: Fit) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    return [(dict(rule.when), dict(rule.asked)) for rule in found.rules]


def test_rules_are_by_the_factor_that_decides_and_a_half_more_than_was_measured() -> None:
    memory = {64: 0.5 * GB, 256: 4 * GB, 1024: 40 * GB}
    needs = {(w, m): {"host_bytes": memory[w]} for w, m in itertools.product(WIDTHS, MODES)}
    found = fit(needs)
    assert shown(found) == [
        ({"width": (64,)}, {"mem_gb": 1}),
        ({"width": (256,)}, {"mem_gb": 6}),
        ({"width": (1024,)}, {"mem_gb": 64}),
    ]
    assert {rule.source for rule in found.rules} == {"a pilot"}
    # What the profile says anyway is not said again; of a key that --set settles, its file may say something else.
    assert shown(fit(needs, profile(mem_gb=6))) == [shown(found)[0], shown(found)[2]]


def test_time_has_room_for_the_signal_and_levels_alike_share_a_rule() -> None:
    seconds = {64: 60, 256: 60, 1024: 3600}
    needs = {(w, m): {"seconds": seconds[w] * (4 if m == "ours" else 1)} for w, m in itertools.product(WIDTHS, MODES)}
    assert shown(fit(needs)) == [
        ({"width": (64, 256), "mode": ("ours", "baseline")}, {"timeout_min": 10}),
        ({"width": (1024,), "mode": ("ours",)}, {"timeout_min": 480}),
        ({"width": (1024,), "mode": ("baseline",)}, {"timeout_min": 120}),
    ]
    late = {point: need | {"seconds": 60} for point, need in needs.items()}
    assert fit(late, profile(signal_delay_s=3600)).everywhere == (("timeout_min", 120),)  # half of it is left to train


def test_levels_that_differ_by_noise_make_no_rule_and_the_larger_amount_counts() -> None:
    """On two sides of a step: 2.6 GB and a half is less than 4, 2.7 GB more."""
    memory = {64: 0.5 * GB, 256: 2.6 * GB, 1024: 40 * GB}
    needs = {(w, m): {"host_bytes": memory[w] + (m == "ours") * GB / 10} for w, m in itertools.product(WIDTHS, MODES)}
    assert [asked for _, asked in shown(fit(needs))] == [{"mem_gb": 1}, {"mem_gb": 6}, {"mem_gb": 64}]
    assert {tuple(when) for when, _ in shown(fit(needs))} == {("width",)}
    more = needs | {(1024, "ours"): {"host_bytes": 60 * GB}}  # here the mode matters
    assert ("width", "mode") in {tuple(when) for when, _ in shown(fit(more))}
    assert fit({point: {"seconds": 540 + 60 * (point[0] == 64)} for point in needs}).everywhere == (
        ("timeout_min", 20),
    )


def test_a_task_of_a_whole_node_has_a_cell_for_each_gpu() -> None:
    needs = {(w, m): {"host_bytes": 4 * GB} for w, m in itertools.product(WIDTHS, MODES)}
    assert fit(needs, profile(gpus_per_node=4)).everywhere == (("mem_gb", 24),)
    assert fit(needs).everywhere == (("mem_gb", 6),)


def test_no_memory_is_asked_for_beside_a_profiles_own_per_cpu() -> None:
    needs = {(w, m): {"host_bytes": w * GB, "seconds": 60.0 * w} for w, m in itertools.product(WIDTHS, MODES)}
    for lab in (profile(mem_per_cpu="4G"), profile(additional_parameters={"mem-per-gpu": "4G"})):
        assert {key for rule in fit(needs, lab).rules for key, _ in rule.asked} == {"timeout_min"}


def test_no_rule_is_about_a_condition_that_was_not_measured() -> None:
    needs = {(64, "ours"): {"host_bytes": GB}, (64, "baseline"): {"host_bytes": GB}}
    assert shown(fit(needs)) == [({"width": (64,)}, {"mem_gb": 1.5})]
    needs[1024, "ours"] = {"trouble": "ended by signal 9"}
    needs[256, "ours"] = {"host_bytes": GB}
    found = fit(needs)
    asked = {point: Matching(found.rules).resources(point) for _, point in GRID.conditions()}
    assert [dict(point) for point, amounts in asked.items() if not amounts] == [
        {"width": 256, "mode": "baseline"},
        {"width": 1024, "mode": "ours"},
        {"width": 1024, "mode": "baseline"},
    ]


def test_more_rules_than_can_be_read_are_none() -> None:
    grid = Grid((Axis("width", tuple(range(1, 102))),), (42,))
    needs = [Need(name, host_bytes=2**i * GB) for i, (name, _) in enumerate(grid.conditions())]
    with pytest.raises(ValueError, match="101 rules would tell the conditions apart, where 100 can be used"):
        fitting(needs, grid, profile(), "a pilot")


@settings(max_examples=150)
@given(st.data())
def test_every_condition_is_asked_for_what_it_needs_and_no_more(data: st.DataObject) -> None:
    """Of any design, whatever was measured of it, and against any profile."""
    axes = tuple(Axis(name, tuple(range(data.draw(st.integers(1, 4))))) for name in ("a", "b", "c"))
    every = list(itertools.product(*(axis.values for axis in axes)))
    left_out = data.draw(st.lists(st.sampled_from(every), max_size=len(every) - 1, unique=True))
    rules = Rules(tuple(tuple((a.name, (v,)) for a, v in zip(axes, row, strict=True)) for row in left_out))
    grid = Grid(axes, (42,), rules)
    amounts = st.none() | st.sampled_from([0.1, 0.7, 3.0, 3.1, 50.0])
    needs = {}
    for name, _ in grid.conditions():
        memory, seconds = data.draw(amounts), data.draw(amounts)
        needs[name] = Need(name, seconds and 3600 * seconds, memory and int(memory * GB))
    lab = profile(**data.draw(st.sampled_from([{}, {"mem_gb": 1.5, "timeout_min": 480}, {"mem_gb": 6}])))
    found = fitting(needs.values(), grid, lab, "a pilot")
    assert clash(found.rules, grid) is None
    assert rules_from_json([rule.to_json() for rule in found.rules]) == found.rules
    for name, point in grid.conditions():
        asked = dict(lab.parameters) | dict(found.everywhere) | dict(Matching(found.rules).resources(point))
        measured = {"mem_gb": needs[name].host_bytes, "timeout_min": needs[name].seconds}
        for key, unit, least in (("mem_gb", GB, 1), ("timeout_min", 60, 10)):
            if measured[key] is None:
                assert asked.get(key) == lab.parameters.get(key)
            else:
                amount = 1.5 * measured[key] / unit
                assert amount <= asked[key] <= max(least, 1.5 * (1.25 * amount + 1.5 * 1.25))
