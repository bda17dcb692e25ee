"""Every command of the command line, its options and what --help says of them. What they do is in hpc/commands."""

from __future__ import annotations

import argparse
import importlib.metadata
from collections.abc import Callable
from pathlib import Path

from hpc.cli.help_examples import add_examples
from hpc.cli.parser import Parser

_JSON = "machine-readable output; its fields are in the reference"
EPILOG = """exit codes: 0 done; 2 wrong configuration or arguments; 3 input, output or scheduler trouble;
4 finished, but cells are missing, failed or in conflict; 130 interrupted"""


def parser() -> Parser:
    """The whole command line."""
    top = Parser(
        prog="holdfast",
        description="Multi-seed sweeps on Slurm: preempted, requeued, resumed bit for bit, and never lost.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.set_defaults(verbose=False)
    top.add_argument("--version", action="version", version=f"holdfast {_version()}")
    subparsers = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, action: str, text: str) -> argparse.ArgumentParser:
        made = subparsers.add_parser(name, help=text, description=text, epilog=EPILOG)
        made.set_defaults(call=action)
        return made

    _plan(add("plan", "sweeps.plan", "What would run: cells done and to run, packs, files. Writes nothing."))
    _run(add("run", "sweeps.run", "Run a sweep here in worker processes, then aggregate. Goes on where it stopped."))
    _submit(add("submit", "sweeps.submit", "Queue a sweep as Slurm arrays. Only what is missing is queued."))
    _questions(add)
    _results(add)
    _data(subparsers)
    _checks(subparsers)
    _wandb(subparsers)
    _sandbox(subparsers)
    _start(add)
    add_examples(top)
    return top


def _version() -> str:
    try:
        return importlib.metadata.version("holdfast")
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"


def _grid_options(parser: argparse.ArgumentParser) -> None:
    """The options that describe a sweep, under the predecessor's names."""
    parser.add_argument(
        "words", nargs="*", metavar="DIR | key=value", help="an existing sweep to go on with, or dotted settings"
    )
    group = parser.add_argument_group("grid options")
    group.add_argument("--config", type=Path, metavar="FILE", help="YAML or JSON configuration")
    group.add_argument("--dims", metavar="8,12", help="workspace dimensions")
    group.add_argument("--synergy-scales", metavar="0.1,1.0", help="synergy loss scales")
    group.add_argument("--runs-per-condition", type=int, metavar="N", help="seeds 42 to 41+N; on a sweep: grow it")
    group.add_argument("--axis", action="append", default=[], metavar="NAME=V1,V2", help="values of any factor")
    group.add_argument("--experiment", metavar="NAME", help="loss configuration, such as fusion_only")
    group.add_argument("--epochs", type=int, metavar="N")
    group.add_argument("--batch-size", type=int, metavar="N")
    group.add_argument("--output-dir", metavar="DIR", help="the sweep directory (default: out)")
    group.add_argument("--no-wandb", action="store_true", help="do not log to Weights & Biases")
    parser.add_argument("-y", "--yes", action="store_true", help="confirm a very large grid")


def _pack_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--pack", metavar="N", help="cells a task trains together: a number, or auto after a pilot (default: 1)"
    )
    command.add_argument("--allow-code-change", action="store_true", help="go on although the trainer's code changed")
    command.add_argument("--include-failed", action="store_true", help="also run cells that failed before")


def _profile_fields(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="a profile's field, for this call alone"
    )


def _take_over(command: argparse.ArgumentParser) -> None:
    command.add_argument("--take-over", action="store_true", help="take the lock of a command that is gone for good")


def _plan(command: argparse.ArgumentParser) -> None:
    _grid_options(command)
    _pack_options(command)
    _profile_fields(command)
    command.add_argument("--profile", metavar="P", help="whose pilot and limits to count with")
    seeds = command.add_argument_group("seeds needed", "of a sweep that has two or more seeds a condition already")
    seeds.add_argument("--target-halfwidth", type=float, metavar="H", help="for an interval mean +- H")
    seeds.add_argument("--target-effect", type=float, metavar="D", help="to tell a paired difference of D from none")
    seeds.add_argument("--power", type=float, default=0.8, metavar="P", help="with --target-effect (default: 0.8)")
    seeds.add_argument("--metric", metavar="NAME", help="of this metric (default: the first primary one)")
    command.add_argument("--json", action="store_true", help=_JSON)


def _run(command: argparse.ArgumentParser) -> None:
    _grid_options(command)
    _pack_options(command)
    command.add_argument("--parallel-jobs", type=_positive, metavar="N", help="worker processes (default: one a core)")
    command.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    command.add_argument("--analyze-only", action="store_true", help="only aggregate what is there")
    command.add_argument("--cell", metavar="NAME", help="this cell alone")
    command.add_argument("--debug", action="store_true", help="with --cell: in the foreground")
    _take_over(command)


def _submit(command: argparse.ArgumentParser) -> None:
    _grid_options(command)
    _pack_options(command)
    command.add_argument("--profile", required=True, metavar="P", help="sandbox, local, a name in profiles/, or a path")
    _profile_fields(command)
    command.add_argument("--all-nodes", action="store_true", help="also nodes on which tasks failed at the start")
    command.add_argument("--dry-run", action="store_true", help="print the plan and write nothing")
    command.add_argument("--prepare", action="store_true", help="write everything and print the sbatch line")
    command.add_argument("--wait", action="store_true", help="wait; queue again what came back unfinished")
    command.add_argument("--then-aggregate", action="store_true", help="a job afterwards that aggregates")
    _take_over(command)


def _questions(add: Callable[..., argparse.ArgumentParser]) -> None:
    status = add("status", "questions.show_status", "Cells by state, progress, attempts, estimate.")
    _directory(status)
    status.add_argument("--json", action="store_true", help=_JSON)
    status.add_argument("--watch", action="store_true", help="look again until nothing more will happen")
    show = add("show", "questions.show", "One cell: state, attempts, metrics, cause, log.")
    _directory(show)
    show.add_argument("cell", metavar="CELL", help="such as dim_8_scale_1.0_run_0")
    show.add_argument("--log", action="store_true", help="its log and its output")
    show.add_argument("--follow", action="store_true", help="the log as it grows")
    show.add_argument("--json", action="store_const", dest="call", const="questions.show_json", help=_JSON)
    cancel = add("cancel", "questions.cancel", "Cancel queued and running tasks; what they finished is kept.")
    _directory(cancel)
    cancel.add_argument("--dim", metavar="8")
    cancel.add_argument("--scale", metavar="0.1")
    cancel.add_argument("--axis", action="append", type=_setting, default=[], metavar="NAME=VALUE")
    cancel.add_argument("--state", type=str.upper, choices=("PENDING", "RUNNING"), help="only these")
    cancel.add_argument("--cell", metavar="NAME")
    cancel.add_argument("-y", "--yes", action="store_true", help="do not ask")


def _results(add: Callable[..., argparse.ArgumentParser]) -> None:
    command = add("aggregate", "tools.aggregate", "Tables, statistics, plots and report from what has finished.")
    _directory(command)
    command.add_argument("--partial", action="store_true", help="exit 0 although cells are missing or failed")


def _data(subparsers: argparse._SubParsersAction[Parser]) -> None:
    actions = _below(subparsers, "data", "SimpleShapes data sets with XOR targets.")
    generate = actions.add_parser("generate", help="make a data set", description="Whole or not at all.")
    _directory(generate)
    generate.add_argument("--train", type=_positive, default=500_000, metavar="N", help="rows (default: 500000)")
    generate.add_argument("--val", type=_positive, default=1_000, metavar="N", help="rows (default: 1000)")
    generate.add_argument("--test", type=_positive, default=1_000, metavar="N", help="rows (default: 1000)")
    generate.add_argument("--seed", type=int, default=0, metavar="S")
    generate.add_argument("--from", dest="upstream", type=Path, metavar="DIR", help="an upstream SimpleShapes set")
    generate.add_argument("--latents", choices=("vae", "mixed"), default="vae", help="mixed: quick, without images")
    generate.add_argument("--keep-images", action="store_true", help="also write the images")
    generate.set_defaults(call="tools.data_generate")
    check = actions.add_parser("check", help="check a data set", description="Prove the synergy property.")
    _directory(check)
    check.set_defaults(call="tools.data_check")


def _checks(subparsers: argparse._SubParsersAction[Parser]) -> None:
    text = "Is everything as it should be? Verdicts with numbers and what to do."
    actions = _below(subparsers, "check", text)
    text = "Ask the cluster, try the shared directory, and with --profile try a node by one small job."
    cluster = actions.add_parser("cluster", help=text, description=text, epilog=EPILOG)
    cluster.add_argument("--profile", metavar="P", help="sandbox, local, a name in profiles/, or a path")
    _profile_fields(cluster)
    cluster.add_argument("--config", type=Path, metavar="FILE", help="the configuration of the sweep to come")
    cluster.add_argument("--pilot", action="store_true", help="also measure step time and memory by pack width")
    cluster.add_argument("--directory", type=Path, metavar="DIR", help="shared directory to try (default: the sweep's)")
    cluster.add_argument("--wait", type=_positive, default=300, metavar="S", help="seconds a job may wait to start")
    cluster.add_argument("--export", type=Path, metavar="FILE", help="write all of it as JSON, for a bug report")
    cluster.add_argument("--json", action="store_true", help=_JSON)
    cluster.set_defaults(call="checks.cluster")
    _check_resume(actions)
    _check_stats(actions)


def _check_stats(actions: argparse._SubParsersAction[Parser]) -> None:
    text = "Simulate the coverage of every interval and band, and the error of every correction. About 15 s."
    stats = actions.add_parser("stats", help=text, description=text, epilog=EPILOG)
    stats.add_argument("directory", nargs="?", type=Path, metavar="DIR", help="a sweep: also on data like its own")
    stats.add_argument("--short", action="store_true", help="fewer repeats: two seconds, and errors of a point")
    stats.set_defaults(call="statistics.check_stats")


def _check_resume(actions: argparse._SubParsersAction[Parser]) -> None:
    text = "Train cells straight and again under kills and requeues; all has to agree bit for bit. Certifies it."
    resume = actions.add_parser("resume", help=text, description=text, epilog=EPILOG)
    resume.add_argument("--profile", default="local", metavar="P", help="sandbox, local (default), a name, or a path")
    resume.add_argument("--config", type=Path, metavar="FILE", help="YAML or JSON configuration")
    resume.add_argument("--output-dir", metavar="DIR", help="the sweep directory that gets the certificate")
    resume.add_argument("--epochs", type=int, metavar="N", help="train shorter for the check")
    resume.add_argument("--cells", type=_positive, default=3, metavar="N", help="cells to try (default: 3)")
    resume.add_argument("--minutes", type=_positive, default=10, metavar="M", help="give up after (default: 10)")
    resume.add_argument("--seed", type=int, default=0, metavar="S", help="of the moments at which faults fall")
    resume.set_defaults(call="resume.check_resume")


def _wandb(subparsers: argparse._SubParsersAction[Parser]) -> None:
    text = "Weights & Biases: a mirror of results that are safe already, and a way to read runs."
    actions = _below(subparsers, "wandb", text)
    text = "One complete run a cell on the server, compared with the disk; may be interrupted and run again."
    sync = actions.add_parser("sync", help="bring a sweep to a server", description=text, epilog=EPILOG)
    _directory(sync)
    for name in ("project", "entity", "group"):
        sync.add_argument(f"--{name}", default="", metavar=name[0].upper(), help="instead of the configured one")
    settle = "seconds for the server to show what was sent (default: 20)"
    sync.add_argument("--settle", type=float, default=20.0, metavar="S", help=settle)
    sync.set_defaults(call="wandb.sync")
    text = "Runs from a server, or from .wandb files, into the tables, statistics and figures of `aggregate`."
    extract = actions.add_parser("extract", help="aggregate runs of a group", description=text, epilog=EPILOG)
    extract.add_argument("--project", required=True, metavar="P")
    extract.add_argument("--group", required=True, metavar="G")
    extract.add_argument("--entity", default="", metavar="E", help="user or team (default: your own)")
    extract.add_argument("--output-dir", required=True, type=Path, metavar="D", help="where everything is written")
    extract.add_argument("--offline", type=Path, metavar="DIR", help="read .wandb files below DIR; no server")
    extract.add_argument("--tags", action="append", default=[], metavar="A,B", help="only runs with one of these")
    extract.add_argument("--state", default="", metavar="STATE", help="only runs in this state, such as finished")
    extract.add_argument("--config", action="append", default=[], metavar="KEY=VALUE", help="only runs so configured")
    extract.add_argument("--partial", action="store_true", help="exit 0 although cells are missing or failed")
    extract.set_defaults(call="wandb.extract")
    for command in (sync, extract):
        longest = "seconds to wait for an answer (default: 120)"
        command.add_argument("--timeout", type=float, default=120.0, metavar="S", help=longest)


def _sandbox(subparsers: argparse._SubParsersAction[Parser]) -> None:
    text = "A real Slurm cluster on this machine, without root; submit with --profile sandbox."
    actions = _below(subparsers, "sandbox", text)

    def add(name: str, text: str, more: str = "") -> argparse.ArgumentParser:
        made = actions.add_parser(name, help=text, description=f"{text} {more}".strip(), epilog=EPILOG)
        made.set_defaults(call="tools.sandbox", nodes=4, count=None)
        return made

    up = add(
        "up",
        "Start the cluster: munge, slurmctld, a slurmd a node, partitions low (may be evicted) and high.",
        "Prints the SLURM_CONF that squeue and scontrol need. It is kept in $HOLDFAST_SANDBOX (default: "
        "~/.local/state/holdfast/sandbox), a path of at most 74 bytes, as it holds sockets.",
    )
    up.add_argument("--nodes", type=_positive, default=4, metavar="N", help="pretended nodes (default: 4)")
    add("down", "Stop the cluster with all its jobs.", "Its logs and the results of sweeps stay.")
    add("status", "Its daemons, nodes and idle CPUs.", "Exit code 3 if it is not up.")
    preempt = add(
        "preempt",
        "Evict running tasks, as a preemptible site does: Slurm signals, kills and requeues them.",
        "Jobs in partition high take their nodes for some seconds; then the tasks start again from their checkpoints.",
    )
    preempt.add_argument("--count", type=_positive, metavar="N", help="evict N tasks (default: all that run)")


def _start(add: Callable[..., argparse.ArgumentParser]) -> None:
    command = add("init", "start.start", "Write a commented configuration and profile; asks if there are no options.")
    command.add_argument("directory", type=Path, nargs="?", default=Path(), metavar="DIR", help="where (default: here)")
    command.add_argument("--name", metavar="NAME", help="of the sweep")
    command.add_argument("--trainer", metavar="T", help="module:function or file.py:function (default: built in)")
    command.add_argument("--runs", type=_positive, metavar="N", help="seeds a condition (default: 5)")
    command.add_argument("--partition", metavar="P", help="as sinfo lists it (default: the cluster's own)")
    command.add_argument("--timeout-min", type=_positive, metavar="M", help="time limit of a task (default: 240)")
    command.add_argument("--gpus", type=int, metavar="N", help="GPUs a task (default: 0)")
    command.add_argument("--cpus", type=_positive, metavar="N", help="CPUs a task (default: 1)")
    command.add_argument("--mem-gb", type=float, metavar="G", help="memory a task (default: 4)")
    command.add_argument(
        "--all-keys", action="store_true", help="only print every key a configuration may have, with its default"
    )
    command = add("completion", "start.complete", "Print a script that completes this command in your shell.")
    command.add_argument("shell", choices=("bash", "zsh"))


def _below(subparsers: argparse._SubParsersAction[Parser], name: str, text: str) -> argparse._SubParsersAction[Parser]:
    """A name with commands below it, such as `data generate`; they are to be added to what this returns."""
    group = subparsers.add_parser(name, help=text, description=text)
    return group.add_subparsers(dest="action", required=True, metavar="ACTION")


def _directory(command: argparse.ArgumentParser) -> None:
    command.add_argument("directory", type=Path, metavar="DIR")


def _setting(text: str) -> str:
    """A name with a value: without one, a filter would let everything through."""
    if not all(text.partition("=")):
        raise argparse.ArgumentTypeError(f"{text!r}; write NAME=VALUE")
    return text


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}; give a whole number, 1 or more")
    return int(text)
