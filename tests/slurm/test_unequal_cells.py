"""Cells that ask for different resources on a real cluster: what Slurm has of them, and what it enforces."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import yaml
from helpers.command_line import GREEDY
from helpers.workplace import Workplace

from hpc.sandbox.cluster import Sandbox


def jobs(workplace: Workplace) -> dict[str, dict[str, str]]:
    """What Slurm says of the arrays of a sweep, by the number of the array."""
    shown = subprocess.run(
        ["scontrol", "--oneliner", "show", "job"],
        env=workplace.environment(),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    fields = [dict(re.findall(r"(\S+?)=(\S*)", line)) for line in shown.splitlines()]
    return {
        job["JobName"].split("-")[1].split(".")[1]: job for job in fields if job["JobName"].startswith("foreign-1.")
    }


def test_slurm_gets_an_array_for_each_kind_of_cells_with_what_these_ask_for(workplace: Workplace) -> None:
    config = workplace.foreign(widths=[1, 2, 3, 4], runs=2, epochs=2, seconds=0)
    content = yaml.safe_load((workplace.directory / config).read_text())
    rules = [{"when": {"width": [2, 4]}, "mem_gb": 3, "timeout_min": 50}, {"when": {"width": 4}, "cpus_per_task": 2}]
    workplace.write(config, content | {"resources": rules})
    workplace.write("lab.yaml", {"partition": "low", "timeout_min": 30, "mem_gb": 1})
    with workplace.on_cluster():
        dry = workplace.holdfast("submit", "--config", config, "--profile", "lab.yaml", "--dry-run").stdout
        workplace.submit(config, "--pack", "2", profile="lab.yaml")
        found = jobs(workplace)
        workplace.wait_until_ended()
        again = workplace.submit(config, "--set", "mem_gb=9000", profile="lab.yaml")
        impossible = workplace.write("impossible.yaml", content | {"resources": [rules[0] | {"mem_gb": 9000}]})
        refused = workplace.submit(impossible, profile="lab.yaml", out="other", expect=3)
    asked = [(job["MinMemoryNode"], job["TimeLimit"], job["NumCPUs"]) for _, job in sorted(found.items())]
    assert asked == [("1G", "00:30:00", "1"), ("3G", "00:50:00", "1"), ("3G", "00:50:00", "2")]
    for told in ("4 tasks with mem_gb 1, timeout_min 30", "2 tasks with mem_gb 3, timeout_min 50, cpus_per_task 2"):
        assert told in dry
    assert dry.count("to start at") == 3, "Slurm is asked about each kind"
    assert workplace.states() == {"COMPLETED": 8}
    assert {result["provenance"]["pack_size"] for result in workplace.results().values()} == {2}
    assert "nothing to run" in again
    assert "of mem_gb 9000, timeout_min 50: sbatch failed" in refused
    assert not (workplace.directory / "other").exists(), "what cannot run all of it is not begun"


def test_what_slurm_kills_for_its_memory_runs_again_with_more_up_to_the_limit_and_nothing_else_does(
    start_cluster: Callable[..., Sandbox], tmp_path: Path
) -> None:
    """A width of 6 is killed with 0.15 GB and fits into twice that; 40 needs more than the limit; 3 is wrong."""
    with start_cluster(nodes=2, limit_memory=True) as cluster:
        workplace = Workplace(tmp_path, cluster)
        sweep = {"name": "greedy", "axes": {"width": [1, 3, 6, 40]}, "runs_per_condition": 1}
        options = {"trainer": f"{GREEDY}:train", "trainer_options": {"wrong": 3}}
        config = workplace.write("sweep.yaml", {**options, "sweep": sweep})
        workplace.write("lab.yaml", {"partition": "low", "timeout_min": 5, "mem_gb": 0.15})
        with workplace.on_cluster():
            said = workplace.submit(config, "--wait", "--escalate", "mem_gb=0.4", profile="lab.yaml", expect=4)
            status = workplace.holdfast("status", "out", expect=None).stdout
            shown = {width: workplace.holdfast("show", "out", f"width_{width}_run_0").stdout for width in (3, 6, 40)}
    assert workplace.states() == {"COMPLETED": 2, "FAILED": 2}, said
    assert "2 cells ran out of memory with mem_gb 0.15: run again with mem_gb 0.3" in said
    assert "1 cell ran out of memory with mem_gb 0.3: run again with mem_gb 0.4" in said
    assert "1 cell ran out of memory with mem_gb 0.4, the limit of --escalate: not raised any more" in said
    assert "with more by --escalate: 1 cell, up to mem_gb 0.4" in status
    assert "attempt 2 in pack" in shown[6]
    assert "with mem_gb 0.3 by --escalate" in shown[6]
    assert "with mem_gb 0.4 by --escalate" in shown[40]
    assert "escalate" not in shown[3]
    assert shown[3].count("  attempt ") == 1
    given = [
        json.loads(path.read_text())["escalated"] for path in sorted(tmp_path.glob("out/submissions/*/intent.json"))
    ]
    assert given[:3] == [
        {},
        {"width_6_run_0": {"mem_gb": 0.3}, "width_40_run_0": {"mem_gb": 0.3}},
        {"width_40_run_0": {"mem_gb": 0.4}},
    ]
