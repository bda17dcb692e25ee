"""The compiled step's library: built once from kernel.c for this processor, or the reason why it cannot be."""

from __future__ import annotations

import atexit
import ctypes
import hashlib
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from training.temporaries import temporary_directory

SOURCE: Final = Path(__file__).with_name("kernel.c")
INCLUDED: Final = tuple(SOURCE.with_name(name) for name in ("kernel_layers.h", "kernel_vectors.h"))
# No -ffast-math: it may reorder sums and drop the checks for NaN, and with them bit-identity and the detection of
# divergence. Two flags that it implies change no number and are named: they let functions and comparisons vectorize.
# Nor is a compiler to choose where a product and a sum are rounded once: the source says where.
FLAGS: Final = (
    "-O3",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-ffp-contract=off",
    "-std=gnu11",
    "-shared",
    "-fPIC",
)
# Names another instruction set than this processor's, to test and measure it here: x86-64-v3 has AVX2 without AVX-512.
VARIABLE: Final = "HOLDFAST_MARCH"
COMPILERS: Final = ("gcc", "cc", "clang")


class NoKernelError(RuntimeError):
    """The compiled step is not available on this machine; the message says why."""


@dataclass(frozen=True)
class Kernel:
    """The loaded library.

    name: stands for source, compiler and instruction set, on which the last bits may depend.
    instruction_set: the one whose blocks were chosen, for people.
    """

    library: ctypes.CDLL
    name: str
    instruction_set: str


def load_kernel() -> Kernel:
    """The compiled step, built if the cache has none. Raises NoKernelError."""
    return _loaded(os.environ.get(VARIABLE, "native"))


@cache
def _loaded(march: str) -> Kernel:
    path = _built(march)
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise NoKernelError(f"the compiled training step cannot be loaded: {error}") from None
    # CDLL, not PyDLL: a call releases the interpreter, so the threads of a pack really run at the same time.
    pointer, number = ctypes.c_void_p, ctypes.c_long
    library.scratch_size.argtypes, library.scratch_size.restype = [pointer], number
    library.train.argtypes = [pointer, pointer, pointer, number, number, number, pointer]
    library.train.restype = None
    library.instruction_set.restype = ctypes.c_char_p
    return Kernel(library, path.stem, library.instruction_set().decode())


def _built(march: str) -> Path:
    compiler, chosen = find_compiler(), f"-march={march}"
    # The compiler's own macros: its version and, with -march=native, every extension of this processor. On a cluster,
    # nodes of several kinds share the cache, and each finds the library that was built for its kind.
    described = _call([compiler, chosen, "-dM", "-E", "-x", "c", os.devnull])
    key = hashlib.sha256("\0".join([_source(), *FLAGS, described]).encode()).hexdigest()[:16]
    for folder in _cache_folders():
        path = folder / f"native-{key}.so"
        try:
            if _trusted(folder) and _trusted(path):
                return path if path.exists() else _compile([compiler, chosen], path)
        except OSError:
            continue  # read-only or full: the next folder may do
    raise NoKernelError("there is no folder to keep the compiled training step in")


def _compile(compiler: list[str], path: Path) -> Path:
    """Build under another name and rename: two processes may build at once, and neither sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        built = Path(folder) / path.name
        _call([*compiler, *FLAGS, str(SOURCE), "-o", str(built), "-lm"])
        built.replace(path)
    return path


def _source() -> str:
    try:
        return "".join(path.read_text() for path in (SOURCE, *INCLUDED))
    except OSError as error:
        raise NoKernelError(f"{error.filename}: {error.strerror}") from None


def find_compiler() -> str:
    """The C compiler to use, $CC before others. Raises NoKernelError."""
    for name in (os.environ.get("CC", ""), *COMPILERS):
        found = shutil.which(name) if name else None
        if found:
            return found
    raise NoKernelError(f"no C compiler on PATH ({', '.join(COMPILERS)})")


def _call(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NoKernelError(f"{command[0]} failed: {done.stderr.strip()[:300]}")
    return done.stdout


def _cache_folders() -> Iterator[Path]:
    """Where a built kernel may lie: the user's cache, else a new folder for this process alone."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    yield Path(home) / "holdfast"
    stack = ExitStack()
    atexit.register(stack.close)
    yield stack.enter_context(temporary_directory())


def _trusted(path: Path) -> bool:
    """Whether nobody else can put code there: a library or a folder of ours, below folders that only we or root swap.

    What does not exist yet will be ours.
    """
    try:
        found = path.lstat()
    except FileNotFoundError:
        return True
    ours = found.st_uid == os.getuid() and not found.st_mode & 0o022 and not stat.S_ISLNK(found.st_mode)
    return ours and all(map(_stays, path.resolve().parents))


def _stays(folder: Path) -> bool:
    """Whether no third user can put another folder in the place of one that lies here."""
    found = folder.stat()
    open_to_all = found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX
    return found.st_uid in (os.getuid(), 0) and not open_to_all
