"""The rule of stop_when against its definition, read literally."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpc.sweep.stopping import Stopping, StopRule

VALUES = st.lists(st.sampled_from([None, 0.0, 0.25, 0.5, 0.75, 1.0, 3.0]), max_size=12)


def literally(values: list[float | None], patience: int, min_delta: float) -> int:
    """The first epoch that is the last of ``patience`` ones, none of which was lower than all before by over min_delta.

    The best so far is the last value that counted as an improvement. 0 if there is no such epoch.
    """
    best, improved = math.inf, []
    for value in values:
        better = value is not None and value < best - min_delta
        best = value if better and value is not None else best
        improved.append(better)
    ends = (end for end in range(patience, len(values) + 1) if not any(improved[end - patience : end]))
    return next(ends, 0)


def rows(values: list[float | None], sign: int = 1) -> list[dict[str, Any]]:
    return [{"epoch": i, "loss": None if v is None else sign * v} for i, v in enumerate(values, 1)]


@given(VALUES, st.integers(1, 4), st.sampled_from([0.0, 0.25, 0.3]), st.integers(1, 5))
def test_a_cell_ends_where_the_definition_says_however_its_history_arrives(
    values: list[float | None], patience: int, min_delta: float, step: int
) -> None:
    expected = literally(values, patience, min_delta)
    for better, sign in (("lower", 1), ("higher", -1)):
        stopping = Stopping(StopRule("loss", patience, min_delta, better))
        history = rows(values, sign)
        for end in range(0, len(history) + step, step):
            assert stopping.follow(history[:end]) == (0 < expected <= end)
        assert stopping.ended == expected


def test_a_rule_says_what_it_is() -> None:
    assert str(StopRule("loss", 1, 0.0, "lower")) == "loss not lower in 1 epoch"
    assert str(StopRule("acc", 5, 0.01, "higher")) == "acc not higher by more than 0.01 in 5 epochs in a row"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("patience", 0),
        ("patience", 1.5),
        ("patience", True),
        ("min_delta", -1),
        ("min_delta", math.nan),
        ("better", "x"),
    ],
)
def test_what_no_configuration_says_is_no_rule(key: str, value: Any) -> None:
    with pytest.raises(ValueError, match="stop_when"):
        StopRule.of({"metric": "loss", "patience": 1, "min_delta": 0.0, "better": "lower"} | {key: value})
