"""What a local run shows on the way is for people: nothing of the run rests on it."""

from __future__ import annotations

import errno
import os
from typing import Any

import pytest

from hpc.files import opening
from hpc.status import progress as module
from hpc.status.progress import progress
from hpc.storage.store import Store
from hpc.sweep.cell import Cell


@pytest.fixture(autouse=True)
def _at_every_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOG_SECONDS", 0.0)
    monkeypatch.setattr(module._Pace, "due", lambda _: True)


def refusing(number: int) -> Any:
    def list_folder(path: Any) -> list[str]:
        raise OSError(number, os.strerror(number), str(path))

    return list_folder


@pytest.mark.parametrize("number", [errno.EIO, errno.ETIMEDOUT, errno.EACCES])
def test_a_file_that_cannot_be_read_for_a_moment_ends_nothing(
    store: Store, cells: list[Cell], number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress(store, cells, store.sweep()) as show:
        with monkeypatch.context() as patch:
            patch.setattr(opening, "list_folder", refusing(number))
            with pytest.raises(OSError, match=os.strerror(number)):
                list(store.statuses(cells, store.sweep()))
            show()
        assert capsys.readouterr().err == ""
        show()
        assert capsys.readouterr().err == "0 of 4 cells, 0 % of the epochs\n"


def test_nor_does_one_that_cannot_be_read_at_the_end(
    store: Store, cells: list[Cell], monkeypatch: pytest.MonkeyPatch
) -> None:
    with progress(store, cells, store.sweep()):
        monkeypatch.setattr(opening, "list_folder", refusing(errno.EIO))
