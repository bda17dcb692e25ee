"""Two classifiers on four data sets: a linear one (baseline), and one on random Fourier features (ours).

With the same seed, either method is trained on the same half of a data set and tested on the other: the luck of a
split is in both, and what is left when they are compared seed by seed is the method.
"""

import numpy as np

FACTORS = {"dataset": {"kind": "word"}, "method": {"kind": "word"}}
METRICS = {"accuracy": {"kind": "bounded", "better": "higher", "chance": 0.5, "label": "test accuracy"}}
SEEDED = "which half of a data set is trained on, and the random features of ours"
FEATURES, PENALTY = 60, 1.0


def train(cells, options, run):
    for cell in cells:
        if run.stop:
            return
        points, labels = data(cell.factors["dataset"], options["samples"])
        order = np.random.default_rng(cell.seed).permutation(len(points))
        seen, unseen = np.split(order, 2)
        features = described(points, cell.factors["method"], cell.seed)
        weights = ridge(features[seen], labels[seen])
        run.finish(cell, {"accuracy": float(np.mean(np.sign(features[unseen] @ weights) == labels[unseen]))})


def data(name, samples):
    """Points, shape (samples, 2), and labels -1 or 1: the same in every run."""
    rng = np.random.default_rng(0)
    labels = np.where(np.arange(samples) % 2 == 0, 1.0, -1.0)
    angle = rng.uniform(0, np.pi, samples)
    if name == "blobs":
        return rng.normal(0, 1, (samples, 2)) + labels[:, None], labels
    if name == "moons":
        x, y = np.cos(angle) * labels + 0.5 * (labels < 0), np.sin(angle) * labels - 0.25 * labels
        return np.stack([x, y], axis=1) + rng.normal(0, 0.25, (samples, 2)), labels
    if name == "rings":
        radius = np.where(labels > 0, 1.0, 2.0) + rng.normal(0, 0.3, samples)
        return radius[:, None] * np.stack([np.cos(2 * angle), np.sin(2 * angle)], axis=1), labels
    if name == "checkers":
        points = rng.uniform(-2, 2, (samples, 2))
        return points, np.sign(np.prod(points + rng.normal(0, 0.2, (samples, 2)), axis=1))
    raise ValueError(f"dataset is {name!r}; valid: blobs, moons, rings, checkers")


def described(points, method, seed):
    """Features of the points, shape (samples, features), with a constant one."""
    constant = np.ones((len(points), 1))
    if method == "baseline":
        return np.hstack([constant, points])
    rng = np.random.default_rng([seed, 1])
    waves = points @ rng.normal(0, 1, (2, FEATURES)) + rng.uniform(0, 2 * np.pi, FEATURES)
    return np.hstack([constant, np.cos(waves)])


def ridge(features, labels):
    return np.linalg.solve(features.T @ features + PENALTY * np.eye(features.shape[1]), features.T @ labels)
