"""From `check cluster --pilot --resources --write` to what `plan` makes of it, with a script on this machine."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
import yaml
from helpers.command_line import Holdfast
from helpers.users import ALICE, need_other_users, run_as

from hpc.config.load import CommandLine, load
from hpc.sweep.resources import Matching

# Without epochs or checkpoints: a cell shows how long it takes by coming to its end.
SCRIPT = """
import json, sys, time
mb, mode, out = int(sys.argv[1]), sys.argv[2], sys.argv[4]
held = bytearray(mb * 10**6)
if (mb, mode) == (2, "none"):
    sys.exit("no such mode")
time.sleep(1.5)
json.dump({"loss": 1.0}, open(f"{out}/metrics.json", "w"))
"""
TRAINER = {"command": "python hold.py {mb} {mode} {seed} {dir}", "metrics": "metrics.json", "measures": ["loss"]}
PILOT = ("check", "cluster", "--profile", "local", "--config", "sweep.yaml", "--pilot", "--resources")


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "hold.py").write_text(SCRIPT)
    sweep = {"name": "hold", "axes": {"mb": [2, 900], "mode": ["yes", "none"]}, "runs_per_condition": 2}
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump({"trainer": TRAINER, "sweep": sweep}))
    (tmp_path / "lab.yaml").write_text("{partition: gpu, mem_gb: 1, timeout_min: 60}\n")
    return tmp_path


@pytest.mark.slow
def test_rules_are_measured_written_and_planned_with(holdfast: Holdfast, lab: Path) -> None:
    before = (lab / "sweep.yaml").read_text()
    shown = holdfast(*PILOT, "--json")
    report = json.loads(shown.stdout)
    assert (lab / "sweep.yaml").read_text() == before
    assert [(rule["when"], rule["mem_gb"]) for rule in report["resources"]] == [
        ({"mb": 2, "mode": "yes"}, 1),
        ({"mb": 900, "mode": ["yes", "none"]}, 1.5),
    ]
    told = {finding["text"] for finding in report["findings"] if finding["subject"] == "conditions"}
    assert "mb_2_mode_none: the script ended with status 1: no such mode; see show --log" in " ".join(told)

    done = holdfast(*PILOT, "--write")
    assert "added to sweep.yaml" in done.stderr
    written = (lab / "sweep.yaml").read_text()
    assert written.startswith(before)
    assert done.stdout.endswith(written.removeprefix(before))
    sweep = load(CommandLine(config=lab / "sweep.yaml")).sweep
    asked = {cell.condition: dict(Matching(sweep.resources).resources(cell.point)) for cell in sweep.grid}
    assert asked == {
        "mb_2_mode_yes": {"mem_gb": 1, "timeout_min": 10},
        "mb_2_mode_none": {},
        "mb_900_mode_yes": {"mem_gb": 1.5, "timeout_min": 10},
        "mb_900_mode_none": {"mem_gb": 1.5, "timeout_min": 10},
    }
    planned = holdfast("plan", "--config", "sweep.yaml", "--profile", "lab.yaml").stdout
    assert "2 tasks with mem_gb 1, timeout_min 60, partition gpu" in planned
    assert "4 tasks with mem_gb 1.5, timeout_min 10, partition gpu" in planned
    refused = holdfast(*PILOT, "--write", expect=2).stderr
    assert re.fullmatch(r"sweep\.yaml: line \d+: resources are there already, with \d rules; remove them .*\n", refused)


def test_a_plan_counts_each_condition_by_what_its_own_cell_took(holdfast: Holdfast, lab: Path) -> None:
    (lab / "hold.py").write_text(SCRIPT.replace("time.sleep(1.5)", "time.sleep(mb / 100)").replace('"none")', '"")'))
    began = time.monotonic()
    holdfast(*PILOT)
    elapsed = time.monotonic() - began
    cost = json.loads(holdfast("plan", "--config", "sweep.yaml", "--json").stdout)["cost"]
    assert cost["source"] == "of core time, from the pilot of each condition on cpu"
    # Four cells of 9 s and four of none, and what it takes to start them. The pilot trained one of each two.
    assert 36 < 3600 * cost["hours"] < 2 * elapsed


def test_what_another_user_may_not_write_is_told_before_anything_is_measured(lab: Path, tmp_path: Path) -> None:
    need_other_users()
    words = [str(lab / word) if word == "sweep.yaml" else word for word in PILOT]
    (line,) = run_as(ALICE, tmp_path / "home", *words, "--write", expect=2).stderr.splitlines()
    fix = "leave it out and paste, or permit it"
    assert line == f"command line: --write cannot write to {lab / 'sweep.yaml'}; {fix}"


def test_rules_are_written_also_where_something_else_is_a_problem(holdfast: Holdfast, lab: Path) -> None:
    """They rest on what was measured, which may have taken long. Here the pack is of the last cell, which fails."""
    sweep = lab / "sweep.yaml"
    sweep.write_text(sweep.read_text().replace("- 2\n    - 900", "- 900\n    - 2"))
    done = holdfast(*PILOT, "--write", expect=3)
    assert "a pack of 1 failed" in " ".join(done.stdout.split())
    assert "added to sweep.yaml" in done.stderr
    assert load(CommandLine(config=sweep)).sweep.resources
    again = json.loads(holdfast(*PILOT, "--json", expect=3).stdout)
    told = " ".join(finding["text"] for finding in again["findings"] if finding["subject"] == "resources")
    assert re.search(r"the configuration's own \(\d rules?\) were not looked at", told)


def test_a_pack_beside_a_pilots_rules_is_told_that_these_are_of_one_cell(holdfast: Holdfast, lab: Path) -> None:
    rule = '{when: {mb: 900}, mem_gb: 2, source: "pilot of 2026-11-29, profile lab: measured x 1.5"}'
    (lab / "sweep.yaml").write_text(f"{(lab / 'sweep.yaml').read_text()}resources: [{rule}]\n")
    plan = ("plan", "--config", "sweep.yaml", "--profile", "lab.yaml")
    told = "note: resources have 1 rule of a pilot, for the memory and time of one cell; with --pack 2,"
    assert told in holdfast(*plan, "--pack", "2").stderr
    assert "of a pilot" not in holdfast(*plan).stderr + holdfast(*plan, "--pack", "2", "--set", "mem_gb=4").stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--resources",), "command line: --resources is for what a pilot measures; add --pilot"),
        (("--write",), "command line: --write is for the resources that fit; add --pilot --resources"),
        (("--pilot", "--write"), "command line: --write is for the resources that fit; add --pilot --resources"),
        (("--pilot", "--resources", "--minutes", "0"), "--minutes"),
        (("--pilot", "--minutes", "5"), "command line: --minutes is for conditions; add --resources, or leave it out"),
    ],
)
def test_what_makes_no_sense_is_one_line_and_measures_nothing(
    holdfast: Holdfast, lab: Path, words: tuple[str, ...], said: str
) -> None:
    before = set(lab.iterdir())
    (line,) = holdfast(*PILOT[:6], *words, expect=2).stderr.splitlines()
    assert said in line
    assert set(lab.iterdir()) == before
