"""A foreign trainer with a factor of its own and nothing but the standard library: an average of noisy draws."""

import random
import time

from training.contract import Checkpoint

FACTORS = {"width": {"kind": "integer", "minimum": 1}}
METRICS = {"error": {"kind": "positive", "better": "lower"}}


def train(cells, options, run):
    for cell in cells:
        saved = run.restore(cell)
        generator, epoch, total = random.Random(cell.seed), 0, 0.0
        if saved:
            epoch, total = saved.step, saved.values["total"]
            version, state, gauss = saved.values["generator"]
            generator.setstate((version, tuple(state), gauss))
        while epoch < options["epochs"] and not run.stop:
            total += sum(generator.gauss(0, 1) for _ in range(cell.factors["width"]))
            epoch += 1
            run.epoch(cell, epoch, options["epochs"], {"error": abs(total) / epoch})
            time.sleep(options.get("seconds", 0.0))
            if run.checkpoint_due() or run.stop:
                run.save({cell: Checkpoint(epoch, values={"total": total, "generator": generator.getstate()})})
        if epoch < options["epochs"]:
            return
        run.finish(cell, {"error": abs(total) / epoch})
