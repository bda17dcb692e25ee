from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from helpers.memory_run import cell
from helpers.packs import make_pack, make_setup, train_steps
from helpers.reference import ReferenceWorkspace, batch_of
from helpers.sections import whole

from training.loop.order import ORDER_STREAM
from training.model.rows import Architecture, canonical_width, initial_row, named_parameters, named_weights
from training.model.settings import SettingsError, read_settings
from training.shapes.dataset import load


def reference(config: dict[str, Any], dim: int, scale: float, seed: int) -> ReferenceWorkspace:
    torch.manual_seed(seed)
    return ReferenceWorkspace(dim, config, scale)


def test_a_cell_begins_with_the_weights_that_torch_gives_its_seed(config: dict[str, Any]) -> None:
    architecture = Architecture.of(read_settings(whole(config)), 12)
    weights = named_weights(architecture, 12, initial_row(architecture, 12, seed=43))
    expected = reference(config, 12, 1.0, seed=43).state_dict()
    assert list(weights) == list(expected)
    for name, tensor in expected.items():
        assert weights[name].tobytes() == tensor.numpy().tobytes(), name


NAMED_LOSSES = [
    {"fusion": 1.0},
    {"fusion": 1.0, "demi_cycle": 1.0},
    {"fusion": 1.0, "cycle": 1.0},
    {"translation": 1.0},
    {"fusion": 0.5, "demi_cycle": 0.5, "cycle": 0.5, "translation": 0.5},
]


@pytest.mark.parametrize("weights", [*NAMED_LOSSES, {"cycle": 2.0}, {"demi_cycle": 0.3, "translation": 0.2}])
@pytest.mark.parametrize(
    ("dim", "scale", "more"),
    [
        (12, 1.0, {"standardize_inputs": True}),
        (33, 0.1, {"source_feature_weight": 3.0, "grad_clip": 0.1}),
        (5, 7.0, {"grad_clip": None}),
    ],
)
def test_twenty_steps_equal_those_of_a_plain_module(
    config: dict[str, Any], dim: int, scale: float, more: dict[str, Any], weights: dict[str, float]
) -> None:
    config["training"] |= more
    config["experiment"]["weights"] = weights
    config["model"] |= {"decoder_hidden_dim": 24, "fusion_weights": {"attr": 0.7, "v": 0.4}}
    setup = make_setup(config, dtype=torch.float64)
    pack = make_pack(setup, [cell(dim, scale, 42)], dtype=torch.float64)
    module = reference(config, dim, scale, seed=42).double()
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3)
    order = np.random.default_rng([ORDER_STREAM, 42, 0]).permutation(8000)
    train = load(setup.settings.directory).train
    if more.get("standardize_inputs"):
        attr, v, _ = batch_of(train, slice(None), torch.float64)
        module.standardize_by(attr, v)
    for step in range(20):
        optimizer.zero_grad()
        module.loss(*batch_of(train, order[32 * step : 32 * step + 32], torch.float64)).backward()
        if config["training"]["grad_clip"]:
            torch.nn.utils.clip_grad_norm_(module.parameters(), config["training"]["grad_clip"])
        optimizer.step()
    train_steps(pack, 20)
    found = pack.weights(0)
    for name, tensor in module.state_dict().items():
        assert torch.allclose(torch.from_numpy(found[name]), tensor, rtol=1e-9, atol=1e-11), name


def test_the_validation_loss_and_accuracy_are_those_of_a_plain_module(config: dict[str, Any]) -> None:
    setup = make_setup(config, dtype=torch.float64)
    pack = make_pack(setup, [cell(8, 3.0, 42)], dtype=torch.float64)
    module = reference(config, 8, 3.0, seed=42).double()
    val = load(setup.settings.directory).val
    attr, v, xor = batch_of(val, slice(None), torch.float64)
    with torch.no_grad():
        loss = float(module.loss(attr, v, xor))
        out_attr, out_v = module(attr, v)
    (metrics,) = pack.finish_epoch()
    assert metrics["val_loss"] == pytest.approx(loss, rel=1e-9)
    assert metrics["predictability/synergy_acc"] == float((out_attr[:, 11:].argmax(1) == xor).double().mean())
    entropy = float(torch.nn.functional.cross_entropy(out_attr[:, 11:], xor))
    assert metrics["fusion_attr_synergy_loss"] == pytest.approx(entropy, rel=1e-9)
    assert metrics["predictability/synergy_norm_ce_raw"] == pytest.approx(1 - entropy / math.log(8), rel=1e-6)
    assert metrics["fusion_v_loss"] == pytest.approx(float(((out_v - v) ** 2).mean()), rel=1e-9)
    r2 = [1 - float(((out_attr[:, i] - attr[:, i]) ** 2).mean() / attr[:, i].var(unbiased=False)) for i in (3, 4)]
    assert metrics["predictability/attr_unique_r2"] == pytest.approx(sum(r2) / 2, rel=1e-6)
    assert metrics["predictability/unique_r2"] == metrics["predictability/attr_unique_r2"]
    assert "predictability/attr_redundant_r2" not in metrics


@pytest.mark.parametrize("weights", NAMED_LOSSES)
def test_the_validation_loss_is_the_weighted_sum_of_all_losses(
    config: dict[str, Any], weights: dict[str, float]
) -> None:
    config["experiment"]["weights"] = weights
    setup = make_setup(config, dtype=torch.float64)
    pack = make_pack(setup, [cell(8, 3.0, 42)], dtype=torch.float64)
    module = reference(config, 8, 3.0, seed=42).double()
    with torch.no_grad():
        expected = float(module.loss(*batch_of(load(setup.settings.directory).val, slice(None), torch.float64)))
    metrics = pack.finish_epoch()[0]
    assert metrics["val_loss"] == pytest.approx(expected, rel=1e-9)
    assert "predictability/synergy_acc" in metrics


@pytest.mark.parametrize("weights", [NAMED_LOSSES[0], NAMED_LOSSES[-1]])
def test_the_training_loss_is_the_mean_over_the_epochs_batches(
    config: dict[str, Any], weights: dict[str, float]
) -> None:
    config["training"]["optimizer"] = {"lr": 0.0}
    config["experiment"]["weights"] = weights
    setup = make_setup(config, dtype=torch.float64)
    pack = make_pack(setup, [cell(8, 3.0, 42)], dtype=torch.float64)
    train_steps(pack, setup.steps_per_epoch)
    module = reference(config, 8, 3.0, seed=42).double()
    train = load(setup.settings.directory).train
    with torch.no_grad():
        expected = float(module.loss(*batch_of(train, slice(None), torch.float64)))
    assert pack.finish_epoch()[0]["train_loss"] == pytest.approx(expected, rel=1e-9)


def test_padding_stays_exactly_zero(config: dict[str, Any]) -> None:
    config["training"]["optimizer"] = {"lr": 1e-2, "weight_decay": 0.1}
    pack = make_pack(make_setup(config), [cell(5, 1.0, 42)])
    train_steps(pack, 100)
    row = pack.state.parameters[0].clone()
    assert row.count_nonzero() > 1000
    for _, weight, bias in named_parameters(pack.architecture, 5, row):
        weight.zero_()
        bias.zero_()
    assert row.count_nonzero() == 0


def test_the_canonical_width_depends_on_the_cells_dimension_alone() -> None:
    assert [canonical_width(dim) for dim in (1, 8, 32, 33, 64, 65)] == [32, 32, 32, 64, 64, 96]


@pytest.mark.parametrize(
    ("section", "change", "message"),
    [
        ("model", {"n_layers": 63}, "model.n_layers is 63; the built-in trainer takes at most 62"),
        (
            "training",
            {"optimizer": {"type": "SGD", "lr": 0.1}},
            "training.optimizer.type is 'SGD'",
        ),
        ("synergy", {"unique_indices": {"audio": [0]}}, "synergy.unique_indices.audio: there is no such domain"),
        ("synergy", {"unique_indices": {"attr": [11]}}, "synergy.unique_indices.attr: 11 is not a base feature"),
        ("synergy", {"redundant_indices": {"v": [13]}}, "synergy.redundant_indices.v: 13 is not a base feature"),
    ],
)
def test_an_option_that_cannot_be_honoured_is_refused(
    config: dict[str, Any], section: str, change: dict[str, Any], message: str
) -> None:
    config[section] |= change
    with pytest.raises(SettingsError, match=message):
        read_settings(whole(config))
