"""Numbers as words."""

from __future__ import annotations

import pytest

from aggregate.wording import p_text


@pytest.mark.parametrize(
    ("p", "said"),
    [
        (2 / 2**5, "0.0625"),  # the least that changing the signs of 5 seeds can give
        (4 / 2**5, "0.125"),
        (2 / 2**7, "0.015625"),
        (1.0, "1"),
        (0.0123456, "0.012"),
        (1 / 3, "0.33"),
        (1e-7, "< 1e-6"),
        (float("nan"), "-"),
    ],
)
def test_a_p_value_that_ends_after_a_few_digits_is_written_whole_and_any_other_rounded(p: float, said: str) -> None:
    assert p_text(p) == said
