"""A command looks at its sweep once, and decides by what it saw."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from helpers.workplace import Workplace

from hpc.cli.app import main
from hpc.launch import look
from hpc.slurm.commands import Slurm
from hpc.storage.store import Store


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often the cells' files are read, and how often Slurm is asked for the sweep's own tasks."""
    counts: Counter[str] = Counter()
    read, asked = Store.statuses, look.queues

    def statuses(self: Store, *given: Any) -> Iterator[Any]:
        counts["files"] += 1
        return read(self, *given)

    def queues(store: Store) -> Any:
        counts["queue"] += 1
        return asked(store)

    monkeypatch.setattr(Store, "statuses", statuses)
    monkeypatch.setattr(look, "queues", queues)
    return counts


def test_planning_and_submitting_look_once(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch, counted: Counter[str]
) -> None:
    monkeypatch.chdir(workplace.directory)
    monkeypatch.setenv("HOLDFAST_SANDBOX", str(workplace.cluster.directory))
    config = workplace.foreign(widths=[1, 2], epochs=3, seconds=0)
    profile = ("--profile", "sandbox")
    for words in (["plan"], ["plan", *profile], ["submit", *profile, "--dry-run"], ["submit", *profile]):
        counted.clear()
        assert main([*words, "--config", config]) == 0
        assert counted == {"files": 1, "queue": 1}, words
    counted.clear()
    assert main(["submit", "out", *profile]) == 0
    assert counted == {"files": 1, "queue": 1}
    workplace.wait_until_ended()


def test_a_result_set_aside_is_read_again_alone(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(workplace.directory)
    monkeypatch.setenv("HOLDFAST_SANDBOX", str(workplace.cluster.directory))
    assert main(["run", "--config", workplace.foreign(widths=[1, 2, 3], epochs=3, seconds=0)]) == 0
    store = Store(workplace.directory / "out")
    store.paths.result_file(store.sweep().grid[1]).write_text("{")
    read: list[int] = []
    statuses = Store.statuses

    def counting(self: Store, cells: Any, digest: str) -> Any:
        read.append(len(cells))
        return statuses(self, cells, digest)

    monkeypatch.setattr(Store, "statuses", counting)
    assert main(["submit", "out", "--profile", "sandbox", "--prepare"]) == 0
    assert read == [3, 1]
    assert "2 done, 1 to run" in capsys.readouterr().err
    assert not Slurm(workplace.cluster.conf).queue()
