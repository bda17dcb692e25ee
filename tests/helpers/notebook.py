"""The notebook among the examples, run by a real kernel, and what it has to show."""

from __future__ import annotations

import base64
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest

from helpers.small_sweeps import ROOT
from helpers.waiting import PATIENCE

nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed (make setup)")
nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed (make setup)")
pytest.importorskip("ipykernel", reason="ipykernel is not installed (make setup)")

NOTEBOOK = ROOT / "examples" / "sweep.ipynb"
PNG = b"\x89PNG\r\n\x1a\n"


def executed(directory: Path, monkeypatch: pytest.MonkeyPatch, profile: str = "local") -> list[Any]:
    """The outputs of its code cells, run in a copy of the examples."""
    shutil.copytree(ROOT / "examples", directory / "examples")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("XDG_STATE_HOME", str(directory / "state"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        cell.source = cell.source.replace('PROFILE = "local"', f'PROFILE = "{profile}"')
    where = {"metadata": {"path": str(directory / "examples")}}
    # With its own limits, nbclient silently drops what a busy kernel shows late.
    patience = dict.fromkeys(("timeout", "startup_timeout", "iopub_timeout"), int(PATIENCE))
    # Not by TCP: another program may take a port before the kernel does, which is chosen before its imports.
    with tempfile.TemporaryDirectory(dir="/tmp") as sockets:  # whose paths may be 107 bytes long
        client = nbclient.NotebookClient(notebook, resources=where, **patience)
        client.km = client.create_kernel_manager()
        client.km.transport, client.km.ip = "ipc", f"{sockets}/kernel"
        client.execute()
    return [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]


def check(outputs: list[Any]) -> None:
    """What each cell shows."""
    _, submitted, looked, waited, loaded, drawn = outputs
    assert "Submission(directory=" in shown(submitted)
    assert "18 to run" in said(submitted)
    assert "ridge: 18 cells" in shown(looked)
    assert "Empty DataFrame" in shown(waited), "a cell did not complete"
    assert shown(loaded).count("\n") >= 6
    (picture,) = [output.data["image/png"] for output in drawn if "image/png" in output.get("data", {})]
    assert base64.b64decode(picture).startswith(PNG)


def shown(outputs: Any) -> str:
    return "\n".join(output.data["text/plain"] for output in outputs if "data" in output)


def said(outputs: Any) -> str:
    return "".join(output.text for output in outputs if output.output_type == "stream")
