"""The walls between the rooms, as design documents promise them: read from the sources and tried in fresh processes."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from helpers.small_sweeps import ROOT, make_store, make_sweep, run_here, write_trainer

SLURM_COMMANDS = {
    "sbatch", "srun", "salloc", "squeue", "sacct", "scancel", "scontrol", "sinfo", "sacctmgr", "sreport", "sdiag",
    "sstat", "sshare", "sprio", "slurmctld", "slurmd", "slurmdbd", "munged", "munge", "mungekey",
}  # fmt: skip
HEAVY = ("torch", "torchvision", "wandb", "sklearn")


def modules(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(path: Path, *, anywhere: bool = True) -> set[str]:
    """Top-level packages that a module imports; only those of its loading if not ``anywhere``."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())) if anywhere else loading(ast.parse(path.read_text()).body):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{named(path)}: modules import each other plainly"
            found.add((node.module or "").partition(".")[0])
    return found


def loading(body: list[ast.stmt]) -> Iterator[ast.AST]:
    """Statements that run when the module is loaded: not those in functions or for type checkers alone."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        for name in ("body", "orelse", "finalbody"):
            yield from loading(getattr(node, name, []) or [])
        for handler in getattr(node, "handlers", []):
            yield from loading(handler.body)


def strings(path: Path) -> Iterator[tuple[ast.AST, str]]:
    """String constants of a module that are no documentation, each with the expression it stands in."""
    tree = ast.parse(path.read_text())
    documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for parent in ast.walk(tree):
        for node in ast.iter_child_nodes(parent):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
                yield parent, node.value


# --- who imports whom -----------------------------------------------------------------------------------------------

# From the top of the house to its ground: a folder, or a module beside folders, imports from lower floors only.
FLOORS = [
    ["hpc.__main__"],
    ["hpc.cli", "hpc.api"],
    ["hpc.launch", "hpc.starter"],
    ["hpc.status", "hpc.resume_check", "hpc.preflight"],
    ["aggregate.pipeline"],
    ["aggregate.report", "aggregate.frames"],
    ["aggregate.answers", "aggregate.documents", "aggregate.figures", "aggregate.coverage", "aggregate.two_sweeps"],
    ["aggregate.figures.own"],
    ["aggregate.described"],
    ["aggregate.analysis"],
    ["aggregate.wording"],
    ["aggregate.reading", "aggregate.stats"],
    ["aggregate.arrays", "aggregate.together"],
    ["hpc.node", "hpc.submission"],
    ["hpc.wandb.extract"],
    ["hpc.wandb", "hpc.config", "hpc.planning", "hpc.sandbox"],
    ["hpc.config.schema"],
    ["hpc.trainers", "hpc.slurm"],
    ["hpc.storage", "hpc.provenance", "hpc.faults"],
    ["hpc.sweep", "hpc.files", "hpc.yaml_files"],
    [
        *("hpc.errors", "hpc.units", "hpc.protocol", "hpc.checkout", "hpc.processes", "hpc.terminal"),
        *("hpc.user_state", "hpc.paths"),
    ],
    ["training.workspace"],
    ["training.loop"],
    ["training.steps"],
    ["training.model"],
    ["training.shapes", "training.script"],
    ["training.script_log"],
    ["training.command", "training.script_files", "training.placeholders"],
    ["training.contract", "training.last_words", "training.temporaries"],
]
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
# What aggregation may know of the toolkit: where a sweep lies and what it is.
OPEN_TO_AGGREGATION = (
    "hpc.sweep",
    "hpc.storage",
    "hpc.files",
    "hpc.trainers.declaration",
    "hpc.errors",
    "hpc.units",
    "hpc.checkout",
)
# What a task on a node may not load, and the modules in which a task begins.
NOT_ON_NODES = {"pydantic", "submitit", "click", "rich", "jinja2", "aggregate", "yaml"}
ON_NODES = ("hpc.node", "hpc.sweep", "hpc.storage", "hpc.files")
MOST_MODULES = 12
EVERYTHING = modules("hpc", "aggregate", "training")


def dotted(path: Path) -> str:
    return named(path).removesuffix(".py").replace("/", ".").removesuffix(".__init__")


def room(module: str) -> str:
    """The folder that a module lies in, or the module itself where it lies beside folders."""
    while module not in FLOOR and "." in module:
        module = module.rpartition(".")[0]
    return module


def imported(path: Path) -> set[str]:
    """Modules of ours that a module imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                is_module = (ROOT / inner.replace(".", "/")).with_suffix(".py").is_file()
                found.add(inner if is_module else node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name.partition(".")[0] in ("hpc", "aggregate", "training")}


@pytest.mark.parametrize("path", [path for path in EVERYTHING if path.name != "__init__.py"], ids=named)
def test_a_module_imports_from_its_own_folder_and_from_lower_floors_only(path: Path) -> None:
    here = room(dotted(path))
    for module in imported(path):
        there = room(module)
        assert there in FLOOR, f"{named(path)} imports {module}, which has no floor"
        assert there == here or FLOOR[there] > FLOOR[here], f"{named(path)} imports {module}, which lies above it"


def test_no_module_imports_itself_through_others() -> None:
    graph = {dotted(path): imported(path) for path in EVERYTHING}
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, f"imports in a circle: {' > '.join((*path, module))}"
        if module not in done:
            for other in graph.get(module, ()):
                visit(other, (*path, module))
            done.add(module)

    for module in graph:
        visit(module, ())


@pytest.mark.parametrize("path", modules("training"), ids=named)
def test_training_knows_neither_aggregation_nor_slurm(path: Path) -> None:
    assert not imports(path) & {"hpc", "aggregate", "submitit", "wandb", "pydantic"}


@pytest.mark.parametrize("path", modules("aggregate"), ids=named)
def test_aggregation_knows_neither_training_nor_slurm(path: Path) -> None:
    assert not imports(path) & {"training", "torch", "submitit"}
    for module in imported(path):
        assert module.startswith(("aggregate", *OPEN_TO_AGGREGATION)), f"{named(path)} imports {module}"


@pytest.mark.parametrize("path", modules("hpc"), ids=named)
def test_the_toolkit_loads_training_and_aggregation_only_where_it_calls_them(path: Path) -> None:
    assert not imports(path, anywhere=False) & {"aggregate", "wandb", "torch"}
    if not named(path).startswith(("hpc/cli/", "hpc/launch/")):
        assert "aggregate" not in imports(path)
    if path.name != "training_run.py":  # the contract alone, which is standard library only
        assert "training" not in imports(path, anywhere=False)


@pytest.mark.parametrize("path", [path for path in modules("hpc") if dotted(path).startswith(ON_NODES)], ids=named)
def test_a_task_on_a_node_loads_nothing_that_only_a_login_node_has(path: Path) -> None:
    assert not imports(path) & NOT_ON_NODES
    assert not imported(path) & {"hpc.slurm.script"}
    assert not any(module.startswith(("hpc.config", "hpc.cli", "hpc.launch")) for module in imported(path))


def test_the_contract_needs_the_standard_library_only() -> None:
    assert imports(ROOT / "training" / "contract.py") <= set(sys.stdlib_module_names)


def test_identity_stands_on_nothing_of_ours() -> None:
    for name in ("hpc/sweep/cell.py", "hpc/errors.py", "hpc/protocol.py", "hpc/units.py"):
        assert imports(ROOT / name) <= set(sys.stdlib_module_names), name


def test_files_stand_on_how_they_are_opened_and_nothing_else_of_ours() -> None:
    assert not imported(ROOT / "hpc/files/opening.py")
    for path in modules("hpc/files"):
        below = {"hpc.errors", "hpc.protocol", "hpc.units"} if path.name == "limits.py" else set()
        assert {module for module in imported(path) if not module.startswith("hpc.files")} == below, named(path)
        assert imports(path) <= {"hpc", "msgspec"} | set(sys.stdlib_module_names), named(path)


# --- what a folder says of itself -----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [path for path in EVERYTHING if path.name == "__init__.py"], ids=named)
def test_a_folder_says_what_lives_there_and_what_it_may_import_and_does_nothing_else(path: Path) -> None:
    body = ast.parse(path.read_text()).body
    assert len(body) == 1, f"{named(path)}: a docstring and nothing else"
    told = (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n\n")
    assert len(told) == 2, f"{named(path)}: one paragraph on what lives there, one on what it may import"
    assert told[1].startswith("Imports: ")


@pytest.mark.parametrize("path", [path for path in EVERYTHING if path.name == "__init__.py"], ids=named)
def test_what_a_folder_says_that_it_imports_is_what_it_imports(path: Path) -> None:
    folder = dotted(path)
    told = (ast.get_docstring(ast.parse(path.read_text())) or "").partition("Imports: ")[2]
    said = set(re.findall(r"\b(?:hpc|aggregate|training)\b(?:\.\w+)*", re.split(r"\b(?:but|never|nothing)\b", told)[0]))
    does = {
        module
        for inner in path.parent.glob("*.py")
        for module in imported(inner)
        if not module.startswith(f"{folder}.")
    }
    if "everything" in told:
        return
    lowest_named = min((FLOOR.get(room(name), -1) for name in said), default=len(FLOORS))
    for module in does:
        covered = any(f"{module}.".startswith(f"{name}.") for name in said)
        below = "below" in told and FLOOR[room(module)] > lowest_named
        of_all = folder.startswith("aggregate.") and module.startswith(OPEN_TO_AGGREGATION)
        assert covered or below or of_all, f"{named(path)} does not say that it imports {module}"
    if folder not in ("hpc", "aggregate", "training"):
        for name in said:
            assert any(f"{module}.".startswith(f"{name}.") for module in does), f"{named(path)}: nothing imports {name}"


def test_no_folder_is_too_full_to_overlook() -> None:
    for folder in {path.parent for path in EVERYTHING}:
        count = len([path for path in folder.glob("*.py") if path.name != "__init__.py"])
        assert count <= MOST_MODULES or folder == ROOT / "hpc" / "cli", f"{folder} has {count} modules"


# --- who runs Slurm's commands --------------------------------------------------------------------------------------


def may_name_slurm(path: Path) -> bool:
    return named(path).startswith(("hpc/slurm/", "hpc/sandbox/"))


OTHERS = [path for path in modules("hpc", "training", "aggregate") if not may_name_slurm(path)]
STARTS = re.compile(r"(^|\.)(run|Popen|call|check_output|check_call|system|popen|exec[lv]p?e?|spawn\w+|which)$")


@pytest.mark.parametrize("path", OTHERS, ids=named)
def test_only_the_slurm_module_runs_slurms_commands(path: Path) -> None:
    for parent, text in strings(path):
        first = text.split()[:1]
        if first and first[0] in SLURM_COMMANDS:
            assert "subprocess" not in imports(path), f"{named(path)} starts processes and names {text!r}"
            called = ast.unparse(parent.func) if isinstance(parent, ast.Call) else ""
            assert not STARTS.search(called), f"{named(path)}: {called}({text!r})"


# --- who knows the names in a sweep directory -----------------------------------------------------------------------

FILE_NAMES = {
    "sweep.json", "results.json", "history.csv", "weights.safetensors", "conflict.json", "failure.json", "pack.json",
    "progress.json", "intent.json", "receipt.json", "cancel.json", "log.txt", "aggregated_results.json",
    "statistics.json", "table.parquet", "curves.parquet", "report.html",
}  # fmt: skip
DIRECTORY_NAMES = {"individual_results", "packs", "attempts", "submissions", "code", "plots", "logs", "lock"}


def may_name_files(path: Path) -> bool:
    return path.parent.name == "storage"


STRANGERS = [path for path in modules("hpc", "aggregate") if not may_name_files(path)]


@pytest.mark.parametrize("path", STRANGERS, ids=named)
def test_only_the_store_knows_the_names_in_a_sweep_directory(path: Path) -> None:
    # Probes and certificates have directories of their own, with a log in each.
    forbidden = FILE_NAMES - ({"log.txt"} if path.parent.name == "preflight" else set())
    for parent, text in strings(path):
        if makes_a_path(parent, text):
            place = f"{named(path)}: {ast.unparse(parent)}"
            assert not set(text.split("/")) & (forbidden | DIRECTORY_NAMES), place
            assert not text.startswith("checkpoint-"), place
            assert not text.endswith((".history.csv", ".weights.safetensors", ".jsonl")), place


def makes_a_path(parent: ast.AST, text: str) -> bool:
    """Whether a string goes into a path or is looked for among names; a sentence or a heading may name a file."""
    if isinstance(parent, ast.BinOp | ast.JoinedStr):
        return " " not in text
    if isinstance(parent, ast.Compare):
        return text in FILE_NAMES
    called = ast.unparse(parent.func) if isinstance(parent, ast.Call) else ""
    return called.rpartition(".")[2] in ("Path", "open", "joinpath", "with_name", "glob", "rglob", "startswith", "join")


def test_the_names_above_are_those_of_the_store() -> None:
    text = (ROOT / "hpc" / "storage" / "layout.py").read_text()
    assert all(f'"{name}"' in text for name in FILE_NAMES | DIRECTORY_NAMES)


def test_training_names_no_file_of_a_sweep_directory() -> None:
    for path in modules("training"):
        assert not FILE_NAMES & {text for _, text in strings(path)}, named(path)


# --- what is loaded -------------------------------------------------------------------------------------------------


def loaded_by(code: str, *arguments: str, **environment: str) -> set[str]:
    """Top-level packages in sys.modules after this code ran in a fresh process."""
    tail = "\nimport sys; print('\\n' + ' '.join(sorted({name.partition('.')[0] for name in sys.modules})))"
    done = subprocess.run(
        [sys.executable, "-c", code + tail, *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


COMMAND = "import sys; from hpc.cli.app import main; assert main(sys.argv[1:]) in (0, 4), 'the command failed'"


@pytest.fixture
def no_slurm(tmp_path: Path) -> dict[str, str]:
    """An environment whose Slurm commands answer as an empty cluster does."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in SLURM_COMMANDS:
        (folder / name).write_text("#!/bin/sh\ncase \"$*\" in *config*) echo 'MaxArraySize = 1001';; esac\nexit 0\n")
        (folder / name).chmod(0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}"}


def test_planning_loads_no_torch(data_dir: Path) -> None:
    assert not loaded_by(COMMAND, "plan", f"data.dir={data_dir}") & {*HEAVY, "submitit", "matplotlib", "training"}


def test_questions_about_a_sweep_load_no_torch(tmp_path: Path, no_slurm: dict[str, str]) -> None:
    path = write_trainer(tmp_path / "user")
    store = make_store(tmp_path / "out", make_sweep(path=path))
    assert run_here(store, list(store.sweep().grid)) == 0
    where = str(store.paths.root)
    for command in (["status", where], ["show", where, "width_1_run_0"], ["cancel", where, "-y"], ["plan", where]):
        loaded = loaded_by(COMMAND, *command, **no_slurm)
        assert not loaded & {*HEAVY, "submitit", "matplotlib", "pydantic_settings", "rich"}


def test_preparing_a_submission_loads_no_torch(tmp_path: Path, data_dir: Path, no_slurm: dict[str, str]) -> None:
    profile = tmp_path / "lab.yaml"
    profile.write_text(yaml.safe_dump({"partition": "p", "timeout_min": 5}))
    out = tmp_path / "out"
    options = ("--profile", str(profile), "--prepare", "--output-dir", str(out), f"data.dir={data_dir}")
    assert not loaded_by(COMMAND, "submit", *options, **no_slurm) & {*HEAVY, "matplotlib"}
    assert list(out.rglob("*.sbatch"))


def test_aggregating_loads_no_torch_no_training_and_no_submitit(tmp_path: Path) -> None:
    path = write_trainer(tmp_path / "user")
    store = make_store(tmp_path / "out", make_sweep(path=path))
    assert run_here(store, list(store.sweep().grid)) == 0
    assert not loaded_by(COMMAND, "aggregate", str(store.paths.root)) & {*HEAVY, "training", "submitit"}
    assert store.paths.report_file.is_file()


BLOCK = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ImportError(name + " is blocked")
sys.meta_path.insert(0, Block())
"""


def test_training_loads_where_the_toolkits_packages_are_missing() -> None:
    blocked = {"submitit", "wandb", "pydantic", "yaml", "pandas", "pyarrow", "matplotlib", "hpc", "aggregate"}
    names = [named(path)[:-3].replace("/", ".").removesuffix(".__init__") for path in modules("training")]
    names.remove("training.steps.triton_adam")
    code = f"BLOCKED = {blocked!r}{BLOCK}import importlib\nfor name in {names!r}: importlib.import_module(name)"
    # Builds of torch look whether there is Triton, and must not be kept from that.
    assert not loaded_by(code) & (blocked | {"triton"})


def test_a_task_runs_where_only_numpy_and_safetensors_are_installed(tmp_path: Path) -> None:
    blocked = {
        "submitit",
        "wandb",
        "pydantic",
        "yaml",
        "pandas",
        "pyarrow",
        "matplotlib",
        "scipy",
        "torch",
        "aggregate",
    }
    path = write_trainer(tmp_path / "user")
    store = make_store(tmp_path / "out", make_sweep(path=path))
    code = (
        f"BLOCKED = {blocked!r}{BLOCK}sys.path.append('tests')\n"
        "from helpers.small_sweeps import run_here; from pathlib import Path; from hpc.storage.store import Store\n"
        "store = Store(Path(sys.argv[1])); assert run_here(store, list(store.sweep().grid)) == 0"
    )
    assert not loaded_by(code, str(store.paths.root)) & blocked
    results = [json.loads(store.paths.result_file(cell).read_text())["status"] for cell in store.sweep().grid]
    assert results == ["COMPLETED"] * 4


def test_a_public_class_has_a_name_of_its_own() -> None:
    places: dict[str, list[str]] = {}
    for path in modules("hpc", "training", "aggregate"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(named(path))
    # A trainer sees a cell through the contract, which imports nothing of ours.
    assert places.pop("Cell") == ["hpc/sweep/cell.py", "training/contract.py"]
    assert {name: found for name, found in places.items() if len(found) > 1} == {}
