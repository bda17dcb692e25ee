"""What is recorded of a checkout: no secret of it, and nothing that its own configuration asks for is run."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from helpers.waiting import PATIENCE

from hpc.errors import SweepError
from hpc.trainers import git


def run(folder: Path, *words: str) -> None:
    command = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b", *words]
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout of three committed files, whose work tree differs in one."""
    place = tmp_path / "checkout"
    (place / "sub").mkdir(parents=True)
    for name in ("train.py", "conf.yaml", "sub/notes.ipynb"):
        (place / name).write_text("as committed\n")
    run(place, "init", "-q")
    run(place, "add", ".")
    run(place, "commit", "-qm", "all")
    (place / "train.py").write_text("as changed\n")
    return place


@pytest.fixture(autouse=True)
def git_has_all_the_time_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(git, "_GIT_SECONDS", PATIENCE)


@pytest.fixture(autouse=True)
def readable_by_others() -> object:
    before = os.umask(0o022)
    yield
    os.umask(before)


def test_a_change_is_recorded_as_a_patch(checkout: Path) -> None:
    found = git.state(checkout)
    assert found is not None
    assert found["modified"] is True
    assert "+as changed" in found["diff"]
    assert "left_out" not in found
    run(checkout, "checkout", "train.py")
    assert (git.state(checkout) or {})["modified"] is False


def test_what_differs_in_private_files_notebooks_and_keys_is_named_and_not_recorded(checkout: Path) -> None:
    for name, content in (("conf.yaml", "hunter2"), ("sub/notes.ipynb", "hunter3"), ("lab.pem", "hunter4")):
        (checkout / name).write_text(content)
    run(checkout, "add", "lab.pem")
    (checkout / "conf.yaml").chmod(0o600)
    found = git.state(checkout)
    assert found is not None
    assert "hunter" not in str(found)
    assert "+as changed" in found["diff"]
    assert found["left_out"].keys() == {"conf.yaml", "sub/notes.ipynb", "lab.pem"}
    below = git.state(checkout / "sub")
    assert below is not None
    assert "hunter" not in str(below)
    assert below["left_out"] == {"notes.ipynb": "notebook"}


def test_with_a_umask_that_withholds_the_record_private_files_are_in_it(checkout: Path) -> None:
    (checkout / "train.py").chmod(0o600)
    assert "diff" not in (git.state(checkout) or {})
    os.umask(0o077)
    assert "+as changed" in (git.state(checkout) or {})["diff"]


def test_the_content_of_a_deleted_file_is_not_recorded(checkout: Path) -> None:
    (checkout / "conf.yaml").unlink()
    diff = (git.state(checkout) or {})["diff"]
    assert "deleted file" in diff
    assert "-as committed" in diff, "of the changed file"
    assert diff.count("-as committed") == 1


COMMANDS = {
    "monitor": ("core.fsmonitor", ""),
    "external diff": ("diff.external", ""),
    "diff driver": ("diff.evil.command", "diff=evil"),
    "text": ("diff.evil.textconv", "diff=evil"),
    "filter": ("filter.evil.clean", "filter=evil"),
    "process": ("filter.evil.process", "filter=evil"),
    "filter of a name with a dot": ("filter.e.vil.clean", "filter=e.vil"),
    "filter of a name that cannot be turned off": ("filter.e=v.clean", "filter=e=v"),
}


@pytest.mark.parametrize(("key", "attribute"), COMMANDS.values(), ids=list(COMMANDS))
def test_no_command_of_a_checkouts_configuration_is_run(checkout: Path, key: str, attribute: str) -> None:
    ran = checkout.parent / "ran"
    run(checkout, "config", key, f"touch {ran}; cat")
    (checkout / ".git/info/attributes").write_text(f"*.py {attribute}\n")
    subprocess.run(["git", "-C", str(checkout), "diff", "HEAD"], capture_output=True)
    assert ran.exists(), "git by itself runs it"
    ran.unlink(missing_ok=True)
    assert git.tracked(checkout, ["."]), "it is a checkout"
    assert git.state(checkout) is not None
    assert not ran.exists()


def test_hooks_included_files_and_submodules_run_nothing(checkout: Path) -> None:
    ran = checkout.parent / "ran"
    (checkout / ".git/more").write_text(f'[filter "evil"]\n clean = "touch {ran}; cat"\n[core]\n hooksPath = hooks\n')
    run(checkout, "config", "include.path", "more")
    (checkout / ".gitattributes").write_text("*.py filter=evil\n")
    hook = checkout / "hooks" / "post-index-change"
    hook.parent.mkdir()
    hook.write_text(f"#!/bin/sh\ntouch {ran}\n")
    hook.chmod(0o755)
    inner = checkout / "inner"
    inner.mkdir()
    (inner / "a.txt").write_text("a")
    run(inner, "init", "-q")
    run(inner, "add", ".")
    run(inner, "commit", "-qm", "all")
    run(inner, "config", "core.fsmonitor", f"touch {ran}")
    subprocess.run(["git", "-C", str(checkout), "update-index", "--add", "--cacheinfo",
                    f"160000,{(git.state(inner) or {})['commit']},inner"], check=True)  # fmt: skip
    os.utime(checkout / "train.py")
    ran.unlink(missing_ok=True)
    found = git.state(checkout)
    assert found is not None
    assert "as changed" in found["diff"]
    assert not ran.exists()


def test_a_users_own_filter_is_used(checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = tmp_path / "gitconfig"
    settings.write_text('[filter "mine"]\n clean = sed s/changed/filtered/\n')
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))
    (checkout / ".gitattributes").write_text("*.py filter=mine\n")
    assert "+as filtered" in (git.state(checkout) or {})["diff"]


def test_variables_of_a_hook_do_not_lead_to_another_checkout(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", str(checkout / ".git"))
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", f"touch {tmp_path / 'ran'}; true")
    (tmp_path / "elsewhere").mkdir()
    assert git.state(tmp_path / "elsewhere") is None
    assert "+as changed" in (git.state(checkout) or {})["diff"]
    assert not (tmp_path / "ran").exists()


def test_where_git_does_not_answer_a_patch_is_left_out_and_files_are_not_guessed(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = tmp_path / "bin" / "git"
    slow.parent.mkdir()
    slow.write_text("#!/bin/sh\nexec sleep 1000\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", str(slow.parent), prepend=os.pathsep)
    monkeypatch.setattr(git, "_GIT_SECONDS", 0.1)
    monkeypatch.setattr(git, "_LISTING_SECONDS", 0.2)
    assert git.state(checkout) is None
    with pytest.raises(SweepError, match=r"checkout: git has not listed its files within 0\.2 s; see whether `git -C "):
        git.tracked(checkout, ["."])
