"""One command at a time: nobody loses a lock that lives, none stays for ever, and what is unsure counts as held."""

from __future__ import annotations

import errno
import itertools
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from helpers.small_sweeps import ROOT
from helpers.users import ALICE, BOB, becoming, need_other_users, share
from helpers.waiting import PATIENCE, wait_until

from hpc.errors import BusyError
from hpc.files import atomic, directories
from hpc.processes import here, host, start_time, state
from hpc.storage import documents
from hpc.storage.store import Store
from hpc.submission.lock import busy, lock

SPAWN = multiprocessing.get_context("spawn")
TURNS = 5
NOBODY = 2**22 + 1  # above the largest pid
# Holds the lock until its standard input ends.
HOLDER = (
    "import sys; from pathlib import Path; from hpc.storage.store import Store\n"
    "from hpc.submission.lock import lock\n"
    "with lock(Store(Path(sys.argv[1])), 'holdfast run'):\n"
    "    print('held', flush=True)\n"
    "    sys.stdin.read()\n"
)


def beside(store: Store) -> list[str]:
    """What is there of locks."""
    return sorted(name for name in os.listdir(store.paths.submissions_root) if "lock" in name or "gone" in name)


def record(**changes: Any) -> dict[str, Any]:
    """Of a process that runs: the one that started this."""
    pid = os.getppid()
    return {"command": "holdfast run", "pid": pid, "began": start_time(pid), "id": "x"} | asdict(here()) | changes


def held_by(store: Store, **changes: Any) -> None:
    """A lock that another process has left here."""
    store.paths.lock_directory.mkdir(parents=True)
    (store.paths.lock_directory / "owner-x.json").write_text(json.dumps(record(**changes)))


@contextmanager
def holder(store: Store, *prefix: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock."""
    command = [*prefix, sys.executable, "-c", HOLDER, str(store.root)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.send_signal(signal.SIGCONT)
            assert process.stdin is not None
            process.stdin.close()


def test_the_second_command_is_refused_and_told_who_holds_the_lock(store: Store) -> None:
    with holder(store) as process:
        with pytest.raises(BusyError) as caught, lock(store, "holdfast submit"):
            pass
        text = str(caught.value)
        assert text.startswith(f"{store.root}: holdfast run (process {process.pid} on {host()}) is at work here; ")
        assert f"kill {process.pid}" in text
        assert len(text.splitlines()) == 1
    assert beside(store) == []


def test_one_process_takes_a_lock_once_and_is_not_told_to_kill_itself(store: Store) -> None:
    with lock(store, "holdfast run"):
        for take_over in (False, True):
            with pytest.raises(BusyError, match="in another thread of this very process; wait for it") as caught:
                lock(store, "holdfast submit", take_over).__enter__()
            assert "kill" not in str(caught.value)
    assert beside(store) == []


def test_a_lock_is_free_again_after_an_error_inside(store: Store) -> None:
    with pytest.raises(ValueError, match="inside"), lock(store, "holdfast run"):
        raise ValueError("inside")
    with lock(store, "holdfast run"):
        assert beside(store) == ["lock"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_command_that_is_asked_to_end_releases_the_lock(store: Store, number: int) -> None:
    with holder(store) as process:
        process.send_signal(number)
        wait_until(lambda: process.poll() is not None, "its end")
        assert beside(store) == []


def test_a_signal_that_is_ignored_stays_so_and_handlers_are_put_back(store: Store) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with lock(store, "holdfast run"):
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) != signal.SIG_DFL
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_lock_of_a_killed_process_is_taken_without_asking(store: Store) -> None:
    with holder(store) as process:
        process.kill()
        wait_until(lambda: process.poll() is not None, "its end")
        assert beside(store) == ["lock"]
        assert not busy(store)
    with lock(store, "holdfast run"):
        pass
    assert beside(store) == []


def killed_holder(store: Store, user: int) -> None:
    """Another user takes the lock and is killed."""
    with holder(store, *becoming(user)) as process:
        process.kill()
        wait_until(lambda: process.poll() is not None, "its end")


def test_any_member_of_a_group_takes_the_lock_of_a_killed_member(store: Store) -> None:
    need_other_users()
    share(store.root, ALICE)
    for user in (ALICE, BOB, ALICE):
        killed_holder(store, user)
    assert beside(store) == ["lock"]
    with lock(store, "holdfast run"):
        pass
    assert beside(store) == []


@pytest.mark.parametrize("take_over", [False, True])
def test_a_lock_that_only_its_owner_can_remove_names_him_and_the_file(store: Store, take_over: bool) -> None:
    need_other_users()
    share(store.root, ALICE)
    killed_holder(store, ALICE)
    store.paths.lock_directory.chmod(0o2750)  # as earlier versions left it
    taking = HOLDER.replace("'holdfast run'", f"'holdfast run', {take_over}")
    command = [*becoming(BOB), sys.executable, "-c", taking, str(store.root)]
    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    (owner,) = store.paths.lock_directory.iterdir()
    said = done.stderr.splitlines()[-1]
    assert said.startswith(f"hpc.errors.BusyError: {owner}: left by holdfast run (process ")
    assert said.endswith(f"only user {ALICE} can remove it: rm {owner}")


def test_the_lock_of_a_command_that_runs_is_not_taken_even_when_asked(store: Store) -> None:
    with holder(store) as process:
        for take_over in (False, True):
            with pytest.raises(BusyError, match=f"kill {process.pid}"), lock(store, "x", take_over=take_over):
                pass
        assert busy(store)


def test_a_stopped_command_loses_its_lock_when_asked_and_notices_before_it_queues_anything(store: Store) -> None:
    with holder(store) as process:
        process.send_signal(signal.SIGSTOP)
        wait_until(lambda: state(process.pid) == "T", "its end")
        with pytest.raises(BusyError, match="--take-over"), lock(store, "x"):
            pass
        with lock(store, "the second", take_over=True) as second:
            process.send_signal(signal.SIGCONT)
            assert process.stdin is not None
            process.stdin.close()
            assert process.wait(PATIENCE) == 0
            second.check()  # the first one's end has not removed the second one's lock
    assert beside(store) == []


def test_one_whose_lock_was_taken_over_is_told_so(store: Store) -> None:
    with lock(store, "the first") as first:
        os.unlink(store.paths.lock_directory / first.file)  # what a take-over does
        with lock(store, "the second") as second:
            with pytest.raises(BusyError, match="has taken over this sweep"):
                first.check()
            second.check()


@pytest.mark.parametrize(
    "gone",
    [{"pid": NOBODY}, {"began": 7}],
    ids=["no such process", "its number was given again"],
)
def test_the_lock_of_a_process_that_is_gone_is_taken(store: Store, gone: dict[str, Any]) -> None:
    held_by(store, **gone)
    with lock(store, "holdfast run"):
        assert beside(store) == ["lock"]


@pytest.mark.skipif(here().in_container or not here().machine, reason="nobody knows here which machine this is")
def test_the_lock_of_before_the_last_boot_is_taken(store: Store) -> None:
    held_by(store, boot="another boot")
    with lock(store, "holdfast run"):
        assert beside(store) == ["lock"]


@pytest.mark.parametrize(
    "unsure",
    [
        {"host": "another-host", "machine": "another", "boot": "another", "pid": NOBODY},
        {"machine": "another of the same name", "boot": "another", "pid": NOBODY},
        {"machine": "", "boot": "another", "pid": NOBODY},
        {"namespace": "pid:[1]", "pid": NOBODY},
        {"namespace": "pid:[1]", "boot": "another", "pid": NOBODY},
    ],
    ids=["another machine", "same name", "no machine id", "a container", "a container elsewhere"],
)
def test_where_it_cannot_be_seen_whether_a_command_lives_its_lock_is_taken_only_when_asked(
    store: Store, unsure: dict[str, Any]
) -> None:
    held_by(store, **unsure)
    assert busy(store)
    with pytest.raises(BusyError, match=f"process .* on {unsure.get('host', host())}.*--take-over"), lock(store, "x"):
        pass
    with lock(store, "x", take_over=True):
        (owner,) = store.paths.lock_directory.iterdir()
        assert json.loads(owner.read_text())["command"] == "x"
    assert beside(store) == []


def test_a_lock_that_cannot_be_read_is_held_until_it_is_taken_over(store: Store) -> None:
    held_by(store, pid="x")
    with pytest.raises(BusyError, match="its lock cannot be read; try again, or add --take-over"), lock(store, "x"):
        pass
    with lock(store, "x", take_over=True):
        assert busy(store)
    assert beside(store) == []


def test_the_lock_of_the_first_version_is_honoured_until_it_is_taken_over(store: Store) -> None:
    store.paths.lock_directory.mkdir(parents=True)
    old = {name: value for name, value in record(pid=NOBODY).items() if name not in ("machine", "namespace")}
    (store.paths.lock_directory / "owner.json").write_text(json.dumps(old))
    with pytest.raises(BusyError, match="--take-over"), lock(store, "x"):
        pass
    with lock(store, "x", take_over=True):
        pass
    assert beside(store) == []


def test_a_command_in_another_pid_namespace_keeps_its_lock(store: Store) -> None:
    namespace = ("unshare", "--fork", "--pid", "--mount-proc")
    if not shutil.which("unshare") or subprocess.run([*namespace, "true"], capture_output=True).returncode:
        pytest.skip("needs a PID namespace of its own: unshare, as root")
    with holder(store, *namespace):
        with pytest.raises(BusyError, match=r"process \d+ on"), lock(store, "x"):
            pass
        assert busy(store)
    assert beside(store) == []


def test_a_lock_that_names_nobody_does_not_block(store: Store) -> None:
    store.paths.lock_directory.mkdir(parents=True)  # its owner was killed between the two steps of leaving it
    with lock(store, "holdfast run"):
        assert beside(store) == ["lock"]


@pytest.mark.parametrize("owner", ["", "garbage", "5", "{}"])
def test_a_lock_that_cannot_be_read_is_taken_over_when_asked(store: Store, owner: str) -> None:
    store.paths.lock_directory.mkdir(parents=True)
    (store.paths.lock_directory / "owner-x.json").write_text(owner)
    with pytest.raises(BusyError, match="add --take-over if none is at work here"), lock(store, "x"):
        pass
    with lock(store, "x", take_over=True):
        pass
    assert beside(store) == []


def test_a_command_that_waits_for_its_turn_gets_it(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hpc.submission.lock._BUSY_SECONDS", 0.05)
    heard: list[str] = []
    with holder(store) as process:

        def release(text: str) -> None:
            heard.append(text)
            assert process.stdin is not None
            process.stdin.close()

        with lock(store, "x", on_busy=release):
            assert beside(store) == ["lock"]
    assert f"process {process.pid}" in heard[0]


def test_what_killed_commands_left_is_cleaned_and_what_lives_or_is_unsure_stays(store: Store) -> None:
    left = {
        ".lock-dead": record(pid=NOBODY),
        ".lock-alive": record(),
        ".lock-elsewhere": record(boot="another", host="another"),
    }
    for name, owner in left.items():
        (store.paths.submissions_root / name).mkdir(parents=True)
        (store.paths.submissions_root / name / "owner-x.json").write_text(json.dumps(owner))
    (store.paths.submissions_root / ".lock-empty").mkdir()
    (store.paths.submissions_root / ".gone-x").mkdir()
    with lock(store, "x"):
        pass
    assert beside(store) == [".lock-alive", ".lock-elsewhere"]


@pytest.mark.parametrize(("call", "least"), [("mkdirat", 1), ("renameat", 2), ("unlinkat", 2)])
def test_a_command_killed_at_any_change_it_makes_leaves_a_lock_that_the_next_one_takes(
    store: Store, call: str, least: int
) -> None:
    if not shutil.which("strace"):
        pytest.skip("needs strace")
    program = HOLDER.replace("    sys.stdin.read()\n", "")
    store.paths.submissions_root.mkdir(parents=True)
    killed = 0
    while True:
        strace = ["strace", "-f", "-o", "/dev/null", "-e", f"inject={call}:signal=SIGKILL:when={killed + 1}"]
        command = [*strace, sys.executable, "-c", program, str(store.root)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=PATIENCE)
        with lock(store, "the next"):
            pass
        assert beside(store) == []
        if not done.returncode:
            break
        killed += 1
    assert killed >= least


def _hold(root: str, barrier: Any, number: int, log: Any) -> None:
    store = Store(Path(root))
    barrier.wait()
    held = 0
    while held < TURNS:
        try:
            with lock(store, f"number {number}"):
                entered = time.monotonic()
                time.sleep(0.001)
                log.put((entered, time.monotonic()))
            held += 1
        except BusyError:
            time.sleep(0.001)


def test_eight_commands_that_race_for_a_dead_ones_lock_never_hold_it_together(store: Store) -> None:
    held_by(store, pid=NOBODY)
    barrier, log = SPAWN.Barrier(8), SPAWN.SimpleQueue()
    workers = [SPAWN.Process(target=_hold, args=(str(store.root), barrier, n, log)) for n in range(8)]
    for worker in workers:
        worker.start()
    times = []
    while any(worker.is_alive() for worker in workers) or not log.empty():
        if not log.empty():
            times.append(log.get())
        else:
            time.sleep(0.01)
    assert [worker.exitcode for worker in workers] == [0] * 8
    times.sort()
    assert len(times) == 8 * TURNS
    assert all(left <= entered for (_, left), (entered, _) in itertools.pairwise(times))
    assert beside(store) == []


def test_nothing_is_left_behind_when_the_lock_cannot_be_written(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic, "publish", full)
    with pytest.raises(OSError, match="No space"), lock(store, "x"):
        pass
    assert beside(store) == []


def test_a_rename_whose_reply_is_lost_has_taken_the_lock(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    real = directories.rename_directory

    def lost(source: Path, target: Path) -> None:
        real(source, target)
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(source))  # of the request sent again

    monkeypatch.setattr(directories, "rename_directory", lost)
    with lock(store, "submit") as held:
        held.check()
    assert beside(store) == []
    assert not busy(store)


def test_a_lock_that_storage_cannot_give_at_the_moment_is_not_taken_over(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = documents.read

    def trouble(path: Path, *more: Any) -> Any:
        if path.name.startswith("owner-"):
            raise OSError(errno.EIO, "Input/output error", str(path))
        return real(path, *more)

    with holder(store), monkeypatch.context() as broken:
        broken.setattr(documents, "read", trouble)
        with pytest.raises(OSError, match="Input/output error"), lock(store, "submit", take_over=True):
            pass
        broken.undo()
        taken = lock(store, "submit", take_over=True)
        with pytest.raises(BusyError, match="--take-over takes no lock from a command that runs"), taken:
            pass
