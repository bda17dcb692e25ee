"""One fork server for all tests of a process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

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
