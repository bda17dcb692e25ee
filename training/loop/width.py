"""How many rows a pack has where their number may change the last bits of its cells: on a GPU.

A pack keeps its width to the end, whoever leaves. So a task trains its cells in several packs, all of one width and at
once, each in a lane of its own (transfer.Lane): as cells leave, the others close ranks, and the packs become fewer.
Cells of different architectures need different packs anyway. docs/performance.md has what the choice rests on.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Final

# What a task's packs are cut to, as near as it goes: room comes free in quarters.
PACKS: Final = 4
# Packs at once, but for tasks with more architectures than that.
MOST_PACKS: Final = 8
# A narrower pack gains nothing by being one of several: its step takes as long as its kernels take to begin.
NARROWEST: Final = 16
# Rows that may stay without a cell for the sake of the number of packs.
SPARE: Final = 0.05


def chosen_width(cells: Collection[int], saved: int = 0) -> int:
    """Rows of every pack of a task. cells: how many there are of each architecture, one or more.

    saved: the width that restored cells had, 0 without any. It stays, but for a task of far more cells than had it:
    a task that is requeued has at most as many as before.
    """
    least = math.ceil(sum(cells) / MOST_PACKS)
    if saved:
        return max(saved, least)
    widest = max(cells)
    widths = range(min(max(least, NARROWEST), widest), widest + 1)
    fewest = min(_packs(cells, width) * width for width in widths)
    fitting = [width for width in widths if _packs(cells, width) * width <= (1 + SPARE) * fewest]
    return min(fitting, key=lambda width: (abs(_packs(cells, width) - PACKS), _packs(cells, width) * width))


def _packs(cells: Collection[int], width: int) -> int:
    return sum(math.ceil(count / width) for count in cells)
