"""The one process in which wandb runs: whoever asked can wait, give up, or kill it.

    python -P -m hpc.wandb.client

A line of JSON on stdin is a request, `do` says which; each gives any number of lines back, the last {"end": true}.
The end of stdin ends it.
"""

from __future__ import annotations

import json
import os
import sys

from hpc.wandb.helper import END, READ, WRITE, own_stdout
from hpc.wandb.reader import read
from hpc.wandb.writer import write

_REQUESTS = {READ: read, WRITE: write}


def main() -> None:
    """Answer requests; see the module's text."""
    answers = own_stdout()
    # Unbuffered: a stream of live runs looks for the end of stdin itself.
    while line := sys.stdin.buffer.raw.readline():  # type: ignore[union-attr]
        request = json.loads(line)
        for answer in _REQUESTS[request["do"]](request):
            print(json.dumps(answer), file=answers, flush=True)
        print(json.dumps(END), file=answers, flush=True)
    # wandb's own way to end a process would mark runs as finished that go on later.
    os._exit(0)


if __name__ == "__main__":
    main()
