"""The Global Workspace as one would write it with torch.nn, for one cell; only tests use it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from training.data import Split


def mlp(inputs: int, hidden: int, outputs: int, n_layers: int) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Linear(inputs, hidden), nn.ReLU()]
    for _ in range(n_layers):
        layers += [nn.Linear(hidden, hidden), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(hidden, outputs))


class ReferenceWorkspace(nn.Module):
    def __init__(self, dim: int, config: dict[str, Any], scale: float) -> None:
        super().__init__()
        model = config["model"]
        hidden, decoder_hidden, n_layers = model["hidden_dim"], model["decoder_hidden_dim"], model["n_layers"]
        self.encoder_attr = mlp(11, hidden, dim, n_layers)
        self.encoder_v = mlp(13, hidden, dim, n_layers)
        self.decoder_attr = mlp(dim, decoder_hidden, 19, n_layers)
        self.decoder_v = mlp(dim, decoder_hidden, 13, n_layers)
        self.scale = scale
        self.source_weight = config["training"].get("source_feature_weight", 1.0)
        self.fusion_weights = model.get("fusion_weights", {"attr": 0.5, "v": 0.5})

        self.weights = {"fusion": 0.0, "demi_cycle": 0.0, "cycle": 0.0, "translation": 0.0}
        self.weights |= config["experiment"]["weights"]
        self.scales = {"attr": (torch.zeros(11), torch.ones(11)), "v": (torch.zeros(13), torch.ones(13))}

    def standardize_by(self, attr: Tensor, v: Tensor) -> None:
        """Inputs to mean 0 and deviation 1 over these rows; targets stay as they are."""
        self.scales = {name: (rows.mean(0), rows.std(0, correction=0)) for name, rows in (("attr", attr), ("v", v))}

    def encode(self, domain: str, features: Tensor) -> Tensor:
        mean, deviation = self.scales[domain]
        encoder = self.encoder_attr if domain == "attr" else self.encoder_v
        return encoder((features - mean.to(features)) / deviation.to(features))

    def decode(self, domain: str, state: Tensor) -> Tensor:
        """Base features only."""
        return self.decoder_attr(state)[:, :11] if domain == "attr" else self.decoder_v(state)

    def forward(self, attr: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        weights = self.fusion_weights
        fused = torch.tanh(weights["attr"] * self.encode("attr", attr) + weights["v"] * self.encode("v", v))
        return self.decoder_attr(fused), self.decoder_v(fused)

    def loss(self, attr: Tensor, v: Tensor, xor: Tensor) -> Tensor:
        total = self.weights["fusion"] * self.fusion_loss(attr, v, xor)
        data = {"attr": attr, "v": v}
        for domain, other in (("attr", "v"), ("v", "attr")):
            own_state = torch.tanh(self.encode(domain, data[domain]))
            translated = self.decode(other, own_state)
            returned = self.decode(domain, torch.tanh(self.encode(other, translated)))
            mse = nn.functional.mse_loss
            total = total + 0.5 * (
                self.weights["demi_cycle"] * mse(self.decode(domain, own_state), data[domain])
                + self.weights["translation"] * mse(translated, data[other])
                + self.weights["cycle"] * mse(returned, data[domain])
            )
        return total

    def fusion_loss(self, attr: Tensor, v: Tensor, xor: Tensor) -> Tensor:
        out_attr, out_v = self(attr, v)
        attr_weights = torch.ones(11, dtype=attr.dtype)
        attr_weights[10] = self.source_weight
        v_weights = torch.ones(13, dtype=attr.dtype)
        v_weights[12] = self.source_weight
        mse_attr = ((out_attr[:, :11] - attr) ** 2 * attr_weights).mean()
        mse_v = ((out_v - v) ** 2 * v_weights).mean()
        entropy = nn.functional.cross_entropy(out_attr[:, 11:], xor)
        return 0.5 * (mse_attr + self.scale * entropy + mse_v)


def batch_of(split: Split, rows: Any, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    return (
        torch.from_numpy(split.attr[rows]).to(dtype),
        torch.from_numpy(split.v[rows]).to(dtype),
        torch.from_numpy(split.xor[rows]),
    )
