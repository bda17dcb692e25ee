"""A quick trainer in numpy: every number it ends with depends on every step and every random draw before it.

With CHAOS_WITNESS in the environment it notes what was done, and what was acknowledged to it, in a file outside the
sweep directory: `step`, `saved` and `finished`, each with the cell and the step.
The option `ballast` makes a state that many numbers larger, so large that it is written beside training; what is then
acknowledged is not noted.
CHAOS_PACE names a file with the seconds that a step takes, which may change while it trains.
CHAOS_HOLD names a file with a step, after which it waits as long as the file is there and nobody asks it to stop.
"""

import os
import time

import numpy as np

from training.contract import Checkpoint

FACTORS = {"width": {"kind": "integer", "minimum": 1}}
METRICS = {"error": {"kind": "positive", "better": "lower"}, "level": {"kind": "real", "better": "higher"}}


class State:
    """One cell in training."""

    def __init__(self, cell, saved, ballast=0):
        self.cell, self.step, self.ballast = cell, 0, ballast
        self.generator = np.random.Generator(np.random.PCG64(cell.seed))
        self.x = np.full(16 * cell.factors["width"], 0.5)
        if saved is not None:
            self.step, self.x = saved.step, np.array(saved.arrays["x"])
            self.generator.bit_generator.state = saved.values["generator"]
            assert np.array_equal(saved.arrays["ballast"], self.filled()), "the state was written while it changed"

    def advance(self):
        noise = self.generator.random(self.x.size)
        self.x[:] = 3.9 * self.x * (1 - self.x) * (0.9 + 0.1 * noise)  # a chaotic map: one wrong bit ends elsewhere
        self.step += 1
        witness("step", self.cell, self.step)

    def filled(self):
        return np.resize(self.x, self.ballast)

    def checkpoint(self):
        arrays = {"x": self.x, "ballast": self.filled()}
        return Checkpoint(self.step, arrays, {"generator": self.generator.bit_generator.state})

    def metrics(self):
        return {"error": float(np.abs(self.x - 0.5).mean()), "level": float(self.x.sum())}


def train(cells, options, run):
    states = [State(cell, run.restore(cell), options.get("ballast", 0)) for cell in cells]
    while states and not run.stop:
        state = min(states, key=lambda state: state.step)
        state.advance()
        hold(state.step, run)
        time.sleep(pace(options))
        if state.step % options["epoch"] == 0:
            run.epoch(state.cell, state.step // options["epoch"], options["steps"] // options["epoch"], state.metrics())
        if state.step == options["steps"]:
            run.finish(state.cell, state.metrics(), best_epoch=1, weights={"x": state.x})
            witness("finished", state.cell, state.step)
            states.remove(state)
        if states and (state.step % options.get("save", 10**9) == 0 or run.checkpoint_due()):
            save(states, run)
    if states:
        save(states, run)


def save(states, run):
    dropped = run.save({state.cell: state.checkpoint() for state in states})
    for state in list(states):
        if state.cell in dropped:
            states.remove(state)
        elif not state.ballast:
            witness("saved", state.cell, state.step)


def pace(options):
    if "CHAOS_PACE" in os.environ:
        with open(os.environ["CHAOS_PACE"]) as file:
            return float(file.read())
    return options.get("seconds", 0.0)


def hold(step, run):
    path = os.environ.get("CHAOS_HOLD", "")
    try:
        with open(path) as file:
            wanted = int(file.read())
    except FileNotFoundError:  # nothing to wait for, or no longer
        return
    if step == wanted:
        open(f"{path}.reached", "w").close()
        while os.path.exists(path) and not run.stop:
            time.sleep(0.002)


def witness(what, cell, step):
    if "CHAOS_WITNESS" in os.environ:
        fd = os.open(os.environ["CHAOS_WITNESS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.write(fd, f"{what} {cell.name} {step} {os.getpid()} {time.monotonic():.6f} 1\n".encode())
        os.close(fd)
