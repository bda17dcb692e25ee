"""A task from its line in the list to published results: ended, stopped, killed, failing, without room to write."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.here import lacking
from helpers.small_sweeps import TRAINER, make_grid, make_store, make_sweep, run_here, run_task, submit, write_trainer

from hpc.errors import SweepError
from hpc.node.pack import PackTask
from hpc.node.trial import Surroundings
from hpc.storage.store import Store
from hpc.storage.task_list import ListedTask, read_task, task_line
from hpc.sweep.cell import Cell
from hpc.trainers.data import data_digest

Make = Callable[..., Store]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A sweep directory for a trainer's text."""

    def build(body: str = TRAINER, name: str = "out", **changes: Any) -> Store:
        path = write_trainer(tmp_path / f"user-{name}", body)
        return make_store(tmp_path / name, make_sweep(path=path, **changes))

    return build


def states(store: Store) -> list[str]:
    sweep = store.sweep()
    return [status.state for status in store.statuses(sweep.grid, sweep)]


def outcomes(store: Store) -> list[tuple[str, str, str]]:
    """What a cell ended with, as it lies there: metrics, history and the digest over all of it."""
    found = []
    for cell in store.sweep().grid:
        result = json.loads(store.paths.result_file(cell).read_text())
        history = store.paths.history_file(cell).read_text()
        found.append((json.dumps(result["metrics"]), history, result["outcome_digest"]))
    return found


def causes(store: Store) -> list[str]:
    sweep = store.sweep()
    return [status.cause for status in store.statuses(sweep.grid, sweep)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str, str]]:
    """Outcomes of the four cells trained in one go, without a single checkpoint."""
    root = tmp_path_factory.mktemp("undisturbed")
    path = write_trainer(root)
    store = make_store(root / "out", make_sweep(path=path, checkpoint_seconds=1e9))
    assert run_here(store, list(store.sweep().grid)) == 0
    return outcomes(store)


# --- the good end ---------------------------------------------------------------------------------------------------


def test_a_task_runs_its_cells_and_ends_with_zero(store: Store, cells: list[Cell]) -> None:
    done = run_task(store, submit(store, cells))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert states(store) == ["COMPLETED"] * 4


def test_checkpoints_on_the_way_change_nothing(
    store: Store, cells: list[Cell], undisturbed: list[tuple[str, str, str]]
) -> None:
    assert run_here(store, cells) == 0
    assert "saved at step" in store.paths.log_file(cells[0]).read_text()
    assert outcomes(store) == undisturbed


def test_every_cell_has_an_outcome_of_its_own(undisturbed: list[tuple[str, str, str]]) -> None:
    assert len({digest for _, _, digest in undisturbed}) == 4
    assert len({history for _, history, _ in undisturbed}) == 4


def test_running_a_finished_task_again_touches_nothing(store: Store, cells: list[Cell]) -> None:
    number = submit(store, cells)
    assert run_here(store, cells, number) == 0
    before = {path: path.stat().st_mtime_ns for path in store.paths.root.rglob("*")}
    assert run_here(store, cells, number) == 0
    assert {path: path.stat().st_mtime_ns for path in store.paths.root.rglob("*")} == before


def test_only_what_is_missing_is_trained(store: Store, cells: list[Cell]) -> None:
    assert run_here(store, cells[:2]) == 0
    before = [store.paths.result_file(cell).stat().st_mtime_ns for cell in cells[:2]]
    assert run_here(store, cells) == 0
    assert [store.paths.result_file(cell).stat().st_mtime_ns for cell in cells[:2]] == before
    assert [len(store.attempts(cell)) for cell in cells] == [1, 1, 1, 1]


def test_what_a_trainer_prints_is_in_the_packs_log(make: Make) -> None:
    body = (
        "def train(cells, options, run):\n"
        "    print('hello'); run.finish(cells[0], {'loss': 1.0})\n"
        "    os.write(2, b'native')\n"
    )
    store = make(body, grid=make_grid((1,), (42,)))
    assert run_task(store, submit(store, list(store.sweep().grid))).returncode == 0
    assert store.paths.pack_log(1).read_text() == "hello\nnative"


# --- stopped and killed ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR2", "SIGINT"])
def test_a_task_asked_to_stop_saves_and_says_so_and_goes_on_to_the_same_end(
    make: Make, undisturbed: list[tuple[str, str, str]], name: str
) -> None:
    store = make(options={"signal": name}, checkpoint_seconds=1e9)
    cells = list(store.sweep().grid)
    number = submit(store, cells)
    codes, rounds = [], 0
    while 0 not in codes and rounds < 10:
        codes.append(run_task(store, number).returncode)
        rounds += 1
    # Each cell is asked to stop once, in its fifth epoch.
    assert codes == [85, 85, 85, 85, 0]
    assert outcomes(store) == undisturbed
    log = store.paths.log_file(cells[0]).read_text()
    assert "attempt 1: saved at step 5, epoch 5" in log
    assert "attempt 2: restored at step 5, epoch 5" in log


def test_a_task_killed_at_once_goes_on_from_its_last_checkpoint_to_the_same_end(
    make: Make, undisturbed: list[tuple[str, str, str]]
) -> None:
    store = make(options={"signal": "SIGKILL", "save_always": True})
    number = submit(store, list(store.sweep().grid))
    assert [run_task(store, number).returncode for _ in range(5)] == [-9, -9, -9, -9, 0]
    assert outcomes(store) == undisturbed
    assert "restored at step 4" in store.paths.log_file(store.sweep().grid[0]).read_text()


def test_a_task_killed_before_any_checkpoint_begins_again_and_ends_the_same(
    make: Make, undisturbed: list[tuple[str, str, str]], tmp_path: Path
) -> None:
    body = TRAINER.replace(
        "if saved is None and epoch == 5 and",
        "mark = options.get('mark', '') + cell.name\n"
        "            if epoch == 5 and not os.path.exists(mark) and not open(mark, 'x').close() and",
    )
    mark = tmp_path / "marks"
    mark.mkdir()
    store = make(body, options={"signal": "SIGKILL", "mark": f"{mark}/"}, checkpoint_seconds=1e9)
    number = submit(store, list(store.sweep().grid))
    assert [run_task(store, number).returncode for _ in range(5)] == [-9, -9, -9, -9, 0]
    assert outcomes(store) == undisturbed


def test_a_task_killed_between_result_and_history_leaves_a_history_that_the_next_one_links(make: Make) -> None:
    store = make(
        "def train(cells, options, run):\n"
        "    from hpc.files import atomic\n"
        "    link = atomic.link_once\n"
        "    atomic.link_once = lambda a, b: os.kill(os.getpid(), 9) if b.name == 'history.csv' else link(a, b)\n"
        "    run.epoch(cells[0], 1, 1, {'loss': 0.5})\n"
        "    run.finish(cells[0], {'loss': 0.5})\n",
        grid=make_grid((1,), (42,)),
    )
    (cell,) = store.sweep().grid
    number = submit(store, [cell])
    assert run_task(store, number).returncode == -9
    assert states(store) == ["COMPLETED"]
    assert run_task(store, number).returncode == 0
    assert store.paths.history_file(cell).read_text() == "epoch,loss\n1,0.5\n"


def test_a_stop_before_the_first_step_begins_no_training(store: Store, cells: list[Cell]) -> None:
    task = PackTask(store, store.sweep(), cells, Surroundings(submit(store, cells), lambda: True, own_log=False))
    assert task.run() == 85
    assert not any(store.paths.generations(pack) for pack in (1, 2))
    assert run_here(store, cells) == 0
    assert states(store) == ["COMPLETED"] * 4


# --- failures -------------------------------------------------------------------------------------------------------

RAISE = "if cell.name in options['guilty']: raise ValueError('no\\n  good')"
RAISING = TRAINER.replace("saved = run.restore(cell)", f"saved = run.restore(cell)\n        {RAISE}")


def test_a_cell_that_raises_has_failed_with_its_traceback_and_the_others_finish(make: Make) -> None:
    store = make(RAISING, options={"guilty": ["width_1_run_1"]})
    done = run_task(store, submit(store, list(store.sweep().grid)))
    assert done.returncode == 1
    assert states(store) == ["COMPLETED", "FAILED", "COMPLETED", "COMPLETED"]
    assert causes(store)[1] == "ValueError: no good"
    cell = store.sweep().grid[1]
    record = json.loads(store.paths.failure_file(cell, 1).read_text())
    assert "toy.py" in record["traceback"]
    assert "raise ValueError" in record["traceback"]


def test_of_a_fused_pack_only_the_guilty_cell_fails(make: Make) -> None:
    guilty = {"guilty": ["width_2_run_0"]}
    store = make(RAISING, options=guilty, pack_mode="fused")
    assert run_here(store, list(store.sweep().grid)) == 1
    assert states(store) == ["COMPLETED", "COMPLETED", "FAILED", "COMPLETED"]


def test_failing_in_one_submission_is_not_tried_again_in_it_but_in_the_next(make: Make) -> None:
    store = make(RAISING, options={"guilty": ["width_1_run_0"]})
    cells = list(store.sweep().grid)
    number = submit(store, cells)
    run_here(store, cells, number)
    run_here(store, cells, number)
    assert store.attempts(cells[0]) == [1]
    run_here(store, cells)
    assert store.attempts(cells[0]) == [1, 2]


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        ("def train(cells, options, run): pass\n", "the trainer returned without finishing this cell"),
        ("def train(cells, options, run): os._exit\n", "the trainer returned without finishing this cell"),
        ("def train(cells, options, run): raise SystemExit(0)\n", "SystemExit: 0"),
        ("import sys\ndef train(cells, options, run): sys.exit('usage')\n", "SystemExit: usage"),
        ("def train(cells, options, run): run.finish(cells[0], {'los': 1})\n", "did you mean 'loss'?"),
        ("def train(cells, options, run): run.fail(cells[0], 'bad data')\n", "bad data"),
        ("def train(cells): pass\n", "TypeError: train() takes 1 positional argument but 3 were given"),
        ("def train(cells, options, run): run.save({cells[0]: Checkpoint(1, values={'a': {1}})})\n", "TypeError: "),
        ("def train(cells, options, run): raise MemoryError\n", "MemoryError"),
        ("def train(cells, options, run): raise RecursionError('deep')\n", "RecursionError: deep"),
        ("import nowhere_to_be_found\ndef train(cells, options, run): pass\n", "No module named 'nowhere_to_be_found'"),
        ("raise SystemExit(0)\ndef train(cells, options, run): pass\n", "toy.py:train cannot be loaded: SystemExit: 0"),
        ("1 / 0\ndef train(cells, options, run): pass\n", "cannot be loaded: ZeroDivisionError: division by zero"),
        ("def fit(cells, options, run): pass\n", "cannot be loaded: AttributeError: "),
    ],
)
def test_a_trainer_that_does_not_end_its_cells_has_failed_them_with_the_cause(
    make: Make, body: str, cause: str
) -> None:
    store = make(body, grid=make_grid((1,), (42,)))
    assert run_here(store, list(store.sweep().grid)) == 1
    assert states(store) == ["FAILED"]
    assert cause in causes(store)[0]
    assert len(causes(store)[0].splitlines()) == 1


def test_a_trainer_that_cannot_be_loaded_fails_all_cells_of_the_task(make: Make) -> None:
    store = make("import nowhere_to_be_found\ndef train(cells, options, run): pass\n")
    done = run_task(store, submit(store, list(store.sweep().grid)))
    assert done.returncode == 1
    assert states(store) == ["FAILED"] * 4
    assert "ModuleNotFoundError" in store.paths.pack_log(1).read_text()


def test_a_damaged_result_is_set_aside_and_the_cell_is_trained_again(
    store: Store, cells: list[Cell], undisturbed: list[tuple[str, str, str]]
) -> None:
    run_here(store, cells)
    whole = store.paths.result_file(cells[1]).read_bytes()
    store.paths.result_file(cells[1]).write_bytes(whole[:-20])
    assert states(store)[1] == "CONFLICT"
    assert run_here(store, cells) == 0
    assert outcomes(store) == undisturbed
    (aside,) = store.paths.cell_directory(cells[1]).glob("results.json.corrupt-*")
    assert aside.read_bytes() == whole[:-20]


def test_a_result_of_another_configuration_is_named_and_left_alone(make: Make, tmp_path: Path) -> None:
    one, other = make(name="one"), make(name="two", options={"other": 1})
    cells = list(one.sweep().grid)
    run_here(one, cells)
    other.paths.cell_directory(cells[0]).mkdir(parents=True)
    shutil.copy(one.paths.result_file(cells[0]), other.paths.result_file(cells[0]))
    before = other.paths.result_file(cells[0]).read_bytes()
    done = run_task(other, submit(other, cells[:1]))
    assert done.returncode == 2
    assert done.stderr.startswith(f"{other.paths.result_file(cells[0])}: a result of another configuration; ")
    assert run_task(other, submit(other, cells)).returncode == 1
    assert states(other) == ["MISSING", "COMPLETED", "COMPLETED", "COMPLETED"], "its mates do not wait for it"
    assert other.paths.result_file(cells[0]).read_bytes() == before


# --- data and storage -----------------------------------------------------------------------------------------------


@pytest.fixture
def with_data(make: Make, tmp_path: Path) -> tuple[Store, Path]:
    data = tmp_path / "the data"
    data.mkdir()
    (data / "x.npy").write_bytes(b"as planned")
    digest = data_digest(data, ["*"])
    return make(sections={"data": {"dir": str(data)}}, data_digest=digest), data


def test_a_task_runs_on_the_data_it_was_planned_with(with_data: tuple[Store, Path]) -> None:
    store, _ = with_data
    assert run_here(store, list(store.sweep().grid)) == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: (data / "x.npy").write_bytes(b"not so"), "the data has changed since planning"),
        (lambda data: (data / "y.npy").touch(), "the data has changed since planning"),
        (shutil.rmtree, "the data of this sweep is missing"),
        (lambda data: (data / "x.npy").unlink(), "the data of this sweep is missing"),
    ],
)
def test_a_task_whose_data_has_changed_trains_nothing_and_names_the_directory(
    with_data: tuple[Store, Path], change: Callable[[Path], Any], said: str
) -> None:
    store, data = with_data
    cells = list(store.sweep().grid)
    change(data)
    done = run_task(store, submit(store, cells))
    assert done.returncode == 2
    assert done.stderr.startswith(f"{data}: {said}")
    assert len(done.stderr.splitlines()) == 1
    assert states(store) == ["MISSING"] * 4


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    directory = tmp_path / "disk"
    directory.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k,nr_inodes=200", "none", str(directory)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        lacking("only root can mount a small file system")
    yield directory
    subprocess.run(["umount", str(directory)], check=True)


def fill(path: Path) -> None:
    """A file that takes all the room there is."""
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 1024)


def test_a_full_disk_ends_the_task_with_three_names_the_path_and_keeps_the_last_checkpoint(
    small_disk: Path, tmp_path: Path
) -> None:
    body = TRAINER.replace("state = Checkpoint(", "state = Checkpoint(arrays={'a': bytes_of(epoch)}, ").replace(
        "def train", "import numpy\ndef bytes_of(n): return numpy.zeros(50_000 if n > 3 else 10)\ndef train"
    )
    path = write_trainer(tmp_path / "user", body)
    store = make_store(small_disk / "out", make_sweep(make_grid((1,), (42,)), path=path, options={"save_always": True}))
    (cell,) = store.sweep().grid
    done = run_task(store, submit(store, [cell]))
    assert done.returncode == 3
    assert "packs/000001/checkpoint-000005: No space left on device" in store.paths.pack_log(1).read_text()
    assert [path.name for path in store.paths.generations(1)] == ["checkpoint-000004", "checkpoint-000003"]
    assert not [name for name in os.listdir(store.paths.pack_directory(1)) if name.endswith(".tmp")]
    assert states(store) == ["STARTED"]


def test_a_task_goes_on_to_the_same_end_once_there_is_room(
    small_disk: Path, tmp_path: Path, undisturbed: list[tuple[str, str, str]]
) -> None:
    path = write_trainer(tmp_path / "user")
    store = make_store(small_disk / "out", make_sweep(path=path))
    cells = list(store.sweep().grid)
    number = submit(store, cells)
    filler = small_disk / "filler"
    fill(filler)
    assert run_task(store, number).returncode == 3
    assert "COMPLETED" not in states(store)
    filler.unlink()
    assert run_task(store, number).returncode == 0
    assert outcomes(store) == undisturbed


def test_a_disk_without_names_left_ends_the_task_with_three(small_disk: Path, tmp_path: Path) -> None:
    path = write_trainer(tmp_path / "user")
    store = make_store(small_disk / "out", make_sweep(path=path))
    number = submit(store, list(store.sweep().grid))
    with contextlib.suppress(OSError):
        for i in range(300):
            (small_disk / f"f{i}").touch()
    done = run_task(store, number)
    assert done.returncode == 3
    assert re.match(rf"{small_disk}/out/packs.*: No space left on device\n", done.stderr)


def test_a_trainer_that_swallows_a_storage_error_still_ends_the_task_with_three(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make(
        "def train(cells, options, run):\n"
        "    from hpc.files import atomic\n"
        "    def full(*arguments, **options): raise OSError(28, 'No space left on device', '/a/path')\n"
        "    atomic.publish = full\n"
        "    try: run.save({cells[0]: Checkpoint(1)})\n"
        "    except BaseException: pass\n",
        grid=make_grid((1,), (42,)),
    )
    done = run_task(store, submit(store, list(store.sweep().grid)))
    assert done.returncode == 3
    assert "/a/path: No space left on device" in store.paths.pack_log(1).read_text()
    assert states(store) == ["STARTED"]


# --- the task list --------------------------------------------------------------------------------------------------


def test_a_line_of_the_task_list_is_read_as_it_was_written(tmp_path: Path, cells: list[Cell]) -> None:
    path = tmp_path / "tasks"
    sweep = make_sweep()
    path.write_text(task_line(cells[:3], sweep) + task_line(cells[3:], sweep))
    assert read_task(path, 0) == ListedTask(cells[:3], sweep.config_digest)
    assert read_task(path, 1) == ListedTask(cells[3:], sweep.config_digest)


def test_a_task_list_of_a_version_that_named_no_configuration_is_read(tmp_path: Path, cells: list[Cell]) -> None:
    path = tmp_path / "tasks"
    path.write_text(json.dumps({"cells": [cell.to_json() for cell in cells]}) + "\n")
    assert read_task(path, 0) == ListedTask(cells, "")


@pytest.mark.parametrize(
    ("index", "said"),
    [(0, "line 1 is no task"), (1, "line 2 is no task"), (2, "there is no task 2"), (-1, "no task -1")],
)
def test_a_line_that_is_no_task_is_named(tmp_path: Path, index: int, said: str) -> None:
    path = tmp_path / "tasks"
    path.write_text('{"cells": [{"point"\n[]\n')
    with pytest.raises(SweepError, match=said):
        read_task(path, index)


def test_a_task_without_its_list_or_sweep_says_which_file_is_missing(store: Store, cells: list[Cell]) -> None:
    done = run_task(store, 7)
    assert done.returncode == 3
    assert done.stderr == f"{store.paths.tasks_file(7, 0)}: No such file or directory\n"
    number = submit(store, cells)
    store.paths.sweep_file.unlink()
    done = run_task(store, number)
    assert done.returncode == 2
    assert done.stderr.startswith(f"{store.paths.root}: there is no sweep here")


def test_nothing_a_task_writes_is_writable_by_others_even_without_a_umask(make: Make) -> None:
    body = (
        "def train(cells, options, run):\n    open(options['own'], 'w').close(); run.finish(cells[0], {'loss': 1.0})\n"
    )
    store = make(body, grid=make_grid((1,), (42,)), options={"own": "own.txt"})
    own = store.paths.root / "own.txt"
    before = os.umask(0)
    try:
        number = submit(store, list(store.sweep().grid))
        subprocess.run(["true"], check=True)
        store.paths.root.joinpath("here").mkdir(mode=0o755)
        done = run_task(store, number, "env", "-C", str(store.paths.root))
    finally:
        os.umask(before)
    assert done.returncode == 0
    assert own.exists()
    open_to_all = [path for path in store.paths.root.rglob("*") if path.stat().st_mode & 0o022]
    assert open_to_all == []
