"""A trainer that gains from packs: it trains all cells of a task as one batch, with a leading axis for the cells.

Logistic regression by gradient descent. `holdfast run ... --pack 8` trains eight cells in one call. The numbers are the
same for any pack, because each cell's rows are computed separately (einsum without a blocked product).
"""

import numpy as np

from training.contract import Checkpoint

FACTORS = {"lr": {"kind": "real", "minimum": 0.0, "log": True}}
METRICS = {
    "loss": {"kind": "positive", "better": "lower", "chance": 0.6931},  # ln 2 nats: guessing between two labels
    "accuracy": {"kind": "bounded", "better": "higher", "chance": 0.5},
}
PACK_MODE = "fused"


def train(cells, options, run):
    epochs, features = options["epochs"], options["features"]
    x, y = map(np.stack, zip(*(task(cell.seed, features) for cell in cells), strict=True))  # (cells, rows[, features])
    # What a cell starts from depends on its seed and factors alone, never on its neighbours in the pack.
    lr = np.array([cell.factors["lr"] for cell in cells])
    done = np.zeros(len(cells), dtype=int)
    weights = np.zeros((len(cells), features))
    for i, cell in enumerate(cells):
        if saved := run.restore(cell):
            done[i], weights[i] = saved.step, saved.arrays["weights"]
    live = list(range(len(cells)))
    while live and not run.stop:
        # Cells that resumed behind the others catch up first, so that all train the same epoch together.
        now = [i for i in live if done[i] == done[live].min()]
        loss, accuracy = step(x[now], y[now], weights, lr, now)
        done[now] += 1
        for row, i in enumerate(now):
            scores = {"loss": loss[row], "accuracy": accuracy[row]}
            run.epoch(cells[i], int(done[i]), epochs, scores)
            if done[i] == epochs:
                run.finish(cells[i], scores, weights={"weights": weights[i]})
        live = [i for i in live if done[i] < epochs]
        if live and (run.checkpoint_due() or run.stop):
            rows = {cells[i]: Checkpoint(int(done[i]), {"weights": weights[i]}) for i in live}
            gone = run.save(rows)  # cells that a newer attempt has taken over
            live = [i for i in live if cells[i] not in gone]


def task(seed, features, rows=200):
    """A linearly separable problem with a tenth of the labels flipped."""
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(rows, features))
    y = (x @ generator.normal(size=features) > 0) ^ (generator.random(rows) < 0.1)
    return x, y.astype(float)


def step(x, y, weights, lr, now):
    """One gradient step for the cells `now`; their loss and accuracy before it, shape (cells,)."""
    guess = 1 / (1 + np.exp(-np.einsum("crf,cf->cr", x, weights[now])))
    loss = -np.mean(np.where(y == 1, np.log(guess), np.log(1 - guess)), axis=1)
    weights[now] -= lr[now, None] * np.einsum("cr,crf->cf", guess - y, x) / x.shape[1]
    return loss, np.mean((guess > 0.5) == y, axis=1)
