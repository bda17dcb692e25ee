"""A figure for a paper: the first metric over the first factor, one line for each setting of the others.

    holdfast aggregate out --figure examples/paper_figure.py:plot

Copy it and change what it draws. Points and error bars are those of the report: for a metric between bounds, such as an
accuracy, that is no plain t interval, which may leave the bounds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

MOST_NAMED = 6  # lines that a legend has room for; of more, average some or leave some out
NO_FACTORS = ("n_runs", "completeness", "aggregated_metrics", "individual_results")


def plot(results: dict[str, Any], directory: Path) -> None:
    """results: content of aggregated_results.json, one entry per condition. directory: where the figure is saved."""
    first = next(iter(results.values()))
    metric = next(iter(first["aggregated_metrics"]))
    factor, *others = [key for key in first if key not in NO_FACTORS]
    figure, axes = plt.subplots(figsize=(3.4, 2.4), layout="constrained")  # inches: one column
    settings = dict.fromkeys(tuple(entry[other] for other in others) for entry in results.values())
    for setting in settings:
        entries = [entry for entry in results.values() if tuple(entry[other] for other in others) == setting]
        found = {entry[factor]: entry["aggregated_metrics"][metric] for entry in entries}
        found = {place: values for place, values in found.items() if values["centre_lower"] is not None}
        means = [values["centre"] for values in found.values()]
        below = [values["centre"] - values["centre_lower"] for values in found.values()]
        above = [values["centre_upper"] - values["centre"] for values in found.values()]
        label = ", ".join(f"{other} {value}" for other, value in zip(others, setting, strict=True))
        axes.errorbar(list(found), means, [below, above], capsize=2, marker="o", label=label)
    axes.set(xlabel=factor, ylabel=metric)
    if others and len(settings) <= MOST_NAMED:
        axes.legend(frameon=False, fontsize="small")
    figure.savefig(directory / "paper.pdf")
    figure.savefig(directory / "paper.png", dpi=200)
    plt.close(figure)
