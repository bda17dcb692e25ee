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
# What kernel.c includes in the place of kernel_layers.h for bf16. A file of its own, because the text of the other
# three names the step in fp32, and a cell that is resumed under another name is recorded as trained by two.
BF16: Final = SOURCE.with_name("kernel_bf16.h")
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
# Of the factors of products.
PRECISIONS: Final = ("fp32", "bf16")
COMPILERS: Final = ("gcc", "cc", "clang")
# What a compiler defines where it may use the instruction that bf16 is for, and Linux's name of it.
BF16_MACRO: Final = "__AVX512BF16__"
BF16_FLAG: Final = " avx512_bf16 "


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


def load_kernel(precision: str = "fp32") -> Kernel:
    """The compiled step, built if the cache has none. precision: of its products' factors, fp32 or bf16.

    Raises NoKernelError.
    """
    return _loaded(os.environ.get(VARIABLE, "native"), precision)


@cache
def _loaded(march: str, precision: str) -> Kernel:
    path = _built(march, precision)
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


def check_compiler(precision: str) -> None:
    """Raise NoKernelError if there is no compiler, or none that has what this precision is there for."""
    _described(find_compiler(), os.environ.get(VARIABLE, "native"), precision)


def _built(march: str, precision: str = "fp32") -> Path:
    compiler, chosen = find_compiler(), f"-march={march}"
    described = _described(compiler, march, precision)
    key = hashlib.sha256("\0".join([_source(precision), *FLAGS, described]).encode()).hexdigest()[:16]
    for folder in _cache_folders():
        path = folder / f"native-{'' if precision == 'fp32' else 'bf16-'}{key}.so"
        try:
            if _trusted(folder) and _trusted(path):
                return path if path.exists() else _compile([compiler, chosen], path, precision)
        except OSError:
            continue  # read-only or full: the next folder may do
    raise NoKernelError("there is no folder to keep the compiled training step in")


def _described(compiler: str, march: str, precision: str) -> str:
    """The compiler's own macros: its version and, with -march=native, every extension of this processor.

    On a cluster, nodes of several kinds share the cache, and each finds the library that was built for its kind.
    """
    described = _call([compiler, f"-march={march}", "-dM", "-E", "-x", "c", os.devnull])
    # A set that was named is a test's or a measurement's, which may want the same bits without the instruction.
    if precision == "bf16" and march == "native" and BF16_MACRO not in described:
        raise NoKernelError(_without_bf16(compiler))
    return described


def _without_bf16(compiler: str) -> str:
    """Why nothing is to be gained from bf16 here: it would cost precision, and more time than fp32 as well."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists() and BF16_FLAG in cpuinfo.read_text(encoding="utf-8", errors="replace").replace("\n", " "):
        return f"the compiler {compiler} does not know AVX512-BF16, which this processor has"
    return "this machine's processor has no AVX512-BF16"


def _compile(compiler: list[str], path: Path, precision: str) -> Path:
    """Build under another name and rename: two processes may build at once, and neither sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        built, unit = Path(folder) / path.name, Path(folder) / SOURCE.name
        unit.write_text(translation_unit(precision), encoding="utf-8")
        _call([*compiler, *FLAGS, "-iquote", str(SOURCE.parent), str(unit), "-o", str(built), "-lm"])
        built.replace(path)
    return path


def translation_unit(precision: str) -> str:
    """What is compiled: kernel.c, for bf16 with the layers of kernel_bf16.h."""
    text = _read(SOURCE)
    return text.replace(f'#include "{INCLUDED[0].name}"', f'#include "{BF16.name}"') if precision == "bf16" else text


def _source(precision: str) -> str:
    return "".join(map(_read, (SOURCE, *INCLUDED, *([BF16] if precision == "bf16" else []))))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
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
