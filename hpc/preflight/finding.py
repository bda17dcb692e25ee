"""What a check found, as lines for people and as values for programs."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from hpc.units import counted

if TYPE_CHECKING:
    from rich.table import Table

OK, NOTE, PROBLEM = "ok", "note", "problem"
# Columns of the table on a terminal.
_WIDTH = 120


@dataclass(frozen=True)
class Finding:
    """One verdict. level: ok, note (works, with a caveat) or problem (does not work). fix: what to do, if anything."""

    level: str
    subject: str
    text: str
    fix: str = ""

    def to_json(self) -> dict[str, str]:
        return asdict(self)


def ok(subject: str, text: str) -> Finding:
    return Finding(OK, subject, text)


def note(subject: str, text: str, fix: str = "") -> Finding:
    return Finding(NOTE, subject, text, fix)


def problem(subject: str, text: str, fix: str) -> Finding:
    return Finding(PROBLEM, subject, text, fix)


def table(findings: Iterable[Finding]) -> str:
    """Findings as plain lines: one verdict per line, its fix below it."""
    every = list(findings)
    width = max((len(finding.subject) for finding in every), default=0)
    lines = []
    for finding in every:
        head = f"{finding.level:<7}  {finding.subject:<{width}}  "
        indent = " " * len(head)
        lines += textwrap.wrap(finding.text, _WIDTH, initial_indent=head, subsequent_indent=indent)
        if finding.fix:
            lines += textwrap.wrap(f"-> {finding.fix}", _WIDTH, initial_indent=indent, subsequent_indent=indent)
    return "\n".join(lines)


def screen(findings: Iterable[Finding]) -> Table:
    """The same for a terminal: levels in colour, as wide as it is."""
    from rich.table import Table
    from rich.text import Text

    styles = {OK: "green", NOTE: "yellow", PROBLEM: "bold red"}
    shown = Table.grid(padding=(0, 2, 0, 0))
    for finding in findings:
        fix = f"\n-> {finding.fix}" if finding.fix else ""
        shown.add_row(Text(finding.level, styles[finding.level]), finding.subject, Text(f"{finding.text}{fix}"))
    return shown


def summary(findings: Iterable[Finding]) -> str:
    """One line: how many problems and notes there are."""
    levels = [finding.level for finding in findings]
    problems, notes = levels.count(PROBLEM), counted(levels.count(NOTE), "note")
    return f"{counted(problems, 'problem')} to fix, {notes}" if problems else f"ready to submit ({notes})"
