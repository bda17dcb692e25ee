"""A process that has loaded the commands once and forks a child for each call, which is limited and watched.

Run as a script with PYTHONPATH naming the code, and with the command lines as JSON that it runs once itself, so that
what is made once per process is made before the forks. Reads one JSON object per line: {"words": [...], "inside":
[paths that a call may change], "owned": [paths from which nothing may be executed], "cwd": path, "log": path, "room":
bytes of memory, "prefix": words}; answers each with an Answer. With a prefix, the fork executes that, and with it this
script anew, for this one call. It ends at the end of its input.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import resource
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

MOST_SECONDS = 5.0
MOST_BYTES = 1 << 30
# The time that a machine may be slower than one on which five seconds are meant; what hangs, hangs longer.
KILLED_AFTER = 120.0
# How much longer than they compute the processes that a call starts may wait for a processor, on a busy machine.
_QUEUED = 20
_SHOWN = 20_000
_COMMANDS = ("aggregate", "cancel", "compare", "plan", "redo", "run", "show", "status", "submit", "wandb")
_LOADED = (
    *("aggregate.pipeline", "aggregate.stats.power", "aggregate.figures.encoded", "hpc.planning.cost"),
    *("hpc.planning.pilot_record", "hpc.slurm.commands", "hpc.wandb.sync", "hpc.cli.app", "rich.console"),
    *("aggregate.report.two_sweeps_page", "aggregate.two_sweeps.differences", "hpc.submission.redo"),
    *("hpc.wandb.extract.extract", "wandb.proto.wandb_internal_pb2"),
    *("matplotlib.backends.backend_agg", "matplotlib.figure", "pyarrow.csv", "pyarrow.parquet", "scipy.stats"),
)
_CHANGES = {
    **dict.fromkeys(("os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.chmod", "os.chown", "os.utime"), (0,)),
    **dict.fromkeys(("os.rename", "os.link"), (0, 1)),
    "os.symlink": (1,),
    "shutil.rmtree": (0,),
}
_STARTS = {"subprocess.Popen", "os.exec", "os.posix_spawn", "os.system"}


class Answer(NamedTuple):
    """How a call ended. code: exit code, negative for a signal. seconds: until it ended. busy: of a processor, with
    all its processes; waited: for neither a processor nor a process. bytes: most memory of any of them. text: what was
    printed. outside: what it did that it must not.
    """

    code: int
    seconds: float
    busy: float
    waited: float
    bytes: int
    text: str
    outside: Sequence[str]


def serve(first: Sequence[Sequence[str]]) -> None:
    for name in (*(f"hpc.cli.{command}" for command in _COMMANDS), *_LOADED):
        importlib.import_module(name)
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        for words in first:
            _run(words)
    assert threading.active_count() == 1, "a process with threads is forked"
    gc.collect()
    gc.freeze()  # what a collection marks, it copies into every child
    for line in sys.stdin:
        print(json.dumps(_call(json.loads(line))), flush=True)


def _call(order: dict[str, Any]) -> Answer:
    began = time.monotonic()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        if order["prefix"]:
            os.execv(order["prefix"][0], [*order["prefix"], json.dumps(order | {"prefix": []})])
        become_command(order)
    handle = os.pidfd_open(pid)
    if not select.select([handle], [], [], KILLED_AFTER)[0]:
        os.killpg(pid, signal.SIGKILL)
        select.select([handle], [], [])
    os.close(handle)
    seconds = time.monotonic() - began
    own = sum(int(number) for number in Path(f"/proc/{pid}/schedstat").read_text().split()[:2]) / 1e9
    _, status, used = os.wait4(pid, 0)
    with open(order["log"], errors="backslashreplace") as file:
        text = file.read(_SHOWN * 10)
    *printed, said = text.split("\0outside\0") if "\0outside\0" in text else (text, "")
    busy = used.ru_utime + used.ru_stime
    return Answer(
        code=os.waitstatus_to_exitcode(status),
        seconds=seconds,
        busy=busy,
        waited=max(0.0, seconds - own - _QUEUED * busy),
        bytes=used.ru_maxrss * 1024,
        text="".join(printed)[-_SHOWN:],
        outside=said.split("\n")[1:],
    )


def become_command(order: dict[str, Any]) -> NoReturn:
    """What a process is from here on."""
    code, outside = 70, list[str]()
    try:
        log = os.open(order["log"], os.O_RDWR | os.O_TRUNC | os.O_CREAT, 0o644)
        null = os.open("/dev/null", os.O_RDONLY)
        for target, source in ((0, null), (1, log), (2, log)):
            os.dup2(source, target)
        os.chdir(order["cwd"])
        with open("/proc/self/statm") as file:
            limit = int(file.read().split()[0]) * resource.getpagesize() + order["room"]
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        _watch(order["inside"], order["owned"], outside)
        code = _run(order["words"])
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os.write(2, "\n".join(["\0outside\0", *outside]).encode(errors="backslashreplace"))
            os._exit(code if isinstance(code, int) else 71)


def _run(words: Sequence[str]) -> int:
    """A command; `tables DIR` is `aggregate DIR` without its figures, which take most of its time."""
    from aggregate.pipeline import aggregate
    from hpc.cli import app, endings

    if words[0] != "tables":
        return app.main(words)
    try:
        aggregate(Path(words[1]), figures=False)
    except Exception as error:
        told = endings.told(error)
        if told is None:
            raise
        print(told[0], file=sys.stderr)
        return told[1]
    return 0


def _watch(inside: Sequence[str], owned: Sequence[str], outside: list[str]) -> None:
    """Note every change outside the paths, and everything executed or imported from places that are owned."""
    roots, owners = ([os.path.realpath(path) for path in paths] for paths in (inside, owned))

    def lies_in(path: Any, places: Sequence[str], base: str = "") -> bool:
        text = os.path.join(base, os.fsdecode(path))
        # A descriptor's folder is where it is, whatever has its name by now.
        above = os.path.dirname(text) if base else os.path.realpath(os.path.dirname(text) or ".")
        real = os.path.join(above, os.path.basename(text))
        return any(real == place or real.startswith(f"{place}/") for place in places)

    def is_owned(path: Any) -> bool:
        return lies_in(os.path.realpath(os.fsdecode(path)), owners)

    def look(event: str, given: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = given
            writes = bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)) if isinstance(flags, int) else mode != "r"
            known = isinstance(path, int) or path == os.devnull
            if writes and not known and not lies_in(os.path.realpath(os.fsdecode(path)), roots):
                outside.append(f"wrote {path!r}")
        elif event in _CHANGES:
            for place in _CHANGES[event]:
                if not isinstance(given[place], int) and not lies_in(given[place], roots, _base(event, given, place)):
                    outside.append(f"{event} {given[place]!r}")
        elif event in _STARTS:
            if is_owned(given[0]):
                outside.append(f"{event} {given[0]!r}")
        elif event == "import" and given[1] and is_owned(given[1]):
            outside.append(f"imported {given[1]}")
        elif event == "ctypes.dlopen" and given[0] and is_owned(given[0]):
            outside.append(f"loaded {given[0]}")
        elif event == "exec" and is_owned(getattr(given[0], "co_filename", "")):
            outside.append(f"executed {given[0].co_filename}")

    sys.addaudithook(look)


def _base(event: str, given: tuple[Any, ...], place: int) -> str:
    """The directory that a path is given from; empty if that is where the process works."""
    if event == "os.truncate":
        return ""
    descriptor = given[2 + place] if event in ("os.rename", "os.link") else given[-1]
    return os.readlink(f"/proc/self/fd/{descriptor}") if isinstance(descriptor, int) and descriptor >= 0 else ""


if __name__ == "__main__":
    if sys.argv[1] == "once":
        become_command(json.loads(sys.argv[2]))
    serve(json.loads(sys.argv[1]))
