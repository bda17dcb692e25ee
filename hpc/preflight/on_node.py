"""On a node: test what tasks will need, and write what was found as one JSON file.

python -P -m hpc.preflight.on_node DIRECTORY
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

from hpc import provenance
from hpc.files import atomic
from hpc.preflight import probe
from hpc.slurm.commands import Slurm, SlurmError

ANSWER = "node.json"


def main(argv: list[str]) -> int:
    """Probe from the node's side. A failure is an answer, too."""
    directory = Path(argv[0])
    answer: dict[str, Any] = {
        "node": provenance.node(),
        "python": platform.python_version(),
        "executable": sys.executable,
        "cpus": len(os.sched_getaffinity(0)),
        "cuda_visible_devices": os.environ.get("CUDA_VISIBLE_DEVICES"),
    }
    answer["environment"] = {"exported": os.environ.get("SLURM_EXPORT_ENV", "ALL"), "variables": len(os.environ)}
    answer["requeue_trouble"] = _requeue_trouble()
    try:
        answer["shared"] = _shared(directory)
    except OSError as error:
        answer["shared"] = {"error": f"{error.filename or directory}: {error.strerror}"}
    answer["torch"] = _torch()
    answer["compiled_step"] = compiled_step()
    answer["versions"] = provenance.versions()
    atomic.publish(directory / ANSWER, json.dumps(answer, indent=1).encode())
    return 0


def _shared(directory: Path) -> dict[str, Any]:
    own = directory / "node"
    os.mkdir(own)
    faults = probe.alone(own)
    round_trip = probe.call(directory)
    won = probe.race(directory / "race", "node") if round_trip is not None else None
    seconds = probe.checkpoint_seconds(own)
    space = probe.space(directory)
    return {"faults": faults, "round_trip_s": round_trip, "won": won, "checkpoint_s": seconds, "space": space}


def compiled_step() -> dict[str, str]:
    """Why the built-in trainer's compiled step is not to be had on this machine, by precision; empty where it is."""
    from training.steps.build import PRECISIONS, NoKernelError, check_compiler

    found = {}
    for precision in PRECISIONS:
        try:
            check_compiler(precision)
            found[precision] = ""
        except NoKernelError as error:
            found[precision] = str(error)
    return found


def _requeue_trouble() -> str:
    """Why a task here could not ask to be queued again; empty if it could."""
    try:
        return "" if Slurm().answers() else "slurmctld does not answer"
    except SlurmError as error:
        return str(error).partition(": is this")[0]  # this is no login node


def _torch() -> dict[str, Any]:
    started = time.monotonic()
    try:
        import torch
    except Exception as error:  # a broken library raises anything
        return {"error": f"{type(error).__name__}: {error}"}
    seconds = time.monotonic() - started
    devices = []
    trouble = ""
    try:
        for number in range(torch.cuda.device_count()):
            facts = torch.cuda.get_device_properties(number)
            devices.append({"name": facts.name, "bytes": facts.total_memory})
        # A device that is listed may still refuse to compute, as under a driver that is too old.
        for number in range(len(devices)):
            trouble = f"GPU {number}"
            torch.zeros(1, device=f"cuda:{number}").add_(1).item()
        trouble = ""
    except Exception as error:
        said = str(error).splitlines()[0]
        trouble = f"{trouble}: {said}" if trouble else said
    return {"version": str(torch.__version__), "import_s": seconds, "devices": devices, "trouble": trouble}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
