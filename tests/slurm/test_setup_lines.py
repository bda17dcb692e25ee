"""Whatever setup does to its shell, a task saves and is requeued; where setup fails, the cause is told."""

from __future__ import annotations

import pytest
from helpers.waiting import wait_until
from helpers.workplace import Workplace

SETUPS = {
    "strict": ["set -euo pipefail"],
    "traps": ["trap 'exit 3' TERM USR2 EXIT", "trap false ERR DEBUG"],
    "signals ignored": ["trap '' USR2 TERM INT"],
    "functions": ["wait() { :; }; kill() { :; }; exec() { :; }; trap() { :; }; export() { :; }"],
    "aliases": ["shopt -s expand_aliases", "alias exec=echo wait=echo kill=echo", "IFS=x; set -f"],
    "variables": ["cd /; set -- a b; code=1 sweep=2 child=3 first=USR2; export PATH=/no PYTHONPATH=/no BASH_ENV=/no"],
    "umask": ["umask 777"],
    # What conda's activation has been reported to do under strict modes, and what login files of sites do.
    "conda": [
        "set -eu; conda() { PS1=${PS1-}; export OLD=${UNSET_BACKUP-}; false || true; }; conda activate x",
        "set -o posix",
    ],
    "locale": ["export LC_ALL=xx_YY.UTF-8 LANG=C LANGUAGE=", "ulimit -c 0; exec 3>&- 4>&- 2>&1"],
    "output": ["exec >/dev/null 2>&1", "set -o noclobber -o nounset -o errtrace -o functrace"],
    "patterns": ["shopt -s failglob nullglob extglob", "trap 'exit 5' RETURN CHLD; sleep 1000 & disown"],
    "open umask": ["umask 000", "export PYTHONHOME=/no PYTHONPATH=/no"],
}


@pytest.mark.parametrize("name", SETUPS)
def test_setup_cannot_disarm_saving_and_requeueing(workplace: Workplace, name: str) -> None:
    profile = workplace.write("lab.yaml", {"partition": "low", "setup": SETUPS[name]})
    config = workplace.foreign(widths=[1], held=True)
    with workplace.on_cluster():
        workplace.submit(config, profile=profile)
        wait_until(lambda: min(workplace.epochs()) >= 3, "a cell in mid-training")
        assert len(workplace.cluster.preempt(hold_seconds=1)) == 1
        workplace.release()
        workplace.wait_until_ended()
        (result,) = workplace.results().values()
    assert result["status"] == "COMPLETED"
    assert result["provenance"]["restored_at_step"] >= 3, "saved when it was evicted"
    entries = workplace.store().root.rglob("*")
    assert not [path for path in entries if not path.is_symlink() and path.stat().st_mode & 0o022], (
        "for others to write"
    )


@pytest.mark.parametrize(("export", "passed"), [(None, "ab"), ("NONE", ""), (["LAB_A"], "a")])
def test_a_task_gets_the_variables_that_the_profile_names_and_trains(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch, export: object, passed: str
) -> None:
    monkeypatch.setenv("LAB_A", "a")
    monkeypatch.setenv("LAB_TOKEN", "b")
    settings = {"partition": "low", "setup": ['echo "got:$LAB_A$LAB_TOKEN" > got']}
    profile = workplace.write("lab.yaml", settings if export is None else settings | {"export": export})
    config = workplace.foreign(widths=[1], epochs=2)
    with workplace.on_cluster():
        said = workplace.submit(config, profile=profile)
        workplace.wait_until_ended()
    assert ("LAB_TOKEN" in said) == ("b" in passed)
    assert workplace.states() == {"COMPLETED": 1}
    assert (workplace.directory / "out" / "got").read_text() == f"got:{passed}\n"


@pytest.mark.parametrize("line", ["set -e; false; true", "exit 0", "exec true", "set -n"])
def test_a_setup_that_ends_the_task_is_named_and_nothing_stays_queued(workplace: Workplace, line: str) -> None:
    profile = workplace.write("lab.yaml", {"partition": "low", "setup": [line]})
    config = workplace.foreign(widths=[1], epochs=1)
    with workplace.on_cluster():
        said = workplace.submit(config, "--wait", profile=profile, expect=4)
        assert "stopped: 2 submissions in a row brought no cell further" in said
        assert workplace.cluster.slurm.queue() == []
        for words in (("status", "out"), ("show", "out", "width_1_run_0"), ("show", "out", "width_1_run_0", "--log")):
            assert "before the task began; see setup in the profile" in workplace.holdfast(*words, expect=None).stdout
