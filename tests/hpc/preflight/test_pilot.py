from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.command_line import ROOT
from helpers.small_sweeps import make_grid, make_sweep

from hpc.config.load import CommandLine, load
from hpc.node.saving import BACKGROUND_BYTES
from hpc.planning import pilot_record
from hpc.planning.cost import estimate
from hpc.planning.pilot_record import Pilot
from hpc.planning.plan import make_plan
from hpc.preflight import pilot_on_node
from hpc.preflight.pilot import PilotTrial, cut_short, from_answer, request, verdicts
from hpc.preflight.pilot_on_node import PilotRequest
from hpc.preflight.pilot_width import Mark, seconds_per_epoch, seconds_per_step
from hpc.slurm.profile import Profile
from hpc.slurm.profile_file import parse_profile
from hpc.storage.revisions import write_sweep
from hpc.storage.store import Store
from hpc.sweep.grid import Axis, Grid
from hpc.sweep.states import MISSING, CellStatus
from hpc.trainers.declaration import read_declaration

LOSS = {"loss": {"kind": "positive", "better": "lower"}}


def profile(**values: Any) -> Profile:
    return parse_profile("lab", values, "lab.yaml")


def entry(width: int, per_step: float | None, **changes: Any) -> dict[str, Any]:
    return {
        "width": width,
        "seconds_per_step": per_step,
        "seconds_per_epoch": 10.0,
        "seconds_in_all": None,
        "epochs": 50,
        "start_s": 4.0,
        "checkpoint_s": 0.2,
        "checkpoint_bytes": 1000,
        "host_bytes": 1 << 29,
        "device_bytes": None,
        "device_total_bytes": None,
        "device": "cpu",
    } | changes


def test_a_step_is_timed_between_checkpoints_without_what_they_cost() -> None:
    start, first, last = Mark(0, 0, 0), Mark(10, 13, 100), Mark(23, 25, 200)
    assert seconds_per_step([start, first, last]) == 0.1
    assert seconds_per_step([start, first]) == 0.1  # one checkpoint only: from the start
    slow, usual = Mark(35, 36, 210), Mark(46, 47, 310)
    assert seconds_per_step([start, first, last, slow, usual]) == 0.1  # a busy moment does not count
    assert seconds_per_step([start, first, first]) is None
    assert seconds_per_step([start]) is None
    assert seconds_per_step([]) is None


def test_an_epoch_is_timed_from_the_end_of_the_first() -> None:
    assert seconds_per_epoch({"a": [5.0, 7.0, 9.0], "b": [5.0]}) == 2.0
    assert seconds_per_epoch({"a": [5.0]}) is None
    assert seconds_per_epoch({"a": [5.0, 9.0]}, [Mark(1, 1, 0), Mark(2, 3, 10), Mark(6, 7, 30)]) == 3.0
    assert seconds_per_epoch({}) is None


def test_an_epoch_longer_than_a_pilots_seconds_is_timed_from_the_start_without_its_checkpoints() -> None:
    assert seconds_per_epoch({"a": [31.0]}, [Mark(1, 1, 0), Mark(5, 7, 40), Mark(40, 50, 300)]) == 28.0
    assert seconds_per_epoch({}, [Mark(1, 1, 0)]) is None


# Its time is its own: a step takes 2 ms by the clock that it and the pilot in its process read.
LONG = """
import time
import numpy
from training.contract import Checkpoint
FACTORS = {"width": {"kind": "integer"}}
METRICS = {"loss": {"kind": "positive", "better": "lower"}}

def train(cells, options, run):
    clock = [time.monotonic()]
    time.monotonic = lambda: clock[0]
    for cell in cells:
        run.restore(cell)
        for step in range(1, 100_000):
            clock[0] += 0.002
            if step % options["steps_per_epoch"] == 0:
                run.epoch(cell, step // options["steps_per_epoch"], 50, {"loss": 1.0})
            if run.stop or (options["saves"] and run.checkpoint_due()):
                run.save({cell: Checkpoint(step, {"x": numpy.zeros(options["numbers"])})})
            if run.stop:
                return
"""


@pytest.mark.parametrize("saves", [True, False])
@pytest.mark.parametrize(("epoch_s", "known"), [(60.0, True), (0.0, False)])
def test_the_narrowest_pack_goes_on_until_an_epoch_has_ended_so_that_a_plan_has_a_price(
    tmp_path: Path, saves: bool, epoch_s: float, known: bool
) -> None:
    (tmp_path / "long.py").write_text(LONG)
    trainer = read_declaration(f"{tmp_path}/long.py:train", [tmp_path])
    options = {"steps_per_epoch": 600, "saves": saves, "numbers": 1}
    sweep = replace(make_sweep(make_grid([1, 2], [42])), trainer=trainer, options=options)
    write_sweep(Store(tmp_path / "pilot"), sweep, {})
    request = PilotRequest([1], 0.2, 10.0, 1, "cpu", None, epoch_s)  # an epoch takes at least 1.2 s
    made = from_answer(pilot_on_node.measure(tmp_path / "pilot", request), sweep, profile())
    assert made.unit == "step"
    assert made.units == (pytest.approx(50 * 600, rel=0.01) if known else None)
    told = str(estimate(make_plan([CellStatus(cell, MISSING) for cell in sweep.grid]), None, {}, made))
    assert told.startswith("about " if known else "cost not known yet: no epoch ended in the pilot's time")


def test_a_checkpoint_that_is_written_beside_training_is_measured_whole(tmp_path: Path) -> None:
    (tmp_path / "long.py").write_text(LONG)
    trainer = read_declaration(f"{tmp_path}/long.py:train", [tmp_path])
    options = {"steps_per_epoch": 10, "saves": True, "numbers": BACKGROUND_BYTES // 8}
    write_sweep(Store(tmp_path / "pilot"), replace(make_sweep(), trainer=trainer, options=options), {})
    answer = pilot_on_node.measure(tmp_path / "pilot", PilotRequest([1], 0.5, 10.0, 1, "cpu", None))
    assert answer["ended"] == "the widest pack of the plan was measured"
    assert answer["measurements"][0]["checkpoint_bytes"] > BACKGROUND_BYTES


def test_what_copying_a_state_from_the_device_takes_is_no_training(tmp_path: Path) -> None:
    due = "run.checkpoint_due()):\n"
    assert LONG.count(due) == 1
    (tmp_path / "long.py").write_text(LONG.replace(due, f"{due}                clock[0] += 0.3\n"))
    trainer = read_declaration(f"{tmp_path}/long.py:train", [tmp_path])
    options = {"steps_per_epoch": 600, "saves": True, "numbers": 1}
    write_sweep(Store(tmp_path / "pilot"), replace(make_sweep(), trainer=trainer, options=options), {})
    (found,) = pilot_on_node.measure(tmp_path / "pilot", PilotRequest([1], 1.5, 30.0, 1, "cpu", None))["measurements"]
    assert found["checkpoint_s"] == pytest.approx(0.3)
    assert found["seconds_per_step"] == pytest.approx(0.002)


def test_a_command_that_leaves_out_how_many_epochs_it_takes_has_no_price_of_zero() -> None:
    answer = {"measurements": [entry(1, 0.1, epochs=0)], "ended": "x"}
    made = from_answer(answer, make_sweep(), profile())
    assert made.units is None
    told = str(estimate(make_plan([CellStatus(cell, MISSING) for cell in make_sweep().grid]), None, {}, made))
    assert told.startswith("cost not known yet: the trainer does not report how many epochs a cell takes; an estimate")


def test_a_pilot_is_kept_by_profile_device_type_and_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    sweep, lab = make_sweep(), profile(gpus_per_node=1, gpu_type="a100", mem_gb=8)
    made = from_answer({"measurements": [entry(1, 0.1), entry(2, 0.15)], "ended": "x"}, sweep, lab)
    path = pilot_record.save(made, lab)
    assert pilot_record.load(lab, sweep.config_digest) == made
    assert made.units == 5000
    assert pilot_record.load(profile(gpus_per_node=1, gpu_type="h100"), sweep.config_digest) is None
    assert pilot_record.load(lab, "0" * 64) is None
    path.write_text("{}")
    assert pilot_record.load(lab, sweep.config_digest) is None
    path.write_bytes(b"\xff[")
    assert pilot_record.load(lab, sweep.config_digest) is None


def test_what_has_no_steps_is_counted_in_epochs_and_what_has_neither_is_told() -> None:
    by_epoch = from_answer({"measurements": [entry(1, None)], "ended": "x"}, make_sweep(), profile())
    assert (by_epoch.unit, by_epoch.measurements[0].seconds, by_epoch.units) == ("epoch", 10.0, 50)
    nothing = entry(1, None, seconds_per_epoch=None)
    with pytest.raises(ValueError, match="no epoch ended in the pilot's time, and nothing was saved"):
        from_answer({"measurements": [nothing], "ended": "x"}, make_sweep(), profile())
    whole = from_answer({"measurements": [nothing | {"seconds_in_all": 3.0}], "ended": "x"}, make_sweep(), profile())
    assert (whole.unit, whole.measurements[0].seconds, whole.units, whole.start_s) == ("cell", 3.0, 1, 4.0)
    with pytest.raises(ValueError, match="a pack of 1 failed: boom"):
        from_answer({"measurements": [], "ended": "a pack of 1 failed: boom"}, make_sweep(), profile())


def test_only_trainers_that_fuse_are_measured_in_packs_and_as_wide_as_the_sweep() -> None:
    grid = make_grid(range(1, 11), [42])
    assert request(make_sweep(grid, pack_mode="fused"), profile()).widths == [1, 2, 3, 5, 8, 10]
    wide = make_sweep(make_grid(range(1, 211), [42]), pack_mode="fused")
    assert request(wide, profile(gpus_per_node=1)).widths == [1, 8, 32, 128, 210]
    assert request(wide, profile()).widths[-2:] == [144, 210]
    assert request(make_sweep(grid), profile()).widths == [1]
    assert request(make_sweep(grid), profile(mem_gb=8, gpus_per_node=4)).host_bytes == 2 << 30


def test_a_job_that_its_profile_cuts_short_is_told_with_the_limit_that_it_needs() -> None:
    (found,) = cut_short(profile(timeout_min=60), 80)
    assert found.text.startswith("timeout_min of the profile is 60, and the job may take 80 min")
    assert "--set timeout_min=80" in found.fix
    assert cut_short(profile(timeout_min=80), 80) == cut_short(profile(), 80) == []


def series(*gigabytes: float) -> dict[str, Any]:
    """An answer with packs of 1, 2, 4, ... that take a step of the same time, and this memory."""
    found = [entry(2**i, 1.0, host_bytes=int(gb * 2**30)) for i, gb in enumerate(gigabytes)]
    return {"measurements": found, "ended": "x", "conditions": []}


def test_a_pack_fits_into_the_least_memory_that_any_of_its_cells_gets() -> None:
    lab, small, tiny = profile(mem_gb=8), (("mem_gb", 2),), (("mem_gb", 0.5),)
    made = from_answer(series(0.5, 1.5, 3.0), make_sweep(make_grid([1, 2], [42, 43])), lab)
    assert pilot_record.choose_pack(made, lab, 4, 1).pack_size == 4
    assert pilot_record.choose_pack(made, lab, 4, 1, [(), (("timeout_min", 10),)]).pack_size == 4
    assert pilot_record.choose_pack(made, lab, 4, 1, [(), small]).pack_size == 2
    alone = pilot_record.choose_pack(made, lab, 4, 1, [(), tiny])  # what the last cells take says nothing of small ones
    assert alone.pack_size == 1
    assert alone.reason.endswith("; resources give some of them mem_gb 0.5, too little for packs")
    for asked in ([tiny], [tiny, (("mem_gb", 0.4),)]):
        with pytest.raises(ValueError, match="a pack of 1 needs more memory than a task has"):
            pilot_record.choose_pack(made, lab, 4, 1, asked)


@pytest.mark.parametrize(("memory", "level", "pack"), [(1.2, "note", 4), (0.3, "ok", 1)])
def test_a_pack_is_chosen_with_the_rules_that_are_shown_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: float, level: str, pack: int
) -> None:
    """Rules are of one cell per task: of time, they are told beside a wider pack; of memory, they keep it narrow."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    sweep = make_sweep(make_grid([1, 2], [42, 43]), pack_mode="fused")
    needs = [
        {"cell": 0, "trouble": "", **entry(1, 1.0, seconds_in_all=20.0, host_bytes=int(memory * 2**30))},
        {"cell": 2, "trouble": "", **entry(1, 1.0, seconds_in_all=2000.0, host_bytes=int(1.2 * 2**30))},
    ]
    answer = series(0.5, 1.0, 1.2) | {"conditions": needs}
    (tmp_path / pilot_on_node.ANSWER).write_text(json.dumps(answer))
    trial = PilotTrial(tmp_path, sweep, profile(mem_gb=2), 5)
    (found,) = [finding for finding in verdicts(trial, [], {}) if finding.subject == "pack"]
    assert found.level == level
    assert found.text.startswith(f"--pack auto would with the rules shown below take {pack}: ")
    assert ("the rules are of tasks with one cell per worker" in found.text) == (level == "note")


def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, costs: dict[int, Any], **changes: Any) -> dict[str, Any]:
    """A series with the given results of each width."""
    request = PilotRequest(list(costs), 1.0, 1000.0, 1, "cpu", 1 << 30)
    request = PilotRequest(**vars(request) | changes)
    monkeypatch.setattr(pilot_on_node, "_one", lambda directory, request, first, width, epoch_s: costs[width])
    return pilot_on_node.measure(tmp_path, request)


def test_a_series_ends_with_memory_failure_time_or_when_wider_packs_gain_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = {width: (entry(width, 1.0), "") for width in (1, 2, 3)}
    whole = measured(tmp_path, monkeypatch, good)
    assert ([e["width"] for e in whole["measurements"]], "widest" in whole["ended"]) == ([1, 2, 3], True)
    failed = measured(tmp_path, monkeypatch, good | {2: (None, "MemoryError")})
    assert (len(failed["measurements"]), failed["ended"]) == (1, "a pack of 2 failed: MemoryError")
    full = measured(tmp_path, monkeypatch, good | {2: (entry(2, 1.0, host_bytes=1 << 30), "")})
    assert (len(full["measurements"]), full["ended"]) == (2, "a pack of 2 fills the memory")
    late = measured(tmp_path, monkeypatch, good, total_s=1.0)
    assert (len(late["measurements"]), late["ended"]) == (1, "1 s were over before a pack of 2")
    flat = {width: (entry(width, float(width)), "") for width in (1, 2, 3, 5)}
    assert measured(tmp_path, monkeypatch, flat)["ended"] == "packs wider than 1 are no faster"


@pytest.mark.parametrize(
    ("changes", "seconds"),
    [
        ({}, 504.0),  # fifty epochs of ten seconds, and the start
        ({"seconds_in_all": 20.0}, 24.0),
        ({"seconds_in_all": 20.0, "start_s": None}, 20.0),
        ({"epochs": 0}, None),
    ],
)
def test_what_a_cell_of_a_condition_takes_is_by_its_end_or_by_its_epochs(
    tmp_path: Path, changes: dict[str, Any], seconds: float | None
) -> None:
    sweep = make_sweep(make_grid([1, 2], [42, 43]))
    assert request(sweep, profile(), 5).conditions == [0, 2]
    assert request(sweep, profile()).conditions == []
    conditions = [{"cell": 0, "trouble": "MemoryError"}, {"cell": 2, "trouble": "", **entry(1, 0.1, **changes)}]
    answer = {"measurements": [], "ended": "a pack of 1 failed: boom", "conditions": conditions}
    (tmp_path / pilot_on_node.ANSWER).write_text(json.dumps(answer))
    trial, facts = PilotTrial(tmp_path, sweep, profile(mem_gb=16), 5), dict[str, Any]()
    found = {finding.text for finding in verdicts(trial, [], facts) if finding.subject == "conditions"}
    assert "width_1: MemoryError" in found
    assert any(text.startswith("1 of 2 measured: 537 MB to 537 MB of memory") for text in found)
    assert any("504" in text or "8.4 min" in text for text in found) == (seconds == 504.0)
    (rule,) = trial.rules
    assert (rule.when, dict(rule.asked)["mem_gb"]) == ((("width", (2,)),), 1)
    assert ("timeout_min" in dict(rule.asked)) == (seconds is not None)
    uncounted = "the trainer does not report how many epochs cells of 1 condition take: no rule is about their time"
    assert (uncounted in found) == (seconds is None)
    assert not any("no epoch" in text for text in found)


def test_no_rule_is_about_a_condition_that_was_cut_off_before_an_epoch_ended(tmp_path: Path) -> None:
    """It may have been loading its data still."""
    early = entry(1, 0.1, seconds_per_epoch=None, epochs=None, host_bytes=1 << 28)
    conditions = [{"cell": 0, "trouble": "", **early}, {"cell": 2, "trouble": "", **entry(1, 0.1)}]
    answer = {"measurements": [], "ended": "a pack of 1 failed: boom", "conditions": conditions}
    (tmp_path / pilot_on_node.ANSWER).write_text(json.dumps(answer))
    trial = PilotTrial(tmp_path, make_sweep(make_grid([1, 2], [42, 43])), profile(mem_gb=16), 5)
    found = {finding.text for finding in verdicts(trial, [], {}) if finding.subject == "conditions"}
    late = "no epoch of 1 condition ended in 150 s, which no rule is about: what they take to their end is not known"
    assert late in found
    assert [rule.when for rule in trial.rules] == [(("width", (2,)),)] * len(trial.rules)
    assert trial.rules


def test_a_job_that_ended_before_its_pilot_began_is_told_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_text("slurmstepd: error: Exceeded job memory limit\n")
    (told,) = verdicts(PilotTrial(tmp_path, make_sweep(make_grid([1], [42])), profile(mem_gb=0.5), 5), [], {})
    assert (told.level, told.text) == ("problem", "it gave no answer: slurmstepd: error: Exceeded job memory limit")
    assert told.fix == "if memory ran out, give the pilot more: --set mem_gb=N; else see the configuration's trainer"


def test_what_was_measured_of_conditions_is_kept_where_packs_fail_and_until_it_is_measured_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    sweep, lab = make_sweep(make_grid([1, 2], [42, 43])), profile(mem_gb=16)

    def kept(conditions: list[dict[str, Any]], *measurements: Any, code: str = "a") -> tuple[Pilot, str]:
        answer = {"measurements": measurements, "ended": "a pack of 1 failed: boom", "conditions": conditions}
        (tmp_path / pilot_on_node.ANSWER).write_text(json.dumps(answer))
        verdicts(PilotTrial(tmp_path, sweep, lab, 5 * bool(conditions), code), [], {})
        found = pilot_record.load(lab, sweep.config_digest)
        assert found is not None
        plan = make_plan([CellStatus(cell, MISSING) for cell in sweep.grid])
        return found, str(estimate(plan, None, {}, found))

    first = {"cell": 0, "trouble": "", **entry(1, 0.1, seconds_in_all=36.0, start_s=0.0)}
    second = {"cell": 2, "trouble": "", **entry(1, 0.1, seconds_in_all=72.0, start_s=0.0)}
    failed = {"cell": 2, "trouble": "MemoryError"}
    found, told = kept([first, failed])
    assert [(need.condition, need.seconds) for need in found.needs] == [("width_1", 36.0), ("width_2", None)]
    assert (found.measurements, found.hardware) == ((), "cpu")
    assert told.startswith("cost not known yet: a pack of 1 failed: boom; an estimate needs two finished cells")
    found, told = kept([second])
    assert "from the pilot of each condition on cpu" in told
    cut_off = {"cell": 0, "trouble": "", **entry(1, 0.1, seconds_per_epoch=None, epochs=None)}
    for again in ([], [failed], [cut_off]):  # packs alone, a cell that fails, one that is cut off
        found, told = kept(again, entry(1, 0.1))
        assert [need.seconds for need in found.needs] == [36.0, 72.0]
        assert found.measurements
    assert kept([second])[0].measurements  # nor are packs lost
    assert kept([], entry(1, 0.1), code="b")[0].needs == ()  # of other code


def test_conditions_are_measured_as_far_as_the_time_lasts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    took: list[int] = []

    def one(directory: Path, request: PilotRequest, first: int, width: int, epoch_s: float) -> Any:
        took.append(first)
        time.sleep(0.2)
        return None, "x"

    monkeypatch.setattr(pilot_on_node, "_one", one)
    request = PilotRequest([1], 1.0, 1.0, 1, "cpu", None, 0.0, [0, 2, 4, 6], 0.7)
    answer: dict[str, Any] = {"conditions": []}
    pilot_on_node.measure_conditions(tmp_path, request, answer)
    assert answer["conditions"] == [{"cell": cell, "trouble": "x"} for cell in took]
    assert 1 <= len(took) <= 3
    left = json.loads((tmp_path / pilot_on_node.ANSWER).read_text())["conditions"][-1]
    assert left == {"cell": took[-1], "trouble": "the job ended while it trained, as when memory or time runs out"}


# It holds as much as its factor says, half of it in a process of its own, for a second and until that has been looked
# at: the first of two looks may have begun before.
GREEDY = """
import subprocess, sys, threading, time
from hpc import processes
look, looks = processes.memory, threading.Semaphore(0)
def counted(pid):
    found = look(pid)
    looks.release()
    return found
processes.memory = counted
FACTORS = {"mb": {"kind": "integer"}}
METRICS = {"loss": {"kind": "positive", "better": "lower"}}
HOLD = "import sys, time; x = bytearray(int(sys.argv[1]) * 10**6); print(flush=True); time.sleep(600)"

def train(cells, options, run):
    for cell in cells:
        half = cell.factors["mb"] // 2
        with subprocess.Popen([sys.executable, "-c", HOLD, str(half)], stdout=subprocess.PIPE) as other:
            other.stdout.readline()
            held = bytearray(half * 10**6)
            time.sleep(1)
            while looks.acquire(blocking=False):
                pass
            for _ in range(2):
                looks.acquire()
            other.kill()
        if half == 3:
            run.fail(cell, "no such size")
        else:
            run.finish(cell, {"loss": 1.0})
"""


def test_memory_is_that_of_a_trainer_and_of_all_that_it_started_and_a_failed_cell_says_why(tmp_path: Path) -> None:
    (tmp_path / "greedy.py").write_text(GREEDY)
    trainer = read_declaration(f"{tmp_path}/greedy.py:train", [tmp_path])
    sweep = replace(make_sweep(Grid((Axis("mb", (2, 6, 400)),), (42, 43))), trainer=trainer)
    write_sweep(Store(tmp_path / "pilot"), sweep, {})
    request = PilotRequest([1], 1.0, 10.0, 1, "cpu", None, 0.0, [0, 2, 4], 600.0)
    answer: dict[str, Any] = {"conditions": []}
    pilot_on_node.measure_conditions(tmp_path / "pilot", request, answer)
    small, failed, large = answer["conditions"]
    assert failed == {"cell": 2, "trouble": "no such size"}
    assert 300e6 < large["host_bytes"] - small["host_bytes"] < 420e6  # half of 400 MB is in a process of its own
    assert 1 < large["seconds_in_all"] < 60
    assert large["seconds_per_epoch"] is None


COMMAND = {"command": "sleep 1.5; : > ENDED; exit 3", "factors": {"mb": {"kind": "integer"}}, "metrics": LOSS}
CRASHING = {"command": "python crash.py {mb} {seed}", "metrics": "metrics.json", "measures": ["loss"]}


@pytest.mark.parametrize("trainer", [COMMAND, CRASHING])
def test_a_program_that_crashes_just_before_the_pilots_own_clock_ends_was_not_measured(
    tmp_path: Path, trainer: dict[str, Any]
) -> None:
    """That clock ends after 3 s; one that has ended is watched for 2 s more, as its task may be stopped, too.

    Where a program takes too long to start, that clock is first. Then a longer one is tried: longer by less than those
    2 s, so that the crash still comes within them.
    """
    ended = tmp_path / "ended"
    command = trainer["command"].replace("ENDED", str(ended))
    crash = f"import os, time\ntime.sleep(1.5)\nopen({str(ended)!r}, 'w').close()\nos._exit(3)\n"
    (tmp_path / "crash.py").write_text(crash)
    sweep = {"name": "crash", "axes": {"mb": [1]}, "runs_per_condition": 1}
    config = {"trainer": trainer | {"command": command}, "sweep": sweep}
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(config))
    loaded = load(CommandLine(config=tmp_path / "sweep.yaml"))
    for seconds in (1.0 + 0.5 * longer for longer in range(20)):
        directory = tmp_path / f"pilot-{seconds}"
        write_sweep(Store(directory), loaded.sweep, {})
        answer: dict[str, Any] = {"conditions": []}
        request = PilotRequest([1], seconds, 1.0, 1, "cpu", None, 0.0, [0], 600.0)
        pilot_on_node.measure_conditions(directory, request, answer)
        (found,) = answer["conditions"]
        if found["trouble"] or ended.exists():
            break
    assert "ended with status 3" in found["trouble"]


def test_a_program_that_ended_before_anyone_looked_is_known_to_have_run() -> None:
    looks = "processes.has_had_children(), processes.has_children()"
    source = f"import subprocess\nfrom hpc import processes\nprint({looks})\nsubprocess.run(['true'])\nprint({looks})"
    done = subprocess.run([sys.executable, "-c", source], cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout.splitlines() == ["False False", "True False"]


def test_a_request_comes_back_from_its_file(tmp_path: Path) -> None:
    request = PilotRequest([1, 2], 1.0, 2.0, 3, "cpu", None)
    request.write(tmp_path)
    assert PilotRequest.read(tmp_path) == request
    assert json.loads((tmp_path / pilot_on_node.REQUEST).read_text())["threads"] == 3
