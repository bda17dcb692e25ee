"""A numpy model that is fitted in one go, so there is nothing to save or restore.

Polynomial ridge regression on noisy samples of a sine.
"""

import numpy as np

FACTORS = {
    "degree": {"kind": "integer", "minimum": 1},
    "penalty": {"kind": "real", "minimum": 0.0, "log": True},
}
METRICS = {"test_error": {"kind": "positive", "better": "lower", "chance": 0.5}}


def samples(generator, n, degree):
    x = generator.uniform(-1, 1, n)
    return np.vander(x, degree + 1), np.sin(np.pi * x) + generator.normal(0, 0.1, n)


def train(cells, options, run):
    for cell in cells:
        generator = np.random.default_rng(cell.seed)
        x, y = samples(generator, options["samples"], cell.factors["degree"])
        weights = np.linalg.solve(x.T @ x + cell.factors["penalty"] * np.eye(x.shape[1]), x.T @ y)
        x, y = samples(generator, 1000, cell.factors["degree"])
        run.finish(cell, {"test_error": float(np.mean((x @ weights - y) ** 2))}, weights={"weights": weights})
