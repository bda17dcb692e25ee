"""The routes through the workspace that a step computes: the four losses as slots of one batch of decodings.

A slot is one decoding of every domain for each sample: from the fused state of both domains (`fused`), from the
domain's own state (`own`), from the other domain's (`other`), or once around: own state, decoded to the other domain,
encoded and decoded back (`cycle`). A state of one domain is tanh of its encoding, with weight 1 as in the predecessor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from training.model.settings import Settings

FUSED: Final = "fused"
OWN: Final = "own"
OTHER: Final = "other"
CYCLE: Final = "cycle"


@dataclass(frozen=True)
class Routes:
    """The slots of a step, in order, and the weight of each one's loss. The cycle, if there is one, comes last.

    Steps, running sums and checkpoints are laid out in this order.
    """

    slots: tuple[str, ...]
    weights: tuple[float, ...]

    @property
    def direct(self) -> tuple[str, ...]:
        """The slots decoded in the first pass: all but the cycle."""
        return tuple(slot for slot in self.slots if slot != CYCLE)

    @property
    def cycle(self) -> bool:
        return CYCLE in self.slots

    @property
    def single(self) -> bool:
        """Whether states of a single domain are needed."""
        return OWN in self.slots or OTHER in self.slots


def training_routes(settings: Settings) -> Routes:
    """The slots that the weighted losses need. The cycle passes through `other` even where that has no weight."""
    return _routes(settings, always=())


def evaluation_routes(settings: Settings) -> Routes:
    """As for training, and the fused slot, which the metrics are about, whatever its weight."""
    return _routes(settings, always=(FUSED,))


def _routes(settings: Settings, always: tuple[str, ...]) -> Routes:
    fusion, demi_cycle, cycle, translation = settings.weights
    # The order of the slots: the fused one first, where metrics.py expects it, and the cycle last.
    weights = {FUSED: fusion, OWN: demi_cycle, OTHER: translation, CYCLE: cycle}
    needed = [slot for slot, weight in weights.items() if weight > 0 or slot in always or (slot == OTHER and cycle > 0)]
    return Routes(tuple(needed), tuple(weights[slot] for slot in needed))
