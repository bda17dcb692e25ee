"""check cluster."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from hpc.config.load import CommandLine, Loaded, load
from hpc.errors import ConfigError
from hpc.launch.preparation import cluster_of
from hpc.launch.remarks import say
from hpc.preflight import check, finding
from hpc.protocol import CommandExit
from hpc.slurm.profile_file import load_profile
from hpc.storage import files


def cluster(arguments: argparse.Namespace) -> int:
    """check cluster: ask the controller, try the shared directory and a node, and say what that means for a sweep."""
    profile = load_profile(arguments.profile, arguments.set) if arguments.profile else None
    loaded = load(CommandLine(config=arguments.config)) if arguments.config else None
    if arguments.pilot and (loaded is None or profile is None):
        raise ConfigError(["command line: --pilot measures a configuration on a profile; add --config and --profile"])
    request = check.CheckRequest(
        profile=profile,
        directory=_directory(arguments, loaded),
        conf=cluster_of(profile) if profile else None,
        sweep=loaded.sweep if loaded else None,
        pilot=arguments.pilot,
        start_s=arguments.wait,
        quick=profile is not None and profile.name == "sandbox",
    )
    report = check.check(request, say)
    if arguments.export:
        files.publish(arguments.export.absolute(), json.dumps(report.to_json(), indent=1).encode())
    if arguments.json:
        print(json.dumps(report.to_json(), indent=1))
    else:
        print(finding.table(report.findings))
        print(f"\n{finding.summary(report.findings)}")
    return CommandExit.DONE if report.good else CommandExit.TROUBLE


def _directory(arguments: argparse.Namespace, loaded: Loaded | None) -> Path:
    """Where sweeps will be: as given, else beside the configuration's output, else here."""
    if arguments.directory:
        return Path(arguments.directory).absolute()
    wanted = loaded.output_dir.absolute().parent if loaded else Path.cwd()
    while not wanted.is_dir():
        wanted = wanted.parent
    return wanted
