"""Starting, stopping and killing task processes from a test; each is held by a handle, never by its number alone."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from helpers.waiting import PATIENCE, wait_until

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Attempt:
    """One task process. status: as waitpid gives it, once it has ended."""

    pid: int
    handle: int
    ended: threading.Event = field(default_factory=threading.Event)
    status: int = 0

    def signal(self, number: int) -> bool:
        """Send a signal; False if it was gone."""
        try:
            signal.pidfd_send_signal(self.handle, number)
        except ProcessLookupError:
            return False
        return True

    def wait(self) -> int:
        """Its exit code, negative for the signal that ended it."""
        if not self.ended.wait(PATIENCE):
            self.signal(signal.SIGKILL)
            raise TimeoutError(f"task process {self.pid} did not end within {PATIENCE:.0f} s")
        return os.waitstatus_to_exitcode(self.status)

    @property
    def over(self) -> bool:
        return self.ended.is_set()

    def __del__(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self.handle)


class ForkServer:
    """The client of forkserver.py. code: the tree whose hpc and training run, for mutants another than ours."""

    def __init__(self, code: Path = ROOT, preload: Sequence[str] = ()) -> None:
        environment = os.environ | {"PYTHONPATH": str(code), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
        self._server = subprocess.Popen(
            [sys.executable, "-P", str(Path(__file__).with_name("forkserver.py")), *preload],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )
        self._pids: queue.Queue[Attempt | None] = queue.Queue()
        self._living: dict[int, Attempt] = {}
        self._lock = threading.Lock()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def start(
        self,
        argv: Sequence[str],
        log: Path,
        environment: Mapping[str, str] | None = None,
        frozen: bool = False,
        module: str = "hpc.node.task",
    ) -> Attempt:
        """module: whose main() gets the arguments."""
        order = {"argv": list(argv), "log": str(log), "environment": dict(environment or {}), "frozen": frozen}
        order["module"] = module
        with self._lock:
            assert self._server.stdin is not None
            self._server.stdin.write(json.dumps(order).encode() + b"\n")
            self._server.stdin.flush()
            attempt = self._pids.get(timeout=PATIENCE)
        if attempt is None:
            raise RuntimeError("the fork server has died")
        return attempt

    def close(self) -> None:
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait(PATIENCE)
        self._listener.join(PATIENCE)
        assert self._server.stdout is not None
        self._server.stdout.close()

    def __enter__(self) -> ForkServer:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _listen(self) -> None:
        assert self._server.stdout is not None
        for line in self._server.stdout:
            word, pid, *rest = line.split()
            if word == b"pid":
                # The server reaps in the loop that told us of the process, so its id is still its own unless its end
                # is already on the way; then there is no process left to signal either.
                attempt = Attempt(int(pid), self._open(int(pid)))
                self._living[attempt.pid] = attempt
                self._pids.put(attempt)
            else:
                attempt = self._living.pop(int(pid))
                attempt.status = int(rest[0])
                attempt.ended.set()
        self._pids.put(None)

    @staticmethod
    def _open(pid: int) -> int:
        try:
            return os.pidfd_open(pid)
        except ProcessLookupError:
            return os.open("/dev/null", os.O_RDONLY)


@dataclass(frozen=True)
class Hold:
    """A step after which a trainer waits until it is released, asked to stop, or killed: whatever strikes it meanwhile
    strikes in mid-training, on any machine.
    """

    path: Path

    @classmethod
    def at(cls, path: Path, step: int) -> Hold:
        path.write_text(str(step))
        return cls(path)

    @property
    def environment(self) -> dict[str, str]:
        """For the attempt that is to wait."""
        return {"CHAOS_HOLD": str(self.path)}

    def reached(self, attempt: Attempt | None = None) -> None:
        """Wait until the trainer waits, which is that of an attempt that must not end before."""
        there = Path(f"{self.path}.reached").exists
        what = f"a trainer at step {self.path.read_text()}"
        wait_until(lambda: there() or (attempt is not None and attempt.over), what, pause=0.002)
        assert there(), f"its process ended before there was {what}"

    def release(self) -> None:
        self.path.unlink()


def wait_stopped(pid: int) -> None:
    """Wait until a process is stopped."""
    wait_until(lambda: state_of(pid) in "Tt", f"process {pid} to be stopped", pause=0.002)


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A directory in memory where there is one: kills need no disk."""
    import shutil
    import tempfile

    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    directory = Path(tempfile.mkdtemp(prefix="holdfast-chaos-", dir=place))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
