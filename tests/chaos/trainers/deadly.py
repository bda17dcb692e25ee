"""A trainer that kills its own process, as the kernel does when memory runs out.

options: `widths` that kill before anything is saved; `together`: more cells than this at once kill.
"""

import os
import signal

import tiny

FACTORS = {"width": {"kind": "integer", "minimum": 1}}
METRICS = {"error": {"kind": "positive", "better": "lower"}, "level": {"kind": "real", "better": "higher"}}
PACK_MODE = "fused"


def train(cells, options, run):
    if any(cell.factors["width"] in options.get("widths", ()) for cell in cells) or len(cells) > options["together"]:
        os.kill(os.getpid(), signal.SIGKILL)
    tiny.train(cells, options, run)
