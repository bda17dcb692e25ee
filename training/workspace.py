"""The built-in trainer: its factors, metrics and data files, and the training of a task's cells.

It trains packs of Global Workspaces on SimpleShapes with an XOR target. The literals are read without importing this
module: keep them literal. Torch is loaded inside `train`. FACTORS and METRICS are recorded in every sweep.json; figures
and report take labels and chance levels from there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from training.contract import Cell, FactorEntry, MetricEntry, Run

if TYPE_CHECKING:
    import torch

FACTORS: dict[str, FactorEntry] = {
    "dim": {
        "kind": "integer",
        "minimum": 1,
        "field": "workspace_dim",
        "label": "workspace dimension",
        "slug": "dimensions",
        "log": True,
        "overrides": "model.workspace_dim",
        "about": "width of the bottleneck through which all that is known of an image and its attributes has to pass",
    },
    "scale": {
        "kind": "real",
        "minimum": 0,
        "field": "synergy_scale",
        "label": "synergy loss scale",
        "slug": "synergy_scale",
        "log": True,
        "overrides": "synergy.loss_scale",
        "about": "weight of the synergy target in the training loss, relative to all else that is to be reconstructed",
    },
}

# chance is what a network reaches that ignores its inputs. 0.125: one of 8 classes. 0: R2 and information of a constant
# guess. 0.21 and 1/12: the variance of features 0..9 on average, and of a uniform number. 2.079...: ln 8.
METRICS: dict[str, MetricEntry] = {
    "predictability/synergy_acc": {
        "kind": "bounded",
        "better": "higher",
        "chance": 0.125,
        "label": "synergy accuracy",
        "about": "share of validation samples whose synergy class, one of 8, is decoded correctly; the class follows "
        "from the size in the image and a random number among the attributes together, and from neither alone",
    },
    "best_val_loss": {
        "kind": "positive",
        "better": "lower",
        "label": "best validation loss",
        "scaled_by": "scale",
        "about": "validation loss of the epoch at which it was lowest",
    },
    "predictability/synergy_norm_ce": {
        "kind": "bounded",
        "better": "higher",
        "chance": 0.0,
        "label": "synergy information, 1 - CE / ln 8, clipped to [0, 1]",
        "error": "cross entropy",
        "about": "share of the ln 8 nats of the synergy class that its decoded probabilities know",
    },
    "predictability/synergy_norm_ce_raw": {
        "kind": "real",
        "better": "higher",
        "chance": 0.0,
        "label": "synergy information, 1 - CE / ln 8",
        "error": "cross entropy",
        "about": "the same share, below 0 where the decoder is confidently wrong",
    },
    "predictability/unique_r2": {
        "kind": "real",
        "better": "higher",
        "chance": 0.0,
        "label": "unique features, R2",
        "error": "squared",
        "optional": True,
        "about": "1 - squared error / variance, averaged over the features in synergy.unique_indices",
    },
    "predictability/redundant_r2": {
        "kind": "real",
        "better": "higher",
        "chance": 0.0,
        "label": "redundant features, R2",
        "error": "squared",
        "optional": True,
        "about": "1 - squared error / variance, averaged over the features in synergy.redundant_indices",
    },
    "predictability/attr_unique_r2": {
        "kind": "real",
        "better": "higher",
        "chance": 0.0,
        "label": "unique features of the attributes, R2",
        "error": "squared",
        "optional": True,
        "about": "the same for the attributes (domain attr) alone",
    },
    "predictability/v_unique_r2": {
        "kind": "real",
        "better": "higher",
        "chance": 0.0,
        "label": "unique features of the image, R2",
        "error": "squared",
        "optional": True,
        "about": "the same for the latents of the image (domain v) alone",
    },
    "predictability/attr_redundant_r2": {
        "kind": "real",
        "better": "higher",
        "chance": 0.0,
        "label": "redundant features of the attributes, R2",
        "error": "squared",
        "optional": True,
        "about": "the same for the attributes (domain attr) alone",
    },
    "predictability/v_redundant_r2": {
        "kind": "real",
        "better": "higher",
        "chance": 0.0,
        "label": "redundant features of the image, R2",
        "error": "squared",
        "optional": True,
        "about": "the same for the latents of the image (domain v) alone",
    },
    "final_val_loss": {
        "kind": "positive",
        "better": "lower",
        "label": "final validation loss",
        "scaled_by": "scale",
        "about": "validation loss of the last epoch",
    },
    "train_loss": {
        "kind": "positive",
        "better": "lower",
        "label": "training loss",
        "scaled_by": "scale",
        "about": "mean over the batches of an epoch, each before its own step",
    },
    "val_loss": {
        "kind": "positive",
        "better": "lower",
        "label": "validation loss",
        "scaled_by": "scale",
        "about": "weighted errors of all that is decoded from the validation samples, the synergy class with the scale",
    },
    "fusion_attr_non_synergy_features_mse": {
        "kind": "positive",
        "better": "lower",
        "chance": 0.21,
        "label": "basic attributes, MSE",
        "error": "squared",
        "about": "mean squared error of class, position, rotation and colour, over 10 equally weighted columns; "
        "guessing their means gives 0.21, of which (rounded) 48 % are in the rotation, 32 % in the class, 12 % in the "
        "colour and 9 % in the position; the size is not among them",
    },
    "fusion_attr_synergy_source_feature_mse": {
        "kind": "positive",
        "better": "lower",
        "chance": 0.08333333333333333,
        "label": "random attribute, MSE",
        "error": "squared",
        "about": "mean squared error of the random number that makes the synergy class together with the size",
    },
    "fusion_attr_synergy_loss": {
        "kind": "positive",
        "better": "lower",
        "chance": 2.0794415416798357,
        "label": "synergy cross entropy (nats)",
        "error": "cross entropy",
        "about": "error of the decoded synergy class; guessing one of 8 classes gives ln 8 = 2.079",
    },
    "fusion_v_loss": {
        "kind": "positive",
        "better": "lower",
        "label": "image features, MSE",
        "error": "squared",
        "about": "mean squared error of the latents of the image, decoded from image and attributes together",
    },
}

# One call for all cells of a task: they train as one batch.
PACK_MODE = "fused"

# All that follows from a cell's seed (training/model/rows.py, training/loop/order.py).
SEEDED = "the initial weights and the order of the training samples"

# What training reads, as patterns inside data.dir: its content is part of a cell's identity. No test split is read.
DATA_FILES = [
    "train_labels.npy",
    "train_xor_targets.npy",
    "saved_latents/train/*.npy",
    "val_labels.npy",
    "val_xor_targets.npy",
    "saved_latents/val/*.npy",
]


def train(cells: Sequence[Cell], options: Mapping[str, Any], run: Run) -> None:
    """Train all cells of a pack (see training/contract.py).

    options: `kernel`, which step trains: native (compiled), torch, or auto, the default: native if it is available.
        `precision`, of the factors of its products: fp32, the default, or bf16, which only the compiled step has.
        Planning has checked them. Everything else is in the sections of the configuration.
    Raises SettingsError, DataError or DeviceError for what cannot be trained, UnfitNodeError for what cannot be trained
        on this machine, StateError for a checkpoint that does not fit.
    """
    from training.loop.device import prepare
    from training.loop.loop import Loop
    from training.loop.pack import Setup
    from training.model import transfer
    from training.model.settings import SettingsError, read_settings
    from training.model.tables import make_tables
    from training.shapes.dataset import load
    from training.steps.choice import compiled_step, working_triton

    settings = read_settings(run.config)
    device = prepare(run.device, run.threads)
    dataset = load(settings.directory, settings.image_dir)
    if len(dataset.train) < settings.batch_size:
        rows = len(dataset.train)
        raise SettingsError(
            f"data.batch_size is {settings.batch_size}, but the training split in {settings.directory} has {rows} rows."
        )
    tables = make_tables(dataset, standardize=settings.standardize_inputs, device=device)
    native, precision = compiled_step(options, device.type), options.get("precision", "fp32")
    triton = working_triton(options, settings, device)
    facts = _numerics(device, native.name if native else None, precision, triton)
    run.numerics(**facts)
    # On a GPU the width of a pack may change the last bits; on a CPU the tests show that it does not.
    fixed_width = transfer.queued(device)
    setup = Setup(settings, tables, device, native is not None, run.threads, fixed_width, precision, bool(triton))
    loop = Loop(cells, setup, run, list(METRICS))
    if loop.width:  # known once the cells are restored
        run.numerics(**facts, pack=loop.width)
    loop.train()


def _numerics(device: torch.device, native: str | None, precision: str, triton: str) -> dict[str, str | int]:
    """What bit-identity depends on. The number of threads is not part of it: tests show that it changes no bit."""
    import numpy
    import torch

    from training.steps.torch_step import NAME

    cuda = device.type == "cuda"
    return {
        "device": device.type,
        "hardware": torch.cuda.get_device_name(device) if cuda else torch.backends.cpu.get_cpu_capability(),
        "dtype": "float32" if precision == "fp32" else f"float32, products of {precision}",
        "kernel": native or (f"{NAME}, triton {triton}" if triton else NAME),
        "torch": str(torch.__version__),
        "numpy": numpy.__version__,
    }
