"""The reference pages, generated from the code: command line, configuration, profile, files, JSON, modules.

They are not kept in the repository: docs/hooks.py adds them whenever the documentation is built.
"""

from __future__ import annotations

import ast
import contextlib
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]

import click  # noqa: E402
import json_outputs  # noqa: E402

from hpc.cli import app  # noqa: E402
from hpc.cli.command import WIDTH  # noqa: E402
from hpc.errors import ConfigError  # noqa: E402
from hpc.faults import Faults, Section  # noqa: E402
from hpc.slurm.profile_keys import ProfileKeys  # noqa: E402
from hpc.storage.layout import Layout  # noqa: E402
from hpc.sweep.cell import Cell  # noqa: E402

# What a file is, where the name of its method in hpc/storage does not say it well enough.
_FILES = {
    "certificate_file": "one certificate, by configuration and device",
    "cell_directory": "one cell: its result, its history, its attempts",
    "sweep_file": "the plan: grid, configuration, digests, analysis, versions; a revision each time it grew",
    "cell_config_file": "what the cell was trained with",
    "result_file": "the cell's result, written once: metrics, status, digests, provenance",
    "history_file": "one row per epoch",
    "weights_file": "final weights",
    "log_file": "what happened to the cell, over all attempts",
    "attempts_directory": "one directory per attempt",
    "attempt_directory": "one attempt at the cell",
    "failure_file": "why an attempt failed, with its traceback",
    "conflict_file": "a second outcome that differs from the published one",
    "pointer_file": "which pack attempt this attempt is part of",
    "pack_directory": "one attempt of one pack of cells",
    "pack_file": "its cells, node, process and job",
    "pack_log": "everything its process wrote",
    "progress_file": "epochs of its cells, for `status`",
    "generation_file": "a checkpoint: one row per cell; the newest two are kept",
    "private_history": "a history until its cell is published",
    "private_weights": "weights until their cell is published",
    "aggregated_file": "per condition: mean, std, interval, n, individual results",
    "statistics_file": "claims, contrasts, intervals, corrections",
    "table_file": "one row per cell",
    "curves_file": "one row per cell and epoch",
    "plots_directory": "figures",
    "report_file": "the report: one file, works offline",
    "code_directory": "the snapshot that tasks run",
    "intent_file": "what a submission is about to queue, written before sbatch is called",
    "receipt_file": "what Slurm answered",
    "cancel_file": "a cancellation, which takes the next number: the cells not to be trained any more",
    "void_file": "tasks of an array that are not to train any more, and why",
    "array_script": "the script of an array, as sbatch got it",
    "tasks_file": "which task trains which cells",
    "logs_directory": "output of tasks",
    "lock_directory": "held by the command that is working in the directory",
    "cache_file": "what an aggregation remembers of the cells it read; safe to remove",
    "certificates_directory": "what `holdfast check resume` found",
    "wandb_journal_file": "what `holdfast wandb sync` has seen to be the same on a server",
    "wandb_raw_file": "runs as `holdfast wandb extract` found them",
    "wandb_processed_file": "what `holdfast wandb extract` made of them: one entry per cell",
    "state_cache_file": "a cache of `status`; safe to remove",
}


def pages() -> dict[str, str]:
    """The text of each page, by its file name."""
    return {
        "cli.md": command_line(),
        "configuration.md": configuration(),
        "profile.md": profile(),
        "files.md": files(),
        "json.md": json_outputs.page(),
        "modules.md": modules(),
    }


def modules() -> str:
    """Every module with the first sentences of its docstring."""
    text = "# Modules\n\nWhere to look for what: every folder and module, by the first sentences of its docstring.\n"
    for folder in sorted(
        path.parent for top in ("hpc", "training", "aggregate") for path in (ROOT / top).rglob("__init__.py")
    ):
        text += f"\n## {folder.relative_to(ROOT)}\n\n| module | what it is |\n|---|---|\n"
        for path in sorted(folder.glob("*.py")):
            told = ast.get_docstring(ast.parse(path.read_text())) or ""
            first = " ".join(told.partition("\n\n")[0].split()).replace("|", "\\|")
            text += f"| `{path.name}` | {first} |\n" if first else ""
    return text


def command_line() -> str:
    text = "# Command line\n\n`holdfast`, `.venv/bin/holdfast` and `python -m hpc` are the same.\n"
    # One width for the page, whatever terminal this runs in.
    top = click.Context(app.holdfast, info_name="holdfast", terminal_width=WIDTH, **app.holdfast.context_settings)
    for context in _commands(top):
        text += f"\n## {context.command_path}\n\n```text\n{context.get_help().strip()}\n```\n"
    return text


def _commands(context: click.Context) -> Iterator[click.Context]:
    """A command and all of its subcommands, in the order of the command line."""
    yield context
    if isinstance(context.command, click.Group):
        for name in context.command.list_commands(context):
            command = context.command.get_command(context, name)
            assert command is not None
            yield from _commands(click.Context(command, info_name=name, parent=context))


def configuration() -> str:
    template = (ROOT / "config_template.yaml").read_text()
    return (
        "# Configuration\n\nYAML or JSON. Every key is shown with its default; all are optional. An unlisted key "
        "is refused, and the nearest valid name is suggested. The command line overrides the file: grid options, or "
        f"`section.key=value` for any key.\n\n```yaml\n{template.strip()}\n```\n"
    )


def profile() -> str:
    example = (ROOT / "slurm_templates" / "profiles" / "example.yaml").read_text()
    rows = "".join(f"| `{name}` | {rule} |\n" for name, rule in _rules(ProfileKeys))
    return (
        "# Cluster profile\n\nA YAML file, named by its path or by its name in `slurm_templates/profiles/`. `local` "
        "and `sandbox` are built in. `--set key=value` overrides one key for one call.\n\n"
        f"```yaml\n{example.strip()}\n```\n\n## Valid values\n\n| key | valid values |\n|---|---|\n{rows}"
    )


def _rules(model: type[Section], section: str = "") -> Iterator[tuple[str, str]]:
    """Every key, with those of its subsections, and what a fault says about a value that it cannot hold."""
    for name, field in model.model_fields.items():
        inner = [part for part in get_args(field.annotation) if isinstance(part, type) and issubclass(part, Section)]
        if inner:
            yield from _rules(inner[0], f"{section}{name}.")
        else:
            yield f"{section}{name}", _rule(model, name).replace("|", "\\|")


def _rule(model: type[Section], name: str) -> str:
    """What a fault says about a value of the right type that the key, or one of its entries, cannot hold."""
    said = []
    for wrong in (-1, "\0", ["\0"], {"exclusive": False}):
        faults = Faults("")
        with contextlib.suppress(ConfigError):
            faults.validate({name: wrong}, model)
        found = [re.search(rf": {name}([.\[]?).*?; (.*)", line) for line in faults.lines]
        said += [("each " if fault[1] else "") + fault[2] for fault in found if fault]
    return next(rule for rule in said if not re.match(r"must be (text|a list|a section|a whole number)\b", rule))


def files() -> str:
    rows = sorted((str(path), text) for text, path in _paths())
    return (
        "# Files of a sweep\n\nThe names come from `hpc/storage/layout.py`, here for one cell of a sweep in `out`. "
        "Every file is written atomically. What you need is in the top directory and in `individual_results/`."
        "\n\n| file | what it is |\n|---|---|\n" + "".join(f"| `{path}` | {text} |\n" for path, text in rows)
    )


def _paths() -> Iterator[tuple[str, Path]]:
    sweep = Layout(Path("out"))
    given = {
        "cell": Cell((("dim", 8), ("scale", 1.0)), 42, 0),
        "pack_attempt": 17,
        "attempt": 1,
        "submission": 3,
        "array": 0,
    }
    given |= {
        "index": 0,
        "generation": 2,
        "run": "abc123",
        "code_digest": "0" * 16,
        "device": "cpu",
        "digest": "0" * 16,
        "unique": "4f0c2d81aa",
    }
    for name, member in inspect.getmembers_static(sweep):
        if not re.search(r"_(file|directory|log|script|history|weights)$", name):
            continue
        is_method = callable(member)
        words = [word for word in inspect.signature(member).parameters if word != "self"] if is_method else []
        if not set(words) <= set(given):
            continue
        path = getattr(sweep, name)(*(given[word] for word in words)) if is_method else getattr(sweep, name)
        said = inspect.getdoc(member) or "" if is_method else ""
        text = _FILES.get(name) or " ".join(said.split()) or name.replace("_", " ")
        yield text.removesuffix("."), path
