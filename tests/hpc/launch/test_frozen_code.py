"""What is queued is the code on record, whenever it is edited: between the look and the copy, or while one waits."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers.command_line import WIDTH
from helpers.small_sweeps import TRAINER, make_store, make_sweep, write_trainer

from hpc.checkout import SCRIPT_TRAINER
from hpc.errors import SweepError
from hpc.launch import slurm
from hpc.launch.options import SubmitOptions
from hpc.launch.request import Request
from hpc.node.attempt import PackAttempt
from hpc.slurm.profile import Profile
from hpc.storage.store import Store
from hpc.submission.live import LiveTask
from hpc.sweep.definition import DeclaredTrainer
from hpc.trainers.snapshot import snapshot, trainer_digest

HELD: Any = SimpleNamespace(check=lambda: None)
CHANGED = "the code of toy.py:train has changed since cells were trained here"


@pytest.fixture
def request_(tmp_path: Path) -> Request:
    """A sweep with its code on record, and a cell that has begun."""
    path = write_trainer(tmp_path / "user")
    made = Request(Store(tmp_path / "out"), make_sweep(path=path))
    made.record(HELD)
    PackAttempt.begin(made.store, made.sweep, [made.sweep.grid[0]], 1, {})
    return made


def edit(request: Request, what: str = "EDITED = 1\n") -> None:
    path = Path(request.sweep.trainer.path)
    path.write_text(path.read_text() + what)


def recorded(request: Request) -> list[str]:
    return [entry["provenance"]["trainer_digest"] for entry in request.store.manifest()["revisions"]]


def test_an_edit_between_the_look_and_the_copy_is_refused_and_nothing_of_it_recorded(request_: Request) -> None:
    before = request_.store.paths.sweep_file.read_bytes()
    edit(request_)
    with pytest.raises(SweepError, match=CHANGED):
        request_.freeze(HELD)
    assert request_.store.paths.sweep_file.read_bytes() == before


def test_where_it_is_allowed_it_is_recorded(request_: Request) -> None:
    edit(request_)
    _, code = request_.freeze(HELD, allow_code_change=True)
    assert len(recorded(request_)) == 2
    assert recorded(request_)[-1] == trainer_digest(request_.sweep.trainer, code) != recorded(request_)[0]


def test_an_edit_after_the_copy_changes_nothing(request_: Request) -> None:
    digest, code = request_.freeze(HELD)
    for number in range(2):
        edit(request_, f"EDITED = {number}\n")
        assert request_.freeze(HELD) == (digest, code)
    assert trainer_digest(request_.sweep.trainer, code) == recorded(request_)[-1]


def test_a_copy_that_was_removed_is_made_anew_and_looked_at_anew(request_: Request) -> None:
    first = request_.freeze(HELD)
    shutil.rmtree(first[1])
    assert request_.freeze(HELD) == first
    shutil.rmtree(first[1])
    edit(request_)
    with pytest.raises(SweepError, match=CHANGED):
        request_.freeze(HELD)


def test_a_copy_of_code_that_is_not_on_record_any_more_is_refused(request_: Request) -> None:
    """As in a submission that waits, while somebody submits the edited code with --allow-code-change."""
    request_.freeze(HELD)
    edit(request_)
    Request(request_.store, request_.sweep).record(HELD, allow_code_change=True)
    with pytest.raises(SweepError, match=CHANGED):
        request_.freeze(HELD)


def test_a_sweep_of_a_version_that_recorded_no_code_goes_on(request_: Request) -> None:
    path = request_.store.paths.sweep_file
    manifest = json.loads(path.read_text())
    del manifest["revisions"][0]["provenance"]["trainer_digest"]
    path.write_text(json.dumps(manifest))
    request_.record(HELD)
    edit(request_)
    request_.freeze(HELD)


def test_other_code_waits_for_the_tasks_that_are_queued_with_the_code_of_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Request(Store(tmp_path / "out"), make_sweep(path=write_trainer(tmp_path / "user")))
    made.record(HELD)
    monkeypatch.setattr("hpc.launch.request.live_tasks", lambda store: [LiveTask])
    edit(made)
    with pytest.raises(SweepError, match="code cannot change while 1 of its tasks are queued or running"):
        made.record(HELD)
    made.record(HELD, allow_code_change=True)
    assert len(recorded(made)) == 2


# --- a submission that waits ------------------------------------------------------------------------------------------


def submit(request: Request, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Iterator[tuple[str, Path]]:
    """`submit --wait` of two rounds; each round's code as it is queued. Slurm is not there; the rest is."""
    queued: list[tuple[str, Path]] = []

    def queue(*arguments: Any, **_: Any) -> Any:
        queued.append(arguments[6])
        edit(request)  # as soon as it is queued
        return SimpleNamespace(scripts=(), refused="", job_ids=())

    plan = lambda *_: SimpleNamespace(tasks=[0] * (2 - len(queued)))  # noqa: E731
    monkeypatch.setattr(slurm, "Slurm", lambda conf: SimpleNamespace(cluster=lambda: None))
    monkeypatch.setattr(slurm, "_plan_for_slurm", plan)
    monkeypatch.setattr(slurm, "_queue", queue)
    monkeypatch.setattr(slurm, "follow_in_lines", lambda *_: None)
    slurm.submit(request, SubmitOptions(wait=True, **options), Profile("cluster"))
    yield from queued


@pytest.mark.parametrize("allowed", [False, True])
def test_code_that_is_edited_while_a_submission_waits_is_never_queued(
    request_: Request, monkeypatch: pytest.MonkeyPatch, allowed: bool
) -> None:
    first, second = submit(request_, monkeypatch, allow_code_change=allowed)
    assert first == second
    assert "EDITED" not in next((second[1] / "user").rglob("toy.py")).read_text()
    assert len(recorded(request_)) == 1


# --- the copy's digest is the original's ------------------------------------------------------------------------------

READING = (
    'import json\nfrom pathlib import Path\nTABLE = json.loads((Path(__file__).parent / "tables/a.json").read_text())\n'
)


def plain(root: Path) -> DeclaredTrainer:
    return DeclaredTrainer("toy.py:train", str(write_trainer(root)), {}, {})


def importing(root: Path) -> DeclaredTrainer:
    write_trainer(root, "VALUE = 1\n" + TRAINER, "helper_of_mine.py")
    return DeclaredTrainer("toy.py:train", str(write_trainer(root, "import helper_of_mine\n" + TRAINER)), {}, {})


def reading(root: Path) -> DeclaredTrainer:
    (root / "tables").mkdir(parents=True)
    (root / "tables" / "a.json").write_text("[1]")
    path = write_trainer(root, READING + TRAINER)
    return DeclaredTrainer("toy.py:train", str(path), {}, {}, files=("tables/*.json",))


def package(root: Path) -> DeclaredTrainer:
    write_trainer(root / "mine" / "deep", "from mine import other\n" + TRAINER)
    write_trainer(root / "mine", "VALUE = 1\n" + TRAINER, "other.py")
    for folder in (root / "mine", root / "mine" / "deep"):
        (folder / "__init__.py").touch()
    return DeclaredTrainer("mine.deep.toy:train", str(root / "mine" / "deep" / "toy.py"), {}, {})


def script(root: Path) -> DeclaredTrainer:
    return replace(importing(root), target=SCRIPT_TRAINER)


def example(root: Path) -> DeclaredTrainer:
    return DeclaredTrainer("width.py:train", str(WIDTH), {}, {})


def built_in(root: Path) -> DeclaredTrainer:
    from training import workspace

    return DeclaredTrainer("training.workspace:train", str(workspace.__file__), {}, {})


@pytest.mark.parametrize("make", [plain, importing, reading, package, script, example, built_in])
def test_a_copy_has_the_digest_of_what_it_was_taken_from(tmp_path: Path, make: Any) -> None:
    trainer = make(tmp_path / "user")
    _, code = snapshot(make_store(tmp_path / "out", make_sweep(trainer=trainer)), trainer)
    assert trainer_digest(trainer, code) == trainer_digest(trainer)
