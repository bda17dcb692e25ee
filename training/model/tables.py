"""A data set as two tables on the training device, laid out so that one look-up per step serves a whole pack."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.model.network import Rescaling
from training.model.rows import INPUTS, OUTPUTS
from training.model.settings import FEATURES
from training.shapes.dataset import Dataset, Split
from training.shapes.distribution import BINS, Floats

# Columns of attr's outputs and targets that belong to the synergy classes.
LOGITS = slice(FEATURES["attr"], FEATURES["attr"] + BINS)


@dataclass(frozen=True)
class SplitTable:
    """One split. Row r of attr is at r, row r of v at rows + r.

    inputs: (2 * rows, INPUTS), padded with zeros. targets: (2 * rows, OUTPUTS): base features, then in the rows of
    attr the one-hot synergy class (columns LOGITS), so that one subtraction gives all residuals.
    classes: (rows,). variances: (2, OUTPUTS), of the base features over the split, float64.
    """

    rows: int
    inputs: Tensor
    targets: Tensor
    classes: Tensor
    variances: NDArray[np.float64]


@dataclass(frozen=True)
class Tables:
    """Both splits, and how a decoded base feature becomes an encoder's input again."""

    train: SplitTable
    val: SplitTable
    rescaling: Rescaling

    def tensors(self) -> list[Tensor]:
        splits = [tensor for split in (self.train, self.val) for tensor in (split.inputs, split.targets, split.classes)]
        return [*splits, self.rescaling.factor, self.rescaling.offset]


def make_tables(
    dataset: Dataset, *, standardize: bool, device: torch.device, dtype: torch.dtype = torch.float32
) -> Tables:
    """Tables of both splits. standardize: inputs to mean 0 and deviation 1 over the training split (not targets)."""
    # From the training split alone: the validation split must not take part in choosing them.
    scales = [_scale(features, standardize) for features in (dataset.train.attr, dataset.train.v)]
    return Tables(
        train=_table(dataset.train, scales, device, dtype),
        val=_table(dataset.val, scales, device, dtype),
        rescaling=_rescaling(scales, device, dtype),
    )


def _rescaling(
    scales: list[tuple[NDArray[np.float64], NDArray[np.float64]]], device: torch.device, dtype: torch.dtype
) -> Rescaling:
    factor, offset = np.zeros((2, 1, INPUTS)), np.zeros((2, 1, INPUTS))
    for domain, (mean, deviation) in enumerate(scales):
        factor[domain, 0, : len(mean)] = 1.0 / deviation
        offset[domain, 0, : len(mean)] = -mean / deviation
    return Rescaling(torch.from_numpy(factor).to(device, dtype), torch.from_numpy(offset).to(device, dtype))


def _scale(features: Floats, standardize: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and deviation to standardize with, shape (features,) each; a constant feature keeps deviation 1."""
    if not standardize:
        return np.zeros(features.shape[1]), np.ones(features.shape[1])
    deviation = features.std(axis=0, dtype=np.float64)
    return features.mean(axis=0, dtype=np.float64), np.where(deviation > 0, deviation, 1.0)


def _table(
    split: Split,
    scales: list[tuple[NDArray[np.float64], NDArray[np.float64]]],
    device: torch.device,
    dtype: torch.dtype,
) -> SplitTable:
    rows = len(split)
    # The rows of both domains in one table: one index_select reads the batches of all cells and both domains.
    plain = np.float64 if dtype is torch.float64 else np.float32
    inputs = np.zeros((2, rows, INPUTS), dtype=plain)
    targets = np.zeros((2, rows, OUTPUTS), dtype=plain)
    for domain, features in enumerate((split.attr, split.v)):
        mean, deviation = scales[domain]
        inputs[domain, :, : features.shape[1]] = (features - mean) / deviation
        targets[domain, :, : features.shape[1]] = features
    targets[0, np.arange(rows), LOGITS.start + split.xor] = 1.0
    return SplitTable(
        rows=rows,
        inputs=torch.from_numpy(inputs).view(-1, INPUTS).to(device, dtype),
        targets=torch.from_numpy(targets).view(-1, OUTPUTS).to(device, dtype),
        classes=torch.from_numpy(split.xor).to(device),
        # numpy's, in float64 and on the CPU: the same R2 on every device.
        variances=targets.var(axis=1, dtype=np.float64),
    )
