"""Going on with a sweep by its directory: its data gone, its results damaged, its cells open, its grid cut."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml
from helpers.command_line import ROOT, WITH_DATA, Holdfast, environment
from helpers.held import held_trainer, hold
from helpers.small_sweeps import make_store, make_sweep, write_trainer
from helpers.waiting import PATIENCE, wait_until

from hpc.cli import show
from hpc.node.attempt import PackAttempt
from training.shapes.generate import generate


def write(directory: Path, name: str, content: object) -> str:
    (directory / name).write_text(yaml.safe_dump(content))
    return name


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Two of four cells done, of a trainer with data."""
    shutil.copy(WITH_DATA, tmp_path / "mine.py")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "numbers.txt").write_text("1 2 3")
    sweep = {"name": "small", "axes": {"width": [1, 2]}, "runs_per_condition": 1}
    write(tmp_path, "sweep.yaml", {"trainer": "mine.py:train", "data": {"dir": "data"}, "sweep": sweep})
    return tmp_path


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@pytest.mark.parametrize("command", ["plan", "run", "submit"])
@pytest.mark.parametrize("how", ["gone", "changed"])
def test_data_that_is_not_what_it_was_is_refused_before_anything_is_written(
    holdfast: Holdfast, small: Path, command: str, how: str
) -> None:
    holdfast("run", "--config", "sweep.yaml")
    if how == "gone":
        shutil.rmtree(small / "data")
    else:
        (small / "data" / "numbers.txt").write_text("1 2 4")
    before = contents(small / "out")
    profile = ("--profile", "local") if command == "submit" else ()
    done = holdfast(command, "out", "--runs-per-condition", "2", *profile, expect=2)
    said = "the data of this sweep is missing; put it back" if how == "gone" else "the data has changed since planning"
    assert done.stderr.count(said) == 1
    assert contents(small / "out") == before


def test_a_finished_sweep_does_not_need_its_data(holdfast: Holdfast, small: Path) -> None:
    holdfast("run", "--config", "sweep.yaml")
    shutil.rmtree(small / "data")
    assert "2 done, nothing to run" in holdfast("run", "out").stderr


def test_a_damaged_result_is_set_aside_named_and_trained_again(holdfast: Holdfast, small: Path) -> None:
    holdfast("run", "--config", "sweep.yaml")
    path = small / "out" / "individual_results" / "width_1_run_0" / "results.json"
    whole = json.loads(path.read_text())
    path.write_text(path.read_text()[:100])
    done = holdfast("run", "out")
    assert "results.json" in done.stderr
    assert "it is set aside and the cell trained again" in done.stderr
    assert json.loads(path.read_text())["outcome_digest"] == whole["outcome_digest"]
    assert len(list(path.parent.glob("results.json.corrupt-*"))) == 1


def test_status_of_a_sweep_that_nobody_works_on_and_that_is_not_done_is_4(holdfast: Holdfast, small: Path) -> None:
    holdfast("run", "--config", "sweep.yaml", "--cell", "width_1_run_0", "--debug")
    holdfast("status", "out", expect=4)
    holdfast("status", "out", "--watch", expect=4)
    holdfast("run", "out")
    holdfast("status", "out")


def test_status_of_a_sweep_that_a_command_works_on_is_0(holdfast: Holdfast, tmp_path: Path) -> None:
    sweep = {"name": "slow", "axes": {"width": [1]}, "runs_per_condition": 1}
    options = {"epochs": 40} | hold(tmp_path)
    config = write(
        tmp_path,
        "slow.yaml",
        {"trainer": f"{held_trainer(tmp_path)}:train", "trainer_options": options, "sweep": sweep},
    )
    command = [sys.executable, "-m", "hpc", "run", "--config", config]
    running = subprocess.Popen(command, cwd=tmp_path, env=environment(), stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: list(tmp_path.glob("out/packs/*/progress.json")), "a cell in training")
        assert running.poll() is None
        assert "STARTED" in holdfast("status", "out").stdout
    finally:
        running.terminate()
        running.wait(PATIENCE)
    holdfast("status", "out", expect=4)


def test_following_a_log_that_is_longer_than_what_is_shown_of_it_prints_each_line_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = make_store(tmp_path / "out", make_sweep(path=write_trainer(tmp_path / "code")))
    cell = store.sweep().grid[0]
    attempt = PackAttempt.begin(store, store.sweep(), [cell], 1, {})
    attempt.log(cell, "started")
    output = store.paths.pack_log(attempt.number)
    output.write_text("".join(f"early line {number}\n" for number in range(100_000)))  # 1.8 MB
    looks = iter(range(5))

    def has_ended(*_: object) -> bool:
        """The task writes, once to its output and once to the cell's log, before each look but the first."""
        look = next(looks)
        if look:
            attempt.log(cell, f"saved {look}")
            with output.open("a") as file:
                file.write(f"late line {look}\n")
        return look == 4

    monkeypatch.setattr(show.one_cell, "has_ended", has_ended)
    monkeypatch.setattr(show, "_FOLLOW_SECONDS", 0.0)
    show._follow(store, cell)
    said = capsys.readouterr().out
    lines = Counter(said.splitlines())
    assert [lines[f"late line {look}"] for look in (1, 2, 3, 4)] == [1, 1, 1, 1]
    assert [said.count(f"saved {look}\n") for look in (1, 2, 3, 4)] == [1, 1, 1, 1]
    assert lines["early line 99999"] == 1
    assert len(said) < 1_100_000


def test_following_a_cell_that_has_ended_ends(holdfast: Holdfast, small: Path) -> None:
    holdfast("run", "--config", "sweep.yaml")
    assert "published: COMPLETED" in holdfast("show", "out", "width_1_run_0", "--follow").stdout


def test_a_cell_that_does_not_exist_is_refused_before_anything_is_written(holdfast: Holdfast, small: Path) -> None:
    holdfast("run", "--config", "sweep.yaml", "--cell", "width_9_run_0", expect=2)
    assert not (small / "out").exists()


def test_results_say_from_which_commits_they_are(holdfast: Holdfast, small: Path) -> None:
    holdfast("run", "--config", "sweep.yaml")
    result = json.loads((small / "out" / "individual_results" / "width_1_run_0" / "results.json").read_text())
    assert set(result["provenance"]["git"]) == {"holdfast", "trainer"}
    commit = result["provenance"]["git"]["holdfast"]
    assert commit is None or set(commit) == {"commit", "modified"}


def test_verbose_may_stand_before_and_after_the_command(holdfast: Holdfast, small: Path) -> None:
    holdfast("-v", "plan", "--config", "sweep.yaml")
    holdfast("plan", "--config", "sweep.yaml", "-v")
    assert "Traceback" in holdfast("status", "nowhere", "-v", expect=2).stderr
    assert "Traceback" not in holdfast("status", "nowhere", expect=2).stderr


@pytest.fixture
def built_in(tmp_path: Path) -> Path:
    generate(tmp_path / "data", train=320, val=64, test=10, seed=1, latents="mixed")
    grid = {"dims": [8, 32], "scales": [0.1, 1.0], "runs_per_condition": 3}
    analysis = {"reference": {"dim": 32, "scale": 1.0}}
    write(tmp_path, "sweep.yaml", {"data": {"dir": "data"}, "sweep": grid, "analysis": analysis})
    return tmp_path


def test_a_grid_cut_by_the_command_line_leaves_out_the_files_reference_and_says_so(
    holdfast: Holdfast, built_in: Path
) -> None:
    done = holdfast("plan", "--config", "sweep.yaml", "--dims", "8")
    assert "6 cells" in done.stdout
    assert "sweep.yaml: analysis.reference (dim 32, scale 1.0) is not in this grid" in done.stderr


def test_a_file_that_contradicts_itself_is_still_refused(holdfast: Holdfast, built_in: Path) -> None:
    text = (built_in / "sweep.yaml").read_text().replace("- 32\n", "- 16\n")
    (built_in / "sweep.yaml").write_text(text)
    assert "analysis.reference.dim is 32; valid: 8, 16" in holdfast("plan", "--config", "sweep.yaml", expect=2).stderr


def test_a_wrong_grid_brings_no_second_fault_of_its_reference(holdfast: Holdfast, built_in: Path) -> None:
    done = holdfast("plan", "--config", "sweep.yaml", "--dims", "8,8.5", expect=2)
    assert done.stderr.count("\n") == 1, done.stderr


def test_seeds_of_the_command_line_replace_the_files_number_of_runs(holdfast: Holdfast, built_in: Path) -> None:
    assert "8 cells" in holdfast("plan", "--config", "sweep.yaml", "sweep.seeds=[42,43]").stdout
    both = ("--runs-per-condition", "5", "sweep.seeds=[42,43]")
    assert "runs_per_condition is 5" in holdfast("plan", "--config", "sweep.yaml", *both, expect=2).stderr


@pytest.mark.parametrize("command", ["plan", "run"])
def test_what_cannot_be_tested_is_said_again_when_a_sweep_is_continued(
    holdfast: Holdfast, small: Path, command: str
) -> None:
    said = "no test: one seed says nothing about chance"
    assert said in holdfast("run", "--config", "sweep.yaml").stderr
    assert said in holdfast(command, "out").stderr
    assert said not in holdfast("plan", "out", "--runs-per-condition", "2").stderr


def test_values_of_a_factor_are_added_to_a_sweep_and_the_claims_stay_where_they_were(
    holdfast: Holdfast, small: Path
) -> None:
    holdfast("run", "--config", "sweep.yaml")
    said = holdfast("run", "out", "--axis", "width=4,2,3").stderr
    assert "note: width gets 3, 4: comparisons with these conditions are exploratory; " in said
    assert "fixed before the first job stay on 1, 2\n" in said
    assert "4 cells: 2 done, 2 to run" in said
    revisions = json.loads((small / "out" / "sweep.json").read_text())["revisions"]
    assert [revision["grid"]["axes"] for revision in revisions] == [[["width", [1, 2]]], [["width", [1, 2, 3, 4]]]]
    assert "conditions were added" in holdfast("aggregate", "out").stderr
    assert "note: width" not in holdfast("run", "out", "--axis", "width=4").stderr


def test_seeds_that_are_added_when_results_are_there_end_what_was_fixed_before(holdfast: Holdfast, small: Path) -> None:
    holdfast("run", "--config", "sweep.yaml", "--cell", "width_1_run_0", "--debug")
    said = holdfast("plan", "out", "--runs-per-condition", "2").stderr
    assert "looked at 2 times, 1 planned (analysis.looks): no claim counts as fixed before the first job" in said
    assert "looked at" not in holdfast("plan", "out").stderr


@pytest.mark.parametrize(
    ("axis", "line"),
    [
        ("width=x", "command line: --axis width[0] is 'x'; 'width' must be a number"),
        ("lr=0.1", "command line: --axis lr: the sweep's factors are width; a new factor is another sweep"),
        ("width", "command line: --axis is 'width'; write --axis name=value,value"),
        ("width=0", "command line: --axis width[0] is 0; 'width' must be 1 or more"),
        ("width=7,7", "command line: --axis width[1] is 7; this value is given twice"),
    ],
)
def test_a_value_that_cannot_be_added_is_refused_in_a_line(
    holdfast: Holdfast, small: Path, axis: str, line: str
) -> None:
    holdfast("run", "--config", "sweep.yaml", "--cell", "width_1_run_0", "--debug")
    before = contents(small / "out")
    said = holdfast("run", "out", "--axis", axis, expect=2).stderr
    assert said.startswith(line)
    assert len(said.splitlines()) == 1
    assert contents(small / "out") == before


def test_an_edit_of_what_is_tested_is_noted_as_one_that_does_not_count(holdfast: Holdfast, small: Path) -> None:
    run = ("run", "--config", "sweep.yaml")
    assert "does not count" not in holdfast(*run, "analysis.alpha=0.05").stderr
    said = holdfast(*run, "analysis.looks=2", "analysis.primary_metrics=[size]", "analysis.formats=[png]").stderr
    assert "note: analysis.looks is 1 since the sweep began; this edit does not count" in said
    assert said.count("does not count") == 1, "the metric was the first one anyway"
    assert "does not count" not in holdfast(*run).stderr
    assert "analysis.looks is 1 since" in holdfast(*run, "analysis.looks=2", "--runs-per-condition", "2").stderr


def test_labels_are_taken_from_a_configuration_that_asks_for_a_part_of_the_sweep(
    holdfast: Holdfast, small: Path
) -> None:
    holdfast("run", "--config", "sweep.yaml", "--runs-per-condition", "2")
    holdfast("run", "--config", "sweep.yaml", "analysis.labels.width=hidden units")
    assert "hidden units" in (small / "out" / "report.html").read_text()
    sweep = json.loads((small / "out" / "sweep.json").read_text())["revisions"][-1]
    assert len(sweep["grid"]["seeds"]) == 2


def test_code_of_ones_own_is_not_told_to_be_run(holdfast: Holdfast, small: Path) -> None:
    holdfast("run", "--config", "sweep.yaml")
    assert "runs trainer" not in holdfast("run", "out", "--runs-per-condition", "2").stderr


@pytest.mark.parametrize("command", ["redo", "cancel"])
def test_a_cell_without_its_option_is_told_which_one(holdfast: Holdfast, small: Path, command: str) -> None:
    holdfast("run", "--config", "sweep.yaml")
    said = holdfast(command, "out", "width_1_run_0", expect=2).stderr
    assert said.endswith("too many arguments: width_1_run_0; name a cell with --cell width_1_run_0\n")


def test_the_command_can_be_run_as_a_module_of_either_name(tmp_path: Path) -> None:
    said = {
        subprocess.run(
            [sys.executable, "-m", name, "--version"], env=environment(), cwd=ROOT, capture_output=True, check=True
        ).stdout
        for name in ("hpc", "holdfast")
    }
    assert len(said) == 1
    assert said != {b""}


def test_a_plan_shows_what_will_be_tested(holdfast: Holdfast, small: Path) -> None:
    compare = "analysis.tests=[{metric: size, slope: width}, {metric: size, compare: {width: [2, 1]}}]"
    plan = ("plan", "--config", "sweep.yaml", compare, "--runs-per-condition")
    assert holdfast(*plan, "3").stdout.endswith("tests: slope of size on width; size: width 2 against 1\n")
    assert "tests:" not in holdfast(*plan, "1").stdout
