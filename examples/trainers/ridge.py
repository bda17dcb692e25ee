"""A numpy model that is fitted in one go, so there is nothing to save or restore.

Polynomial ridge regression on noisy samples of a sine.
"""

import numpy as np

FACTORS = {
    "degree": {"kind": "integer", "minimum": 1},
    "penalty": {"kind": "real", "minimum": 0.0, "log": True},
}
# 0.5 is the variance of the sine: the error of a constant.
METRICS = {"test_error": {"kind": "positive", "better": "lower", "chance": 0.5}}


def samples(generator, n, degree):
    """Powers of x up to the degree, shape (n, degree + 1), and noisy values of the sine, shape (n,)."""
    x = generator.uniform(-1, 1, n)
    return np.vander(x, degree + 1), np.sin(np.pi * x) + generator.normal(0, 0.1, n)


def train(cells, options, run):
    for cell in cells:
        generator = np.random.default_rng(cell.seed)
        x, y = samples(generator, options["samples"], cell.factors["degree"])
        weights = np.linalg.solve(x.T @ x + cell.factors["penalty"] * np.eye(x.shape[1]), x.T @ y)
        x, y = samples(generator, 1000, cell.factors["degree"])
        run.finish(cell, {"test_error": float(np.mean((x @ weights - y) ** 2))}, weights={"weights": weights})
