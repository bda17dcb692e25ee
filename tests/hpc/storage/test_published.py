"""A result and the files beside it: believed together, repaired together, set aside together."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.dying import KilledError, dying, interrupted
from helpers.small_sweeps import ROOT, make_store, make_sweep
from helpers.users import ALICE, BOB, becoming, need_other_users, share

from hpc.errors import SweepError
from hpc.files import atomic, directories, reading
from hpc.node.attempt import PackAttempt
from hpc.status.conflict import conflicts, explain
from hpc.storage import published
from hpc.storage.layout import redone_mark
from hpc.storage.permissions import check_private
from hpc.storage.store import Store
from hpc.sweep.cell import Cell
from hpc.sweep.outcome import Outcome, history_csv, weights_bytes
from hpc.sweep.states import COMPLETED, CONFLICT, STARTED


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return make_store(tmp_path / "out", make_sweep())


@pytest.fixture
def cell(store: Store) -> Cell:
    return store.sweep().grid[0]


def outcome(value: float) -> Outcome:
    """What training gives, recognisable by one number in all its parts."""
    history = history_csv([{"epoch": 1, "loss": value}], ["loss"])
    return Outcome(COMPLETED, {"loss": value}, 1, 1, history, weights_bytes({"w": np.array([value])}))


def finish(store: Store, cell: Cell, value: float = 1.0) -> PackAttempt:
    attempt = PackAttempt.begin(store, store.sweep(), [cell], 1, {})
    attempt.publish(cell, outcome(value), {})
    return attempt


def status(store: Store, cell: Cell) -> tuple[str, str]:
    (found,) = store.statuses([cell], store.sweep())
    return found.state, found.cause


def shown(store: Store, cell: Cell) -> list[float]:
    """The number in the result, in the history and in the weights."""
    paths = store.paths
    history = paths.history_file(cell).read_text().splitlines()[-1].split(",")[1]
    weights = np.frombuffer(paths.weights_file(cell).read_bytes()[-8:], dtype=np.float64)[0]
    return [json.loads(paths.result_file(cell).read_text())["metrics"]["loss"], float(history), float(weights)]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def test_a_damaged_result_is_set_aside_with_its_history_and_weights_under_names_that_end_alike(
    store: Store, cell: Cell
) -> None:
    finish(store, cell)
    cut(store.paths.result_file(cell))
    assert "not a whole result" in published.set_damaged_aside(store.paths, cell)
    names = [path.name for path in store.paths.cell_directory(cell).glob("*.corrupt-*")]
    assert sorted(name.rpartition(".corrupt-")[0] for name in names) == [
        "history.csv",
        "results.json",
        "weights.safetensors",
    ]
    assert len({name.rpartition("-")[2] for name in names}) == 1
    finish(store, cell, 2.0)
    assert shown(store, cell) == [2.0, 2.0, 2.0]


@pytest.mark.parametrize("left", [["history_file"], ["weights_file"], ["history_file", "weights_file"]])
def test_a_new_result_never_stands_beside_what_an_old_one_left(store: Store, cell: Cell, left: list[str]) -> None:
    finish(store, cell)
    for name in ("result_file", "history_file", "weights_file"):
        if name not in left:
            getattr(store.paths, name)(cell).unlink()  # moved away by hand, as a person does it
    finish(store, cell, 2.0)
    assert shown(store, cell) == [2.0, 2.0, 2.0]
    assert len(list(store.paths.cell_directory(cell).glob("*.replaced-*"))) == len(left), "nothing is thrown away"
    assert status(store, cell) == (COMPLETED, "")


def test_weights_of_an_earlier_attempt_do_not_stand_beside_a_result_without_any(tmp_path: Path) -> None:
    store = make_store(tmp_path / "out", make_sweep(keep={"weights": "none", "checkpoints": False}))
    cell = store.sweep().grid[0]
    store.paths.cell_directory(cell).mkdir(parents=True)
    store.paths.weights_file(cell).write_bytes(b"of somebody else")
    finish(store, cell)
    assert not store.paths.weights_file(cell).exists()
    assert status(store, cell)[0] == COMPLETED


def test_a_writer_that_died_before_its_links_is_completed_by_the_next_reader_also_over_a_stranger(
    store: Store, cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.paths.cell_directory(cell).mkdir(parents=True)
    store.paths.history_file(cell).write_text("epoch,loss\n1,9.0\n")
    with monkeypatch.context() as patch:
        patch.setattr(published, "link_outcome", lambda *_: None)
        finish(store, cell, 3.0)
    assert status(store, cell) == (COMPLETED, "")
    assert shown(store, cell) == [3.0, 3.0, 3.0]
    assert not store.paths.private_history(1, cell).exists()


@pytest.mark.parametrize("name", ["history_file", "weights_file"])
@pytest.mark.parametrize("named", [True, False], ids=["named", "of a version that named no files"])
def test_the_only_true_copy_stays_where_a_stranger_takes_its_name_that_moment(
    store: Store, cell: Cell, name: str, named: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    public, link_or_copy = getattr(store.paths, name)(cell), published.atomic.link_or_copy
    met: list[Path] = []

    def overtaken(source: Path, target: Path) -> bool:
        if target == public and not met:
            met.append(target)
            public.write_bytes(b"a stranger")
        return link_or_copy(source, target)

    monkeypatch.setattr(published.atomic, "link_or_copy", overtaken)
    if not named:
        monkeypatch.setattr(published, "named_files", lambda result: None)
    finish(store, cell, 3.0)
    private = {path.name for path in store.paths.pack_directory(1).iterdir()}
    if named:
        assert status(store, cell) == (COMPLETED, "")
        assert shown(store, cell) == [3.0, 3.0, 3.0]
        assert kept_beside(public, "replaced") == [b"a stranger"]
    assert private == ({"pack.json"} if named else {"pack.json", f"{cell.name}.{public.name}"})


@pytest.mark.parametrize("name", ["history", "weights"])
@pytest.mark.parametrize("left", [9.0, 3.0], ids=["a stranger", "the same"])
def test_the_only_true_copy_stays_where_what_has_its_name_is_set_aside_that_moment(
    store: Store, cell: Cell, name: str, left: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    public, private = getattr(store.paths, f"{name}_file")(cell), getattr(store.paths, f"private_{name}")(1, cell)
    finish(store, cell, 3.0)
    shutil.copy(public, private)  # of a winner that has not removed it yet
    made = outcome(left)
    public.write_bytes(made.history_csv if name == "history" else made.weights or b"")
    sha256 = published.reading.sha256

    def looked_at(path: Path | str, *how: Any) -> str:
        if Path(path) == public and public.exists():
            atomic.quarantine(public)
        return sha256(path, *how)

    result = json.loads(store.paths.result_file(cell).read_text())
    with monkeypatch.context() as patch:
        patch.setattr(published.reading, "sha256", looked_at)
        published.link_outcome(store.paths, cell, result)
    published.link_outcome(store.paths, cell, result)
    assert status(store, cell) == (COMPLETED, "")
    assert shown(store, cell) == [3.0, 3.0, 3.0]


def test_weights_that_are_set_aside_after_they_were_compared_are_no_error_of_their_writer(
    store: Store, cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    public, private = store.paths.weights_file(cell), store.paths.private_weights(1, cell)
    finish(store, cell, 3.0)
    shutil.copy(public, private)
    sha256 = published.reading.sha256

    def looked_at(path: Path | str, *how: Any) -> str:
        found = sha256(path, *how)
        if Path(path) == public:
            atomic.quarantine(public)
        return found

    result = json.loads(store.paths.result_file(cell).read_text())
    with monkeypatch.context() as patch:
        patch.setattr(published.reading, "sha256", looked_at)
        published.link_outcome(store.paths, cell, result)
    published.link_outcome(store.paths, cell, result)
    assert shown(store, cell) == [3.0, 3.0, 3.0]


def test_a_link_that_was_made_already_leaves_no_second_name_behind(store: Store, cell: Cell) -> None:
    finish(store, cell)
    os.link(store.paths.history_file(cell), store.paths.private_history(1, cell))  # killed before it could remove it
    result = json.loads(store.paths.result_file(cell).read_text())
    del result["provenance"]["files"]
    published.link_outcome(store.paths, cell, result)
    assert not store.paths.private_history(1, cell).exists()


@pytest.mark.parametrize("before", ["nothing", "a stranger"])
@pytest.mark.parametrize("by", ["hand", "redo"])
@pytest.mark.parametrize("at", range(1, 10))
def test_a_late_winner_whose_result_is_gone_puts_its_weights_beside_no_other_wherever_it_stops(
    tmp_path: Path, at: int, by: str, before: str
) -> None:
    """It stops before its n-th change of a name, until another result is published; then it goes on, and is killed."""
    twice = 0
    for more in range(20):
        store = make_store(tmp_path / str(more), make_sweep())
        cell, met = store.sweep().grid[0], []
        if before == "a stranger":
            store.paths.cell_directory(cell).mkdir(parents=True)
            store.paths.weights_file(cell).write_bytes(outcome(9.0).weights or b"")

        def publishes_another(store: Store = store, cell: Cell = cell, met: list[bool] = met) -> None:
            met.append(True)
            if by == "redo":
                published.repair(store.paths, cell, json.loads(store.paths.result_file(cell).read_bytes()))
                published.set_aside(store.paths, cell, store.paths.result_file(cell).read_bytes(), redone_mark(1))
            else:
                store.paths.result_file(cell).unlink()
            PackAttempt.begin(store, store.sweep(), [cell], 2, {}).publish(cell, outcome(2.0), {})

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(published, "link_outcome", lambda *_: None)
            finish(store, cell)
        late = json.loads(store.paths.result_file(cell).read_bytes())
        killed = True
        with pytest.MonkeyPatch.context() as patch, contextlib.suppress(KilledError):
            interrupted(patch, at, publishes_another, at + more)
            published.link_outcome(store.paths, cell, late)
            killed = False
        assert status(store, cell) == (COMPLETED, "")
        assert shown(store, cell) == [2.0 if met else 1.0] * 3
        public = store.paths.weights_file(cell)
        twice += any(other.samefile(public) for other in public.parent.glob(f"{public.name}.*"))
        if not killed:
            assert twice <= 1, "a second name stays only where a kill comes right before its removal"
            return
    raise AssertionError("it does not end")


@pytest.mark.parametrize("name", ["history_file", "weights_file", "cell_config_file"])
def test_a_file_that_is_not_the_one_named_makes_the_result_count_for_nothing(
    store: Store, cell: Cell, name: str
) -> None:
    finish(store, cell)
    path = getattr(store.paths, name)(cell)
    cut(path)
    state, cause = status(store, cell)
    assert (state, path.name in cause) == (CONFLICT, True)
    assert path.name in published.set_damaged_aside(store.paths, cell)
    assert status(store, cell)[0] == STARTED
    finish(store, cell, 2.0)
    assert status(store, cell) == (COMPLETED, "")
    assert shown(store, cell) == [2.0, 2.0, 2.0]


def test_weights_of_the_same_size_are_told_apart_where_a_cell_is_looked_at_closely(store: Store, cell: Cell) -> None:
    finish(store, cell)
    path = store.paths.weights_file(cell)
    path.write_bytes(path.read_bytes()[:-8] + np.array([7.0]).tobytes())
    assert "weights.safetensors" in published.set_damaged_aside(store.paths, cell)


@pytest.mark.parametrize("sampled", [True, False], ids=["sampled", "of a version that named no sample"])
def test_weights_of_the_same_size_are_told_apart_by_a_sample_where_something_was_set_aside(
    store: Store, cell: Cell, sampled: bool
) -> None:
    finish(store, cell)
    path, result = store.paths.weights_file(cell), json.loads(store.paths.result_file(cell).read_text())
    if not sampled:
        del result["provenance"]["files"][path.name]["sample"]
        store.paths.result_file(cell).write_text(json.dumps(result))
    path.write_bytes(path.read_bytes()[:-8] + np.array([7.0]).tobytes())
    assert status(store, cell) == (COMPLETED, ""), "reading the weights of every cell would take too long"
    path.with_name(f"{path.name}.redone-000001").write_bytes(b"of an earlier result")
    assert status(store, cell)[0] == (CONFLICT if sampled else COMPLETED)
    assert path.name in published.set_damaged_aside(store.paths, cell)


def test_a_sample_of_a_large_file_covers_its_beginning_its_end_and_places_between(tmp_path: Path) -> None:
    data, path = bytearray(os.urandom(1 << 20)), tmp_path / "large"
    path.write_bytes(data)
    assert reading.sample(path) == reading.sampled(bytes(data))
    seen = set()
    for place in range(0, len(data), 1 << 12):
        changed = bytearray(data)
        changed[place] ^= 1
        seen |= {place >> 17} if reading.sampled(bytes(changed)) != reading.sampled(bytes(data)) else set()
    assert seen == set(range(8)), "something of each eighth"


@pytest.mark.parametrize("name", ["history_file", "weights_file"])
def test_a_file_removed_to_save_room_is_no_fault(store: Store, cell: Cell, name: str) -> None:
    finish(store, cell)
    getattr(store.paths, name)(cell).unlink()
    assert status(store, cell) == (COMPLETED, "")
    assert published.set_damaged_aside(store.paths, cell) == ""


def test_a_result_of_a_version_that_named_no_files_is_believed_as_it_is(store: Store, cell: Cell) -> None:
    finish(store, cell)
    path = store.paths.result_file(cell)
    result = json.loads(path.read_text())
    del result["provenance"]["files"]
    path.write_text(json.dumps(result))
    store.paths.history_file(cell).write_text("epoch,loss\n1,0.5\n")
    assert status(store, cell) == (COMPLETED, "")
    assert published.set_damaged_aside(store.paths, cell) == ""


def test_a_good_result_that_came_between_the_look_and_the_rename_gets_its_name_back(store: Store, cell: Cell) -> None:
    finish(store, cell)
    good = store.paths.result_file(cell).read_bytes()
    published.set_aside(store.paths, cell, b"what was found damaged")
    assert store.paths.result_file(cell).read_bytes() == good
    assert shown(store, cell) == [1.0, 1.0, 1.0]
    assert not list(store.paths.cell_directory(cell).glob("*.corrupt-*"))


@pytest.mark.parametrize(("value", "state"), [(1.0, COMPLETED), (2.0, CONFLICT)])
def test_a_good_result_whose_name_is_taken_before_it_gets_it_back_is_not_lost(
    store: Store, cell: Cell, monkeypatch: pytest.MonkeyPatch, value: float, state: str
) -> None:
    finish(store, cell)
    quarantine = published.atomic.quarantine

    def overtaken(path: Path, token: str = "") -> Path:
        aside = quarantine(path, token)
        monkeypatch.setattr(published.atomic, "quarantine", quarantine)
        finish(store, cell, value)  # another task, whose result finds the name free
        return aside

    monkeypatch.setattr(published.atomic, "quarantine", overtaken)
    published.set_aside(store.paths, cell, b"what was found damaged")
    assert status(store, cell)[0] == state
    kept = [json.loads(path.read_bytes()) for path in store.paths.conflict_files(cell)]
    assert [entry["outcome"]["metrics"]["loss"] for entry in kept] == [1.0] * (state == CONFLICT)
    assert not list(store.paths.cell_directory(cell).glob("results.json.corrupt-*"))
    assert len(conflicts(store, cell)) == (state == CONFLICT)


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"seed": 7}, "seed is 7, not 42"),
        ({"run_id": 1}, "run_id is 1, not 0"),
        ({"cell": "width_2_run_0"}, "cell is 'width_2_run_0'"),
        ({"config_digest": "0" * 64}, "belongs to another configuration"),
    ],
)
def test_a_result_of_another_identity_does_not_count(
    store: Store, cell: Cell, change: dict[str, object], cause: str
) -> None:
    finish(store, cell)
    path = store.paths.result_file(cell)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    state, said = status(store, cell)
    assert (state in (STARTED, CONFLICT), cause in said) == (True, True)


def test_the_configuration_beside_a_result_is_the_one_it_was_trained_with(store: Store, cell: Cell) -> None:
    """An attempt under a configuration that was then corrected leaves its config.json."""
    paths = store.paths
    paths.cell_directory(cell).mkdir(parents=True)
    paths.cell_config_file(cell).write_text('{"config_digest": "of before"}')
    finish(store, cell)
    config, result = (json.loads(p(cell).read_text()) for p in (paths.cell_config_file, paths.result_file))
    assert config["config_digest"] == result["config_digest"]
    assert len(list(paths.cell_directory(cell).glob("config.json.replaced-*"))) == 1


def test_a_late_outcome_of_another_configuration_does_not_take_the_configuration_from_beside_a_result(
    store: Store, cell: Cell
) -> None:
    corrected = replace(store.sweep(), options={"lr": 0.1})
    old, new = (PackAttempt.begin(store, sweep, [cell], 1, {}) for sweep in (store.sweep(), corrected))
    assert new.publish(cell, outcome(2.0), {})
    assert not old.publish(cell, outcome(1.0), {})
    assert shown(store, cell) == [2.0, 2.0, 2.0]
    config, result = (
        json.loads(path(cell).read_text()) for path in (store.paths.cell_config_file, store.paths.result_file)
    )
    assert config["config_digest"] == result["config_digest"] == corrected.config_digest
    assert not list(store.paths.cell_directory(cell).glob("results.json.corrupt-*"))
    assert len(store.paths.conflict_files(cell)) == 1


# --- of files that belong to another member of a group ----------------------------------------------------------------


def acted_on_by_another_member(store: Store, act: str) -> None:
    """All that is there is Alice's; Bob does what tasks and readers do. fs.protected_hardlinks is 1 on every Linux."""
    share(store.root, ALICE)
    begin = "import sys; from pathlib import Path; from hpc.storage.store import Store\n"
    begin += "from hpc.storage import published\n"
    begin += "store = Store(Path(sys.argv[1])); paths = store.paths; cell = store.sweep().grid[0]\n"
    command = [*becoming(BOB), sys.executable, "-c", begin + act, str(store.root)]
    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    assert not list(store.root.rglob(".*.tmp"))


def kept_beside(path: Path, mark: str) -> list[bytes]:
    return [other.read_bytes() for other in path.parent.glob(f"{path.name}.{mark}-*")]


def test_the_configuration_of_another_member_is_replaced_and_kept(store: Store, cell: Cell) -> None:
    need_other_users()
    path = store.paths.cell_config_file(cell)
    path.parent.mkdir(parents=True)
    path.write_text('{"config_digest": "of before"}')
    acted_on_by_another_member(store, "published.write_config(paths, cell, {'config_digest': 'of now'})")
    assert json.loads(path.read_text()) == {"config_digest": "of now"}
    assert kept_beside(path, "replaced") == [b'{"config_digest": "of before"}']


@pytest.mark.parametrize("name", ["history_file", "weights_file"])
def test_a_stranger_beside_the_result_of_another_member_is_replaced_and_kept(
    store: Store, cell: Cell, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_other_users()
    path = getattr(store.paths, name)(cell)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"a stranger")
    with monkeypatch.context() as patch:
        patch.setattr(published, "link_outcome", lambda *_: None)
        finish(store, cell, 3.0)
    acted_on_by_another_member(store, "assert not published.set_damaged_aside(paths, cell)")
    assert shown(store, cell) == [3.0, 3.0, 3.0]
    assert kept_beside(path, "replaced") == [b"a stranger"]


def test_a_file_of_another_member_takes_no_name_that_was_given_since_the_look_whether_it_is_free(
    store: Store, cell: Cell
) -> None:
    need_other_users()
    ours, theirs = (store.paths.results_root / name for name in ("ours", "theirs"))
    directories.make_directory(store.paths.results_root)
    for path in (ours, theirs):
        path.write_text(path.name)
    acted_on_by_another_member(
        store,
        "import os\nfrom hpc.files import atomic\nreal = atomic._stat\n"
        "atomic._stat = lambda folder, name: None if name == 'theirs' else real(folder, name)\n"
        "def link(*names, **folders): raise PermissionError(1, 'a file of another user')\nos.link = link\n"
        "assert not atomic.link_or_copy(paths.results_root / 'ours', paths.results_root / 'theirs')",
    )
    assert [path.read_text() for path in (ours, theirs)] == ["ours", "theirs"]


def test_a_good_result_of_another_member_that_was_set_aside_by_mistake_gets_its_name_back(
    store: Store, cell: Cell
) -> None:
    need_other_users()
    finish(store, cell, 3.0)
    acted_on_by_another_member(store, "published.set_aside(paths, cell, b'what was damaged')")
    assert status(store, cell)[0] == COMPLETED
    assert kept_beside(store.paths.result_file(cell), "corrupt") == []


def test_nothing_is_left_of_a_configuration_that_cannot_be_put_in_place(
    store: Store, cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = store.paths.cell_config_file(cell)
    path.parent.mkdir(parents=True)
    path.write_text('{"config_digest": "of before"}')

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(published.atomic, "put_in_place", full)
    with pytest.raises(OSError, match="No space"):
        published.write_config(store.paths, cell, {"config_digest": "of now"})
    assert [found.name for found in path.parent.iterdir()] == [path.name]


def test_a_third_outcome_is_kept_beside_two_and_the_same_one_twice_is_one(store: Store, cell: Cell) -> None:
    attempts = [PackAttempt.begin(store, store.sweep(), [cell], 1, {}) for _ in range(4)]
    for attempt, value in zip(attempts, (1.0, 2.0, 3.0, 2.0), strict=True):
        attempt.publish(cell, outcome(value), {})
    found = conflicts(store, cell)
    assert [entry.other["metrics"]["loss"] for entry in found] == [2.0, 3.0]
    text = explain(store, cell)
    assert text.startswith("three attempts")
    assert all(str(path) in text for path in store.paths.conflict_files(cell))
    store.paths.conflict_file(cell).unlink()
    assert status(store, cell)[0] == CONFLICT, "the third is not settled by settling the second"
    for path in store.paths.conflict_files(cell):
        path.unlink()
    assert status(store, cell)[0] == COMPLETED


def test_a_command_to_paste_does_what_it_says_whatever_files_are_called(tmp_path: Path) -> None:
    store = make_store(tmp_path / "out;touch pwned;$(touch pwned) '", make_sweep())
    cell = store.sweep().grid[0]
    attempts = [PackAttempt.begin(store, store.sweep(), [cell], 1, {}) for _ in range(2)]
    for attempt, value in zip(attempts, (1.0, 2.0), strict=True):
        attempt.publish(cell, outcome(value), {})
    stranger = store.paths.cell_directory(cell) / "conflict-;touch pwned;$(id).json"
    stranger.write_bytes(store.paths.conflict_file(cell).read_bytes())
    hints = [line.partition(":   ")[2].strip() for line in explain(store, cell).splitlines()]
    (removing,) = [hint for hint in hints if hint.startswith("rm ")]
    subprocess.run(["bash", "-c", removing], cwd=tmp_path, check=True, stdin=subprocess.DEVNULL)
    assert not (tmp_path / "pwned").exists()
    assert not store.paths.conflict_file(cell).exists()
    assert stranger.exists(), "it is no record of Holdfast's"
    assert status(store, cell)[0] == COMPLETED


def test_a_directory_that_anybody_can_write_is_mended_by_the_command_that_is_given(tmp_path: Path) -> None:
    store = make_store(tmp_path / "out;touch pwned;", make_sweep())
    directories.make_directory(store.paths.packs_root)
    store.paths.packs_root.chmod(0o777)
    with pytest.raises(SweepError) as refused:
        check_private(store.root)
    command = str(refused.value).rpartition("code from it; ")[2]
    subprocess.run(["bash", "-c", command], cwd=tmp_path, check=True)
    assert not (tmp_path / "pwned").exists()
    check_private(store.root)


@pytest.mark.parametrize("kill_at", range(1, 12))
def test_killed_at_any_step_of_setting_aside_the_next_winner_is_whole(
    store: Store, cell: Cell, kill_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish(store, cell)
    cut(store.paths.result_file(cell))
    with monkeypatch.context() as patch:
        dying(patch, kill_at)
        with contextlib.suppress(KilledError):
            published.set_damaged_aside(store.paths, cell)
    published.set_damaged_aside(store.paths, cell)
    with monkeypatch.context() as patch:
        dying(patch, kill_at)
        with contextlib.suppress(KilledError):
            finish(store, cell, 2.0)
    finish(store, cell, 2.0)
    assert status(store, cell) == (COMPLETED, "")
    assert shown(store, cell) == [2.0, 2.0, 2.0]


@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.parametrize("before", ["history.csv", "weights.safetensors"])
def test_a_winner_that_comes_while_a_damaged_result_is_set_aside_keeps_its_files(
    store: Store, cell: Cell, before: str, killed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish(store, cell)
    cut(store.paths.result_file(cell))
    for name in ("history.csv", "weights.safetensors"):
        (store.paths.cell_directory(cell) / name).unlink()
    real = atomic.quarantine
    met: list[Path] = []

    def quarantine(path: Path, mark: str = "") -> Path:
        if path.name == before and not met:
            met.append(path)
            finish(store, cell, 2.0)
        return real(path, mark)

    def end_here(*_: object) -> None:
        raise KilledError

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(atomic, "quarantine", quarantine)
        if killed:
            meanwhile.setattr(published, "_repair", end_here)
        with contextlib.suppress(KilledError):
            published.set_damaged_aside(store.paths, cell)
    assert met
    assert status(store, cell) == (COMPLETED, "")  # whoever looks makes what a killed process left undone
    assert shown(store, cell) == [2.0, 2.0, 2.0]
