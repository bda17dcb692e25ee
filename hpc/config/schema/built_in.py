"""Sections of the built-in trainer; for another trainer, what is written of them reaches it as it is."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from hpc.config.schema.values import Count, NotNegative, Positive, Truth
from hpc.faults import Section

Modality = Literal["v", "attr"]
Indices = dict[str, list[Annotated[int, Field(ge=0, le=10**12)]]]


class Data(Section):
    dir: str = "data/simple_shapes_xor_targets"
    image_dir: str | None = None
    batch_size: Count = 32
    num_workers: Annotated[int, Field(ge=0)] = 0


class Domain(Section):
    domain_type: str
    checkpoint_path: str | None = None
    name: Modality


# Of a mutable default pydantic gives each model a copy of its own.
_SYNERGY_FEATURE: dict[str, list[Any]] = {"attr": ["xor_target_normalized"]}


def _synergy_feature(value: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """The data sets hold one synergy feature, by name or position; it is stored by name so that both mean the same."""
    known = ("xor_target_normalized", 11, -1)
    if set(value) != {"attr"} or len(value["attr"]) != 1 or value["attr"][0] not in known:
        raise ValueError("the data has one synergy feature: {attr: [xor_target_normalized]}")
    return _SYNERGY_FEATURE


class Model(Section):
    domains: list[Domain] = Field(
        default=[Domain(domain_type="v_latents", name="v"), Domain(domain_type="attr", name="attr")]
    )
    workspace_dim: Count = 12
    hidden_dim: Count = 128
    decoder_hidden_dim: Count = 128
    n_layers: Annotated[int, Field(ge=0)] = 4
    fusion_weights: dict[Modality, NotNegative] = Field(default={"v": 0.5, "attr": 0.5})


class Synergy(Section):
    domains: list[Modality] = Field(default=["attr", "v"])
    feature_indices: Annotated[dict[str, list[Any]], AfterValidator(_synergy_feature)] = Field(default=_SYNERGY_FEATURE)
    loss_scale: NotNegative = 1.0
    unique_indices: Indices = Field(default_factory=dict)
    redundant_indices: Indices = Field(default_factory=dict)


class Optimizer(Section):
    type: Literal["Adam"] = "Adam"
    lr: Positive = 1e-3
    weight_decay: NotNegative = 0.0


class Weights(Section):
    fusion: NotNegative = 0.0
    demi_cycle: NotNegative = 0.0
    cycle: NotNegative = 0.0
    translation: NotNegative = 0.0


class LossConfig(Section):
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]
    weights: Weights
    epochs: Count | None = None


_LOSSES = [
    LossConfig(name="fusion_only", weights=Weights(fusion=1.0)),
    LossConfig(name="fusion_demi", weights=Weights(fusion=1.0, demi_cycle=1.0)),
    LossConfig(name="fusion_cycle", weights=Weights(fusion=1.0, cycle=1.0)),
    LossConfig(name="translation_only", weights=Weights(translation=1.0)),
    LossConfig(name="all_losses", weights=Weights(fusion=0.5, demi_cycle=0.5, cycle=0.5, translation=0.5)),
]


def _moved(value: object) -> object:
    """The built-in trainer's own rule, which any trainer can have now. Left empty it meant what it means now."""
    if value is not None:
        raise ValueError("write stop_when: {metric: val_loss, patience: 5} instead, beside training; drop it here")
    return value


class Training(Section):
    epochs: Count = 50
    optimizer: Optimizer = Field(default_factory=Optimizer)
    grad_clip: NotNegative | None = 1.0
    reset_model_per_experiment: Truth = True
    loss_configs: list[LossConfig] = Field(default=_LOSSES, min_length=1)
    standardize_inputs: Truth = False
    source_feature_weight: Positive = 1.0
    early_stopping: Annotated[None, BeforeValidator(_moved)] = None
