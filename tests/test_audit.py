"""Every place that opens, removes, starts or loads something is known: one that is added elsewhere has to be justified.

See SECURITY.md for the rules that these places keep.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest
from helpers.small_sweeps import ROOT

# Functions by what they do, as the last two names of a call.
CALLS = {
    "opens": {
        *("open", "io.open", "os.open", "Path.open", "read_text", "read_bytes", "write_text", "write_bytes"),
        *("np.load", "np.fromfile", "Image.open"),
    },
    "removes": {"unlink", "rmtree", "rmdir", "os.remove", "os.removedirs"},
    "starts": {
        *("subprocess.run", "subprocess.Popen", "subprocess.call", "subprocess.check_call", "subprocess.check_output"),
        *(
            "os.system",
            "os.popen",
            "os.fork",
            "os.posix_spawn",
            "os.posix_spawnp",
            "os.execv",
            "os.execve",
            "os.execvp",
        ),
    },
    "loads": {
        *("import_module", "__import__", "spec_from_file_location", "exec_module", "exec", "eval", "compile", "CDLL"),
        *("run_path", "run_module"),
    },
    "never": {
        *("pickle.load", "pickle.loads", "cloudpickle.load", "yaml.load", "yaml.unsafe_load", "yaml.full_load"),
        *("marshal.loads", "shelve.open", "torch.load", "joblib.load"),
    },
}
# Modules by the reason why they may.
ALLOWED = {
    "opens": {
        "the ways to files of a sweep: regular files only, no links, within limits": "hpc/storage/files.py "
        "hpc/storage/opening.py aggregate/together.py aggregate/reading/cell_stamps.py",
        "stamps and parts of a sweep's files": "aggregate/reading/unchanged.py hpc/trainers/left_out.py",
        "a file that the command line names": "hpc/cli/app.py hpc/cli/command.py hpc/cli/init.py hpc/config/starter.py "
        "hpc/yaml_files.py hpc/trainers/data.py",
        "standard streams": "hpc/cli/surroundings.py",
        "a directory that this process made": "hpc/preflight/check.py hpc/preflight/pilot.py "
        "hpc/preflight/pilot_on_node.py hpc/preflight/probe.py hpc/wandb/writer.py training/temporaries.py",
        "the kernel's files below /proc": "hpc/processes.py",
        "the user's own sandbox": "hpc/sandbox/conf.py hpc/sandbox/daemons.py hpc/sandbox/directory.py",
        "a script of ours": "hpc/submission/arrays.py",
        "the code of a trainer or figure that the user named, and snapshots of it": "hpc/trainers/imports.py "
        "hpc/trainers/snapshot.py hpc/trainers/source.py hpc/trainers/stand_in/holdfast_trainer.py "
        "aggregate/figures/user_figures.py",
        "the command of a trainer and its answers": "training/command.py",
        "what the user's own script reads and writes, and its processes": "training/script.py training/script_files.py",
        "data sets that the configuration names, without pickles": "hpc/config/data_paths.py "
        "training/shapes/dataset.py training/shapes/generate.py training/shapes/reading.py training/shapes/sources.py "
        "training/shapes/vae.py training/shapes/writing.py",
        "files of ours": "training/steps/build.py aggregate/coverage/baseline.py aggregate/coverage/shortfall.py "
        "aggregate/report/page.py",
    },
    "removes": {
        "the one way to remove a file of a sweep": "hpc/storage/files.py",
        "what this process made": "hpc/preflight/check.py hpc/preflight/probe.py hpc/resume_check/check.py "
        "hpc/submission/local_workers.py hpc/trainers/snapshot.py hpc/wandb/extract/extract.py "
        "training/shapes/generate.py",
        "the same, and what processes of this user that were killed have left": "training/temporaries.py",
        "the user's own sandbox": "hpc/sandbox/conf.py",
        "the lock, by the rules of its protocol": "hpc/submission/lock.py",
    },
    "starts": {
        "Python with a module of ours": "hpc/node/workers.py hpc/preflight/pilot.py hpc/preflight/pilot_on_node.py "
        "hpc/submission/fork_server.py hpc/submission/local_workers.py hpc/wandb/helper.py hpc/wandb/foreign.py",
        "tasks, each in a process forked from one of ours": "hpc/node/task.py",
        "Slurm": "hpc/slurm/commands.py hpc/sandbox/programs.py",
        "git, without the commands of a checkout's configuration": "hpc/trainers/git.py",
        "the command of a trainer, which the user named": "training/command.py",
        "the compiler": "training/steps/build.py",
    },
    "loads": {
        "commands of ours": "hpc/cli/app.py",
        "numpy, torch and modules of ours, before tasks are forked": "hpc/node/task.py",
        "a trainer or figure, which the user named": "hpc/trainers/loading.py "
        "hpc/trainers/stand_in/holdfast_trainer.py aggregate/figures/user_figures.py",
        "the compiled step, from a folder that nobody else can write": "training/steps/build.py",
    },
    "never": {},
}


def called(node: ast.Call) -> tuple[str, str]:
    """The name of a function, and the same with what it is looked up in."""
    if isinstance(node.func, ast.Name):
        return node.func.id, node.func.id
    if isinstance(node.func, ast.Attribute):
        owner = node.func.value
        around = owner.id if isinstance(owner, ast.Name) else owner.attr if isinstance(owner, ast.Attribute) else ""
        return node.func.attr, f"{around}.{node.func.attr}"
    return "", ""


def kinds(source: str) -> Iterator[tuple[str, int]]:
    """What a module does of these, and in which line; also where a function is handed on, as atexit gets one."""
    for node in ast.walk(ast.parse(source)):
        found = []
        if isinstance(node, ast.Call):
            found = [called(node)]
            found += [(arg.attr, f".{arg.attr}") for arg in node.args if isinstance(arg, ast.Attribute)]
        for name, full in found:
            for kind, functions in CALLS.items():
                # `re.compile` and `element.open` by their owner; a method of a path has any.
                plain = name in functions and not (name in ("compile", "exec", "eval") and full != name)
                if full in functions or plain:
                    yield kind, node.lineno


def audited() -> dict[str, dict[str, list[int]]]:
    found: dict[str, dict[str, list[int]]] = {kind: {} for kind in CALLS}
    for folder in ("hpc", "training", "aggregate"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for kind, line in kinds(path.read_text()):
                found[kind].setdefault(path.relative_to(ROOT).as_posix(), []).append(line)
    return found


FOUND = audited()


@pytest.mark.parametrize("kind", CALLS)
def test_what_opens_removes_starts_or_loads_lies_where_there_is_a_reason(kind: str) -> None:
    allowed = {module for modules in ALLOWED[kind].values() for module in modules.split()}
    elsewhere = {module: lines for module, lines in FOUND[kind].items() if module not in allowed}
    assert not elsewhere, f"{kind}: use what is there (hpc.storage.files for a sweep's files), or add a reason"
    assert allowed <= FOUND[kind].keys(), "a reason for nothing"


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("open(x)", "opens"),
        ("path.read_text()", "opens"),
        ("os.unlink(x)", "removes"),
        ("atexit.register(shutil.rmtree, x)", "removes"),
        ("subprocess.run(x)", "starts"),
        ("importlib.import_module(x)", "loads"),
        ("eval(x)", "loads"),
        ("yaml.load(x)", "never"),
        ("pickle.loads(x)", "never"),
    ],
)
def test_each_kind_is_noticed(source: str, kind: str) -> None:
    assert kind in {found for found, _ in kinds(source)}
