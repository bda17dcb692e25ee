"""`holdfast run` as a person uses it: started, interrupted, gone on with, grown, looked into."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.command_line import WIDTH, Holdfast, environment, result, statuses
from helpers.held import has_all_the_time_to_save, held_trainer, hold, release
from helpers.waiting import PATIENCE, wait_until

from hpc.processes import ENDING, host
from hpc.storage.store import Store
from hpc.submission.lock import lock

# The command, for which all signals are one request, however long a busy machine keeps it from hearing the next one.
AS_ONE = (
    "import math, sys, hpc.cli.app, hpc.processes; hpc.processes._SAME_STOP_SECONDS = math.inf; "
    "sys.exit(hpc.cli.app.main())"
)


def configure(directory: Path, **changes: Any) -> str:
    content = {
        "trainer": f"{WIDTH}:train",
        "trainer_options": {"epochs": 4},
        "sweep": {"name": "small", "axes": {"width": [1, 2]}, "runs_per_condition": 2},
    }
    (directory / "sweep.yaml").write_text(yaml.safe_dump(content | changes))
    return "sweep.yaml"


def held(directory: Path) -> str:
    """The same sweep, whose cells wait half-way for release()."""
    options = {"epochs": 40, "seconds": 0.1} | hold(directory)
    return configure(directory, trainer=f"{held_trainer(directory).name}:train", trainer_options=options)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def files_below(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*")}


@pytest.mark.parametrize("debug", [False, True])
def test_cancel_makes_a_local_run_save_and_stop_what_it_names(holdfast: Holdfast, tmp_path: Path, debug: bool) -> None:
    words = ["--cell", "width_1_run_0", "--debug"] if debug else ["--parallel-jobs", "1", "--pack", "1"]
    command = [sys.executable, "-m", "hpc", "run", "--config", held(tmp_path), *words]
    running = subprocess.Popen(command, cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True)
    store = Store(tmp_path / "out")
    wait_until(lambda: store.exists() and max(s.epoch for s in statuses(store)) >= 2, "a cell in mid-training")
    told = holdfast("cancel", "out", "-y").stderr
    assert f"holdfast run (process {running.pid} on " in told
    _, said = running.communicate(timeout=PATIENCE)
    assert running.returncode == (130 if debug else 4)
    assert debug or "tasks cancelled: 4; what they had saved is kept" in said
    assert "saved at step" in (tmp_path / "out" / "individual_results" / "width_1_run_0" / "log.txt").read_text()
    release(tmp_path)
    assert "4 COMPLETED" in holdfast("run", "out").stdout, "what is asked for after it trains again"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("holdfast run", "it starts none of these cells, and stops those that it trains within seconds"),
        ("holdfast submit --profile local", "it starts none of these cells, and stops those that it trains within s"),
        ("holdfast submit", "it queues none of these cells any more"),
        ("holdfast check resume", "it queues these cells again until it has made its certificate; end it, too"),
        ("one of a later version", "it may train these cells; end it, too"),
    ],
)
def test_cancel_says_what_it_means_for_the_command_that_is_at_work(
    holdfast: Holdfast, tmp_path: Path, command: str, said: str
) -> None:
    holdfast("run", "--config", configure(tmp_path), "--cell", "width_1_run_0", expect=4)
    with lock(Store(tmp_path / "out"), command):
        told = holdfast("cancel", "out", "-y").stderr
    assert f"{command} (process {os.getpid()} on {host()}) is at work here: {said}" in told


def test_cancel_says_where_it_cannot_see_whether_a_command_is_still_at_work(holdfast: Holdfast, tmp_path: Path) -> None:
    holdfast("run", "--config", configure(tmp_path), "--cell", "width_1_run_0", expect=4)
    store = Store(tmp_path / "out")
    with lock(store, "holdfast submit") as held:
        path = store.paths.lock_directory / held.file
        path.write_text(json.dumps(json.loads(path.read_text()) | {"boot": "another", "machine": "another"}))
        told = holdfast("cancel", "out", "-y").stderr
    assert "is at work here, as far as can be seen from here: it queues none of these cells any more" in told


def test_cancel_leaves_the_other_cells_of_a_local_run_alone(holdfast: Holdfast, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hpc", "run", "--config", held(tmp_path), "--parallel-jobs", "1", "--pack", "1"]
    running = subprocess.Popen(command, cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True)
    wait_until(lambda: (tmp_path / "out" / "packs" / "000001" / "progress.json").exists(), "a task")
    holdfast("cancel", "out", "--cell", "width_2_run_1", "-y")
    release(tmp_path)
    _, said = running.communicate(timeout=PATIENCE)
    assert "tasks cancelled: 1" in said
    states = json.loads(holdfast("status", "out", "--json", expect=4).stdout)["states"]
    assert states == {"COMPLETED": 3, "MISSING": 1}


def test_a_sweep_runs_and_leaves_what_the_interface_promises(holdfast: Holdfast, tmp_path: Path) -> None:
    done = holdfast("run", "--config", configure(tmp_path))
    assert "4 COMPLETED" in done.stdout
    cell = tmp_path / "out" / "individual_results" / "width_2_run_1"
    assert {"config.json", "results.json", "history.csv", "log.txt", "attempts"} <= {p.name for p in cell.iterdir()}
    result = json.loads((cell / "results.json").read_text())
    assert (result["width"], result["run_id"], result["seed"]) == (2, 1, 43)
    assert result["condition_id"] == "width_2"
    assert len((cell / "history.csv").read_text().splitlines()) == 1 + result["epochs"] == 5
    aggregated = json.loads((tmp_path / "out" / "aggregated_results.json").read_text())
    assert list(aggregated) == ["width_1", "width_2"]
    assert (tmp_path / "out" / "report.html").exists()


def test_running_again_trains_nothing_again(holdfast: Holdfast, tmp_path: Path) -> None:
    config = configure(tmp_path)
    holdfast("run", "--config", config)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out" / "individual_results").rglob("*") if p.is_file()}
    assert "4 done, nothing to run" in holdfast("run", "--config", config).stderr
    assert "4 done, nothing to run" in holdfast("run", "out").stderr
    assert before == {p: p.stat().st_mtime_ns for p in before}


def test_interrupted_by_ctrl_c_it_saves_and_the_same_command_goes_on(holdfast: Holdfast, tmp_path: Path) -> None:
    config = held(tmp_path)
    command = [sys.executable, "-m", "hpc", "run", "--config", config, "--parallel-jobs", "4"]
    running = subprocess.Popen(command, cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True)
    store = Store(tmp_path / "out")
    wait_until(lambda: store.exists() and min(s.epoch for s in statuses(store)) >= 3, "four cells in mid-training")
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=PATIENCE)
    assert running.returncode == 130, said
    assert "the same command resumes it" in said
    assert {status.state for status in statuses(store)} == {"STARTED"}
    release(tmp_path)
    holdfast("run", "--config", config, "--parallel-jobs", "4")
    restored = [result(store, cell)["provenance"]["restored_at_step"] for cell in store.sweep().grid]
    assert all(3 <= step < 40 for step in restored)
    holdfast("run", "--config", config, "--output-dir", "straight", "--parallel-jobs", "4")
    straight = (tmp_path / "straight" / "aggregated_results.json").read_bytes()
    assert (tmp_path / "out" / "aggregated_results.json").read_bytes() == straight


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "kill"])
def test_an_interrupt_that_comes_twice_at_once_is_one_as_timeout_sends_it(
    number: signal.Signals, tmp_path: Path
) -> None:
    config = held(tmp_path)
    command = [sys.executable, "-c", AS_ONE, "run", "--config", config, "--parallel-jobs", "1"]
    running = subprocess.Popen(command, cwd=tmp_path, env=environment(), stderr=subprocess.DEVNULL)
    store = Store(tmp_path / "out")
    wait_until(lambda: store.exists() and max(s.epoch for s in statuses(store)) >= 2, "a cell in mid-training")
    for _ in range(3):
        running.send_signal(number)
        time.sleep(0.05)
    assert running.wait(timeout=PATIENCE) == 130
    assert "saved at step" in (tmp_path / "out" / "individual_results" / "width_1_run_0" / "log.txt").read_text()
    assert store.paths.generations(1)


@pytest.mark.parametrize("number", ENDING, ids=["Ctrl-C", "kill", "closed terminal"])
def test_an_interrupt_that_is_repeated_until_the_command_has_ended_does_not_change_its_status(
    number: signal.Signals, tmp_path: Path
) -> None:
    config = held(tmp_path)
    command = [sys.executable, "-c", AS_ONE, "run", "--config", config, "--parallel-jobs", "1"]
    running = subprocess.Popen(command, cwd=tmp_path, env=environment(), stderr=subprocess.DEVNULL)
    store = Store(tmp_path / "out")
    wait_until(lambda: store.exists() and max(s.epoch for s in statuses(store)) >= 2, "a cell in mid-training")
    while running.poll() is None:
        running.send_signal(number)
        time.sleep(0.002)
    assert running.returncode == 130
    assert store.paths.generations(1)


def test_an_interrupt_saves_also_where_nobody_reads_what_the_command_says(tmp_path: Path) -> None:
    # As in `holdfast run 2>&1 | tee log`, whose Ctrl-C ends tee, too.
    config = held(tmp_path)
    command = [sys.executable, "-m", "hpc", "run", "--config", config, "--parallel-jobs", "1"]
    reader, writer = os.pipe()
    running = subprocess.Popen(command, cwd=tmp_path, env=environment(), stdout=writer, stderr=writer)
    os.close(writer)
    store = Store(tmp_path / "out")
    wait_until(lambda: store.exists() and max(s.epoch for s in statuses(store)) >= 2, "a cell in mid-training")
    os.close(reader)
    running.send_signal(signal.SIGINT)
    assert running.wait(timeout=PATIENCE) == 130
    assert store.paths.generations(1)


def test_a_run_goes_on_when_nobody_reads_what_it_says_any_more(tmp_path: Path) -> None:
    # As in `holdfast run 2>&1 | head -1`.
    config = held(tmp_path)
    command = [sys.executable, "-m", "hpc", "run", "--config", config]
    reader, writer = os.pipe()
    running = subprocess.Popen(command, cwd=tmp_path, env=environment(), stdout=writer, stderr=writer)
    os.close(writer)
    os.close(reader)
    store = Store(tmp_path / "out")
    wait_until(lambda: store.exists() and max(s.epoch for s in statuses(store)) >= 2, "a cell in mid-training")
    release(tmp_path)
    running.wait(timeout=PATIENCE)
    assert {status.state for status in statuses(store)} == {"COMPLETED"}


def test_what_a_task_was_told_is_nothing_to_a_run_that_is_started_in_it(holdfast: Holdfast, tmp_path: Path) -> None:
    told = {
        "HOLDFAST_STOP": "USR2",
        "HOLDFAST_CELLS": "1",
        "HOLDFAST_WORKERS": "3",
        "HOLDFAST_TRAINER_FILE": "/gone.py",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in told.items():
            patch.setenv(name, value)
        holdfast("run", "--config", configure(tmp_path))
    assert {status.state for status in statuses(Store(tmp_path / "out"))} == {"COMPLETED"}


def test_workers_of_a_command_that_was_killed_save_and_end(tmp_path: Path) -> None:
    config = held(tmp_path)
    has_all_the_time_to_save(tmp_path / "held.py")
    command = [sys.executable, "-m", "hpc", "run", "--config", config, "--parallel-jobs", "1"]
    running = subprocess.Popen(command, cwd=tmp_path, env=environment(), stderr=subprocess.DEVNULL)
    store = Store(tmp_path / "out")
    wait_until(lambda: store.exists() and max(s.epoch for s in statuses(store)) >= 2, "a cell in mid-training")
    worker = json.loads(store.paths.pack_file(1).read_text())["pid"]
    running.kill()
    running.wait()
    wait_until(lambda: not alive(worker), "the worker's end")
    assert store.paths.generations(1)


def test_more_runs_grow_a_sweep_and_keep_what_is_done(holdfast: Holdfast, tmp_path: Path) -> None:
    holdfast("run", "--config", configure(tmp_path))
    assert "4 done, 2 to run" in holdfast("run", "out", "--runs-per-condition", "3").stderr
    manifest = Store(tmp_path / "out").manifest()
    assert [revision["grid"]["seeds"] for revision in manifest["revisions"]] == [[42, 43], [42, 43, 44]]


def test_another_configuration_in_the_same_directory_is_refused_by_name(holdfast: Holdfast, tmp_path: Path) -> None:
    holdfast("run", "--config", configure(tmp_path))
    before = files_below(tmp_path)
    said = holdfast("run", "--config", configure(tmp_path, trainer_options={"epochs": 5}), expect=2).stderr
    assert "different in: options.epochs" in said
    assert files_below(tmp_path) == before


def test_one_cell_runs_in_the_foreground(holdfast: Holdfast, tmp_path: Path) -> None:
    done = holdfast("run", "--config", configure(tmp_path), "--cell", "width_2_run_0", "--debug")
    assert "width_2_run_0: COMPLETED" in done.stdout
    states = json.loads(holdfast("status", "out", "--json", expect=4).stdout)["states"]
    assert states == {"COMPLETED": 1, "MISSING": 3}
    store = Store(tmp_path / "out")
    (cell,) = [cell for cell in store.sweep().grid if cell.name == "width_2_run_0"]
    result = store.result(cell)
    assert result is not None
    assert store.paths.code_directory(result["provenance"]["code_digest"]).is_dir()


def test_a_raising_cell_fails_while_the_others_finish(holdfast: Holdfast, tmp_path: Path) -> None:
    (tmp_path / "cursed.py").write_text(
        "FACTORS = {'width': {'kind': 'integer'}}\n"
        "METRICS = {'error': {'kind': 'positive', 'better': 'lower'}}\n"
        "def train(cells, options, run):\n"
        "    for cell in cells:\n"
        "        if cell.factors['width'] == 2 and cell.run_id == 1:\n"
        "            raise ZeroDivisionError('cursed')\n"
        "        run.epoch(cell, 1, 1, {'error': 1.0})\n"
        "        run.finish(cell, {'error': 1.0})\n"
    )
    done = holdfast("run", "--config", configure(tmp_path, trainer="cursed.py:train"), "--pack", "4", expect=4)
    assert "3 COMPLETED" in done.stdout
    assert "ZeroDivisionError: cursed" in done.stderr
    shown = holdfast("show", "out", "width_2_run_1").stdout
    assert "FAILED" in shown
    assert "Traceback" in shown
    assert "cursed" in holdfast("show", "out", "width_2_run_1", "--log").stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--axis", "width=0"), "sweep.axes.width[0] is 0; 'width' must be 1 or more"),
        (("--axis", "width=1,1"), "this value is given twice"),
        (("--axis", "depth=1"), "has no factor 'depth'; its factors: width"),
        (("--dims", "8"), "has no factor 'dim'; its factors: width"),
        (("swep.name=x",), "unknown key 'swep'. Did you mean 'sweep'?"),
        (("--runs-per-condition", "0"), "sweep.runs_per_condition is 0"),
        (("--config", "absent.yaml"), "absent.yaml: there is no such file"),
        (("--pack", "many"), "--pack is 'many'"),
    ],
)
def test_bad_input_gets_one_line_and_leaves_nothing_behind(
    holdfast: Holdfast, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    config = configure(tmp_path)
    before = files_below(tmp_path)
    heard = holdfast("run", "--config", config, *words, expect=2).stderr.strip()
    assert said in heard
    assert len(heard.splitlines()) == 1
    assert files_below(tmp_path) == before


def test_an_unwritable_output_directory_is_named(holdfast: Holdfast, tmp_path: Path) -> None:
    config = configure(tmp_path)
    (tmp_path / "file").write_text("not a directory")
    heard = holdfast("run", "--config", config, "--output-dir", "file/out", expect=3).stderr
    assert str(tmp_path / "file") in heard
    heard = holdfast("run", "--config", config, "--output-dir", "/proc/holdfast", expect=3).stderr
    assert "/proc" in heard
    assert len(heard.strip().splitlines()) == 1


def test_only_one_command_at_a_time_works_in_a_directory(holdfast: Holdfast, tmp_path: Path) -> None:
    config = held(tmp_path)
    command = [sys.executable, "-m", "hpc", "run", "--config", config]
    running = subprocess.Popen(command, cwd=tmp_path, env=environment(), stderr=subprocess.DEVNULL)
    try:
        store = Store(tmp_path / "out")
        wait_until(lambda: store.exists() and max(s.epoch for s in statuses(store)) >= 2, "a cell in mid-training")
        heard = holdfast("run", "--config", config, expect=3).stderr
        assert f"process {running.pid}" in heard
        assert "--take-over" in heard
    finally:
        running.send_signal(signal.SIGINT)
        running.wait(timeout=PATIENCE)


def test_changed_trainer_code_is_refused_on_a_started_sweep_unless_allowed(holdfast: Holdfast, tmp_path: Path) -> None:
    trainer = tmp_path / "mine.py"
    trainer.write_text("import helper_of_mine\n" + WIDTH.read_text())
    (tmp_path / "helper_of_mine.py").write_text("A = 1\n")
    (tmp_path / "scratch.py").write_text("B = 1\n")
    holdfast("run", "--config", configure(tmp_path, trainer="mine.py:train"))
    (tmp_path / "scratch.py").write_text("B = 2\n")
    holdfast("run", "out", "--runs-per-condition", "3")
    (tmp_path / "helper_of_mine.py").write_text("A = 2\n")
    heard = holdfast("run", "out", "--runs-per-condition", "4", expect=2).stderr
    assert "--allow-code-change" in heard
    assert len(heard.strip().splitlines()) == 1
    holdfast("run", "out", "--runs-per-condition", "4", "--allow-code-change")
    digests = [entry["provenance"]["trainer_digest"] for entry in Store(tmp_path / "out").manifest()["revisions"]]
    assert len(digests) == 3
    assert digests[0] == digests[1] != digests[2]


def test_code_that_has_changed_is_refused_also_where_sweep_json_was_removed(holdfast: Holdfast, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(WIDTH.read_text())
    config = configure(tmp_path, trainer="mine.py:train")
    holdfast("run", "--config", config)
    (tmp_path / "mine.py").write_text(WIDTH.read_text() + "A = 1\n")
    (tmp_path / "out" / "sweep.json").unlink()
    before = files_below(tmp_path / "out")
    for words in (["run"], ["submit", "--profile", "local"], ["submit", "--profile", "local", "--dry-run"]):
        heard = holdfast(*words, "--config", config, expect=2).stderr
        assert "has cells of a sweep, but no sweep.json that says which" in heard
        assert len(heard.strip().splitlines()) == 1
    assert files_below(tmp_path / "out") == before


def test_a_dry_run_writes_nothing_for_any_profile(holdfast: Holdfast, tmp_path: Path) -> None:
    config = configure(tmp_path)
    before = files_below(tmp_path)
    assert "4 to run" in holdfast("submit", "--config", config, "--profile", "local", "--dry-run").stdout
    assert files_below(tmp_path) == before


def test_data_that_changed_since_planning_is_a_wrong_configuration(holdfast: Holdfast, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "rows.txt").write_text("1")
    config = configure(tmp_path, data={"dir": "data"})
    holdfast("run", "--config", config)
    (tmp_path / "data" / "rows.txt").write_text("2")
    heard = holdfast("run", "out", "--runs-per-condition", "3", expect=2).stderr
    assert str(tmp_path / "data") in heard


def test_a_sweep_of_which_all_cells_failed_may_be_corrected_in_place(holdfast: Holdfast, tmp_path: Path) -> None:
    holdfast("run", "--config", configure(tmp_path, trainer_options={"epoch": 4}), expect=4)
    done = holdfast("run", "--config", configure(tmp_path, trainer_options={"epochs": 4}), "--include-failed")
    assert "4 COMPLETED" in done.stdout


def test_a_repaired_trainer_goes_on_where_no_cell_had_finished(holdfast: Holdfast, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("raise RuntimeError('broken')\n" + WIDTH.read_text())
    config = configure(tmp_path, trainer="mine.py:train")
    holdfast("run", "--config", config, expect=4)
    (tmp_path / "mine.py").write_text(WIDTH.read_text())
    assert "4 COMPLETED" in holdfast("run", "out", "--include-failed").stdout


def test_of_cells_that_train_one_after_another_each_has_its_own_time(holdfast: Holdfast, tmp_path: Path) -> None:
    sweep = {"name": "small", "axes": {"width": [1]}, "runs_per_condition": 6}
    configure(tmp_path, sweep=sweep, trainer_options={"epochs": 2, "seconds": 0.1})
    began = time.time()
    holdfast("run", "--config", "sweep.yaml", "--pack", "6")
    store = Store(tmp_path / "out")
    results = [store.paths.result_file(cell) for cell in store.sweep().grid]
    seconds = [json.loads(path.read_text())["provenance"]["seconds"] for path in results]
    took = max(path.stat().st_mtime for path in results) - began
    assert min(seconds) >= 0.2
    assert sum(seconds) <= took + 0.1
