"""The model finds a rule that is broken: otherwise its passing says nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from hpc.storage import files, published

from .test_model import Protocol

HUNT = settings(
    max_examples=400,
    stateful_step_count=40,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def _strangers_stay(private: Path, public: Path, named: Any) -> None:
    published._link(private, public)
    files.remove(private)


BROKEN = {
    "a stranger beside a result stays in its place": (published, "_settle", _strangers_stay),
    "whatever lies beside a result is believed": (published, "fault", lambda *_, **__: ""),
}


@pytest.mark.parametrize("name", BROKEN)
def test_the_model_finds_it_where(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, attribute, wrong = BROKEN[name]
    broken: Callable[..., Any] = wrong
    monkeypatch.setattr(owner, attribute, broken)
    with pytest.raises(AssertionError, match="believed"):
        run_state_machine_as_test(Protocol, settings=HUNT)
