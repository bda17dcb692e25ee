"""The average over conditions of two sweeps: where errors cancel within seeds, the other interval is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from helpers.sweeps import Directory, make_sweep

from aggregate.analysis.study import study
from aggregate.reading.sweep import read
from aggregate.report.two_sweeps_page import SideBySide, remarks
from aggregate.two_sweeps.pairs import SEED, pair
from hpc.sweep.cell import Cell

R2 = "predictability/unique_r2"
OWN = [0.03, -0.02, 0.01, -0.04, 0.02]


def _gain(cell: Cell, sign: float) -> float:
    """By which the second sweep is better: another part of it in each seed, with another sign at dimension 8."""
    wobble = 0.001 * cell.run_id * (cell.run_id - 2)
    return 0.1 + OWN[cell.run_id] * (sign if cell.factors["dim"] == 8 else 1.0) + wobble


@pytest.mark.parametrize(("sign", "said"), [(-1.0, True), (1.0, False)])
def test_the_interval_without_cancelling_is_said_where_it_is_much_wider(
    tmp_path: Path, sign: float, said: bool
) -> None:
    readings = []
    for name, share in (("a", 0.0), ("b", 1.0)):
        directory = Directory(tmp_path / name, make_sweep({"dim": [4, 8]}, 5, primary=[R2]))
        directory.fill(lambda cell, share=share: {R2: 0.5 + share * _gain(cell, sign)})  # type: ignore[misc]
        readings.append(read(directory.store))
    pairs = pair(study(readings[0]), study(readings[1]), ("a", "b"), SEED)
    told = [line for line in remarks(SideBySide((readings[0], readings[1]), ("a", "b"), pairs, [])) if "cancel" in line]
    assert len(told) == int(said)
    if not said:
        return
    gains = np.array([[_gain(c, sign) for c in directory.sweep.grid if c.factors["dim"] == dim] for dim in (4, 8)])
    own = gains.var(axis=1, ddof=1) / 5
    half = scipy.stats.t.ppf(0.975, own.sum() ** 2 / (own**2 / 4).sum()) * np.sqrt(own.sum()) / 2
    assert pairs.metrics[0].if_unrelated == pytest.approx((gains.mean() - half, gains.mean() + half))
    assert f"Were they unrelated, it would be [{gains.mean() - half:.4g}, {gains.mean() + half:.4g}]" in told[0]
