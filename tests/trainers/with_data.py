"""A trainer of one step that has data: what it gives is its cell's seed."""

FACTORS = {"width": {"kind": "integer", "minimum": 1}}
METRICS = {"size": {"kind": "real", "better": "higher"}}
DATA_FILES = ["*.txt"]


def train(cells, options, run):
    for cell in cells:
        run.restore(cell)
        run.finish(cell, {"size": float(cell.seed)})
