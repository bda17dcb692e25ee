"""Files and directories as people have them: behind links, in other encodings, under names that are no text."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.command_line import Holdfast, environment
from helpers.waiting import PATIENCE

TRAINER = """
FACTORS = {"width": {"kind": "integer", "minimum": 1}}
METRICS = {"error": {"kind": "positive", "better": "lower"}}
def train(cells, options, run):
    for cell in cells:
        run.restore(cell)
        BODY
        run.finish(cell, {"error": 1.0 / cell.factors["width"]})
"""
RUN = ("run", "--config", "sweep.yaml", "--parallel-jobs", "1")


def write(directory: Path, body: str = "pass", encoding: str = "utf-8", before: str = "") -> None:
    directory.mkdir(exist_ok=True)
    (directory / "mine.py").write_bytes((before + TRAINER.replace("BODY", body)).encode(encoding))
    sweep = "trainer: mine.py:train\nsweep: {name: s, axes: {width: [1, 2]}, runs_per_condition: 1}\n"
    (directory / "sweep.yaml").write_text(sweep)


def causes(holdfast: Holdfast) -> dict[str, str]:
    individual = json.loads(holdfast("status", "out", "--json", expect=4).stdout)["individual"]
    return {entry["cell"]: entry["cause"] for entry in individual if "cause" in entry}


# --- a sweep directory behind a link ---------------------------------------------------------------------------------


def test_a_sweep_directory_may_be_named_by_a_link(holdfast: Holdfast, tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "scratch").mkdir()
    (tmp_path / "out").symlink_to("scratch")
    holdfast(*RUN)
    holdfast("redo", "out", "--cell", "width_1_run_0", "-y")
    holdfast("run", "out", "--parallel-jobs", "1")
    assert "2 COMPLETED" in holdfast("status", "out").stdout
    assert (tmp_path / "scratch" / "report.html").is_file()


def test_what_a_link_leads_to_is_held_to_the_same_rules(holdfast: Holdfast, tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "scratch").mkdir()
    (tmp_path / "scratch").chmod(0o777)
    (tmp_path / "out").symlink_to("scratch")
    assert f"{tmp_path}/scratch: anybody can write here" in holdfast(*RUN, expect=2).stderr


@pytest.mark.parametrize("below", ["", "/a"])
def test_a_link_that_leads_nowhere_is_called_that(holdfast: Holdfast, tmp_path: Path, below: str) -> None:
    write(tmp_path)
    (tmp_path / "out").symlink_to("scratch")
    said = holdfast(*RUN, "--output-dir", f"out{below}", expect=3).stderr
    assert said.splitlines()[-1] == f"{tmp_path}/out: a link to {tmp_path}/scratch, which is not there"
    assert not (tmp_path / "scratch").exists()


def test_a_trainer_behind_a_link_finds_what_lies_beside_its_file(holdfast: Holdfast, tmp_path: Path) -> None:
    write(tmp_path / "lab", before="import nets\n")
    (tmp_path / "lab" / "nets.py").write_text("")
    (tmp_path / "home").symlink_to("lab")
    holdfast("run", "--config", "home/sweep.yaml", "--parallel-jobs", "1")


# --- encodings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("encoding", "before"),
    [("utf-8-sig", ""), ("latin-1", "# -*- coding: latin-1 -*-\nNAME = '\xfc'\n"), ("utf-8", "NAME = '\u03bb'\r\n")],
)
def test_a_trainer_is_read_in_its_own_encoding(holdfast: Holdfast, tmp_path: Path, encoding: str, before: str) -> None:
    write(tmp_path, encoding=encoding, before=before)
    holdfast(*RUN)


def test_a_trainer_in_no_known_encoding_is_refused_with_its_line(holdfast: Holdfast, tmp_path: Path) -> None:
    write(tmp_path, encoding="latin-1", before="NAME = '\xfc'\n")
    said = holdfast("plan", "--config", "sweep.yaml", expect=2).stderr
    assert said.startswith("sweep.yaml: trainer: mine.py:1 is not valid Python: ")
    assert len(said.splitlines()) == 1


def test_what_a_trainer_writes_may_be_no_text(holdfast: Holdfast, tmp_path: Path) -> None:
    write(tmp_path, "import os; os.write(1, b'\\xff\\xe2\\x82')")  # the beginning of a character, as a cut log has it
    holdfast(*RUN)
    assert "\ufffd" in holdfast("show", "out", "width_1_run_0", "--log").stdout


# --- names that are no text, as Python holds them: each byte a lone surrogate ----------------------------------------


def test_an_error_about_a_name_that_is_no_text_is_the_cause_and_fails_that_cell_alone(
    holdfast: Holdfast, tmp_path: Path
) -> None:
    name = "b'/no/\\xff.npy'.decode('utf-8', 'surrogateescape')"
    write(tmp_path, f"if cell.factors['width'] == 1: raise ValueError('cannot read ' + {name})")
    assert "1 COMPLETED, 1 FAILED" in holdfast(*RUN, expect=4).stdout
    (cause,) = causes(holdfast).values()
    assert cause == r"ValueError: cannot read /no/\udcff.npy"
    assert r"/no/\udcff.npy" in holdfast("show", "out", "--failed").stdout
    assert r"/no/\udcff.npy" in (tmp_path / "out" / "report.html").read_text()


def test_a_neighbour_whose_name_is_no_text_stays_behind_and_is_named(holdfast: Holdfast, tmp_path: Path) -> None:
    write(tmp_path)
    open(os.fsencode(tmp_path) + b"/\xff.txt", "w").close()
    assert r"left out: \udcff.txt: its name is not UTF-8" in holdfast("plan", "--config", "sweep.yaml").stdout
    holdfast(*RUN)


def test_a_directory_whose_name_is_no_text_has_its_report(tmp_path: Path) -> None:
    place = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    write(place)
    done = subprocess.run(
        [sys.executable, "-m", "hpc", *RUN], cwd=place, env=environment(), capture_output=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr
    assert (place / "out" / "report.html").is_file()
