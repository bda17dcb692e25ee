"""Pilots: the cost of packs of a configuration on a device, measured once, kept, and used to choose the pack size."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hpc.files import atomic, directories, reading
from hpc.planning.fitting import Need
from hpc.planning.packing import Choice, Limits, Measurement, choose
from hpc.slurm.answers import Node
from hpc.slurm.profile import Profile
from hpc.sweep.resources import Resources
from hpc.user_state import user_state

# Raise it when a field changes its meaning: pilots of another format are ignored, and measured anew when needed.
_FORMAT = 2
# States of nodes that will not take a job soon, as sinfo writes them; a suffix such as * or ~ may follow.
_UNAVAILABLE = re.compile(r"down|drain|fail|unk|maint|reserved|power")


@dataclass(frozen=True, kw_only=True)
class Pilot:
    """One pilot. profile, device, config_digest: what it holds for. hardware: the device's name.

    unit: what ``seconds`` of the measurements and ``units`` count, step, epoch or cell. units: of one cell to its end,
    None if unknown. start_s: seconds from a process's start to its first step. checkpoint_s, checkpoint_bytes: of the
    widest pack measured. device_total_bytes: memory of the GPU. ended: why no wider pack was measured. at: unix time.
    needs: of each condition, where that was asked for. uncounted: epochs ended, but the trainer does not report how
    many a cell has. code: digest of the trainer's, as hpc.trainers.snapshot.trainer_digest makes it.
    """

    profile: str
    device: str
    config_digest: str
    hardware: str
    unit: str
    measurements: tuple[Measurement, ...] = ()
    units: int | None = None
    start_s: float = 0.0
    checkpoint_s: float | None = None
    checkpoint_bytes: int = 0
    device_total_bytes: int | None = None
    ended: str
    at: float
    needs: tuple[Need, ...] = ()
    uncounted: bool = False
    code: str = ""

    def to_json(self) -> dict[str, Any]:
        lists = {name: [vars(entry) for entry in getattr(self, name)] for name in ("measurements", "needs")}
        return {"format": _FORMAT, **vars(self), **lists}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Pilot:
        """Raises KeyError, TypeError or ValueError if this is not a pilot of this format."""
        if data["format"] != _FORMAT:
            raise ValueError("another format")
        values = {key: value for key, value in data.items() if key != "format"}
        measurements = tuple(Measurement(**entry) for entry in data["measurements"])
        return cls(**values | {"measurements": measurements, "needs": tuple(Need(**entry) for entry in data["needs"])})


def merged(earlier: Iterable[Need], needs: Iterable[Need]) -> tuple[Need, ...]:
    """What is known of each condition: of two needs the one that tells more, and of two alike the later one."""
    known: dict[str, Need] = {}
    for need in (*earlier, *needs):
        old = known.get(need.condition, need)
        if (not need.trouble, need.trained) >= (not old.trouble, old.trained):
            known[need.condition] = need
    return tuple(known.values())


def device_type(profile: Profile) -> str:
    """The device as far as a profile determines it: cpu, cuda, or cuda-a100."""
    return f"{profile.device}-{profile.gpu_type}" if profile.gpu_type else profile.device


def path_of(profile: Profile, config_digest: str) -> Path:
    """Where the pilot of a configuration on a profile's device is kept: one file each, per user."""
    name = re.sub(r"[^A-Za-z0-9_.-]", "-", f"{profile.name}-{device_type(profile)}-{config_digest[:16]}")
    return user_state() / "pilots" / f"{name}.json"


def save(pilot: Pilot, profile: Profile) -> Path:
    """Keep a pilot. Returns its file. Raises OSError."""
    path = path_of(profile, pilot.config_digest)
    directories.make_directory(path.parent)
    atomic.publish(path, json.dumps(pilot.to_json(), indent=1).encode())
    return path


def load(profile: Profile, config_digest: str) -> Pilot | None:
    """The pilot of a configuration on a profile's device; None if there is none, or none that can be read."""
    try:
        pilot = Pilot.from_json(reading.read_json(path_of(profile, config_digest)))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return pilot if pilot.config_digest == config_digest else None


def host_bytes(profile: Profile) -> int | None:
    """Memory of one worker, bytes."""
    gigabytes = profile.parameters.get("mem_gb")
    return None if gigabytes is None else int(float(gigabytes) * 2**30 / profile.workers)


def choose_pack(pilot: Pilot, profile: Profile, cells: int, tasks: int, asked: Iterable[Resources] = ((),)) -> Choice:
    """The pack size for the rest of a sweep. cells: still to do. tasks: of the profile that run at once.

    asked: what these cells ask for beside the profile. A pack has to fit into the least memory that any of them gets;
    where none does, as where rules give small cells just what one of them needs, a worker gets one cell.
    Raises ValueError if not even one cell fits into the memory of a task.
    """
    given = [host_bytes(profile.with_resources(beside)) for beside in asked]
    least = min((memory for memory in given if memory is not None), default=None)
    most = None if None in given else max((memory for memory in given if memory is not None), default=None)

    def chosen(measurements: Sequence[Measurement], memory: int | None) -> Choice:
        limits = Limits(tasks * profile.workers, profile.workers, memory, pilot.device_total_bytes)
        return choose(cells, measurements, limits, steps=pilot.units, start_s=pilot.start_s)

    try:
        return chosen(pilot.measurements, least)
    except ValueError:
        if least is None or least == most:
            raise
    alone = chosen(pilot.measurements[:1], most)
    told = f"resources give some of them mem_gb {least * profile.workers / 2**30:.3g}, too little for packs"
    return replace(alone, reason=f"{alone.reason}; {told}")


def tasks_at_once(profile: Profile, nodes: Sequence[Node]) -> int:
    """How many tasks of a profile run at once: on idle CPUs, or on all if none is idle, and no more than it allows."""
    partition = profile.parameters.get("partition")
    usable = [
        node
        for node in nodes
        if not _UNAVAILABLE.match(node.state) and (partition is None or partition in node.partitions)
    ]
    room = sum(_tasks_on(profile, node) for node in usable)
    if not room:  # all are busy, but they will not stay so
        room = sum(_tasks_on(profile, replace(node, idle_cpus=node.cpus)) for node in usable)
    return max(1, min(room, profile.array_parallelism or room))


def _tasks_on(profile: Profile, node: Node) -> int:
    cpus = node.idle_cpus // profile.cpus
    wanted = profile.workers if profile.device == "cuda" or profile.workers > 1 else 0
    # sinfo shows how many CPUs of a node are idle, but of its GPUs only the total.
    return min(cpus, node.gpus.total() // wanted) if wanted else cpus
