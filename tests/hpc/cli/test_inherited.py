"""What a command inherits from a notebook, a shell or a site: it works, or says in one line what is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.command_line import ROOT, WIDTH, environment
from helpers.waiting import PATIENCE

PLAN = ("plan", "--config", "sweep.yaml")
RUN = ("run", "--config", "sweep.yaml", "--parallel-jobs", "1")
COMMAND = "import sys; sys.path.append(sys.argv.pop(1)); from holdfast import main; sys.exit(main())"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    text = f"trainer: {WIDTH}:train\ntrainer_options: {{epochs: 2, seconds: 0}}\nsweep: {{axes: {{width: [1, 2]}}}}\n"
    (tmp_path / "sweep.yaml").write_text(text + "analysis: {primary_metrics: [error]}\n")
    return tmp_path


def installed(place: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """The command as the script in bin/ starts it: the checkout comes last on the path, as site-packages do."""
    command = [sys.executable, "-P", "-c", COMMAND, str(ROOT), *words]
    surroundings = environment() | {"PYTHONPATH": ""} | variables
    return subprocess.run(command, cwd=place, env=surroundings, capture_output=True, text=True, timeout=PATIENCE)


def test_a_notebooks_backend_of_matplotlib_ends_nothing(place: Path) -> None:
    done = installed(place, *RUN, MPLBACKEND="module://matplotlib_inline.backend_inline", PYTHONWARNINGS="error")
    assert done.returncode == 0, done.stderr
    assert (place / "out" / "aggregated_results.json").is_file()


# Drawing and its settings; Python's own variables; locales and terminals; threads; homes; environments and accounts.
SURROUNDINGS = {
    "a window": {"MPLBACKEND": "TkAgg"},
    "settings of plots": {"MATPLOTLIBRC": "{place}/odd/matplotlibrc", "MPLCONFIGDIR": "/proc/none"},
    "a file that interactive Python runs": {"PYTHONSTARTUP": "{place}/odd/startup.py", "PYTHONINSPECT": ""},
    "no caches of code": {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONSAFEPATH": "1", "PYTHONDEVMODE": "1"},
    "an encoding": {"PYTHONUTF8": "0", "LC_ALL": "C", "LANG": "tr_TR.UTF-8", "PYTHONIOENCODING": "latin-1"},
    "a narrow terminal": {"COLUMNS": "20", "TERM": "dumb", "NO_COLOR": "1", "FORCE_COLOR": "1"},
    "odd numbers of threads": {"OMP_NUM_THREADS": "4,2", "MKL_NUM_THREADS": "x", "OPENBLAS_NUM_THREADS": "-1"},
    "no home": {"HOME": "", "XDG_STATE_HOME": "/proc/x", "XDG_CACHE_HOME": "relative", "TMPDIR": "relative"},
    "an environment": {"CONDA_PREFIX": "/nonexistent", "CONDA_SHLVL": "1", "VIRTUAL_ENV": "/nonexistent"},
    "a shell": {
        "SHELL": "/bin/tcsh",
        "BASH_ENV": "{place}/odd/startup.py",
        "TZ": "Nowhere/Land",
        "POSIXLY_CORRECT": "1",
    },
}


@pytest.mark.parametrize("variables", SURROUNDINGS.values(), ids=SURROUNDINGS)
def test_what_a_site_or_a_habit_sets_ends_nothing(place: Path, variables: dict[str, str]) -> None:
    (place / "odd").mkdir()
    (place / "odd" / "startup.py").write_text("raise SystemExit(9)\n")
    (place / "odd" / "matplotlibrc").write_text("backend: TkAgg\nfont.family: NoSuchFont\ntext.usetex: True\n")
    given = {name: value.format(place=place) for name, value in variables.items()}
    done = installed(place, *RUN, "--runs-per-condition", "2", **given)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert (place / "out" / "report.html").is_file()


def test_a_script_does_not_wait_for_somebody_to_type(place: Path) -> None:
    """Under PYTHONINSPECT, Python asks for more when a program ends, and sys.exit(0) is a traceback and status 1."""
    (place / "x.py").write_text(
        "import sys\nopen(f'{sys.argv[1]}/m.json', 'w').write('{\"loss\": 1.5}')\nsys.exit(0)\n"
    )
    command = "python x.py {dir} {width} {seed}"
    text = f'trainer: {{command: "{command}", metrics: m.json, measures: [loss]}}\nsweep: {{axes: {{width: [1]}}}}\n'
    (place / "sweep.yaml").write_text(text)
    assert "5 COMPLETED" in installed(place, *RUN, PYTHONINSPECT="1").stdout


@pytest.mark.parametrize("name", ["aggregate", "hpc", "training"])
@pytest.mark.parametrize("package", [False, True], ids=["file", "package"])
def test_a_users_own_module_may_have_the_name_of_one_of_ours(place: Path, name: str, package: bool) -> None:
    path = place / "own" / (f"{name}/__init__.py" if package else f"{name}.py")
    path.parent.mkdir(parents=True)
    path.write_text("raise SystemExit('the wrong module')\n")
    done = installed(place, "aggregate", "out", PYTHONPATH=str(place / "own"))
    assert (done.returncode, done.stderr) == (
        2,
        f"{place}/out: there is no sweep here (no sweep.json); check the path, or start one\n",
    )
    assert installed(place, *PLAN, PYTHONPATH=str(place / "own")).returncode == 0


@pytest.mark.parametrize("name", ["click", "yaml", "numpy", "random"])
def test_a_users_own_module_may_have_the_name_of_a_package_that_we_use(place: Path, name: str) -> None:
    (place / "own").mkdir()
    (place / "own" / f"{name}.py").write_text("raise SystemExit('the wrong module')\n")
    done = installed(place, *PLAN, PYTHONPATH=str(place / "own"))
    assert (done.returncode, "10 cells: 0 done" in done.stdout) == (0, True), done.stderr


def test_without_docstrings_there_is_help_all_the_same(place: Path) -> None:
    done = installed(place, "run", "--help", PYTHONOPTIMIZE="2")
    assert "--parallel-jobs" in done.stdout


@pytest.mark.parametrize("start", [["-m", "hpc"], ["-c", COMMAND, str(ROOT)]], ids=["module", "command"])
def test_a_working_directory_that_is_gone_is_named_as_that(place: Path, start: list[str]) -> None:
    gone = place / "gone"
    gone.mkdir()
    script = f'cd "{gone}" && rmdir "{gone}" && exec "$@"'
    words = [sys.executable, "-P", *start, "plan", "--config", str(place / "sweep.yaml")]
    done = subprocess.run(
        ["bash", "-c", script, "bash", *words], env=environment(), capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 3
    assert "it was removed; cd to another one" in done.stderr
    assert done.stderr.count("\n") == 1


def test_closed_streams_end_nothing(place: Path) -> None:
    done = subprocess.run(
        ["bash", "-c", 'exec "$@" <&- >&- 2>&-', "bash", sys.executable, "-P", "-m", "hpc", *PLAN],
        cwd=place,
        env=environment(),
        timeout=PATIENCE,
    )
    assert done.returncode == 0


def test_a_path_that_the_terminal_cannot_show_is_written_out(place: Path) -> None:
    done = installed(place, *RUN, "--output-dir", "\u00fcber", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert "\\xfcber" in done.stdout


def test_a_variable_in_the_output_directory_is_replaced(place: Path) -> None:
    assert installed(place, *RUN, "--output-dir", "$SCRATCH/x", SCRATCH=str(place / "s")).returncode == 0
    assert sorted(os.listdir(place)) == ["s", "sweep.yaml"]
    done = installed(place, *RUN, "--output-dir", "$NO_SUCH/x")
    assert (done.returncode, sorted(os.listdir(place))) == (2, ["s", "sweep.yaml"])
    assert "$NO_SUCH is not set here" in done.stderr
    assert installed(place, "status", "$SCRATCH/x", SCRATCH=str(place / "s")).returncode == 0


def test_a_directory_from_which_python_loads_nothing_is_refused(place: Path) -> None:
    done = installed(place, *RUN, "--output-dir", "a:b")
    assert done.returncode == 2
    assert "Python loads no code from a path with ':' in it; name another directory" in done.stderr
    assert sorted(os.listdir(place)) == ["sweep.yaml"]


def test_a_configuration_without_its_option_is_asked_about(place: Path) -> None:
    done = installed(place, "run", "sweep.yaml")
    assert done.returncode == 2
    assert "did you mean --config sweep.yaml?" in done.stderr


def test_fewer_runs_than_a_sweep_has_are_noted(place: Path) -> None:
    assert installed(place, *RUN).returncode == 0
    done = installed(place, *RUN, "--runs-per-condition", "1")
    assert "note: the sweep already has 5 runs per condition; only the first 1 are looked at" in done.stderr


def test_debugging_shows_what_a_trainer_logs_and_no_font_search(place: Path) -> None:
    trainer = (
        "import logging\nFACTORS = {'width': {'kind': 'integer'}}\n"
        "METRICS = {'error': {'kind': 'real', 'better': 'lower'}}\n"
        "def train(cells, options, run):\n    logging.getLogger('lab').debug('in detail')\n    options['steps']\n"
    )
    (place / "mine.py").write_text(trainer)
    (place / "sweep.yaml").write_text(
        "trainer: mine.py:train\ntrainer_options: {stpes: 1}\nsweep: {axes: {width: [1]}}\n"
    )
    done = installed(place, *RUN, "-v")
    assert "matplotlib.font_manager" not in done.stderr
    assert "KeyError: 'steps'; trainer_options has no 'steps', but 'stpes'" in done.stderr
    assert "DEBUG:lab:in detail" in installed(place, "show", "out", "width_1_run_0", "--log").stdout
