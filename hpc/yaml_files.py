"""YAML and JSON files as plain data, read safely, with the line of every syntax error."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from hpc.errors import ConfigError, nearest

# A few lines of aliases to aliases can stand for more values than memory holds; no configuration has this many.
_MOST_VALUES = 1_000_000
_PROGRAMS = {".bash", ".ipynb", ".py", ".sbatch", ".sh", ".slurm"}


def read_mapping(path: Path) -> dict[str, Any]:
    """A YAML or JSON file as plain data. Raises ConfigError naming line and reason."""
    if path.is_dir():
        raise ConfigError([f"{path}: this is a directory; name a YAML or JSON file in it"])
    if not path.is_file():
        raise ConfigError([f"{path}: there is no such file{_instead_of(path)}"])
    if path.suffix in _PROGRAMS:
        raise ConfigError([f"{path}: this is a program; `holdfast init --from COMMAND` writes a configuration for one"])
    text = path.read_bytes()
    try:
        data = read_json(text) if path.suffix == ".json" else read_yaml(text)
    except json.JSONDecodeError as error:
        number, fault = _json_fault(error)
        raise ConfigError([f"{path.name}: line {number}: not valid JSON: {fault}"]) from None
    except yaml.reader.ReaderError as error:
        raise ConfigError([f"{path.name}: {_not_text(text, error)}"]) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark else ""
        problem = _in_plain_words(getattr(error, "problem", None) or str(error).splitlines()[0])
        problem = _without_space(text, mark.line) if mark and problem == _SECOND_COLON else problem
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


def _instead_of(path: Path) -> str:
    """What to do about a file that is not there: where it was looked for, and one of nearly its name."""
    fix = "; name an existing YAML or JSON file"
    where = "" if path.is_absolute() else f" in {Path.cwd()}"
    if not path.parent.is_dir():
        return f"{where}, nor the directory {path.parent}{fix}"
    files = {file.stem: file for file in sorted(path.parent.iterdir()) if file.suffix in (".yaml", ".yml", ".json")}
    near = nearest(path.stem, files)
    return f"{where}; did you mean {files[near]}?" if near else f"{where}{fix}"


def _without_space(text: bytes, line: int) -> str:
    """The fault of a second ': ' in a line: often a colon in it, or in the line above, has no space after it."""
    for written in reversed(text.decode(errors="replace").splitlines()[max(0, line - 1) : line + 1]):
        if found := re.match(r"\s*([\w.-]+):(?=[^\s:/])", written):
            return f"'{found[1]}:' needs a space after the colon, here or a line above"
    return _SECOND_COLON


def _not_text(text: bytes, error: yaml.reader.ReaderError) -> str:
    """Where a file stops being text, and why."""
    if error.encoding != "unicode":  # else the position is one of characters
        line = text[: error.position].count(b"\n") + 1
        return f"line {line}: the byte 0x{error.character:02x} is not {error.encoding.upper()}; save the file as UTF-8"
    line = text.decode(errors="replace")[: error.position].count("\n") + 1
    return f"line {line}: a control character (U+{error.character:04X}) is no text; remove it"


def _json_fault(error: json.JSONDecodeError) -> tuple[int, str]:
    """Line and problem, in the same words whatever the Python: of a trailing comma, 3.13 says other ones."""
    after_comma = error.pos + (error.doc[error.pos : error.pos + 1] == ",")
    before, after = error.doc[:after_comma].rstrip(), error.doc[after_comma:].lstrip()
    if before.endswith(",") and after[:1] in ("}", "]"):
        line = error.doc.count("\n", 0, len(error.doc) - len(after)) + 1
        return line, f"there is a comma before the closing {after[0]}; remove it"
    if error.doc.startswith("...", error.pos) or error.doc[error.pos - 1 : error.pos + 3] in ("[...", "{..."):
        return error.lineno, "'...' stands for what an example leaves out; write the values, or remove the key"
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


class Unquoted(str):
    """A word without quotes that readers of YAML understand differently, such as no, 010 or None.

    Text where text is wanted. Where it could be something else, it is refused with what it could be.
    """

    __slots__ = ()

    @property
    def choice(self) -> str:
        """What it could be, and how to write each."""
        return f'without quotes this could be {_other_reading(self)}, or the text "{self}"; write the one that is meant'


def _other_reading(text: str) -> str:
    if text.lower() in _TRUTH:
        return "true" if _TRUTH[text.lower()] else "false"
    if text == "None":
        return "null"
    digits = text.lstrip("+-").replace("_", "")
    if not digits[0].isdigit():
        return "a number that is not finite"
    sign = "-" if text.startswith("-") else ""
    octal = f"{sign}{int(digits.replace('o', ''), 8)} (octal)" if re.fullmatch(r"0o?[0-7]+", digits) else ""
    decimal = f"{sign}{int(digits)}" if digits.isdigit() else ""
    return " or ".join(filter(None, (decimal, octal))) or "a number"


# What YAML 1.1 takes for true and false and YAML 1.2 for words.
_TRUTH = {"yes": True, "on": True, "no": False, "off": False}


def read_truth(value: object) -> object:
    """yes, no, on and off, where a truth value is wanted and nothing else can be meant."""
    return _TRUTH.get(value.lower(), value) if isinstance(value, Unquoted) else value


class Loader(yaml.SafeLoader):
    """Safe YAML that reads a value as its author meant it, refuses a key given twice, and names the line of a fault.

    Of what YAML 1.1 makes of unquoted words, only what nobody mistakes is kept. A time (4:00:00, which would be 14400),
    a date and `=` are text, 1e-3 and 1_000 are numbers, and what could be several things is Unquoted.
    """

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's, empty here

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, TypeError, AttributeError, LookupError, OverflowError):
            # What PyYAML's constructors raise for !!int x, the 32nd of a month, or a number of 5000 digits.
            kind = node.tag.rpartition(":")[2]
            raise _fault(node, f"a value cannot be read as {kind}") from None


def _fault(node: yaml.Node, problem: str) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


_MERGE, _UNQUOTED = "tag:yaml.org,2002:merge", "!unquoted"
# A number is written in full, or with an underscore before every three digits: 2024_01 is a name.
_WHOLE = r"(?:0|[1-9][0-9]*|[1-9][0-9]{0,2}(?:_[0-9]{3})+)"
for _tag, _pattern, _first in (
    (_MERGE, r"<<", "<"),
    ("tag:yaml.org,2002:null", r"~|null|Null|NULL|", "~nN\0"),
    ("tag:yaml.org,2002:bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("tag:yaml.org,2002:int", rf"[-+]?(?:{_WHOLE}|0x[0-9a-fA-F]+|0b[01]+)", "-+0123456789"),
    (
        "tag:yaml.org,2002:float",
        rf"[-+]?(?:(?:[0-9]+|{_WHOLE})\.[0-9]*(?:[eE][-+]?[0-9]+)?|\.[0-9]+(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+"
        r"|\.(?:inf|Inf|INF))|\.(?:nan|NaN|NAN)",
        "-+0123456789.",
    ),
    (
        _UNQUOTED,
        r"(?i:yes|no|on|off)|None|[-+]?0o?[0-9_]+|[-+]?[1-9][0-9]*_[0-9_]*|[-+]?(?i:inf|infinity|nan)",
        "yYnNoOiI-+0123456789",
    ),
):
    Loader.add_implicit_resolver(_tag, re.compile(f"(?:{_pattern})$"), [c if c != "\0" else "" for c in _first])


def _construct_mapping(loader: Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    own: dict[Any, Any] = {}
    inherited: dict[Any, Any] | None = None
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str | int | float):
            raise _fault(key_node, "a key must be a word")
        merges = key_node.tag == _MERGE
        if key in own or (merges and inherited is not None):
            raise _fault(key_node, f"key {key!r} is given twice")
        value = loader.construct_object(value_node, deep=True)
        if merges:
            inherited = _merged(value, key_node)
        else:
            own[key] = value
    return (inherited or {}) | own


def _merged(given: Any, node: yaml.Node) -> dict[Any, Any]:
    """The keys of a mapping, or of several, that `<<` takes over; the first mapping with a key wins."""
    found: dict[Any, Any] = {}
    for mapping in given if isinstance(given, list) else [given]:
        if not isinstance(mapping, dict):
            raise _fault(node, "<< takes over the keys of a section, such as <<: *name, or of a list of sections")
        found = mapping | found
    return found


Loader.add_constructor("tag:yaml.org,2002:map", _construct_mapping)
Loader.add_constructor(_UNQUOTED, lambda loader, node: Unquoted(node.value))
Loader.add_constructor(_MERGE, lambda loader, node: node.value)  # as a key it is _construct_mapping's; here it is text

_SECOND_COLON = "there is a second ': ' in this line; put text that holds one in quotes"
# What the parser says, and what it means to somebody who writes YAML.
_PROBLEMS = (
    (r"found character '\\t' that cannot start any token", "a tab stands where YAML takes spaces alone; use spaces"),
    (r"found character '(.)' that cannot start any token", r"text that begins with \1 needs quotes"),
    (r"mapping values are not allowed here", _SECOND_COLON),
    (r"could not determine a constructor for the tag '(.*)'", r"the tag \1 means nothing here; remove it"),
    (r"found unconstructable recursive node", "an alias stands for the section that it is in; write the values out"),
    (
        r"expected <block end>, but found '<block mapping start>'",
        "this line is indented otherwise than the keys before it; indent the keys of a section alike",
    ),
    (r"expected <block end>, but found '.*'", "more follows where the value has ended; put the whole value in quotes"),
    (r"expected '<document start>', but found '.*'", "this line belongs to no section; write key: value"),
    (r"expected ',' or '(.)', but got '.*'", r"brackets before this are not closed; add \1"),
    (r"found unexpected end of stream", "quotes are not closed; add the closing one"),
    (r"but found another document", "a second document begins here (---); a file holds one, so remove the line"),
)


def _in_plain_words(problem: str) -> str:
    for pattern, words in _PROBLEMS:
        if found := re.fullmatch(pattern, problem):
            return found.expand(words).replace("tag:yaml.org,2002:", "!!")
    return problem


def read_yaml(text: str | bytes) -> Any:
    """One YAML document as plain data. Raises yaml.YAMLError, RecursionError."""
    loader = Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if _expanded(node, {}) > _MOST_VALUES:
            raise _fault(node, "its aliases stand for too many values")
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
