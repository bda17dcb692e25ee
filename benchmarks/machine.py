"""What a benchmark ran on, in one line: without it a number says little."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path

# From the widest on; as Linux names them.
_SETS = ("amx_tile", "avx512_bf16", "avx512f", "avx2", "asimd")


def machine() -> str:
    """Processors, their instruction sets, how busy they are, Python and the date."""
    fields: dict[str, list[str]] = {}
    listing = Path("/proc/cpuinfo")
    for line in listing.read_text().splitlines() if listing.exists() else ():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), []).append(value.strip())
    model = (fields.get("model name") or [platform.machine()])[0]
    family = " ".join(f"{key} {fields[key][0]}" for key in ("cpu family", "model") if key in fields)
    flags = " ".join((*fields.get("flags", ())[:1], *fields.get("Features", ())[:1])).split()
    sets = ", ".join(name for name in _SETS if name in flags) or "unknown"
    python = f"Python {platform.python_version()}"
    load = f"load {os.getloadavg()[0]:.1f}"
    return f"{os.cpu_count()} x {model} ({family}; {sets}), {load}, {python}, {time.strftime('%d %B %Y')}"
