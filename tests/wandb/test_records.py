"""`.wandb` files: the reader finds what W&B's client wrote, and in a damaged file a prefix of it."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from helpers.waiting import wait_until
from helpers.wandb_files import fragment, segment
from helpers.wandb_sweeps import client

from hpc.wandb.offline_files import FILE_HEADER, Records, find_segments, join_segments, read_records, read_segment

ROWS = 60
LONG = "x" * 70_000  # longer than two blocks, so that its record is in pieces
OFFLINE_RUN = """
    import sys, wandb
    directory, rows = sys.argv[1], int(sys.argv[2])
    config = {"long": "x" * 70_000, "dim": 8, "scale": 1.0}
    run = wandb.init(
        project="p", entity="e", group="g", id="abc", name="n", dir=directory, mode="offline", config=config, tags=["t"]
    )
    for epoch in range(1, rows + 1):
        run.log({"epoch": epoch, "loss": 1 / epoch, "a.b": -0.0, "nan": float("nan"), "text": "y" * 900}, step=epoch)
    run.summary["best"] = 0.1
    run.summary["nested"] = {"digest": "d", "list": [1, 2.5]}
    run.finish()
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("offline")
    client(OFFLINE_RUN, str(directory), str(ROWS))
    (path,) = find_segments(directory)
    return path


def losses(path: Path) -> list[float]:
    return [row["loss"] for row in read_segment(path).rows]


def test_a_file_of_the_real_client_gives_back_every_number(written: Path) -> None:
    found = read_segment(written)
    assert (found.fault, found.whole, found.id, found.exit_code) == ("", True, "abc", 0)
    (run,) = join_segments([found])
    assert (run.project, run.entity, run.group, run.name, run.state) == ("p", "e", "g", "n", "finished")
    assert run.config == {"long": LONG, "dim": 8, "scale": 1}
    assert [row["loss"] for row in run.rows] == [1 / epoch for epoch in range(1, ROWS + 1)]
    assert [str(row["a.b"]) for row in run.rows] == ["-0.0"] * ROWS
    assert run.summary["best"] == 0.1
    assert run.summary["nested"] == {"digest": "d", "list": [1, 2.5]}
    assert run.to_json()["rows"][0]["nan"] is None


def test_links_are_not_followed(written: Path, tmp_path: Path) -> None:
    (tmp_path / "latest-run").symlink_to(written.parent, target_is_directory=True)
    (tmp_path / "link.wandb").symlink_to(written)
    assert find_segments(tmp_path) == []


def test_a_file_cut_at_any_byte_gives_a_prefix_and_is_never_complete(written: Path, tmp_path: Path) -> None:
    data, true = written.read_bytes(), losses(written)
    cuts = {*range(40), *range(len(data) - 40, len(data)), *random.Random(1).sample(range(len(data)), 150)}
    cuts |= {block * 32768 + offset for block in range(1, 4) for offset in range(-8, 9)}
    lengths = set()
    for cut in sorted(cuts):
        path = tmp_path / "cut.wandb"
        path.write_bytes(data[:cut])
        found = read_segment(path)
        rows = [row["loss"] for row in found.rows]
        assert rows == true[: len(rows)]
        assert not found.whole, cut
        lengths.add(len(rows))
    assert {0, ROWS} <= lengths  # cuts before the first row and after the last one were among them
    assert len(lengths) > 10


def test_a_flipped_byte_ends_the_reading_before_it(written: Path, tmp_path: Path) -> None:
    data, true = written.read_bytes(), read_segment(written)
    generator = random.Random(2)
    for _ in range(200):
        at, bit = generator.randrange(len(data)), 1 << generator.randrange(8)
        path = tmp_path / "flipped.wandb"
        path.write_bytes(data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :])
        found = read_segment(path)
        assert found.rows == true.rows[: len(found.rows)] or not found.rows
        in_padding = data[at] == 0 and not found.fault  # the only bytes that mean nothing
        assert found.fault or in_padding, at
        assert all(found.config[key] == true.config[key] for key in found.config)


def test_garbage_is_refused_and_never_crashes_the_reader(tmp_path: Path) -> None:
    generator = random.Random(3)
    for size in (0, 3, 7, 8, 100, 40_000):
        for header in (b"", FILE_HEADER):
            found = read_records(header + generator.randbytes(size))
            assert found.payloads == []
            assert found.fault
    path = tmp_path / "short.wandb"
    path.write_bytes(FILE_HEADER)
    assert "7-byte header and nothing else" in read_segment(path).fault


@pytest.mark.parametrize("kind", [1, 2, 3, 4])
def test_records_of_nothing_are_damage(kind: int) -> None:
    found = read_records(FILE_HEADER + fragment(kind, b"") * 1000)
    assert found.payloads == []
    assert f"damaged at byte {len(FILE_HEADER)}" in found.fault


def test_a_record_that_begins_where_a_block_has_room_for_no_byte_of_it_is_read() -> None:
    payloads = [b"x" * (32_768 - 3 * len(FILE_HEADER)), b"second"]
    data = segment(payloads)
    assert fragment(2, b"") in data
    assert read_records(data) == Records(payloads, "")


def test_more_records_than_a_run_can_have_end_the_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hpc.files.limits.MOST_RECORDS", 10)
    found = read_records(segment([b"x"] * 12))
    assert len(found.payloads) == 10
    assert "it has 11 records, where at most 10 are read" in found.fault


def test_attempts_of_one_run_are_joined_and_the_newest_row_of_a_step_wins(tmp_path: Path) -> None:
    attempt = """
        import sys, wandb
        directory, first, last, offset = sys.argv[1], *map(int, sys.argv[2:])
        run = wandb.init(project="p", group="g", id="abc", dir=directory, mode="offline", config={"attempt": offset})
        for step in range(first, last):
            run.log({"value": step + offset}, step=step)
        run.finish()
    """
    client(attempt, str(tmp_path / "a"), "0", "5", "0")
    client(attempt, str(tmp_path / "b"), "3", "8", "100")
    (run,) = join_segments(map(read_segment, find_segments(tmp_path)))
    assert [(row["_step"], row["value"]) for row in run.rows] == [
        (0, 0),
        (1, 1),
        (2, 2),
        (3, 103),
        (4, 104),
        (5, 105),
        (6, 106),
        (7, 107),
    ]
    assert run.config == {"attempt": 100}


@pytest.mark.parametrize("written", [False, True])
def test_a_run_that_was_killed_gives_a_prefix_and_is_not_complete(tmp_path: Path, written: bool) -> None:
    """written: killed when rows of it are in the file, or at once."""
    script = """
        import itertools, sys, time, wandb
        run = wandb.init(project="p", id="abc", dir=sys.argv[1], mode="offline")
        print("ready", flush=True)
        for step in itertools.count():
            run.log({"value": step / 7, "text": "z" * 2000}, step=step)
            time.sleep(0.002)
    """
    with subprocess.Popen(
        [sys.executable, "-P", "-c", textwrap.dedent(script), str(tmp_path)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        wait_until(lambda: find_segments(tmp_path), "its file")
        if written:
            wait_until(lambda: read_segment(*find_segments(tmp_path)).rows, "rows in the file")
        os.kill(process.pid, signal.SIGKILL)
    (path,) = find_segments(tmp_path)
    found = read_segment(path)
    assert not found.whole
    assert [row["value"] for row in found.rows] == [step / 7 for step in range(len(found.rows))]
    if written:
        assert found.rows
    elif not found.id:
        assert found.fault
