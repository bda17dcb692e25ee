"""What runs is what the digest says: snapshots are checked where they are reused and where a task starts."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.small_sweeps import ROOT, TRAINER, make_grid, make_store, make_sweep, write_trainer
from helpers.waiting import PATIENCE

from hpc.files import directories
from hpc.protocol import CODE_DIGEST, TaskExit
from hpc.storage.store import Store
from hpc.submission import intents
from hpc.trainers.snapshot import code_digest, damage, snapshot, trainer_digest


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, str, Path]:
    """A sweep, the digest of its code, and the snapshot."""
    root = tmp_path_factory.mktemp("snapshot")
    write_trainer(root)
    write_trainer(root, "OTHER = 1\n", "a neighbour.py")
    store = make_store(root / "out", make_sweep(path=root / "toy.py"))
    return store, *snapshot(store, store.sweep().trainer)


@pytest.fixture
def copy(taken: tuple[Store, str, Path], tmp_path: Path) -> tuple[Store, str, Path]:
    store, digest, _code = taken
    mine = Store(tmp_path / "out")
    shutil.copytree(store.root, mine.root)
    return mine, digest, mine.paths.code_directory(digest)


def run_task(store: Store, digest: str, code: Path) -> subprocess.CompletedProcess[str]:
    """One task of all cells, from a snapshot, as task.sh starts it."""
    tasks = [[list(store.sweep().grid)]]
    intent = intents.begin(store, tasks, kind=intents.LOCAL, profile="local", name="small", code=digest)
    return subprocess.run(
        [sys.executable, "-P", "-m", "hpc.node.task", str(store.root), str(intent.number), "0", "0"],
        env=os.environ | {"PYTHONPATH": f"{code}:{code / 'user'}", CODE_DIGEST: digest},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


def states(store: Store) -> set[str]:
    return {status.state for status in store.statuses(store.sweep().grid, store.sweep())}


def test_a_snapshot_is_whole_and_its_tasks_record_both_digests(copy: tuple[Store, str, Path]) -> None:
    store, digest, code = copy
    trainer = store.sweep().trainer
    assert (damage(code, digest), code_digest(trainer)) == ("", digest)
    done = run_task(store, digest, code)
    assert done.returncode == 0, done.stderr
    found = store.result(store.sweep().grid[0])
    assert found is not None
    assert found["provenance"]["code_digest"] == digest
    assert found["provenance"]["trainer_digest"] == trainer_digest(trainer), "the same in the copy as in the original"


def test_all_of_a_snapshot_is_on_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its files have no other moment: whoever finds the name runs them, after a power cut as well."""
    write_trainer(tmp_path)
    (tmp_path / "below" / "it").mkdir(parents=True)
    write_trainer(tmp_path / "below" / "it", "OTHER = 1\n", "another.py")
    store = make_store(tmp_path / "out", make_sweep(path=tmp_path / "toy.py"))
    turns, synced, made, changed, named = itertools.count(), {}, {}, {}, []
    fsync, chmod, mkdir, rename = os.fsync, os.chmod, directories.mkdir, directories.rename_directory

    def watched_fsync(fd: int) -> None:
        turn = next(turns)  # of its beginning: what is made meanwhile may not be on disk
        fsync(fd)
        synced[os.readlink(f"/proc/self/fd/{fd}")] = turn

    def watched_chmod(path: Path, mode: int) -> None:
        chmod(path, mode)
        changed[str(path)] = next(turns)

    def watched_mkdir(path: Path) -> None:
        mkdir(path)
        made[str(path)] = next(turns)

    def watched_rename(path: Path, target: Path) -> None:
        (manifest,) = [turn for name, turn in synced.items() if Path(name).name.startswith(".manifest.txt.")]
        for file in path.rglob("*"):
            entered = made[str(file)] if file.is_dir() else synced.get(str(file), manifest)
            assert file.is_dir() or str(file) in synced or file.name == "manifest.txt", file
            assert synced[str(file.parent)] > entered, file.parent
        assert all(synced[folder] > turn for folder, turn in changed.items())
        assert {str(path), str(path / "user" / "below")} <= changed.keys()
        rename(path, target)
        named.append(target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "chmod", watched_chmod)
    monkeypatch.setattr(directories, "mkdir", watched_mkdir)
    monkeypatch.setattr(directories, "rename_directory", watched_rename)
    _, code = snapshot(store, store.sweep().trainer)
    assert named == [code]
    assert sum(path.is_file() for path in code.rglob("*")) > 300


def test_a_snapshot_has_whatever_an_aggregation_reads_that_is_queued_after_the_tasks(
    copy: tuple[Store, str, Path],
) -> None:
    _, _, code = copy
    parts = [path for path in (ROOT / "aggregate" / "report").rglob("*") if path.is_file()]
    read = [path.relative_to(ROOT) for path in parts if "__pycache__" not in path.parts and path.name != "SHA256SUMS"]
    assert {path.suffix for path in read} > {".py", ".js", ".css"}
    assert [path for path in read if not (code / path).is_file()] == []


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("user/toy.py", None, "missing: user/toy.py"),
        ("user/toy.py", TRAINER.replace("3.99", "3.98"), "changed: user/toy.py"),
        ("training/loop/pack.py", "", "changed: training/loop/pack.py"),
        ("training/contract.py", None, ""),
        ("user/numpy.py", "", "not of it: user/numpy.py"),
        ("hpc/node/giving_up.py", None, ""),
    ],
)
def test_a_task_whose_snapshot_is_damaged_ends_before_training_and_the_next_submission_makes_it_anew(
    copy: tuple[Store, str, Path], name: str, content: str | None, said: str
) -> None:
    store, digest, code = copy
    (code / name).unlink(missing_ok=True)
    if content is not None:
        (code / name).write_text(content)
    done = run_task(store, digest, code)
    assert done.returncode == TaskExit.OUTDATED
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{code}: the code is not as it was submitted")
    assert said in line
    assert line.endswith("submit again")
    assert states(store) == {"MISSING"}
    assert snapshot(store, store.sweep().trainer) == (digest, code)
    assert damage(code, digest) == ""
    assert len(list(code.parent.glob(f"{code.name}.damaged-*"))) == 1, "set aside whole, for tasks may run from it"
    assert run_task(store, digest, code).returncode == 0


def test_a_snapshot_that_lost_the_trainer_and_its_manifest_does_not_run_the_original(
    copy: tuple[Store, str, Path],
) -> None:
    store, digest, code = copy
    for name in ("user/toy.py", "manifest.txt"):
        (code / name).unlink()
    done = run_task(store, digest, code)
    assert (done.returncode, states(store)) == (TaskExit.OUTDATED, {"MISSING"})
    assert "missing or changed" in done.stderr


def test_what_python_leaves_in_a_snapshot_is_no_damage(copy: tuple[Store, str, Path]) -> None:
    _, digest, code = copy
    (code / "user" / "__pycache__").mkdir(exist_ok=True)
    (code / "user" / "__pycache__" / "toy.cpython-311.pyc").write_bytes(b"x")
    assert damage(code, digest) == ""


# --- a sweep that was changed while its task waited -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [({"options": {"signal": ""}}, "the configuration"), ({"seeds": (7, 8)}, "the seed of width_1_run_0")],
)
def test_a_task_queued_for_another_configuration_or_other_seeds_ends_at_once(
    copy: tuple[Store, str, Path], change: dict[str, object], said: str
) -> None:
    store, digest, code = copy
    before = store.sweep()
    tasks = [[list(before.grid)]]
    number = intents.begin(store, tasks, kind=intents.LOCAL, profile="local", name="small", code=digest).number
    seeds = change.pop("seeds", (42, 43))
    corrected = make_sweep(make_grid((1, 2), seeds), path=before.trainer.path, **change)  # type: ignore[arg-type]
    shutil.copy(make_store(store.root / "other", corrected).paths.sweep_file, store.paths.sweep_file)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "hpc.node.task", str(store.root), str(number), "0", "0"],
        env=os.environ | {"PYTHONPATH": f"{code}:{code / 'user'}", CODE_DIGEST: digest},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == TaskExit.OUTDATED
    (line,) = done.stderr.splitlines()
    assert said in line
    assert states(store) == {"MISSING"}
