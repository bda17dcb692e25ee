"""The examples in training/contract.py run: its trainer as it stands, and every other example within a real run."""

from __future__ import annotations

import doctest
import json
import textwrap
from pathlib import Path

import pytest
from helpers.command_line import Holdfast
from helpers.small_sweeps import make_grid, make_store, make_sweep, run_here, write_trainer

from hpc.storage.store import Store
from hpc.sweep.states import COMPLETED, FAILED
from hpc.trainers.declaration import read_declaration
from training import contract

EXAMPLES = {test.name.removeprefix("training.contract."): test for test in doctest.DocTestFinder().find(contract)}
RUNNABLE = [name for name, test in EXAMPLES.items() if test.examples]
# What has no example of its own: the page itself, which is run as a whole, and what an example of its class shows.
ELSEWHERE = {"training.contract", "Run", "Trainer", *(f"Cell.{name}" for name in ("name", "factors", "seed", "run_id"))}

TRAINER = """
import doctest
from training import contract

FACTORS = {"width": {"kind": "integer", "minimum": 1}}
METRICS = {"error": {"kind": "positive", "better": "lower"}}


def train(cells, options, run):
    (cell,) = cells
    (test,) = [one for one in doctest.DocTestFinder().find(contract) if one.name.endswith("." + options["example"])]
    test.globs = vars(contract) | {"run": run, "cell": cell}
    said = []
    doctest.DocTestRunner().run(test, out=said.append)
    if said:
        raise AssertionError("".join(said))
    if cell in run.unfinished():
        run.finish(cell, {"error": 0.0})
"""


def run_example(directory: Path, name: str) -> Store:
    """The example of a name in the contract, run by a real task; its cell is width_8_run_1."""
    trainer = write_trainer(directory, TRAINER, "examples.py")
    declared = read_declaration(f"{trainer}:train", [directory])
    sweep = make_sweep(make_grid((8,)), trainer=declared, options={"example": name})
    store = make_store(directory / "out", sweep)
    run_here(store, [sweep.grid[1]])
    return store


@pytest.mark.parametrize("name", RUNNABLE)
def test_an_example_of_the_contract_does_what_it_shows(tmp_path: Path, name: str) -> None:
    store = run_example(tmp_path, name)
    sweep = store.sweep()
    (status,) = store.statuses([sweep.grid[1]], sweep)
    assert status.state == (FAILED if name == "Run.fail" else COMPLETED), status.cause


def test_everything_public_in_the_contract_has_an_example() -> None:
    documented = {name for name, test in EXAMPLES.items() if test.docstring and not name.startswith("_")}
    assert documented - ELSEWHERE == set(RUNNABLE)


def test_the_trainer_on_the_first_page_of_the_contract_runs_as_it_stands(holdfast: Holdfast, tmp_path: Path) -> None:
    page = contract.__doc__ or ""
    block = page[page.index("    import random") : page.index("``train`` gets the cells")]
    (tmp_path / "decay.py").write_text(textwrap.dedent(block))
    sweep = {"name": "decay", "axes": {"width": [1, 2]}, "runs_per_condition": 2}
    config = {"trainer": "decay.py:train", "trainer_options": {"steps": 20}, "sweep": sweep}
    (tmp_path / "sweep.yaml").write_text(json.dumps(config))
    assert "4 COMPLETED" in holdfast("run", "--config", "sweep.yaml").stdout
