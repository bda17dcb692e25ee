"""Where a step of the compiled kernel spends its time: python -m benchmarks.parts [--march x86-64-v3] [--json FILE].

Prints the smallest time of each part, its share of a step, and how close it comes to what limits it: for products the
speed of multiply_add alone, for the update the bandwidth of a plain pass over the same memory, which it may exceed
because part of that has been fetched beforehand.
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


def limit(found: dict[str, Any], part: str) -> str:
    """How close a part comes to what limits it; empty where nothing simple does."""
    us = found["parts"][part]
    if part in MFLOP:
        return f"{100e3 * MFLOP[part] / us / found['peak']:.0f} % of multiply_add"
    return f"{28e-3 * found['parameters'] / us:.0f} GB/s" if part == UPDATE else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--march", default="native")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    found = measure(arguments.march)
    print(f"{found['set']}: {found['peak']:.0f} GFLOP/s of multiply_add, {found['bandwidth']:.0f} GB/s in a plain pass")
    print(f"{'':24}{'us':>7}{'share':>8}")
    total = sum(found["parts"].values())
    for part, us in found["parts"].items():
        print(f"{part:24}{us:7.0f}{100 * us / total:7.0f}%  {limit(found, part)}".rstrip())
    print(f"{'a whole step':24}{found['whole']:7.0f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
