from __future__ import annotations

from pathlib import Path

import pytest
from helpers import small_sweeps

from hpc.storage.store import Store
from hpc.sweep.cell import Cell


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A sweep directory of four cells, with the small trainer's file beside it."""
    path = small_sweeps.write_trainer(tmp_path / "user")
    return small_sweeps.make_store(tmp_path / "out", small_sweeps.make_sweep(path=path))


@pytest.fixture
def cells(store: Store) -> list[Cell]:
    return list(store.sweep().grid)
