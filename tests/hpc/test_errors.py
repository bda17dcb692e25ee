from __future__ import annotations

import pytest

from hpc.errors import of_system


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(28, "No space left on device", "/out/x"), "/out/x: No space left on device"),
        (OSError(28, "No space left on device"), "[Errno 28] No space left on device"),
        (FileNotFoundError("no file of data matches *.npy"), "no file of data matches *.npy"),
    ],
)
def test_what_the_system_refused_is_told_also_where_no_file_is_known(error: OSError, said: str) -> None:
    assert of_system(error) == said
