"""The short form: some hundred kills. `make chaos` does thousands."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from .attempts import ForkServer
from .bench import Bench
from .kills import LARGE, STEADY, campaign

SEED = 20_261


def test_cells_killed_at_random_moments_end_with_identical_results(memory: Path, server: ForkServer) -> None:
    make = partial(Bench.make, factors={"width": [1, 2, 3]}, runs=4, options=STEADY)
    counts = campaign(memory, server, SEED, make, quota=20)
    assert counts["kills"] >= 100, counts
    assert counts["kills with two copies live"] >= 40, counts
    assert counts["attempts that trained"] >= 60, counts


def test_cells_killed_while_large_states_are_written_beside_training_end_with_identical_results(
    memory: Path, server: ForkServer
) -> None:
    counts = campaign(memory, server, SEED + 2, lambda root: Bench.make(root, runs=4, options=LARGE), quota=10)
    assert counts["kills"] >= 30, counts


def test_packs_killed_at_random_moments_end_with_identical_results(memory: Path, server: ForkServer) -> None:
    def make(root: Path) -> Bench:
        return Bench.make(root, trainer="fused.py:train", factors={"width": [1, 2]}, runs=8, pack=4)

    counts = campaign(memory, server, SEED + 1, make, share=0.3)
    assert counts["kills"] >= 20, counts
