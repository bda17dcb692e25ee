from __future__ import annotations

from pathlib import Path

import pytest

from hpc.user_state import user_state


@pytest.mark.parametrize(
    ("named", "expected"),
    [("/lab/state", "/lab/state/holdfast"), ("state", "/home/me/.local/state/holdfast"), ("", None), (None, None)],
)
def test_state_is_where_xdg_says_and_a_relative_place_is_ignored(
    monkeypatch: pytest.MonkeyPatch, named: str | None, expected: str | None
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    if named is not None:
        monkeypatch.setenv("XDG_STATE_HOME", named)
    assert user_state() == Path(expected or "/home/me/.local/state/holdfast")
