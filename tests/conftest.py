"""What tests of several folders need: the command, and Slurm on this machine."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from helpers.command_line import Holdfast, environment
from helpers.here import lacking
from helpers.waiting import PATIENCE

from hpc.sandbox.programs import installed

# An example may take as long as the machine needs for it.
hypothesis.settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any machine")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        if "slurm_here" in fixtures:
            item.add_marker(pytest.mark.slurm)
        if "holdfast" in fixtures:
            item.add_marker(pytest.mark.command)


@pytest.fixture(autouse=True)
def _search_path_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading a trainer of a user's puts its folder first; a `training.py` there would hide ours."""
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.fixture(autouse=True)
def _arithmetic_is_left_as_it_was() -> Iterator[None]:
    """Training flushes subnormal numbers for its whole process, which is its own; here other tests come after it.

    One thread again: threads that start while nothing is flushed would never flush, and training refuses them.
    """
    yield
    if torch := sys.modules.get("torch"):
        torch.set_flush_denormal(False)
        torch.set_num_threads(1)


@pytest.fixture
def holdfast(tmp_path: Path) -> Holdfast:
    """The command in an empty directory."""

    def call(*words: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "hpc", *words]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=PATIENCE
        )
        assert done.returncode == expect, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    return call


@pytest.fixture(scope="session")
def slurm_here() -> None:
    """Slurm's daemons on this machine. A test that needs them is skipped without; under CI that is a failure."""
    if missing := installed():
        lacking(missing)


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the files that the built-in trainer reads; planning looks at their bytes alone."""
    directory = tmp_path_factory.mktemp("shapes")
    for split in ("train", "val"):
        for name in (f"{split}_labels.npy", f"{split}_xor_targets.npy", f"saved_latents/{split}/latents.npy"):
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).write_bytes(name.encode())
    return directory
