"""Is the suite sensitive? Each mutant breaks one rule of the protocol in a copy of the code and has to be caught.

PYTHONPATH=tests python -m chaos.mutants [--only NAME]
"""

from __future__ import annotations

import argparse
import sys
import time
from functools import partial
from pathlib import Path

from . import aggregates, copies, corruption, kills, powercut, replacing, syscalls
from .attempts import ROOT, ForkServer, scratch
from .audit import audit
from .bench import Bench
from .mutant import Mutant
from .unseen import UNSEEN

SEED = 20_265


def synced_in_order(directory: Path, server: ForkServer, code: Path) -> None:
    bench = syscalls.small(directory / "audited")
    syscalls.places(bench, server, directory / "trace")
    _, breaches = audit(syscalls.read_trace(directory / "trace"), bench.store.paths.root)
    assert not breaches, breaches[0]


def power_cuts(directory: Path, server: ForkServer, code: Path) -> None:
    powercut.campaign(directory, server, SEED, cuts=12)


def strikes(directory: Path, server: ForkServer, code: Path) -> None:
    syscalls.campaign(directory, server, every=3)


def killed(directory: Path, server: ForkServer, code: Path) -> None:
    make = partial(Bench.make, factors={"width": [1, 2]}, runs=4, options=kills.STEADY)
    kills.campaign(directory, server, SEED, make, quota=20)


def killed_while_writing(directory: Path, server: ForkServer, code: Path) -> None:
    kills.campaign(directory, server, SEED, partial(Bench.make, runs=8, options=kills.LARGE), quota=12)


def two_copies(directory: Path, server: ForkServer, code: Path) -> None:
    copies.campaign(directory, server, SEED, cells=28)


def damaged(directory: Path, server: ForkServer, code: Path) -> None:
    corruption.campaign(directory, server, SEED, rounds=15)


def replaced(directory: Path, server: ForkServer, code: Path) -> None:
    replacing.campaign(directory, code)


def aggregated(directory: Path, server: ForkServer, code: Path) -> None:
    aggregates.campaign(directory, SEED, pairs=16, code=code)


DETECTORS = (
    synced_in_order,
    power_cuts,
    strikes,
    killed,
    killed_while_writing,
    two_copies,
    damaged,
    replaced,
    aggregated,
)

MUTANTS = (
    Mutant(
        "content not synced",
        "hpc/files/atomic.py",
        "                os.fsync(fd)  # never",
        "                pass  # never",
        (synced_in_order,),
    ),
    Mutant(
        "content not synced (power cut)",
        "hpc/files/atomic.py",
        "                os.fsync(fd)  # never",
        "                pass  # never",
        (power_cuts,),
    ),
    Mutant(
        "directory not synced",
        "hpc/files/directories.py",
        "    try:\n        os.fsync(folder)\n",
        "    try:\n        pass\n",
        (synced_in_order,),
    ),
    Mutant(
        "directory not synced (power cut)",
        "hpc/files/directories.py",
        "    try:\n        os.fsync(folder)\n",
        "    try:\n        pass\n",
        (power_cuts,),
    ),
    Mutant(
        "fixed temporary name",
        "hpc/files/atomic.py",
        'f".{path.name}.{uuid.uuid4().hex}.tmp"',
        'f".{path.name}.tmp"',
        (strikes, killed),
    ),
    Mutant(
        "removed, then renamed",
        "hpc/files/atomic.py",
        "        os.replace(temporary, path.name, src_dir_fd=folder, dst_dir_fd=folder)\n    except",
        "        _discard(folder, path.name)\n"
        "        os.rename(temporary, path.name, src_dir_fd=folder, dst_dir_fd=folder)\n    except",
        (replaced,),
    ),
    Mutant(
        "no attempt directories of their own",
        "hpc/storage/claims.py",
        "    return directories.claim(store.paths.packs_root, PACK_DIGITS)[0]",
        "    import os\n"
        '    directories.make_directory(store.paths.pack_directory(int(os.environ.get("SLURM_JOB_ID", "1"))))\n'
        '    return int(os.environ.get("SLURM_JOB_ID", "1"))',
        (killed, two_copies),
    ),
    Mutant(
        "states written while they change",
        "hpc/node/training_run.py",
        "rows = [row.copied() for row in rows]",
        "rows = list(rows)",
        (killed_while_writing,),
    ),
    Mutant(
        "checksum not checked",
        "hpc/storage/checkpoint.py",
        '    if hashlib.sha256(memoryview(data)[_FIRST_LINE_BYTES:]).hexdigest().encode() + b"\\n" != checksum:\n',
        "    if not checksum:\n",
        (damaged,),
    ),
    Mutant(
        "results overwritten",
        "hpc/files/atomic.py",
        "            return _link(folder, path.with_name(temporary), folder, path)\n        finally:",
        "            _rename(folder, temporary, path)\n            return True\n        finally:",
        (two_copies,),
    ),
    Mutant(
        "files of two aggregations taken for one set",
        "aggregate/together.py",
        "            return stamp if same else None\n",
        "            return stamp\n",
        (aggregated,),
    ),
    Mutant(
        "files of an aggregation believed without a look",
        "aggregate/reading/unchanged.py",
        " or not _intact(seen.store, memory.files)",
        "",
        (aggregated,),
    ),
)


def hunt(mutant: Mutant) -> str:
    """By what a mutant is caught; empty if it survives."""
    with scratch() as directory:
        code = mutant.apply(directory / "code")
        for detector in mutant.detectors:
            with ForkServer(code) as server:
                place = directory / detector.__name__
                place.mkdir()
                try:
                    detector(place, server, code)
                except (AssertionError, TimeoutError) as error:  # what a detector says; anything else is its own fault
                    return f"{detector.__name__}: {str(error).splitlines()[0][:150]}"
    return ""


def control() -> None:
    """No detector cries wolf over the code as it is."""
    for detector in DETECTORS:
        with scratch() as directory, ForkServer() as server:
            detector(directory, server, ROOT)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="part of a mutant's name")
    arguments = parser.parse_args()
    survivors = 0
    if not arguments.only:
        began = time.monotonic()
        control()
        print(f"the code as it is: nothing to complain of ({time.monotonic() - began:.0f} s)", flush=True)
    for mutant in (*MUTANTS, *UNSEEN):
        if arguments.only and arguments.only not in mutant.name:
            continue
        began = time.monotonic()
        by = hunt(mutant)
        survivors += not by
        print(
            f"{mutant.name}: {f'caught by {by}' if by else 'SURVIVED'} ({time.monotonic() - began:.0f} s)", flush=True
        )
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
