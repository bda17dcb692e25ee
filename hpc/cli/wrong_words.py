"""The answer to a wrong command line: one line with what is wrong, what was probably meant, and where to read on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import click

from hpc.errors import nearest

# Below this difflib calls cpu and gpu alike.
_LIKENESS = 0.7
# What other tools call it.
_OTHER_WORDS = {
    **dict.fromkeys(("--seed", "--seeds", "--n-seeds", "--num-seeds", "--repeats"), "--runs-per-condition"),
    **dict.fromkeys(("--out", "--output", "--outdir", "--folder", "--directory"), "--output-dir"),
    **dict.fromkeys(("--workers", "--jobs", "--n-jobs", "--num-workers"), "--parallel-jobs"),
    **dict.fromkeys(("launch", "start", "resume", "retry", "resubmit", "requeue"), "submit"),
    **dict.fromkeys(("kill", "stop", "abort"), "cancel"),
    **dict.fromkeys(("list", "ls", "queue", "progress"), "status"),
    **dict.fromkeys(("log", "logs", "tail"), "show"),
    **dict.fromkeys(("report", "plot", "analyze", "analyse", "collect"), "aggregate"),
}


def one_line(error: click.UsageError) -> str:
    """A usage error as one line: the command, the fault, the fix."""
    context = error.ctx
    if context is None:
        return error.format_message()
    return f"{context.command_path}: {_message(error, context)}"


def _message(error: click.UsageError, context: click.Context) -> str:
    if isinstance(error, click.NoSuchOption):
        options = [name for parameter in context.command.get_params(context) for name in parameter.opts]
        name = error.option_name
        if name == "--exclude" and "--config" in options:
            return _exclude(options)
        if "--set" in options and (key := _profile_key(name)):
            return f"{name} is a setting of the profile; write --set {key}=VALUE, or put it there"
        hint = meant(name, options) or _for_dashes(name, options, context)
        return f"unknown option {name}; {hint}`{context.command_path} --help` lists the options"
    if isinstance(error, click.MissingParameter):
        return _missing(context)
    if isinstance(error, click.BadOptionUsage):
        takes = "takes no value" if "does not take" in error.message else "needs a value after it"
        return f"{error.option_name} {takes}"
    if isinstance(error, click.BadParameter) and error.param is not None:
        return f"{_name(error.param, context)} is {error.message}"
    return error.format_message()


def _exclude(options: Sequence[str]) -> str:
    """Where conditions are left out, and where nodes."""
    nodes = "; nodes are left out with --set exclude=NODES" if "--set" in options else ""
    return f"--exclude is no option; conditions are left out with 'sweep.exclude=[{{width: 4}}]'{nodes}"


def _for_dashes(option: str, options: Sequence[str], context: click.Context) -> str:
    """What people write with dashes elsewhere: a factor, Hydra's many runs, a sweep by its configuration."""
    factor = option.lstrip("-").replace("-", "_")
    if option in ("--multirun", "-m") and "--axis" in options:
        return "every combination runs anyway; drop it. "
    if "--axis" in options and option.startswith("--"):
        return f"a factor's values are given by --axis {factor}=VALUE,VALUE. "
    if option in ("--config", "--output-dir", "--dir"):
        return f"the sweep is named by its directory alone, as in {context.command_path} out. "
    return ""


def _profile_key(option: str) -> str:
    """The profile's key that an option of sbatch's or submitit's stands for; empty if it stands for none."""
    from hpc.slurm.profile_keys import ProfileKeys
    from hpc.slurm.profile_names import key_of

    key = key_of(option.lstrip("-"))
    return key if key in ProfileKeys.model_fields else ""


def _missing(context: click.Context) -> str:
    names = [
        _name(parameter, context)
        for parameter in context.command.get_params(context)
        if parameter.required and context.params.get(parameter.name or "") is None
    ]
    example = next(iter(getattr(context.command, "examples", ())), "--help")
    return f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} missing; for example: holdfast {example}"


def _name(parameter: click.Parameter, context: click.Context) -> str:
    return parameter.opts[-1] if isinstance(parameter, click.Option) else parameter.make_metavar(context)


def meant(word: str, valid: Iterable[str]) -> str:
    """The question that a typing error deserves; empty if nothing valid is near."""
    known = list(valid)
    near = other if (other := _OTHER_WORDS.get(word)) in known else nearest(word, known, _LIKENESS)
    if not near and word.startswith("--"):  # half of a long option, such as --out or --scales
        near = min((option for option in known if word.strip("-") in option), key=len, default="")
    return f"did you mean {near}? " if near else ""
