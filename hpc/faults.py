"""Sections of a file, typed by pydantic; their faults are lines people can act on: file, field, value, fix."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from hpc.errors import ConfigError, shown, unknown_key
from hpc.yaml_files import Unquoted


class Section(BaseModel):
    """Named keys and nothing else, each of its own type: pydantic would otherwise read "5" as 5 and 1 as true."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


S = TypeVar("S", bound=Section)


class Faults:
    """Collects faults as lines; stop() raises them together.

    source: the file, as the lines name it. from_command_line: dotted names of the values that did not come from it.
    """

    def __init__(self, source: str, from_command_line: Collection[str] = ()) -> None:
        self._source = source
        self._given = from_command_line
        self.lines: list[str] = []

    def add(self, name: str, text: str, inside: bool = False) -> None:
        """inside: the fault may be what the command line put into this section."""
        # The command line sets whole values: a fault in sweep.dims[1] came with sweep.dims.
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

    def validate(self, raw: Mapping[str, Any], model: type[S]) -> S:
        """The typed content. Raises ConfigError with all faults so far: later checks need a sound structure."""
        try:
            return model.model_validate(raw)
        except ValidationError as error:
            for fault in error.errors(include_url=False):
                self._translate(fault, model)
        # Without repetitions: pydantic reports a fault once for each member of a union.
        raise ConfigError(list(dict.fromkeys(self.lines)))

    def _translate(self, fault: Any, model: type[Section]) -> None:
        location = list(fault["loc"])
        if fault["type"] != "extra_forbidden" and location[-1:] == ["[key]"]:
            location.pop()  # pydantic's mark for a key that is wrong itself
        name = _dotted(location)
        if fault["type"] == "extra_forbidden":
            self.add(name, unknown_key(name, str(location[-1]), _valid_keys(model, location[:-1])), inside=True)
        elif fault["type"] == "missing":
            self.add(name, f"{name} is missing; add it")
        else:
            self.value(name, fault["input"], _reason(fault), inside=True)


_PLAIN_REASONS = {
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "string_type": "must be text",
    "dict_type": "must be a section with named keys",
    "model_type": "must be a section with named keys",
    "finite_number": "must be finite",
    "string_pattern_mismatch": "use letters, digits, _ . and - only, at most 64",
}


def _reason(fault: Any) -> str:
    """What pydantic says, in the words of people who write YAML."""
    if isinstance(fault["input"], Unquoted) and fault["type"] != "value_error":
        return str(fault["input"].choice)
    if fault["type"] == "list_type":
        one = isinstance(fault["input"], str | int | float)
        return "must be a list" + (f", such as [{_as_list(fault['input'])}]" if one else "")
    if fault["type"] == "string_type" and isinstance(fault["input"], int | float):
        return "must be text; put it in quotes"
    if fault["type"] == "string_type" and isinstance(fault["input"], list):
        return f"must be text, such as {shown(','.join(map(str, fault['input'])))}"
    said = re.sub(r"^(Value error, |Input )", "", fault["msg"]).replace("should", "must")
    return _PLAIN_REASONS.get(fault["type"], said)


def _dotted(location: Sequence[Any]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _valid_keys(model: Any, location: Sequence[Any]) -> list[str]:
    """Keys of the section at a location of a model."""
    for part in location:
        if isinstance(part, int):
            continue
        annotation = model.model_fields[part].annotation
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        model = next(c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel))
    return list(model.model_fields)


def _as_list(value: object) -> str:
    """What a list with this one value looks like; of a range of numbers, its first ones."""
    first, dash, last = str(value).partition("-")
    if dash and first.isdecimal() and last.isdecimal() and int(first) < int(last):
        return f"{first}, {int(first) + 1}, ..., {last}" if int(last) - int(first) > 2 else f"{first}, {last}"
    return shown(value)
