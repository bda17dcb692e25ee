"""A process that has loaded the commands once and forks a child for each call, which is limited and watched.

Run as a script with PYTHONPATH naming the code. Reads one JSON object per line: {"words": [...], "inside": [paths],
"log": path}; answers each with {"code": exit code, negative for a signal, "seconds": ..., "text": what was printed,
"outside": what the call did outside those paths}. It ends at the end of its input.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import select
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

MOST_SECONDS = 5.0
# The time that a machine may be slower than one on which five seconds are meant; what hangs, hangs longer.
KILLED_AFTER = 120.0
MOST_BYTES = 1 << 30
_SHOWN = 20_000
_COMMANDS = ("aggregate", "cancel", "plan", "run", "show", "status", "submit", "wandb")
_LOADED = (
    *("aggregate.pipeline", "aggregate.stats.power", "aggregate.figures.draw", "hpc.planning.cost"),
    *("hpc.planning.pilot_record", "hpc.slurm.commands", "hpc.wandb.sync", "hpc.cli.app", "rich.console"),
    *("matplotlib.backends.backend_agg", "matplotlib.figure", "pyarrow.csv", "pyarrow.parquet", "scipy.stats"),
)
_CHANGES = {
    **dict.fromkeys(("os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.chmod", "os.chown", "os.utime"), (0,)),
    **dict.fromkeys(("os.rename", "os.link"), (0, 1)),
    "os.symlink": (1,),
    "shutil.rmtree": (0,),
}
_STARTS = {"subprocess.Popen": 0, "os.exec": 0, "os.posix_spawn": 0, "os.system": 0}


def serve() -> None:
    for name in (*(f"hpc.cli.{command}" for command in _COMMANDS), *_LOADED):
        importlib.import_module(name)
    for line in sys.stdin:
        order = json.loads(line)
        print(json.dumps(_call(order)), flush=True)


def _call(order: dict[str, Any]) -> dict[str, Any]:
    began = time.monotonic()
    pid = os.fork()
    if pid == 0:
        _become_command(order)
    handle = os.pidfd_open(pid)
    if not select.select([handle], [], [], KILLED_AFTER)[0]:
        os.kill(pid, signal.SIGKILL)
    os.close(handle)
    _, status, used = os.wait4(pid, 0)
    with open(order["log"], errors="backslashreplace") as file:
        text = file.read(_SHOWN * 10)
    *printed, said = text.split("\0outside\0") if "\0outside\0" in text else (text, "")
    return {
        "code": os.waitstatus_to_exitcode(status),
        "seconds": time.monotonic() - began,
        "busy": used.ru_utime + used.ru_stime,
        "text": "".join(printed)[-_SHOWN:],
        "outside": said.split("\n")[1:],
    }


def _become_command(order: dict[str, Any]) -> None:
    code, outside = 70, list[str]()
    try:
        log = os.open(order["log"], os.O_RDWR | os.O_TRUNC | os.O_CREAT, 0o644)
        null = os.open("/dev/null", os.O_RDONLY)
        for target, source in ((0, null), (1, log), (2, log)):
            os.dup2(source, target)
        os.chdir(order["cwd"])
        with open("/proc/self/statm") as file:
            limit = int(file.read().split()[0]) * resource.getpagesize() + MOST_BYTES
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


def _run(words: list[str]) -> int:
    """A command; `tables DIR` is `aggregate DIR` without its figures, which take most of its time."""
    from aggregate.pipeline import aggregate
    from hpc.cli import app

    if words[0] != "tables":
        return app.main(words)
    try:
        aggregate(Path(words[1]), figures=False)
    except Exception as error:
        told = app._told(error)
        if told is None:
            raise
        print(told[0], file=sys.stderr)
        return told[1]
    return 0


def _watch(inside: list[str], owned: str, outside: list[str]) -> None:
    """Note every change outside the paths, and everything executed or imported from the sweep directory (owned)."""
    roots = [os.path.realpath(path) for path in inside]

    def is_inside(path: Any) -> bool:
        if isinstance(path, int):
            return True
        text = os.fsdecode(path)
        real = os.path.join(os.path.realpath(os.path.dirname(text) or "."), os.path.basename(text))
        return any(real == root or real.startswith(f"{root}/") for root in roots)

    def look(event: str, given: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = given
            writes = bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)) if isinstance(flags, int) else mode != "r"
            if (
                writes
                and path != os.devnull
                and not is_inside(path if isinstance(path, int) else os.path.realpath(path))
            ):
                outside.append(f"wrote {path!r}")
        elif event in _CHANGES:
            directory = given[-1] if isinstance(given[-1], int) and given[-1] >= 0 else None
            for place in _CHANGES[event] if directory is None else ():
                if not is_inside(given[place]):
                    outside.append(f"{event} {given[place]!r}")
        elif event in _STARTS:
            words = [given[0], *(given[1] if len(given) > 1 and isinstance(given[1], list | tuple) else ())]
            if any(os.path.realpath(os.fsdecode(word)).startswith(owned) for word in words[:1]):
                outside.append(f"{event} {words!r}")
        elif event == "import" and given[1] and os.path.realpath(given[1]).startswith(owned):
            outside.append(f"imported {given[1]}")
        elif event == "exec" and getattr(given[0], "co_filename", "").startswith(owned):
            outside.append(f"executed {given[0].co_filename}")

    sys.addaudithook(look)


if __name__ == "__main__":
    serve()
