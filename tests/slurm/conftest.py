"""Real Slurm clusters for tests: one per test process, started when first asked for, stopped whatever happens."""

from __future__ import annotations

import atexit
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from helpers.waiting import wait_until
from helpers.workplace import Workplace

from hpc.sandbox import cluster as sandbox
from hpc.sandbox.cluster import Sandbox

StartCluster = Callable[..., Sandbox]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.slurm)


@pytest.fixture(scope="session")
def start_cluster(tmp_path_factory: pytest.TempPathFactory, slurm_here: None) -> Iterator[StartCluster]:
    """Starts another cluster, with any settings `sandbox.up` takes; `with` stops it early, else it stops at the end."""
    with ExitStack() as stack:

        def start(**settings: Any) -> Sandbox:
            directory = tmp_path_factory.mktemp("cluster")
            atexit.register(sandbox.down, directory)
            stack.callback(sandbox.down, directory)
            # A busy machine is neither a dead node nor a dead controller, unless a test says how soon they are dead.
            # A command against a controller that is gone takes message_timeout; holdfast gives it 60 s.
            patient = {"slurmd_timeout": 300, "message_timeout": 50}
            return sandbox.up(directory, die_with_owner=True, **patient | settings)

        yield start


@pytest.fixture(scope="session")
def cluster(start_cluster: StartCluster) -> Sandbox:
    """This test process's cluster: 4 nodes with 4 CPUs and 2 pretended GPUs each, REQUEUE preemption.

    Evicted tasks get longer than usual to save: on a slow machine many seconds can pass before they are heard.
    """
    return start_cluster(kill_wait=60)


@pytest.fixture
def idle_cluster(cluster: Sandbox) -> Iterator[Sandbox]:
    """The same, with an empty queue and idle nodes before the test, and an empty queue after it."""
    _empty(cluster)
    wait_until(lambda: all(node.state == "idle" for node in cluster.slurm.nodes()), "idle nodes")
    yield cluster
    _empty(cluster)


def _empty(cluster: Sandbox) -> None:
    def emptied() -> bool:
        tasks = cluster.slurm.queue()
        cluster.slurm.cancel(tasks)
        return not tasks

    wait_until(emptied, "an empty queue")


@pytest.fixture
def workplace(tmp_path: Path, idle_cluster: Sandbox) -> Workplace:
    return Workplace(tmp_path, idle_cluster)
