"""holdfast check: Check the cluster, the statistics or resuming, and say how to fix what fails."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hpc.cli import options
from hpc.cli.command import Group
from hpc.errors import ConfigError
from hpc.launch.remarks import say
from hpc.protocol import CommandExit
from hpc.terminal import console, watched

if TYPE_CHECKING:
    from aggregate.coverage.populations import Population
    from aggregate.coverage.row import CoverageRow
    from hpc.config.load import Loaded
    from hpc.preflight.check import CheckReport

command = Group("check", help="Check the cluster, the statistics or resuming, and say how to fix what fails.")
_LONG, _SHORT = 20_000, 1_000
_VERDICTS, _FEW_VERDICTS = 1_000, 100
_CONDITIONS_MIN = 10


@dataclass(frozen=True)
class ClusterOptions:
    profile: str | None
    settings: tuple[str, ...]
    config: Path | None
    pilot: bool
    resources: bool
    minutes: int | None
    write: bool
    directory: Path | None
    wait: int


@command.command(
    "cluster",
    examples=(
        "check cluster --profile lab",
        "check cluster --profile lab --config sweep.yaml --pilot",
        "check cluster --profile lab --config sweep.yaml --pilot --resources --write",
    ),
)
@options.handed_over("wanted", ClusterOptions)
@options.option("--profile", type=options.PROFILE, metavar="P", help=options.PROFILE_HELP)
@options.settings
@options.option("--config", type=options.FILE, metavar="FILE", help="Configuration of the sweep to come.")
@options.flag("--pilot", help="Also measure step time and memory by pack size.")
@options.flag("--resources", help="With --pilot, also measure each condition, and show the resources that fit.")
@options.option(
    "--minutes", type=options.COUNT, metavar="M", help=f"Minutes for that, at most (default: {_CONDITIONS_MIN})."
)
@options.flag("--write", help="Add those resources to the configuration, which has none.")
@options.option(
    "--directory", type=options.DIRECTORY, metavar="DIR", help="Shared directory to try (default: the sweep's)."
)
@options.option(
    "--wait", type=options.COUNT, default=300, metavar="S", help="Seconds a job may wait to start (default: 300)."
)
@options.option("--export", type=options.FILE, metavar="FILE", help="Write everything as JSON, for a bug report.")
@options.as_json
def cluster(wanted: ClusterOptions, export: Path | None, as_json: bool) -> int:
    """Query the cluster, try the shared directory, and with --profile try a node with two short jobs."""
    from hpc.config.resources_section import add_section, section_text
    from hpc.files import atomic
    from hpc.preflight import finding

    report = _preflight(wanted)
    text = json.dumps(report.to_json(), indent=1)
    if export:
        atomic.publish(export.absolute(), text.encode())
    if as_json:
        print(text)
    elif watched(sys.stdout):
        console(sys.stdout).print(finding.screen(report.findings))
    else:
        print(finding.table(report.findings))
    if not as_json:
        print(f"\n{finding.summary(report.findings)}")
    if report.rules and not as_json:
        print(f"\n{section_text(report.rules)}", end="")
    if report.rules and wanted.write and wanted.config:
        add_section(wanted.config, section_text(report.rules))
        say(f"added to {wanted.config}")
    return CommandExit.DONE if report.good else CommandExit.TROUBLE


def _preflight(wanted: ClusterOptions) -> CheckReport:
    from hpc.config.load import CommandLine, load
    from hpc.config.resources_section import check_can_be_added
    from hpc.launch.preparation import cluster_of
    from hpc.preflight import check
    from hpc.slurm.profile_file import load_profile

    profile = load_profile(wanted.profile, wanted.settings).without_mail() if wanted.profile else None
    loaded = load(CommandLine(config=wanted.config)) if wanted.config else None
    if wanted.pilot and (loaded is None or profile is None):
        raise ConfigError(["command line: --pilot measures a configuration on a profile; add --config and --profile"])
    if wanted.resources and not wanted.pilot:
        raise ConfigError(["command line: --resources is for what a pilot measures; add --pilot"])
    if wanted.minutes and not wanted.resources:
        raise ConfigError(["command line: --minutes is for conditions; add --resources, or leave it out"])
    if wanted.write and not wanted.resources:
        raise ConfigError(["command line: --write is for the resources that fit; add --pilot --resources"])
    if wanted.write and wanted.config:
        check_can_be_added(wanted.config)
    request = check.CheckRequest(
        profile=profile,
        directory=_directory(wanted.directory, loaded),
        conf=cluster_of(profile) if profile else None,
        sweep=loaded.sweep if loaded else None,
        pilot=wanted.pilot,
        conditions_min=(wanted.minutes or _CONDITIONS_MIN) if wanted.resources else 0,
        start_s=wanted.wait,
        quick=profile is not None and profile.name == "sandbox",
    )
    return check.check(request, say)


def _directory(given: Path | None, loaded: Loaded | None) -> Path:
    """Where sweeps will be: as given, else beside the configuration's output, else here."""
    if given:
        return given.absolute()
    wanted = loaded.output_dir.absolute().parent if loaded else Path.cwd()
    while not wanted.is_dir():
        wanted = wanted.parent
    return wanted


@command.command(
    "resume", examples=("check resume --config sweep.yaml", "check resume --profile lab --config sweep.yaml --cells 2")
)
@options.option(
    "--profile",
    type=options.PROFILE,
    default="local",
    metavar="P",
    help="sandbox, local (default), a name in slurm_templates/profiles, or a path.",
)
@options.option("--config", type=options.FILE, metavar="FILE", help="YAML or JSON configuration.")
@options.option(
    "--output-dir", type=options.SWEEP, metavar="DIR", help="The sweep's directory; it gets the certificate."
)
@options.option("--epochs", type=options.WHOLE, metavar="N", help="Train shorter for the check.")
@options.option("--cells", type=options.COUNT, default=3, metavar="N", help="Cells to try (default: 3).")
@options.option("--minutes", type=options.COUNT, default=10, metavar="M", help="Give up after M minutes (default: 10).")
@options.option(
    "--seed",
    type=options.WHOLE,
    default=0,
    metavar="S",
    help="Seed of the times of the faults (default: 0).",
)
def resume(
    profile: str, config: Path | None, output_dir: str | None, epochs: int | None, cells: int, minutes: int, seed: int
) -> int:
    """Train cells undisturbed and again under kills and requeues. Results must match bit for bit.

    Writes a certificate into the sweep's directory.
    """
    from hpc.config.load import CommandLine, load
    from hpc.launch.preparation import cluster_of
    from hpc.resume_check.check import ResumeRequest, check
    from hpc.slurm.profile_file import load_profile
    from hpc.storage.permissions import check_writable
    from hpc.storage.store import Store

    chosen = load_profile(profile).without_mail()  # whoever checks is at the terminal
    loaded = load(CommandLine(config=config, epochs=epochs, output_dir=output_dir))
    check_writable(loaded.output_dir)
    request = ResumeRequest(
        sweep=loaded.sweep,
        profile=chosen,
        target=Store(loaded.output_dir),
        conf=cluster_of(chosen),
        cells=cells,
        seconds=60.0 * minutes,
        seed=seed,
    )
    verdict = check(request, say)
    print(verdict)
    say(f"certificate: {verdict.certificate}")
    return CommandExit.DONE if verdict.good else CommandExit.INCOMPLETE


@command.command("stats", examples=("check stats",))
@options.argument(
    "directory", required=False, type=options.DIRECTORY, metavar="[DIR]", text="a sweep: also on data like its own"
)
@options.flag("--short", help="A tenth of the repeats: half a minute, accurate to one percentage point.")
def stats(directory: Path | None, short: bool) -> int:
    """Simulate whether the verdicts are right, and whether every interval and band covers. About 5 minutes.

    Exit code 4 if anything fell below the baseline that is kept with the code.
    """
    from aggregate.coverage.populations import textbook
    from aggregate.coverage.shortfall import fallen, read_baseline, verdict
    from aggregate.coverage.simulation import simulate
    from aggregate.coverage.verdicts import simulate_verdicts

    repeats, sweeps = (_SHORT, _FEW_VERDICTS) if short else (_LONG, _VERDICTS)
    say("+- is the standard error of the simulation, in percentage points")
    rows = _table(f"The verdicts, on {sweeps:,} made-up sweeps per row", simulate_verdicts(sweeps))
    rows += _table(f"Textbook data, {repeats:,} repeats per row", simulate(list(textbook()), repeats))
    if directory is not None and (found := _own(directory)):
        rows += _table("Data drawn from your own residuals", simulate(found, repeats, general=False))
    lines = fallen(rows, read_baseline())
    print("\n".join([*lines, verdict(rows)]))
    return CommandExit.INCOMPLETE if lines else CommandExit.DONE


def _own(directory: Path) -> list[Population]:
    """Populations like a sweep's own residuals."""
    from aggregate.analysis.study import study
    from aggregate.coverage.populations import own
    from aggregate.reading.sweep import read
    from hpc.storage.store import Store

    found = list(own(study(read(Store(directory.absolute())))))
    if not found:
        say(f"{directory}: too few seeds to fit data to; 20 residuals of a primary metric are needed")
    return found


def _table(title: str, rows: Iterable[CoverageRow]) -> list[CoverageRow]:
    """Print a table as its rows come. Returns them."""
    from aggregate.coverage.row import text

    shown, kept = itertools.tee(rows)
    print(f"## {title}\n", flush=True)
    for line in text(shown):
        print(line, flush=True)
    print()
    return list(kept)
