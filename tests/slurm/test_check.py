"""`holdfast check cluster` against a real one: it tells the truth, leaves nothing behind, and waits within bounds."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.command_line import GREEDY
from helpers.waiting import wait_until
from helpers.workplace import Workplace

from hpc.config.load import CommandLine, load
from hpc.planning import pilot_record
from hpc.preflight import check, pilot
from hpc.preflight.finding import NOTE, PROBLEM
from hpc.sandbox.cluster import Sandbox
from hpc.slurm.profile_file import load_profile
from hpc.units import counted

# A fused trainer whose step takes 60 ms, and 10 ms for every further cell, by the clock that it and the pilot in its
# process read. More than `fits` cells do not fit.
FUSED = """
import time
from training.contract import Checkpoint

FACTORS = {"width": {"kind": "integer"}}
METRICS = {"loss": {"kind": "real", "better": "lower"}}
PACK_MODE = "fused"

def train(cells, options, run):
    if len(cells) > options["fits"]:
        raise MemoryError(f"{len(cells)} cells do not fit")
    steps = {cell: saved.step if (saved := run.restore(cell)) else 0 for cell in cells}
    step = min(steps.values())
    clock = [time.monotonic()]
    time.monotonic = lambda: clock[0]
    while step < options["steps"]:
        clock[0] += 0.050 + 0.010 * len(cells)
        step += 1
        if step % 5 == 0:
            for cell in cells:
                run.epoch(cell, step // 5, options["steps"] // 5, {"loss": 1 / step})
        if run.checkpoint_due() or run.stop:
            run.save({cell: Checkpoint(step) for cell in cells})
        if run.stop:
            return
    for cell in cells:
        run.finish(cell, {"loss": 0.0})
"""


def findings(report: dict[str, Any], subject: str) -> list[dict[str, str]]:
    return [finding for finding in report["findings"] if finding["subject"] == subject]


def checked(workplace: Workplace, *words: str, expect: int = 0) -> dict[str, Any]:
    done = workplace.holdfast("check", "cluster", "--profile", "sandbox", "--json", *words, expect=expect)
    return dict(json.loads(done.stdout))


def test_a_good_cluster_is_ready_nothing_is_left_behind_and_the_report_holds_no_secrets(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "hunter2")
    words = ("--profile", "sandbox", "--set", "setup=[export TOKEN=hunter2]", "--export", "report.json")
    done = workplace.holdfast("check", "cluster", *words)
    said = " ".join(done.stdout.split())
    assert "always exactly one side won" in said
    assert "a preemption loses no training" in said
    text = (workplace.directory / "report.json").read_text()
    report = json.loads(text)
    facts = report["facts"]
    # What a busy machine keeps waiting is told as well.
    slow = {"visibility": facts["node"]["shared"]["round_trip_s"] > 5, "torch": facts["node"]["torch"]["import_s"] > 30}
    noted = {finding["subject"] for finding in report["findings"] if finding["level"] == NOTE}
    assert noted == {"accounting"} | {subject for subject, told in slow.items() if told}
    assert said.endswith(f"ready to submit ({counted(len(noted), 'note')})")
    assert sorted(facts["node"]["won_here"]["mkdir"] + facts["node"]["shared"]["won"]["mkdir"]) == list(range(40))
    assert facts["profile"]["setup_lines"] == 1
    assert "hunter2" not in text
    assert {path.name for path in workplace.directory.iterdir()} == {"report.json"}
    assert workplace.cluster.slurm.queue() == []


def test_what_slurm_refuses_is_told_with_its_words_and_no_job_is_tried(workplace: Workplace) -> None:
    report = checked(workplace, "--set", "cpus_per_task=99", expect=3)
    (request,) = findings(report, "request")
    assert request["level"] == PROBLEM
    assert "Requested node configuration is not available" in request["text"]
    assert not findings(report, "node")
    assert workplace.cluster.slurm.queue() == []


def test_a_job_that_does_not_start_in_time_is_cancelled_and_the_reason_told(workplace: Workplace) -> None:
    slurm = workplace.cluster.slurm
    hold = workplace.directory / "hold.sh"
    hold.write_text("#!/bin/sh\nsleep 600\n")
    slurm.sbatch(hold, ["--array=0-3", "--exclusive", "--output=/dev/null"])
    wait_until(lambda: [task.state for task in slurm.queue()] == ["RUNNING"] * 4, "four running tasks")
    report = checked(workplace, "--wait", "40", expect=3)  # seconds in which Slurm must have said why
    (node,) = findings(report, "node")
    assert node["text"].startswith("the job did not start within 40 s and was cancelled: PENDING, Resources")
    assert [task.name for task in slurm.queue() if task.name.startswith("holdfast-check")] == []


def test_a_python_that_cannot_run_us_is_told_with_what_it_said(workplace: Workplace) -> None:
    report = checked(workplace, "--set", "python=/usr/bin/missing", expect=3)
    (node,) = findings(report, "node")
    assert "/usr/bin/missing" in node["text"]
    assert "python" in node["fix"]


def test_what_a_node_lacks_is_tried_there_and_told_with_what_it_costs(workplace: Workplace) -> None:
    """No `module`, no scontrol and no environment of the user's."""
    programs = workplace.directory / "programs"
    programs.mkdir()
    (programs / "env").symlink_to("/usr/bin/env")
    words = [
        "modules=[cuda/12]",
        f"setup=[export PATH={programs}]",
        "additional_parameters.export=NONE",
        "timeout_min=90",
    ]
    report = checked(workplace, *(word for setting in words for word in ("--set", setting)), expect=3)
    (setup,) = findings(report, "setup")
    assert (setup["level"], "module" in setup["text"]) == (PROBLEM, True)
    (environment,) = findings(report, "environment")
    assert "--export=NONE" in environment["text"]
    assert f"{report['facts']['node']['environment']['variables']} variables" in environment["text"]
    (requeue,) = findings(report, "requeue")
    assert "scontrol not found" in requeue["text"]
    assert "90 min" in requeue["text"]
    assert "submit --wait" in requeue["fix"]


def test_without_a_cluster_it_says_so_and_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    report = check.check(check.CheckRequest(None, tmp_path), print)
    assert not report.good
    assert [finding.subject for finding in report.findings][:1] == ["Slurm"]
    assert "login node" in report.findings[0].fix
    assert list(tmp_path.iterdir()) == []


def test_a_pilot_measures_packs_as_far_as_memory_allows_and_its_choice_is_kept(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(workplace.directory / "state"))
    monkeypatch.setattr(pilot, "SECONDS", 2.0)
    (workplace.directory / "fused.py").write_text(FUSED)
    sweep = {"name": "pilot", "axes": {"width": list(range(1, 9))}, "runs_per_condition": 1}
    config = {"trainer": "fused.py:train", "trainer_options": {"steps": 2000, "fits": 4}, "sweep": sweep}
    (workplace.directory / "sweep.yaml").write_text(yaml.safe_dump(config))
    loaded = load(CommandLine(config=workplace.directory / "sweep.yaml"))
    profile = load_profile("sandbox")
    request = check.CheckRequest(
        profile, workplace.directory, workplace.cluster.conf, loaded.sweep, pilot=True, start_s=300, quick=True
    )
    report = check.check(request, print)
    assert report.good, report.findings
    kept = pilot_record.load(profile, loaded.sweep.config_digest)
    assert kept is not None
    assert kept.ended == "a pack of 5 failed: MemoryError: 5 cells do not fit"
    assert [measurement.width for measurement in kept.measurements] == [1, 2, 3]
    for measurement in kept.measurements:
        assert measurement.seconds == pytest.approx(0.050 + 0.010 * measurement.width)
    assert kept.units == pytest.approx(2000)
    assert pilot_record.choose_pack(kept, profile, cells=8, tasks=1).pack_size == 3
    assert pilot_record.choose_pack(kept, profile, cells=8, tasks=8).pack_size == 1
    (pack,) = [finding for finding in report.findings if finding.subject == "pack"]
    assert pack.text.startswith("--pack auto would now take 1: 8 cells in packs of 1, 8 at once")


@pytest.mark.slow
def test_what_a_pilot_measures_of_each_condition_becomes_resources_with_which_every_cell_fits(
    start_cluster: Callable[..., Sandbox], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A width of 60 takes 1.5 GB, which the profile does not give: Slurm would kill it.

    It gives several times what the check itself takes, which imports torch and starts other programs: for a moment, the
    kernel shows its memory for both, and Slurm adds that up.
    """
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with start_cluster(nodes=2, limit_memory=True) as cluster:
        workplace = Workplace(tmp_path, cluster)
        sweep = {"name": "greedy", "axes": {"width": [1, 2, 60]}, "runs_per_condition": 2}
        trainer = {"trainer": f"{GREEDY}:train", "trainer_options": {"seconds": 1}}
        config = workplace.write("sweep.yaml", {**trainer, "sweep": sweep})
        workplace.write("lab.yaml", {"partition": "low", "timeout_min": 60, "mem_gb": 1})
        before = (tmp_path / config).read_text()
        check = ("check", "cluster", "--profile", "lab.yaml", "--config", config, "--pilot", "--resources")
        with workplace.on_cluster():
            small = json.loads(workplace.holdfast(*check, "--json", expect=None).stdout)
            assert (tmp_path / config).read_text() == before
            done = workplace.holdfast(*check, "--write", "--set", "mem_gb=2")
            dry = workplace.holdfast("submit", "--config", config, "--profile", "lab.yaml", "--dry-run").stdout
            workplace.submit(config, profile="lab.yaml")
            workplace.wait_until_ended()
    noted = [finding["text"] for finding in findings(small, "conditions") if finding["level"] == "note"]
    killed = "width_60: the job ended while it trained, as when memory or time runs out"
    assert noted == [killed], small["findings"]
    assert [rule["when"] for rule in small["resources"]] == [{"width": [1, 2]}]
    (large,) = [line for line in done.stdout.splitlines() if "{when: {width: 60}" in line]
    assert re.search(r"mem_gb: 3, source: \"pilot of \d{4}-\d\d-\d\d, profile lab: measured x 1\.5\"", large)
    assert (tmp_path / config).read_text().startswith(f"{before}resources:\n")
    assert "3 of 3 measured" in " ".join(done.stdout.split())
    assert "2 tasks with mem_gb " in dry
    assert workplace.states() == {"COMPLETED": 6}
    recorded = workplace.store().sweep().resources
    assert all(rule.source.startswith("pilot of ") for rule in recorded)


def test_a_pilot_of_a_trainer_that_takes_one_cell_at_a_time_works_here_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(pilot, "SECONDS", 0.5)
    (tmp_path / "fused.py").write_text(FUSED.replace('PACK_MODE = "fused"', ""))
    sweep = {"name": "pilot", "axes": {"width": [1, 2]}, "runs_per_condition": 1}
    config = {"trainer": "fused.py:train", "trainer_options": {"steps": 20, "fits": 1}, "sweep": sweep}
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(config))
    loaded = load(CommandLine(config=tmp_path / "sweep.yaml"))
    report = check.check(check.CheckRequest(load_profile("local"), tmp_path, None, loaded.sweep, pilot=True), print)
    assert report.good
    kept = pilot_record.load(load_profile("local"), loaded.sweep.config_digest)
    assert kept is not None
    (measurement,) = kept.measurements
    assert (measurement.width, kept.hardware) == (1, "cpu")
    assert measurement.seconds == pytest.approx(0.060)
