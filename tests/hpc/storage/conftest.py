from __future__ import annotations

from pathlib import Path

import pytest
from helpers.small_sweeps import make_store, make_sweep, run_here, write_trainer


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished sweep of four cells."""
    place = tmp_path_factory.mktemp("swept")
    store = make_store(place / "out", make_sweep(path=write_trainer(place)))
    run_here(store, list(store.sweep().grid))
    return store.root
