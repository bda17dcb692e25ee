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
    wanted = {"kills": 100, "kills with two copies live": 40, "attempts that trained": 60}
    counts = campaign(memory, server, SEED, make, wanted, quota=20)
    assert counts["cells"] >= 12, counts


def test_cells_killed_while_large_states_are_written_beside_training_end_with_identical_results(
    memory: Path, server: ForkServer
) -> None:
    make = partial(Bench.make, runs=4, options=LARGE)
    counts = campaign(memory, server, SEED + 2, make, {"kills": 30, "attempts that trained": 15}, quota=10)
    assert counts["cells"] >= 4, counts


def test_packs_killed_at_random_moments_end_with_identical_results(memory: Path, server: ForkServer) -> None:
    make = partial(Bench.make, trainer="fused.py:train", factors={"width": [1, 2]}, runs=8, pack=4)
    counts = campaign(memory, server, SEED + 1, make, {"kills": 20, "attempts that trained": 10}, share=0.2)
    assert counts["cells"] >= 16, counts
