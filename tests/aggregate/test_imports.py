from __future__ import annotations

import subprocess
import sys


def test_aggregating_loads_neither_torch_nor_training_nor_submitit_nor_wandb() -> None:
    code = (
        "import sys, aggregate.pipeline, aggregate.figures.catalogue, aggregate.report.page; "
        "print(sorted({'torch', 'training', 'submitit', 'wandb', 'matplotlib.pyplot'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
