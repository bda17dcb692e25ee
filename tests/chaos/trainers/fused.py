"""The same trainer for whole packs."""

import tiny

FACTORS = {"width": {"kind": "integer", "minimum": 1}}
METRICS = {"error": {"kind": "positive", "better": "lower"}, "level": {"kind": "real", "better": "higher"}}
PACK_MODE = "fused"


def train(cells, options, run):
    tiny.train(cells, options, run)
