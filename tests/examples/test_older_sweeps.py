"""Sweeps that an older version began (commit bbd5c79, before modules moved into folders) resume with this one.

The archive holds what that version left when it was interrupted: `out`, a custom trainer's sweep with two finished
cells, one stopped half-way and one not begun; `built_in`, two cells of the built-in trainer stopped half-way.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from helpers.command_line import ROOT, Holdfast, result, statuses

from hpc.storage.store import Store
from hpc.sweep.states import COMPLETED

ARCHIVE = Path(__file__).parents[1] / "data" / "sweeps_of_an_older_version.tar.xz"
# Of the same four cells, trained undisturbed by the older version.
STRAIGHT = {
    "width_1_run_0": "b9e0dc31499fd723cc964dd584a6598b371a4b76a6cf35e282f1b294769cd26b",
    "width_1_run_1": "4e253ddb88b677a1e0b50fdba7c946bc636b6f1ef110537429e5030a744c6e1f",
    "width_2_run_0": "82ee1a494c4ede6b7acb6d12f8375778707e85e38d7570707cc0c0d54157ec9d",
    "width_2_run_1": "cfda157ab0d02e6eed5417ac42d2238ea26847729e668faae7f8e593f8e7cf4f",
}


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """The archive's content, with its paths where it lies now, and the checkout where an update leaves it."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extraction_filter = getattr(tarfile, "data_filter", None)  # Debian 12's Python 3.11.2 knows none
        archive.extractall(tmp_path)
    for name in ("out", "built_in"):
        file = tmp_path / name / "sweep.json"
        text = file.read_text().replace("/elsewhere", str(tmp_path))
        file.write_text(text.replace("/checkout", str(ROOT)))
    return tmp_path


def digests(store: Store) -> dict[str, str]:
    return {
        status.cell.name: result(store, status.cell)["outcome_digest"]
        for status in statuses(store)
        if status.state == COMPLETED
    }


def test_a_sweep_of_an_older_version_ends_as_if_nothing_had_happened(older: Path, holdfast: Holdfast) -> None:
    store = Store(older / "out")
    assert digests(store).keys() == {"width_1_run_0", "width_1_run_1"}
    holdfast("run", "out")
    assert digests(store) == STRAIGHT
    half_way = store.attempts(store.sweep().grid[2])
    assert len(half_way) == 2, "the cell that was stopped resumed in a second attempt"


def test_tasks_that_still_run_their_old_snapshot_work_beside_this_version(older: Path, holdfast: Holdfast) -> None:
    store = Store(older / "out")
    (code,) = (older / "out" / "code").iterdir()
    for task in ("2", "3"):  # their cells are width_2_run_0 and width_2_run_1
        subprocess.run(
            [sys.executable, "-P", "-m", "hpc.task", str(older / "out"), "1", "0", task],
            env=os.environ | {"PYTHONPATH": f"{code}{os.pathsep}{code / 'user'}"},
            check=True,
        )
    assert digests(store) == STRAIGHT
    assert json.loads(holdfast("status", "out", "--json").stdout)["states"] == {COMPLETED: 4}
    holdfast("run", "out")  # nothing is left to train; it is aggregated
    assert json.loads((older / "out" / "aggregated_results.json").read_text())["width_1"]["n_runs"] == 2


def test_the_built_in_trainer_has_new_file_names_which_has_to_be_allowed_once(older: Path, holdfast: Holdfast) -> None:
    store = Store(older / "built_in")
    refused = holdfast("run", "built_in", expect=2)
    assert "--allow-code-change" in refused.stderr
    assert digests(store) == {}
    holdfast("run", "built_in", "--allow-code-change")
    assert len(digests(store)) == 2
    assert [len(store.attempts(cell)) for cell in store.sweep().grid] == [2, 2]
    resumed = [
        int(row.split(",")[0]) for row in store.paths.history_file(store.sweep().grid[0]).read_text().split()[1:]
    ]
    assert resumed == list(range(1, 1501)), "every epoch is there once, before and after the interruption"
    holdfast("run", "built_in")  # allowed once, it is not asked again
