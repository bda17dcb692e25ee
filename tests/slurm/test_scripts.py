"""A script that knows nothing of Holdfast or Slurm, preempted on a real cluster."""

from __future__ import annotations

import shutil

import yaml
from helpers.command_line import ROOT
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
    content["sweep"] |= {"axes": {"lr": [0.01], "width": [4, 32]}, "runs_per_condition": 2}
    config = workplace.write("sweep.yaml", content | {"checkpoint": {"every_seconds": 0.5}})
    (workplace.directory / "hold").touch()
    workplace.submit(config)
    wait_until(lambda: min(workplace.epochs()) >= 5, "every cell in mid-training")
    assert "evicted 4 tasks" in workplace.holdfast("sandbox", "preempt").stderr
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
