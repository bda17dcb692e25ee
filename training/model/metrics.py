"""The metrics of an epoch: the validation split through the trained routes, cell by cell, with sums in float64.

A new metric is also declared in METRICS of training/workspace.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.model.losses import loss_value
from training.model.network import Network, Rescaling
from training.model.routes import FUSED, evaluation_routes
from training.model.rows import Architecture
from training.model.settings import DOMAINS, FEATURES, Settings
from training.model.tables import LOGITS, SplitTable
from training.model.transfer import reduced_together
from training.shapes.distribution import BINS, RANDOM_FEATURE

# Fixed, so that every product has one shape, and with it one order of summation, whatever the size of the split.
EVALUATION_BATCH: Final = 256


@dataclass(frozen=True)
class Errors:
    """One cell's means over the validation split. squares: (slots, 2, OUTPUTS) squared errors, slots as in
    evaluation_routes. cross_entropy: nats. accuracy: fraction of samples whose synergy class is the largest logit."""

    squares: NDArray[np.float64]
    cross_entropy: float
    accuracy: float


def evaluate(
    settings: Settings, architecture: Architecture, parameters: Tensor, table: SplitTable, rescaling: Rescaling
) -> list[Errors]:
    """Errors of each cell of a pack; parameters: (P, 2, half)."""
    routes = evaluation_routes(settings)
    network = Network(architecture, parameters, None, EVALUATION_BATCH, settings.fusion_weights, routes, rescaling)
    groups = [(cells, _Sums()) for cells in reduced_together(parameters)]
    for start in range(0, table.rows, EVALUATION_BATCH):
        # The last batch is filled up with the last row, which is then left out of the sums.
        rows = torch.arange(start, start + EVALUATION_BATCH, device=table.inputs.device).clamp_(max=table.rows - 1)
        pairs = torch.stack([rows, rows + table.rows])
        inputs = table.inputs[pairs].repeat(len(parameters), 1, 1)
        direct, cycle = network.forward(inputs)
        outputs = direct if cycle is None else torch.cat([direct, cycle], dim=2)
        count = min(EVALUATION_BATCH, table.rows - start)
        targets, classes = table.targets[pairs[:, :count]], table.classes[rows[:count]]
        for cells, sums in groups:
            sums.add(outputs[cells, :, :, :count], targets, classes)
    return [errors for _, sums in groups for errors in sums.means(table.rows)]


class _Sums:
    """Running sums of G cells. They stay on the device until the end: reading a number makes the host wait."""

    def __init__(self) -> None:
        self._squares: list[Tensor] = []
        self._entropies: list[Tensor] = []
        self._hits: list[Tensor] = []

    def add(self, outputs: Tensor, targets: Tensor, classes: Tensor) -> None:
        """outputs: (G, 2, slots, n, OUTPUTS), the fused slot first. targets: (2, n, OUTPUTS). classes: (n,)."""
        logits = outputs[:, 0, 0, :, LOGITS].double()
        self._squares.append((outputs.double() - targets.unsqueeze(1)).square().sum(dim=3).transpose(1, 2))
        self._entropies.append(_entropies(logits, classes))
        self._hits.append((logits.argmax(dim=2) == classes).sum(dim=1))

    def means(self, rows: int) -> list[Errors]:
        squares = torch.stack(self._squares).sum(dim=0).div(rows)
        entropies, hits = (torch.stack(parts).sum(dim=0) for parts in (self._entropies, self._hits))
        # In one table, so that the host waits once.
        table = torch.cat([squares.flatten(1), torch.stack([entropies, hits.double()], dim=1)], dim=1).cpu().numpy()
        shape = squares.shape[1:]
        return [Errors(row[:-2].reshape(shape), float(row[-2]) / rows, float(row[-1]) / rows) for row in table]


def _entropies(logits: Tensor, classes: Tensor) -> Tensor:
    """Each cell's sum of cross entropies; logits: (G, n, 8), classes: (n,)."""
    if len(logits) == 1:  # torch's own, which adds up in another order: what CPUs have computed all along
        return torch.nn.functional.cross_entropy(logits[0], classes, reduction="sum").unsqueeze(0)
    chosen = classes.view(1, -1, 1).expand(len(logits), -1, 1)
    return torch.log_softmax(logits, dim=2).gather(2, chosen).flatten(1).sum(dim=1).neg()


def epoch_metrics(settings: Settings, scale: float, errors: Errors, variances: NDArray[np.float64]) -> dict[str, float]:
    """The metrics of one cell after an epoch, by their public names.

    variances: (2, OUTPUTS), of the base targets over the validation split. Without configured indices the R2
    metrics are absent: 0 would be a claim.
    """
    routes = evaluation_routes(settings)
    fused = errors.squares[routes.slots.index(FUSED)]
    attr, v = fused
    # The share of the 8 classes' ln 8 nats that the logits know; negative where they are confidently wrong.
    information = 1.0 - errors.cross_entropy / math.log(BINS)
    return {
        "val_loss": loss_value(routes, settings.source_weight, scale, errors.squares, errors.cross_entropy),
        "predictability/synergy_acc": errors.accuracy,
        # Clipping would make a plausible 0 of an infinite cross entropy.
        "predictability/synergy_norm_ce": min(max(information, 0.0), 1.0) if math.isfinite(information) else math.nan,
        "predictability/synergy_norm_ce_raw": information,
        "fusion_attr_non_synergy_features_mse": float(attr[:RANDOM_FEATURE].mean()),
        "fusion_attr_synergy_source_feature_mse": float(attr[RANDOM_FEATURE]),
        "fusion_attr_synergy_loss": errors.cross_entropy,
        "fusion_v_loss": float(v[: FEATURES["v"]].mean()),
        **_r2_metrics("unique_r2", settings.unique, fused, variances),
        **_r2_metrics("redundant_r2", settings.redundant, fused, variances),
    }


def _r2_metrics(
    name: str,
    indices: Mapping[str, Sequence[int]],
    squares: NDArray[np.float64],
    variances: NDArray[np.float64],
) -> dict[str, float]:
    """Mean R2 = 1 - MSE / variance over the chosen features, of each domain and of all together.

    A feature that is constant over the split has no R2: NaN, which is reported as missing.
    """
    found: dict[str, list[float]] = {}
    for domain, chosen in indices.items():
        row = DOMAINS.index(domain)
        found[domain] = [
            1.0 - squares[row, i] / variances[row, i] if variances[row, i] > 0 else math.nan for i in chosen
        ]
    if not found:
        return {}
    everything = [value for values in found.values() for value in values]
    by_domain = {f"predictability/{domain}_{name}": float(np.mean(values)) for domain, values in found.items()}
    return {f"predictability/{name}": float(np.mean(everything)), **by_domain}
