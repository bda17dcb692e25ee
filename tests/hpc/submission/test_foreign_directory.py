"""What a sweep directory says about clusters and nodes: data that anybody may have written, and no command of ours."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from helpers.users import BOB, need_other_users

from hpc.cli import app
from hpc.errors import ConfigError
from hpc.files import atomic, directories
from hpc.launch import slurm as launch
from hpc.launch.bad_nodes import BadNodes
from hpc.launch.look import Look
from hpc.launch.options import SubmitOptions
from hpc.launch.request import Request
from hpc.protocol import CommandExit
from hpc.slurm import script
from hpc.slurm.profile import Profile
from hpc.storage.store import Store
from hpc.submission import arrays, cancels, intents, known_confs
from hpc.submission.cancels import TakenOut
from hpc.submission.live import Queues, queues
from hpc.sweep.cell import Cell

INJECTED = "n9\\'\"\n#SBATCH --exclude=n2\ntouch pwned\n#"


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("SLURM_CONF", raising=False)


@pytest.fixture
def named(store: Store, cells: list[Cell], tmp_path: Path) -> Callable[[Path], intents.Intent]:
    """A submission as another user's file has it, with a slurm.conf of his."""

    def make(conf: Path) -> intents.Intent:
        intent = intents.begin(store, [[cells]], kind=intents.SLURM, profile="p", name="small", code="")
        path = store.paths.intent_file(intent.number)
        path.write_text(json.dumps(json.loads(path.read_text()) | {"conf": str(conf)}))
        return intents.intents(store)[-1]

    return make


@pytest.mark.parametrize("place", ["out/slurm.conf", "elsewhere/slurm.conf"])
def test_a_slurm_conf_that_only_the_directory_names_is_not_used(
    store: Store, named: Callable[[Path], intents.Intent], tmp_path: Path, place: str
) -> None:
    intent = named(tmp_path / place)
    assert (intent.conf, intent.unknown_conf) == (None, str(tmp_path / place))
    (unasked,) = queues(store).unasked
    assert f"none of yours; if you trust it, export SLURM_CONF={tmp_path / place}" in str(unasked)


def test_a_slurm_conf_of_the_environment_is_used(
    named: Callable[[Path], intents.Intent], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_CONF", str(tmp_path / "slurm.conf"))
    assert named(tmp_path / "slurm.conf").conf == str(tmp_path / "slurm.conf")


def test_a_slurm_conf_that_this_user_submitted_with_is_used(store: Store, cells: list[Cell], tmp_path: Path) -> None:
    conf = tmp_path / "slurm.conf"
    intents.begin(store, [[cells]], kind=intents.SLURM, profile="p", name="small", code="", conf=conf)
    assert intents.intents(store)[-1].conf == str(conf)
    assert "unknown_conf" not in store.paths.intent_file(1).read_text()


def test_of_slurm_confs_that_commands_remember_at_once_none_is_lost(tmp_path: Path) -> None:
    confs = [tmp_path / f"{number}.conf" for number in range(100)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(known_confs.remember, confs))
    assert all(map(known_confs.is_known, confs))
    assert not known_confs.is_known(tmp_path / "another.conf")


def test_slurm_confs_that_versions_before_remembered_in_one_file_are_known(tmp_path: Path) -> None:
    state = tmp_path / "state" / "holdfast"
    state.mkdir(parents=True)
    (state / "slurm_confs.json").write_text(json.dumps([str(tmp_path / "a.conf")]))
    assert known_confs.is_known(tmp_path / "a.conf")
    assert not known_confs.is_known(tmp_path / "b.conf")


def test_a_name_that_no_node_can_have_is_not_excluded(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    seen = Look(Queues(), (), BadNodes({INJECTED: 2, "n7": 3}))
    request = Request(store, store.sweep())
    profile = launch._without_bad_nodes(request, Profile("p"), SubmitOptions(), seen)
    assert profile.parameters == {"exclude": "n7"}
    assert "no node can have this name" in capsys.readouterr().err


JOB = script.Job("small-1.0-abc", Path("/sweep"), "/sweep/%a.log", 1)


@pytest.mark.parametrize(
    "profile",
    [
        Profile("p", {"exclude": INJECTED}),
        Profile("p", {"partition": "a\nb"}),
        Profile("p", additional={"constraint": "a\nb"}),
        Profile("p", additional={"wrap": "x"}),
    ],
)
def test_values_are_checked_where_a_script_is_written_wherever_they_come_from(profile: Profile) -> None:
    with pytest.raises(ConfigError):
        script.text(profile, JOB, "true")


@pytest.mark.parametrize("job", [script.Job("a\nb", Path("/s"), "/l"), script.Job("a", Path("/s\n#SBATCH x"), "/l")])
def test_no_path_or_name_breaks_a_line_of_a_script(job: script.Job) -> None:
    with pytest.raises(ConfigError, match="a script cannot hold control characters"):
        script.text(Profile("p"), job, "true")


@pytest.mark.parametrize("name", ["a\x1cb", "a\u2028b", "a\x85b", "a\nb", "a\udcffb"])  # the last: bytes, no UTF-8
def test_slurm_is_given_no_directory_whose_path_cannot_be_printed(name: str) -> None:
    launch._check_path(Path("/\u00fcber/\u65e5\u672c out"), Profile("p"))
    with pytest.raises(ConfigError, match="Slurm is given no path with such characters"):
        launch._check_path(Path("/home", name, "out"), Profile("p"))


# --- jobs that others queued, or that are called like a task of the sweep ------------------------------------------


@pytest.fixture
def squeue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Lets squeue answer these rows, and others where only the user's own jobs are asked for.

    What is given to scancel is in the file that is returned.
    """

    def answer(rows: str, own: str) -> Path:
        commands, said = tmp_path / "bin", tmp_path / "cancelled"
        commands.mkdir(exist_ok=True)
        (tmp_path / "rows").write_text(rows)
        (tmp_path / "own").write_text(own)
        (commands / "squeue").write_text(
            f'#!/bin/sh\ncase "$*" in *--user=*) cat {tmp_path}/own;; *) cat {tmp_path}/rows;; esac\n'
        )
        (commands / "scancel").write_text(f'#!/bin/sh\necho "$@" >> {said}\n')
        for command in commands.iterdir():
            command.chmod(0o755)
        said.write_text("")
        monkeypatch.setenv("PATH", f"{commands}:/usr/bin:/bin")
        return said

    return answer


def row(job: str, directory: str | Path, name: str) -> str:
    return f"{job}|0|RUNNING|None|n1|low|0:05|1|0|{directory}|//|{name}|\n"


def queued_there(store: Store, cells: list[Cell], **changed: object) -> intents.Intent:
    """A submission of one task on the machine's own cluster, with these values changed in its file."""
    intent = intents.begin(store, [[cells]], kind=intents.SLURM, profile="p", name="small", code="")
    path = store.paths.intent_file(intent.number)
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    return intents.intents(store)[-1]


@pytest.mark.parametrize("device", [None, 7])  # as this machine, or another one, numbers the file system
@pytest.mark.parametrize("place", ["not there", "out of reach", "somewhere else"])
def test_what_another_user_queued_by_a_path_out_of_reach_counts_as_queued_and_is_not_cancelled(
    store: Store, cells: list[Cell], squeue: Callable[..., Path], tmp_path: Path, place: str, device: int | None
) -> None:
    need_other_users()
    link = tmp_path / "home"
    intent = queued_there(store, cells, root=str(link), **({} if device is None else {"device": device}))
    os.chown(store.paths.intent_file(intent.number), BOB, BOB)
    if place == "out of reach":
        link.symlink_to(link)  # as good as a directory that one may not enter: root may enter all
    directory = tmp_path if place == "somewhere else" else link  # as with sbatch --chdir
    cancelled = squeue(rows := row("12", directory, intent.tokens[0]), own=rows)

    seen = queues(store)
    assert seen.cells == {cell.name for cell in cells}
    assert seen.tokens == set(intent.tokens)
    done = cancels.cancel(store, [cell.name for cell in cells])
    assert (done.taken, len(done.left)) == (0, 1)
    assert "left alone: 1 task under a name of this sweep." in cancels.left_alone(done.left)
    assert cancelled.read_text() == ""


def test_a_renamed_job_is_known_by_its_id_and_its_directory_by_whatever_path(
    store: Store, cells: list[Cell], squeue: Callable[..., Path], tmp_path: Path
) -> None:
    intent = queued_there(store, cells)
    intents.write_receipt(store, intent, ["12"])
    (tmp_path / "link").symlink_to(store.root)
    cancelled = squeue(rows := row("12", tmp_path / "link", "renamed"), own=rows)
    assert queues(store).cells == {cell.name for cell in cells}
    assert cancels.cancel(store, [cell.name for cell in cells]) == TakenOut(1)
    assert cancelled.read_text() == "12_[0]\n"

    squeue(row("12", tmp_path, "renamed"), own="")  # the id was given out again
    assert queues(store).cells == set()


def test_a_renamed_job_is_known_by_its_directory_as_its_own_machine_calls_it(
    store: Store, cells: list[Cell], squeue: Callable[..., Path], tmp_path: Path
) -> None:
    """Here, another directory has that name; so the job is not cancelled from here."""
    intent = queued_there(store, cells, root=str(tmp_path))
    intents.write_receipt(store, intent, ["12"])
    cancelled = squeue(rows := row("12", tmp_path, "renamed"), own=rows)
    assert queues(store).cells == {cell.name for cell in cells}
    done = cancels.cancel(store, [cell.name for cell in cells])
    assert (done.taken, len(done.left), cancelled.read_text()) == (0, 1, "")


@pytest.mark.parametrize("end", ["\n", "\r", "\x1c", "\x0b", "\x85", "\u2028"])
def test_no_name_or_directory_of_another_users_job_stands_for_a_job_of_ones_own(
    store: Store, cells: list[Cell], squeue: Callable[..., Path], end: str
) -> None:
    intent = queued_there(store, cells)
    forged = row("77", store.root, intent.tokens[0])
    own = row("77", "/mine", "mine")
    cancelled = squeue(own + row("12", f"/theirs{end}{forged}", intent.tokens[0]), own=own)
    assert ("77" in {task.queued.job_id for task in queues(store).tasks}) == (end == "\n")
    assert cancels.cancel(store, [cell.name for cell in cells]).taken == 0
    assert cancelled.read_text() == ""


# --- where nothing can be written -----------------------------------------------------------------------------------


def fill_quota(patch: pytest.MonkeyPatch, at: str) -> None:
    """Let no more be written from here on: no file whose name begins so, or no directory of a number."""

    def full(module: Any, name: str) -> None:
        real = getattr(module, name)

        def write(path: Path, *given: Any, **options: Any) -> Any:
            if name == at or path.name.startswith(at):
                raise OSError(errno.EDQUOT, "Disk quota exceeded", str(path))
            return real(path, *given, **options)

        patch.setattr(module, name, write)

    for module, name in ((directories, "claim"), (atomic, "publish"), (atomic, "publish_once")):
        full(module, name)


@pytest.mark.parametrize("at", ["claim", "cancel.json", "void-"])
def test_where_a_quota_is_full_tasks_are_cancelled_and_it_is_said_that_nothing_is_recorded(
    store: Store,
    cells: list[Cell],
    squeue: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    at: str,
) -> None:
    intent = queued_there(store, cells)
    cancelled = squeue(rows := row("12", store.root, intent.tokens[0]), own=rows)
    fill_quota(monkeypatch, at)
    assert app.main(["cancel", str(store.root), "-y"]) == CommandExit.TROUBLE
    assert cancelled.read_text() == "12_[0]\n"
    said = capsys.readouterr().err
    assert "cancelled 1 task;" in said
    assert "not recorded: " in said
    assert "Disk quota exceeded; a `submit --wait` or `run` at work may queue or train these cells again" in said


def test_what_was_cancelled_while_it_was_queued_is_taken_out_although_a_quota_is_full(
    store: Store, cells: list[Cell], squeue: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    intent = queued_there(store, cells)
    cancels.request(store, [cell.name for cell in cells])
    cancelled = squeue(rows := row("12", store.root, intent.tokens[0]), own=rows)
    fill_quota(monkeypatch, "void-")
    with pytest.raises(OSError, match="Disk quota exceeded"):
        arrays._cancelled_meanwhile(store, intent, 0, None)
    assert cancelled.read_text() == "12_[0]\n"
