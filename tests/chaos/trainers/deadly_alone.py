"""The deadly trainer, cell by cell."""

import deadly

FACTORS = {"width": {"kind": "integer", "minimum": 1}}
METRICS = {"error": {"kind": "positive", "better": "lower"}, "level": {"kind": "real", "better": "higher"}}


def train(cells, options, run):
    deadly.train(cells, options, run)
