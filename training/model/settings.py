"""The sections of the configuration that the built-in trainer reads, as one typed value. No torch here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from training.shapes.distribution import ATTR_FEATURES, V_FEATURES

# The order of both halves of a row, and of the tables.
DOMAINS: Final = ("attr", "v")
FEATURES: Final = {"attr": ATTR_FEATURES, "v": V_FEATURES}
LOSSES: Final = ("fusion", "demi_cycle", "cycle", "translation")
# The compiled step keeps its layers in arrays of fixed size: MAX_LAYERS in steps/kernel_layers.h, less the first and
# the last layer.
MOST_LAYERS: Final = 62
# Of a domain that model.fusion_weights leaves out. The schema does not fill it in: it keeps the section as written.
UNNAMED_FUSION_WEIGHT: Final = 0.5


class SettingsError(ValueError):
    """An option that the built-in trainer cannot honour. The message names key, value and fix."""


@dataclass(frozen=True)
class Settings:
    """What the cells of a sweep have in common. Factors of a cell (dim, scale) override workspace_dim and loss_scale.

    image_dir: where the previous tool kept latents, if not in the directory itself.
    fusion_weights: one per domain, in the order of DOMAINS.
    weights: of the four losses, in the order of LOSSES.
    unique, redundant: per domain, the base features whose R2 is reported.
    grad_clip: largest gradient norm of a cell over all its parameters; 0 for no clipping.
    source_weight: weight of the squared error of the target's two sources (random attribute, size) in the fusion
        loss, where every other feature has 1.
    """

    directory: Path
    image_dir: Path | None
    batch_size: int
    workspace_dim: int
    hidden_dim: int
    decoder_hidden_dim: int
    n_layers: int
    fusion_weights: tuple[float, float]
    loss_scale: float
    weights: tuple[float, float, float, float]
    unique: Mapping[str, tuple[int, ...]]
    redundant: Mapping[str, tuple[int, ...]]
    epochs: int
    lr: float
    weight_decay: float
    grad_clip: float
    standardize_inputs: bool
    source_weight: float


def read_settings(config: Mapping[str, Any]) -> Settings:
    """Settings from the sections data, model, synergy, training and experiment, as planning wrote them: each is whole,
    with the defaults of the version that planned it, and of sound types and ranges (hpc/config/schema/).

    Raises SettingsError for what the schema allows and this trainer does not implement.
    """
    data, model, training = config["data"], config["model"], config["training"]
    if (optimizer := training["optimizer"]["type"]) != "Adam":
        raise SettingsError(f"training.optimizer.type is {optimizer!r}; the built-in trainer supports only Adam.")
    synergy, weights = config["synergy"], config["experiment"]["weights"]
    fusion, demi_cycle, cycle, translation = (float(weights[name]) for name in LOSSES)
    return Settings(
        directory=Path(data["dir"]),
        image_dir=Path(data["image_dir"]) if data["image_dir"] else None,
        batch_size=int(data["batch_size"]),
        workspace_dim=int(model["workspace_dim"]),
        hidden_dim=int(model["hidden_dim"]),
        decoder_hidden_dim=int(model["decoder_hidden_dim"]),
        n_layers=_layers(int(model["n_layers"])),
        fusion_weights=_fusion_weights(model["fusion_weights"]),
        loss_scale=float(synergy["loss_scale"]),
        weights=(fusion, demi_cycle, cycle, translation),
        unique=_indices("synergy.unique_indices", synergy["unique_indices"]),
        redundant=_indices("synergy.redundant_indices", synergy["redundant_indices"]),
        epochs=int(training["epochs"]),
        lr=float(training["optimizer"]["lr"]),
        weight_decay=float(training["optimizer"]["weight_decay"]),
        grad_clip=float(training["grad_clip"] or 0.0),
        standardize_inputs=bool(training["standardize_inputs"]),
        source_weight=float(training["source_feature_weight"]),
    )


def _layers(count: int) -> int:
    if count > MOST_LAYERS:
        raise SettingsError(f"model.n_layers is {count}; the built-in trainer takes at most {MOST_LAYERS}.")
    return count


def _fusion_weights(section: Mapping[str, float]) -> tuple[float, float]:
    attr, v = (float(section.get(domain, UNNAMED_FUSION_WEIGHT)) for domain in DOMAINS)
    return attr, v


def _indices(key: str, chosen: Mapping[str, Sequence[int]]) -> dict[str, tuple[int, ...]]:
    """Base features per domain; a domain without any is left out."""
    for domain, indices in chosen.items():
        if domain not in DOMAINS:
            raise SettingsError(f"{key}.{domain}: there is no such domain. Valid: {', '.join(DOMAINS)}.")
        for index in indices:
            if not 0 <= index < FEATURES[domain]:
                raise SettingsError(f"{key}.{domain}: {index} is not a base feature; valid: 0..{FEATURES[domain] - 1}.")
    return {domain: tuple(indices) for domain, indices in chosen.items() if indices}
