"""Whole sweeps on a real Slurm cluster: preempted, out of time, killed, cancelled; never lost, never different."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from helpers import slurm_daemons
from helpers.command_line import WIDTH
from helpers.waiting import PATIENCE, wait_until
from helpers.workplace import Workplace, outcomes

from hpc.sandbox.cluster import Sandbox
from training.shapes.generate import generate


def saved_step(workplace: Workplace) -> int:
    """The last step that every cell of a sweep has saved, by its log."""
    store = workplace.store()
    logs = [store.paths.log_file(cell) for cell in store.sweep().grid]
    texts = [log.read_text() if log.exists() else "" for log in logs]
    return min(max(map(int, re.findall(r"saved at step (\d+)", text)), default=0) for text in texts)


def stop_in_mid_training(workplace: Workplace, out: str) -> bool:
    """Stop each of two packs' processes once it has trained an epoch, lest it be done before the other begins.

    A pack has more than half of its epochs to go when its progress, reported once a second, is seen. Where it has come
    to its end before it was seen, as this process stood still, both may do so, and False is returned.
    """
    store = workplace.store(out)
    stopped: set[int] = set()

    def ended() -> bool:
        return any(workplace.results(out).values())

    def both_stopped() -> bool:
        for number in (1, 2):
            trained = [epoch for epoch, _ in store.progress(number).values()]
            if trained and min(trained) >= 1:
                pid = json.loads(store.paths.pack_file(number).read_text())["pid"]
                if pid not in stopped:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGSTOP)
                        stopped.add(pid)
        return len(stopped) == 2

    wait_until(lambda: both_stopped() or ended(), "both packs in mid-training", pause=0.02)
    if not ended():
        return True
    for pid in stopped:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
    workplace.wait_until_ended(out)
    return False


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def wait_for_another_requeue(workplace: Workplace) -> None:
    """Until a task of our own that is requeued now runs again: what was requeued before would be back as well."""
    slurm, script = workplace.cluster.slurm, workplace.directory / "another.sh"
    script.write_text("#!/bin/sh\nsleep 600\n")
    slurm.sbatch(script, ["--requeue", "--output=/dev/null"])

    def runs(restarts: int) -> bool:
        return [(task.state, task.restarts) for task in slurm.queue()] == [("RUNNING", restarts)]

    wait_until(lambda: runs(0), "another task alone in the queue")
    slurm.requeue(slurm.queue()[0])
    wait_until(lambda: runs(1), "its return")
    slurm.cancel(slurm.queue())
    wait_until(lambda: not slurm.queue(), "its end")


def test_an_array_completes_and_equals_the_same_sweep_run_here(workplace: Workplace) -> None:
    config = workplace.foreign(widths=[1, 2, 4], runs=2, epochs=5, seconds=0)
    workplace.submit(config)
    workplace.wait_until_ended()
    assert workplace.states() == {"COMPLETED": 6}
    workplace.holdfast("run", "--config", config, "--output-dir", "here")
    assert workplace.aggregated() == workplace.aggregated("here")
    assert (workplace.store().paths.plots_directory / "error_vs_width.png").stat().st_size > 1000


def test_a_preempted_sweep_of_a_foreign_trainer_comes_back_and_ends_as_if_undisturbed(workplace: Workplace) -> None:
    config = workplace.foreign(widths=[1, 2], runs=2, epochs=60, held=True)
    workplace.submit(config)
    wait_until(lambda: min(workplace.epochs()) >= 5, "every cell in mid-training")
    assert "evicted 4 tasks" in workplace.holdfast("sandbox", "preempt").stderr
    workplace.release()
    workplace.wait_until_ended()
    results = workplace.results()
    assert {result["provenance"]["attempts"] for result in results.values()} == {2}
    assert all(5 <= result["provenance"]["restored_at_step"] < 60 for result in results.values())
    workplace.holdfast("run", "--config", config, "--output-dir", "here")
    assert outcomes(results) == outcomes(workplace.results("here"))
    assert workplace.aggregated() == workplace.aggregated("here")


def test_a_preempted_workspace_has_the_same_weights_and_numbers_bit_for_bit(workplace: Workplace) -> None:
    generate(workplace.directory / "data", train=3200, val=200, test=10, seed=1, latents="mixed")
    training = {"epochs": 40, "standardize_inputs": True, "optimizer": {"lr": 1e-3}}
    config = workplace.write(
        "sweep.yaml",
        {
            "data": {"dir": "data"},
            "model": {"n_layers": 1},
            "training": training,
            "sweep": {"name": "workspace", "dims": [8, 32], "scales": [1.0], "runs_per_condition": 2},
        },
    )
    for out in (f"out-{number}" for number in range(10)):
        workplace.submit(config, "--pack", "2", out=out)
        if stop_in_mid_training(workplace, out):
            break
    assert len(workplace.cluster.preempt()) == 2  # Slurm lets what it asks to end go on first
    workplace.wait_until_ended(out)
    results = workplace.results(out)
    assert all(0 < result["provenance"]["restored_at_step"] < 4000 for result in results.values())
    workplace.holdfast("run", "--config", config, "--output-dir", "here", "--parallel-jobs", "1", "--pack", "3")
    assert outcomes(results) == outcomes(workplace.results("here"))
    for cell in workplace.store(out).sweep().grid:
        for name in ("weights_file", "history_file"):
            there, here = (getattr(workplace.store(run).paths, name)(cell).read_bytes() for run in (out, "here"))
            assert there == here
    assert workplace.aggregated(out) == workplace.aggregated("here")


def test_a_task_that_runs_out_of_time_saves_requeues_itself_and_goes_on(workplace: Workplace) -> None:
    # Slurm sends the signal up to half a minute early: 30 to 60 s after the start. To start and to save, a busy machine
    # has two minutes.
    limits = {"partition": "low", "timeout_min": 2, "signal_delay_s": 60, "mem_gb": 1}
    (workplace.directory / "short.yaml").write_text(yaml.safe_dump(limits))
    with workplace.on_cluster():
        config = workplace.foreign(widths=[3], epochs=60, held=True)
        workplace.submit(config, profile="short.yaml")
        log = workplace.store().paths.log_file(workplace.store().sweep().grid[0])
        wait_until(lambda: log.exists() and re.search(r"restored at step [1-9]", log.read_text()), "a requeue")
        workplace.release()
        workplace.wait_until_ended()
    result = workplace.results()["width_3_run_0"]
    assert result["status"] == "COMPLETED"
    assert result["provenance"]["attempts"] >= 2
    assert result["provenance"]["restored_at_step"] > 0


def test_a_task_killed_outright_is_taken_up_by_the_next_submission(workplace: Workplace) -> None:
    config = workplace.foreign(widths=[1, 2], epochs=60, held=True)
    content = yaml.safe_load((workplace.directory / config).read_text()) | {"checkpoint": {"every_seconds": 0.2}}
    workplace.write(config, content)
    workplace.submit(config)
    # A slow disk stretches the interval, so it is the log that says when there is something to lose.
    wait_until(lambda: saved_step(workplace) >= 5, "checkpoints of both cells")
    store = workplace.store()
    victim = store.sweep().grid[0]
    about = json.loads(store.paths.pack_file(store.pack_of(victim, 1) or 0).read_text())
    os.kill(about["pid"], signal.SIGKILL)
    workplace.release()
    workplace.wait_until_ended()
    assert workplace.states() == {"COMPLETED": 1, "STARTED": 1}
    assert "1 to run as 1 task" in workplace.submit(config)
    workplace.wait_until_ended()
    results = workplace.results()
    assert results[victim.name]["provenance"]["restored_at_step"] >= 5
    workplace.holdfast("run", "--config", config, "--output-dir", "here")
    assert outcomes(results) == outcomes(workplace.results("here"))


def test_submitting_twice_queues_nothing_twice(workplace: Workplace) -> None:
    config = workplace.foreign(widths=[1, 2, 3], epochs=10, held=True)
    workplace.submit(config)
    assert "3 queued, nothing to run" in workplace.submit(config)
    assert len(workplace.cluster.slurm.queue()) == 3
    workplace.release()
    workplace.wait_until_ended()
    assert "3 done, nothing to run" in workplace.submit(config)
    assert {result["provenance"]["attempts"] for result in workplace.results().values()} == {1}


def test_a_cancelled_sweep_stays_cancelled_until_it_is_submitted_again(workplace: Workplace) -> None:
    config = workplace.foreign(widths=[1, 2], epochs=60, held=True)
    workplace.submit(config)
    wait_until(lambda: min(workplace.epochs()) >= 3, "both cells in mid-training")
    workplace.holdfast("cancel", "out", "-y")
    wait_until(lambda: not workplace.cluster.slurm.queue(), "an empty queue")
    wait_for_another_requeue(workplace)
    assert workplace.cluster.slurm.queue() == []
    assert workplace.states() == {"STARTED": 2}
    workplace.release()
    workplace.submit(config)
    workplace.wait_until_ended()
    results = workplace.results()
    assert all(result["provenance"]["restored_at_step"] >= 3 for result in results.values())


def test_a_raising_cell_fails_with_its_cause_and_is_skipped_until_asked_for(workplace: Workplace) -> None:
    trainer = workplace.directory / "fragile.py"
    text = WIDTH.read_text().replace(
        "    for cell in cells:\n", "    for cell in cells:\n        check(cell, options)\n"
    )
    text += "\n\ndef check(cell, options):\n"
    text += "    if cell.factors['width'] == 2:\n        raise ValueError('width 2 is cursed')\n"
    trainer.write_text(text)
    sweep = {"name": "fragile", "axes": {"width": [1, 2, 3]}, "runs_per_condition": 1}
    settings = {"trainer": "fragile.py:train", "trainer_options": {"epochs": 3}, "sweep": sweep}
    config = workplace.write("sweep.yaml", settings)
    workplace.submit(config)
    workplace.wait_until_ended()
    assert workplace.states() == {"COMPLETED": 2, "FAILED": 1}
    assert "ValueError: width 2 is cursed" in workplace.holdfast("show", "out", "width_2_run_0").stdout
    assert "1 failed (skipped" in workplace.submit(config)
    assert workplace.holdfast("aggregate", "out", expect=4).stderr.count("width 2 is cursed") == 1
    workplace.submit(config, "--include-failed")
    workplace.wait_until_ended()
    assert len(workplace.store().attempts(workplace.store().sweep().grid[1])) == 2


def test_an_edit_after_submission_changes_nothing_for_queued_tasks(workplace: Workplace) -> None:
    trainer = workplace.held_trainer("mine.py")
    sweep = {"name": "mine", "axes": {"width": [1]}, "runs_per_condition": 1}
    options = {"epochs": 60, "seconds": 0.1} | workplace.hold()
    config = workplace.write("sweep.yaml", {"trainer": "mine.py:train", "trainer_options": options, "sweep": sweep})
    workplace.submit(config)
    wait_until(lambda: min(workplace.epochs()) >= 3, "mid-training")
    trainer.write_text("raise RuntimeError('edited')\n")
    workplace.holdfast("sandbox", "preempt")
    workplace.release()
    workplace.wait_until_ended()
    assert workplace.states() == {"COMPLETED": 1}
    assert workplace.results()["width_1_run_0"]["provenance"]["attempts"] == 2


def test_prepared_scripts_are_submitted_with_sbatch_alone(workplace: Workplace) -> None:
    config = workplace.foreign(widths=[1, 2], epochs=3, seconds=0)
    done = workplace.holdfast("submit", "--config", config, "--profile", "sandbox", "--prepare", "--output-dir", "out")
    assert workplace.cluster.slurm.queue() == []
    environment = os.environ | {"SLURM_CONF": str(workplace.cluster.conf)}
    subprocess.run(["bash", "-c", done.stdout], env=environment, check=True, capture_output=True, timeout=PATIENCE)
    workplace.wait_until_ended()
    assert workplace.states() == {"COMPLETED": 2}


def test_paths_with_spaces_work_and_variables_of_sbatch_are_ignored(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SBATCH_PARTITION", "nonsense")
    monkeypatch.setenv("SBATCH_ARRAY_INX", "5-9")
    config = workplace.foreign(widths=[1, 2], epochs=3, seconds=0)
    workplace.submit(config, out="my results 100%")
    workplace.wait_until_ended("my results 100%")
    assert workplace.states("my results 100%") == {"COMPLETED": 2}


def test_without_a_controller_submit_stops_and_says_so(start_cluster: Callable[..., Sandbox], tmp_path: Path) -> None:
    with start_cluster(nodes=1, message_timeout=10) as cluster:
        workplace = Workplace(tmp_path, cluster)
        config = workplace.foreign(widths=[1], epochs=2, seconds=0)
        workplace.submit(config)
        workplace.wait_until_ended()
        slurm_daemons.kill(cluster, "slurmctld")
        content = yaml.safe_load((tmp_path / config).read_text())
        content["sweep"]["runs_per_condition"] = 2
        workplace.write(config, content)
        said = workplace.submit(config, expect=3)
        assert len(said.splitlines()) == 1, said
        assert len(list((tmp_path / "out" / "submissions").glob("0*"))) == 1


def test_a_node_that_dies_costs_at_most_the_last_interval(
    start_cluster: Callable[..., Sandbox], tmp_path: Path
) -> None:
    with start_cluster(nodes=2) as cluster:
        workplace = Workplace(tmp_path, cluster)
        config = workplace.foreign(widths=[2], epochs=60, held=True)
        content = yaml.safe_load((tmp_path / config).read_text()) | {"checkpoint": {"every_seconds": 0.2}}
        workplace.write(config, content)
        workplace.submit(config)
        wait_until(lambda: saved_step(workplace) >= 5, "a checkpoint")
        node = cluster.slurm.queue()[0].node
        store = workplace.store()
        about = json.loads(store.paths.pack_file(1).read_text())
        task = parent(about["pid"])
        victims = [parent(task), task, about["pid"]]  # slurmstepd, task.sh, Python: all a node takes with it
        slurm_daemons.kill(cluster, node)
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        # Only now: before that, a busy machine might keep a slurmd waiting for so long.
        slurm_daemons.reconfigure(cluster, "SlurmdTimeout=5")
        workplace.release()
        workplace.wait_until_ended()
        results = workplace.results()
        assert results["width_2_run_0"]["provenance"]["restored_at_step"] >= 5
        workplace.holdfast("run", "--config", config, "--output-dir", "here")
        assert outcomes(results) == outcomes(workplace.results("here"))
