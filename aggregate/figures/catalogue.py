"""Which figures a sweep gets, under which names. Draws what the summary says and computes nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace

from matplotlib.figure import Figure

from aggregate.analysis.curves import Curves, by_level
from aggregate.analysis.retention import Retained
from aggregate.analysis.summary import MetricSummary, Summary
from aggregate.figures.axes import drawable, versus_name
from aggregate.figures.canvas import RETENTION, Pages
from aggregate.figures.heatmap import draw_heatmap
from aggregate.figures.overview import draw_overview
from aggregate.figures.retention import draw_retention
from aggregate.figures.training_curves import draw_curves, draw_level_curves
from aggregate.figures.versus import draw_versus, lines_left_out
from aggregate.reading.declared import Metric


@dataclass(frozen=True)
class Plot:
    """A figure, its name below plots/ without a suffix, the metric it shows (empty: several) and its caption. narrow:
    the same for a telephone's screen."""

    name: str
    metric: str
    caption: str
    figure: Figure
    narrow: Figure | None = None


def plots(
    summary: Summary,
    curves: Iterable[tuple[Metric, Curves]],
    retained: Retained | None = None,
    narrow: Collection[str] = (),
) -> Iterator[Plot]:
    """The hypothesis, the statistical summary, each metric versus each factor and over a grid of two, training curves.

    narrow: names of figures of a metric versus a factor that are drawn for a telephone's screen too. One at a time: the
    next figure may be drawn on the axes of one before. Ask for them and save them inside canvas.house_style.
    """
    pages = Pages()
    summary = replace(summary, metrics=tuple(map(_drawable_metric, summary.metrics)))
    if retained is not None:
        kinds = f"{retained.kept.name} and of {retained.other.name}"
        caption = f"Share retained of {kinds} as {retained.factor.label} narrows"
        caption = f"{caption}. {retained.brackets}".strip()
        yield Plot(RETENTION, "", caption, draw_retention(retained), draw_retention(retained, narrow=True))
    if summary.primary_metrics():
        yield Plot("statistical_summary", "", "All conditions, primary metrics", draw_overview(summary))
    for entry in summary.metrics:
        yield from _metric_plots(summary, entry, pages, narrow)
    for metric, curve in curves:
        yield from _curve_plots(summary, metric, _drawable_curves(curve), pages)


def _drawable_metric(entry: MetricSummary) -> MetricSummary:
    suited = drawable(entry.suited[0]), drawable(entry.suited[1])
    return replace(entry, values=drawable(entry.values), centre=drawable(entry.centre), suited=suited)


def _drawable_curves(curves: Curves) -> Curves:
    values, mean, low, high = map(drawable, (curves.values, curves.mean, curves.low, curves.high))
    return replace(curves, values=values, mean=mean, low=low, high=high)


def _curve_plots(summary: Summary, metric: Metric, curves: Curves, pages: Pages) -> Iterator[Plot]:
    name, label = f"training_curves/{metric.slug}", f"{metric.label} over training"
    yield Plot(name, metric.name, f"{label}, every condition", draw_curves(summary, metric, curves, pages))
    axes = [axis for axis, factor in enumerate(summary.factors) if len(factor.values) > 1]
    for axis in axes if len(summary.factors) > 1 else ():
        crossing, factor = summary.crossings.of(axis), summary.factors[axis]
        whole = crossing.whole(range(len(factor.values)))
        if not whole.any():
            continue  # levels would be averaged over different circumstances
        levels = by_level(curves, crossing.conditions[:, whole], summary.level)
        if (levels.n > 0).any():
            where = "" if whole.all() else f", where all levels of {factor.label} are present"
            figure = draw_level_curves(summary, metric, levels, axis, pages, where)
            yield Plot(f"{name}_by_{factor.slug}", metric.name, f"{label}, by {factor.label}", figure)


def _metric_plots(summary: Summary, entry: MetricSummary, pages: Pages, narrow: Collection[str]) -> Iterator[Plot]:
    metric = entry.metric
    for axis, factor in enumerate(summary.factors):
        name, caption = versus_name(metric, factor), f"{metric.label} versus {factor.label}"
        small = draw_versus(summary, entry, axis, pages, narrow=True) if name in narrow else None
        caption += lines_left_out(summary, axis)
        yield Plot(name, metric.name, caption, draw_versus(summary, entry, axis, pages), small)
    if len(summary.factors) == 2:
        caption = f"{metric.label} over the grid"
        yield Plot(f"heatmap_{metric.slug}", metric.name, caption, draw_heatmap(summary, entry))
