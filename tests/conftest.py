"""What tests of several folders need: the command, and Slurm on this machine."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from helpers import warm
from helpers.command_line import Holdfast
from helpers.here import lacking

from hpc.files import opening
from hpc.sandbox.programs import installed

# What a shell starts in the background ignores Ctrl-C, what nohup starts a closed terminal, and so do all children: the
# commands that tests interrupt. A signal that is heard and answered with nothing is ignored by this process alone.
for number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, lambda number, frame: None)

# An example may take as long as the machine needs for it.
hypothesis.settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any machine")


def pytest_itemcollected(item: pytest.Item) -> None:  # before `-m` selects by marks
    fixtures = getattr(item, "fixturenames", ())
    if "slurm_here" in fixtures:
        item.add_marker(pytest.mark.slurm)
    if "holdfast" in fixtures:
        item.add_marker(pytest.mark.command)


@pytest.hookimpl(trylast=True)  # the marks of other folders are set by then
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items[:] = _slurm_among_others(items)


def _slurm_among_others(items: list[pytest.Item]) -> list[pytest.Item]:
    """Modules that need a cluster, spread evenly: they wait for daemons, and meanwhile the others compute."""
    modules = [list(module) for _, module in itertools.groupby(items, key=lambda item: item.path)]
    need = [all(item.get_closest_marker("slurm") for item in module) for module in modules]
    totals = {kind: sum(len(m) for m, needs in zip(modules, need, strict=True) if needs is kind) for kind in need}
    passed, places = dict.fromkeys(need, 0), []
    for module, needs in zip(modules, need, strict=True):
        places.append(passed[needs] / totals[needs])
        passed[needs] += len(module)
    return [item for _, module in sorted(zip(places, modules, strict=True), key=lambda at: at[0]) for item in module]


@pytest.fixture(autouse=True, scope="session")
def _state_of_the_user_is_left_as_it_was(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What a user's commands remember beyond a sweep is no concern of tests, nor of others that run at the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(autouse=True)
def _environment_is_left_as_it_was() -> Iterator[None]:
    """Loading a trainer and importing parts of torch set variables; commands of other tests would start with them."""
    before = dict(os.environ)
    yield
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update({name: value for name, value in before.items() if os.environ.get(name) != value})


@pytest.fixture(autouse=True)
def _search_path_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading a trainer of a user's puts its folder first; a `training.py` there would hide ours."""
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.fixture(autouse=True)
def _known_sweep_directories_are_left_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process remembers every directory that it was given, to follow no link below it; here other tests follow.

    `show DIR` asks whether DIR is a cell of the sweep two folders above it, where the directories of other tests lie.
    """
    monkeypatch.setattr(opening, "_GIVEN", opening._GIVEN.copy())


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
        done = warm.command(words, tmp_path)
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
