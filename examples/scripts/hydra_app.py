"""A Hydra application, as people write them: it knows nothing of Holdfast."""

import json
from pathlib import Path

import hydra
import numpy as np
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig


@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(config: DictConfig) -> None:
    generator = np.random.default_rng(config.seed)
    x = generator.normal(size=(config.data.n, 20))
    y = x[:, 0] - 2 * x[:, 1] + generator.normal(size=config.data.n)
    weights, history = np.zeros(20), []
    for epoch in range(config.epochs):
        gradient = x.T @ (x @ weights - y) / len(y) + config.optimizer.decay * weights
        weights -= config.optimizer.lr * gradient
        history.append({"epoch": epoch + 1, "train": {"mse": float(np.mean((x @ weights - y) ** 2))}})
    held_out = generator.normal(size=(1000, 20))
    error = np.mean((held_out @ weights - held_out[:, 0] + 2 * held_out[:, 1]) ** 2)
    out = Path(HydraConfig.get().runtime.output_dir)
    (out / "history.json").write_text(json.dumps(history))
    (out / "results.json").write_text(json.dumps({"test": {"mse": float(error)}}))


if __name__ == "__main__":
    main()
