"""A sweep directory is data, whoever made it: what users of one machine may do to each other with one."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.command_line import WIDTH, Holdfast
from helpers.users import ALICE, BOB, give, need_other_users, run_as

from hpc.errors import SweepError
from hpc.storage.layout import Layout
from hpc.storage.permissions import check_private, owner, untrusted
from hpc.storage.store import Store

FIGURE = "def draw(results, directory):\n    open({mark!r}, 'w').close()\n"
EDIT = Callable[[dict[str, Any]], None]


def configure(place: Path, **analysis: Any) -> Path:
    sweep = {"name": "small", "axes": {"width": [1, 2]}, "runs_per_condition": 1}
    trainer = shutil.copy(WIDTH, place / "width.py")
    content = {"trainer": f"{trainer}:train", "trainer_options": {"epochs": 2}, "sweep": sweep, "analysis": analysis}
    (place / "sweep.yaml").write_text(yaml.safe_dump(content))
    return place / "sweep.yaml"


@pytest.fixture
def swept(holdfast: Holdfast, tmp_path: Path) -> Path:
    """A finished sweep of one's own, with a figure of one's own."""
    (tmp_path / "figure.py").write_text(FIGURE.format(mark=str(tmp_path / "drawn")))
    holdfast("run", "--config", str(configure(tmp_path, figures=["figure.py:draw"])), "--output-dir", "out")
    assert (tmp_path / "drawn").exists()
    (tmp_path / "drawn").unlink()
    return tmp_path / "out"


def edit_sweep(out: Path, edit: EDIT) -> None:
    found = json.loads((out / "sweep.json").read_text())
    for revision in found["revisions"]:
        edit(revision)
    (out / "sweep.json").write_text(json.dumps(found))


def unfinished(out: Path) -> None:
    (out / "individual_results" / "width_1_run_0" / "results.json").unlink()


# --- what another user's directory names -----------------------------------------------------------------------------


def test_figures_of_another_users_sweep_are_drawn_only_on_demand(holdfast: Holdfast, swept: Path) -> None:
    need_other_users()
    os.chown(swept / "sweep.json", ALICE, -1)
    said = holdfast("aggregate", "out").stderr
    assert f"{swept}: it belongs to user {ALICE}; not drawn: " in said
    assert "--trust" in said
    assert not (swept.parent / "drawn").exists()
    holdfast("aggregate", "out", "--trust")
    assert (swept.parent / "drawn").exists()


def test_a_figure_that_lies_in_the_sweep_directory_is_data(holdfast: Holdfast, swept: Path) -> None:
    shutil.move(swept.parent / "figure.py", swept / "figure.py")
    edit_sweep(swept, lambda revision: revision["analysis"].update(figures=[f"{swept}/figure.py:draw"]))
    assert "lies in the sweep directory itself" in holdfast("aggregate", "out").stderr
    assert not (swept.parent / "drawn").exists()


def test_a_figure_of_ones_own_is_drawn_of_any_sweep(holdfast: Holdfast, swept: Path) -> None:
    edit_sweep(swept, lambda revision: revision["analysis"].update(figures=[]))
    holdfast("aggregate", "out", "--figure", f"{swept.parent}/figure.py:draw")
    assert (swept.parent / "drawn").exists()


@pytest.mark.parametrize("command", [("run", "out"), ("submit", "out", "--profile", "local")])
def test_another_users_sweep_is_not_run_unless_it_is_trusted(
    holdfast: Holdfast, swept: Path, command: tuple[str, ...]
) -> None:
    need_other_users()
    unfinished(swept)
    give(swept, ALICE)
    code = (
        f"trainer width.py:train in {swept.parent}/width.py, which belongs to root; "
        f"figures {swept.parent}/figure.py:draw"
    )
    assert holdfast(*command, expect=2).stderr == (
        f"{swept}: it belongs to user {ALICE}; nothing is run; add --trust to run {code} as yourself\n"
    )
    assert not (swept / "individual_results" / "width_1_run_0" / "results.json").exists()
    assert f"note: {swept}: runs {code}\n" in holdfast(*command, "--trust").stderr
    assert (swept / "individual_results" / "width_1_run_0" / "results.json").exists()


def test_another_users_directory_is_not_trusted_for_a_configuration_of_ones_own(
    holdfast: Holdfast, swept: Path
) -> None:
    need_other_users()
    os.chown(swept / "code", ALICE, -1)
    words = ("run", "--config", "sweep.yaml", "--output-dir", "out")
    assert "add --trust" in holdfast(*words, expect=2).stderr


def test_a_trainer_that_lies_in_the_sweep_directory_is_run_only_on_demand(holdfast: Holdfast, swept: Path) -> None:
    unfinished(swept)
    shutil.copy(WIDTH, swept / "width.py")
    edit_sweep(swept, lambda revision: revision["trainer"].update(path=f"{swept}/width.py"))
    assert "lies in the sweep directory itself; nothing is run; add --trust" in holdfast("run", "out", expect=2).stderr
    holdfast("run", "out", "--trust")


@pytest.mark.parametrize("words", [("status", "out"), ("plan", "out"), ("show", "out", "width_1_run_0")])
def test_looking_at_a_sweep_asks_for_no_trust(holdfast: Holdfast, swept: Path, words: tuple[str, ...]) -> None:
    need_other_users()
    give(swept, ALICE)
    holdfast(*words)
    assert not (swept.parent / "drawn").exists()


@pytest.mark.parametrize("part", ["", "sweep.json", "code", "submissions", "submissions/000001"])
def test_a_directory_is_ones_own_only_if_all_of_it_is_that_decides_what_runs(swept: Path, part: str) -> None:
    need_other_users()
    assert owner(Layout(swept)) == untrusted(Layout(swept)) == ""
    os.chown(swept / part, ALICE, -1)
    assert owner(Layout(swept)) == f"user {ALICE}"


def test_a_file_of_a_snapshot_that_is_another_users_makes_the_sweep_his(swept: Path) -> None:
    need_other_users()
    os.chown(next(swept.glob("code/*/hpc/__init__.py")), BOB, -1)
    assert owner(Layout(swept)) == f"user {BOB}"


# --- who may write ---------------------------------------------------------------------------------------------------

OURS = ["", "individual_results", "individual_results/width_1_run_0", "packs", "packs/000001", "submissions", "plots"]


@pytest.mark.parametrize("part", OURS)
def test_every_directory_of_ours_is_refused_where_anybody_can_write(swept: Path, part: str) -> None:
    (swept / part).chmod(0o777)
    with pytest.raises(SweepError, match=f"chmod o-w {(swept / part)}$"):
        check_private(swept)
    (swept / part).chmod(0o1755)
    check_private(swept)


@pytest.mark.parametrize("mode", [0o775, 0o1777, 0o757])
@pytest.mark.parametrize("part", ["code", "code/*/hpc", "submissions", "submissions/000001"])
def test_nobody_else_can_write_where_it_is_said_what_tasks_run(swept: Path, part: str, mode: int) -> None:
    (found,) = swept.glob(part)
    found.chmod(mode)
    with pytest.raises(SweepError, match="can write here"):
        check_private(swept)


def test_a_file_of_a_snapshot_that_the_group_can_write_is_refused(holdfast: Holdfast, swept: Path) -> None:
    unfinished(swept)
    path = next(swept.glob("code/*/hpc/__init__.py"))
    path.chmod(0o664)
    assert f"chmod g-w {path}\n" in holdfast("run", "out", expect=2).stderr


def test_a_directory_that_becomes_writable_later_is_refused_by_the_task(holdfast: Holdfast, swept: Path) -> None:
    directory = swept / "individual_results" / "width_2_run_0"
    directory.chmod(0o777)
    unfinished(swept)
    assert f"chmod o-w {directory}" in holdfast("run", "out", expect=2).stderr


# --- a group that shares on purpose -----------------------------------------------------------------------------------


@pytest.fixture
def shared() -> Iterator[Path]:
    """A sweep of Alice's in a directory that is made for a group: setgid, writable by it, under umask 007."""
    need_other_users()
    with tempfile.TemporaryDirectory() as place:  # pytest's own directories let nobody else through
        os.chmod(place, 0o755)
        yield _shared_by_alice(Path(place))


def _shared_by_alice(place: Path) -> Path:
    out = place / "out"
    out.mkdir()
    os.chown(out, ALICE, 61100)
    out.chmod(0o2770)
    run_as(ALICE, place / "alice", "run", "--config", str(configure(place)), "--output-dir", str(out))
    return out


def test_a_member_of_a_group_aggregates_and_continues_a_shared_sweep(shared: Path) -> None:
    home = shared.parent / "bob"
    unfinished(shared)
    run_as(BOB, home, "aggregate", str(shared), "--partial")
    assert "add --trust" in run_as(BOB, home, "run", str(shared), expect=2).stderr
    run_as(BOB, home, "run", str(shared), "--trust")
    assert (shared / "individual_results" / "width_1_run_0" / "results.json").stat().st_uid == BOB
    run_as(ALICE, shared.parent / "alice", "aggregate", str(shared))


def test_no_member_can_change_the_code_that_tasks_of_another_one_run(shared: Path) -> None:
    assert not (shared / "code").exists()
    (code,) = (shared.parent / "alice").rglob("code/*/hpc")
    for path in (code, *code.parents):
        if path == shared.parent:
            break
        assert path.stat().st_uid == ALICE
        assert not path.stat().st_mode & 0o022


def test_no_member_can_change_the_configuration_that_tasks_of_another_one_run(shared: Path) -> None:
    from helpers.small_sweeps import run_task

    unfinished(shared)
    before = Store(shared).sweep().config_digest
    edit_sweep(shared, lambda revision: revision["options"].update(epochs=3))
    tasks = next(shared.glob("submissions/000001/tasks-0.jsonl"))
    tasks.write_text(tasks.read_text().replace(before, Store(shared).sweep().config_digest))
    done = run_task(Store(shared), 1, HOLDFAST_CONFIG_DIGEST=before)
    assert done.returncode == 4
    assert "was changed after this task was queued; submit again" in done.stderr
