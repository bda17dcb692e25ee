"""Damaged checkpoints are never believed: through the whole task, and by restoring at every cut and every bit."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpc.node.attempt import PackAttempt
from hpc.storage.checkpoint import SavedCell

from .attempts import ForkServer
from .bench import Bench
from .corruption import DAMAGES, campaign

SEED = 20_266


def test_a_task_sets_damaged_checkpoints_aside_and_ends_with_identical_results(
    memory: Path, server: ForkServer
) -> None:
    counts = campaign(memory, server, SEED, rounds=2 * len(DAMAGES))
    assert counts["set aside"] == counts["files damaged"] >= 10


@pytest.fixture
def saved(memory: Path) -> tuple[PackAttempt, Path, bytes]:
    """An attempt with two generations, steps 1 and 2; the newest one's file and content."""
    bench = Bench.make(memory / "out")
    [cell] = bench.tasks[0]
    attempt = PackAttempt.begin(bench.store, bench.sweep, [cell], 1, {})
    for step in (1, 2):
        attempt.save([SavedCell(cell.name, bench.sweep.cell_digest(cell), bench.sweep.config_digest, step)])
    newest = bench.store.paths.generations(1)[0]
    return attempt, newest, newest.read_bytes()


def step_restored(attempt: PackAttempt, newest: Path, content: bytes) -> int:
    for aside in newest.parent.glob("*.corrupt-*"):
        aside.unlink()
    newest.write_bytes(content)
    [cell] = attempt.claims
    attempt._generations._read.clear()  # as a process does that has not read it before: what it has read never changes
    row = attempt.restore(cell)
    assert row is not None
    return row.step


def test_a_checkpoint_cut_short_at_any_byte_is_set_aside_for_the_one_before(
    saved: tuple[PackAttempt, Path, bytes],
) -> None:
    attempt, newest, content = saved
    assert step_restored(attempt, newest, content) == 2
    assert {step_restored(attempt, newest, content[:length]) for length in range(len(content))} == {1}


def test_a_checkpoint_with_any_bit_flipped_is_set_aside_for_the_one_before(
    saved: tuple[PackAttempt, Path, bytes],
) -> None:
    attempt, newest, content = saved
    for at in range(len(content)):
        flipped = content[:at] + bytes([content[at] ^ 1 << at % 8]) + content[at + 1 :]
        assert step_restored(attempt, newest, flipped) == 1, f"byte {at}"
