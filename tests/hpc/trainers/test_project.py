"""What of a user's project travels with a trainer, as `plan` shows it, and whether a task can live on that alone."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from helpers.command_line import Holdfast

from hpc.checkout import PROJECT_ROOT
from hpc.errors import ConfigError
from hpc.launch.preparation import check_code
from hpc.launch.request import Request
from hpc.slurm.profile import Profile
from hpc.storage.store import Store
from hpc.sweep.definition import DeclaredTrainer
from hpc.trainers.declaration import read_declaration
from hpc.trainers.project import is_ours, project
from hpc.trainers.snapshot import trainer_digest

BODY = """
FACTORS = {"width": {"kind": "integer", "minimum": 1}}
METRICS = {"error": {"kind": "positive", "better": "lower"}}

def train(cells, options, run):
    for cell in cells:
        run.restore(cell)
        run.epoch(cell, 1, 1, {"error": rate()})
        run.finish(cell, {"error": rate()})
"""
RATE = "RATE = 0.125\n"
FROM = "\ndef rate(): return RATE\n"
PARENT = "from pathlib import Path\nHERE = Path(__file__).parent\n"


def lay_out(root: Path, files: dict[str, str], trainer: str, source: str, **settings: object) -> None:
    """Files of a project, the trainer's among them, and a configuration beside them."""
    for name, text in (files | {trainer.partition(":")[0]: source + BODY}).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    sweep = {"name": "small", "axes": {"width": [1]}, "runs_per_condition": 1}
    analysis = {"reference": None, "primary_metrics": ["error"]}
    config = {"trainer": trainer, "sweep": sweep, "analysis": analysis} | settings
    (root / "sweep.yaml").write_text(yaml.safe_dump(config))


PROJECTS = {
    "package beside": ({"nets/small.py": RATE}, "train.py:train", "from nets.small import RATE" + FROM),
    "own package": ({"lab/nets.py": RATE}, "lab/train.py:train", "from lab.nets import RATE" + FROM),
    "relative": ({"lab/nets.py": RATE, "lab/__init__.py": ""}, "lab/train.py:train", "from .nets import RATE" + FROM),
    "relative, no __init__": (
        {"lab/nets.py": RATE}, "lab/train.py:train", "from . import nets\ndef rate(): return nets.RATE\n",
    ),
    "src": (
        {"src/lab/nets.py": RATE, "pyproject.toml": ""}, "scripts/train.py:train", "from lab.nets import RATE" + FROM,
    ),
    "sys.path": (
        {"lib/mine.py": RATE},
        "exp/train.py:train",
        "import os, sys\nsys.path.insert(0, os.path.join(os.path.dirname(__file__), '..', 'lib'))\n"
        "from mine import RATE" + FROM,
    ),
    "import_module": (
        {"nets/a.py": RATE}, "train.py:train",
        "import importlib\nRATE = importlib.import_module('nets.' + 'a').RATE" + FROM,
    ),
    "600 modules": (
        {f"big/m{i}.py": RATE for i in range(600)}, "train.py:train", "from big.m7 import RATE" + FROM,
    ),
    "table": (
        {"t.txt": "0.125"}, "train.py:train", PARENT + "def rate(): return float((HERE / 't.txt').read_text())\n",
    ),
    "table above": (
        {"conf/t.txt": "0.125"}, "lab/train.py:train",
        "import os\nUP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))\n"
        "def rate(): return float(open(os.path.join(UP, 'conf', 't.txt')).read())\n",
    ),
    "data of a package": (
        {"nets/__init__.py": "", "nets/t.txt": "0.125"}, "train.py:train",
        "from importlib import resources\ndef rate(): return float((resources.files('nets') / 't.txt').read_text())\n",
    ),
    "folder without __init__": (
        {"nets/deep/small.py": RATE}, "train.py:train",
        "def rate():\n    from nets.deep.small import RATE\n    return RATE\n",
    ),
    "everything of a module": ({"nets/small.py": RATE}, "train.py:train", "from nets.small import *" + FROM),
    "pkgutil": (
        {"nets/__init__.py": "", "nets/t.txt": "0.125"}, "train.py:train",
        "import nets, pkgutil\ndef rate(): return float(pkgutil.get_data('nets', 't.txt'))\n",
    ),
    "beside a module": (
        {"nets/__init__.py": "", "nets/t.txt": "0.125"}, "train.py:train",
        "import os, nets\nHERE = os.path.dirname(nets.__file__)\n"
        "def rate(): return float(open(os.path.join(HERE, 't.txt')).read())\n",
    ),
    "default of a package's function": (
        {"nets/__init__.py": "from .data import rate\n", "data/t.txt": "0.125", "nets/data.py":
            "import os\nHERE = os.path.dirname(os.path.abspath(__file__))\n"
            "def rate(path=None): return float(open(path or os.path.join(HERE, '..', 'data', 't.txt')).read())\n"},
        "train.py:train", "from nets import rate\n",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PROJECTS)
def test_a_task_has_what_its_trainer_imports_and_reads(holdfast: Holdfast, tmp_path: Path, name: str) -> None:
    lay_out(tmp_path, *PROJECTS[name])
    planned = json.loads(holdfast("plan", "--config", "sweep.yaml", "--json").stdout)["code"]
    taken = {Path(file).name for file in planned["files"]}
    files, trainer, _ = PROJECTS[name]
    assert {Path(file).name for file in (*files, trainer.partition(":")[0])} - {"pyproject.toml"} <= taken
    holdfast("run", "--config", "sweep.yaml", "--output-dir", "out", "--parallel-jobs", "1")
    (cell,) = (tmp_path / "out" / "individual_results").iterdir()
    assert json.loads((cell / "results.json").read_text())["metrics"] == {"error": 0.125}


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("from nets.smal import RATE", "train.py:1 imports nets.smal, which is not there"),
        ("import not_installed_anywhere", "train.py:1 imports not_installed_anywhere, which is neither in"),
        (PARENT + "BIG = (HERE / 'big.bin').read_bytes()", "trainer_files_mb is 20; raise it"),
    ],
)
def test_what_a_task_would_lack_is_refused_before_anything_is_written(
    holdfast: Holdfast, tmp_path: Path, source: str, said: str
) -> None:
    lay_out(tmp_path, {"nets/small.py": RATE}, "train.py:train", f"{source}\ndef rate(): return 1\n")
    (tmp_path / "big.bin").write_bytes(bytes(21_000_000))
    for command in ("plan", "run"):
        *notes, line = holdfast(command, "--config", "sweep.yaml", expect=2).stderr.splitlines()
        assert all(note.startswith("note: ") for note in notes)
        assert said in line
    assert not (tmp_path / "out").exists()


def test_a_trainer_that_is_only_reached_through_our_folders_is_not_one_of_ours() -> None:
    ours = DeclaredTrainer(
        path=str(PROJECT_ROOT / "training" / "workspace.py"), target="training.workspace:train", factors={}, metrics={}
    )
    assert is_ours(ours)
    assert not is_ours(replace(ours, path=str(PROJECT_ROOT / "training" / ".." / ".." / "workspace.py")))


def test_a_package_is_what_lies_in_it_not_what_a_link_in_it_leads_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay_out(tmp_path, {"lab/__init__.py": "", "lab/.hidden.py": ""}, "lab/train.py:train", "def rate(): return 1\n")
    lay_out(tmp_path, {"elsewhere/other.py": ""}, "unused.py:train", "")
    monkeypatch.syspath_prepend(tmp_path)
    trainer = read_declaration("lab.train:train", [tmp_path], {})
    before = trainer_digest(trainer)
    for name, place in {"linked": "elsewhere", "itself": "lab", "again": "lab"}.items():
        (tmp_path / "lab" / name).symlink_to(tmp_path / place)
    assert trainer_digest(trainer) == before
    (tmp_path / "lab" / ".hidden.py").write_text("changed = True\n")
    assert trainer_digest(trainer) != before


def test_an_optional_import_is_not_refused(holdfast: Holdfast, tmp_path: Path) -> None:
    source = "try:\n    import not_installed_anywhere\nexcept ImportError:\n    pass\ndef rate(): return 1\n"
    lay_out(tmp_path, {}, "train.py:train", source)
    holdfast("plan", "--config", "sweep.yaml")


def test_secrets_notebooks_and_large_data_stay_and_plan_names_them(holdfast: Holdfast, tmp_path: Path) -> None:
    left = {".env": "KEY=1", "id_ed25519": "x", "lab.pem": "x", "notes.ipynb": "{}", "private.txt": "x"}
    lay_out(tmp_path, left | {"run.sh": "true"}, "train.py:train", "def rate(): return 1\n")
    os.chmod(tmp_path / "private.txt", 0o600)
    os.chmod(tmp_path / "run.sh", 0o755)
    (tmp_path / "data.npy").write_bytes(bytes(21_000_000))
    said = holdfast("plan", "--config", "sweep.yaml").stdout
    assert "left out: .env, id_ed25519, lab.pem: secret" in said
    assert "left out: data.npy: more than trainer_files_mb: 20" in said
    holdfast("run", "--config", "sweep.yaml", "--output-dir", "out")
    (copy,) = (tmp_path / "out" / "code").glob("*/user")
    taken = {path.name for path in copy.rglob("*") if path.is_file() and path.suffix != ".pyc"}  # Python's own cache
    assert taken == {"train.py", "run.sh", "sweep.yaml"}
    assert (copy / "run.sh").stat().st_mode & 0o777 == 0o755


def test_a_folder_that_only_its_owner_may_enter_stays_or_keeps_its_permissions(
    holdfast: Holdfast, tmp_path: Path
) -> None:
    files = {"keys/token.txt": "x", "mine/__init__.py": "", "mine/rates.py": "RATE = 1"}
    lay_out(tmp_path, files, "train.py:train", "from mine.rates import RATE\ndef rate(): return RATE\n")
    for name in ("keys", "mine"):
        os.chmod(tmp_path / name, 0o700)
    holdfast("run", "--config", "sweep.yaml", "--output-dir", "out")
    (copy,) = (tmp_path / "out" / "code").glob("*/user")
    assert not (copy / "keys").exists()
    assert (copy / "mine").stat().st_mode & 0o777 == 0o700
    assert copy.parent.stat().st_mode & 0o755 == 0o755, "others may read what they may read beside the trainer"


def test_in_a_repository_tracked_files_travel_and_others_where_they_are_named(
    holdfast: Holdfast, tmp_path: Path
) -> None:
    lay_out(tmp_path, {"a.txt": "", "b.txt": "", "c.txt": ""}, "train.py:train", "def rate(): return 1\n")
    for words in (["init", "-q"], ["add", "train.py", "a.txt"]):
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True)
    for settings, names in (({}, ["a.txt", "train.py"]), ({"trainer_files": ["b*"]}, ["a.txt", "b.txt", "train.py"])):
        lay_out(tmp_path, {}, "train.py:train", "def rate(): return 1\n", **settings)
        assert json.loads(holdfast("plan", "--config", "sweep.yaml", "--json").stdout)["code"]["files"] == names


def test_a_pattern_that_matches_nothing_is_refused(holdfast: Holdfast, tmp_path: Path) -> None:
    lay_out(tmp_path, {}, "train.py:train", "def rate(): return 1\n", trainer_files=["tabels/*"])
    said = holdfast("plan", "--config", "sweep.yaml", "--output-dir", "new", expect=2).stderr
    assert said == f"sweep.yaml: trainer_files[0] is 'tabels/*'; nothing matches it in {tmp_path}\n"


CWD = 'import json\ndef rate(): return json.load(open("data/table.json"))["rate"]\n'


def test_a_file_that_is_read_from_the_working_directory_is_noted_here_and_refused_for_slurm(
    holdfast: Holdfast, tmp_path: Path
) -> None:
    lay_out(tmp_path, {"data/table.json": '{"rate": 0.125}'}, "train.py:train", CWD)
    line = "trainer: train.py:2 reads 'data/table.json' from the working directory, and a Slurm task runs in the sweep "
    ran = holdfast("run", "--config", "sweep.yaml")  # here it is there
    assert ran.stderr.count(f"note: {line}") == 1
    store = Store(tmp_path / "out")
    with pytest.raises(ConfigError) as refused:
        check_code(Request(store, store.sweep()), Profile("lab"))
    assert str(refused.value).startswith(line)


@pytest.mark.parametrize(
    "source",
    [
        'def rate():\n    open("table.json", "w").close()\n    return 0.5\n',
        'def rate():\n    open("absent.json") if False else 0\n    return 0.5\n',
        'from pathlib import Path\ndef rate():\n    Path(__file__).with_name("table.json").open()\n    return 0.5\n',
        'def rate():\n    open("/dev/null").close()\n    return 0.5\n',
    ],
)
def test_what_is_written_absent_or_found_from_elsewhere_is_not_noted(tmp_path: Path, source: str) -> None:
    lay_out(tmp_path, {"table.json": "{}"}, "train.py:train", source)
    trainer = read_declaration("train.py:train", [tmp_path], {})
    assert project(trainer).elsewhere == ()


def test_other_ways_to_read_are_known_too(tmp_path: Path) -> None:
    source = (
        "from pathlib import Path\nimport numpy as np\nNAME = 'a' + '.txt'\n"
        "def rate():\n    Path('a.txt').read_text()\n    np.loadtxt(NAME)\n    Path('a.txt').open('rb')\n"
        "    Path('a.txt').open(mode='w')\n    return 0.5\n"
    )
    lay_out(tmp_path, {"a.txt": "1"}, "train.py:train", source)
    lines = [line.partition(" ")[0] for line in project(read_declaration("train.py:train", [tmp_path], {})).elsewhere]
    assert lines == ["train.py:5", "train.py:6", "train.py:7"]


@pytest.mark.parametrize(
    "call",
    [
        "os.listdir('data')",
        "glob.glob('data/*.json')",
        "list(Path('data').glob('*.json'))",
        "list(Path('data').iterdir())",
        "open(f'data/{FOLD}.json')",
        "open(file='data/1.json')",
        "pandas.read_csv(filepath_or_buffer='data/1.json')",
        "open(os.path.join('data', '1.json'))",
    ],
)
def test_folders_patterns_and_keywords_are_known_too(tmp_path: Path, call: str) -> None:
    source = f"import glob, os\nfrom pathlib import Path\ndef rate():\n    {call}\n"
    lay_out(tmp_path, {"data/1.json": "1"}, "train.py:train", source)
    (line,) = project(read_declaration("train.py:train", [tmp_path], {})).elsewhere
    assert line.startswith("train.py:4 reads 'data")


@pytest.mark.parametrize("call", ["open(f'{place}/1.json')", "os.listdir('.')", "os.listdir('absent')", "open(0)"])
def test_what_may_lie_anywhere_is_not_noted(tmp_path: Path, call: str) -> None:
    lay_out(tmp_path, {"data/1.json": "1"}, "train.py:train", f"import os\ndef rate():\n    {call}\n")
    assert project(read_declaration("train.py:train", [tmp_path], {})).elsewhere == ()


def test_a_trainer_named_like_a_module_of_pythons_own_is_refused_and_a_neighbour_stays(
    holdfast: Holdfast, tmp_path: Path
) -> None:
    own = "def rate(): return 0.125\n"
    neighbours = {"lab/random.py": "", "lab/select.py": "X = 1\n"}
    lay_out(tmp_path, neighbours, "lab/train.py:train", own)
    planned = holdfast("plan", "--config", "sweep.yaml").stdout
    assert "left out: random.py: it has the name of Python's own module random" in planned
    holdfast("run", "--config", "sweep.yaml")
    for trainer, source, hidden in (("lab/queue.py", own, "queue"), ("lab/mine.py", "import select\n" + own, "select")):
        lay_out(tmp_path, {}, f"{trainer}:train", source)
        said = holdfast("plan", "--config", "sweep.yaml", "--output-dir", "new", expect=2).stderr
        assert (
            f"{hidden}.py has the name of Python's own module {hidden}, which it hides from Python; rename it" in said
        )
        assert len(said.splitlines()) == 1
        (tmp_path / trainer).unlink()


@pytest.mark.parametrize("name", ["numpy", "sitecustomize"])
def test_a_neighbour_that_would_hide_what_every_task_imports_stays(
    holdfast: Holdfast, tmp_path: Path, name: str
) -> None:
    lay_out(tmp_path, {f"lab/{name}.py": "raise SystemExit(9)\n"}, "lab/train.py:train", "def rate(): return 0.125\n")
    assert f"left out: {name}.py: it has the name of" in holdfast("plan", "--config", "sweep.yaml").stdout
    holdfast("run", "--config", "sweep.yaml")
    lay_out(tmp_path, {}, "lab/train.py:train", f"import {name}\ndef rate(): return 0.125\n")
    said = holdfast("plan", "--config", "sweep.yaml", "--output-dir", "new", expect=2).stderr
    assert f"{name}.py has the name of" in said
    assert "which it hides from Python; rename it" in said
