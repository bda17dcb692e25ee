"""YAML and JSON files as plain data, read safely, with the line of every syntax error."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from hpc.faults import ConfigError


def read_mapping(path: Path) -> dict[str, Any]:
    """A YAML or JSON file as plain data. Raises ConfigError naming line and reason."""
    if not path.is_file():
        raise ConfigError([f"{path}: there is no such file; give an existing YAML or JSON file"])
    text = path.read_bytes()
    try:
        data = json.loads(text) if path.suffix == ".json" else read_yaml(text)
    except json.JSONDecodeError as error:
        raise ConfigError([f"{path.name}: line {error.lineno}: not valid JSON: {error.msg}"]) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ConfigError([f"{path.name}: {line}not valid YAML: {problem}"]) from None
    except (UnicodeDecodeError, RecursionError) as error:
        raise ConfigError([f"{path.name}: not a text file Holdfast can read: {type(error).__name__}"]) from None
    if data is None:
        return {}
    if not isinstance(data, dict) or not all(isinstance(key, str) for key in data):
        raise ConfigError([f"{path.name}: the file must hold named sections, such as 'sweep:'"])
    return data


class Loader(yaml.SafeLoader):
    """Safe YAML that reads 1e-3 as a number and refuses a key given twice."""


Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+$"), list("-+0123456789.")
)


def _construct_mapping(loader: Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    mapping: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str | int | float):
            raise yaml.constructor.ConstructorError(None, None, "a key must be a word", key_node.start_mark)
        if key in mapping:
            raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is given twice", key_node.start_mark)
        mapping[key] = loader.construct_object(value_node, deep=True)
    return mapping


Loader.add_constructor("tag:yaml.org,2002:map", _construct_mapping)


def read_yaml(text: str | bytes) -> Any:
    """One YAML document as plain data. Raises yaml.YAMLError."""
    loader = Loader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()
