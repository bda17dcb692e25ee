"""Temporary directories of processes that were killed go with the next one's; nobody else's do."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.command_line import ROOT
from helpers.users import BOB, give, need_other_users

from training import temporaries
from training.temporaries import temporary_directory

HOLDING = """
import sys
from training.temporaries import temporary_directory
with temporary_directory() as directory:
    (directory / "state").touch()
    print(directory, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory for temporary ones; all in it are old enough to have been locked."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(temporaries, "_SECONDS_TO_LOCK", 0.0)
    return tmp_path


def holding(place: Path) -> tuple[subprocess.Popen[str], Path]:
    """(A process that has a directory, the directory.)"""
    pipe = subprocess.PIPE
    environment = os.environ | {"TMPDIR": str(place), "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", HOLDING], env=environment, stdin=pipe, stdout=pipe, text=True)
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_what_a_killed_process_has_left_goes_and_what_a_live_one_has_stays(place: Path) -> None:
    (killed, left), (alive, used) = holding(place), holding(place)
    with killed:
        killed.kill()
    assert (left / "state").exists()
    with temporary_directory() as own:
        assert sorted(place.iterdir()) == sorted([own, used])
    alive.communicate("")
    assert list(place.iterdir()) == []


def test_a_directory_of_another_node_stays_although_no_lock_on_it_is_seen_here(place: Path) -> None:
    with temporary_directory() as own:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().replace("-", "")
        assert boot[:12] in own.name
        theirs = place / own.name.replace(boot[:12], "0123456789ab")
        theirs.mkdir()
        with temporary_directory():
            assert theirs.exists()


def test_a_directory_that_could_not_be_locked_is_removed_by_its_own_process_alone(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", refused)
        first = temporary_directory()
        own = first.__enter__()
    with temporary_directory():  # where locks work again: the server was restarted
        assert own.exists()
    first.__exit__(None, None, None)
    assert list(place.iterdir()) == []


def test_a_directory_that_may_not_be_locked_yet_stays(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new = place / f"{temporaries._prefix()}new"
    new.mkdir()
    monkeypatch.setattr(temporaries, "_SECONDS_TO_LOCK", 600.0)
    with temporary_directory():
        assert new.exists()


def test_no_link_is_followed_and_nothing_of_other_names_is_removed(place: Path) -> None:
    elsewhere = place / "elsewhere"
    (elsewhere / "data").mkdir(parents=True)
    prefix = temporaries._prefix()
    (place / f"{prefix}link").symlink_to(elsewhere)
    (place / f"{prefix}file").touch()
    left = place / f"{prefix}left"
    left.mkdir()
    (left / "link").symlink_to(elsewhere)
    with temporary_directory():
        pass
    assert sorted(path.name for path in place.iterdir()) == ["elsewhere", f"{prefix}file", f"{prefix}link"]
    assert (elsewhere / "data").is_dir()


def test_a_directory_of_another_user_stays(place: Path) -> None:
    need_other_users()
    theirs = place / f"{temporaries._prefix()}theirs"
    theirs.mkdir()
    give(theirs, BOB)
    with temporary_directory():
        pass
    assert theirs.is_dir()
