"""A figure for a paper: the first metric over the first factor, one line for each setting of the others.

    holdfast aggregate out --figure examples/paper_figure.py:plot

Copy it and change what it draws. Error bars are the t intervals over seeds that the report shows, too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

NO_FACTORS = ("n_runs", "completeness", "aggregated_metrics", "individual_results")


def plot(results: dict[str, Any], directory: Path) -> None:
    """results: content of aggregated_results.json, one entry per condition. directory: where the figure is saved."""
    first = next(iter(results.values()))
    metric = next(iter(first["aggregated_metrics"]))
    factor, *others = [key for key in first if key not in NO_FACTORS]
    figure, axes = plt.subplots(figsize=(3.4, 2.4), layout="constrained")  # inches: one column
    for setting in dict.fromkeys(tuple(entry[other] for other in others) for entry in results.values()):
        entries = [entry for entry in results.values() if tuple(entry[other] for other in others) == setting]
        found = {entry[factor]: entry["aggregated_metrics"][metric] for entry in entries}
        found = {place: values for place, values in found.items() if values["n"] > 1}  # fewer have no interval
        means = [values["mean"] for values in found.values()]
        below = [values["mean"] - values["ci_lower"] for values in found.values()]
        above = [values["ci_upper"] - values["mean"] for values in found.values()]
        label = ", ".join(f"{other} {value}" for other, value in zip(others, setting, strict=True))
        axes.errorbar(list(found), means, [below, above], capsize=2, marker="o", label=label)
    axes.set(xlabel=factor, ylabel=metric)
    if others:
        axes.legend(frameon=False)
    figure.savefig(directory / "paper.pdf")
    figure.savefig(directory / "paper.png", dpi=200)
    plt.close(figure)
