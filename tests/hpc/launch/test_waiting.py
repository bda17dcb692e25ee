"""`submit --wait` when Slurm has no room or does not answer for a while."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers.small_sweeps import make_sweep

from hpc.launch import look, slurm
from hpc.launch.options import SubmitOptions
from hpc.launch.request import Request
from hpc.slurm.commands import LimitError, SlurmError
from hpc.slurm.profile import Profile
from hpc.storage.revisions import write_sweep
from hpc.storage.store import Store


@pytest.fixture
def request_(tmp_path: Path) -> Request:
    store, sweep = Store(tmp_path), make_sweep()
    write_sweep(store, sweep, {})
    return Request(store, sweep)


def wait(request: Request, monkeypatch: pytest.MonkeyPatch, answers: list[Exception | None]) -> tuple[int, list[int]]:
    """Wait while submissions end as the answers say; then nothing is left to queue. Returns exit code and pauses."""
    pauses: list[int] = []
    left = list(answers)

    def submit_once(*_: Any) -> int:
        answer = left.pop(0)
        if answer is not None:
            raise answer
        return 0

    def plan(*_: Any) -> Any:
        return SimpleNamespace(tasks=left)

    monkeypatch.setattr(slurm, "follow_in_lines", lambda *_, **__: SimpleNamespace(held=set()))
    monkeypatch.setattr(slurm, "_plan_for_slurm", plan)
    monkeypatch.setattr(slurm, "submit_once", submit_once)
    monkeypatch.setattr(slurm.time, "sleep", pauses.append)
    seen = look.take(request)
    return slurm.wait(request, SubmitOptions(), Profile("cluster"), None, seen), pauses


def test_it_asks_again_after_a_pause_whatever_the_reason(request_: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    code, pauses = wait(request_, monkeypatch, [SlurmError("no answer"), LimitError("full"), None])
    assert code == 4  # nothing was trained here
    assert pauses == [60, 60]


def test_a_full_queue_is_waited_for_however_long(request_: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    _, pauses = wait(request_, monkeypatch, [LimitError("full")] * 100)
    assert len(pauses) == 100


def test_a_slurm_that_refuses_for_half_an_hour_is_an_error(request_: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SlurmError, match="no such partition"):
        wait(request_, monkeypatch, [SlurmError("no such partition")] * 100)
