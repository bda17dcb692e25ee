"""Faults of a configuration as lines people can act on: file, field, value, fix."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from hpc.config.schema import Configuration
from hpc.errors import ConfigError, shown, unknown_key


class Faults:
    """Collects faults as lines; stop() raises them together."""

    def __init__(self, source: str, from_command_line: set[str]) -> None:
        self._source = source
        self._given = from_command_line
        self.lines: list[str] = []

    def add(self, name: str, text: str, inside: bool = False) -> None:
        """inside: the fault may be what the command line put into this section."""
        plain = re.sub(r"\[.*", "", name)
        given = any(
            key in (name, plain) or plain.startswith(f"{key}.") or (inside and key.startswith(f"{name}."))
            for key in self._given
        )
        self.lines.append(f"{'command line' if given else self._source}: {text}")

    def value(self, name: str, value: object, fix: str, inside: bool = False) -> None:
        self.add(name, f"{name} is {shown(value)}; {fix}", inside)

    def stop(self) -> None:
        if self.lines:
            raise ConfigError(self.lines)

    def validate(self, raw: dict[str, Any]) -> Configuration:
        """The typed configuration. Raises ConfigError: later checks need a sound structure."""
        try:
            return Configuration.model_validate(raw)
        except ValidationError as error:
            for fault in error.errors(include_url=False):
                self._translate(fault)
        raise ConfigError(list(dict.fromkeys(self.lines)))

    def _translate(self, fault: Any) -> None:
        location = list(fault["loc"])
        if fault["type"] != "extra_forbidden" and location[-1:] == ["[key]"]:
            location.pop()  # pydantic's mark for a key that is wrong itself
        name = _dotted(location)
        if fault["type"] == "extra_forbidden":
            valid = _valid_keys(location[:-1])
            self.add(name, unknown_key(name, str(location[-1]), valid), inside=True)
        elif fault["type"] == "missing":
            self.add(name, f"{name} is missing; add it")
        else:
            reason = re.sub(r"^(Value error, |Input )", "", fault["msg"]).replace("should", "must")
            self.value(name, fault["input"], _PLAIN_REASONS.get(fault["type"], reason), inside=True)


_PLAIN_REASONS = {
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "string_type": "must be text",
    "list_type": "must be a list, such as [8, 12]",
    "dict_type": "must be a section with named keys",
    "model_type": "must be a section with named keys",
    "finite_number": "must be finite",
}


def _dotted(location: Sequence[Any]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _valid_keys(location: Sequence[Any]) -> list[str]:
    """Keys of the section at a location of the schema."""
    model: Any = Configuration
    for part in location:
        if isinstance(part, int):
            continue
        annotation = model.model_fields[part].annotation
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        model = next(c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel))
    return list(model.model_fields)
