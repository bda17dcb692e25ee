"""A rule of the protocol, broken in a copy of the code."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .attempts import ROOT, ForkServer

_CODE = ("hpc", "training", "slurm_templates", "aggregate")


class MutationError(Exception):
    """The text that a mutant replaces is not there (once): adapt the mutant to the code."""


@dataclass(frozen=True)
class Mutant:
    """One broken rule. file, old, new: the patch. detectors: what should catch it, in order."""

    name: str
    file: str
    old: str
    new: str
    detectors: tuple[Callable[[Path, ForkServer, Path], object], ...]

    def apply(self, directory: Path) -> Path:
        """A copy of the code with the patch. Raises MutationError."""
        for name in _CODE:
            shutil.copytree(ROOT / name, directory / name, ignore=shutil.ignore_patterns("__pycache__"))
        path = directory / self.file
        text = path.read_text()
        if text.count(self.old) != 1:
            raise MutationError(f"{self.name}: {self.file} holds its text {text.count(self.old)} times")
        path.write_text(text.replace(self.old, self.new))
        return directory
