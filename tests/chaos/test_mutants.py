"""The mutants keep up with the code: one that no longer applies would only be noticed when somebody hunts it."""

from __future__ import annotations

import pytest

from .attempts import ROOT
from .mutant import Mutant
from .mutants import MUTANTS
from .unseen import UNSEEN


@pytest.mark.parametrize("mutant", [*MUTANTS, *UNSEEN], ids=lambda mutant: mutant.name)
def test_the_text_that_a_mutant_replaces_is_there_once(mutant: Mutant) -> None:
    assert (ROOT / mutant.file).read_text().count(mutant.old) == 1
