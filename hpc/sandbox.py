"""A real Slurm cluster on this machine, up in seconds: no root, nothing to configure, gone without a trace.

Several slurmd, one per pretended node, and one slurmctld listen on the loopback address only. A munged of the cluster's
own, with a key and a socket in a directory only its owner can enter, sees to it that no other user of the machine can
run jobs here. The cluster is a preemptible one: jobs in partition `high` evict those in `low`, which Slurm requeues.

What is running is written to `sandbox.json` as process ids together with their start times, so that a process which
got an old id is never taken for ours.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from hpc.processes import Process, boot_id, kill, members, start_time
from hpc.sandbox_conf import (
    CONTROLLER,
    HIGH,
    LOW,
    MUNGE,
    PreemptMode,
    SandboxError,
    Settings,
    free_ports,
    write_files,
)
from hpc.slurm import Node, QueuedTask, Slurm, SlurmError, installed, start_daemon

_STATE_FILE = "sandbox.json"
_LOCK_FILE = "lock"
_POLL_S = 0.05
_BOOT_TIMEOUT_S = 30.0
_TERM_TIMEOUT_S = 5.0
_KILL_TIMEOUT_S = 10.0
_LOCK_TIMEOUT_S = 60.0
_PORT_ATTEMPTS = 3
# slurmstepd binds a socket <directory>/spool/<node>/<node>_<job>.<step>; a socket's path has at most 107 bytes.
_LONGEST_DIRECTORY = 107 - len("/spool/n99/n99_1234567.4294967291")
_PLAIN_PATH = re.compile(r"[A-Za-z0-9_./+@:-]+")  # slurm.conf has no way to quote the rest everywhere


@dataclass(frozen=True)
class Status:
    """What a sandbox is doing. daemons: by name, whether it runs. error: why the controller could not be asked."""

    directory: Path
    daemons: dict[str, bool]
    nodes: list[Node]
    tasks: list[QueuedTask]
    error: str | None


@dataclass(frozen=True)
class Sandbox:
    """A cluster started by `up`. As a context manager it stops at the end, whatever happens.

    Daemons go by the names slurmctld, munged, and, for a slurmd, its node's: n1, n2, ...
    """

    directory: Path

    @property
    def conf(self) -> Path:
        """Its slurm.conf: what SLURM_CONF must say for Slurm's commands to talk to it."""
        return self.directory / "slurm.conf"

    @property
    def slurm(self) -> Slurm:
        """Its commands."""
        return Slurm(self.conf)

    @property
    def settings(self) -> Settings:
        """What it was started with."""
        return Settings(**_read_state(self.directory)["settings"])

    @property
    def ports(self) -> dict[str, int]:
        """TCP port of each Slurm daemon, on 127.0.0.1."""
        return dict(_read_state(self.directory)["ports"])

    def daemons(self) -> dict[str, Process]:
        """The daemons started last, by name, alive or not."""
        return {name: Process(**entry) for name, entry in _read_state(self.directory)["daemons"].items()}

    def status(self) -> Status:
        """Daemons, nodes and queue; with the reason where the controller does not answer."""
        daemons = {name: daemon.alive() for name, daemon in self.daemons().items()}
        try:
            return Status(self.directory, daemons, self.slurm.nodes(), self.slurm.queue(), None)
        except SlurmError as error:
            return Status(self.directory, daemons, [], [], str(error))

    def preempt(self, count: int | None = None, hold_seconds: float = 3.0, timeout_s: float = 60.0) -> list[QueuedTask]:
        """Evicts running tasks of partition low, by jobs of partition high, and waits until they are gone.

        count: how many (as nearly as the scheduler allows); None for all. hold_seconds: how long the evicting jobs keep
        the nodes. Returns the evicted tasks as they were. Raises SandboxError if it takes more than timeout_s seconds.
        """
        running = [task for task in self.slurm.queue() if task.partition == LOW and task.state == "RUNNING"]
        victims = running if count is None else running[-count:] if count > 0 else []
        name = f"preempt-{secrets.token_hex(4)}"
        for node, options in self._evictions(victims, whole_nodes=count is None).items():
            self._submit_high(name, node, options, hold_seconds)
        return self._wait_for_evictions(name, running, timeout_s) if victims else []

    def kill(self, name: str) -> None:
        """Ends a daemon by SIGKILL, as a crash would, and waits until it is gone. Running jobs go on.

        slurmctld forgets what it has not written to disk yet: jobs it has acknowledged in the last seconds.
        """
        self._end(name, signal.SIGKILL)

    def stop(self, name: str) -> None:
        """Ends a daemon in good order and waits until it is gone. Running jobs go on, the queue is kept."""
        self._end(name, signal.SIGTERM)

    def start(self, name: str) -> None:
        """Starts a daemon that was ended, with the state it left, and waits until it answers."""
        with _lock(self.directory):
            if not self._daemon(name).alive():
                _start(self.directory, name)
        _wait_for(self, [name])

    def pause(self, name: str) -> None:
        """Stops a daemon with SIGSTOP: it is there but answers nobody."""
        self._daemon(name).signal(signal.SIGSTOP)

    def resume(self, name: str) -> None:
        """Lets a paused daemon go on."""
        self._daemon(name).signal(signal.SIGCONT)

    def reconfigure(self) -> None:
        """Makes the daemons read slurm.conf again."""
        self.slurm.reconfigure()

    def down(self) -> None:
        """Stops it; see `down`."""
        down(self.directory)

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    def _end(self, name: str, number: int) -> None:
        daemon = self._daemon(name)
        daemon.signal(number)
        if not _wait_until(lambda: not daemon.alive(), _KILL_TIMEOUT_S):
            raise SandboxError(f"{name} (process {daemon.pid}) does not end")

    def _daemon(self, name: str) -> Process:
        daemons = self.daemons()
        if name not in daemons:
            raise SandboxError(f"{self.directory}: no daemon {name!r}; there are {', '.join(daemons)}")
        return daemons[name]

    def _evictions(self, victims: Sequence[QueuedTask], *, whole_nodes: bool) -> dict[str, list[str]]:
        """By node, the options of a job that needs what the victims there hold and all that is free."""
        if whole_nodes:
            return {task.node: ["--exclusive"] for task in victims}
        needed = {node.name: node.idle_cpus for node in self.slurm.nodes()}
        for task in victims:
            needed[task.node] = needed.get(task.node, 0) + task.cpus
        return {task.node: [f"--cpus-per-task={needed[task.node]}"] for task in victims}

    def _submit_high(self, name: str, node: str, options: Sequence[str], hold_seconds: float) -> None:
        where = [f"--partition={HIGH}", f"--nodelist={node}", f"--chdir={self.directory}"]
        what = [f"--job-name={name}", "--output=/dev/null", "--no-requeue"]
        self.slurm.sbatch(self.directory / "hold.sh", [*where, *what, *options], [str(hold_seconds)])

    def _wait_for_evictions(self, name: str, running: Sequence[QueuedTask], timeout_s: float) -> list[QueuedTask]:
        def waiting() -> list[QueuedTask]:
            return [task for task in self.slurm.queue([name]) if task.state == "PENDING"]

        if not _wait_until(lambda: not waiting(), timeout_s):
            self.slurm.cancel(waiting())
            raise SandboxError(f"{self.directory}: preemption was not over after {timeout_s:.0f} s")
        return _evicted(running, self.slurm.queue({task.name for task in running}, finished=True))


def default_directory() -> Path:
    """$HOLDFAST_SANDBOX, else holdfast/sandbox in $XDG_STATE_HOME, else in ~/.local/state."""
    chosen = os.environ.get("HOLDFAST_SANDBOX")
    if chosen:
        return Path(chosen).absolute()
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(state).absolute() / "holdfast" / "sandbox"


def up(
    directory: Path | None = None,
    *,
    nodes: int = 4,
    cpus: int = 4,
    gpus: int = 2,
    memory_mb: int = 64_000,
    max_array_size: int = 10_001,
    max_job_count: int = 50_000,
    kill_wait: int = 2,
    preempt_mode: PreemptMode = "REQUEUE",
    user_signal: bool = True,
    grace_time: int = 0,
    requeue_delay: int = 5,
    job_requeue: bool = True,
    slurmd_timeout: int = 10,
    die_with_owner: bool = False,
) -> Sandbox:
    """Starts a cluster, waits until all its nodes take jobs, and returns it. One that is up stays as it is.

    directory: where its state lives; must be new, empty or an earlier sandbox's, which is cleared. The rest: see
    Settings. Raises SandboxError if Slurm is not installed, the directory will not do or a daemon does not start.
    """
    settings = Settings(
        nodes=nodes,
        cpus=cpus,
        gpus=gpus,
        memory_mb=memory_mb,
        max_array_size=max_array_size,
        max_job_count=max_job_count,
        kill_wait=kill_wait,
        preempt_mode=preempt_mode,
        user_signal=user_signal,
        grace_time=grace_time,
        requeue_delay=requeue_delay,
        job_requeue=job_requeue,
        slurmd_timeout=slurmd_timeout,
        die_with_owner=die_with_owner,
    )
    missing = installed()
    if missing:
        raise SandboxError(missing)
    directory = _prepared(_resolved(directory))
    with _lock(directory):
        sandbox = find(directory)
        if sandbox is None:
            return _boot(directory, settings)
        _revive(sandbox)
        return sandbox


def find(directory: Path | None = None) -> Sandbox | None:
    """The sandbox in this directory if its controller runs, else None."""
    sandbox = Sandbox(_resolved(directory))
    if not (sandbox.directory / _STATE_FILE).exists():
        return None
    controller = sandbox.daemons().get(CONTROLLER)
    return sandbox if controller is not None and controller.alive() else None


def down(directory: Path | None = None) -> None:
    """Stops the cluster in this directory, its jobs included; logs stay. Nothing to stop is no error.

    Daemons get TERM, then KILL; then what is left of its jobs gets KILL. Raises SandboxError if a process survives.
    """
    directory = _resolved(directory)
    if (directory / _STATE_FILE).exists():
        with _lock(directory):
            _stop(directory)


def _resolved(directory: Path | None) -> Path:
    # The real path: /proc names a process's working directory without symbolic links.
    return (directory or default_directory()).resolve()


def _prepared(directory: Path) -> Path:
    """Makes the directory, for its owner only: whoever can read it can run jobs as its owner."""
    remedy = "choose another one with HOLDFAST_SANDBOX"
    if not _PLAIN_PATH.fullmatch(str(directory)):
        raise SandboxError(f"{directory}: slurm.conf takes no such path; {remedy}")
    if len(os.fsencode(directory)) > _LONGEST_DIRECTORY:
        raise SandboxError(f"{directory}: longer than {_LONGEST_DIRECTORY} bytes, too long for sockets; {remedy}")
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if directory.stat().st_uid != os.geteuid():
            raise SandboxError(f"{directory}: belongs to somebody else; {remedy}")
        if _is_foreign(directory):
            raise SandboxError(f"{directory}: not empty and no sandbox; {remedy}")
        directory.chmod(0o700)
    except OSError as error:
        raise SandboxError(f"{directory}: {error.strerror}; {remedy}") from error
    return directory


def _is_foreign(directory: Path) -> bool:
    entries = {entry.name for entry in directory.iterdir()}
    return bool(entries - {_LOCK_FILE}) and _STATE_FILE not in entries


@contextmanager
def _lock(directory: Path) -> Iterator[None]:
    """Only one process at a time starts or stops daemons: two at once would lose sight of some."""
    with (directory / _LOCK_FILE).open("w") as file:
        if not _wait_until(lambda: _locked(file.fileno()), _LOCK_TIMEOUT_S):
            raise SandboxError(f"{directory}: another process has been starting or stopping this sandbox for a minute")
        yield


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _boot(directory: Path, settings: Settings) -> Sandbox:
    for attempt in range(1, _PORT_ATTEMPTS + 1):
        try:
            return _boot_once(directory, settings)
        except SandboxError as error:
            # Somebody can take a port between our looking for a free one and the daemon's using it.
            if "Address already in use" not in str(error) or attempt == _PORT_ATTEMPTS:
                raise
    raise AssertionError("unreachable")


def _revive(sandbox: Sandbox) -> None:
    dead = [name for name, daemon in sandbox.daemons().items() if not daemon.alive()]
    for name in dead:
        _start(sandbox.directory, name)
    if dead:
        _wait_for(sandbox, dead)


def _boot_once(directory: Path, settings: Settings) -> Sandbox:
    sandbox = Sandbox(directory)
    if (directory / _STATE_FILE).exists():
        _stop(directory)
    ports = free_ports([CONTROLLER, *settings.node_names])
    _write_state(directory, {"boot": boot_id(), "settings": asdict(settings), "ports": ports, "daemons": {}})
    write_files(directory, settings, ports)
    try:
        for name in (MUNGE, CONTROLLER, *settings.node_names):
            _start(directory, name)
        _wait_for(sandbox, [CONTROLLER, *settings.node_names])
    except BaseException:  # also an interrupt must leave no daemon behind
        _stop(directory)
        raise
    return sandbox


def _start(directory: Path, name: str) -> None:
    """Starts one daemon and writes down that it is ours."""
    conf = directory / "slurm.conf"
    log = directory / "log" / f"{name}.out"
    state = _read_state(directory)
    pid = start_daemon(
        _program(name),
        _arguments(directory, name),
        directory,
        conf,
        log,
        die_with_owner=state["settings"]["die_with_owner"],
    )
    state["daemons"][name] = {"pid": pid, "start": start_time(pid) or 0}
    _write_state(directory, state)
    socket_file = directory / "munge" / "socket"
    if name == MUNGE and not _wait_until(socket_file.exists, _BOOT_TIMEOUT_S):
        raise SandboxError(f"{directory}: {_complaint(directory, name)}")


def _program(name: str) -> str:
    return name if name in (MUNGE, CONTROLLER) else "slurmd"


def _arguments(directory: Path, name: str) -> list[str]:
    conf = str(directory / "slurm.conf")
    if name == CONTROLLER:
        return ["-D", "-i", "-f", conf]
    if name != MUNGE:
        return ["-D", "-N", name, "-f", conf]
    files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    paths = [f"--{option}={directory}/munge/{file}" for option, file in files.items()]
    # --force: it would rather have a socket everybody can reach; ours is out of everybody's reach on purpose.
    return ["--foreground", "--force", "--origin=127.0.0.1", *paths]


def _wait_for(sandbox: Sandbox, names: Sequence[str]) -> None:
    """Waits until these daemons take part in the cluster. Raises SandboxError if one has died or it takes too long."""

    def dead() -> list[str]:
        daemons = sandbox.daemons()
        return [name for name in names if not daemons[name].alive()]

    def ready() -> bool:
        return sandbox.slurm.answers() and set(names) <= {CONTROLLER, MUNGE, *_nodes_in_service(sandbox)}

    if not _wait_until(lambda: bool(dead()) or ready(), _BOOT_TIMEOUT_S) or dead():
        name = (dead() or [CONTROLLER])[0]
        raise SandboxError(f"{sandbox.directory}: {_complaint(sandbox.directory, name)}")


def _nodes_in_service(sandbox: Sandbox) -> set[str]:
    # sinfo marks a node that has not answered with a star.
    out = ("down", "unknown", "future")
    return {node.name for node in sandbox.slurm.nodes() if not node.state.endswith("*") and node.state not in out}


def _complaint(directory: Path, name: str) -> str:
    """What a daemon says last about its trouble: the last line is often general, the one before it names the cause."""
    logs = (_log_lines(directory / "log" / f"{name}.{suffix}") for suffix in ("out", "log"))
    lines = next((lines for lines in logs if lines), ["it said nothing"])
    troubles = [line for line in lines if re.search(r"fatal:|error:", line, re.IGNORECASE)]
    return f"{name} did not start: {'; '.join((troubles or lines)[-2:])} (logs in {directory / 'log'})"


def _log_lines(path: Path) -> list[str]:
    return path.read_text(errors="replace").splitlines() if path.exists() else []


def _evicted(before: Sequence[QueuedTask], now: Sequence[QueuedTask]) -> list[QueuedTask]:
    """Of the tasks that were running, those that Slurm has put back into the queue or ended as PREEMPTED."""
    current = {task.id: task for task in now}
    pairs = [(task, current[task.id]) for task in before if task.id in current]
    return [old for old, new in pairs if new.restarts > old.restarts or new.state == "PREEMPTED"]


def _stop(directory: Path) -> None:
    daemons = list(Sandbox(directory).daemons().values())
    for number, patience_s in ((signal.SIGTERM, _TERM_TIMEOUT_S), (signal.SIGKILL, _KILL_TIMEOUT_S)):
        for daemon in daemons:
            daemon.signal(number)
            daemon.signal(signal.SIGCONT)  # one that is paused would never see the TERM
        if _wait_until(lambda: not any(daemon.alive() for daemon in daemons), patience_s):
            break
    _kill_members(directory)
    _write_state(directory, {**_read_state(directory), "daemons": {}})


def _kill_members(directory: Path) -> None:
    """Ends what the daemons have left behind: job steps, the jobs' processes and daemons nobody wrote down."""

    def none_left() -> bool:
        for pid in members(directory):
            kill(pid, signal.SIGKILL)
        return not members(directory)

    if not _wait_until(none_left, _KILL_TIMEOUT_S):
        raise SandboxError(f"{directory}: processes {sorted(members(directory))} do not end")


def _read_state(directory: Path) -> dict[str, Any]:
    path = directory / _STATE_FILE
    try:
        state: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise SandboxError(f"{path}: {error}; end its daemons by hand and remove {directory}") from error
    if state["boot"] != boot_id():
        state["daemons"] = {}  # process ids of before the machine was restarted mean nothing now
    return state


def _write_state(directory: Path, state: Mapping[str, Any]) -> None:
    path = directory / _STATE_FILE
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(state, indent=2) + "\n")
    temporary.replace(path)


def _wait_until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Asks until the answer is yes; False if it is still no after timeout_s seconds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True
