"""Sites that never requeue, nodes on which nothing starts, statistics that should be there in the morning."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from helpers.command_line import WIDTH
from helpers.waiting import PATIENCE, wait_until
from helpers.workplace import Workplace, outcomes

from hpc.sandbox.cluster import Sandbox


def test_where_preemption_cancels_waiting_submission_goes_on_until_all_is_done(
    start_cluster: Callable[..., Sandbox], tmp_path: Path
) -> None:
    with start_cluster(nodes=2, preempt_mode="CANCEL") as cluster:
        workplace = Workplace(tmp_path, cluster)
        config = workplace.foreign(widths=[1, 2], epochs=50, held=True)
        arguments = ["submit", "--config", config, "--profile", "sandbox", "--wait"]
        command = [sys.executable, "-m", "hpc", *arguments]
        with subprocess.Popen(command, cwd=tmp_path, env=workplace.environment(), stdout=subprocess.PIPE) as waiting:
            wait_until(lambda: (tmp_path / "out" / "packs").exists() and min(workplace.epochs()) >= 5, "mid-training")
            cluster.preempt()
            workplace.release()
            said, _ = waiting.communicate(timeout=PATIENCE)
        assert waiting.returncode == 0, said
        assert {result["provenance"]["attempts"] for result in workplace.results().values()} == {2}
        workplace.holdfast("run", "--config", config, "--output-dir", "here")
        assert outcomes(workplace.results()) == outcomes(workplace.results("here"))


def python_missing_on(nodes: Sequence[str], directory: Path) -> Path:
    """A Python that is there on other nodes only, as when a file system is not mounted; on all, once `mounted` exists.

    It answers nowhere before each of these nodes has two tasks: one on which they end at once would take the others'.
    """
    seen, python = directory / "seen", directory / "python"
    seen.mkdir()
    here = f'exec {sys.executable} "$@"'
    lines = ["#!/bin/sh", f"[ -e {directory}/mounted ] && {here}"]
    lines += [f"touch {seen}/$SLURMD_NODENAME-$SLURM_ARRAY_TASK_ID"]
    lines += [f"until [ $(ls {seen} | grep -c ^{node}-) -ge 2 ]; do sleep 0.1; done" for node in nodes]
    lines += [f'[ "$SLURMD_NODENAME" = {node} ] && exit 127' for node in nodes]
    python.write_text("\n".join([*lines, here, ""]))
    python.chmod(0o755)
    return python


def test_a_node_on_which_nothing_starts_is_left_out_of_the_next_submission(workplace: Workplace) -> None:
    python = python_missing_on(["n2"], workplace.directory)
    workplace.write("site.yaml", {"partition": "low", "timeout_min": 5, "mem_gb": 1, "python": str(python)})
    config = workplace.foreign(widths=list(range(1, 17)), epochs=2, seconds=0.2)
    with workplace.on_cluster():
        workplace.submit(config, profile="site.yaml")
        workplace.wait_until_ended()
        lost = workplace.states()["MISSING"]
        assert lost >= 2
        said = workplace.submit(config, profile="site.yaml")
        assert f"node n2 is excluded: {lost} tasks failed there" in said
        workplace.wait_until_ended()
    assert workplace.states() == {"COMPLETED": 16}


def test_nodes_that_are_left_out_on_one_cluster_are_none_of_anothers(
    start_cluster: Callable[..., Sandbox], tmp_path: Path
) -> None:
    """The second cluster has a node of the same name, which does well, and lacks another, which it would refuse."""
    a, b = (Workplace(tmp_path, start_cluster(nodes=nodes)) for nodes in (3, 2))
    python = python_missing_on(["n2", "n3"], tmp_path)
    a.write("site.yaml", {"partition": "low", "timeout_min": 5, "mem_gb": 1, "python": str(python)})
    config = a.foreign(widths=list(range(1, 17)), epochs=2, seconds=0.2)
    with a.on_cluster():
        a.submit(config, profile="site.yaml")
        a.wait_until_ended()
        said = a.submit(config, "--dry-run", profile="site.yaml")
        assert "node n2 is excluded" in said
        assert "node n3 is excluded" in said
    (tmp_path / "mounted").touch()
    with b.on_cluster():
        assert "is excluded" not in b.submit(config, profile="site.yaml")
        b.wait_until_ended()
    assert b.states() == {"COMPLETED": 16}


def test_a_node_with_a_broken_installation_costs_no_cell(workplace: Workplace) -> None:
    trainer = workplace.directory / "mine.py"
    width = WIDTH.read_text()
    trainer.write_text(f"import os\nassert os.environ.get('SLURMD_NODENAME') != 'n3', 'no driver here'\n{width}")
    sweep = {"name": "mine", "axes": {"width": list(range(1, 17))}, "runs_per_condition": 1}
    options = {"epochs": 2, "seconds": 0.2}
    config = workplace.write("sweep.yaml", {"trainer": "mine.py:train", "trainer_options": options, "sweep": sweep})
    workplace.submit(config)
    workplace.wait_until_ended()
    assert workplace.states()["FAILED"] >= 2
    assert "node n3 is excluded" in workplace.submit(config)
    workplace.wait_until_ended()
    assert workplace.states() == {"COMPLETED": 16}


def test_a_node_that_loses_its_gpu_costs_no_cell(workplace: Workplace) -> None:
    lost = "os.environ.get('SLURMD_NODENAME') == 'n3'"
    text = WIDTH.read_text().replace("import random\n", "import os\nimport random\n")
    failing = f"        if {lost}:\n            raise RuntimeError('CUDA error: unspecified launch failure')\n"
    begin = "    for cell in cells:\n"
    assert text.count(begin) == 1
    (workplace.directory / "mine.py").write_text(text.replace(begin, begin + failing))
    sweep = {"name": "mine", "axes": {"width": list(range(1, 17))}, "runs_per_condition": 1}
    options = {"epochs": 2, "seconds": 0.2}
    config = workplace.write("sweep.yaml", {"trainer": "mine.py:train", "trainer_options": options, "sweep": sweep})
    profile = workplace.write("gpu.yaml", {"partition": "low", "timeout_min": 5, "mem_gb": 1, "device": "cuda"})
    with workplace.on_cluster():
        workplace.submit(config, profile=profile)
        workplace.wait_until_ended()
        assert "FAILED" not in workplace.states()
        shown = workplace.holdfast("status", "out", expect=None).stdout
        assert "lost their GPU, on n3; submit again to resume" in shown
        assert "before training began" not in shown
        said = workplace.submit(config, profile=profile)
        assert "node n3 is excluded" in said
        workplace.wait_until_ended()
    assert workplace.states() == {"COMPLETED": 16}


def test_the_statistics_are_there_when_the_last_task_has_ended(workplace: Workplace) -> None:
    config = workplace.foreign(widths=[1, 2], epochs=3, seconds=0)
    workplace.submit(config, "--then-aggregate")
    wait_until(lambda: not workplace.cluster.slurm.queue(), "the end of the tasks and of the aggregation job")
    assert workplace.store().paths.report_file.exists()
    aggregated = json.loads(workplace.store().paths.aggregated_file.read_text())
    assert [condition["n_runs"] for condition in aggregated.values()] == [1, 1]
