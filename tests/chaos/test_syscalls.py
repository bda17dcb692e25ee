"""Faults at single system calls, every eleventh of them; `make chaos` strikes at all."""

from __future__ import annotations

from pathlib import Path

from helpers.here import lacking

from .attempts import ForkServer
from .audit import audit
from .syscalls import FAULTS, beside_training, campaign, missing, places, read_trace, small

REASON = missing()
if REASON:
    lacking(REASON)


def test_a_fault_at_any_system_call_costs_no_state_and_blames_no_cell(memory: Path, server: ForkServer) -> None:
    counts = campaign(memory, server, every=11)
    assert counts["strikes"] >= 40, counts
    assert {fault for fault in FAULTS if any(key.startswith(fault) for key in counts)} == set(FAULTS)


def test_a_fault_at_any_system_call_beside_training_costs_no_state_and_blames_no_cell(
    memory: Path, server: ForkServer
) -> None:
    counts = beside_training(memory, server)
    assert counts["strikes"] >= 30, counts
    stopped = {"strikes", "KILL: killed", "EIO: stopped", "ENOSPC: stopped", "EDQUOT: stopped"}
    # Not understood yet: in one of three runs, on a busy machine, errors were survived as well. The calls that were
    # struck then are not known; strace strikes the training thread's call of that number, too. Every cell still ended
    # with equal numbers, which is checked after each strike.
    assert stopped <= set(counts) <= stopped | {"EIO: ignored", "ENOSPC: ignored", "EDQUOT: ignored"}


def test_every_file_is_synced_before_it_has_its_name_and_its_directory_before_the_log_says_so(
    memory: Path, server: ForkServer
) -> None:
    bench = small(memory / "out")
    places(bench, server, memory / "trace")
    followed, breaches = audit(read_trace(memory / "trace"), bench.store.paths.root)
    assert not breaches
    # Records of the attempt, checkpoints, histories, weights and results of two cells.
    assert followed >= 15


def test_a_link_is_one_by_whatever_call_the_library_makes_it(tmp_path: Path) -> None:
    root, trace = tmp_path / "out", tmp_path / "trace"
    trace.write_text(
        f'7 fsync(3<{root}/.a.tmp>) = 0\n7 linkat(AT_FDCWD</>, "{root}/.a.tmp", AT_FDCWD</>, "{root}/a", 0) = 0\n'
        f'7 link("{root}/.b.tmp", "{root}/b") = 0\n7 fsync(3<{root}>) = 0\n7 unlinkat(4<{root}/x>, "y", 0) = 0\n'
        f'7 renameat(4<{root}/x>, ".c.tmp", 4<{root}/x>, "c") = 0\n7 fsync(4<{root}/x>) = 0\n'
    )
    calls = read_trace(trace)
    kinds = ["fsync", "link", "link", "fsync", "unlink", "rename", "fsync"]
    assert [call.kind for call in calls if call.changes(root)] == kinds
    followed, breaches = audit(calls, root)
    unsynced = [f"{root}/{name} was named before its content was synced" for name in ("b", "x/c")]
    assert (followed, breaches) == (3, unsynced)
