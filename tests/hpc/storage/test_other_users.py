"""A sweep directory is data, whoever made it: what users of one machine may do to each other with one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.command_line import ROOT, WIDTH, Holdfast
from helpers.small_sweeps import make_store, run_task, submit
from helpers.users import ALICE, BOB, give, need_other_users, run_as, share
from helpers.waiting import PATIENCE

from aggregate.pipeline import aggregate
from hpc.checkout import OUR_PACKAGES, SCRIPT_TRAINER
from hpc.errors import OutdatedError, SweepError
from hpc.node.pack import PackTask
from hpc.protocol import CONFIG_DIGEST, SWEEP_DIGEST
from hpc.storage import permissions
from hpc.storage.permissions import check_private, owner, owner_of, untrusted
from hpc.storage.revisions import shared_digest, write_sweep
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
    rule = {"when": [["width", [1]]], "mem_gb": 512, "account": "theirs"}
    edit_sweep(swept, lambda revision: revision.update(resources=[rule]))
    give(swept, ALICE)
    code = (
        f"trainer width.py:train in {swept.parent}/width.py, which belongs to root; "
        f"figures {swept.parent}/figure.py:draw; resources mem_gb 512, account theirs"
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
    assert owner(Store(swept)) == untrusted(Store(swept)) == ""
    os.chown(swept / part, ALICE, -1)
    assert owner(Store(swept)) == f"user {ALICE}"


def test_a_file_of_a_snapshot_that_is_another_users_makes_the_sweep_his(swept: Path) -> None:
    need_other_users()
    os.chown(next(swept.glob("code/*/hpc/__init__.py")), BOB, -1)
    assert owner(Store(swept)) == f"user {BOB}"


@pytest.mark.parametrize("part", ["trainer", "figure"])
def test_code_of_another_user_is_not_run_unless_it_is_trusted(holdfast: Holdfast, swept: Path, part: str) -> None:
    need_other_users()
    unfinished(swept)
    file = swept.parent / {"trainer": "width.py", "figure": "figure.py"}[part]
    os.chown(file, ALICE, -1)
    said = holdfast("run", "out", expect=2 if part == "trainer" else 0).stderr
    assert f"{file}: it belongs to user {ALICE}; " in said
    assert not (swept.parent / "drawn").exists()
    holdfast("run", "out", "--trust")
    assert (swept.parent / "drawn").exists()


def configure_command(place: Path) -> None:
    """A sweep whose trainer is Holdfast's own, which starts a command."""
    factors, metrics = {"width": {"kind": "integer", "minimum": 1}}, {"error": {"kind": "positive", "better": "lower"}}
    command = """echo '{"metrics": {"error": 0.5}}' > "$HOLDFAST_RESULT\""""
    trainer = {"command": command, "factors": factors, "metrics": metrics}
    sweep = {"name": "small", "axes": {"width": [1]}, "runs_per_condition": 1}
    (place / "sweep.yaml").write_text(yaml.safe_dump({"trainer": trainer, "sweep": sweep}))


def test_trainers_of_holdfast_are_run_wherever_another_user_has_installed_it(tmp_path: Path) -> None:
    """As on a cluster where one account, which is not root, installs for all."""
    need_other_users()
    installed, place = tmp_path / "installed", tmp_path / "place"
    for package in OUR_PACKAGES:
        shutil.copytree(ROOT / package, installed / package, ignore=shutil.ignore_patterns("__pycache__"))
    give(installed, ALICE)
    place.mkdir()
    configure_command(place)

    def holdfast(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-P", "-m", "hpc", *words]
        named = os.environ | {"PYTHONPATH": str(installed), "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.run(command, cwd=place, env=named, capture_output=True, text=True, timeout=PATIENCE)

    assert holdfast("run", "--config", "sweep.yaml", "--output-dir", "out").returncode == 0
    trainer = Store(place / "out").sweep().trainer.path
    assert trainer == f"{installed}/training/command.py"
    assert owner_of(Path(trainer)) == f"user {ALICE}"
    unfinished(place / "out")
    done = holdfast("run", "out")
    assert (done.returncode, "--trust" in done.stderr) == (0, False), done.stderr
    assert (place / "out" / "individual_results" / "width_1_run_0" / "results.json").exists()
    edit_sweep(place / "out", lambda revision: revision["provenance"].update(wandb="alice/small"))
    unfinished(place / "out")
    assert "runs of W&B, which anybody may have written; nothing is run" in holdfast("run", "out").stderr


@pytest.mark.parametrize("name", ["installed/training/../../evil.py", "installed/training/out/evil.py", "in.py"])
def test_no_other_name_of_a_file_is_one_of_holdfasts_own(
    swept: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link leads elsewhere whenever its owner wants it to."""
    need_other_users()
    installed, evil = swept.parent / "installed", swept.parent / "evil.py"
    (installed / "training").mkdir(parents=True)
    evil.write_text("")
    (installed / "training" / "out").symlink_to(swept.parent)
    (installed / "training" / "script.py").write_text("")
    (swept.parent / "in.py").symlink_to(installed / "training" / "script.py")
    for path in (evil, installed / "training" / "script.py", swept.parent / "in.py"):
        os.chown(path, ALICE, -1, follow_symlinks=False)
    monkeypatch.setattr(permissions, "PROJECT_ROOT", installed)
    assert f"it belongs to user {ALICE}" in untrusted(Store(swept), [f"{swept.parent}/{name}:train"])
    assert untrusted(Store(swept), [f"{installed}/training/script.py:train"]) == ""


def test_the_owner_is_that_of_the_file_which_was_read(swept: Path) -> None:
    """Another user's sweep.json was there for a moment, while it was read, and one's own again when it was asked."""
    need_other_users()
    store = Store(swept)
    os.chown(swept / "sweep.json", ALICE, -1)
    store.sweep()
    os.chown(swept / "sweep.json", 0, -1)
    assert owner(store) == f"user {ALICE}"
    assert owner(Store(swept)) == ""


def test_what_draws_for_a_sweep_is_named(holdfast: Holdfast, swept: Path) -> None:
    line = f"{swept}/sweep.json names code of users, which was run to draw figures: {swept.parent}/figure.py:draw"
    assert line in holdfast("aggregate", "out").stderr


@pytest.mark.parametrize("target", ["../evil.py:draw", "evil.py:draw"])
def test_a_figure_that_is_found_only_from_where_one_stands_is_not_drawn(
    swept: Path, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An archive holds a sweep and, beside it or in it, the code that its sweep.json names."""
    for place in (swept, swept.parent):
        (place / "evil.py").write_text(FIGURE.format(mark=str(swept.parent / "drawn")))
    edit_sweep(swept, lambda revision: revision["analysis"].update(figures=[target]))
    monkeypatch.chdir(swept)
    assert [line for line in aggregate(swept).problems if target in line]
    assert not (swept.parent / "drawn").exists()
    assert "absolute path" in str(aggregate(swept, trust=True).problems)
    assert not (swept.parent / "drawn").exists()


def test_a_module_that_lies_in_the_sweep_directory_is_data(swept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `python -m hpc` from there would find it."""
    (swept / "evil.py").write_text(FIGURE.format(mark=str(swept.parent / "drawn")))
    monkeypatch.syspath_prepend(str(swept))
    assert "evil:draw lies in the sweep directory itself" in untrusted(Store(swept), ["evil:draw"])


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
    share(out, ALICE)
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


def test_who_can_only_read_a_sweep_is_told_to_aggregate_a_copy(shared: Path) -> None:
    for folder, _, names in os.walk(shared):
        Path(folder).chmod(0o755)
        for name in names:
            Path(folder, name).chmod(0o644)
    (shared / "report.html").unlink()  # or there is nothing to do
    reader = shared.parent / "bob"
    told = run_as(BOB, reader, "aggregate", str(shared), expect=3).stderr
    assert f"of a sweep that is not yours: cp -r {shared} MINE, then holdfast aggregate MINE" in told
    subprocess.run(["cp", "-r", shared, reader / "MINE"], check=True)
    give(reader, BOB)
    run_as(BOB, reader, "aggregate", "MINE")
    assert (reader / "MINE" / "report.html").exists()


def test_a_reader_never_becomes_the_owner_of_another_members_file(shared: Path) -> None:
    """What Bob puts in the place of a history is a whole sweep.json, which names his trainer: were it Alice's after
    she had looked at her sweep, he could give it the name of hers."""
    cell = shared / "individual_results" / "width_1_run_0"
    manifest = json.loads((shared / "sweep.json").read_text())
    manifest["revisions"][-1]["trainer"]["path"] = "/home/bob/evil.py"
    planted = shared / "packs" / "000900" / "width_1_run_0.history.csv"
    planted.parent.mkdir()
    planted.write_text(json.dumps(manifest))
    result = json.loads((cell / "results.json").read_text())
    del result["provenance"]["files"]
    result["provenance"]["pack"] = 900
    (cell / "results.json").unlink()
    (cell / "results.json").write_text(json.dumps(result))
    (cell / "history.csv").unlink()
    for path in (planted.parent, planted, cell / "results.json"):
        os.chown(path, BOB, -1)
        path.chmod(0o2775 if path.is_dir() else 0o644)
    for words in (("status",), ("show", "width_1_run_0"), ("plan",)):
        run_as(ALICE, shared.parent / "alice", words[0], str(shared), *words[1:])
    kept = [path for path in shared.rglob("*") if path.is_file() and b"evil.py" in path.read_bytes()]
    assert kept, "nothing of another member's is lost"
    assert {path.stat().st_uid for path in kept} == {BOB}


def test_no_member_can_change_the_code_that_tasks_of_another_one_run(shared: Path) -> None:
    assert not (shared / "code").exists()
    (code,) = (shared.parent / "alice").rglob("code/*/hpc")
    for path in (code, *code.parents):
        if path == shared.parent:
            break
        assert path.stat().st_uid == ALICE
        assert not path.stat().st_mode & 0o022


def test_no_member_can_change_the_configuration_that_tasks_of_another_one_run(shared: Path) -> None:
    unfinished(shared)
    before = Store(shared).sweep().config_digest
    edit_sweep(shared, lambda revision: revision["options"].update(epochs=3))
    tasks = next(shared.glob("submissions/000001/tasks-0.jsonl"))
    tasks.write_text(tasks.read_text().replace(before, Store(shared).sweep().config_digest))
    done = run_task(Store(shared), 1, HOLDFAST_CONFIG_DIGEST=before)
    assert done.returncode == 4
    assert "was changed after this task was queued; submit again" in done.stderr


CHANGES: dict[str, EDIT] = {
    "settings of a level": lambda revision: revision["options"]["bundles"]["width"]["1"].update(epochs=3),
    "data": lambda revision: revision["sections"]["data"].update(dir="/home/bob/data"),
    "keep": lambda revision: revision["keep"].update(weights="none"),
    "wandb": lambda revision: revision["wandb"].update(log_to_wandb={"mode": "offline"}, wandb_entity="bob"),
    "trainer": lambda revision: revision["trainer"].update(path="/home/bob/width.py"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_task_in_a_shared_directory_trains_the_very_sweep_that_it_was_queued_for(
    change: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Settings of levels, W&B, data and paths are not in a configuration's digest, and any member can write them."""
    options = {"bundles": {"width": {"1": {"epochs": 2}, "2": {}}}}
    script = replace(store.sweep().trainer, target=SCRIPT_TRAINER)
    queued = replace(store.sweep(), trainer=script, options=options, sections={"data": {"dir": "/home/alice/data"}})
    store = make_store(store.root.with_name("script"), queued)
    assert shared_digest(store, queued) == "", "in a directory of one's own it is the newest"
    store.root.chmod(0o2770)
    digests = {SWEEP_DIGEST: shared_digest(store, queued), CONFIG_DIGEST: queued.config_digest}
    number = submit(store, list(queued.grid))
    grown = replace(queued, grid=replace(queued.grid, seeds=(*queued.grid.seeds, 99)))
    write_sweep(store, replace(grown, checkpoint_seconds=7.0), {})  # by a member who continues the sweep
    for name, value in digests.items():
        monkeypatch.setenv(name, value)
    found = PackTask.from_list(store, number, 0, 0, lambda: False).sweep
    assert found.task_digest == queued.task_digest
    edit_sweep(store.root, CHANGES[change])
    with pytest.raises(OutdatedError, match=r"changed (since|after this task was queued).*; submit again"):
        PackTask.from_list(store, number, 0, 0, lambda: False)
    with pytest.raises(SweepError, match=r"was changed since this command wrote it|another configuration"):
        shared_digest(store, queued)


def test_what_a_run_in_a_shared_directory_starts_is_told_what_it_is_for(shared: Path) -> None:
    trainer = shared.parent / "width.py"
    seen = shared.parent / "alice" / "seen"
    noting = f"import os\nopen({str(seen)!r}, 'w').write(os.environ[{SWEEP_DIGEST!r}])\n"
    trainer.write_text(trainer.read_text().replace("def train(", f"{noting}\n\ndef train(", 1))
    unfinished(shared)
    run_as(ALICE, shared.parent / "alice", "run", str(shared), "--allow-code-change")
    assert seen.read_text() == Store(shared).sweep().task_digest


def test_what_another_users_sweep_calls_its_data_is_not_read_to_plan_it(holdfast: Holdfast, swept: Path) -> None:
    need_other_users()
    unfinished(swept)
    data = swept.parent / "data"
    data.mkdir()
    (data / "disk").write_text("as large as a disk")

    def edit(revision: dict[str, Any]) -> None:
        revision.update(data_digest="0" * 64, sections={"data": {"dir": str(data)}})
        revision["trainer"]["data_files"] = ["**/*"]

    edit_sweep(swept, edit)
    assert "the data has changed since planning" in holdfast("plan", "out", expect=2).stderr
    give(swept, ALICE)
    holdfast("plan", "out")
