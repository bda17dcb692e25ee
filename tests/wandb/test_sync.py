"""`holdfast wandb sync`: one complete run per cell on the server, whatever happened before, compared with the disk."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import wandb_files
from helpers.arguments import command_lines
from helpers.users import ALICE, need_other_users
from helpers.waiting import wait_until
from helpers.wandb_server import StoredRun, WandbServer
from helpers.wandb_sweeps import GROUP, KEY, PROJECT, assert_complete, client, train, width_sweep

from hpc.cli.app import main
from hpc.storage.store import Store
from hpc.sweep.cell import Cell
from hpc.sweep.definition import Sweep
from hpc.wandb.cells import cell_run, run_id, target_of


@pytest.fixture
def done(tmp_path: Path) -> tuple[Store, Sweep]:
    """A sweep of four cells, all with results."""
    store, sweep = width_sweep(tmp_path / "out")
    assert train(store, sweep) == 0
    return store, sweep


def sync(store: Store, *words: str, expect: int = 0) -> None:
    assert main(["wandb", "sync", str(store.paths.root), "--group", GROUP, "--settle", "0", *words]) == expect


def first(sweep: Sweep) -> Cell:
    cell: Cell = sweep.grid[0]
    return cell


def test_a_sweep_arrives_whole_and_a_second_sync_sends_nothing(
    server: WandbServer, done: tuple[Store, Sweep], capsys: pytest.CaptureFixture[str]
) -> None:
    store, sweep = done
    sync(store)
    assert "4 of 4 cells are the same on the server, 4 sent now" in capsys.readouterr().out
    assert_complete(server, store, sweep)
    assert [len(run.lines) for run in server.all()] == [5] * 4
    before = len(server.operations)
    sync(store)
    assert "4 of 4 cells are the same on the server, 0 sent now" in capsys.readouterr().out
    assert "UpsertBucket" not in server.operations[before:]
    assert "HistoryPage" not in server.operations[before:]  # the journal vouches for what was compared


def test_a_killed_sync_is_completed_by_the_next(server: WandbServer, tmp_path: Path) -> None:
    store, sweep = width_sweep(tmp_path / "out", widths=(1, 2, 3), runs=4)
    train(store, sweep)
    server.seconds = 0.05
    words = [sys.executable, "-m", "hpc", "wandb", "sync", str(store.paths.root), "--group", GROUP]
    with subprocess.Popen(words, stderr=subprocess.DEVNULL, start_new_session=True) as process:
        wait_until(lambda: sum(run.state == "finished" for run in server.all()) >= 3, "three cells sent", pause=0.01)
        os.kill(process.pid, signal.SIGKILL)
    wait_until(lambda: not _group_lives(process.pid), "its helper to notice that nobody listens any more")
    assert sum(run.state == "finished" for run in server.all()) >= 3
    server.seconds = 0.0
    sync(store)
    assert_complete(server, store, sweep)


def test_a_run_left_by_a_preempted_stream_is_continued(server: WandbServer, done: tuple[Store, Sweep]) -> None:
    store, sweep = done
    whole = cell_run(store, sweep, first(sweep), target_of(sweep))
    assert whole is not None
    server.stream("tester", PROJECT, whole.id, {"files": {}})
    partial = server.run("tester", PROJECT, whole.id)
    partial.lines = [json.dumps(dict(row)) for row in whole.rows[:3]]
    partial.fields["groupName"] = GROUP
    server.dropped = 1  # which the client tries again
    sync(store)
    assert_complete(server, store, sweep)
    assert [row["_step"] for row in partial.history] == [1, 2, 3, 4, 5]


def test_what_can_be_repaired_is_repaired_and_the_rest_is_named_with_exit_code_4(
    server: WandbServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, sweep = width_sweep(tmp_path / "out", widths=(1, 2, 3))
    train(store, sweep)
    sync(store)
    capsys.readouterr()
    value, gap, summary, state, repeated, _ = (server.named(cell.name) for cell in sweep.grid)
    summary.summary["error"] = 7.0
    state.state = "crashed"
    sync(store)  # the listing shows it, although the journal vouches for the rows
    assert "6 of 6 cells are the same on the server, 2 sent now" in capsys.readouterr().out
    assert_complete(server, store, sweep)
    store.paths.wandb_journal_file.unlink()
    repeated.lines += repeated.lines[2:4]
    row = value.history[1]
    value.lines[1] = json.dumps(row | {"error": row["error"] + 1e-12})
    del gap.lines[2]
    stray = server.run("tester", PROJECT, "stray")
    stray.config, stray.fields = dict(gap.config), {"groupName": GROUP, "displayName": "copy"}
    sync(store, expect=4)
    said = capsys.readouterr()
    assert f"{sweep.grid[0].name}: epoch 2: 'error' is" in said.err
    assert f"{sweep.grid[1].name}: epoch 3 is missing" in said.err
    assert "run stray (copy) is on the server and belongs to no cell" in said.err
    assert "4 of 6 cells are the same" in said.out


def test_only_cells_with_results_are_sent_and_a_grown_sweep_adds_to_them(
    server: WandbServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, sweep = width_sweep(tmp_path / "out")
    train(store, sweep, sweep.grid[:1])
    sync(store)
    assert "1 of 4 cells are the same on the server, 1 sent now, 3 have no result yet" in capsys.readouterr().out
    store, grown = width_sweep(tmp_path / "out", runs=3)
    train(store, grown)
    sync(store)
    assert "6 of 6 cells are the same on the server, 5 sent now" in capsys.readouterr().out
    assert_complete(server, store, grown)


def test_a_damaged_history_is_named_and_never_sent(
    server: WandbServer, done: tuple[Store, Sweep], capsys: pytest.CaptureFixture[str]
) -> None:
    store, sweep = done
    path = store.paths.history_file(first(sweep))
    path.write_bytes(path.read_bytes()[:-3])
    sync(store, expect=4)
    assert f"{first(sweep).name}: history.csv is cut short" in capsys.readouterr().err
    assert first(sweep).name not in {run.fields["displayName"] for run in server.all()}


def test_a_server_that_is_down_or_silent_ends_the_sync_in_bounded_time(
    server: WandbServer, done: tuple[Store, Sweep], capsys: pytest.CaptureFixture[str]
) -> None:
    store, _ = done
    server.fall_silent()
    sync(store, "--timeout", "2", expect=3)
    said = capsys.readouterr().err.strip().splitlines()
    waited = re.search(r"W&B did not answer in (\d+) s; nothing is lost", said[-1])
    assert waited is not None
    assert 2 <= int(waited[1]) < 60


def test_broken_files_of_other_programs_are_set_aside_and_complete_ones_sent(
    server: WandbServer, done: tuple[Store, Sweep], capsys: pytest.CaptureFixture[str]
) -> None:
    store, sweep = done
    script = """
        import sys, wandb
        for name in ("whole", "cut"):
            run = wandb.init(project="theirs", entity="lab", id=name, dir=sys.argv[1], mode="offline")
            for step in range(20):
                run.log({"x": step / 3}, step=step)
            run.finish()
    """
    client(script, str(store.paths.root))
    whole, cut = (next(store.paths.wandb_root.glob(f"*/run-{name}.wandb")) for name in ("whole", "cut"))
    cut.write_bytes(cut.read_bytes()[:-9])
    empty = store.paths.wandb_root / "offline-run-1-empty" / "run-empty.wandb"
    empty.parent.mkdir()
    empty.write_bytes(whole.read_bytes()[:7])
    sync(store, "--others")
    said = capsys.readouterr().err
    assert re.search(r"run-empty.wandb: it holds its 7-byte header and nothing else; set aside as", said)
    assert re.search(r"run-cut.wandb: it is cut short after \d+ bytes, inside a record; \d+ rows can be read", said)
    assert not cut.exists()
    assert not empty.exists()
    theirs: StoredRun = server.runs.pop(("lab", "theirs", "whole"))
    assert [row["x"] for row in theirs.history] == [step / 3 for step in range(20)]
    assert_complete(server, store, sweep)
    before = len(server.operations)
    sync(store, "--others")
    assert "UpsertBucket" not in server.operations[before:]


def other_run(store: Store, *extra: bytes) -> Path:
    """A complete run of another program, with records of the kinds that decide what else is uploaded."""
    place = store.paths.wandb_root / "offline-run-1-abc"
    (place / "files").mkdir(parents=True)
    begun, *rest = wandb_files.run({"x": 1}, [{"loss": 1.0}], {"loss": 1.0})
    path = place / "run-abc.wandb"
    path.write_bytes(wandb_files.segment([begun, *extra, *rest]))
    return path


def names_file(name: str) -> bytes:
    from wandb.proto import wandb_internal_pb2 as pb

    record = pb.Record()  # type: ignore[attr-defined]
    record.files.files.add().path = name
    return record.SerializeToString()


def names_artifact(name: str) -> bytes:
    from wandb.proto import wandb_internal_pb2 as pb

    record = pb.Record()  # type: ignore[attr-defined]
    record.artifact.manifest.contents.add().local_path = name
    return record.SerializeToString()


def test_a_run_of_another_program_is_sent_if_asked_for_and_no_file_beside_it_ever(
    server: WandbServer, done: tuple[Store, Sweep], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, sweep = done
    path = other_run(store, names_file("notes.txt"))
    secret, outside = tmp_path / "id_rsa", tmp_path / "outside"
    secret.write_text("a secret of the reader's")
    (path.parent / "files" / "notes.txt").symlink_to(secret)
    path.with_name("run-abc.wandb.syncstate").symlink_to(outside)
    sync(store)
    assert "of another program" in (said := capsys.readouterr().err)
    assert "is not sent; --others sends it" in said
    assert_complete(server, store, sweep)  # no run but the sweep's
    sync(store, "--others")
    assert len(server.all()) == 5
    assert not [body for body in server.bodies if secret.read_bytes() in body]
    assert not outside.exists()
    assert not path.with_name("run-abc.wandb.synced").read_bytes()


def test_a_mark_that_leads_elsewhere_is_not_written_through(server: WandbServer, done: tuple[Store, Sweep]) -> None:
    store, _ = done
    path = other_run(store)
    path.with_name("run-abc.wandb.synced").symlink_to(store.root.parent / "outside")
    sync(store, "--others")
    assert not (store.root.parent / "outside").exists()


@pytest.mark.parametrize("record", [names_file, names_artifact])
def test_a_run_that_names_files_of_the_machine_is_not_sent(
    server: WandbServer,
    done: tuple[Store, Sweep],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    record: Callable[[str], bytes],
) -> None:
    store, sweep = done
    secret = tmp_path / "id_rsa"
    secret.write_text("a secret of the reader's")
    other_run(store, record(str(secret)))
    sync(store, "--others")
    assert "records may name any file of this machine" in capsys.readouterr().err
    assert_complete(server, store, sweep)


def test_runs_of_other_programs_in_a_directory_of_somebody_else_are_not_sent(
    server: WandbServer, done: tuple[Store, Sweep], capsys: pytest.CaptureFixture[str]
) -> None:
    need_other_users()
    store, _ = done
    os.chown(other_run(store).parents[2] / "sweep.json", ALICE, -1)
    sync(store, "--others", expect=2)
    assert "it belongs to" in capsys.readouterr().err
    assert server.requests == []


def test_the_key_is_in_no_file_and_in_no_argument(server: WandbServer, tmp_path: Path) -> None:
    store, sweep = width_sweep(tmp_path / "out", mode="offline")
    train(store, sweep)
    words = [sys.executable, "-m", "hpc", "wandb", "sync", str(store.paths.root), "--group", GROUP]
    server.seconds = 0.02
    server.fall_silent()  # until its helper was seen
    environment = os.environ | {"TMPDIR": str(tmp_path / "scratch")}
    (tmp_path / "scratch").mkdir()
    lines: set[bytes] = set()
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment) as process:
        while process.poll() is None:
            lines |= command_lines()
            if any(b"hpc.wandb.client" in line for line in lines):
                server.speak()
            time.sleep(0.02)
        assert process.stdout is not None
        said = process.stdout.read()
    assert process.returncode == 0, said
    assert any(b"hpc.wandb.client" in line for line in lines)
    assert not [line for line in lines if KEY.encode() in line]
    assert KEY.encode() not in said
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 20
    assert not [path for path in files if KEY.encode() in path.read_bytes()]
    assert not [body for body in server.bodies if KEY.encode() in body]


def _group_lives(leader: int) -> bool:
    try:
        os.killpg(leader, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_directory_of_somebody_else_neither_runs_code_nor_gets_the_key(
    server: WandbServer, done: tuple[Store, Sweep], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, sweep = done
    script = """
        import sys, wandb
        wandb.init(project="theirs", entity="lab", id="whole", dir=sys.argv[1], mode="offline").finish()
    """
    client(script, str(store.paths.root))
    settings = Path.home() / ".config" / "wandb" / "settings"
    settings.parent.mkdir(parents=True)
    settings.write_text(f"[default]\nbase_url = {server.url}\n")
    monkeypatch.delenv("WANDB_BASE_URL")
    ran = tmp_path / "ran"
    (store.paths.wandb_root / "__init__.py").write_text(f"open({str(ran)!r}, 'w')\n")
    with WandbServer() as thief:
        (store.paths.wandb_root / "settings").write_text(f"[default]\nbase_url = {thief.url}\n")
        monkeypatch.chdir(store.paths.root)
        sync(store, "--others")
        assert thief.requests == []
    assert not ran.exists()
    assert server.runs.pop(("lab", "theirs", "whole"))
    assert_complete(server, store, sweep)


def test_a_cell_keeps_its_id_and_has_another_under_another_configuration(tmp_path: Path) -> None:
    _, sweep = width_sweep(tmp_path / "a")
    _, grown = width_sweep(tmp_path / "b", widths=(2, 1, 7), runs=5)
    _, longer = width_sweep(tmp_path / "c", epochs=6)
    ids = [[run_id(entry, cell) for cell in sweep.grid] for entry in (sweep, grown, longer)]
    assert ids[0] == ids[1]
    assert not set(ids[0]) & set(ids[2])
    assert len(set(ids[0])) == 4
