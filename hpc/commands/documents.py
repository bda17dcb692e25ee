"""show --json: what is known of one cell, as plain data."""

from __future__ import annotations

import argparse
import json

from hpc import one_cell
from hpc.commands import DONE
from hpc.store import Store


def show(arguments: argparse.Namespace) -> int:
    facts, _ = one_cell.show(Store(arguments.directory.absolute()), arguments.cell)
    print(json.dumps(facts, indent=1))
    return DONE
