"""What strace saw of a command and of all processes that it started: what was executed, written, removed, reached."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

OPTIONS = (
    *("-ff", "-qq", "-y", "-s", "4096", "--signal=none", "--seccomp-bpf", "-e"),
    "trace=?execve,?execveat,?open,?openat,?openat2,?creat,?connect,?mmap,/^(f?ch(mod|own)|lchown|utime).*,"
    "/^(unlink|rename|link|symlink|mkdir|rmdir|truncate|mknod).*",
)
_CALL = re.compile(r"(?P<name>\w+)\((?P<given>.*)\) += (?P<result>-?\d+)(?:<(?P<real>[^>]*)>)?")
# A path in quotes, after the directory that it starts from where the call has one.
_PATH = re.compile(r'(?:(?:AT_FDCWD|\d+)<(?P<base>[^>]*)>, )?"(?P<path>(?:[^"\\]|\\.)*)"')
_OF_DESCRIPTOR = re.compile(r"\d+<(/[^>]*)>")
_WRITING = ("O_WRONLY", "O_RDWR", "O_CREAT")
_HARMLESS = ("/dev/null", "/dev/tty", "/dev/shm/sem.", "/memfd:", "pipe:", "/proc/self/")


@dataclass(frozen=True)
class Rules:
    """What a command may do. inside: paths that it may change. owned: those from which it may load nothing. cwd: where
    it works. python: the only program that it may start.
    """

    inside: Sequence[str]
    owned: Sequence[str]
    cwd: str
    python: str = os.path.realpath(sys.executable)

    def broken(self, directory: Path) -> list[str]:
        """What the traces in a directory show that must not be, of calls that succeeded."""
        lines = [line for path in directory.iterdir() for line in path.read_text(errors="replace").splitlines()]
        calls = [found for line in lines if (found := _CALL.match(line)) and not found["result"].startswith("-")]
        return [deed for call in calls for deed in self._broken(call["name"], call["given"], call["real"] or "")]

    def _broken(self, name: str, given: str, real: str) -> list[str]:
        match name:
            case "execve" | "execveat":
                program = self._paths(given)[0]
                return [] if os.path.realpath(program) == self.python else [f"executed {program}"]
            case "mmap":
                mapped = _OF_DESCRIPTOR.findall(given) if "PROT_EXEC" in given else []
                return [f"loaded {path}" for path in mapped if _below(path, self.owned)]
            case "connect":
                return [f"connected: {given}"] if "AF_INET" in given else []
            case "open" | "openat" | "openat2" | "creat":
                writes = name == "creat" or any(flag in given for flag in _WRITING)
                return [f"wrote {real}"] if writes and not self._may_change(real) else []
        return [f"{name} {path}" for path in self._changed(name, given) if not self._may_change(path)]

    def _changed(self, name: str, given: str) -> list[str]:
        """The paths that a call changes; what a link leads to is not among them."""
        paths = self._paths(given) or _OF_DESCRIPTOR.findall(given)[:1]
        return paths[-1:] if name.startswith(("link", "symlink")) else paths

    def _paths(self, given: str) -> list[str]:
        return [os.path.join(found["base"] or self.cwd, found["path"]) for found in _PATH.finditer(given)]

    def _may_change(self, path: str) -> bool:
        return path.startswith(_HARMLESS) or _below(
            os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path)), self.inside
        )


def _below(path: str, places: Sequence[str]) -> bool:
    return any(path == place or path.startswith(f"{place}/") for place in places)
