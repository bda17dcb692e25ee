"""What tests of the analysis share."""

from __future__ import annotations

import copy
from typing import Any

import pytest

_BEGINNINGS: dict[str, Any] = {}


@pytest.fixture(autouse=True)
def _draws_do_not_depend_on_other_tests(request: pytest.FixtureRequest) -> None:
    """A module's RANDOM begins anew for each test: which of them a test process runs, and in which order, is luck."""
    random = getattr(request.module, "RANDOM", None)
    if random is not None:
        beginning = _BEGINNINGS.setdefault(request.module.__name__, copy.deepcopy(random.bit_generator.state))
        random.bit_generator.state = copy.deepcopy(beginning)
