"""On a node: a pilot's widths one after another, each in a process of its own, as long as wider ones are faster; before
them a cell of each condition, where that is asked for.

    python -P -m hpc.preflight.pilot_on_node DIRECTORY

DIRECTORY holds a scratch sweep and the request; the answer is written there as one JSON file.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hpc import protocol
from hpc.files import atomic, reading
from hpc.planning.packing import MEMORY_SHARE
from hpc.storage.store import Store

REQUEST, ANSWER = "pilot-request.json", "pilot.json"
# Beyond the time of a width, for the start of its process: imports, data, a first compilation.
_PATIENCE_SECONDS = 90.0
# A wider pack must cut the time per cell by 2 % to be worth trying still wider ones; less is within the noise.
_GAIN = 0.98
_LOG_LINES = 3
_CUT_OFF = "the job ended while it trained, as when memory or time runs out"


@dataclass(frozen=True)
class PilotRequest:
    """What to measure.

    widths: cells per pack, ascending. seconds: training time per width; total_s: of all but the first. epoch_s: the
    narrowest pack trains for up to this long until an epoch has ended, which shows how long a cell takes. threads: CPU
    threads of one process. device: cpu or cuda. host_bytes: memory one process may fill, None if unknown.
    conditions: positions of the cells that are first trained alone, each until an epoch has ended; conditions_s: the
    time for all of them.
    """

    widths: Sequence[int]
    seconds: float
    total_s: float
    threads: int
    device: str
    host_bytes: int | None
    epoch_s: float = 0.0
    conditions: Sequence[int] = field(default_factory=list)
    conditions_s: float = 0.0

    def write(self, directory: Path) -> None:
        atomic.publish(directory / REQUEST, json.dumps(asdict(self)).encode())

    @classmethod
    def read(cls, directory: Path) -> PilotRequest:
        return cls(**json.loads(reading.read(directory / REQUEST)))


def measure(directory: Path, request: PilotRequest) -> dict[str, Any]:
    """Measure one width after another. Returns the measurements and why there are no wider ones."""
    began = time.monotonic()
    found: list[dict[str, Any]] = []
    for width in request.widths:
        expected_s = float(found[-1]["start_s"] or 0.0) + 1.5 * request.seconds if found else 0.0
        if found and time.monotonic() - began + expected_s > request.total_s:
            return {"measurements": found, "ended": f"{request.total_s:g} s were over before a pack of {width}"}
        epoch_s = request.epoch_s if width == request.widths[0] else 0.0
        answer, trouble = _one(directory, request, -width, width, epoch_s)
        if answer is None:
            return {"measurements": found, "ended": f"a pack of {width} failed: {trouble}"}
        if not found:
            began = time.monotonic()  # the narrowest took as long as its epoch did; the limit is for the wider ones
        found.append(answer)
        reason = _no_wider(found, request)
        if reason:
            return {"measurements": found, "ended": reason}
    return {"measurements": found, "ended": "the widest pack of the plan was measured"}


def measure_conditions(directory: Path, request: PilotRequest, answer: dict[str, Any]) -> None:
    """Measure one cell after another, as far as the time lasts, and add what each takes to the answer, or why that is
    not known. It is written each time: the job may end before it is through."""
    began, longest = time.monotonic(), 0.0
    for cell in request.conditions:
        start = time.monotonic()
        if start - began + longest > request.conditions_s:
            return
        answer["conditions"].append({"cell": cell, "trouble": _CUT_OFF})
        _write(directory, answer)
        found, trouble = _one(directory, request, cell, 1, request.epoch_s)
        answer["conditions"][-1] = {"cell": cell, "trouble": trouble, **(found or {})}
        longest = max(longest, time.monotonic() - start)


def _one(
    directory: Path, request: PilotRequest, first: int, width: int, epoch_s: float
) -> tuple[dict[str, Any] | None, str]:
    """One pack in a process of its own: its memory is measured alone, and running out of it ends nothing else."""
    answer, log = directory / f"pack-{first}-{width}.json", directory / f"pack-{first}-{width}.log"
    threads = {"OMP_NUM_THREADS": str(request.threads), protocol.DEVICE: request.device}
    device = {"CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]}
    arguments = (directory, first, width, request.seconds, epoch_s, time.monotonic(), answer)
    with log.open("wb") as output:
        try:
            done = subprocess.run(
                [sys.executable, "-P", "-m", "hpc.preflight.pilot_width", *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=os.environ | threads | device,
                timeout=4 * request.seconds + epoch_s + _PATIENCE_SECONDS,
            )
        except subprocess.TimeoutExpired:
            return None, "the trainer did not stop when asked to"
    if done.returncode == 0:
        return dict(json.loads(reading.read(answer))), ""
    said = log.read_text(errors="replace").strip().splitlines()[-_LOG_LINES:]
    if done.returncode < 0:
        return None, f"ended by signal {-done.returncode}, as when memory runs out"
    return None, said[-1] if said else f"exit status {done.returncode}"


def _no_wider(found: Sequence[dict[str, Any]], request: PilotRequest) -> str:
    """Why no wider pack needs to be measured; empty if one does."""
    last = found[-1]
    for used, limit in ((last["host_bytes"], request.host_bytes), (last["device_bytes"], last["device_total_bytes"])):
        if used is not None and limit is not None and used > MEMORY_SHARE * limit:
            return f"a pack of {last['width']} fills the memory"
    costs = [entry["seconds_per_step"] / entry["width"] for entry in found if entry["seconds_per_step"]]
    # Two widths in a row, as one measurement on a shared machine may be unlucky.
    if len(costs) > 2 and min(costs[-2:]) > _GAIN * min(costs[:-2]):
        return f"packs wider than {found[-3]['width']} are no faster"
    return ""


def _write(directory: Path, answer: dict[str, Any]) -> None:
    atomic.publish(directory / ANSWER, json.dumps(answer, indent=1).encode())


def main(argv: list[str]) -> int:
    directory = Path(argv[0])
    Store(directory).sweep()  # if the scratch sweep cannot be read, the whole job fails, not one width
    request = PilotRequest.read(directory)
    answer = {"measurements": [], "ended": "the job ended before any pack was measured", "conditions": []}
    measure_conditions(directory, request, answer)
    _write(directory, answer | measure(directory, request))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
