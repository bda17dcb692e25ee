"""One fork server for all tests of a process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hpc.sandbox import cluster as sandbox
from hpc.sandbox.cluster import Sandbox

from .attempts import ForkServer, scratch


@pytest.fixture(scope="session")
def server() -> Iterator[ForkServer]:
    with ForkServer() as server:
        yield server


@pytest.fixture
def memory() -> Iterator[Path]:
    """A directory in memory, where there is one."""
    with scratch() as directory:
        yield directory


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory, slurm_here: None) -> Iterator[Sandbox]:
    """A cluster of 4 nodes with 4 CPUs each, where a busy machine is no dead node."""
    directory = tmp_path_factory.mktemp("cluster")
    with sandbox.up(directory, slurmd_timeout=300, message_timeout=50, kill_wait=60, die_with_owner=True) as found:
        yield found
