"""A short run of the fuzzer of directories; `make chaos` runs more of it. First, that it would notice."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from helpers.here import lacking
from helpers.waiting import PATIENCE

from .attempts import ROOT
from .foreign.aimed import AIMS
from .foreign.campaign import aimed, campaign
from .foreign.commands import COMMANDS
from .foreign.findings import Findings
from .foreign.reader import Answer
from .foreign.strikes import WAITED, faults_of, if_it_waits_again
from .foreign.traces import OPTIONS, Rules
from .syscalls import missing

SEED = 20_267


def test_every_command_that_takes_a_sweep_directory_is_tried() -> None:
    sources = {path.stem: path.read_text() for path in (ROOT / "hpc" / "cli").glob("*.py")}
    taking = {name for name, text in sources.items() if re.search(r"@options\.(directory|sweep)\n", text)}
    assert len(taking) > 8
    assert taking - {command.words[0] for command in COMMANDS} == set()


# Python that does what no command may, in a process that works in INSIDE, and what is said of it. OWNED: the mutated
# directory, which may be changed but never executed; OUTSIDE: a place that is neither.
CHANGES = {
    "open('OUTSIDE/new', 'w')": "wrote",
    "os.open('OUTSIDE/canary', os.O_RDWR)": "wrote",
    "open('OWNED/link', 'a')": "wrote",
    "os.remove('OUTSIDE/canary')": "canary",
    "os.remove('canary', dir_fd=os.open('OUTSIDE', os.O_RDONLY))": "canary",
    "os.rename('OUTSIDE/canary', 'OWNED/canary')": "canary",
    "os.rename('OWNED/data', 'OUTSIDE/data')": "data",
    "os.link('OWNED/data', 'OUTSIDE/data')": "data",
    "os.symlink('anything', 'OUTSIDE/data')": "data",
    "os.mkdir('OUTSIDE/folder')": "folder",
    "os.rmdir('OUTSIDE/empty')": "empty",
    "shutil.rmtree('OUTSIDE/empty')": "empty",
    "os.chmod('OUTSIDE/canary', 0)": "canary",
    "os.truncate('OUTSIDE/canary', 1)": "canary",
    "os.utime('OUTSIDE/canary')": "canary",
}
EXECUTIONS = {
    "subprocess.run(['OWNED/script'])": "script",
    "os.posix_spawn('OWNED/script', ['x'], {})": "script",
    "ctypes.CDLL('OWNED/library.so')": "library.so",
}
LOADS = {
    "sys.path.insert(0, 'OWNED'); import module": "module.py",
    "exec(compile('1', 'OWNED/module.py', 'exec'))": "module.py",
}
# In processes of which the first one's hook knows nothing.
BELOW = {
    "subprocess.run([sys.executable, '-c', 'open(\"OUTSIDE/new\", \"w\")'])": "new",
    "subprocess.run([sys.executable, '-c', 'import os; os.system(\"OWNED/script\")'])": "executed",
    "socket.create_connection(('127.0.0.1', SERVER.getsockname()[1]))": "connected",
}
PREAMBLE = "import ctypes, os, shutil, socket, subprocess, sys; SERVER = socket.create_server(('127.0.0.1', 0)); "
HARMLESS = "open('OWNED/new', 'w').close(); os.remove('OWNED/new'); open('OUTSIDE/canary').read(); os.mkdir('here')"


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Path]:
    """By the words above; what lies there is a script, a library and modules that would be executed."""
    import _ctypes

    found = {name: tmp_path / name for name in ("INSIDE", "OWNED", "OUTSIDE")}
    for path in found.values():
        path.mkdir()
    (found["OUTSIDE"] / "canary").write_text("canary")
    (found["OUTSIDE"] / "empty").mkdir()
    (found["OWNED"] / "data").write_text("data")
    (found["OWNED"] / "link").symlink_to("../OUTSIDE/canary")
    (found["OWNED"] / "module.py").write_text("")
    (found["OWNED"] / "script").write_text("#!/bin/sh\n")
    (found["OWNED"] / "script").chmod(0o755)
    (found["OWNED"] / "library.so").write_bytes(Path(_ctypes.__file__).read_bytes())
    return found


def _meant(code: str, places: dict[str, Path]) -> str:
    for name, path in places.items():
        code = code.replace(name, str(path))
    return code


def _python(code: str, places: dict[str, Path], *prefix: str) -> str:
    """What a process prints that runs this in INSIDE."""
    done = subprocess.run(
        [*prefix, sys.executable, "-P", "-c", _meant(PREAMBLE + code, places)],
        cwd=places["INSIDE"],
        env=os.environ | {"PYTHONPATH": str(ROOT / "tests"), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _seen_by_the_hook(code: str, places: dict[str, Path]) -> list[str]:
    watch = "from chaos.foreign import reader; seen = []; reader._watch(['INSIDE', 'OWNED'], ['OWNED'], seen); "
    seen: list[str] = json.loads(_python(f"{watch}{code}; import json; print(json.dumps(seen))", places))
    return seen


def _seen_by_strace(code: str, places: dict[str, Path], traces: Path) -> list[str]:
    if reason := missing():
        lacking(reason)
    traces.mkdir()
    _python(code, places, "strace", *OPTIONS, "-o", str(traces / "of"))
    inside, owned = [str(places["INSIDE"]), str(places["OWNED"])], [str(places["OWNED"])]
    return Rules(inside, owned, str(places["INSIDE"])).broken(traces)


@pytest.mark.parametrize("code", [*CHANGES, *EXECUTIONS, *LOADS])
def test_the_hook_notices_what_a_command_does_outside(code: str, places: dict[str, Path]) -> None:
    seen = _seen_by_the_hook(code, places)
    assert seen
    assert (CHANGES | EXECUTIONS | LOADS)[code] in seen[0]


@pytest.mark.parametrize("code", [*CHANGES, *EXECUTIONS, *BELOW])
def test_the_trace_notices_what_a_command_and_its_processes_do(
    code: str, places: dict[str, Path], tmp_path: Path
) -> None:
    seen = _seen_by_strace(code, places, tmp_path / "traces")
    assert seen
    assert (CHANGES | EXECUTIONS | BELOW)[code] in seen[0]


def test_what_a_command_may_do_is_no_fault(places: dict[str, Path], tmp_path: Path) -> None:
    assert _seen_by_the_hook(HARMLESS, places) == []
    assert _seen_by_strace(f"os.rmdir('here'); {HARMLESS}", places | {}, tmp_path / "traces") == []


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"busy": 6.0}, "of a processor"),
        ({"waited": 6.0}, "waited"),
        ({"bytes": 2 << 30}, "memory"),
        ({"code": -9}, "exit -9"),
        ({"code": 1, "text": "Traceback (most recent call last)\nKeyError: 1"}, "KeyError"),
        ({"code": 2, "text": "it is wrong"}, "without a path"),
        ({"outside": ["wrote 'x'"]}, "wrote"),
    ],
)
def test_an_answer_that_must_not_be_is_a_fault(changes: dict[str, Any], fault: str, tmp_path: Path) -> None:
    fine = Answer(0, 1.0, 1.0, 0.0, 1 << 20, f"{tmp_path}: fine", [])
    assert list(faults_of(fine, tmp_path)) == []
    (found,) = faults_of(fine._replace(**changes), tmp_path)
    assert fault in found


@pytest.mark.parametrize("again", [False, True])
def test_a_command_that_waits_is_a_fault_if_it_waits_again(again: bool) -> None:
    strikes = [Findings(faults=Counter({WAITED: 1, "wrote 'x'": 1}), first={WAITED: "there", "wrote 'x'": "there"})]
    strikes.append(Findings(faults=Counter({WAITED: 1} if again else {})))
    found = if_it_waits_again(iter(strikes).__next__)
    assert found.faults == {"wrote 'x'": 1} | ({WAITED: 1} if again else {})
    assert found.first.keys() == found.faults.keys()


def test_a_directory_that_anybody_may_have_made_costs_a_line_and_nothing_else() -> None:
    findings = campaign(SEED, range(80))
    assert not findings.faults, str(findings)
    assert findings.calls.total() > 150
    assert findings.traced
    assert {0, 2} <= findings.codes.keys()


def test_what_once_did_harm_costs_a_line_and_nothing_else() -> None:
    findings = aimed()
    assert not findings.faults, str(findings)
    assert findings.bases.total() == len(AIMS)
