"""What lies around a sweep and is none of its own: neighbours of the trainer, a patch, odd words, garbled lists."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from helpers.command_line import WITH_DATA, Holdfast


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A trainer with a neighbour, and a sweep of two cells."""
    (tmp_path / "mine.py").write_text(f"import helper\n{WITH_DATA.read_text()}")
    (tmp_path / "helper.py").write_text("x = 1\n")
    sweep = {"name": "small", "axes": {"width": [1, 2]}, "runs_per_condition": 1}
    (tmp_path / "sweep.json").write_text(json.dumps({"trainer": "mine.py:train", "sweep": sweep}))
    return tmp_path


def run(holdfast: Holdfast, expect: int = 0) -> subprocess.CompletedProcess[str]:
    return holdfast("run", "--config", "sweep.json", "--cell", "width_1_run_0", "--debug", expect=expect)


def test_a_neighbour_that_is_no_python_is_named_before_anything_is_written(holdfast: Holdfast, place: Path) -> None:
    (place / "helper.py").write_text("x = 1\ndef (\n")
    (said,) = run(holdfast, expect=2).stderr.splitlines()
    assert said == f"{place}: helper.py:2 is not valid Python: invalid syntax; fix it, the trainer imports it"
    assert not (place / "out" / "sweep.json").exists()


def test_an_editors_lock_beside_the_trainer_is_no_code(holdfast: Holdfast, place: Path) -> None:
    (place / ".#mine.py").symlink_to("user@host.123:456")
    run(holdfast)


def test_a_patch_in_another_encoding_is_recorded_all_the_same(holdfast: Holdfast, place: Path) -> None:
    notes = place / "notes.txt"
    notes.write_text("a\n")
    git = ["git", "-C", str(place), "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "all"]):
        subprocess.run([*git, *words], check=True, capture_output=True)
    notes.write_bytes(b"caf\xe9\n")
    run(holdfast)
    (revision,) = json.loads((place / "out" / "sweep.json").read_text())["revisions"]
    assert "+caf\ufffd" in revision["provenance"]["git"]["trainer"]["diff"]


def test_a_setting_may_be_longer_than_a_path(holdfast: Holdfast, place: Path) -> None:
    assert "2 cells" in holdfast("plan", "--config", "sweep.json", f"trainer_options.text={'a' * 5000}").stdout


def test_a_trainer_that_is_gone_is_called_gone_not_changed(holdfast: Holdfast, place: Path) -> None:
    run(holdfast)
    (place / "mine.py").unlink()
    said = holdfast("run", "out", expect=2).stderr
    assert (
        said
        == f"{place}/mine.py: the trainer of this sweep is not there; put it back, or say where it is with --config\n"
    )


@pytest.mark.parametrize("content", [b"garbage\n", b"\xff\xfe\x00", b"[" * 100_000], ids=["no JSON", "no text", "deep"])
def test_a_garbled_task_list_is_named_by_file_and_line(holdfast: Holdfast, place: Path, content: bytes) -> None:
    run(holdfast)
    (place / "out" / "submissions" / "000001" / "tasks-0.jsonl").write_bytes(content)
    (place / "out" / "individual_results" / "width_1_run_0" / "results.json").unlink()
    assert (
        "tasks-0.jsonl: line 1 is no task; submit again\n" in holdfast("show", "out", "width_1_run_0", expect=2).stderr
    )
    holdfast("status", "out", expect=4)


@pytest.mark.parametrize("command", [("run",), ("submit", "--profile", "local")])
def test_a_directory_that_anybody_can_write_to_is_refused_before_anything_is_written(
    holdfast: Holdfast, place: Path, command: tuple[str, ...]
) -> None:
    (place / "out").mkdir()
    (place / "out").chmod(0o777)
    said = holdfast(*command, "--config", "sweep.json", expect=2).stderr
    assert f"anybody can write here, and its tasks run code from it; chmod o-w {place / 'out'}\n" in said
    assert not list((place / "out").iterdir())


@pytest.mark.parametrize(
    "variable", ["HOME=/nonexistent", "TMPDIR=/nonexistent", "PYTHONWARNINGS=error", "PYTHONOPTIMIZE=2", "LC_ALL=C"]
)
def test_what_a_users_environment_says_ends_no_command(
    holdfast: Holdfast, place: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    name, _, value = variable.partition("=")
    monkeypatch.setenv(name, value)
    assert "2 COMPLETED" in holdfast("run", "--config", "sweep.json").stdout
    assert (place / "out" / "report.html").is_file()
