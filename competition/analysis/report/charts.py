"""The charts of the page, each from plain numbers to SVG."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from competition.analysis.report.figures import (
    FAINT,
    INK,
    MARKS,
    SERIES,
    new_figure,
    set_margins,
    to_file,
    to_svg,
)
from competition.analysis.report.logs import TrainingPass
from competition.analysis.report.reliability import Reliability

Interval = tuple[float, float, float]  # value, low, high
WIDTH = 310  # pixels of every chart, so that their text has one size: four beside each other, one on a phone
_ROW = 15.0  # pixels of one series in a group


def plot_intervals(
    name: str,
    groups: Sequence[str],
    series: Mapping[str, Sequence[Interval]],
    baseline: Sequence[float],
) -> str:
    """A score per group and series with its interval, and what costs nothing as a grey line."""
    step = len(series) * _ROW + 12
    height = int(len(groups) * step + 40)
    with new_figure(WIDTH, height) as (figure, (axes,)):
        set_margins(figure, 66, 12, 6, 26)
        for g, base in enumerate(baseline):
            axes.plot(
                [base, base], [(g - 0.42) * step, (g + 0.42) * step], color=FAINT, linewidth=2
            )
        for s, points in enumerate(series.values()):
            shift = (s - (len(series) - 1) / 2) * _ROW
            for g, point in enumerate(points):
                _whisker(axes, point, g * step + shift, s)
        axes.set_yticks(np.arange(len(groups)) * step, groups)
        axes.set_ylim((len(groups) - 0.5) * step, -0.5 * step)
        axes.grid(False, axis="y")
        axes.spines["left"].set_visible(False)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        return to_svg(figure, name)


def _whisker(axes: Axes, point: Interval, y: float, series: int) -> None:
    value, low, high = point
    color = SERIES[series % len(SERIES)]
    axes.plot([low, high], [y, y], color=color, linewidth=1.5, solid_capstyle="round")
    axes.plot([value], [y], MARKS[series % len(MARKS)], color=color, markeredgewidth=0)


def plot_bars(name: str, values: Mapping[str, float]) -> str:
    """Shares, largest first, each with its name and its value beside it."""
    with new_figure(WIDTH, 20 * len(values) + 12) as (figure, (axes,)):
        longest = max(map(len, values))
        set_margins(figure, min(178, 14 + 6.2 * longest), 44, 4, 4)
        place = np.arange(len(values))
        axes.barh(place, list(values.values()), height=0.62, color=SERIES[0])
        for y, value in enumerate(values.values()):
            axes.annotate(
                f"{value:.3f}",
                (max(value, 0), y),
                (4, 0),
                textcoords="offset points",
                va="center",
                color=FAINT,
            )
        axes.set_yticks(place, list(values))
        axes.set_ylim(len(values) - 0.4, -0.6)
        axes.set_xlim(left=min(0.0, *values.values()))
        axes.set_xticks([])
        axes.grid(False)
        axes.spines["bottom"].set_visible(False)
        return to_svg(figure, name)


def plot_training(name: str, passes: Sequence[TrainingPass]) -> str:
    """Training loss by optimiser step, and below it the held-out score by the epoch's last step; a line per model."""
    with new_figure(WIDTH, 244, rows=2) as (figure, (loss, score)):
        set_margins(figure, 46, 12, 18, 34, between=26)
        for each in passes:
            lost = [(line["step"], line["loss"]) for line in each.steps]
            dot = "o" if len(lost) == 1 else None  # a line through one point is not to be seen
            loss.plot(*zip(*lost, strict=True), marker=dot, markersize=4, color=SERIES[0])
            reached = [(line["step"], line["held_out_score"]) for line in each.epochs]
            if reached:
                score.plot(*zip(*reached, strict=True), marker="o", markersize=4, color=SERIES[1])
        for line in (*loss.lines, *score.lines):
            line.set(alpha=0.6, linewidth=1.2)
        furthest = max(each.steps[-1]["step"] for each in passes)
        for axes, title in ((loss, "training loss"), (score, "held-out score")):
            axes.set_title(title, loc="left", fontsize=11, color=FAINT, pad=5)
            axes.set_xlim(0, furthest * 1.03)
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
            axes.yaxis.set_major_locator(MaxNLocator(3))
            axes.tick_params(axis="y", labelcolor=FAINT)
        loss.tick_params(axis="x", labelbottom=False)
        score.set_xlabel("optimizer steps")
        return to_svg(figure, name)


def plot_learning_curves(
    name: str, panels: Mapping[str, Mapping[str, Sequence[tuple[int, Interval]]]]
) -> str:
    """Return the file of a learning curve: a panel per task, a line per model, a score with its interval per size.

    Args:
        name: of the picture.
        panels: title -> model -> training queries and score.
    """
    with new_figure(2 * WIDTH, 60 + 190 * len(panels), rows=len(panels)) as (figure, every):
        set_margins(figure, 56, 110, 24, 40, between=34)
        for axes, (title, models) in zip(every, panels.items(), strict=True):
            for s, (model, points) in enumerate(models.items()):
                color = SERIES[s % len(SERIES)]
                x = [
                    queries * 1.02 ** (s - 1) for queries, _ in points
                ]  # beside each other, so that all are seen
                values, low, high = zip(*(point for _, point in points), strict=True)
                axes.vlines(x, low, high, color=color, alpha=0.5)
                axes.plot(
                    x,
                    values,
                    marker=MARKS[s % len(MARKS)],
                    color=color,
                    markeredgewidth=0,
                    label=model,
                )
            sizes = [queries for queries, _ in next(iter(models.values()))]
            axes.set_xscale("log")
            axes.set_xticks(sizes, [f"{queries:,}" for queries in sizes])
            axes.set_xticks([], minor=True)
            axes.set_title(title, loc="left", fontsize=11, color=FAINT, pad=5)
            axes.tick_params(axis="y", labelcolor=FAINT)
        every[0].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
        every[-1].set_xlabel("training queries")
        return to_file(figure, name)


def plot_calibration(name: str, bins: Reliability, horizontal: str, vertical: str) -> str:
    """Expected against happened, with the line on which they are equal."""
    with new_figure(WIDTH, 250) as (figure, (axes,)):
        set_margins(figure, 44, 12, 10, 42)
        axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, dashes=(4, 3))
        axes.plot(bins.expected, bins.happened, marker="o", color=SERIES[0])
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
        axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
        axes.tick_params(axis="x", pad=6)
        axes.tick_params(axis="y", labelcolor=FAINT, pad=6)
        axes.set_xlabel(horizontal)
        axes.set_ylabel(vertical)
        return to_svg(figure, name)


def plot_public_scores(name: str, points: Sequence[tuple[str, Interval, float]]) -> str:
    """Public leaderboard scores against out-of-fold scores with their intervals, each with its name."""
    with new_figure(WIDTH, 264) as (figure, (axes,)):
        set_margins(figure, 56, 14, 10, 40)
        ends = [
            end
            for _, (value, low, high), score in points
            for end in (value, low, high, score)
            if end == end
        ]
        least, most = min(ends), max(ends)
        pad = max((most - least) * 0.12, 0.002)
        axes.plot(
            [least - pad, most + pad],
            [least - pad, most + pad],
            color=FAINT,
            linewidth=1,
            dashes=(4, 3),
        )
        for label, (value, low, high), score in points:
            axes.plot([low, high], [score, score], color=SERIES[0], solid_capstyle="round")
            axes.plot([value], [score], "o", color=SERIES[0], markeredgewidth=0)
            axes.annotate(
                label, (value, score), (0, 7), textcoords="offset points", ha="center", color=INK
            )
        axes.set_xlim(least - pad, most + pad)
        axes.set_ylim(least - pad, most + pad)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(4))
        axes.tick_params(axis="y", labelcolor=FAINT)
        axes.set_xlabel("out-of-fold")
        axes.set_ylabel("public")
        return to_svg(figure, name)
