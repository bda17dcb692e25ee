"""What a trainer declares: its factors, metrics and pack mode, read without importing it.

The declaration is read from literals at the top level of the trainer's module (see training/contract.py), so that
planning, submission and status load neither torch nor the user's code.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from hpc.checkout import COMMAND_TRAINER, PROJECT_ROOT
from hpc.errors import shown, unknown_key
from hpc.sweep.cell import check_factor_name
from hpc.sweep.definition import DeclaredTrainer
from hpc.trainers.source import TrainerError, find, parse, refuse_shadowed

_LITERALS = ("FACTORS", "METRICS", "OPTIONS", "PACK_MODE", "DATA_FILES", "SEEDED")
_FACTOR_KEYS = {"kind", "minimum", "ordered", "field", "label", "slug", "log", "overrides", "about"}
_METRIC_KEYS = {"kind", "better", "chance", "label", "optional", "scaled_by", "error", "about"}
ERRORS = ("squared", "cross entropy")
_FLAG = "True or False"
# Keys that are not listed here hold text.
_KEY_KINDS = {"minimum": "a number", "chance": "a number", "ordered": _FLAG, "log": _FLAG, "optional": _FLAG}
_METRIC = re.compile(r"[A-Za-z][A-Za-z0-9_./@:+-]{0,99}")
_COMMAND_KEYS = ("command", "factors", "metrics", "data_files", "pack_mode", "seeded")
PACK_MODES = ("fused", "concurrent", "sequential")
_COMMAND_MODES = ("concurrent", "sequential")  # each call of a command trains one cell


def read_declaration(target: str, search: Iterable[Path], options: Iterable[str] = ()) -> DeclaredTrainer:
    """Find a trainer and read its literals. Nothing of it is executed.

    target: ``module:function`` or ``path/to/file.py:function``.
    search: directories for modules and relative files, in order.
    options: names that the configuration gives a value to, to be among the trainer's OPTIONS if it declares them.
    Raises TrainerError.
    """
    # From the right: a path may contain a colon.
    source, _, function = target.rpartition(":")
    if not source or not function.isidentifier():
        raise TrainerError(
            f"{target!r} does not name a trainer; write module:function or path/to/file.py:function "
            "(for a script with a command line of its own: `holdfast init --from COMMAND`)"
        )
    path = find(source, list(search))
    tree = parse(path)
    refuse_shadowed(source, tree, path)
    found = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == function]
    if not found:
        raise TrainerError(f"{path.name} has no function {function!r}; give the trainer's name after the colon")
    _check_signature(found[-1].args, f"{path.name}: {function}")
    literals = _literals(tree, path)
    for required in ("FACTORS", "METRICS"):
        if not isinstance(literals.get(required), dict):
            raise TrainerError(f"{path.name} does not declare {required}; add a literal dictionary at its top level")
    check_factors(literals["FACTORS"], lambda name: f"{path.name}: FACTORS[{name!r}]")
    check_metrics(literals["METRICS"], literals["FACTORS"], lambda name: f"{path.name}: METRICS[{name!r}]")
    if "OPTIONS" in literals:
        _check_options(literals["OPTIONS"], options, path.name)
    mode = literals.get("PACK_MODE", "sequential")
    if mode not in PACK_MODES:
        raise TrainerError(f"{path.name}: PACK_MODE is {mode!r}; valid: {', '.join(PACK_MODES)}")
    name = f"{path.name}:{function}" if source.endswith(".py") else target
    return DeclaredTrainer(
        name,
        str(path),
        literals["FACTORS"],
        literals["METRICS"],
        mode,
        _data_files(literals, path.name),
        seeded=_seeded(literals.get("SEEDED", ""), f"{path.name}: SEEDED"),
    )


def _check_signature(arguments: ast.arguments, what: str) -> None:
    """Raise TrainerError unless the function can be called with three values in order."""
    given = len(arguments.posonlyargs) + len(arguments.args)
    needed = given - len(arguments.defaults)
    extra = [name for name, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if default is None]
    if needed > 3 or (given < 3 and arguments.vararg is None) or extra:
        raise TrainerError(f"{what}({ast.unparse(arguments)}) cannot be called; write (cells, options, run)")


def command_declaration(spec: Mapping[str, Any]) -> tuple[DeclaredTrainer, str]:
    """A shell command as a trainer, declared in the configuration.

    spec: {command, factors, metrics, data_files, pack_mode, seeded}. Returns (trainer, command). Raises TrainerError.
    """
    for key in spec:
        if key not in _COMMAND_KEYS:
            raise TrainerError(unknown_key(str(key), str(key), _COMMAND_KEYS))
    command = spec.get("command")
    if not isinstance(command, str) or not command.strip():
        raise TrainerError("a trainer in the configuration needs a command: the shell command to run for each cell")
    for key in ("factors", "metrics"):
        if not isinstance(spec.get(key), Mapping):
            raise TrainerError(f"a command needs {key}: a section like a trainer's {key.upper()}")
    factors, metrics = dict(spec["factors"]), dict(spec["metrics"])
    return declared_in_configuration(spec, COMMAND_TRAINER, None, factors, metrics, "metrics"), command


def declared_in_configuration(
    spec: Mapping[str, Any],
    target: str,
    path: Path | None,
    factors: dict[str, Any],
    metrics: dict[str, Any],
    metrics_key: str,
) -> DeclaredTrainer:
    """A trainer from its section, checked. Raises TrainerError.

    path: of the user's script; None for our module. metrics_key: the key of the section that declares the metrics.
    """
    check_factors(factors, lambda name: f"factors.{name}")
    check_metrics(metrics, factors, lambda name: f"{metrics_key}.{name}")
    patterns = spec.get("data_files", ["*"])
    if not isinstance(patterns, list) or not all(isinstance(pattern, str) for pattern in patterns):
        raise TrainerError("data_files must be a list of patterns, such as ['*.npy']")
    mode = spec.get("pack_mode", "sequential")
    if mode not in _COMMAND_MODES:
        raise TrainerError(f"pack_mode is {shown(mode)}; valid for a command: {', '.join(_COMMAND_MODES)}")
    ours = PROJECT_ROOT.joinpath(*target.rpartition(":")[0].split(".")).with_suffix(".py")
    seeded = _seeded(spec.get("seeded", ""), "seeded")
    return DeclaredTrainer(target, str(path or ours), factors, metrics, mode, tuple(patterns), seeded=seeded)


def _literals(tree: ast.Module, path: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if name in _LITERALS:
                pass
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value) if name in _LITERALS:
                pass
            case _:
                continue
        try:
            found[name] = ast.literal_eval(value)
        except (ValueError, TypeError, RecursionError, MemoryError):
            raise TrainerError(
                f"{path.name}:{node.lineno}: {name} is computed; write it as a literal, it is read without running code"
            ) from None
    return found


def _data_files(literals: Mapping[str, Any], where: str) -> tuple[str, ...]:
    patterns = literals.get("DATA_FILES", ["*"])
    if not isinstance(patterns, list | tuple) or not patterns:
        raise TrainerError(f"{where}: DATA_FILES is {patterns!r}; write a list of patterns, such as ['*.npy']")
    for pattern in patterns:
        if not isinstance(pattern, str) or not pattern or pattern.startswith("/") or ".." in pattern.split("/"):
            raise TrainerError(f"{where}: DATA_FILES has {pattern!r}; write text relative to the data directory")
    return tuple(patterns)


def _seeded(value: object, place: str) -> str:
    if not isinstance(value, str) or not value.isprintable():
        raise TrainerError(f"{place} is {shown(value)}; write one line of text, such as 'the initial weights'")
    return value


def check_factors(factors: dict[str, Any], place: Callable[[object], str]) -> None:
    """Raise TrainerError for a factor that is not declared as the contract says. place: where a name is declared."""
    _check_entries(factors, _FACTOR_KEYS, ("integer", "real", "word"), place)
    fields: dict[str, str] = {}
    for name, factor in factors.items():
        field = factor.get("field", name)
        for text in (name, field):
            try:
                check_factor_name(text)
            except ValueError as error:
                raise TrainerError(f"{place(name)}: {text!r}: {error}") from None
        if field in fields:
            raise TrainerError(f"{place(name)} has the field {field!r} of {fields[field]!r}; rename one")
        fields[field] = name


def check_metrics(metrics: dict[str, Any], factors: Mapping[str, Any], place: Callable[[object], str]) -> None:
    """Raise TrainerError for a metric that is not declared as the contract says. place: where a name is declared."""
    _check_entries(metrics, _METRIC_KEYS, ("bounded", "positive", "real"), place)
    for name in metrics:
        # Names become columns of CSV files and names of figures.
        if not _METRIC.fullmatch(name) or name == "epoch":
            raise TrainerError(
                f"{place(name)}: a metric's name is letters, digits and any of _ . / @ : + -, "
                "beginning with a letter, and not 'epoch'"
            )
        error = metrics[name].get("error")
        if error is not None and error not in ERRORS:
            raise TrainerError(f"{place(name)}: 'error' is {error!r}; valid: {', '.join(ERRORS)}")
        factor = metrics[name].get("scaled_by")
        if factor is not None and factor not in factors:
            raise TrainerError(f"{place(name)}: 'scaled_by' is {factor!r}; valid: {', '.join(map(str, factors))}")


def _check_options(declared: Any, given: Iterable[str], where: str) -> None:
    """A list of names, or a dictionary of which only the names count: its values may be defaults or remarks."""
    if not isinstance(declared, list | tuple | set | dict) or not all(isinstance(name, str) for name in declared):
        raise TrainerError(f"{where}: OPTIONS is {shown(declared)}; write a list of names, such as ['steps']")
    for name in given:
        if name not in declared:
            raise TrainerError(f"{where}: {unknown_key(f'trainer_options.{name}', name, sorted(declared) or ['none'])}")


def _check_entries(
    entries: dict[str, Any], keys: set[str], kinds: tuple[str, ...], place: Callable[[object], str]
) -> None:
    for name, entry in entries.items():
        if not isinstance(name, str):
            raise TrainerError(f"{place(name)}: a name is text; put it in quotes")
        if not isinstance(entry, Mapping) or entry.get("kind") not in kinds:
            given = entry.get("kind") if isinstance(entry, Mapping) else entry
            raise TrainerError(f"{place(name)} has kind {given!r}; valid: {', '.join(kinds)}")
        for key, value in entry.items():
            if key not in keys:
                raise TrainerError(f"{place(name)}: {unknown_key(str(key), str(key), sorted(keys))}")
            if not _is_of_kind(value, _KEY_KINDS.get(key, "text")):
                raise TrainerError(f"{place(name)}: {key!r} is {value!r}; it must be {_KEY_KINDS.get(key, 'text')}")
        if "better" in keys and entry.get("better") not in ("higher", "lower"):
            raise TrainerError(f"{place(name)} needs 'better': higher or lower")


def _is_of_kind(value: object, kind: str) -> bool:
    if kind == "a number":
        return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf
    return isinstance(value, bool if kind == _FLAG else str)
