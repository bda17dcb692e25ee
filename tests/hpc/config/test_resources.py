"""resources of a configuration: what they come to for each cell, what they are no part of, every fault in a line."""

from __future__ import annotations

import resource
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from hpc.config.load import CommandLine, load
from hpc.config.resources_section import add_section, check_can_be_added, section_text
from hpc.errors import ConfigError, shown
from hpc.launch.preparation import asked_beside, check_resources
from hpc.launch.request import SweepOptions, resolve
from hpc.planning import pilot_record
from hpc.planning.fitting import Need
from hpc.planning.pilot_record import Pilot
from hpc.slurm.profile_file import load_profile
from hpc.storage.revisions import write_sweep
from hpc.storage.store import Store
from hpc.sweep.definition import Sweep
from hpc.sweep.resources import Matching, ResourceRule
from hpc.yaml_files import read_yaml

TRAINER = """
FACTORS = {"width": {"kind": "integer", "minimum": 1}, "rate": {"kind": "real"}, "mode": {"kind": "word"}}
METRICS = {"error": {"kind": "positive", "better": "lower"}}


def train(cells, options, run):
    pass
"""
LARGE = {"when": {"width": 1024}, "mem_gb": 64, "timeout_min": 600}


def configured(folder: Path, rules: Any, **sweep: Any) -> Path:
    (folder / "own.py").write_text(TRAINER)
    section = {"axes": {"width": [64, 256, 1024], "mode": ["ours", "baseline"]}, "runs_per_condition": 1} | sweep
    (folder / "sweep.yaml").write_text(
        yaml.safe_dump({"trainer": "own.py:train", "sweep": section, "resources": rules}, sort_keys=False)
    )
    return folder / "sweep.yaml"


def read(folder: Path, rules: Any, *on_line: str, **sweep: Any) -> Sweep:
    return load(CommandLine(config=configured(folder, rules, **sweep), axes=on_line)).sweep


def refused(folder: Path, rules: Any, **sweep: Any) -> list[str]:
    with pytest.raises(ConfigError) as error:
        read(folder, rules, **sweep)
    return error.value.faults


def asked(sweep: Sweep) -> dict[str, dict[str, Any]]:
    return {cell.condition: dict(Matching(sweep.resources).resources(cell.point)) for cell in sweep.grid}


def profile(folder: Path, *overrides: str, **keys: Any) -> Any:
    (folder / "lab.yaml").write_text(yaml.safe_dump({"partition": "gpu", "mem_gb": 16, "timeout_min": 60} | keys))
    return load_profile(str(folder / "lab.yaml"), overrides)


# --- what they come to ------------------------------------------------------------------------------------------------


def test_a_cell_asks_for_what_all_rules_that_match_it_say(tmp_path: Path) -> None:
    rules = [LARGE, {"when": {"mode": "ours", "width": [256, 1024]}, "partition": "long", "timeout_min": "10:00:00"}]
    assert asked(read(tmp_path, rules)) == {
        "width_64_mode_ours": {},
        "width_64_mode_baseline": {},
        "width_256_mode_ours": {"timeout_min": 600, "partition": "long"},
        "width_256_mode_baseline": {},
        "width_1024_mode_ours": {"mem_gb": 64, "timeout_min": 600, "partition": "long"},
        "width_1024_mode_baseline": {"mem_gb": 64, "timeout_min": 600},
    }


def test_values_are_written_as_in_a_profile(tmp_path: Path) -> None:
    written = {"when": {"width": "64"}, "mem_gb": "1500M", "timeout_min": "90:30", "cpus_per_task": 2}
    assert asked(read(tmp_path, [written]))["width_64_mode_ours"] == {
        "mem_gb": 1500 / 1024,
        "timeout_min": 91,
        "cpus_per_task": 2,
    }


def test_rules_may_name_levels_that_the_command_line_leaves_out_and_keep_them_for_later(tmp_path: Path) -> None:
    sweep = read(tmp_path, [LARGE], "width=64")
    assert asked(sweep) == {"width_64_mode_ours": {}, "width_64_mode_baseline": {}}
    store = Store(tmp_path / "out")
    write_sweep(store, sweep, {})
    grown = resolve(SweepOptions(store.root, CommandLine(axes=("width=1024",)))).sweep
    assert asked(grown)["width_1024_mode_ours"] == {"mem_gb": 64, "timeout_min": 600}


# --- what they are no part of ----------------------------------------------------------------------------------------


def test_they_are_no_part_of_a_cells_identity_and_may_change_at_any_time(tmp_path: Path) -> None:
    without, small, large = (read(tmp_path, rules) for rules in ([], [LARGE | {"mem_gb": 2}], [LARGE]))
    assert len({sweep.config_digest for sweep in (without, small, large)}) == 1
    assert len({sweep.task_digest for sweep in (without, small, large)}) == 1
    assert "resources" not in without.to_json()
    store = Store(tmp_path / "out")
    for sweep in (small, large):
        write_sweep(store, sweep, {})
        assert store.sweep().resources == sweep.resources
    assert resolve(SweepOptions(store.root)).sweep.resources == large.resources


def test_a_sweep_of_a_version_without_them_has_none(tmp_path: Path) -> None:
    sweep = read(tmp_path, [LARGE])
    assert Sweep.from_json(sweep.to_json()) == sweep
    old = {key: value for key, value in sweep.to_json().items() if key != "resources"}
    assert Sweep.from_json(old).resources == ()


def test_where_a_rule_comes_from_goes_with_it(tmp_path: Path) -> None:
    sweep = read(tmp_path, [LARGE | {"source": "pilot of 2026-11-29"}])
    store = Store(tmp_path / "out")
    write_sweep(store, sweep, {})
    assert store.sweep().resources == sweep.resources
    assert store.sweep().resources[0].source == "pilot of 2026-11-29"
    assert asked(sweep) == asked(read(tmp_path, [LARGE]))


# --- with a profile -------------------------------------------------------------------------------------------------


def test_what_the_profile_says_anyway_is_not_asked_for_and_set_wins(tmp_path: Path) -> None:
    sweep = read(tmp_path, [LARGE, {"when": {"width": 64}, "mem_gb": 16}])
    by_width = {dict(cell.point)["width"]: cell for cell in sweep.grid}
    plain, raised = profile(tmp_path), profile(tmp_path, "slurm_mem_gb=128")
    beside = asked_beside(sweep, plain)
    assert [dict(beside(by_width[width])) for width in (64, 1024)] == [{}, {"mem_gb": 64, "timeout_min": 600}]
    assert dict(asked_beside(sweep, raised)(by_width[1024])) == {"timeout_min": 600}
    assert raised.with_resources(asked_beside(sweep, raised)(by_width[1024])).parameters["mem_gb"] == 128


def test_it_is_said_that_set_wins(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check_resources(read(tmp_path, [LARGE]), profile(tmp_path, "mem_gb=128", "qos=high"))
    assert capsys.readouterr().err.splitlines() == [
        "note: --set mem_gb is for every task of this call; that resources ask for mem_gb 64 does not count"
    ]


def test_it_is_said_that_tasks_get_less_than_a_pilot_saw_their_cells_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    sweep, lab = read(tmp_path, []), profile(tmp_path)
    used = {64: 1, 256: 17, 1024: 40}
    needs = tuple(Need(f"width_{width}_mode_ours", host_bytes=gb * 2**30) for width, gb in used.items())
    measured = Pilot(
        profile="lab", device="cpu", config_digest=sweep.config_digest, hardware="cpu", unit="step", measurements=(),
        units=None, start_s=0.0, checkpoint_s=None, checkpoint_bytes=0, device_total_bytes=None, ended="x", at=0.0,
        needs=needs,
    )  # fmt: skip
    pilot_record.save(measured, lab)
    check_resources(sweep, lab)
    said = "note: the pilot saw cells of 2 conditions use up to mem_gb 40, and their tasks get less"
    assert capsys.readouterr().err.startswith(said)
    check_resources(read(tmp_path, [LARGE]), lab)
    assert "cells of 1 condition use up to mem_gb 17" in capsys.readouterr().err
    check_resources(sweep, profile(tmp_path, "mem_gb=41"))
    check_resources(sweep, profile(tmp_path, "mem_gb="))  # the cluster decides
    assert capsys.readouterr().err == ""


def test_a_limit_too_short_for_the_profiles_signal_is_refused(tmp_path: Path) -> None:
    sweep = read(tmp_path, [LARGE | {"timeout_min": 1}])
    with pytest.raises(ConfigError, match="timeout_min is 1; a task needs half of its 60 s to train"):
        check_resources(sweep, profile(tmp_path, signal_delay_s=40))
    check_resources(sweep, profile(tmp_path))  # as a profile's own limit is not held against the default


def test_memory_per_task_beside_a_profiles_memory_per_cpu_is_refused(tmp_path: Path) -> None:
    sweep, lab = read(tmp_path, [LARGE]), profile(tmp_path, mem_per_cpu="4G")
    with pytest.raises(ConfigError, match="resources: mem_gb is 64; the profile asks for mem-per-cpu, beside which"):
        check_resources(sweep, lab)


# --- faults -----------------------------------------------------------------------------------------------------------

LACKS = "the grid lacks this level; did you mean"
NO_FACTOR = "the grid has no such factor; valid: width, mode"
A_LIST = "for some cells, write a list such as [{when: {width: 1024}, mem_gb: 64}]"
ALL_KEYS = "mem_gb, timeout_min, cpus_per_task, partition, constraint, qos, account"
OTHER = {"when": {"mode": "ours"}, "mem_gb": 32}


@pytest.mark.parametrize(
    ("rules", "fault"),
    [
        ([LARGE | {"when": {"width": 1000}}], f"[0].when.width is 1000; {LACKS} 1024? valid: 64, 256, 1024"),
        ([LARGE | {"when": {"mode": "our"}}], f"[0].when.mode is 'our'; {LACKS} ours? valid: ours, baseline"),
        ([LARGE | {"when": {"depth": 2}}], f"[0].when.depth is 2; {NO_FACTOR}"),
        ([LARGE | {"when": {"seed": 42}}], f"[0].when.seed is 42; {NO_FACTOR}"),
        ([LARGE | {"when": {"width": []}}], "[0].when.width is []; name at least one level"),
        ([LARGE | {"when": {"width": 1.5}}], "[0].when.width is 1.5; 'width' must be a whole number"),
        (
            [LARGE | {"when": {}}],
            "[0].when is {}; name factors with levels, such as {width: 1024}; for every cell, a profile says it",
        ),
        ([{"mem_gb": 64}], "[0].when is missing; add it"),
        ([{"when": {"width": 64}}], f"[0] asks for nothing; add one of {ALL_KEYS}"),
        ({"mem_gb": 64}, f" is {{'mem_gb': 64}}; what every task asks for stands in a profile; {A_LIST}"),
        ("64G", f" is '64G'; {A_LIST}"),
        ([LARGE | {"mem_gb": 0}], "[0].mem_gb is 0; must be greater than 0"),
        ([LARGE | {"mem_gb": "lots"}], "[0].mem_gb is 'lots'; must be a number of GB, or a size such as 16G"),
        ([LARGE | {"source": "a\nb"}], "[0].source is 'a\\nb'; must be one line of at most 200 characters"),
        (
            [LARGE | {"source": "a" * 201}],
            f"[0].source is {shown('a' * 201)}; must be one line of at most 200 characters",
        ),
        ([LARGE | {"timeout_min": 1.5}], "[0].timeout_min is 1.5; must be a whole number"),
        (
            [LARGE | {"partition": "a\n#SBATCH -x"}],
            "[0].partition is 'a\\n#SBATCH -x'; may hold only letters, digits and any of _ . , : @ + -",
        ),
        (
            [LARGE, OTHER],
            "[1] asks for mem_gb 32, and resources[0] for mem_gb 64, of the same cells; name levels in `when` so that "
            "only one of them is about width 1024, mode ours",
        ),
    ],
)
def test_every_fault_is_a_line(tmp_path: Path, rules: Any, fault: str) -> None:
    (line,) = refused(tmp_path, rules)
    assert line == f"sweep.yaml: resources{fault}"


def test_there_are_bounds_to_how_many(tmp_path: Path) -> None:
    (line,) = refused(tmp_path, [LARGE] * 101)
    assert "has 101 entries, where at most 100 are read; one rule can name several levels" in line


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("mem", "write mem_gb"),
        ("slurm_timeout_min", "write timeout_min"),
        ("time", "write timeout_min"),
        ("gpus_per_node", "it is the same for every task, and stands in the profile"),
        ("python", "it is the same for every task, and stands in the profile"),
        ("signal_delay_s", "it is the same for every task, and stands in the profile"),
    ],
)
def test_other_keys_of_a_profile_have_a_way_out(tmp_path: Path, key: str, told: str) -> None:
    assert refused(tmp_path, [LARGE | {key: 1}]) == [f"sweep.yaml: unknown key 'resources[0].{key}'; {told}"]


def test_in_another_place_they_are_pointed_to_theirs(tmp_path: Path) -> None:
    (line,) = refused(tmp_path, [], resources=[LARGE])
    assert line.startswith("sweep.yaml: unknown key 'sweep.resources'; write it beside `sweep`: resources: [{when:")


def test_a_rule_about_conditions_that_the_design_leaves_out_is_refused_with_the_nearest(tmp_path: Path) -> None:
    rule = {"when": {"width": 1024, "mode": "ours"}, "mem_gb": 64}
    (line,) = refused(tmp_path, [rule], exclude=[{"width": 1024, "mode": "ours"}])
    assert line.endswith("the design leaves out all of these conditions; the nearest is width 64, mode ours")


def test_rules_that_meet_in_no_condition_of_the_design_are_no_clash_until_one_is_added(tmp_path: Path) -> None:
    rules = [LARGE, {"when": {"mode": "ours"}, "mem_gb": 32}]
    sweep = read(tmp_path, rules, exclude=[{"width": 1024, "mode": "ours"}])
    assert asked(sweep)["width_1024_mode_baseline"]["mem_gb"] == 64
    store = Store(tmp_path / "out")
    write_sweep(store, sweep, {})
    assert resolve(SweepOptions(store.root)).sweep.resources == sweep.resources
    (line,) = refused(tmp_path, rules)
    assert "resources[1] asks for mem_gb 32, and resources[0] for mem_gb 64, of the same cells" in line


def test_a_fault_of_the_command_line_names_it(tmp_path: Path) -> None:
    path = configured(tmp_path, [])
    with pytest.raises(ConfigError) as error:
        load(CommandLine(config=path, overrides=("resources=[{when: {width: 3}, mem_gb: 1}]",)))
    assert error.value.faults[0].startswith("command line: resources[0].when.width is 3;")


# --- written into a configuration -------------------------------------------------------------------------------------

SCRIPT = """
# A sweep of a script.
trainer:
  command: python train.py {rate} {mode} {warm} {seed}
  metrics: metrics.json
  measures: [loss]
sweep:
  axes: {rate: [0.00001, 0.5, 2], mode: ["no", "null", fast-1, e3], warm: [true, false]}
  runs_per_condition: 1
"""


def test_rules_that_are_written_are_the_rules_that_are_read_and_all_else_stays(tmp_path: Path) -> None:
    (tmp_path / "train.py").touch()
    path = tmp_path / "sweep.yaml"
    for end in ("", "analysis: {alpha: 0.01}"):  # without a line's end
        path.write_text(SCRIPT + end)
        before = load(CommandLine(config=path)).sweep
        rate, mode, warm = (axis.values for axis in before.grid.axes)
        rules = tuple(
            ResourceRule(
                (("rate", rate[:2]), ("mode", (level,)), ("warm", warm[:1])), (("mem_gb", 1.5 + i),), 'a "b": #'
            )
            for i, level in enumerate(mode)
        )
        add_section(path, section_text(rules))
        after = load(CommandLine(config=path)).sweep
        assert after.resources == rules
        assert replace(after, resources=()) == before
        assert path.read_text().startswith(
            SCRIPT + end + ("\n" if end else "") + "resources:\n  - {when: {rate: [1e-05, 0.5]"
        )


@pytest.mark.parametrize("level", ["\U0001f600", "caf\u00e9", "a\u2028b", "a\x85b", "a\xa0b", 'a"\\b', "a\tb"])
def test_levels_of_any_letters_are_read_as_they_were(level: str) -> None:
    rule = ResourceRule((("mode", (level,)),), (("mem_gb", 1),))
    (found,) = read_yaml(section_text([rule]))["resources"]
    assert found["when"] == {"mode": level}
    assert found == read_yaml(section_text([rule]).encode())["resources"][0]


def test_a_file_keeps_its_line_ends_its_permissions_and_the_names_that_lead_to_it(tmp_path: Path) -> None:
    path, link = tmp_path / "sweep.yaml", tmp_path / "link.yaml"
    path.write_bytes(b"sweep: {name: a}\r\nanalysis: {alpha: 0.01}")
    path.chmod(0o664)  # what a umask of 022 would not give
    link.symlink_to(path)
    add_section(link, "resources:\n  - {when: {a: 1}, mem_gb: 2}\n")
    assert path.read_bytes() == (
        b"sweep: {name: a}\r\nanalysis: {alpha: 0.01}\r\nresources:\r\n  - {when: {a: 1}, mem_gb: 2}\r\n"
    )
    assert path.stat().st_mode & 0o777 == 0o664
    assert link.is_symlink()


def test_a_file_that_cannot_be_replaced_whole_stays_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text("sweep: {name: a}\n")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            add_section(path, "resources:\n  - {when: {a: 1}, mem_gb: 2}\n")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_text() == "sweep: {name: a}\n"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        (
            "sweep.json",
            "{}",
            "command line: --write adds to YAML files, and sweep.json is JSON; leave it out and paste",
        ),
        (
            "sweep.yaml",
            "sweep: {name: a}\nresources: []\n",
            "sweep.yaml: line 2: resources are there already, with no rule; remove them from the file, or leave out",
        ),
        (
            "sweep.yaml",
            "resources:\n  - {when: {a: 1}, mem_gb: 2}\n  - {when: {a: 2}, mem_gb: 3}\n",
            "sweep.yaml: line 1: resources are there already, with 2 rules; remove them from the file, or leave out",
        ),
        (
            "sweep.yaml",
            "# all of it\n{sweep: {name: a}}\n",
            "sweep.yaml: line 2 is '{sweep: {name: a}}', after which nothing can be added: braces hold all sections;",
        ),
        (
            "sweep.yaml",
            "sweep: {name: a}\n...\n\n",
            "sweep.yaml: line 2 is '...', after which nothing can be added: it ends the document; leave out --write",
        ),
        ("sweep.yaml", "wandb: |\n  true\n ", None),
        ("sweep.yaml", "", None),
    ],
)
def test_what_cannot_be_added_to_is_told_beforehand_and_left_alone(
    tmp_path: Path, name: str, text: str, fault: str | None
) -> None:
    path = tmp_path / name
    path.write_text(text)
    if fault is None:
        check_can_be_added(path)
    else:
        for act in (check_can_be_added, lambda path: add_section(path, "resources: []\n")):
            with pytest.raises(ConfigError) as error:
                act(path)
            (line,) = error.value.faults
            assert line.startswith(fault)
    assert path.read_text() == text
