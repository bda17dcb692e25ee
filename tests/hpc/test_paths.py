"""Paths with ~ and variables, where no shell has read them."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpc.paths import expanded


def test_a_home_and_variables_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRATCH", "/scratch/me")
    monkeypatch.setenv("HOME", "/home/me")
    assert expanded("$SCRATCH/out") == expanded("${SCRATCH}/out") == Path("/scratch/me/out")
    assert expanded("~/out") == Path("/home/me/out")
    assert expanded("a$/b 50% c") == Path("a$/b 50% c")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("$NO_SUCH/out", r"\$NO_SUCH is not set here; set it, or write the path out"),
        ("$EMPTY/out", r"\$EMPTY is empty here"),
        ("${NO_SUCH:-/tmp}/out", "only .NAME and ~ are replaced"),
        ("$(pwd)/out", "only .NAME and ~ are replaced"),
        ("out-`date`", "only .NAME and ~ are replaced"),
        ("runs/{name}", r"\{name\} is filled in only in trainer.command; write the path out"),
        ("~nobody-knows-me/out", "this cannot be a path: nobody knows the home"),
        ("out/%j", "%j means something in Slurm's own options alone"),
        ("run-%A_%4a", "%A means something|%4a means something"),
    ],
)
def test_what_cannot_be_replaced_is_refused(monkeypatch: pytest.MonkeyPatch, text: str, said: str) -> None:
    monkeypatch.setenv("EMPTY", "")
    with pytest.raises(ValueError, match=said):
        expanded(text)


def test_what_is_there_by_that_very_name_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "$NO_SUCH").mkdir()
    assert expanded(tmp_path / "$NO_SUCH") == tmp_path / "$NO_SUCH"
