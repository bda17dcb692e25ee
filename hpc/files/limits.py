"""How much is read of what a sweep directory holds: bytes of a file by its kind, and what is gone through.

HOLDFAST_LIMITS multiplies all of it; every message that refuses something says so.
"""

from __future__ import annotations

import errno
import math
import os
from functools import cache
from pathlib import Path

from hpc.errors import ConfigError
from hpc.files.opening import RefusedFileError
from hpc.protocol import LIMITS
from hpc.units import size

# Bytes that are read of a file, by its kind; HOLDFAST_LIMITS multiplies them.
DOCUMENT = 16 << 20  # JSON: the objects that are made of it take up to thirty times as much memory
RESULT = 1 << 20  # results.json: there is one per cell, and all of them are held at once
HISTORY = 64 << 20
WEIGHTS = 2 << 30  # only to be compared with their digest; more are used, and told by their size and a sample
LIST = 256 << 20  # task lists
NAMES = 26 << 20  # JSON that names cells: MOST_CELLS of them, whose names have at most 250 bytes
SOURCE = 4 << 20  # Python: the tree that is made of it takes up to a hundred times as much memory
SEGMENT = 256 << 20  # offline files of W&B
# What is gone through; the same variable multiplies it.
MOST_CELLS = 100_000
MOST_EPOCHS = 200_000  # rows of a history
MOST_RECORDS = 1_000_000  # of an offline file of W&B
MOST_METRICS = 2_000  # of a sweep, in results and histories together
MOST_VALUES = 20_000_000  # metrics times cells: each is a number in memory, several times
MOST_NUMBERS = 100_000_000  # metrics times epochs, of all histories together: each is a number in memory, twice
ANY = math.inf  # what is trained goes into checkpoints and weights, and has the size that it has
# A product of axes may have more digits than Python prints.
_DIGITS = 300


def check_size(path: Path | str, length: int, most: float) -> None:
    """Raise RefusedFileError if a file is larger than those of its kind can be."""
    if length > most and length > most * factor():  # as below
        bound = size(round(most * factor()))
        why = f"has {size(length)}, where at most {bound} are read; {way_out(length, most)}"
        raise RefusedFileError(errno.EFBIG, why, str(path))


def too_many(count: int, most: int, what: str) -> str:
    """That there are more of something than are gone through, and the way out; empty if there are not."""
    if count <= most or count <= most * factor():  # no factor is below 1, and asking for it takes a while
        return ""
    digits = len(str(count)) - 1 if count < 10**_DIGITS else _DIGITS
    number = f"{count:,}" if digits < 15 else f"about 10^{digits}"
    return f"{number} {what}, where at most {most * factor():,.0f} are read; {way_out(count, most)}"


def factor() -> float:
    """What all limits are multiplied by. Raises ConfigError if the variable is not a number of 1 or more."""
    return _factor(os.environ.get(LIMITS, "1"))


@cache
def _factor(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 1 <= value < math.inf:
        raise ConfigError([f"environment: {LIMITS} is {text!r}; must be a number of at least 1"])
    return value


def way_out(count: int, most: float) -> str:
    """How to raise a limit that is passed, for the end of a message."""
    needed = -(-count // int(most))
    return f"if that is meant, set {LIMITS}={needed if needed < 10**6 else 'N'}, which multiplies the limits"
