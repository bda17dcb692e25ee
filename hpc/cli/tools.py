"""aggregate, data and sandbox."""

from __future__ import annotations

import argparse
import time

from hpc.cli.aggregate import aggregate_and_tell
from hpc.errors import ConfigError
from hpc.launch.remarks import say
from hpc.protocol import CommandExit
from hpc.storage.store import Store


def aggregate(arguments: argparse.Namespace) -> int:
    return aggregate_and_tell(Store(arguments.directory.absolute()), arguments.partial)


def data_generate(arguments: argparse.Namespace) -> int:
    """data generate: make a data set, or convert one of upstream's."""
    from training.shapes.generate import convert, generate

    keep = arguments.keep_images
    if arguments.upstream is not None:
        if not arguments.upstream.is_dir():
            raise ConfigError([f"command line: --from is {str(arguments.upstream)!r}; there is no such directory"])
        convert(arguments.upstream, arguments.directory, seed=arguments.seed, progress=say, keep_images=keep)
        return CommandExit.DONE
    sizes = {"train": arguments.train, "val": arguments.val, "test": arguments.test}
    generate(
        arguments.directory, **sizes, seed=arguments.seed, progress=say, latents=arguments.latents, keep_images=keep
    )
    return CommandExit.DONE


def data_check(arguments: argparse.Namespace) -> int:
    from training.shapes.dataset import check

    if not arguments.directory.is_dir():
        raise ConfigError([f"{arguments.directory}: no such directory; `holdfast data generate DIR` makes a data set"])
    print(check(arguments.directory))
    return CommandExit.DONE


def sandbox(arguments: argparse.Namespace) -> int:
    """sandbox up, down, status, preempt."""
    from hpc.sandbox import cluster as cluster

    if arguments.action == "up":
        started = time.monotonic()
        found = cluster.up(nodes=arguments.nodes)
        say(f"sandbox up in {time.monotonic() - started:.1f} s: {arguments.nodes} nodes, partitions low and high")
        print(f"export SLURM_CONF={found.conf}")
        return CommandExit.DONE
    if arguments.action == "down":
        cluster.down()
        say("sandbox down")
        return CommandExit.DONE
    running = cluster.find()
    if running is None:
        say("the sandbox is not up; start it with `holdfast sandbox up`")
        return CommandExit.TROUBLE
    if arguments.action == "preempt":
        evicted = running.preempt(arguments.count)
        say(f"evicted {len(evicted)} tasks: {', '.join(task.id for task in evicted) or 'none was running'}")
        return CommandExit.DONE
    state = running.status()
    for name, alive in state.daemons.items():
        print(f"{name:<12} {'up' if alive else 'DOWN'}")
    for node in state.nodes:
        print(f"{node.name:<12} {node.state}, {node.idle_cpus} of {node.cpus} CPUs idle")
    return CommandExit.DONE
