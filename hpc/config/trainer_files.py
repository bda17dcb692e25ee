"""`trainer_files`: patterns of files that a trainer reads, as its configuration names them."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from pathlib import Path

from hpc.config.schema.configuration import Configuration
from hpc.errors import shown
from hpc.faults import Faults
from hpc.sweep.definition import DeclaredTrainer
from hpc.trainers.project import is_ours


def trainer_files(
    configuration: Configuration, trainer: DeclaredTrainer, places: Sequence[Path], faults: Faults
) -> tuple[str, ...]:
    """The patterns as seen from the trainer's folder. What matches nothing, or could not be copied, is a fault.

    places: where else a relative pattern may begin, in order: the working directory, that of the configuration.
    """
    if configuration.trainer_files and is_ours(trainer):
        faults.add("trainer_files", "trainer_files is for a trainer of your own in Python; drop it")
        return ()
    folder = Path(trainer.path).parent
    found = []
    for i, pattern in enumerate(configuration.trainer_files):
        place = next((place for place in (folder, *places) if _matches(place, pattern)), None)
        if os.path.isabs(pattern):
            faults.value(f"trainer_files[{i}]", pattern, "a task reads such a file where it lies; write it relative")
        elif place is None:
            where = ", ".join(map(str, dict.fromkeys((folder, *places))))
            faults.add("trainer_files", f"trainer_files[{i}] is {shown(pattern)}; nothing matches it in {where}")
        else:
            found.append(os.path.join(os.path.relpath(place, folder), pattern) if place != folder else pattern)
    return tuple(found)


def _matches(place: Path, pattern: str) -> bool:
    return next(glob.iglob(pattern, root_dir=place, recursive=True), None) is not None
