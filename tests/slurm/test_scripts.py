"""Scripts that know nothing of Holdfast or Slurm, preempted on a real cluster."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from helpers.command_line import ROOT
from helpers.here import lacking
from helpers.waiting import wait_until
from helpers.workplace import Workplace, outcomes

SCRIPTS = ROOT / "examples" / "scripts"


def test_a_preempted_script_resumes_from_its_own_checkpoint_and_ends_as_if_undisturbed(workplace: Workplace) -> None:
    content = yaml.safe_load((SCRIPTS / "classify.yaml").read_text())
    # It waits before its sixth epoch while a file is there; nothing else of it is changed.
    source = (SCRIPTS / "classify.py").read_text()
    loop = "        for epoch in range(first, args.epochs):\n"
    hold = f"Path({str(workplace.directory / 'hold')!r})"
    wait = f"            while epoch == 5 and {hold}.exists():\n                __import__('time').sleep(0.05)\n"
    assert loop in source
    (workplace.directory / "classify.py").write_text(source.replace(loop, loop + wait))
    content["sweep"] |= {"axes": {"lr": [0.01], "width": [32]}, "runs_per_condition": 2}
    config = workplace.write("sweep.yaml", content | {"checkpoint": {"every_seconds": 0.5}})
    (workplace.directory / "hold").touch()
    workplace.submit(config)
    wait_until(lambda: min(workplace.epochs()) >= 5, "every cell in mid-training")
    assert "evicted 2 tasks" in workplace.holdfast("sandbox", "preempt").stderr
    (workplace.directory / "hold").unlink()
    workplace.wait_until_ended()
    results = workplace.results()
    assert {result["provenance"]["attempts"] for result in results.values()} == {2}
    assert all(result["provenance"]["restored_at_step"] >= 1 for result in results.values())
    assert {result["epochs"] for result in results.values()} == {8}
    # The tasks ran the copy in the sweep directory.
    shutil.move(workplace.directory / "classify.py", workplace.directory / "elsewhere.py")
    shutil.copy(SCRIPTS / "classify.py", workplace.directory)
    workplace.holdfast("run", "--config", config, "--output-dir", "here")
    assert outcomes(results) == outcomes(workplace.results("here"))
    assert workplace.aggregated() == workplace.aggregated("here")
    report = workplace.store().paths.report_file.read_text()
    assert "accuracy" in report
    assert (workplace.store().paths.plots_directory / "training_curves").is_dir()


def running(script: str, below: Path) -> dict[int, list[str]]:
    """The processes of this machine that run a script of this name that lies below a directory, and their words."""
    found = {}
    for entry in Path("/proc").iterdir():
        try:
            words = (
                (entry / "cmdline").read_bytes().decode(errors="replace").split("\0") if entry.name.isdecimal() else []
            )
        except OSError:  # it has ended
            continue
        if any(word.endswith(f"/{script}") and word.startswith(str(below)) for word in words[:3]):
            found[int(entry.name)] = words
    return found


def halt_both(workplace: Workplace, script: str, widths: Sequence[float], out: str) -> set[int]:
    """Halt two scripts at work. Fewer are halted where one ended before it was seen, as this process stood still.

    widths: theirs, where a script is at work once it has saved five epochs.
    """
    halted: set[int] = set()

    def both_halted() -> bool:
        saved = dict(zip(widths, workplace.epochs(out), strict=True)) if widths else {}
        for pid, words in running(script, workplace.directory).items():
            if not widths or any(epoch >= 5 and str(width) in words for width, epoch in saved.items()):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
                    halted.add(pid)
        return len(halted) == 2

    wait_until(lambda: both_halted() or any(workplace.results(out).values()), "both at work")
    return halted


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "library", "longer", "axes"),
    [
        ("classify", "torch", "--epochs 100", {"lr": [0.01], "width": [4, 32]}),
        ("forest", "sklearn", "", {"trees": [20, 30], "criterion": ["gini"]}),
        ("hydra_app", "hydra", "epochs=100", {"n": [40_000, 50_000], "decay": [0.1]}),
    ],
)
def test_scripts_of_other_purposes_end_through_preemption_as_if_undisturbed_and_are_reported(
    workplace: Workplace, name: str, library: str, longer: str, axes: dict[str, list[float]]
) -> None:
    """Not a character of a script is changed: it is caught at work, and halted there until Slurm has evicted it."""
    if find_spec(library) is None:
        lacking(f"{library} is not installed")
    content = yaml.safe_load((SCRIPTS / f"{name}.yaml").read_text())
    script = f"{name}.py"
    shutil.copy(SCRIPTS / script, workplace.directory)
    if "trainer_files" in content:
        shutil.copytree(SCRIPTS / "conf", workplace.directory / "conf")
    content["trainer"]["command"] += f" {longer}"
    content["sweep"] |= {"axes": axes, "runs_per_condition": 1}
    config = workplace.write("sweep.yaml", content | {"checkpoint": {"every_seconds": 0.1}})
    widths = axes["width"] if "checkpoint" in content["trainer"] else []
    for out in (f"out-{number}" for number in range(10)):
        workplace.submit(config, out=out)
        halted = halt_both(workplace, script, widths, out)
        caught = not any(workplace.results(out).values())
        if caught:
            assert "evicted 2 tasks" in workplace.holdfast("sandbox", "preempt").stderr
        for pid in halted:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        workplace.wait_until_ended(out)
        if caught:
            break
    results = workplace.results(out)
    assert {result["provenance"]["attempts"] for result in results.values()} == {2}
    restored = [result["provenance"].get("restored_at_step", 0) for result in results.values()]
    assert all(restored) if widths else not any(restored)
    workplace.holdfast("run", "--config", config, "--output-dir", "here")
    assert outcomes(results) == outcomes(workplace.results("here"))
    workplace.holdfast("aggregate", out)
    report = workplace.store(out).paths.report_file.read_text()
    assert all(measure in report for measure in content["trainer"]["measures"])
    assert (workplace.directory / script).read_bytes() == (SCRIPTS / script).read_bytes()
