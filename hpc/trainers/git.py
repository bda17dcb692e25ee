"""What git knows of a directory: the files it tracks, and how the checkout differs from its commit.

A checkout may come from somebody else, unpacked or copied, and its own configuration can name commands for almost
everything that git does. None of them is run. The configuration of the user and of the machine is trusted, and with it
git's own refusal of other users' checkouts (safe.directory).
"""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

from hpc.errors import SweepError
from hpc.trainers import left_out

# git may have to read a whole checkout from a cold network file system. A patch cannot be recorded later, and is not
# worth a longer wait; what travels with a trainer depends on the files it tracks.
_GIT_SECONDS, _LISTING_SECONDS = 30, 120
# Every revision of a sweep carries the patch; beyond this it is generated files rather than code.
_MOST_PATCH = 200_000
_SAFELY = (
    *("-c", "core.fsmonitor=", "-c", "core.hooksPath=/dev/null"),
    *("-c", "safe.bareRepository=explicit"),
)
# No index is written, nothing is fetched (a partial clone would, by any command), nobody is asked.
_ENVIRONMENT = {"GIT_OPTIONAL_LOCKS": "0", "GIT_ALLOW_PROTOCOL": "none", "GIT_TERMINAL_PROMPT": "0"}
# Set while a hook runs, for one; they would send git to another checkout, or to a helper.
_DROPPED = {
    *("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR", "GIT_NAMESPACE"),
    *("GIT_PREFIX", "GIT_EXTERNAL_DIFF"),
}
# Submodules are compared by their commits alone: git would look into them with their own configuration.
_DIFF = (
    *("diff", "--no-ext-diff", "--no-textconv", "--no-color", "--ignore-submodules=dirty", "--submodule=short"),
    # Of a file that was deleted only the name: whether it was private can no longer be seen.
    *("--irreversible-delete", "--no-renames"),
)
_NO_MATCH = 1


def tracked(folder: Path, names: list[str]) -> set[Path]:
    """The files among these, or below them, that git tracks. Outside a checkout none.

    Raises SweepError if git does not answer: other files would travel with the trainer, and nothing would say so.
    """
    try:
        listed = _asked(folder, "ls-files", "-z", "--", *names, seconds=_LISTING_SECONDS)
    except subprocess.TimeoutExpired:
        fix = f"see whether `git -C {shlex.quote(str(folder))} ls-files` ends, and try again"
        raise SweepError(f"{folder}: git has not listed its files within {_LISTING_SECONDS} s; {fix}") from None
    return {folder / name for name in _names(listed or b"")}


def state(directory: Path) -> dict[str, Any] | None:
    """Commit of the checkout a directory lies in and what differs from it; None outside a checkout.

    The difference is kept as a patch up to 200 KB, and as its size beyond. Files that a snapshot would not
    take (secret, private or a notebook) are named in left_out and are not part of it.
    """
    commit = _git(directory, "rev-parse", "HEAD")
    if commit is None:
        return None
    found: dict[str, Any] = {"commit": commit.decode().strip()}
    safely = _without_filters(directory)
    listed = None if safely is None else _git(directory, *safely, *_DIFF, "--name-only", "-z", "--relative", "HEAD")
    if safely is None or listed is None:
        return found | {"modified": None}
    names = _names(listed)
    left = _left_out(directory, names)
    if len(left) == len(names):
        return found | {"modified": bool(names)} | ({"left_out": left} if left else {})
    kept = (f":(exclude,literal){name}" for name in left)
    diff = _git(directory, *safely, *_DIFF, "HEAD", "--", ".", *kept)
    if diff is None:
        return found | {"modified": True}
    patch = diff.decode(errors="replace").strip()  # it holds the bytes of users' files
    found |= {"modified": True, "diff": patch if len(patch) <= _MOST_PATCH else f"{len(patch)} bytes"}
    return found | ({"left_out": left} if left else {})


def _left_out(directory: Path, names: list[str]) -> dict[str, str]:
    """Files whose content is not recorded, each with the reason."""
    umask = os.umask(0o077)
    os.umask(umask)
    record_is_public = bool(0o044 & ~umask)
    found = {}
    for name in names:
        try:
            why = left_out.reason(directory / name, record_is_public, directory)
        except FileNotFoundError:
            continue
        except OSError:
            why = "not readable"
        if why:
            found[name] = why
    return found


def _without_filters(directory: Path) -> list[str] | None:
    """Options that turn off the filters which the checkout itself defines: a diff would run their commands.

    A user's own, such as those of Git LFS, stay. None where that cannot be found out, or not be done.
    """
    command = ("config", "--show-scope", "--name-only", "-z", "--get-regexp", r"^filter\.")
    listed = _git(directory, *command, answers=(0, _NO_MATCH))
    if listed is None:
        return None
    fields = _names(listed)
    scopes = zip(fields[::2], fields[1::2], strict=True)
    drivers = {
        key.removeprefix("filter.").rpartition(".")[0] for scope, key in scopes if scope in ("local", "worktree")
    }
    if any("=" in driver for driver in drivers):  # -c ends a name at the first of them
        return None
    settings = ("clean=", "smudge=", "process=", "required=false")
    return [word for driver in sorted(drivers) for setting in settings for word in ("-c", f"filter.{driver}.{setting}")]


def _names(listed: bytes) -> list[str]:
    return [os.fsdecode(name) for name in listed.split(b"\0") if name]


def _git(directory: Path, *arguments: str, answers: tuple[int, ...] = (0,)) -> bytes | None:
    """What git prints; None also if it does not answer in time."""
    try:
        return _asked(directory, *arguments, seconds=_GIT_SECONDS, answers=answers)
    except subprocess.TimeoutExpired:
        return None


def _asked(directory: Path, *arguments: str, seconds: float, answers: tuple[int, ...] = (0,)) -> bytes | None:
    """What git prints; None if there is no git, no checkout, or an exit status other than these.

    Raises subprocess.TimeoutExpired if it does not answer in time.
    """
    environment = {name: value for name, value in os.environ.items() if name not in _DROPPED}
    try:
        done = subprocess.run(
            ["git", "-C", str(directory), *_SAFELY, *arguments],
            env=environment | _ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=seconds,
            check=False,
        )
    except OSError:
        return None
    return done.stdout if done.returncode in answers else None
