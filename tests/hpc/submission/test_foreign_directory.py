"""What a sweep directory says about clusters and nodes: data that anybody may have written, and no command of ours."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from hpc.errors import ConfigError
from hpc.launch import slurm as launch
from hpc.launch.bad_nodes import BadNodes
from hpc.launch.look import Look
from hpc.launch.options import SubmitOptions
from hpc.launch.request import Request
from hpc.slurm import script
from hpc.slurm.profile import Profile
from hpc.storage.store import Store
from hpc.submission import intents
from hpc.submission.live import Queues, queues
from hpc.sweep.cell import Cell

INJECTED = "n9\\'\"\n#SBATCH --exclude=n2\ntouch pwned\n#"


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("SLURM_CONF", raising=False)


@pytest.fixture
def named(store: Store, cells: list[Cell], tmp_path: Path) -> Callable[[Path], intents.Intent]:
    """A submission as another user's file has it, with a slurm.conf of his."""

    def make(conf: Path) -> intents.Intent:
        intent = intents.begin(store, [[cells]], kind=intents.SLURM, profile="p", name="small", code="")
        path = store.paths.intent_file(intent.number)
        path.write_text(json.dumps(json.loads(path.read_text()) | {"conf": str(conf)}))
        return intents.intents(store)[-1]

    return make


@pytest.mark.parametrize("place", ["out/slurm.conf", "elsewhere/slurm.conf"])
def test_a_slurm_conf_that_only_the_directory_names_is_not_used(
    store: Store, named: Callable[[Path], intents.Intent], tmp_path: Path, place: str
) -> None:
    intent = named(tmp_path / place)
    assert (intent.conf, intent.unknown_conf) == (None, str(tmp_path / place))
    (unasked,) = queues(store).unasked
    assert f"none of yours; if you trust it, export SLURM_CONF={tmp_path / place}" in str(unasked)


def test_a_slurm_conf_of_the_environment_is_used(
    named: Callable[[Path], intents.Intent], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_CONF", str(tmp_path / "slurm.conf"))
    assert named(tmp_path / "slurm.conf").conf == str(tmp_path / "slurm.conf")


def test_a_slurm_conf_that_this_user_submitted_with_is_used(store: Store, cells: list[Cell], tmp_path: Path) -> None:
    conf = tmp_path / "slurm.conf"
    intents.begin(store, [[cells]], kind=intents.SLURM, profile="p", name="small", code="", conf=conf)
    assert intents.intents(store)[-1].conf == str(conf)
    assert "unknown_conf" not in store.paths.intent_file(1).read_text()


def test_a_name_that_no_node_can_have_is_not_excluded(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    seen = Look(Queues(), (), BadNodes({INJECTED: 2, "n7": 3}))
    request = Request(store, store.sweep())
    profile = launch._without_bad_nodes(request, Profile("p"), SubmitOptions(), seen)
    assert profile.parameters == {"exclude": "n7"}
    assert "no node can have this name" in capsys.readouterr().err


JOB = script.Job("small-1.0-abc", Path("/sweep"), "/sweep/%a.log", 1)


@pytest.mark.parametrize(
    "profile",
    [
        Profile("p", {"exclude": INJECTED}),
        Profile("p", {"partition": "a\nb"}),
        Profile("p", additional={"constraint": "a\nb"}),
        Profile("p", additional={"wrap": "x"}),
    ],
)
def test_values_are_checked_where_a_script_is_written_wherever_they_come_from(profile: Profile) -> None:
    with pytest.raises(ConfigError):
        script.text(profile, JOB, "true")


@pytest.mark.parametrize("job", [script.Job("a\nb", Path("/s"), "/l"), script.Job("a", Path("/s\n#SBATCH x"), "/l")])
def test_no_path_or_name_breaks_a_line_of_a_script(job: script.Job) -> None:
    with pytest.raises(ConfigError, match="a script cannot hold control characters"):
        script.text(Profile("p"), job, "true")
