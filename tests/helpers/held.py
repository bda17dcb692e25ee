"""The 25-line trainer, held half-way: what is done to it meanwhile is done in mid-training, on any machine."""

from __future__ import annotations

from pathlib import Path

from helpers.command_line import WIDTH
from helpers.waiting import PATIENCE

_SAVE = """\
            if run.checkpoint_due():
                run.save({cell: Checkpoint(epoch, values={"total": total, "generator": generator.getstate()})})
"""
_HOLD = """\
            while epoch == options["epochs"] // 2 and os.path.exists(options["hold"]) and not run.stop:
                time.sleep(0.05)
                if run.checkpoint_due():
                    run.save({cell: Checkpoint(epoch, values={"total": total, "generator": generator.getstate()})})
"""


def held_trainer(directory: Path, name: str = "held.py") -> Path:
    """A copy of the trainer that waits half-way as long as the file of its option ``hold`` is there.

    Progress is reported once a second at most: with epochs of 0.1 s, the last report comes at most eleven before that.
    """
    text = WIDTH.read_text()
    assert text.count(_SAVE) == 1
    path = directory / name
    path.write_text(text.replace(_SAVE, _SAVE + _HOLD).replace("import random\n", "import os\nimport random\n"))
    return path


def has_all_the_time_to_save(trainer: Path) -> None:
    """Change this trainer's file: a worker whose starter is gone is not killed, however slow the machine is."""
    with trainer.open("a") as file:
        file.write(f"\n\nimport hpc.node.stop\nhpc.node.stop._ORPHAN_SECONDS = {PATIENCE}\n")


def hold(directory: Path) -> dict[str, str]:
    """Make trainers wait half-way, from now on; the options that tell them so."""
    (directory / "hold").touch()
    return {"hold": str(directory / "hold")}


def release(directory: Path) -> None:
    """Let what waits half-way go on."""
    (directory / "hold").unlink()
