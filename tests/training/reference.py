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

    def forward(self, attr: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        weights = self.fusion_weights
        fused = torch.tanh(weights["attr"] * self.encoder_attr(attr) + weights["v"] * self.encoder_v(v))
        return self.decoder_attr(fused), self.decoder_v(fused)

    def loss(self, attr: Tensor, v: Tensor, xor: Tensor) -> Tensor:
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
