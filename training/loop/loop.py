"""Train the cells of one task: which train next, when an epoch ends, what is saved, which leave. Nothing of Slurm."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from training.contract import Cell, Run
from training.loop.pack import Pack, Setup
from training.loop.width import chosen_width
from training.model.rows import Architecture
from training.model.state import Member, State, StateError, joined, new_state, padded, restored_state

# A cell's parameters, gradients and moments are 4.5 MB at the default sizes: on a CPU, more cells than this fall out of
# the cache (docs/performance.md).
CPU_PACK: Final = 5
# Divergence is looked for at multiples of this step only, so that interruptions do not change the step at which a cell
# is dropped.
CHECK_EVERY: Final = 100


class Loop:
    """All packs of a task. Those that are behind train first, and join the others once they have caught up.

    width: rows of every pack, where their number may change bits: what loop.width chooses, or what those that were
    restored had before. Rows without a cell fill it, and cells close ranks as others leave: the number of packs
    follows that of the cells, their width does not. 0 where packs may be as wide as they like.
    """

    def __init__(self, cells: Sequence[Cell], setup: Setup, run: Run, metric_names: Sequence[str]) -> None:
        self._setup, self._run, self._metric_names = setup, run, metric_names
        begun = [self._begin(cell) for cell in cells]
        self.width = _width(begun) if setup.fixed_width else 0
        self._limit = self.width or (CPU_PACK if setup.device.type == "cpu" else len(cells))
        for member in (member for _, state in begun for member in state.members):
            member.width = self.width
        self._packs = self._assembled(begun)

    def train(self) -> None:
        """Train until every cell is finished or the run is told to stop; then save what is still training."""
        while self._packs and not self._run.stop:
            self._close_ranks()
            self._visit(min(self._packs, key=lambda pack: pack.step))
            if self._packs and self._run.checkpoint_due():
                self._save()
        if self._packs:
            self._save()

    def _begin(self, cell: Cell) -> tuple[Architecture, State]:
        settings, device = self._setup.settings, self._setup.device
        member = Member.of(cell, settings)
        architecture = Architecture.of(settings, member.dim)
        saved = self._run.restore(cell)
        if saved is None:
            return architecture, new_state(member, architecture, settings, device)
        # A cell at its last step is published, never saved: such a checkpoint is of a run with more epochs.
        if saved.step >= self._setup.total_steps:
            raise StateError(
                f"{cell.name}: checkpoint of step {saved.step}; training ends at {self._setup.total_steps}"
            )
        return architecture, restored_state(member, saved, architecture, settings, device)

    def _assembled(self, begun: Sequence[tuple[Architecture, State]]) -> list[Pack]:
        """Packs of cells with the same architecture and step, in the order given, none above the limit."""
        groups: dict[tuple[Architecture, int], list[State]] = {}
        for architecture, state in begun:
            groups.setdefault((architecture, state.step), []).append(state)
        return [
            self._pack(architecture, states[start : start + self._limit])
            for (architecture, _), states in groups.items()
            for start in range(0, len(states), self._limit)
        ]

    def _pack(self, architecture: Architecture, states: Sequence[State]) -> Pack:
        return Pack(self._setup, architecture, padded(joined(states), self.width))

    def _visit(self, pack: Pack) -> None:
        """Train one pack for a while: to the next check, the end of the epoch, or the step of a pack ahead of it."""
        for indices in pack.batches(self._until(pack)):
            if self._run.stop:
                return
            pack.train(indices)
        if pack.step % self._setup.steps_per_epoch == 0:
            self._end_epoch(pack)
        elif pack.step % CHECK_EVERY == 0:
            finite = pack.finite()
            diverged = [row for row in pack.active if not finite[row]]
            for row in diverged:
                self._diverged(pack, row)
            self._drop(pack, diverged)

    def _until(self, pack: Pack) -> int:
        """The step to train a pack to, unless the run is told to stop before."""
        ends = [next_multiple(pack.step, CHECK_EVERY), next_multiple(pack.step, self._setup.steps_per_epoch)]
        return min(ends + [other.step for other in self._packs if other.step > pack.step])

    def _end_epoch(self, pack: Pack) -> None:
        epoch, epochs = pack.step // self._setup.steps_per_epoch, self._setup.settings.epochs
        measured = pack.finish_epoch()
        leaving = []
        for row in pack.active:
            member, metrics = pack.members[row], measured[row]
            # No row of history.csv for such an epoch: a curve ends where its numbers do.
            if not _finite(metrics):
                self._diverged(pack, row)
                leaving.append(row)
                continue
            member.reached(metrics["val_loss"], epoch)
            self._run.epoch(member.cell, epoch, epochs, metrics)
            if epoch == epochs or self._run.stopped_early(member.cell):
                self._finish(pack, row, metrics)
                leaving.append(row)
        self._drop(pack, leaving)

    def _finish(self, pack: Pack, row: int, metrics: Mapping[str, float]) -> None:
        member = pack.members[row]
        final = {**metrics, "best_val_loss": member.best_val_loss, "final_val_loss": metrics["val_loss"]}
        self._run.finish(member.cell, final, best_epoch=member.best_epoch, weights=pack.weights(row))

    def _diverged(self, pack: Pack, row: int) -> None:
        member = pack.members[row]
        # Every declared metric, each without a value: a number of an earlier epoch would pass for a final one.
        metrics: dict[str, float | None] = dict.fromkeys(self._metric_names)
        if member.best_epoch:
            metrics["best_val_loss"] = member.best_val_loss
        self._run.finish(member.cell, metrics, best_epoch=member.best_epoch or None, diverged=True)

    def _save(self) -> None:
        """Save every cell that is still training, and drop those that a newer attempt has taken over."""
        checkpoints = {cell: saved for pack in self._packs for cell, saved in pack.checkpoints().items()}
        taken = self._run.save(checkpoints)
        for pack in list(self._packs):
            self._drop(pack, [row for row in pack.active if pack.members[row].cell in taken])

    def _drop(self, pack: Pack, rows: Collection[int]) -> None:
        """Remove rows from a pack, and the pack if none is left.

        Where a pack's width changes no bit, the other rows are copied, not masked: NaN times 0 is NaN. Elsewhere the
        rows stay and keep training, ignored.
        """
        if not rows:
            return
        kept = [row for row in pack.active if row not in rows]
        # In its old place: of packs at the same step the first trains next.
        index = self._packs.index(pack)
        if kept and self._setup.fixed_width:
            for row in rows:
                pack.members[row].left = True
        else:
            self._packs[index : index + 1] = [pack.keep(kept)] if kept else []

    def _close_ranks(self) -> None:
        """Cut packs of the same architecture and step anew, where their cells fit into fewer."""
        for packs in self._alike():
            if math.ceil(sum(len(pack.active) for pack in packs) / self._limit) < len(packs):
                self._cut_anew(packs)

    def _alike(self) -> list[list[Pack]]:
        groups: dict[tuple[Architecture, int], list[Pack]] = {}
        for pack in self._packs:
            groups.setdefault((pack.architecture, pack.step), []).append(pack)
        return list(groups.values())

    def _cut_anew(self, packs: list[Pack]) -> None:
        place, architecture = self._packs.index(packs[0]), packs[0].architecture
        together = joined([pack.state.rows(pack.active) for pack in packs])
        self._packs = [pack for pack in self._packs if pack not in packs]
        packs.clear()  # the new ones need their room
        rows = range(len(together.members))
        parts = [rows[start : start + self._limit] for start in range(0, len(rows), self._limit)]
        self._packs[place:place] = [self._pack(architecture, [together.rows(part)]) for part in parts]


def next_multiple(step: int, of: int) -> int:
    """The smallest multiple of `of` above `step`."""
    return (step // of + 1) * of


def _width(begun: Sequence[tuple[Architecture, State]]) -> int:
    """Rows of every pack."""
    saved = max(member.width for _, state in begun for member in state.members)
    return chosen_width(Counter(architecture for architecture, _ in begun).values(), saved)


def _finite(metrics: Mapping[str, float]) -> bool:
    return math.isfinite(metrics["train_loss"]) and math.isfinite(metrics["val_loss"])
