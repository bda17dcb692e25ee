"""Power cuts on a file system of our own; `make chaos` plays dozens."""

from __future__ import annotations

from pathlib import Path

from helpers.here import lacking

from .attempts import ForkServer
from .powercut import NotPermittedError, campaign

SEED = 20_263


def test_what_was_acknowledged_survives_a_power_cut_and_the_rest_is_trained_again(
    memory: Path, server: ForkServer
) -> None:
    try:
        counts = campaign(memory, server, SEED, cuts=8)
    except NotPermittedError as error:
        lacking(str(error))
    assert counts["power cuts"] == 8
    assert counts["acknowledged steps and results"] >= 20, counts
