"""The notebook among the examples, from its first cell to its figure, on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.notebook import NOTEBOOK, check, executed, nbformat


def test_it_runs_from_submission_to_figure_on_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check(executed(tmp_path, monkeypatch))


def test_it_is_kept_without_outputs() -> None:
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    assert all(not cell.outputs and cell.execution_count is None for cell in cells if cell.cell_type == "code")
