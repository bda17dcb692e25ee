"""Several files published as one step."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from aggregate.together import Together, stamp_of
from hpc.files.atomic import publish


def test_no_file_has_its_name_before_all_are_written(tmp_path: Path) -> None:
    with Together() as files:
        files.add(tmp_path / "a", b"1")
        files.add(tmp_path / "b", b"2")
        assert not (tmp_path / "a").exists()
        assert not (tmp_path / "b").exists()
        files.publish()
    assert ((tmp_path / "a").read_bytes(), (tmp_path / "b").read_bytes()) == (b"1", b"2")
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


def _publish(contents: dict[Path, bytes]) -> None:
    with Together() as files:
        for path, content in contents.items():
            files.add(path, content)
        files.publish()


def test_an_error_before_publishing_leaves_the_old_files_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(OSError, match="No such file"):
        _publish({tmp_path / "a": b"new", tmp_path / "missing" / "b": b"new"})
    assert os.listdir(tmp_path) == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"


def test_a_name_that_cannot_be_given_is_named_and_leaves_no_private_file(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    with pytest.raises(OSError, match="directory") as raised:
        _publish({tmp_path / "a": b"1", tmp_path / "b": b"2"})
    assert raised.value.filename == str(tmp_path / "b")
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


def test_a_set_stands_until_another_process_replaces_one_file_of_it(tmp_path: Path) -> None:
    with Together() as files:
        files.add(tmp_path / "a", b"1")
        files.add(tmp_path / "b", b"2")
        files.publish()
        assert files.standing() == {tmp_path / name: stamp_of(tmp_path / name) for name in "ab"}
        publish(tmp_path / "b", b"3")
        assert files.standing() is None
        (tmp_path / "b").unlink()
        assert files.standing() is None


def test_the_same_bytes_of_another_process_stand_too_under_the_stamp_they_have_there(tmp_path: Path) -> None:
    with Together() as files:
        files.add(tmp_path / "a", b"1")
        files.publish()
        before = stamp_of(tmp_path / "a")
        publish(tmp_path / "a", b"1")
        assert files.standing() == {tmp_path / "a": stamp_of(tmp_path / "a")}
        assert stamp_of(tmp_path / "a") != before


def test_a_file_that_is_not_there_has_no_stamp(tmp_path: Path) -> None:
    assert stamp_of(tmp_path / "none") is None
