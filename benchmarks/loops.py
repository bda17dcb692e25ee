"""The loops that people train one Global Workspace with today, which Holdfast is compared with.

python -m benchmarks.loops --data DIR [--device cuda] [--seconds 5]      # the tight loop alone, as JSON

It says `ready` and waits for a line, so that several such processes are measured while all of them train.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from training.model.rows import TRUE_OUTPUTS
from training.model.settings import FEATURES
from training.shapes.dataset import Split, load

# The defaults of the built-in experiment, with a workspace of 16 units.
BATCH = 32
HIDDEN = 128
LAYERS = 4
DIM = 16
LEARNING_RATE = 1e-3
LARGEST_NORM = 1.0


def mlp(inputs: int, outputs: int) -> nn.Sequential:
    sizes = [inputs, *[HIDDEN] * (LAYERS + 1), outputs]
    layers = [[nn.Linear(a, b), nn.ReLU()] for a, b in itertools.pairwise(sizes)]
    return nn.Sequential(*[module for pair in layers for module in pair][:-1])


class Workspace(nn.Module):
    """The experiment's model in torch.nn, with its fusion loss."""

    def __init__(self) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict({domain: mlp(count, DIM) for domain, count in FEATURES.items()})
        self.decoders = nn.ModuleDict({domain: mlp(DIM, count) for domain, count in TRUE_OUTPUTS.items()})

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        state = torch.tanh(sum(0.5 * self.encoders[domain](inputs[domain]) for domain in FEATURES))
        return {domain: self.decoders[domain](state) for domain in FEATURES}

    def losses(self, inputs: dict[str, Tensor], attr: Tensor, v: Tensor, xor: Tensor) -> dict[str, Tensor]:
        decoded = self(inputs)
        count = FEATURES["attr"]
        base = nn.functional.mse_loss(decoded["attr"][:, :count], attr)
        synergy = nn.functional.cross_entropy(decoded["attr"][:, count:], xor)
        visual = nn.functional.mse_loss(decoded["v"], v)
        return {"base": base, "synergy": synergy, "v": visual, "total": 0.5 * (base + synergy + visual)}


class DictDataset(Dataset[dict[str, Any]]):
    """Samples as in the previous tool: dictionaries of inputs, targets and metadata.

    It kept samples once it had made them. Here all are made beforehand, so that its slower first epoch is not timed.
    """

    def __init__(self, split: Split) -> None:
        attr, v = torch.from_numpy(split.attr), torch.from_numpy(split.v)
        normalized = torch.from_numpy(split.xor).float().unsqueeze(1) / 7
        inputs = {"attr": attr, "v": v}
        targets = {"attr": torch.cat([attr, normalized], dim=1), "v": v}
        self._made = [
            {
                "inputs": {domain: rows[index] for domain, rows in inputs.items()},
                "targets": {domain: rows[index] for domain, rows in targets.items()},
                "metadata": {"idx": index, "split": "train"},
            }
            for index in range(len(split))
        ]

    def __len__(self) -> int:
        return len(self._made)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self._made[index]


def predecessor_loop(split: Split) -> Iterator[None]:
    """(a): DataLoader over dictionaries, autograd, Adam, about ten numbers read for the log. Yields once per step."""
    torch.manual_seed(0)
    model = Workspace()
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    log: dict[str, float] = {}
    loader = DataLoader(DictDataset(split), batch_size=BATCH, shuffle=True, drop_last=True)
    while True:
        for batch in loader:
            target = batch["targets"]["attr"]
            # The previous tool stored the class as a number in [0, 1] and recovered it at each step.
            xor = (target[:, -1] * 7).round().long().clamp(0, 7)
            losses = model.losses(batch["inputs"], target[:, :-1], batch["targets"]["v"], xor)
            log |= {f"{name}_loss": loss.item() for name, loss in losses.items()}
            log |= {f"scaled_{name}_loss": loss.item() for name, loss in losses.items()}
            log["weighted_fusion_loss"] = losses["total"].item()
            optimizer.zero_grad()
            losses["total"].backward()
            log["norm"] = torch.nn.utils.clip_grad_norm_(model.parameters(), LARGEST_NORM).item()
            optimizer.step()
            yield


def tight_loop(split: Split, device: str = "cpu") -> Iterator[None]:
    """(b): data in memory, autograd, fused Adam, no number read. Yields once per step."""
    torch.manual_seed(0)
    model = Workspace().to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, fused=True)
    attr, v = torch.from_numpy(split.attr).to(device), torch.from_numpy(split.v).to(device)
    xor = torch.from_numpy(split.xor).to(device)
    while True:
        for rows in torch.randperm(len(split), device=device).split(BATCH):
            inputs = {"attr": attr[rows], "v": v[rows]}
            loss = model.losses(inputs, inputs["attr"], inputs["v"], xor[rows])["total"]
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), LARGEST_NORM)
            optimizer.step()
            yield


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, default=5.0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # on a GPU the host only launches kernels, and others like this one run beside it
    loop = tight_loop(load(arguments.data).train, arguments.device)
    # CUDA compiles and allocates in its first steps.
    for _ in range(50):
        next(loop)
    wait = torch.cuda.synchronize if arguments.device == "cuda" else lambda: None
    wait()
    print("ready", flush=True)
    sys.stdin.readline()
    started, steps = time.perf_counter(), 0
    while not steps or time.perf_counter() - started < arguments.seconds:
        next(loop)
        steps += 1
    wait()
    print(json.dumps({"us": (time.perf_counter() - started) / steps * 1e6}))


if __name__ == "__main__":
    main()
