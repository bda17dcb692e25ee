"""A trainer that is not deterministic: its outcome tells who trained it. CHAOS_HOLD as of the tiny one."""

import os
import time

import tiny

from training.contract import Checkpoint

FACTORS = {"width": {"kind": "integer", "minimum": 1}}
METRICS = {"error": {"kind": "positive", "better": "lower"}}


def train(cells, options, run):
    for cell in cells:
        saved = run.restore(cell)
        step = saved.step if saved else 0
        while step < options["steps"] and not run.stop:
            step += 1
            tiny.hold(step, run)
            time.sleep(options.get("seconds", 0.0))
            if step % 5 == 0 and options.get("save"):
                run.save({cell: Checkpoint(step)})
        if not run.stop:
            run.finish(cell, {"error": float(os.getpid())})
