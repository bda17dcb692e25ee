"""What a command does when it first aggregates, done once by the process that commands are forked from."""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module

import matplotlib.pyplot as plt
from PIL import Image

from aggregate.figures import canvas
from aggregate.report import page

for needed in ("hpc.launch.local", "hpc.launch.slurm", "aggregate.pipeline", "aggregate.figures.catalogue", "pandas"):
    import_module(needed)
with suppress(ImportError):  # pyarrow's own, which it loads when it first makes a table
    import_module("pyarrow.pandas_compat")

Image.preinit()
for template in ("report.html", "comparison.html"):
    page.environment().get_template(template)
with canvas.house_style(None):
    figure, _ = plt.subplots()
    canvas.encoded(figure)
    plt.close(figure)
