"""Sections of a file, typed by pydantic; their faults are lines people can act on: file, field, value, fix."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
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

    def validate(
        self, raw: Mapping[str, Any], model: type[S], instead: Callable[[Sequence[Any]], str] = lambda location: ""
    ) -> S:
        """The typed content. Raises ConfigError with all faults so far: later checks need a sound structure.

        instead: what to write for an unknown key at this location; empty if that is not known.
        """
        try:
            return model.model_validate(raw)
        except ValidationError as error:
            for fault in error.errors(include_url=False):
                self._translate(fault, model, instead)
        # Without repetitions: pydantic reports a fault once for each member of a union.
        raise ConfigError(list(dict.fromkeys(self.lines)))

    def _translate(self, fault: Any, model: type[Section], instead: Callable[[Sequence[Any]], str]) -> None:
        location = list(fault["loc"])
        if fault["type"] != "extra_forbidden" and location[-1:] == ["[key]"]:
            location.pop()  # pydantic's mark for a key that is wrong itself
        name = _dotted(location)
        if fault["type"] == "extra_forbidden":
            valid = _valid_keys(model, location[:-1])
            self.add(name, unknown_key(name, str(location[-1]), valid, instead(location)), inside=True)
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
        return _list_wanted(fault["input"])
    if fault["type"] == "int_type" and (values := several(fault["input"])):
        return f"must be a whole number; write each of several, as in {values}"
    if fault["type"] == "string_type" and isinstance(fault["input"], int | float):
        return "must be text; put it in quotes"
    if fault["type"] == "string_type" and isinstance(fault["input"], list):
        return f"must be text, such as {shown(','.join(map(str, fault['input'])))}"
    said = re.sub(r"^(Value error, |Input )", "", fault["msg"]).replace("should", "must")
    return _PLAIN_REASONS.get(fault["type"], said)


def _list_wanted(value: object) -> str:
    if written := several(value):
        return f"must be a list, such as {written}"
    if isinstance(value, str) and _CALL.fullmatch(value):
        return "must be a list; nothing is computed here, so write its values out"
    return f"must be a list, such as [{shown(value)}]" if isinstance(value, str | int | float) else "must be a list"


def _dotted(location: Sequence[Any]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _valid_keys(model: Any, location: Sequence[Any]) -> list[str]:
    """Keys of the section at a location of a model."""
    for part in location:
        if isinstance(part, int) or part not in model.model_fields:  # of a list, or of a mapping
            continue
        annotation = model.model_fields[part].annotation
        inner = [annotation, *getattr(annotation, "__args__", ())]
        candidates = [getattr(c, "__origin__", c) for c in inner]  # without what is annotated
        model = next(c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel))
    return list(model.model_fields)


# range(1, 6), also numpy's; 1-5 and 1..5; 1:5, of which tools disagree whether 5 is meant; 1,2,3;
# 1 2 3.
_WHOLE = r"\s*(-?\d{1,18})\s*"
_RANGE = re.compile(rf"(?:(?:np|numpy)\.)?a?range\({_WHOLE}(?:,{_WHOLE})?(?:,\s*(-?[1-9]\d{{0,17}})\s*)?\)")
_FROM_TO = re.compile(r"(\d{1,18})\s*(-|\.\.\.?|to|:)\s*(\d{1,18})")
_COMMAS = re.compile(r"[(\[]?\s*([^,()\[\]{}]+(?:,[^,()\[\]{}]+)+),?\s*[)\]]?")
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_APART = re.compile(rf"{_NUMBER}(?:[\s;]+{_NUMBER})+")
_CALL = re.compile(r"[A-Za-z_][\w.]*\(.*\)")


def several(value: object) -> str:
    """The list that was meant by a text that stands for several values, as it is written; empty if it is no such."""
    if not isinstance(value, str):
        return ""
    if found := _RANGE.fullmatch(value):
        first, last = (found[1], found[2]) if found[2] else ("0", found[1])
        return _written_out(range(int(first), int(last), int(found[3] or 1)))
    if found := _FROM_TO.fullmatch(value):
        values = _written_out(range(int(found[1]), int(found[3]) + 1))
        return f"{values}, or without the {found[3]}" if values and found[2] == ":" else values
    if found := _COMMAS.fullmatch(value):
        return f"[{', '.join(part.strip() for part in found[1].split(','))}]"
    if _APART.fullmatch(value):
        parts = re.split(r"[\s;]+", value)
        # Lines of a list whose dashes have no space after them look like this, too.
        or_else = ", or - and a space before each" if all(part.startswith("-") for part in parts) else ""
        return f"[{', '.join(parts)}]{or_else}"
    return ""


def _written_out(values: range) -> str:
    """A list with these numbers; of many, its first ones and the last."""
    if len(values) < 2:
        return ""
    return f"[{values[0]}, {values[1]}, ..., {values[-1]}]" if len(values) > 3 else str(list(values))
