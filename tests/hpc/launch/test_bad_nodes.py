"""Which nodes a submission leaves out, by the marks of tasks that ended before they trained anything."""

from __future__ import annotations

import pytest
from helpers.small_sweeps import run_task, submit

from hpc.launch import bad_nodes
from hpc.launch.bad_nodes import BadNodes
from hpc.node.attempt import PackAttempt
from hpc.protocol import TaskExit
from hpc.slurm.answers import Cluster
from hpc.slurm.commands import Slurm
from hpc.storage.store import Store
from hpc.submission import intents
from hpc.submission.live import submitted_elsewhere
from hpc.sweep.cell import Cell

# What a quota that is full leaves: the status of files that cannot be written, or a mark that could not be, either.
OUTAGE = (f"{int(TaskExit.STORAGE)}\n", "")
NO_PYTHON = "127\n"


def fail(store: Store, submission: int, node: str, status: str) -> None:
    """Two tasks ended so on a node."""
    logs = store.paths.logs_directory(submission)
    logs.mkdir(parents=True, exist_ok=True)
    begun = len(list(logs.iterdir()))
    for task in (begun, begun + 1):
        (logs / f"0_{task}.start.{node}.failed").write_text(status)


def trained(store: Store, cells: list[Cell], node: str) -> int:
    """The number of a submission whose task ended well on a node."""
    number = submit(store, cells)
    assert run_task(store, number, SLURMD_NODENAME=node).returncode == TaskExit.DONE
    return number


def begun(store: Store, cells: list[Cell]) -> int:
    """The number of a submission of which a task had begun on n1 when the files could not be reached any more."""
    number = submit(store, cells)
    PackAttempt.begin(store, store.sweep(), cells, number, {"node": "n1"})
    return number


def judged(store: Store, *elsewhere: int) -> BadNodes:
    """What is found for a cluster, where these submissions were made to another one."""
    sweep = store.sweep()
    return bad_nodes.find(store, store.statuses(sweep.grid, sweep), lambda: elsewhere)


def found(store: Store, *elsewhere: int) -> dict[str, int]:
    return dict(judged(store, *elsewhere).nodes)


@pytest.mark.parametrize("status", OUTAGE)
def test_files_that_no_node_can_reach_are_no_nodes_fault(store: Store, cells: list[Cell], status: str) -> None:
    number = begun(store, cells[:1])
    for node in ("n1", "n2", "n3"):
        fail(store, number, node, status)
    assert found(store) == {}


@pytest.mark.parametrize("status", OUTAGE)
def test_a_node_that_alone_cannot_reach_them_is_left_out(store: Store, cells: list[Cell], status: str) -> None:
    number = trained(store, cells[:1], "n1")
    fail(store, number, "n2", status)
    assert found(store) == {"n2": 2}


@pytest.mark.parametrize("status", OUTAGE)
def test_an_outage_that_reaches_the_nodes_that_did_well_is_no_nodes_fault(
    store: Store, cells: list[Cell], status: str
) -> None:
    number = trained(store, cells[:1], "n1")
    for node in ("n1", "n2", "n3"):
        fail(store, number, node, status)
    assert found(store) == {}


@pytest.mark.parametrize("status", OUTAGE)
def test_an_outage_is_over_once_a_later_submission_has_got_on(store: Store, cells: list[Cell], status: str) -> None:
    fail(store, trained(store, cells[:1], "n1"), "n2", status)
    assert found(store) == {"n2": 2}
    trained(store, cells[1:2], "n1")
    assert found(store) == {}


def test_a_python_that_has_gone_from_every_node_is_no_nodes_fault(store: Store, cells: list[Cell]) -> None:
    number = begun(store, cells[:1])
    for node in ("n1", "n2", "n3"):
        fail(store, number, node, NO_PYTHON)
    assert found(store) == {}


def test_a_node_without_python_is_left_out_however_much_later(store: Store, cells: list[Cell]) -> None:
    number = begun(store, cells[:1])
    fail(store, number, "n2", NO_PYTHON)
    assert found(store) == {"n2": 2}
    trained(store, cells[1:2], "n1")
    assert found(store) == {"n2": 2}


# --- two clusters -----------------------------------------------------------------------------------------------------


def test_a_node_of_another_cluster_is_not_left_out_here(store: Store, cells: list[Cell]) -> None:
    number = trained(store, cells[:1], "n1")
    fail(store, number, "n2", NO_PYTHON)
    assert found(store) == {"n2": 2}
    assert found(store, number) == {}


def test_a_cluster_on_which_all_nodes_fail_is_at_fault_itself_whatever_does_well_elsewhere(
    store: Store, cells: list[Cell]
) -> None:
    elsewhere = trained(store, cells[:1], "n1")
    number = begun(store, cells[1:2])
    for node in ("n1", "n2"):
        fail(store, number, node, NO_PYTHON)
    assert found(store, elsewhere) == {}


def test_a_cell_that_a_bad_node_of_another_cluster_has_failed_is_run_again_here(
    store: Store, cells: list[Cell], monkeypatch: pytest.MonkeyPatch
) -> None:
    well, failing = trained(store, cells[:1], "n1"), submit(store, cells[1:3])
    monkeypatch.setenv("SLURMD_NODENAME", "n2")
    attempt = PackAttempt.begin(store, store.sweep(), cells[1:3], failing, {"node": "n2"})
    for cell in cells[1:3]:
        attempt.fail(cell, "no driver", "", at_start=True)
    assert judged(store) == BadNodes({"n2": 2}, frozenset(cells[1:3]))
    assert judged(store, well, failing) == BadNodes({}, frozenset(cells[1:3]))


def test_submissions_to_another_cluster_are_known_by_what_it_says_of_itself(
    store: Store, cells: list[Cell], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = Cluster("a", "login:6817"), Cluster("b", "login:6818")
    for cluster in (a, b, None):  # the last as in intents of the first version
        intents.begin(store, [[cells]], kind=intents.SLURM, profile="p", name="s", code="", cluster=cluster)
    here = submit(store, cells)
    monkeypatch.setattr(Slurm, "cluster", lambda own: a)
    assert submitted_elsewhere(store, None) == {2, here}
