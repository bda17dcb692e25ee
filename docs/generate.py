"""Writes docs/reference/*.md from the code: command line, configuration, profile, files.

    python docs/generate.py            # writes
    python docs/generate.py --check    # exit 1 if a page is not what the code says
"""

from __future__ import annotations

import argparse
import inspect
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
# argparse wraps help to the terminal; the pages have one width wherever they are made.
os.environ["COLUMNS"] = "100"

from hpc import cli, profile_fields, store  # noqa: E402
from hpc.cell import Cell  # noqa: E402
from hpc.trainer import PROJECT_ROOT  # noqa: E402

REFERENCE = ROOT / "docs" / "reference"
MADE = "<!-- made by docs/generate.py; edit the code instead -->\n\n"


def pages() -> dict[str, str]:
    """Name of a page -> its text."""
    made = {"cli": _command_line(), "configuration": _configuration(), "profile": _profile(), "files": _files()}
    return {f"{name}.md": MADE + text for name, text in made.items()}


def _command_line() -> str:
    text = "# Command line\n\n`holdfast`, `.venv/bin/holdfast` and `python -m hpc` are the same.\n"
    for name, parser in _parsers(cli.parser()):
        usage = re.sub(r"[ \t]+\n", "\n", parser.format_help())
        text += f"\n## {name}\n\n```text\n{usage.strip()}\n```\n"
    return text


def _parsers(parser: argparse.ArgumentParser, name: str = "holdfast") -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """A parser and all below it, in the order of the command line."""
    yield name, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, below in action.choices.items():
                yield from _parsers(below, f"{name} {word}")


def _configuration() -> str:
    template = (ROOT / "config_template.yaml").read_text()
    return (
        "# Configuration\n\nYAML or JSON. Every key with its default; all are optional. A key that is not listed is "
        "refused with the nearest valid name.\nThe command line wins over the file: grid options, or `section.key=value`"
        f" for any key.\n\n```yaml\n{template.strip()}\n```\n"
    )


def _profile() -> str:
    example = (PROJECT_ROOT / "slurm_templates" / "profiles" / "example.yaml").read_text()
    rows = "".join(f"| `{name}` | {_rule(check)} |\n" for name, check in profile_fields.FIELDS.items())
    return (
        "# Cluster profile\n\nA YAML file, named by its path or by its name in `slurm_templates/profiles/`. `local` and "
        "`sandbox` are built in. `--set key=value` changes one key for one call.\n\n"
        f"```yaml\n{example.strip()}\n```\n\n## What each key may hold\n\n| key | a value |\n|---|---|\n{rows}"
    )


def _rule(check: object) -> str:
    """What a check says of a value it cannot take."""
    assert callable(check)
    said = next((str(fault) for fault in (check(object()), check(-1)) if fault), "anything")
    return said.replace("|", "\\|")


def _files() -> str:
    sweep = store.Store(Path("out"))
    cell = Cell((("dim", 8), ("scale", 1.0)), 42, 0)
    text = "# Files of a sweep\n\nThe names hpc/store.py gives, for the cell `dim_8_scale_1.0_run_0` of a sweep in `out`.\n\n"
    text += "| file | what it is |\n|---|---|\n"
    for name, path in _paths(sweep, cell):
        text += f"| `{path}` | {name} |\n"
    return text


def _paths(sweep: store.Store, cell: Cell) -> Iterator[tuple[str, Path]]:
    given = {"cell": cell, "pack": 17, "attempt": 1, "submission": 3, "array": 0, "index": 0, "generation": 2}
    given |= {"run": "abc123", "code_digest": "0" * 16, "device": "cpu", "digest": "0" * 16}
    for name, member in inspect.getmembers_static(store.Store):
        if not name.endswith(("_file", "_directory", "_log", "_script", "private_history", "private_weights")):
            continue
        if isinstance(member, property):
            path = getattr(sweep, name)
        elif inspect.isfunction(member) and set(_names(member)) <= set(given):
            path = getattr(sweep, name)(*(given[argument] for argument in _names(member)))
        else:
            continue
        text = inspect.getdoc(member.fget if isinstance(member, property) else member) or name.replace("_", " ")
        yield " ".join(text.split()).removesuffix("."), path


def _names(function: object) -> list[str]:
    assert callable(function)
    return [name for name in inspect.signature(function).parameters if name != "self"]


def main() -> int:
    check = "--check" in sys.argv[1:]
    stale = [name for name, text in pages().items() if not _is(REFERENCE / name, text)]
    for name in stale:
        if check:
            print(f"docs/reference/{name} is not what the code says; run `make docs`", file=sys.stderr)
        else:
            REFERENCE.mkdir(parents=True, exist_ok=True)
            (REFERENCE / name).write_text(pages()[name])
    return 1 if check and stale else 0


def _is(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text() == text


if __name__ == "__main__":
    sys.exit(main())
