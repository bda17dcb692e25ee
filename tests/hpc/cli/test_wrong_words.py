"""Words the command line does not know: one line, the nearest valid word, exit code 2, and nothing done."""

from __future__ import annotations

import pytest
from helpers.command_line import parsed

from hpc.cli import app


def heard(capsys: pytest.CaptureFixture[str], line: str) -> str:
    """What a wrong command line is answered, without its end of line."""
    assert app.main(line.split()) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1
    return told.err.rstrip("\n")


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("submti", "submit"),
        ("agregate out", "aggregate"),
        ("check clustr", "cluster"),
        ("data generat x", "generate"),
        ("sandbox upp", "up"),
        ("plan --ouput-dir x", "--output-dir"),
        ("plan --outptu-dir=x", "--output-dir"),
        ("run --scales 1,2", "--synergy-scales"),
        ("status out --wacth", "--watch"),
        ("submit out --dryrun", "--dry-run"),
        ("--verison", "--version"),
        ("-v --verbos3 plan", "--verbose"),
        ("wandb extract --projct x", "--project"),
        ("plan --seeds 5", "--runs-per-condition"),
        ("run --seed 1", "--runs-per-condition"),
        ("run --workers 2", "--parallel-jobs"),
        ("resume out", "submit"),
        ("logs out", "show"),
        ("kill out", "cancel"),
    ],
)
def test_a_typing_error_is_answered_with_the_nearest_word(
    capsys: pytest.CaptureFixture[str], line: str, meant: str
) -> None:
    assert f"; did you mean {meant}? " in heard(capsys, line)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "holdfast: name one of plan, run, submit, status,"),
        ("check", "holdfast check: name one of cluster, resume, stats; `holdfast check --help`"),
        ("status", "holdfast status: DIR is missing; for example: holdfast status out"),
        ("wandb extract", "--project, --group, --output-dir are missing; for example: holdfast wandb extract"),
        ("status a b", "holdfast status: too many arguments: b (`holdfast status --help`"),
        ("run --device gpu", "holdfast run: --device is 'gpu'; valid: cpu, cuda"),
        ("run --parallel-jobs two", "--parallel-jobs is 'two'; give a whole number, 1 or more"),
        ("plan --epochs three", "--epochs is 'three'; give a whole number"),
        ("plan --power high", "--power is 'high'; give a number"),
        ("cancel out --axis width", "holdfast cancel: --axis is 'width'; write NAME=VALUE"),
        ("cancel out --state runing", "--state is 'runing'; did you mean RUNNING? valid: PENDING, RUNNING"),
        ("cancel out --state QUEUED", "--state is 'QUEUED'; valid: PENDING, RUNNING"),
        ("submit out --partition low", "submit: --partition is a setting of the profile; write --set partition=VALUE"),
        (
            "submit out --time 60",
            "submit: --time is a setting of the profile; write --set timeout_min=VALUE, or put it",
        ),
        (
            "plan --exclude width=4",
            "holdfast plan: --exclude is no option; conditions are left out with 'sweep.exclude=[{width: 4}]'; nodes "
            "are left out with --set exclude=NODES",
        ),
        ("run --exclude width=4", "conditions are left out with 'sweep.exclude=[{width: 4}]'"),
        ("plan -p low", "holdfast plan: -p is a setting of the profile; write --set partition=VALUE"),
        ("plan --config", "--config needs a value after it"),
        ("plan --config --dims 8", "--config needs a value after it"),
        ("plan --pack many", "--pack is 'many'; give a whole number of cells, 1 or more, or auto"),
        ("status out --watch=yes", "--watch takes no value"),
        ("aggregate out --figure nofile.py:plot", "command line: --figure is 'nofile.py:plot'; there is no such file"),
        ("aggregate out --figure paper_figure.py", "--figure is 'paper_figure.py'; write module:function or path/to/"),
        ("aggregate out --tables word", "--tables is 'word'; 'word' is no kind of table; valid: csv, latex, markdown"),
        ("completion tcsh", "holdfast completion: SHELL is 'tcsh'; valid: bash, zsh, fish"),
        ("-x", "unknown option -x; `holdfast --help` lists the options"),
        ("status out --lines x", "unknown option --lines; `holdfast status --help` lists the options"),
        (
            "status --config x",
            "unknown option --config; the sweep is named by its directory alone, as in holdfast status",
        ),
        ("aggregate --output-dir out", "the sweep is named by its directory alone, as in holdfast aggregate out. "),
        ("run --lr 0.1,0.2", "unknown option --lr; a factor's values are given by --axis lr=VALUE,VALUE. "),
        ("plan --weight-decay 0.1", "a factor's values are given by --axis weight_decay=VALUE,VALUE. "),
        ("run --multirun", "unknown option --multirun; every combination runs anyway; drop it. "),
    ],
)
def test_other_faults_name_the_option_the_value_and_what_would_do(
    capsys: pytest.CaptureFixture[str], line: str, said: str
) -> None:
    assert said in heard(capsys, line)


def test_words_may_stand_on_both_sides_of_options() -> None:
    assert parsed("plan a.b=1 --dims 8 c.d=2 -y e.f=3").params["words"] == ("a.b=1", "c.d=2", "e.f=3")


def test_a_state_may_be_written_small() -> None:
    assert parsed("cancel out --state pending").params["state"] == "PENDING"


def test_an_option_may_still_be_shortened() -> None:
    assert parsed("plan --runs 3").params["runs_per_condition"] == 3
    assert parsed("plan --runs=3 -- --dims").params["words"] == ("--dims",)


def test_a_value_may_be_negative() -> None:
    assert parsed("plan --target-effect -0.5").params["effect"] == -0.5


def test_kinds_of_tables_and_figures_have_the_names_of_their_files_too() -> None:
    found = parsed("aggregate out --tables TeX,md,csv --formats PDF").params
    assert (found["tables"], found["formats"]) == (("latex", "markdown", "csv"), ("pdf",))
