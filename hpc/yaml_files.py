"""YAML and JSON files as plain data, read safely, with the line of every syntax error."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from hpc.errors import ConfigError

# A few lines of aliases to aliases can stand for more values than memory holds; no configuration has this many.
_MOST_VALUES = 1_000_000


def read_mapping(path: Path) -> dict[str, Any]:
    """A YAML or JSON file as plain data. Raises ConfigError naming line and reason."""
    if path.is_dir():
        raise ConfigError([f"{path}: this is a directory; name a YAML or JSON file in it"])
    if not path.is_file():
        raise ConfigError([f"{path}: there is no such file; name an existing YAML or JSON file"])
    text = path.read_bytes()
    try:
        data = read_json(text) if path.suffix == ".json" else read_yaml(text)
    except json.JSONDecodeError as error:
        number, fault = _json_fault(error)
        raise ConfigError([f"{path.name}: line {number}: not valid JSON: {fault}"]) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ConfigError([f"{path.name}: {line}not valid YAML: {problem}"]) from None
    except (UnicodeDecodeError, RecursionError) as error:
        raise ConfigError([f"{path.name}: not a text file Holdfast can read: {type(error).__name__}"]) from None
    except ValueError as error:
        raise ConfigError([f"{path.name}: not valid JSON: {error}"]) from None
    if data is None:
        return {}
    if not isinstance(data, dict) or not all(isinstance(key, str) for key in data):
        raise ConfigError([f"{path.name}: the file must hold named sections, such as 'sweep:'"])
    return data


def _json_fault(error: json.JSONDecodeError) -> tuple[int, str]:
    """Line and problem, in the same words whatever the Python: of a trailing comma, 3.13 says other ones."""
    after_comma = error.pos + (error.doc[error.pos : error.pos + 1] == ",")
    before, after = error.doc[:after_comma].rstrip(), error.doc[after_comma:].lstrip()
    if before.endswith(",") and after[:1] in ("}", "]"):
        line = error.doc.count("\n", 0, len(error.doc) - len(after)) + 1
        return line, f"there is a comma before the closing {after[0]}; remove it"
    return error.lineno, error.msg


def read_json(text: bytes) -> Any:
    """One JSON document as plain data. Raises ValueError, RecursionError."""

    def mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise ValueError(f"key {key!r} is given twice; remove one")
            found[key] = value
        return found

    return json.loads(text, object_pairs_hook=mapping)


class Loader(yaml.SafeLoader):
    """Safe YAML that reads 1e-3 as a number, refuses a key given twice, and names the line of every fault."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, TypeError, AttributeError, LookupError, OverflowError):
            # What PyYAML's constructors raise for !!int x, the 32nd of a month, or a number of 5000 digits.
            kind = node.tag.rpartition(":")[2]
            raise yaml.constructor.ConstructorError(
                None, None, f"a value cannot be read as {kind}", node.start_mark
            ) from None


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
    """One YAML document as plain data. Raises yaml.YAMLError, RecursionError."""
    loader = Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if _expanded(node, {}) > _MOST_VALUES:
            raise yaml.constructor.ConstructorError(
                None, None, "its aliases stand for too many values", node.start_mark
            )
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _expanded(node: yaml.Node, known: dict[int, int]) -> int:
    """Number of values a node stands for once its aliases are written out. A node inside itself counts once."""
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) not in known:
        known[id(node)] = 1
        pairs = isinstance(node, yaml.MappingNode)
        children = [part for pair in node.value for part in pair] if pairs else node.value
        known[id(node)] = 1 + sum(_expanded(child, known) for child in children)
    return known[id(node)]
