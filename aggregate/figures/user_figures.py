"""Figures of the user's own: module:function(aggregated_results, output_dir), called after ours."""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any


def draw_user_figures(
    targets: Iterable[str], document: bytes, directory: Path
) -> Iterator[tuple[str, list[Path], str]]:
    """Call every function with the content of aggregated_results.json and the directory for figures.

    Yields (target, files it made or changed, fault); a function that fails is named and stops nothing else.
    """
    for target in targets:
        before = _stamps(directory)
        try:
            _load(target)(json.loads(document), directory)
            fault = ""
        except Exception as error:  # whatever the user's code raises
            fault = f"figure {target}: {type(error).__name__}: {error}"
        after = _stamps(directory)
        yield target, sorted(path for path, stamp in after.items() if before.get(path) != stamp), fault


def _stamps(directory: Path) -> dict[Path, tuple[int, int]]:
    found = ((path, path.stat()) for path in directory.rglob("*") if path.is_file())
    return {path: (stat.st_mtime_ns, stat.st_size) for path, stat in found}


def _load(target: str) -> Callable[[Any, Path], object]:
    source, _, name = target.rpartition(":")
    module = _file(Path(source)) if source.endswith(".py") else importlib.import_module(source)
    function: Callable[[Any, Path], object] = getattr(module, name)
    return function


def _file(path: Path) -> Any:
    """Its neighbours stay importable, as when Python runs a script."""
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
