"""A Lightning script, as people write them: it knows nothing of Holdfast."""

import argparse
import json
from pathlib import Path

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Regression(lightning.LightningModule):
    def __init__(self, width: int, seed: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(1, width), nn.Tanh(), nn.Linear(width, 1))
        self.seed = seed
        self.measured = {}

    def train_dataloader(self):
        # Made anew for each epoch: its order follows from the seed and the epoch, also after a resume.
        order = torch.Generator().manual_seed(10_000 * self.seed + self.current_epoch)
        return DataLoader(data(self.seed, 256), 32, shuffle=True, generator=order)

    def training_step(self, batch, _):
        loss = nn.functional.mse_loss(self.net(batch[0]), batch[1])
        self.log("train_loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch, _):
        self.log("val_loss", nn.functional.mse_loss(self.net(batch[0]), batch[1]))

    # Metrics stay with the checkpoint: a run that is resumed after its last epoch has nothing left to measure.
    def on_train_epoch_end(self):
        self.measured = {name: value.item() for name, value in self.trainer.callback_metrics.items()}

    def on_save_checkpoint(self, checkpoint):
        checkpoint["measured"] = self.measured

    def on_load_checkpoint(self, checkpoint):
        self.measured = checkpoint["measured"]

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.01)


def data(seed: int, n: int) -> TensorDataset:
    x = torch.rand(n, 1, generator=torch.Generator().manual_seed(seed)) * 6 - 3
    return TensorDataset(x, torch.sin(x))


parser = argparse.ArgumentParser()
parser.add_argument("--width", type=int, default=16)
parser.add_argument("--epochs", type=int, default=6)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--out", type=Path, default=Path("runs"))
parser.add_argument("--ckpt_path")
args = parser.parse_args()

lightning.seed_everything(args.seed)
trainer = lightning.Trainer(
    max_epochs=args.epochs,
    accelerator="cpu",
    logger=CSVLogger(args.out, name="", version="log"),
    callbacks=[ModelCheckpoint(dirpath=args.out, save_last=True, save_top_k=0, save_on_train_epoch_end=True)],
    default_root_dir=args.out,
    reload_dataloaders_every_n_epochs=1,
    enable_progress_bar=False,
    enable_model_summary=False,
    log_every_n_steps=1,
)
model = Regression(args.width, args.seed)
trainer.fit(model, val_dataloaders=DataLoader(data(10**6, 256), 256), ckpt_path=args.ckpt_path)
(args.out / "metrics.json").write_text(json.dumps(model.measured))
