"""submit, status and wait as a notebook calls them: in a process that goes on, where others work beside them."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import yaml
from helpers.small_sweeps import TRAINER, make_store, make_sweep, run_here, write_trainer
from helpers.users import need_other_users

import holdfast
from holdfast import ConfigError, SweepError, load, status, submit, wait
from hpc.files import opening
from hpc.storage.store import Store
from hpc.submission import lock as locks
from hpc.submission.lock import RUN, SUBMIT, holder, lock


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def described(directory: Path, body: str = TRAINER, **sweep: Any) -> Path:
    """A configuration with a trainer of its own beside it."""
    directory.mkdir(exist_ok=True)
    trainer = write_trainer(directory, body)
    section = {"name": directory.name, "axes": {"width": [1, 2]}, "runs_per_condition": 2} | sweep
    path = directory / "sweep.yaml"
    path.write_text(yaml.safe_dump({"trainer": f"{trainer}:train", "sweep": section}))
    return path


# --- from a configuration to tables ----


def test_what_was_submitted_goes_where_a_directory_goes(tmp_path: Path) -> None:
    sweep = submit(config=described(tmp_path / "a"), profile="local", output_dir="out", pack=2)
    assert (sweep.directory, sweep.profile, sweep.jobs) == (tmp_path / "out", "local", ())
    os.chdir("/")  # what was submitted stays where it is
    now = status(sweep)
    assert now.done
    assert now.finished
    assert now.states == {"COMPLETED": 4}
    assert wait(sweep).states == wait(sweep.directory).states == now.states
    cells = load(sweep).cells
    shared = ["cell", "width", "seed", "state", "attempts"]
    assert now.cells[shared].to_dict("list") == cells[shared].to_dict("list")
    assert str(now) == repr(now) == now.text
    assert "a: 4 cells: 4 COMPLETED" in now.text


def test_the_same_call_trains_nothing_again_and_more_runs_grow_a_sweep(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = described(tmp_path / "a")
    submit(config=config, profile="local")
    submit(config=config, profile="local")
    assert "4 cells: 4 done, nothing to run" in capsys.readouterr().err
    submit("out", profile="local", runs_per_condition=3)
    assert status("out").states == {"COMPLETED": 6}
    assert set(status("out").cells["attempts"]) == {1}


def test_levels_and_settings_are_values_of_python(tmp_path: Path) -> None:
    config = described(tmp_path / "a")
    settings = {"sweep.seeds": (7, 9), "trainer_options.rate": np.float64(1e-5), "sweep.name": "by-hand"}
    submit(config=config, profile="local", axes={"width": np.array([4, 8])}, settings=settings)
    found = Store(tmp_path / "out").sweep()
    assert (found.name, found.options, found.grid.seeds) == ("by-hand", {"rate": 1e-5}, (7, 9))
    assert [cell.name for cell in found.grid] == [f"width_{width}_run_{run}" for width in (4, 8) for run in (0, 1)]
    submit("out", profile="local", axes={"width": range(8, 17, 8)})
    assert {int(width) for width in status("out").cells["width"]} == {4, 8, 16}


def test_a_word_with_a_comma_is_one_level(tmp_path: Path) -> None:
    body = TRAINER.replace('"width": {"kind": "integer", "minimum": 1}', '"width": {"kind": "word"}', 1)
    config = described(tmp_path / "a", body, axes={"width": ["x", "y"]})
    with pytest.raises(ConfigError, match="'a,b'"):
        submit(config=config, profile="local", axes={"width": ["a,b", "c"]})
    assert not Path("out").exists()


# --- refusals ----

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no such profile": ({"profile": "lokal"}, r"submit\(\): profile is 'lokal'; did you mean local\? valid: "),
    "a setting of no profile": ({"profile_settings": {"mem_gb": 3}}, r"submit\(\): profile_settings mem_gb=3: the pr"),
    "a pack of none": ({"pack": 0}, r"submit\(\): pack is 0; give a whole number, 1 or more, or 'auto'"),
    "a pack in words": ({"pack": "3"}, r"submit\(\): pack is '3'; give a whole number, 1 or more, or 'auto'"),
    "a true count": ({"runs_per_condition": True}, r"submit\(\): runs_per_condition is True; give a whole number"),
    "one level": ({"axes": {"width": 8}}, r"submit\(\): axes\['width'\] is 8; give the list of its values"),
    "letters as levels": ({"axes": {"width": "8,16"}}, r"submit\(\): axes\['width'\] is '8,16'; give the list of"),
    "text as settings": ({"settings": "a.b=1"}, r"submit\(\): settings is 'a.b=1'; give a dictionary"),
    "no such key": ({"settings": {"sweep.runs": 1}}, r"unknown key 'sweep.runs'"),
    "no such file": ({"config": "nowhere.yaml"}, r"nowhere.yaml"),
    "a path that is none": ({"config": 3}, r"submit\(\): config is 3; give a name or a path"),
    "a path in bytes": ({"output_dir": b"out"}, r"submit\(\): output_dir is b'out'; give a name or a path"),
    "no profile": ({"profile": None}, r"submit\(\): profile is None; give a name or a path"),
    "a word for no": ({"include_failed": "no"}, r"submit\(\): include_failed is 'no'; give True or False"),
    "no levels": ({"axes": {"width": []}}, r"submit\(\): axes\['width'\] is \[\]; give the list of its values"),
    "a limit here": ({"escalate": {"mem_gb": 64}}, r"submit\(\): escalate is for a cluster; the profile local"),
    "a limit of nothing": ({"escalate": {"gpus": 64}}, r"submit\(\): escalate is 'gpus=64'; write mem_gb=LIMIT or"),
    "a limit in a list": ({"escalate": ["mem_gb"]}, r"submit\(\): escalate is \['mem_gb'\]; give a dictionary"),
    "an object": ({"profile_settings": {"mem_gb": object}}, r"submit\(\): profile_settings\['mem_gb'\] is <class"),
    "a file as a sweep": ({"directory": "a/toy.py", "config": None}, r"a file; did you mean config='a/toy.py'\?"),
    "a variable that is not set": ({"output_dir": "$NOWHERE/out"}, r"NOWHERE is not set"),
    "a huge grid": ({"runs_per_condition": 600_000}, r"yes=True"),
    "two ways": ({"directory": "old"}, r"submit\(\): config cannot go with the directory .*old"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_an_exception_of_one_line_in_words_of_python(name: str, tmp_path: Path) -> None:
    changes, expected = WRONG[name]
    make_store(tmp_path / "old", make_sweep(path=write_trainer(tmp_path)))
    wanted: dict[str, Any] = {"config": described(tmp_path / "a"), "profile": "local"} | changes
    directory = wanted.pop("directory", None)
    with pytest.raises((ConfigError, OSError), match=expected) as refused:
        submit(directory, **wanted)
    assert "\n" not in str(refused.value)
    assert "--" not in str(refused.value)
    assert "command line" not in str(refused.value)
    assert not Path("out").exists()


@pytest.mark.parametrize("timeout", [-1, float("nan"), "1", True])
def test_a_time_out_that_is_none_is_refused(timeout: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"wait\(\): timeout is .*; give seconds"):
        wait(tmp_path, timeout=timeout)


def test_a_directory_without_a_sweep_is_named_by_each(tmp_path: Path) -> None:
    for call in (status, wait, load, lambda where: submit(where, profile="local")):
        with pytest.raises(SweepError, match=f"{tmp_path}: there is no sweep here"):
            call(tmp_path)  # type: ignore[operator]


def test_nobody_is_asked_who_sits_at_the_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need_other_users()
    submit(config=described(tmp_path / "a"), profile="local")
    for path in (tmp_path / "out", *(tmp_path / "out").rglob("*")):
        os.chown(path, 12345, 12345)

    class Terminal:
        def isatty(self) -> bool:
            return True

        def readline(self, *_: Any) -> str:
            raise AssertionError("a question that nobody sees")

    monkeypatch.setattr(sys, "stdin", Terminal())
    with pytest.raises(ConfigError, match="nothing is run; add trust=True to run trainer"):
        submit("out", profile="local", runs_per_condition=3)


def test_changed_code_is_refused_with_the_keyword_that_allows_it(tmp_path: Path) -> None:
    config = described(tmp_path / "a")
    submit(config=config, profile="local")
    with (config.parent / "toy.py").open("a") as trainer:
        trainer.write("CHANGED = 1\n")
    with pytest.raises(SweepError, match="use another output_dir, or mix old and new with allow_code_change=True, "):
        submit("out", profile="local", runs_per_condition=3)
    submit("out", profile="local", runs_per_condition=3, allow_code_change=True)
    assert status("out").done


# --- a process that goes on ----


def surroundings() -> dict[str, Any]:
    """What belongs to the whole process."""
    mask = os.umask(0o022)
    os.umask(mask)
    signals = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    return {
        "signals": signals,
        "blocked": signal.pthread_sigmask(signal.SIG_BLOCK, ()),
        "environment": dict(os.environ),
        "directory": os.getcwd(),
        "umask": mask,
        "finders": list(sys.meta_path),
        "path": list(sys.path),
        "streams": (sys.stdout, sys.stderr, sys.stdin),
        "threads": set(threading.enumerate()),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "guarded": dict(opening._GIVEN),
        "locks": set(locks._OURS),
    }


def test_calls_leave_the_process_as_it_was(tmp_path: Path) -> None:
    config = described(tmp_path / "a")
    submit(config=config, profile="local", output_dir="first")  # modules are loaded
    load("first")
    gc.collect()  # what earlier tests have left is not closed between the looks
    before = surroundings()
    sweep = submit(config=config, profile="local")
    wait(sweep)
    status(sweep)
    load(sweep)
    with pytest.raises(ConfigError):
        submit(config=config, profile="nobody's")
    with pytest.raises(SweepError):
        status(tmp_path)
    after = surroundings()
    assert after == before


def test_a_look_for_a_sweep_in_the_wrong_place_closes_no_way_to_others(tmp_path: Path) -> None:
    make_store(tmp_path / "disk" / "out", make_sweep(path=write_trainer(tmp_path)))
    (tmp_path / "scratch").symlink_to(tmp_path / "disk")
    for call in (status, load, wait):
        with pytest.raises(SweepError):
            call(tmp_path)
    assert status(tmp_path / "scratch" / "out").states == {"MISSING": 4}


def test_what_one_call_guards_stays_guarded_while_another_ends(tmp_path: Path) -> None:
    with opening.for_one_call():
        opening.guard(tmp_path)
        with ThreadPoolExecutor(1) as other:
            other.submit(status_of_nothing, tmp_path).result()
        (tmp_path / "real").mkdir()
        (tmp_path / "link").symlink_to(tmp_path / "real")
        with pytest.raises(opening.RefusedFileError):
            opening.open_folder(tmp_path / "link")
    os.close(opening.open_folder(tmp_path / "link"))


def status_of_nothing(directory: Path) -> None:
    with pytest.raises(SweepError):
        status(directory)


def test_two_sweeps_at_once_end_as_one_after_the_other(tmp_path: Path) -> None:
    configs = [described(tmp_path / name, axes={"width": widths}) for name, widths in (("a", [1, 2]), ("b", [2, 3]))]

    def train(number: int, where: str) -> dict[str, str]:
        sweep = submit(config=configs[number], profile="local", output_dir=tmp_path / f"{where}{number}")
        assert wait(sweep).done
        return dict(load(sweep).cells.set_index("cell")["outcome_digest"])

    alone = [train(number, "alone") for number in (0, 1)]
    with ThreadPoolExecutor(2) as both:
        together = list(both.map(train, (0, 1), ("together", "together")))
    assert together == alone
    assert together[0] != together[1]


def test_a_sweep_that_another_thread_trains_is_said_to_be_busy_and_nobody_is_told_to_kill_the_notebook(
    tmp_path: Path,
) -> None:
    submit(config=described(tmp_path / "a"), profile="local")
    with lock(Store(tmp_path / "out"), RUN), ThreadPoolExecutor(1) as other:
        for words in ({}, {"take_over": True}):
            with pytest.raises(SweepError, match="in another thread of this very process; wait for it") as refused:
                other.submit(submit, "out", profile="local", **words).result()
            assert "kill" not in str(refused.value)
    assert submit("out", profile="local")


def test_a_lock_that_an_interrupted_call_could_not_leave_is_nobodys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit(config=described(tmp_path / "a"), profile="local")
    store = Store(tmp_path / "out")

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(locks, "_leave", interrupted)
        with pytest.raises(KeyboardInterrupt), lock(store, SUBMIT):
            assert holder(store)
    assert list(store.paths.lock_directory.iterdir()), "the lock's file is still there"
    assert holder(store) is None
    assert wait("out").done
    assert submit("out", profile="local", runs_per_condition=3)


def test_tasks_draw_without_the_notebooks_backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    monkeypatch.setenv("PYTHONINSPECT", "1")
    body = TRAINER.replace(
        "    for cell in cells:", "    print('draws with', os.environ['MPLBACKEND'])\n    for cell in cells:", 1
    )
    submit(config=described(tmp_path / "a", body), profile="local")
    logs = [path.read_text() for path in (tmp_path / "out").rglob("*.txt")]
    logs += [path.read_text() for path in (tmp_path / "out").rglob("*.log")]
    assert any("draws with agg" in text for text in logs)
    assert os.environ["MPLBACKEND"] == "module://matplotlib_inline.backend_inline"


def test_a_package_called_training_of_the_users_own_stays_his(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = ModuleType("training")
    monkeypatch.setitem(sys.modules, "training", own)
    for name in [name for name in sys.modules if name.startswith("training.")]:
        monkeypatch.delitem(sys.modules, name)
    (tmp_path / "fit.py").write_text(
        "import json, sys\njson.dump({'loss': float(sys.argv[1])}, open(sys.argv[2], 'w'))\n"
    )
    trainer = {"command": "SEED={seed} python fit.py {width} {dir}/metrics.json", "metrics": "metrics.json"}
    trainer["measures"] = ["loss"]
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump({"trainer": trainer, "sweep": {"axes": {"width": [1, 2]}}}))
    assert wait(submit(config="sweep.yaml", profile="local")).done
    assert sys.modules["training"] is own


# --- waiting ----


@pytest.fixture
def at_work(tmp_path: Path) -> Iterator[Callable[[], None]]:
    """A command that works on the sweep in `out` until it is told to end."""
    store = make_store(tmp_path / "out", make_sweep(path=write_trainer(tmp_path)))
    begun, over = threading.Event(), threading.Event()

    def work() -> None:
        with lock(store, RUN):
            begun.set()
            over.wait()
            run_here(store, list(store.sweep().grid))

    worker = threading.Thread(target=work)
    worker.start()
    begun.wait()
    yield over.set
    over.set()
    worker.join()


def test_a_time_out_says_where_the_sweep_stands_and_ends_nothing(tmp_path: Path, at_work: Callable[[], None]) -> None:
    for seconds in (0, 0.1):
        with pytest.raises(TimeoutError, match=f"{tmp_path}/out: small: 4 cells: 4 MISSING after .* wait again"):
            wait("out", timeout=seconds)
    assert holder(Store(tmp_path / "out"))
    at_work()
    assert wait("out", timeout=600).done


def test_what_ended_is_returned_however_short_the_time_out(tmp_path: Path) -> None:
    submit(config=described(tmp_path / "a"), profile="local")
    assert wait("out", timeout=0).done


def test_cells_that_failed_are_returned_with_their_causes(tmp_path: Path) -> None:
    body = TRAINER.replace("        saved = run.restore(cell)", "        assert cell.seed != 43, 'no such seed'", 1)
    body = body.replace("if saved is not None", "if False").replace("saved is None and ", "")
    ended = wait(submit(config=described(tmp_path / "a", body), profile="local"))
    assert (ended.done, ended.finished) == (False, True)
    failed = ended.cells.query("state == 'FAILED'")
    assert len(failed) == 2
    assert all("no such seed" in cause for cause in failed["cause"])
    assert status("out").states == ended.states


# --- the door ----


def test_everything_stands_side_by_side() -> None:
    assert all(callable(getattr(holdfast, name)) for name in holdfast.__all__)
    assert set(holdfast.__all__) <= set(dir(holdfast))
    with pytest.raises(AttributeError, match="submitt"):
        _ = holdfast.submitt


def test_who_looks_beside_load_is_told_where_the_others_are() -> None:
    with pytest.raises(ImportError, match="from holdfast import load, submit, status, wait"):
        exec("from aggregate.frames import submit")
