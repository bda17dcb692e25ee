"""Where a step of the compiled kernel spends its time: python -m benchmarks.parts [--march x86-64-v3] [--json FILE].

Prints the smallest time of each part, its share of a step, and its share of what limits it: of multiply_add alone for
products, of the bandwidth at which 28 bytes a parameter can be read and written for the update.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from training.steps import build

# Matrix products of one step of one cell, in MFLOP: nothing is passed back to the inputs of the encoders.
MFLOP = {"products forward": 17.83, "products for weights": 17.83, "products back": 17.56}
UPDATE = "update (Adam)"


def measure(march: str) -> dict[str, Any]:
    """What benchmarks/kernel_parts.c prints, compiled as the training step is."""
    flags = [flag for flag in build.FLAGS if flag not in ("-shared", "-fPIC")]
    source = Path(__file__).with_name("kernel_parts.c")
    with tempfile.TemporaryDirectory() as name:
        program = str(Path(name) / "parts")
        place = [f"-march={march}", f"-I{build.SOURCE.parent}", str(source), "-o", program, "-lm"]
        subprocess.run([build.find_compiler(), *flags, *place], check=True)
        found: dict[str, Any] = json.loads(subprocess.run([program], check=True, capture_output=True).stdout)
    return found


def share_of_limit(found: dict[str, Any], part: str) -> float | None:
    """How close a part comes to what limits it; None where nothing simple does."""
    us = found["parts"][part]
    if part in MFLOP:
        return float(1e3 * MFLOP[part] / us / found["peak"])
    return float(28e-3 * found["parameters"] / us / found["bandwidth"]) if part == UPDATE else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--march", default="native")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    found = measure(arguments.march)
    print(f"{found['set']}: {found['peak']:.0f} GFLOP/s of multiply_add, {found['bandwidth']:.0f} GB/s")
    print(f"{'':24}{'us':>7}{'share':>8}{'of limit':>10}")
    total = sum(found["parts"].values())
    for part, us in found["parts"].items():
        limit = share_of_limit(found, part)
        print(f"{part:24}{us:7.0f}{100 * us / total:7.0f}%" + ("" if limit is None else f"{100 * limit:9.0f}%"))
    print(f"{'a whole step':24}{found['whole']:7.0f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
