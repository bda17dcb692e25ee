"""A report that is made again as cells end: once for what is there, and again for what ended meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.small_sweeps import make_store, make_sweep, run_here, write_trainer

from hpc.launch.watching import rebuild


@pytest.mark.parametrize("meanwhile", [0, 1, 2])
def test_a_report_is_made_for_each_change_and_not_once_more(tmp_path: Path, meanwhile: int) -> None:
    store = make_store(tmp_path / "out", make_sweep(path=write_trainer(tmp_path)))
    first, *others = store.sweep().grid
    run_here(store, [first])
    made: list[int] = []

    def make() -> int:
        made.append(len(list(store.root.rglob("results.json"))))
        for cell in others[:meanwhile] if len(made) == 1 else ():
            run_here(store, [cell])
        return 10 + len(made)

    assert rebuild(store, make) == 10 + len(made)
    assert made == ([1] if not meanwhile else [1, 1 + meanwhile])
