"""How large a cluster `sandbox up` pretends on a machine of so many cores."""

from __future__ import annotations

import pytest

from hpc.cli.sandbox import fitting


@pytest.mark.parametrize("cores", [1, 2, 3, 4, 6, 8, 16, 64])
def test_a_sandbox_pretends_no_more_cpus_than_there_are(cores: int) -> None:
    nodes, cpus = fitting(None, cores)
    assert nodes * cpus <= cores
    assert min(nodes, cpus) >= 1


@pytest.mark.parametrize(
    ("nodes", "cores", "size"),
    [(None, 2, (2, 1)), (None, 16, (4, 4)), (8, 16, (8, 2)), (8, 2, (8, 1)), (1, 64, (1, 4))],
)
def test_as_many_nodes_as_asked_for_and_at_most_four_by_default(
    nodes: int | None, cores: int, size: tuple[int, int]
) -> None:
    assert fitting(nodes, cores) == size
