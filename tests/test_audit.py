"""Every place that opens, lists, changes, removes, starts, ends, loads or reaches something is known, with its reason.

See SECURITY.md for the rules that these places keep, and helpers/deeds.py for how a place is found.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
from helpers.deeds import KINDS, deeds
from helpers.small_sweeps import ROOT

# Modules by the reason why they may.
ALLOWED = {
    "opens": {
        "the description of an installed package, by importlib.metadata": "hpc/provenance.py",
        "the ways to files of a sweep: regular files only, no links, within limits": "hpc/files/atomic.py "
        "hpc/files/directories.py hpc/files/opening.py aggregate/together.py",
        "stamps and parts of a sweep's files": "aggregate/reading/unchanged.py hpc/trainers/left_out.py",
        "a file that the command line names": "hpc/cli/app.py hpc/cli/command.py hpc/cli/init.py hpc/starter/files.py "
        "hpc/yaml_files.py hpc/trainers/data.py",
        "standard streams": "hpc/cli/surroundings.py hpc/terminal.py",
        "a directory that this process made": "hpc/preflight/job.py hpc/preflight/pilot.py "
        "hpc/preflight/pilot_on_node.py hpc/preflight/probe.py hpc/wandb/foreign.py hpc/wandb/writer.py "
        "training/temporaries.py",
        "the kernel's files below /proc": "hpc/paths.py hpc/processes.py training/last_words.py",
        "tables and pictures in memory: hpc.files.atomic has their bytes": "aggregate/documents/tables.py "
        "aggregate/figures/canvas.py aggregate/reading/histories.py",
        "pipes between processes of ours": "hpc/submission/local_workers.py hpc/wandb/helper.py",
        "the user's own sandbox": "hpc/sandbox/conf.py hpc/sandbox/daemons.py hpc/sandbox/directory.py",
        "a script of ours": "hpc/submission/arrays.py",
        "the code of a trainer or figure that the user named, and snapshots of it": "hpc/trainers/imports.py "
        "hpc/trainers/snapshot.py hpc/trainers/stand_in/holdfast_trainer.py "
        "aggregate/figures/own/functions.py",
        "the command of a trainer and its answers": "training/command.py",
        "what the user's own script reads and writes, and its processes": "training/script_files.py "
        "training/script_log.py",
        "data sets that the configuration names, without pickles": "hpc/config/data_paths.py "
        "training/shapes/dataset.py training/shapes/generate.py training/shapes/reading.py training/shapes/sources.py "
        "training/shapes/vae.py training/shapes/writing.py",
        "files of ours": "training/steps/build.py aggregate/coverage/baseline.py aggregate/coverage/shortfall.py "
        "aggregate/report/page.py",
    },
    "walks": {
        "the ways to folders of a sweep: no links": "hpc/files/directories.py hpc/files/opening.py "
        "hpc/storage/store.py",
        "folders of a sweep, to judge who may write there; links are not followed": "hpc/storage/permissions.py",
        "what lies beside a trainer that the user named, and a snapshot of it": "hpc/config/trainer_files.py "
        "hpc/config/script_section.py hpc/trainers/folders.py hpc/trainers/imports.py hpc/trainers/left_out.py "
        "hpc/trainers/project.py hpc/trainers/snapshot.py",
        "data sets that the configuration names": "hpc/config/data_paths.py hpc/trainers/data.py "
        "training/shapes/generate.py training/shapes/reading.py",
        "a place that the command line names": "hpc/yaml_files.py",
        "a directory that this process made": "hpc/preflight/probe.py hpc/wandb/writer.py "
        "aggregate/figures/own/functions.py training/script.py training/temporaries.py",
        "the kernel's files below /proc": "hpc/node/task.py hpc/processes.py hpc/sandbox/members.py "
        "training/command.py training/script_files.py",
        "the user's own sandbox": "hpc/sandbox/directory.py",
        "files of ours": "hpc/cli/app.py hpc/slurm/profile_file.py aggregate/reading/unchanged.py",
    },
    "changes": {
        "the ways in which files of a sweep get their names": "hpc/files/atomic.py hpc/files/directories.py",
        "snapshots, which get their permissions here": "hpc/trainers/snapshot.py",
        "a file without a name": "hpc/cli/notify.py",
        "a directory that this process made": "hpc/preflight/check.py hpc/preflight/on_node.py hpc/preflight/probe.py "
        "hpc/submission/arrays.py hpc/wandb/foreign.py hpc/wandb/helper.py hpc/wandb/writer.py training/temporaries.py "
        "aggregate/figures/own/functions.py",
        "a place that the command line names": "hpc/starter/files.py training/shapes/generate.py "
        "training/shapes/writing.py",
        "the user's own sandbox": "hpc/sandbox/conf.py hpc/sandbox/directory.py",
        "what the user's own script reads and writes": "training/script_files.py training/script_log.py",
        "the compiled step": "training/steps/build.py",
    },
    "removes": {
        "the one way to remove a file of a sweep": "hpc/files/atomic.py hpc/files/directories.py",
        "what this process made": "hpc/preflight/check.py hpc/preflight/probe.py hpc/resume_check/check.py "
        "training/shapes/generate.py",
        "the same, and what processes of this user that were killed have left": "training/temporaries.py",
        "the user's own sandbox": "hpc/sandbox/conf.py",
    },
    "ends": {
        "a process of ours, by its number and start": "hpc/processes.py",
        "this very task": "hpc/node/stop.py",
        "what this process has started": "hpc/cli/notify.py hpc/submission/local_workers.py training/command.py",
    },
    "starts": {
        "Python with a module of ours": "hpc/node/workers.py hpc/preflight/pilot.py hpc/preflight/pilot_on_node.py "
        "hpc/submission/fork_server.py hpc/submission/local_workers.py hpc/wandb/helper.py hpc/wandb/foreign.py",
        "tasks, each in a process forked from one of ours": "hpc/node/task.py",
        "Slurm": "hpc/slurm/commands.py hpc/sandbox/programs.py",
        "git, without the commands of a checkout's configuration": "hpc/trainers/git.py",
        "the command of a trainer, which the user named": "training/command.py",
        "the command that --notify names": "hpc/cli/notify.py",
        "the compiler": "training/steps/build.py",
    },
    "loads": {
        "commands of ours": "hpc/cli/app.py",
        "a call of Linux that Python does not have": "hpc/files/atomic.py",
        "our packages, before others of their names": "hpc/checkout.py",
        "nothing: where Python would find what a trainer imports, or a figure": "hpc/trainers/imports.py "
        "hpc/storage/permissions.py",
        "numpy, torch and modules of ours, before tasks are forked": "hpc/node/task.py",
        "a trainer or figure, which the user named": "hpc/trainers/loading.py "
        "hpc/trainers/stand_in/holdfast_trainer.py aggregate/figures/own/functions.py",
        "the compiled step, from a folder that nobody else can write": "training/steps/build.py "
        "training/steps/native_step.py",
    },
    "reaches": {
        "a channel between a process of ours and one that it forks": "hpc/node/task.py hpc/submission/fork_server.py",
        "a port that the sandbox can have, and how its host is called": "hpc/sandbox/conf.py hpc/sandbox/programs.py",
        "the server of W&B, with the client": "hpc/wandb/offline_files.py hpc/wandb/reader.py hpc/wandb/writer.py",
    },
    "never": {},
}


@cache
def audited(root: Path) -> dict[str, dict[str, list[str]]]:
    """By kind and module, what it does and in which lines."""
    found: dict[str, dict[str, list[str]]] = {kind: {} for kind in KINDS}
    for folder in ("hpc", "training", "aggregate"):
        for path in sorted((root / folder).rglob("*.py")):
            for kind, line, name in deeds(path.read_text()):
                found[kind].setdefault(path.relative_to(root).as_posix(), []).append(f"{name} in line {line}")
    return found


def elsewhere(kind: str, found: dict[str, dict[str, list[str]]]) -> dict[str, list[str]]:
    """What is done where there is no reason for it."""
    allowed = {module for modules in ALLOWED[kind].values() for module in modules.split()}
    return {module: names for module, names in found[kind].items() if module not in allowed}


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_module_does_to_files_and_processes_it_does_for_a_reason(kind: str) -> None:
    found = audited(ROOT)
    assert not elsewhere(kind, found), f"{kind}: use what is there (hpc.files for a sweep's files), or add a reason"
    allowed = {module for modules in ALLOWED[kind].values() for module in modules.split()}
    assert allowed <= found[kind].keys(), "a reason for nothing"


SPELLINGS = {
    "opens": """
open(x)
f = open
from io import open as look; look(x)
import io as i; i.FileIO(x)
import os; os.open(x, os.O_RDONLY)
from os import open as opening; opening(x, 0)
import os as o; o.fdopen(3)
path.open()
Path(x).open("w")
path.read_text()
path.write_bytes(b"")
pathlib.Path.write_text(path, "")
map(Path.read_bytes, paths)
path.touch()
import codecs; codecs.open(x)
import shutil; shutil.copyfile(x, y)
from shutil import copytree; copytree(x, y)
import shutil; shutil.unpack_archive(x)
import zipfile; zipfile.ZipFile(x)
from tarfile import open as untar; untar(x)
archive.extractall()
import gzip; gzip.open(x)
import sqlite3; sqlite3.connect(x)
import mmap; mmap.mmap(3, 0)
import fileinput; fileinput.input()
import linecache; linecache.getline(x, 1)
import numpy as np; np.load(x)
import numpy; numpy.save(x, y)
from numpy import loadtxt; loadtxt(x)
array.tofile(x)
import pandas as pd; pd.read_csv(x)
frame.to_csv(x)
frame.to_parquet(x)
import pyarrow as pa; pa.memory_map(x)
import pyarrow.parquet as pq; pq.read_table(x)
figure.savefig(x)
import torch; torch.load(x)
import torch; torch.save(x, y)
from safetensors.numpy import save_file; save_file(x, y)
from PIL import Image; Image.open(x)
import logging; logging.FileHandler(x)
getattr(os, "open")(x)
getattr(path, "read_text")()
import builtins; builtins.open(x)
""",
    "changes": """
import os; os.replace(x, y)
from os import rename as move; move(x, y)
import os; os.makedirs(x)
import os; os.symlink(x, y)
import os; os.chmod(x, 0)
path.rename(y)
path.replace(y)
path.mkdir()
path.symlink_to(y)
path.hardlink_to(y)
path.chmod(0)
import shutil; shutil.move(x, y)
import tempfile; tempfile.mkdtemp()
""",
    "walks": """
import os; os.walk(x)
from os import scandir as look; look(x)
import os; os.listdir()
import glob; glob.glob(x)
from glob import iglob; iglob(x)
path.glob("*")
path.rglob("*")
path.iterdir()
path.walk()
getattr(os, "scandir")(x)
""",
    "ends": """
import os; os.kill(x, 9)
from os import killpg as away; away(x, 9)
import signal; signal.pidfd_send_signal(x, 9)
""",
    "removes": """
import os; os.unlink(x)
from os import remove as away; away(x)
path.unlink()
path.rmdir()
import shutil; atexit.register(shutil.rmtree, x)
from shutil import rmtree; rmtree(x)
import os; os.removedirs(x)
getattr(path, "unlink")()
""",
    "starts": """
import subprocess; subprocess.run(x)
from subprocess import Popen as P; P(x)
import subprocess as s; call = s.check_output
import subprocess as s; Mine = type('Mine', (s.Popen,), {})
import os; os.system(x)
import os; os.popen(x)
import os; os.posix_spawn(x, [], {})
import os; os.execvp(x, [])
import os; os.spawnl(0, x)
import os; os.fork()
import pty; pty.spawn(x)
import asyncio; asyncio.create_subprocess_exec(x)
loop.subprocess_exec(x)
import multiprocessing; multiprocessing.Process(target=x)
from concurrent.futures import ProcessPoolExecutor; ProcessPoolExecutor()
import webbrowser; webbrowser.open(x)
getattr(os, "system")(x)
import sys; sys.modules["os"].system(x)
""",
    "loads": """
import importlib; importlib.import_module(x)
from importlib import import_module as load; load(x)
import importlib.util; importlib.util.spec_from_file_location(x, y)
loader.exec_module(x)
__import__(x)
exec(x)
eval(x)
run = eval
compile(x, "", "exec")
import builtins; builtins.exec(x)
__builtins__["exec"](x)
import runpy; runpy.run_path(x)
from runpy import run_module; run_module(x)
import code; code.interact()
import ctypes; ctypes.CDLL(x)
from ctypes import cdll; cdll.LoadLibrary(x)
import sys; sys.path.insert(0, x)
import sys; sys.meta_path.append(x)
import os; getattr(os, name)(x)
import os; vars(os)[name](x)
import os; os.__dict__[name](x)
import os; trusted = os
from os import *
import pkgutil; pkgutil.get_loader(x)
""",
    "reaches": """
import socket; socket.create_connection(x)
import urllib.request; urllib.request.urlopen(x)
from urllib.request import urlopen; urlopen(x)
import http.client; http.client.HTTPConnection(x)
import requests; requests.get(x)
""",
    "never": """
import pickle
from pickle import loads; loads(x)
import pickle as p; p.Unpickler(x)
import marshal; marshal.loads(x)
import shelve; shelve.open(x)
import joblib; joblib.load(x)
import yaml; yaml.load(x, Loader=yaml.SafeLoader)
from yaml import unsafe_load; unsafe_load(x)
import yaml; yaml.YAML = yaml.UnsafeLoader
import pandas; pandas.read_pickle(x)
frame.to_pickle(x)
import xml.etree.ElementTree as E; E.parse(x)
""",
}
EACH = [(kind, line) for kind, lines in SPELLINGS.items() for line in lines.strip().splitlines()]


@pytest.mark.parametrize(("kind", "source"), EACH, ids=[source for _, source in EACH])
def test_however_it_is_spelt_it_is_noticed_where_there_is_no_reason_for_it(
    kind: str, source: str, tmp_path: Path
) -> None:
    module = tmp_path / "hpc" / "planning" / "plan.py"
    module.parent.mkdir(parents=True)
    module.write_text(f"{(ROOT / 'hpc' / 'planning' / 'plan.py').read_text()}\nimport os\n{source}\n")
    assert "hpc/planning/plan.py" in elsewhere(kind, audited(tmp_path))


@pytest.mark.parametrize(
    "source",
    [
        "import re; re.compile(x)",
        "text.replace(a, b)",
        "import dataclasses; dataclasses.replace(x, a=1)",
        "import os; os.path.join(x, y); os.environ",
        "import subprocess; worker: subprocess.Popen[bytes]",
        "from hpc.files import atomic; atomic.rename(x, y); atomic.read(x)",
        "network.eval()",
        "import ast; ast.walk(tree)",
        "import os; os.getpid()",
        "import yaml; yaml.safe_load(x)",
        "getattr(thing, name)",
    ],
)
def test_what_does_nothing_of_the_kind_is_none(source: str) -> None:
    assert list(deeds(source)) == []
