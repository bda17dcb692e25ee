"""wandb sync and wandb extract."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

import yaml

from hpc.cli.aggregate import aggregate_and_tell
from hpc.errors import ConfigError
from hpc.launch.remarks import say
from hpc.protocol import CommandExit
from hpc.storage.store import Store
from hpc.yaml_files import read_yaml

_MOST_LINES = 40


def sync(arguments: argparse.Namespace) -> int:
    """wandb sync: bring a sweep's results to a server, audited."""
    from hpc.wandb.cells import target_of
    from hpc.wandb.helper import WandbTroubleError
    from hpc.wandb.sync import Patience
    from hpc.wandb.sync import sync as bring

    store = Store(arguments.directory.absolute())
    sweep = store.sweep()
    given = {name: getattr(arguments, name) for name in ("project", "entity", "group") if getattr(arguments, name)}
    target = replace(target_of(sweep), **given)
    try:
        synced = bring(store, sweep, target, say, Patience(arguments.timeout, arguments.settle))
    except (WandbTroubleError, ImportError) as error:
        say(f"{error}; nothing is lost, the same command goes on")
        return CommandExit.TROUBLE
    _say_some([*synced.remarks, *synced.differing])
    waiting = f", {synced.without_result} have no result yet" if synced.without_result else ""
    print(f"{synced.same} of {len(sweep.grid)} cells are the same on the server, {synced.sent} sent now{waiting}")
    return CommandExit.INCOMPLETE if synced.differing else CommandExit.DONE


def extract(arguments: argparse.Namespace) -> int:
    """wandb extract: runs of a group, from a server or from files, aggregated like a sweep."""
    from hpc.wandb.extract.extract import Query, from_files, from_server
    from hpc.wandb.extract.extract import extract as write
    from hpc.wandb.helper import WandbTroubleError

    tags = [tag for text in arguments.tags for tag in text.split(",") if tag]
    query = Query(
        arguments.project, arguments.group, arguments.entity, tags, arguments.state, _settings(arguments.config)
    )
    output = arguments.output_dir.absolute()
    if arguments.offline is not None and not arguments.offline.is_dir():
        raise ConfigError([f"command line: --offline is {str(arguments.offline)!r}; there is no such directory"])
    try:
        if arguments.offline is not None:
            runs = from_files(query, arguments.offline, say)
        else:
            runs = from_server(query, idle=arguments.timeout)
    except (WandbTroubleError, ImportError) as error:
        say(str(error))
        return CommandExit.TROUBLE
    if not runs:
        raise ConfigError([f"no run of group {query.group!r} in project {query.project!r} fits; check names, filters"])
    say(f"{len(runs)} runs")
    _say_some(write(runs, query, output))
    return aggregate_and_tell(Store(output), arguments.partial)


def _settings(words: list[str]) -> dict[str, Any]:
    """key=value as YAML reads the value: 8 is a number, fusion_only a word."""
    found: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or not key:
            raise ConfigError([f"command line: --config is {word!r}; write --config key=value"])
        try:
            found[key] = read_yaml(text)
        except (yaml.YAMLError, RecursionError):
            found[key] = text
    return found


def _say_some(lines: list[str]) -> None:
    for line in lines[:_MOST_LINES]:
        say(line)
    if len(lines) > _MOST_LINES:
        say(f"... and {len(lines) - _MOST_LINES} more")
