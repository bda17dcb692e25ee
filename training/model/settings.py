"""The sections of the configuration that the built-in trainer reads, as one checked value. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from training.shapes.distribution import ATTR_FEATURES, V_FEATURES

DOMAINS: Final = ("attr", "v")
FEATURES: Final = {"attr": ATTR_FEATURES, "v": V_FEATURES}
LOSSES: Final = ("fusion", "demi_cycle", "cycle", "translation")
KERNELS: Final = ("auto", "native", "torch")
MOST_LAYERS: Final = 62


class SettingsError(ValueError):
    """An option that the built-in trainer cannot honour; the message names key, value and fix."""


@dataclass(frozen=True)
class EarlyStopping:
    """End a cell after `patience` epochs in a row that did not lower the validation loss by more than `min_delta`."""

    patience: int
    min_delta: float


@dataclass(frozen=True)
class Settings:
    """What one sweep's cells have in common. Factors of a cell (dim, scale) override workspace_dim and loss_scale.

    image_dir: where the predecessor kept latents, if not in the directory itself.
    fusion_weights: one per domain, in the order of DOMAINS.
    weights: of the four losses, in the order of LOSSES.
    unique, redundant: per domain, the base features whose R2 is reported.
    grad_clip: largest global gradient norm of a cell; 0 is no clipping.
    source_weight: weight of the squared error of the target's two sources (random attribute, size) in the fusion
        loss beside 1 for the others.
    early_stopping: None to train all epochs.
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
    optimizer: str
    lr: float
    weight_decay: float
    grad_clip: float
    standardize_inputs: bool
    source_weight: float
    early_stopping: EarlyStopping | None


def read_settings(config: Mapping[str, Any]) -> Settings:
    """Settings from the validated sections data, model, synergy, training and experiment.

    Raises SettingsError for what this trainer does not implement.
    """
    model, training, synergy = config.get("model", {}), config.get("training", {}), config.get("synergy", {})
    optimizer = training.get("optimizer") or {}
    fusion = model.get("fusion_weights") or {}
    return Settings(
        directory=Path(config["data"]["dir"]),
        image_dir=Path(config["data"]["image_dir"]) if config["data"].get("image_dir") else None,
        batch_size=int(config["data"].get("batch_size", 32)),
        workspace_dim=int(model.get("workspace_dim", 12)),
        hidden_dim=int(model.get("hidden_dim", 128)),
        decoder_hidden_dim=int(model.get("decoder_hidden_dim", 128)),
        n_layers=_layers(int(model.get("n_layers", 4))),
        fusion_weights=(float(fusion.get("attr", 0.5)), float(fusion.get("v", 0.5))),
        loss_scale=float(synergy.get("loss_scale", 1.0)),
        weights=_loss_weights(config["experiment"]["weights"]),
        unique=_indices("synergy.unique_indices", synergy.get("unique_indices")),
        redundant=_indices("synergy.redundant_indices", synergy.get("redundant_indices")),
        epochs=int(training.get("epochs", 50)),
        optimizer=_optimizer(str(optimizer.get("type", "adam"))),
        lr=float(optimizer.get("lr", 1e-3)),
        weight_decay=float(optimizer.get("weight_decay", 0.0)),
        grad_clip=float(training.get("grad_clip", 1.0) or 0.0),
        standardize_inputs=bool(training.get("standardize_inputs", False)),
        source_weight=float(training.get("source_feature_weight", 1.0)),
        early_stopping=_early_stopping(training.get("early_stopping")),
    )


def _loss_weights(weights: Mapping[str, float]) -> tuple[float, float, float, float]:
    for name in weights:
        if name not in LOSSES:
            raise SettingsError(f"experiment.weights.{name}: no such loss. Valid: {', '.join(LOSSES)}.")
    fusion, demi_cycle, cycle, translation = (float(weights.get(name, 0.0)) for name in LOSSES)
    if not fusion + demi_cycle + cycle + translation > 0.0:
        raise SettingsError(f"experiment.weights is {dict(weights)}; at least one loss needs a weight above 0.")
    return fusion, demi_cycle, cycle, translation


def _early_stopping(section: Mapping[str, Any] | None) -> EarlyStopping | None:
    if section is None:
        return None
    rule = EarlyStopping(int(section["patience"]), float(section.get("min_delta", 0.0)))
    if rule.patience < 1 or not rule.min_delta >= 0.0:
        raise SettingsError(f"training.early_stopping is {dict(section)}; patience is 1 or more, min_delta 0 or more.")
    return rule


def _layers(count: int) -> int:
    if count > MOST_LAYERS:
        raise SettingsError(f"model.n_layers is {count}; at most {MOST_LAYERS} are trained.")
    return count


def read_kernel(options: Mapping[str, Any]) -> str:
    """Which step trains, from trainer_options: native (compiled), torch, or auto: native where it can be had.

    Raises SettingsError for any other option or value.
    """
    for name in options:
        if name != "kernel":
            raise SettingsError(f"trainer_options.{name}: the built-in trainer takes no such option. Valid: kernel.")
    kernel = options.get("kernel", "auto")
    if kernel not in KERNELS:
        raise SettingsError(f"trainer_options.kernel is {kernel!r}; valid: {', '.join(KERNELS)}.")
    return str(kernel)


def _optimizer(name: str) -> str:
    if name.lower() not in ("adam", "adamw"):
        raise SettingsError(f"training.optimizer.type is {name!r}; valid: adam, adamw.")
    return name.lower()


def _indices(key: str, chosen: Mapping[str, Any] | None) -> dict[str, tuple[int, ...]]:
    """Base features per domain; a domain without any is left out."""
    found: dict[str, tuple[int, ...]] = {}
    for domain, indices in (chosen or {}).items():
        if domain not in DOMAINS:
            raise SettingsError(f"{key}.{domain}: no such domain. Valid: {', '.join(DOMAINS)}.")
        for index in indices:
            if not 0 <= index < FEATURES[domain]:
                raise SettingsError(f"{key}.{domain}: {index} is no base feature; valid: 0..{FEATURES[domain] - 1}.")
        if indices:
            found[domain] = tuple(int(index) for index in indices)
    return found
