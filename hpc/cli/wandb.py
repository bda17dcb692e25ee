"""holdfast wandb: Mirror results to Weights & Biases, or aggregate runs from there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from hpc.cli import options
from hpc.cli.aggregate import aggregate_and_print
from hpc.cli.command import Group
from hpc.errors import ConfigError
from hpc.launch.remarks import say
from hpc.protocol import CommandExit
from hpc.storage.permissions import untrusted
from hpc.storage.store import Store

command = Group(
    "wandb", help="Mirror results to Weights & Biases, or aggregate runs from there. Results on disk are safe already."
)
_MOST_LINES = 40
_timeout = options.option(
    "--timeout", type=options.NUMBER, default=120.0, metavar="S", help="Seconds to wait for an answer (default: 120)."
)


@command.command("sync", examples=("wandb sync out",))
@options.directory
@options.option("--project", default="", metavar="P", help="Project, instead of the configured one.")
@options.option("--entity", default="", metavar="E", help="Entity, instead of the configured one.")
@options.option("--group", default="", metavar="G", help="Group, instead of the configured one.")
@options.option(
    "--settle",
    type=options.NUMBER,
    default=20.0,
    metavar="S",
    help="Seconds for the server to show what was sent (default: 20).",
)
@options.option("--others", is_flag=True, help="Send complete runs that other programs left in DIR, too.")
@_timeout
def sync(directory: Path, project: str, entity: str, group: str, settle: float, others: bool, timeout: float) -> int:
    """Bring one complete run per cell to the server, compared with the disk. May be interrupted and run again."""
    from hpc.wandb.cells import target_of
    from hpc.wandb.helper import WandbTroubleError
    from hpc.wandb.sync import Patience
    from hpc.wandb.sync import sync as bring

    store = Store(directory.absolute())
    sweep = store.sweep()
    if others and (why := untrusted(store)):
        raise ConfigError([f"{why}; nothing is sent; leave out --others, which sends what other programs left there"])
    target = target_of(sweep)
    target = replace(
        target, project=project or target.project, entity=entity or target.entity, group=group or target.group
    )
    try:
        synced = bring(store, sweep, target, say, Patience(timeout, settle), others)
    except (WandbTroubleError, ImportError) as error:
        say(f"{error}; nothing is lost, the same command resumes")
        return CommandExit.TROUBLE
    _say_some([*synced.remarks, *synced.differing])
    waiting = f", {synced.without_result} have no result yet" if synced.without_result else ""
    print(f"{synced.same} of {len(sweep.grid)} cells are the same on the server, {synced.sent} sent now{waiting}")
    return CommandExit.INCOMPLETE if synced.differing else CommandExit.DONE


@command.command("extract", examples=("wandb extract --project synergy --group pilot --output-dir extracted",))
@options.option("--project", required=True, metavar="P", help="Project of the runs.")
@options.option("--group", required=True, metavar="G", help="Group of the runs.")
@options.option("--entity", default="", metavar="E", help="User or team (default: your own).")
@options.option("--output-dir", required=True, type=options.DIRECTORY, metavar="D", help="Where everything is written.")
@options.option("--offline", type=options.DIRECTORY, metavar="DIR", help="Read .wandb files below DIR; no server.")
@options.option("--tags", multiple=True, metavar="A,B", help="Only runs with one of these.")
@options.option("--state", default="", metavar="STATE", help="Only runs in this state, such as finished.")
@options.option("--config", multiple=True, metavar="KEY=VALUE", help="Only runs with this configuration.")
@options.partial
@_timeout
def extract(
    tags: tuple[str, ...],
    config: tuple[str, ...],
    output_dir: Path,
    offline: Path | None,
    partial: bool,
    timeout: float,
    **fields: str,
) -> int:
    """Aggregate runs from a server, or from .wandb files, with the same tables, statistics and figures."""
    from hpc.wandb.extract import extract as runs_of
    from hpc.wandb.helper import WandbTroubleError

    single = [tag for text in tags for tag in text.split(",") if tag]
    query = runs_of.Query(**fields, tags=single, config=_settings(config))
    if offline is not None and not offline.is_dir():
        raise ConfigError([f"command line: --offline is {str(offline)!r}; there is no such directory"])
    try:
        if offline is not None:
            runs = runs_of.from_files(query, offline, say)
        else:
            runs = runs_of.from_server(query, idle=timeout)
    except (WandbTroubleError, ImportError) as error:
        say(str(error))
        return CommandExit.TROUBLE
    say(f"{len(runs)} runs")
    output = output_dir.absolute()
    _say_some(runs_of.extract(runs, query, output))
    return aggregate_and_print(Store(output), partial)


def _settings(words: tuple[str, ...]) -> dict[str, Any]:
    from hpc.config.command_line import yaml_value
    from hpc.yaml_files import Unquoted

    found: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or not key:
            raise ConfigError([f"command line: --config is {word!r}; write --config key=value"])
        found[key] = value = yaml_value(text)
        if isinstance(value, Unquoted):
            raise ConfigError([f"command line: --config is {word!r}; {value.choice}"])
    return found


def _say_some(lines: list[str]) -> None:
    for line in lines[:_MOST_LINES]:
        say(line)
    if len(lines) > _MOST_LINES:
        say(f"... and {len(lines) - _MOST_LINES} more")
