"""What beside a trainer is never copied: secrets, notebooks, and what tools leave behind."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from hpc.storage.layout import Layout

_SECRET_SUFFIXES = {
    ".asc", ".gpg", ".jks", ".kdbx", ".key", ".keystore", ".keytab", ".p12", ".pem", ".pfx", ".ppk", ".secret",
}  # fmt: skip
_SECRET_STARTS = ("credential", "id_dsa", "id_ecdsa", "id_ed25519", "id_rsa", "netrc", "secret", "service_account")
_SECRET_PARTS = ("api_key", "apikey", "api-key", "password", "passwd", "access_token", "auth_token")
_LEFTOVER_SUFFIXES = {".err", ".log", ".out", ".pyc", ".pyo", ".swp", ".tmp"}
_LEFTOVER_FOLDERS = {"__pycache__", "mlruns", "node_modules", "site-packages", "wandb"}


def is_leftover(path: Path) -> bool:
    """Whether a file is hidden, or what an editor or a run left behind: nobody needs to hear of it."""
    hidden = path.name.startswith(".") and not _names_a_secret(path.name)
    return hidden or path.suffix in _LEFTOVER_SUFFIXES or path.name.endswith("~")


def skipped_folder(path: str, name: str) -> bool:
    """Whether a folder holds nothing of a project's own: hidden, an environment, a sweep, another repository."""
    if name.startswith(".") or name in _LEFTOVER_FOLDERS or name.endswith(".egg-info"):
        return True
    inside = set(os.listdir(path)) if os.access(path, os.R_OK | os.X_OK) else {"pyvenv.cfg"}
    manifest = Layout(Path(path)).sweep_file
    return "pyvenv.cfg" in inside or ".git" in inside or (manifest.name in inside and _is_sweep(manifest))


def _is_sweep(manifest: Path) -> bool:
    """Whether a file is the record of a sweep; a configuration may have its name, too."""
    with manifest.open("rb") as file:
        return b'"revisions"' in file.read(100)


def reason(path: Path, others_may_read: bool, root: Path) -> str:
    """Why a file is not copied; empty if nothing speaks against it. Raises OSError.

    others_may_read: whether the trainer's own file is readable by others; if so, one that is not is private. So is one
    in a folder below root that only its owner may enter.
    """
    if any("\udc80" <= letter <= "\udcff" for letter in path.name):  # bytes that are no text, as Python holds them
        return "its name is not UTF-8"
    # A link is as secret as what it leads to.
    for name in (path.name.lower(), path.resolve().name.lower()):
        if _names_a_secret(name):
            return "secret"
        if name.endswith(".ipynb"):
            return "notebook"
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        return "not a file"
    folders = [folder.stat() for folder in path.parents if root in folder.parents]
    if others_may_read and not all(entry.st_mode & 0o077 for entry in (found, *folders)):
        return "private (nobody else may read it)"
    return "" if os.access(path, os.R_OK) else "not readable"


def _names_a_secret(name: str) -> bool:
    if name.startswith(".env") or name in (".netrc", ".npmrc", ".pypirc", ".pgpass"):
        return True
    stem, suffix = os.path.splitext(name)
    if suffix == ".py":  # secrets.py may well be code; whatever the trainer imports is copied anyway
        return False
    return suffix in _SECRET_SUFFIXES or stem.startswith(_SECRET_STARTS) or any(part in stem for part in _SECRET_PARTS)
