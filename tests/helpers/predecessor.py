"""A configuration file as the predecessor wrote it."""

from __future__ import annotations

from typing import Any

# Every key of the predecessor's files, as its template has them.
PREDECESSOR: dict[str, Any] = {
    "data": {"dir": "DATA", "image_dir": "images", "batch_size": 64, "num_workers": 4},
    "model": {
        "domains": [
            {"domain_type": "v_latents", "checkpoint_path": "checkpoints/domain_v.ckpt", "name": "v"},
            {"domain_type": "attr", "checkpoint_path": "checkpoints/domain_attr.ckpt", "name": "attr"},
        ],
        "workspace_dim": 12,
        "hidden_dim": 128,
        "decoder_hidden_dim": 128,
        "n_layers": 4,
        "fusion_weights": {"v": 0.5, "attr": 0.5},
    },
    "synergy": {
        "domains": ["attr", "v"],
        "feature_indices": {"attr": ["xor_target_normalized"]},
        "loss_scale": 1.0,
        "unique_indices": {"attr": [0, 1, 2, 10], "v": [12]},
        "redundant_indices": {"attr": [3, 4], "v": [0, 1]},
    },
    "training": {
        "epochs": 50,
        "optimizer": {"type": "Adam", "lr": 0.001, "weight_decay": 0},
        "grad_clip": 1.0,
        "reset_model_per_experiment": True,
        "loss_configs": [
            {"name": "fusion_only", "weights": {"fusion": 1.0, "demi_cycle": 0.0, "cycle": 0.0, "translation": 0.0}},
            {"name": "long", "weights": {"fusion": 1, "cycle": 1}, "epochs": 80},
        ],
    },
    "experiment": {
        "name": "fusion_only",
        "output_dir": "results",
        "wandb_project": "synergy",
        "wandb_entity": "lab",
        "log_to_wandb": True,
    },
}
