"""The one process in which wandb runs, so that its parent can wait for it, give up, or kill it.

    python -P -m hpc.wandb.client

Each line of JSON on stdin is a request, whose `do` is "read", "write" or "places". It is answered by any number of
lines of JSON on stdout, the last of which is {"end": true}. The process ends when stdin does.
"""

from __future__ import annotations

import json
import os
import sys

from hpc.wandb.helper import END, PLACES, READ, WRITE, own_stdout
from hpc.wandb.reader import places, read
from hpc.wandb.writer import write

_REQUESTS = {READ: read, WRITE: write, PLACES: places}


def main() -> None:
    """Answer requests; see the module's text."""
    answers = own_stdout()
    # Unbuffered: a buffer would swallow the end of stdin, which writer.py waits for while it streams live runs.
    while line := sys.stdin.buffer.raw.readline():  # type: ignore[union-attr]
        request = json.loads(line)
        for answer in _REQUESTS[request["do"]](request):
            print(json.dumps(answer), file=answers, flush=True)
        print(json.dumps(END), file=answers, flush=True)
    # wandb's exit handlers would mark runs as finished that a later attempt continues.
    os._exit(0)


if __name__ == "__main__":
    main()
