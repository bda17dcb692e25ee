"""A trainer that takes 25 MB for each unit of width; what is more than its task has waits until Slurm kills it."""

import os
import time

FACTORS = {"width": {"kind": "integer", "minimum": 1}}
METRICS = {"error": {"kind": "positive", "better": "lower"}}
_MB, _PYTHON_MB = 25, 20


def train(cells, options, run):
    for cell in cells:
        width = cell.factors["width"]
        if width == options.get("wrong"):
            raise ValueError("no such width")
        taken = [bytearray(_MB * 10**6) for _ in range(width)]
        # Slurm looks once a second at best, and at its leisure where cores are busy. A pilot gives up after minutes.
        if _MB * width + _PYTHON_MB > float(os.environ.get("SLURM_MEM_PER_NODE", "inf")):
            time.sleep(600)
        time.sleep(options.get("seconds", 0.0))
        run.epoch(cell, 1, 1, {"error": 1.0})
        run.finish(cell, {"error": 1.0 / len(taken)})
