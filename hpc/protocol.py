"""How a task says by its exit status how it ended: to task.sh, and to the process that started it."""

from __future__ import annotations

DONE, FAILED, USAGE, STORAGE = 0, 1, 2, 3
STOPPED = 85  # stopped early with all state saved: run it again; task.sh asks for the requeue
