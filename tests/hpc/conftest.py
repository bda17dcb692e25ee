from __future__ import annotations

from pathlib import Path

import pytest
from helpers import small_sweeps

from hpc.storage.store import Store
from hpc.sweep.cell import Cell


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the files that the built-in trainer reads; planning looks at their bytes alone."""
    directory = tmp_path_factory.mktemp("shapes")
    for split in ("train", "val"):
        for name in (f"{split}_labels.npy", f"{split}_xor_targets.npy", f"saved_latents/{split}/latents.npy"):
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).write_bytes(name.encode())
    return directory


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A sweep directory of four cells, with the small trainer's file beside it."""
    path = small_sweeps.write_trainer(tmp_path / "user")
    return small_sweeps.make_store(tmp_path / "out", small_sweeps.make_sweep(path=path))


@pytest.fixture
def cells(store: Store) -> list[Cell]:
    return list(store.sweep().grid)
