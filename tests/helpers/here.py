"""What this machine lacks for a test: a person without it skips the test, CI must have it."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def lacking(reason: str) -> NoReturn:
    """Skip the test with the reason; under CI fail, since what CI skips nobody sees."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason, allow_module_level=True)
