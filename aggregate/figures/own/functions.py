"""Figures of the user's own: module:function(aggregated_results, output_dir), called after ours are drawn."""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any


def draw_user_figures(targets: Iterable[str], document: bytes) -> Iterator[tuple[str, dict[str, bytes], str]]:
    """Call every function with the content of aggregated_results.json and an empty directory.

    What a function writes there is published with all else, so that a figure that is half written, or made of an older
    aggregation, is never taken for one of this. Yields (target, content of the files it made by path below the
    directory, fault); a function that fails is named and stops nothing else.
    """
    for target in targets:
        with tempfile.TemporaryDirectory(prefix="holdfast-figures-") as made:
            directory, fault = Path(made), ""
            try:
                _load(target)(json.loads(document), directory)
            except Exception as error:  # whatever the user's code raises
                fault = f"figure {target}: {type(error).__name__}: {error}"
            contents = _contents(directory)
            if not contents and not fault:
                fault = f"figure {target}: it saved no file in the directory that it gets as its second argument"
            yield target, contents, fault


def _contents(directory: Path) -> dict[str, bytes]:
    paths = sorted(path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in paths}


def _load(target: str) -> Callable[[Any, Path], object]:
    source, _, name = target.rpartition(":")
    module = _file(Path(source)) if source.endswith(".py") else importlib.import_module(source)
    function: Callable[[Any, Path], object] | None = getattr(module, name, None)
    if not callable(function):
        own = [key for key, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__]
        raise AttributeError(f"it has no function {name!r}; it has {', '.join(own) or 'none'}")
    return function


def _file(path: Path) -> Any:
    """Its neighbours stay importable, as when Python runs a script."""
    if not path.is_absolute():  # the configuration and --figure give absolute ones; others depend on where one stands
        raise ValueError("its file must be named by an absolute path")
    spec = importlib.util.spec_from_file_location(f"_holdfast_figure_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} cannot be loaded as a Python module")
    sys.path.insert(0, str(path.parent))
    try:
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.parent))
    return module
