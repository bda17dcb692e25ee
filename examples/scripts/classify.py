"""A PyTorch script with argparse, as people write them: it knows nothing of Holdfast."""

import argparse
import csv
import json
from pathlib import Path

import torch
from torch import nn


def data(seed: int, n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Points in the plane; those inside a ring are of class 1."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(n, 2, generator=generator) * 4 - 2
    return points, ((points.norm(dim=1) > 0.7) & (points.norm(dim=1) < 1.5)).long()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    model = nn.Sequential(nn.Linear(2, args.width), nn.ReLU(), nn.Linear(args.width, 2))
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)
    train_x, train_y = data(args.seed, 2048)
    test_x, test_y = data(10**6, 2048)

    first, metrics = 0, {}
    checkpoint = args.out / "checkpoint.pt"
    if checkpoint.exists():
        saved = torch.load(checkpoint)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        torch.set_rng_state(saved["rng"])
        first, metrics = saved["epoch"] + 1, saved["metrics"]

    log = args.out / "log.csv"
    new = not log.exists()
    with log.open("a", newline="") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(["epoch", "train_loss", "test_acc"])
        for epoch in range(first, args.epochs):
            for batch in torch.randperm(len(train_x)).split(64):
                loss = nn.functional.cross_entropy(model(train_x[batch]), train_y[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            accuracy = (model(test_x).argmax(dim=1) == test_y).float().mean().item()
            metrics = {"test_acc": accuracy, "train_loss": loss.item()}
            writer.writerow([epoch, loss.item(), accuracy])
            file.flush()
            state = {
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "epoch": epoch,
                "metrics": metrics,
            }
            torch.save({**state, "rng": torch.get_rng_state()}, checkpoint)
    (args.out / "metrics.json").write_text(json.dumps(metrics))


if __name__ == "__main__":
    main()
