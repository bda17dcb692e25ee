"""The model finds every rule that is broken: otherwise its passing says nothing."""

from __future__ import annotations

import pytest

from .mutants import MUTANTS, Mutant, hunt
from .scripts import play
from .test_model import Protocol

SCRIPTED = [pytest.param(mutant, id=mutant.name) for mutant in MUTANTS if mutant.script is not None]
SEARCHED = [pytest.param(mutant, id=mutant.name) for mutant in MUTANTS if mutant.machine is Protocol]


@pytest.mark.parametrize("mutant", SCRIPTED)
def test_a_script_of_the_model_leads_to_the_violation_where_the_rule_is_broken_and_to_none_otherwise(
    mutant: Mutant, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert mutant.script is not None
    play(mutant.script)
    mutant.apply(monkeypatch)
    with pytest.raises(AssertionError, match=mutant.says):
        play(mutant.script)


@pytest.mark.parametrize("mutant", SEARCHED)
def test_the_search_finds_it_where(mutant: Mutant) -> None:
    assert mutant.says in hunt(mutant, examples=400)
