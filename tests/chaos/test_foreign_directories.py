"""A short run of the fuzzer of directories; `make chaos` runs more of it."""

from __future__ import annotations

from .foreign.campaign import campaign

SEED = 20_267


def test_a_directory_that_anybody_may_have_made_costs_a_line_and_nothing_else() -> None:
    findings = campaign(SEED, mutations=60)
    assert not findings.faults, str(findings)
    assert findings.calls > 100
    assert {0, 2} <= findings.codes.keys()
