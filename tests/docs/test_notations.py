"""The page on how values are read says what the code does."""

from __future__ import annotations

import re

import pytest
from helpers.small_sweeps import ROOT

from hpc.slurm.profile_file import parse_profile
from hpc.yaml_files import Unquoted, read_yaml

PAGE = (ROOT / "docs" / "howto" / "notations.md").read_text()
ROWS = re.findall(r"^\| `([^`]+)` \| (.*?) \|$", PAGE.partition("## Times")[0], re.MULTILINE)


@pytest.mark.parametrize(("written", "said"), ROWS)
def test_a_value_is_read_as_the_page_says(written: str, said: str) -> None:
    value = read_yaml(written)
    if found := re.match(r"refused: (.*)", said):
        assert isinstance(value, Unquoted)
        for reading in re.findall(r"true|false|null|\d+(?: \(octal\))?", found[1].partition("the text")[0]):
            assert reading in value.choice
    elif found := re.match(r'the text "([^"]+)"', said):
        assert value == found[1]
        assert not isinstance(value, Unquoted)
    elif found := re.match(r"the number (.*)", said):
        assert value == float(found[1])
    else:
        assert value == {"true": True, "nothing: the default": None}[said]


def test_the_page_has_rows() -> None:
    assert len(ROWS) >= 10


@pytest.mark.parametrize(
    ("key", "written", "parameter"),
    [
        ("timeout_min", "4:00:00", 240),
        ("timeout_min", "90:00", 90),
        ("timeout_min", "1-12", 36 * 60),
        ("timeout_min", 240, 240),
        ("mem_gb", "16G", 16),
        ("mem_gb", "1T", 1024),
    ],
)
def test_times_and_sizes_are_those_of_slurm(key: str, written: object, parameter: float) -> None:
    assert f"`{written}`" in PAGE or f"{key}: {written}" in PAGE
    assert parse_profile("lab", {key: written}, "lab.yaml").parameters[key] == parameter
