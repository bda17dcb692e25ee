"""Configurations of the built-in trainer as short as a test needs them, written out as planning does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hpc.config.schema.built_in import Weights
from hpc.config.schema.configuration import Configuration


def whole(config: Mapping[str, Any]) -> dict[str, Any]:
    """The sections with every key; what is left out has the schema's default. Values may be ones that it refuses."""
    defaults = Configuration().model_dump(include={"data", "model", "synergy", "training"})
    return _filled(defaults | {"experiment": {"weights": Weights().model_dump()}}, config)


def _filled(defaults: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    nested = {
        key: _filled(defaults[key], value)
        for key, value in given.items()
        if isinstance(value, Mapping) and isinstance(defaults.get(key), Mapping)
    }
    return {**defaults, **given, **nested}
