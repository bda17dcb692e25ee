"""What a directory asks for is bounded, whatever lies in it: each limit is said in a line, with the way to raise it."""

from __future__ import annotations

import functools
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.small_sweeps import ROOT, make_store, make_sweep, write_trainer
from helpers.users import ALICE, give, need_other_users

from hpc.errors import SweepError
from hpc.files import limits
from hpc.files.opening import RefusedFileError
from hpc.protocol import LIMITS
from hpc.storage import task_list
from hpc.storage.published import set_damaged_aside
from hpc.storage.store import Store
from hpc.submission import intents

# Of a processor, and of memory. Without its limit, each of these directories takes minutes or gigabytes.
MOST_SECONDS, MOST_BYTES = 30, 1 << 30
# What `plan` takes for four cells where these limits are meant; a slower processor gets as much longer.
PLAN_SECONDS = 0.7
CELL = "width_1_run_0"
MANY = [["width", list(range(1, 10_001))]]
MORE = [[f"a{number}", list(range(10))] for number in range(30)]
LOOKING = ("status", "plan", "show", "cancel", "aggregate", "compare", "redo", "wandb", "submit")
Change = Callable[[Store], None]


@pytest.fixture
def store(swept: Path, tmp_path: Path) -> Store:
    shutil.copytree(swept, tmp_path / "out")
    return Store(tmp_path / "out")


def holdfast(*words: str, cwd: Path, seconds: int = MOST_SECONDS) -> tuple[int, str]:
    """Exit code and output of a command that may use no more than the above."""
    code, text, used, most = _used_by(*words, cwd=cwd, seconds=math.ceil(seconds * max(1.0, _slowness())))
    assert code >= 0, f"it was killed after {used:.0f} s of a processor"
    assert most < MOST_BYTES
    assert "Traceback" not in text
    return code, text


@functools.cache
def _slowness() -> float:
    with tempfile.TemporaryDirectory() as place:
        make_store(Path(place) / "out", make_sweep(path=write_trainer(Path(place))))
        code, text, used, _ = _used_by("plan", "out", cwd=Path(place), seconds=60 * MOST_SECONDS)
    assert code == 0, text
    return used / PLAN_SECONDS


# Linux counts what a process held when it was forked from another as its own: that is to be a small one. After the
# output of the command, a line of what it used.
_MEASURED = """
import json, os, resource, subprocess, sys
seconds, most = map(int, sys.argv[1:3])
resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
resource.setrlimit(resource.RLIMIT_AS, (most, most))
_, status, used = os.wait4(subprocess.Popen(sys.argv[3:]).pid, 0)
used = used.ru_utime + used.ru_stime, used.ru_maxrss * 1024
print("\\n" + json.dumps([os.waitstatus_to_exitcode(status), *used]))
"""


def _used_by(*words: str, cwd: Path, seconds: int) -> tuple[int, str, float, int]:
    """Exit code, output, seconds of a processor, most bytes of memory."""
    limited = [sys.executable, "-c", _MEASURED, str(seconds), str(4 * MOST_BYTES)]
    done = subprocess.run(
        [*limited, sys.executable, "-P", "-m", "hpc", *words],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        check=True,
    )
    text, _, measured = done.stdout.rstrip("\n").rpartition("\n")
    code, used, most = json.loads(measured)
    return code, text, used, most


def _of_grid(axes: list[object], seeds: int) -> Change:
    def change(store: Store) -> None:
        document = json.loads(store.paths.sweep_file.read_text())
        for revision in document["revisions"]:
            revision["grid"] = {"axes": axes, "seeds": list(range(42, 42 + seeds))}
        store.paths.sweep_file.write_text(json.dumps(document))

    return change


def _words(command: str) -> tuple[str, ...]:
    more = {
        "show": (CELL,),
        "cancel": ("-y",),
        "redo": ("-y", "--cell", CELL),
        "compare": ("other",),
        "submit": ("--profile", "local", "--dry-run"),
    }
    return ("wandb", "sync", "out") if command == "wandb" else (command, "out", *more.get(command, ()))


@pytest.mark.parametrize("command", LOOKING)
@pytest.mark.parametrize(
    ("axes", "seeds", "said"),
    [
        (MANY, 1_000, f"has 10,000,000 cells, where at most 100,000 are read; if that is meant, set {LIMITS}=100,"),
        (MORE, 1, f"has about 10^30 cells, where at most 100,000 are read; if that is meant, set {LIMITS}=N,"),
    ],
    ids=["10^7", "10^30"],
)
def test_a_small_file_that_asks_for_many_cells_costs_a_line(
    command: str, axes: list[object], seeds: int, said: str, store: Store
) -> None:
    shutil.copytree(store.root, store.root.with_name("other"))
    _of_grid(axes, seeds)(store)
    assert store.paths.sweep_file.stat().st_size < 70_000
    code, text = holdfast(*_words(command), cwd=store.root.parent)
    assert code == 2
    assert said in text
    assert str(store.paths.sweep_file) in text
    assert len(text.splitlines()) == 1


def test_the_limit_of_cells_holds_for_the_command_line_too(store: Store) -> None:
    words = ("plan", "out", "--runs-per-condition", str(10**9), "-y")
    code, text = holdfast(*words, cwd=store.root.parent)
    assert code == 2
    assert "2,000,000,000 cells, where at most 100,000 are read" in text


@pytest.mark.parametrize("command", ["status", "plan", "compare"])
def test_as_many_cells_as_are_read_are_read_within_bounds(command: str, store: Store) -> None:
    shutil.copytree(store.root, store.root.with_name("other"))
    _of_grid([["width", list(range(1, 101))]], 1000)(store)
    code, text = holdfast(*_words(command), cwd=store.root.parent)
    assert code in (0, 4), text


def test_as_many_conditions_as_cells_are_planned_within_bounds(store: Store) -> None:
    _of_grid([["width", list(range(1, 100_001))]], 1)(store)
    code, text = holdfast("plan", "out", cwd=store.root.parent)
    assert code == 0, text
    assert "100,000 cells" in text


def test_a_grid_of_the_predecessor_is_bounded_as_well(tmp_path: Path) -> None:
    runs = [{"workspace_dim": 8, "synergy_scale": 0.1, "run_id": run, "seed": 1, "loss": 1.0} for run in (0, 10**9)]
    place = tmp_path / "out" / "individual_results" / "dim_8_scale_0.1_run_0"
    place.mkdir(parents=True)
    (place / "sweep_results_1.json").write_text(json.dumps(runs))
    code, text = holdfast("aggregate", "out", cwd=tmp_path)
    assert code == 2
    assert f"cells, where at most 100,000 are read; if that is meant, set {LIMITS}=" in text


def _predecessor(place: Path, content: object, name: str = "dim_8_scale_0.1_run_0") -> Path:
    folder = place / "out" / "individual_results" / name
    folder.mkdir(parents=True)
    (folder / "sweep_results_1.json").write_text(json.dumps(content))
    return folder


def test_a_file_of_the_predecessor_is_read_as_any_document(tmp_path: Path) -> None:
    folder = _predecessor(tmp_path, {"seed": 1, "loss": 1.0})
    (folder / "sweep_results_2.json").write_bytes(b"[" + b"{}," * 13_000_000 + b"{}]")
    code, text = holdfast("aggregate", "out", cwd=tmp_path)
    assert code == 3
    assert f"sweep_results_2.json: has 39 MB, where at most 16.8 MB are read; if that is meant, set {LIMITS}=" in text


def test_a_file_of_the_predecessor_under_many_names_is_not_read_again_and_again(tmp_path: Path) -> None:
    folder = _predecessor(tmp_path, {"seed": 1, "loss": 1.0, "more": [[]] * 1_000_000})
    for number in range(2, 600):
        os.link(folder / "sweep_results_1.json", folder / f"sweep_results_{number}.json")
    code, text = holdfast("aggregate", "out", cwd=tmp_path)
    assert code == 3
    assert f"where at most 67.1 MB are read; if that is meant, set {LIMITS}=" in text


@pytest.mark.parametrize("name", ["aggregated_results.json", "sweep_results_2.json"])
def test_a_file_of_the_predecessor_has_as_many_runs_as_a_sweep_has_cells(tmp_path: Path, name: str) -> None:
    folder = _predecessor(tmp_path, {"seed": 1, "loss": 1.0})
    runs = b"[" + b"{}," * 100_000 + b"{}]"
    if name == "aggregated_results.json":
        (tmp_path / "out" / name).write_bytes(b'{"dim_8_scale_0.1": {"individual_results": ' + runs + b"}}")
    else:
        (folder / name).write_bytes(runs)
    code, text = holdfast("aggregate", "out", cwd=tmp_path)
    assert code == 2
    assert f"{name}: it has 100,001 runs, where at most 100,000 are read" in text


def test_no_link_below_the_results_of_the_predecessor_is_followed(tmp_path: Path) -> None:
    for run in range(2):
        _predecessor(tmp_path, {"seed": run, "loss": float(run)}, f"dim_8_scale_0.1_run_{run}")
    folder = tmp_path / "out" / "individual_results"
    _predecessor(tmp_path / "private", {"seed": 7, "loss": 3.0}, "dim_8_scale_0.1_run_2")
    (folder / "dim_9_scale_0.1_run_0").symlink_to(tmp_path / "private" / "out" / "individual_results")
    for name in ("one", "other"):
        (folder / "dim_8_scale_0.1_run_0" / name).symlink_to("..")
    code, text = holdfast("aggregate", "out", cwd=tmp_path)
    assert code == 0, text
    found = json.loads((tmp_path / "out" / "holdfast" / "aggregated_results.json").read_text())
    assert "3.0" not in json.dumps(found)


@pytest.mark.parametrize("metrics", [3_000, 100_000])
def test_the_metrics_of_the_predecessor_are_counted_as_ours_are(metrics: int, tmp_path: Path) -> None:
    for run in range(2):
        content = {f"m{number}": run + number for number in range(metrics)}
        _predecessor(tmp_path, content, f"dim_8_scale_0.1_run_{run}")
    code, text = holdfast("aggregate", "out", cwd=tmp_path)
    assert code == 2
    assert f"{metrics:,} metrics, where at most 2,000 are read" in text


@pytest.mark.parametrize(
    "change",
    [{"run_id": -3}, {"workspace_dim": 2**70}, {"synergy_scale": float("nan")}, {"seed": 2**70}, {"epochs": -1}],
)
def test_a_run_of_the_predecessor_that_is_none_costs_no_more_than_itself(
    change: dict[str, Any], tmp_path: Path
) -> None:
    _predecessor(tmp_path, {"seed": 1, "loss": 1.0})
    _predecessor(tmp_path, {"seed": 2, "loss": 2.0} | change, "dim_8_scale_0.1_run_1")
    code, text = holdfast("aggregate", "out", cwd=tmp_path)
    assert code == 0, text


# --- rules of a design, and lists of tasks ---------------------------------------------------------------------------


def _many_rules(store: Store) -> None:
    """Twelve megabytes: as many patterns as there may be, all the same, that match all combinations but one."""
    levels = list(range(1, 1341))
    document = json.loads(store.paths.sweep_file.read_text())
    for revision in document["revisions"]:
        pattern = [["a", levels], ["b", levels[1:]]]
        revision["grid"] = {"axes": [["a", levels], ["b", levels]], "seeds": [42], "exclude": [pattern] * 1100}
    store.paths.sweep_file.write_text(json.dumps(document, separators=(",", ":")))


def _other_rules(store: Store) -> None:
    """The same with patterns that differ."""
    _many_rules(store)
    document = json.loads(store.paths.sweep_file.read_text())
    for revision in document["revisions"]:
        levels = revision["grid"]["axes"][0][1]
        patterns = [[["a", levels], ["b", [*levels[:at], *levels[at + 1 :]]]] for at in range(1100)]
        revision["grid"]["exclude"] = patterns
    store.paths.sweep_file.write_text(json.dumps(document, separators=(",", ":")))


@pytest.mark.parametrize("change", [_many_rules, _other_rules], ids=["the same", "others"])
def test_what_a_design_leaves_out_is_found_within_seconds(change: Change, store: Store) -> None:
    change(store)
    assert store.paths.sweep_file.stat().st_size < 17 << 20
    holdfast("status", "out", cwd=store.root.parent, seconds=8)


def test_many_patterns_over_many_levels_do_not_go_through_them_again_and_again(store: Store) -> None:
    levels = list(range(1, 45_001))
    patterns = [[["width", [level]], ["b", ["x"]]] for level in levels[:900]]
    single = [[["width", [level]]] for level in levels[900:1_100]]
    _asking([["width", levels], ["b", ["x", "y"]]], [], exclude=[*patterns, *single])(store)
    code, text = holdfast("plan", "out", cwd=store.root.parent, seconds=15)
    assert code == 0, text
    assert "88,700 cells" in text


def _asking(axes: list[object], rules: list[dict[str, object]], **design: object) -> Change:
    """A sweep with nothing done whose cells ask for these resources."""

    def change(store: Store) -> None:
        shutil.rmtree(store.root / "individual_results")
        (store.root.parent / "lab.yaml").write_text("partition: cpu\nmem_gb: 2\ntimeout_min: 60\n")
        document = json.loads(store.paths.sweep_file.read_text())
        for revision in document["revisions"]:
            revision["grid"] = {"axes": axes, "seeds": [42], **design}
            revision["resources"] = rules
        store.paths.sweep_file.write_text(json.dumps(document, separators=(",", ":")))

    return change


def _rules_of(levels: list[int], count: int) -> list[dict[str, object]]:
    return [{"when": [["width", levels]], "mem_gb": 4}] * count


def test_rules_of_very_many_levels_cost_a_line(store: Store) -> None:
    _asking([["width", list(range(1, 5_001))]], _rules_of(list(range(10**9, 10**9 + 500_000)), 1))(store)
    code, text = holdfast("plan", "out", "--profile", "lab.yaml", cwd=store.root.parent, seconds=8)
    assert code == 2
    assert text.rstrip().endswith("resources name 500,000 levels, where 100,000 can be used")


@pytest.mark.parametrize("words", [(), ("--axis", "b=2")], ids=["plan", "plan with another level"])
def test_as_many_rules_as_there_may_be_are_looked_up(words: tuple[str, ...], store: Store) -> None:
    """Of factors that move together: every two rules differ, and meet in no condition of theirs."""
    levels = list(range(1, 30_001))
    tie = {"factors": ["width", "a"], "rows": [[level, level] for level in levels]}
    rules = [
        {"when": [[("width", "a")[at % 2], levels[at % 2 * 900 : at % 2 * 900 + 900]]], "mem_gb": 1 + at % 2}
        for at in range(100)
    ]
    _asking([["width", levels], ["a", levels], ["b", [1]]], rules, ties=[tie])(store)
    document = json.loads(store.paths.sweep_file.read_text())
    for revision in document["revisions"]:
        factors = revision["trainer"]["factors"]
        factors |= {name: {**factors["width"], "field": name} for name in ("a", "b")}
    store.paths.sweep_file.write_text(json.dumps(document))
    code, text = holdfast("plan", "out", "--profile", "lab.yaml", "-y", *words, cwd=store.root.parent)
    assert code == 0, text
    assert f"{30_000 * (1 + bool(words)):,} cells" in text


def test_few_rules_that_make_very_many_requests_cost_a_line(store: Store) -> None:
    levels = range(33)
    keys = {"a": "mem_gb", "b": "timeout_min", "c": "cpus_per_task"}
    rules = [{"when": [[name, [level]]], key: 100 + level} for name, key in keys.items() for level in levels]
    _asking([[name, list(levels)] for name in keys], rules)(store)
    code, text = holdfast("plan", "out", "--profile", "lab.yaml", cwd=store.root.parent)
    assert code == 2, text
    assert "resources: the cells to run make 35,937 different requests, where at most 200 are read" in text


def test_a_task_list_has_no_more_lines_than_there_can_be_cells(store: Store) -> None:
    (store.root / "individual_results" / CELL / "results.json").unlink()
    cell = store.sweep().grid[0]
    intent = intents.begin(store, [[[cell]]], kind=intents.SLURM, profile="p", name="n", code="0" * 64)
    path = store.paths.tasks_file(intent.number, 0)
    path.write_bytes(b'{"cells":[]}\n' * 3_000_000)
    _, text = holdfast("status", "out", cwd=store.root.parent, seconds=8)
    assert f"{path}: has 3,000,000 tasks, where at most 100,000 are read; if that is meant, set {LIMITS}=" in text
    path.write_bytes(b'{"cells":[]}\n')
    with pytest.raises(SweepError, match="line 1 is no task"):
        task_list.task_cells(path)


# --- what lies beside a trainer ---------------------------------------------------------------------------------------

WHOLE_DISK = f"{'../' * 20}**/*"


def _reading(pattern: str) -> Change:
    def change(store: Store) -> None:
        (store.root / "individual_results" / CELL / "results.json").unlink()
        document = json.loads(store.paths.sweep_file.read_text())
        for revision in document["revisions"]:
            revision["trainer"]["files"] = [pattern]
        store.paths.sweep_file.write_text(json.dumps(document))

    return change


@pytest.mark.parametrize("command", ["plan", "submit"])
def test_the_files_that_a_trainer_reads_are_not_looked_for_on_a_whole_disk(command: str, store: Store) -> None:
    _reading(WHOLE_DISK)(store)
    code, text = holdfast(*_words(command), cwd=store.root.parent)
    assert code == 2
    assert "for which more than 100,000 files would be looked at; name the files more closely" in text
    assert len(text.splitlines()) == 1


@pytest.mark.parametrize("command", ["plan", "submit"])
def test_files_beside_the_trainer_of_another_users_sweep_are_not_looked_for(command: str, store: Store) -> None:
    need_other_users()
    _reading("*")(store)
    assert "code:" in holdfast(*_words(command), cwd=store.root.parent)[1]
    give(store.root, ALICE)
    code, text = holdfast(*_words(command), cwd=store.root.parent)
    assert code == 0, text
    assert "note:" in text
    assert "what its tasks would get of the trainer is not looked at" in text
    assert "code:" not in text


def test_links_that_lead_back_to_their_folder_are_followed_a_few_times(store: Store) -> None:
    folder = Path(store.sweep().trainer.path).parent / "loops"
    folder.mkdir()
    try:
        for name in ("one", "other"):
            (folder / name).symlink_to(".")
        _reading("loops/**/*.npy")(store)
        code, text = holdfast("plan", "out", cwd=store.root.parent)
    finally:
        shutil.rmtree(folder)
    assert code == 2
    assert "for which more than 100,000 files would be looked at" in text


def test_a_source_without_an_end_is_no_trainer(store: Store) -> None:
    trainer = store.root.parent / "endless.py"
    _sparse("../endless.py")(store)
    _reading("*")(store)
    document = json.loads(store.paths.sweep_file.read_text())
    for revision in document["revisions"]:
        revision["trainer"] |= {"path": str(trainer), "target": "endless.py:train"}
    store.paths.sweep_file.write_text(json.dumps(document))
    code, text = holdfast("plan", "out", cwd=store.root.parent)
    assert code == 3
    assert f"{trainer.name}: has 5.4 GB, where at most 4.2 MB are read; if that is meant, set {LIMITS}=" in text


# --- files -----------------------------------------------------------------------------------------------------------


def _unnamed_history(store: Store, cell_name: str = CELL) -> Path:
    """A history that its result does not name by its digest, as results of earlier versions did not."""
    cell = store.root / "individual_results" / cell_name
    result = json.loads((cell / "results.json").read_text())
    del result["provenance"]["files"]
    (cell / "results.json").write_text(json.dumps(result))
    return cell / "history.csv"


def _history(rows: int, columns: int) -> Change:
    def change(store: Store) -> None:
        header = ",".join(["epoch", *(f"m{number}" for number in range(columns))])
        _unnamed_history(store).write_text(f"{header}\n" + f"1{',0' * columns}\n" * rows)

    return change


def _wide_history(store: Store) -> None:
    """Eight megabytes."""
    columns = range(1_000_000)
    text = f"epoch,{','.join(map(str, columns))}\n1{',' * len(columns)}\n"
    _unnamed_history(store).write_text(text)


def _many_histories(store: Store) -> None:
    """Many epochs in one cell and many metrics in another: together a table of 380 million values."""
    one, other, *_ = [cell.name for cell in store.sweep().grid]
    names = [f"m{number}" for number in range(1_900)]
    _unnamed_history(store, one).write_text(f"epoch,{','.join(names)}\n1{',0' * len(names)}\n")
    _unnamed_history(store, other).write_text("epoch,loss\n" + "1,0\n" * 200_000)


def _other_names(store: Store) -> None:
    """As many metrics as one cell may have in each cell, others in every one."""
    for place, cell in enumerate(store.sweep().grid):
        names = [f"m{place}_{number}" for number in range(1_900)]
        _unnamed_history(store, cell.name).write_text(f"epoch,{','.join(names)}\n1{',0' * len(names)}\n")


def _measured(metrics: int) -> Change:
    def change(store: Store) -> None:
        path = store.root / "individual_results" / CELL / "results.json"
        result = json.loads(path.read_text())
        result["metrics"] |= {f"m{number}": 0.5 for number in range(metrics)}
        path.write_text(json.dumps(result))

    return change


def _sparse(*places: str) -> Change:
    """Five gigabytes that take no room."""

    def change(store: Store) -> None:
        for place in places:
            (store.root / place).touch()
            os.truncate(store.root / place, 5 << 30)

    return change


def _many_values(store: Store) -> None:
    _history(2, 950)(store)
    _of_grid([["width", list(range(1, 101))]], 1000)(store)


def _huge_history(store: Store) -> None:
    os.truncate(_unnamed_history(store), 5 << 30)


def _huge_submission(store: Store) -> None:
    """It is read while a cell is unfinished."""
    (store.root / "individual_results" / CELL / "results.json").unlink()
    _sparse("submissions/000001/intent.json")(store)


@pytest.mark.parametrize(
    ("field", "entry"), [("requested", {}), ("tokens", "t"), ("sizes", 1)], ids=["requested", "tokens", "sizes"]
)
def test_a_submission_has_no_more_arrays_than_there_can_be_cells(field: str, entry: object, store: Store) -> None:
    """It is read while a cell is unfinished."""
    (store.root / "individual_results" / CELL / "results.json").unlink()
    cells = [[[store.sweep().grid[0]]]]
    intent = intents.begin(store, cells, kind=intents.SLURM, profile="p", name="n", code="0" * 64)
    path = store.paths.intent_file(intent.number)
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: [entry] * 2_000_000}))
    code, text = holdfast("status", "out", cwd=store.root.parent)
    assert code in (2, 3), text
    assert f"{path}: cannot be read by this version of Holdfast" in text
    assert len(text.splitlines()) == 1


@pytest.mark.parametrize(
    ("change", "words", "said"),
    [
        (_history(5_000_000, 1), ("aggregate", "out"), "5,000,000 rows, where at most 200,000 are read"),
        (
            _history(2, 5_000),
            ("aggregate", "out"),
            "metrics, where at most 2,000 are read",
        ),
        (
            _many_values,
            ("aggregate", "out"),
            "values of metrics, one per metric and cell, where at most 20,000,000",
        ),
        (_huge_history, ("aggregate", "out"), "at most 67.1 MB are read"),
        (_wide_history, ("aggregate", "out"), "history.csv has 1,000,000 metrics, where at most 2,000 are read"),
        (_many_histories, ("aggregate", "out"), "values, one per metric and epoch of every cell, where at most"),
        (_other_names, ("aggregate", "out"), "its histories have 7,600 metrics, where at most 2,000 are read"),
        (_measured(100_000), ("show", "out", CELL), "at most 1 MB are read"),
        (_measured(5_000), ("show", "out", CELL), "it has 5,002 metrics, where at most 2,000 are read"),
        (_sparse(f"individual_results/{CELL}/results.json"), ("show", "out", CELL), "at most 1 MB are read"),
        (_sparse("sweep.json"), ("status", "out"), "at most 16.8 MB are read"),
        (_huge_submission, ("status", "out"), "at most 16.8 MB are read"),
    ],
    ids=[
        *("rows", "metrics", "values", "history", "columns", "rows-and-columns", "names", "document", "measured"),
        *("result", "sweep", "submission"),
    ],
)
def test_what_is_too_large_costs_a_line_with_the_way_out(
    change: Change, words: tuple[str, ...], said: str, store: Store
) -> None:
    change(store)
    _, text = holdfast(*words, cwd=store.root.parent)
    (line,) = {line for line in text.splitlines() if said in line}
    assert f"set {LIMITS}=" in line


def test_histories_that_take_no_room_are_held_a_few_at_a_time(store: Store) -> None:
    """Each of them has one header, one number and sixty megabytes between them."""
    _of_grid([["width", list(range(1, 61))]], 1)(store)
    cells = store.root / "individual_results"
    for cell in list(store.sweep().grid)[1:]:
        shutil.copytree(cells / CELL, cells / cell.name, dirs_exist_ok=True)
        result = json.loads((cells / cell.name / "results.json").read_text())
        result |= {"width": cell.factors["width"], "cell": cell.name, "condition_id": cell.condition}
        (cells / cell.name / "results.json").write_text(json.dumps(result))
    for cell in store.sweep().grid:
        path = _unnamed_history(store, cell.name)
        path.write_text("epoch,loss\n1,0.5")
        os.truncate(path, 60 << 20)
        with path.open("a") as file:
            file.write("\n")
    code, text = holdfast("aggregate", "out", cwd=store.root.parent)
    assert code == 0, text
    assert "history.csv is damaged" in text


@pytest.mark.parametrize("name", [".states.json", ".aggregate-cache"])
@pytest.mark.parametrize("command", ["status", "aggregate"])
def test_a_cache_of_any_size_costs_nothing(name: str, command: str, store: Store) -> None:
    before = holdfast(command, "out", cwd=store.root.parent)
    (store.root / name).write_bytes(b"[" + b"{}," * 4_000_000 + b"{}]")
    assert holdfast(command, "out", cwd=store.root.parent) == before
    _sparse(name)(store)
    assert holdfast(command, "out", cwd=store.root.parent) == before


def _names(store: Store, name: str, size: int) -> Path:
    """The file beside a result that names one of this size; the file has it, and takes no room."""
    cell = store.root / "individual_results" / CELL
    result = json.loads((cell / "results.json").read_text())
    result["provenance"]["files"][name] = {"sha256": "0" * 64, "bytes": size}
    (cell / "results.json").write_text(json.dumps(result))
    (cell / name).touch()
    os.truncate(cell / name, size)
    return cell / name


@pytest.mark.parametrize("command", ["status", "show", "aggregate", "redo"])
@pytest.mark.parametrize(("name", "most"), [("history.csv", "67.1 MB"), ("config.json", "16.8 MB")])
def test_a_file_of_the_size_that_its_result_names_is_not_read_without_end(
    command: str, name: str, most: str, store: Store
) -> None:
    path = _names(store, name, 1 << 40)
    said = f"/{name}: has 1,100 GB, where at most {most} are read; if that is meant, set {LIMITS}="
    _, text = holdfast(*_words(command), cwd=store.root.parent)
    assert said in text or command == "redo"
    assert path.stat().st_size == 1 << 40


@pytest.mark.parametrize("command", ["status", "show"])
def test_weights_of_any_size_are_told_by_it(command: str, store: Store) -> None:
    _names(store, "weights.safetensors", 1 << 40)
    code, text = holdfast(*_words(command), cwd=store.root.parent)
    assert code == 0, text
    assert "COMPLETED" in text


def test_what_was_set_aside_beside_a_result_is_looked_through_within_bounds(store: Store) -> None:
    path = _names(store, "history.csv", 60 << 20)
    for number in range(500):
        os.link(path, path.with_name(f"history.csv.{number}"))
    code, text = holdfast("status", "out", cwd=store.root.parent)
    assert code == 4, text
    assert "its history.csv is not the one of its result" in text


def test_a_history_that_is_too_large_to_be_looked_at_is_never_set_aside(store: Store) -> None:
    path = _names(store, "history.csv", 1 << 40)
    cell = store.sweep().grid[0]
    with pytest.raises(RefusedFileError, match=r"at most 67\.1 MB are read"):
        set_damaged_aside(store.paths, cell)
    assert path.exists()
    assert path.with_name("results.json").exists()


def test_of_a_log_of_any_size_the_end_is_shown(store: Store) -> None:
    log = store.root / "individual_results" / CELL / "log.txt"
    _sparse(f"individual_results/{CELL}/log.txt")(store)
    with log.open("a") as file:
        file.write("\nthe last line\n")
    code, text = holdfast("show", "out", CELL, "--log", cwd=store.root.parent)
    assert code == 0
    assert text.endswith("the last line\n")


def test_a_task_list_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tasks-0.jsonl").touch()
    os.truncate(tmp_path / "tasks-0.jsonl", 5 << 30)
    for read in (lambda path: task_list.read_task(path, 0), task_list.task_cells):
        with pytest.raises(RefusedFileError, match=f"at most 268 MB are read; .*{LIMITS}="):
            read(tmp_path / "tasks-0.jsonl")


@pytest.mark.parametrize("kind", ["failed", "refused"])
def test_of_what_very_many_tasks_left_the_ends_are_read(kind: str, store: Store) -> None:
    (store.root / "individual_results" / CELL / "results.json").unlink()
    logs = store.paths.logs_directory(1)
    logs.mkdir(parents=True, exist_ok=True)
    first = logs / f"0_0.1.n1.{kind}"
    first.touch()
    os.truncate(first, 15 << 20)
    with first.open("a") as file:
        file.write("\n127\n")
    for number in range(2, 2_000):
        os.link(first, logs / f"0_0.{number}.n1.{kind}")
    code, text = holdfast("status", "out", cwd=store.root.parent, seconds=10)
    assert code == 4, text


def test_an_offline_file_of_wandb_has_a_limit(tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    from hpc.wandb.offline_files import read_segment

    (tmp_path / "run-x.wandb").touch()
    os.truncate(tmp_path / "run-x.wandb", 5 << 30)
    with pytest.raises(RefusedFileError, match=f"at most 268 MB are read; .*{LIMITS}="):
        read_segment(tmp_path / "run-x.wandb")


def test_a_raised_limit_lets_more_cells_through(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    _of_grid([["width", list(range(1, 1_001))]], 101)(store)
    with pytest.raises(SweepError, match="101,000 cells, where at most 100,000 are read"):
        store.sweep()
    monkeypatch.setattr(limits, "factor", lambda: 2.0)
    assert store.sweep().grid.size == 101_000
