"""Arbitrary nonsense where a submission is told how to queue: profiles, --set, --escalate and --notify."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from helpers.command_line import parsed
from helpers.nonsense import nested, paths, replaced
from hypothesis import given, settings
from hypothesis import strategies as st

from hpc.errors import ConfigError
from hpc.launch.escalation import limits_of
from hpc.slurm import script
from hpc.slurm.profile import Profile
from hpc.slurm.profile_file import load_profile, parse_profile
from hpc.slurm.profile_keys import ProfileKeys

GOOD: dict[str, Any] = {
    "partition": "gpu",
    "timeout_min": "4:00:00",
    "gpus_per_node": 2,
    "gpu_type": "a100",
    "cpus_per_task": 4,
    "mem_gb": "16G",
    "array_parallelism": 64,
    "python": "/shared/python",
    "modules": ["cuda/12.4"],
    "setup": ["source lab.sh"],
    "container": {"image": "lab.sif", "runtime": "apptainer", "bind": ["/shared"]},
    "additional_parameters": {"nice": 100, "mail-user": "bob"},
    "constraint": "a&b",
    "account": "lab",
    "qos": "low",
    "exclude": "node[1-3]",
    "comment": "sweep",
    "export": ["HF_HOME"],
    "mail_type": ["END", "FAIL"],
    "signal_delay_s": "1:30",
}
WORDS = sorted({*ProfileKeys.model_fields, "mail-type", "slurm_mail_user", "image", "bind", "mail", "nodes", "array"})
NAMES = st.sampled_from(WORDS) | st.text(max_size=6) | st.integers(-3, 3)
NESTED = nested(NAMES)
MAILS = st.sampled_from(["END", "FAIL,ARRAY_TASKS", "ada@example.org", "a,b", "NONE", "", ",", "end", "-x"]) | NESTED


def check(read: Callable[[], Any], *sources: str) -> Any:
    """The promise: something that is read, or faults of one line each that say where."""
    try:
        return read()
    except ConfigError as error:
        faults = error.faults
    assert faults
    for line in faults:
        assert line.isprintable()
        assert line.startswith(sources)
        assert len(line) < 1000
    return None


def check_profile(read: Callable[[], Profile], *sources: str) -> None:
    """And what was read is a job script in which every option that mails is ours to write."""
    profile = check(read, *sources)
    if profile is not None:
        text = script.text(profile, script.Job("x", Path("/"), "log", size=2), "exec true")
        mailing = [
            line for line in text.splitlines() if line.startswith("#SBATCH") and "mail" in line.partition("=")[0]
        ]
        assert len(mailing) == len(profile.mail)


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def test_the_profile_that_is_changed_below_is_a_good_one() -> None:
    assert parse_profile("lab", GOOD, "lab.yaml").mail == {"mail-user": "bob", "mail-type": "END,FAIL"}


@settings(max_examples=150)
@given(st.dictionaries(NAMES, NESTED, max_size=5))
def test_any_structure_is_a_profile_or_refused_in_lines(place: Path, document: dict[Any, Any]) -> None:
    path = place / "lab.yaml"
    path.write_text(yaml.dump(document, allow_unicode=True), encoding="utf-8", errors="surrogatepass")
    check_profile(lambda: load_profile(str(path)), "lab.yaml: ")


@settings(max_examples=200)
@given(st.sampled_from(list(paths(GOOD))), NESTED)
def test_any_value_in_the_place_of_a_good_one_is_read_or_refused_in_lines(where: tuple[Any, ...], value: Any) -> None:
    check_profile(lambda: parse_profile("lab", replaced(GOOD, where, value), "lab.yaml"), "lab.yaml: ")


@settings(max_examples=200)
@given(MAILS, MAILS)
def test_any_mail_is_read_or_refused_in_lines(user: Any, when: Any) -> None:
    check_profile(lambda: parse_profile("lab", {"mail_user": user, "mail_type": when}, "lab.yaml"), "lab.yaml: ")


SETTINGS = st.builds("{}={}".format, st.sampled_from(WORDS), st.text(max_size=8)) | st.text(max_size=20)


@settings(max_examples=150)
@given(st.lists(SETTINGS, max_size=3))
def test_any_setting_for_one_submission_is_read_or_refused_in_lines(place: Path, settings: list[str]) -> None:
    (place / "good.yaml").write_text(yaml.safe_dump(GOOD))
    sources = ("command line: ", "good.yaml: ", "good.yaml with --set: ")
    check_profile(lambda: load_profile(str(place / "good.yaml"), settings), *sources)


AMOUNTS = st.floats().map(str) | st.integers().map(str) | st.sampled_from(["64G", "1:00:00", "~", "[1]", "1e3", "inf"])
LIMITS = st.builds("{}={}".format, st.sampled_from(["mem_gb", "timeout_min"]), AMOUNTS) | SETTINGS


@settings(max_examples=200)
@given(st.lists(LIMITS, max_size=3))
def test_any_limit_of_what_cells_may_get_is_read_or_refused_in_lines(limits: list[str]) -> None:
    found = check(lambda: limits_of(limits), "command line: --escalate")
    assert all(value > 0 for value in (found or {}).values())


TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
PIECES = st.sampled_from(["mail", "-s", '"a b"', "'$x'", "$x", "|", ">", "&", ";", "`", "\\", "'", '"', "~", "\n", "("])


@settings(max_examples=200)
@given(st.lists(PIECES | TEXT).map(" ".join))
def test_any_command_to_be_told_is_words_or_refused_in_a_line(text: str) -> None:
    try:
        context = parsed(shlex.join(["submit", "out", "--profile", "sandbox", "--wait", f"--notify={text}"]))
    except click.UsageError as error:
        said = error.format_message()
    else:
        assert all(isinstance(word, str) for word in context.params["notify"])
        return
    assert "--notify" in said
    assert len(said.splitlines()) == 1
