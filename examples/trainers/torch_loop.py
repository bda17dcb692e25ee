"""A plain PyTorch loop. With the five numbered lines, it can be preempted at any epoch and still ends bit-identical.

The two functions below the loop work for any model and optimizer that keep their state in `state_dict`.
"""

import io

import numpy as np
import torch
from torch import nn

from training.contract import Checkpoint

FACTORS = {"width": {"kind": "integer", "minimum": 1}}
METRICS = {"loss": {"kind": "positive", "better": "lower"}}


def train(cells, options, run):
    torch.set_num_threads(run.threads)
    for cell in cells:
        torch.manual_seed(cell.seed)
        model = nn.Sequential(nn.Linear(2, cell.factors["width"]), nn.Tanh(), nn.Linear(cell.factors["width"], 1))
        optimizer = torch.optim.Adam(model.parameters(), lr=options["lr"])
        epoch, loss = 0, torch.tensor(0.0)
        if saved := run.restore(cell):  # 1
            epoch, loss = put_back(saved, model, optimizer)  # 2
        while epoch < options["epochs"] and not run.stop:  # 3
            for _ in range(options["steps"]):
                x = torch.rand(32, 2) * 2 - 1
                loss = nn.functional.mse_loss(model(x), x[:, :1] * x[:, 1:])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            epoch += 1
            run.epoch(cell, epoch, options["epochs"], {"loss": loss.item()})
            if run.checkpoint_due() or run.stop:  # 4
                run.save({cell: taken(epoch, loss, model, optimizer)})  # 5
        if epoch == options["epochs"]:
            weights = {name: value.numpy() for name, value in model.state_dict().items()}
            run.finish(cell, {"loss": loss.item()}, weights=weights)


def taken(epoch, loss, model, optimizer):
    """Everything the next step depends on, including the random generator, as the bytes of torch.save."""
    buffer = io.BytesIO()
    torch.save([epoch, loss.detach(), model.state_dict(), optimizer.state_dict(), torch.get_rng_state()], buffer)
    return Checkpoint(epoch, {"state": np.frombuffer(buffer.getvalue(), dtype=np.uint8)})


def put_back(saved, model, optimizer):
    """The reverse of `taken`; returns epoch and loss."""
    epoch, loss, weights, moments, generator = torch.load(io.BytesIO(saved.arrays["state"].tobytes()))
    model.load_state_dict(weights)
    optimizer.load_state_dict(moments)
    torch.set_rng_state(generator)
    return epoch, loss
