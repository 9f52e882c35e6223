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

# Every chart has one width in pixels, so that all text has one size: a wide page has four charts
# in a row, a phone has one.
WIDTH = 310
_ROW = 15.0  # pixels of one series in a group
_LETTER = 6.9  # pixels of a character, on average


def plot_intervals(
    name: str,
    groups: Sequence[str],
    series: Mapping[str, Sequence[Interval]],
    horizontal: str,
    baseline: Sequence[float] = (),
) -> str:
    """Plot a score with its interval per group and series.

    Args:
        name: of the picture.
        groups: names, from top to bottom.
        series: name -> a point per group.
        horizontal: what is plotted.
        baseline: the score of the trivial baseline of each group, a grey line.
    """
    step = len(series) * _ROW + 12
    height = int(len(groups) * step + 52)
    groups = [shorten(group) for group in groups]

    with new_figure(WIDTH, height) as (figure, (axes,)):
        set_margins(figure, 14 + _LETTER * max(map(len, groups)), 14, 6, 42)
        for g, score in enumerate(baseline):
            ends = [(g - 0.42) * step, (g + 0.42) * step]
            axes.plot([score, score], ends, color=FAINT, linewidth=2)

        # The series of a group lie below each other, around the group's middle.
        for s, points in enumerate(series.values()):
            shift = (s - (len(series) - 1) / 2) * _ROW
            for g, (value, low, high) in enumerate(points):
                color, y = SERIES[s % len(SERIES)], g * step + shift
                axes.plot([low, high], [y, y], color=color, linewidth=1.5, solid_capstyle="round")
                axes.plot([value], [y], MARKS[s % len(MARKS)], color=color, markeredgewidth=0)

        axes.set_yticks(np.arange(len(groups)) * step, groups)
        axes.set_ylim((len(groups) - 0.5) * step, -0.5 * step)
        axes.grid(False, axis="y")
        axes.spines["left"].set_visible(False)
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.set_xlabel(horizontal)
        return to_svg(figure, name)


def plot_differences(
    name: str, rows: Sequence[tuple[str, Interval]], horizontal: str, sign: int = 1
) -> str:
    """Plot differences with their intervals below each other around 0, a forest plot.

    A difference whose interval excludes 0 is a full mark in the color of better or of worse, any
    other an open grey one.

    Args:
        name: of the picture.
        rows: a name and its difference, from top to bottom.
        horizontal: what is subtracted from what.
        sign: 1 where a greater value is better, else -1.
    """
    step = 34.0
    with new_figure(WIDTH, int(len(rows) * step + 48)) as (figure, (axes,)):
        set_margins(figure, 14, 14, 6, 42)
        for i, (label, (value, low, high)) in enumerate(rows):
            differs = low > 0 or high < 0  # False for NaN
            color = SERIES[0 if sign * value > 0 else 1] if differs else FAINT
            y = i * step
            axes.plot([0, 0], [y - 6, y + 6], color=INK, linewidth=1)
            axes.plot([low, high], [y, y], color=color, linewidth=2, solid_capstyle="round")
            mark = MARKS[0 if sign * value > 0 else 1] if differs else MARKS[0]
            axes.plot([value], [y], mark, color=color, fillstyle="full" if differs else "none")

            # Above the interval, at both ends of the picture: a long name covers no number.
            axes.text(0, y - 10, shorten(label, 32), transform=axes.get_yaxis_transform())
            axes.text(
                1,
                y - 10,
                f"{value:+.4f}",
                transform=axes.get_yaxis_transform(),
                ha="right",
                color=color,
            )

        axes.set_ylim((len(rows) - 1) * step + 12, -26)
        axes.set_yticks([])
        axes.grid(False, axis="y")
        axes.spines["left"].set_visible(False)
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.set_xlabel(horizontal)
        return to_svg(figure, name)


def shorten(name: str, length: int = 20) -> str:
    """Return a name of at most `length` characters, its end left out; the table beside a chart has it whole."""
    return name if len(name) <= length else f"{name[: length - 1]}…"


def plot_bars(name: str, values: Mapping[str, float]) -> str:
    """Plot values as bars in their order, each with its name and its value beside it."""
    names = [shorten(name, 26) for name in values]
    with new_figure(WIDTH, 20 * len(values) + 12) as (figure, (axes,)):
        set_margins(figure, 14 + _LETTER * max(map(len, names)), 44, 4, 4)

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

        axes.set_yticks(place, names)
        axes.set_ylim(len(values) - 0.4, -0.6)
        axes.set_xlim(left=min(0.0, *values.values()))
        axes.set_xticks([])
        axes.grid(False)
        axes.spines["bottom"].set_visible(False)
        return to_svg(figure, name)


def plot_training(name: str, passes: Sequence[TrainingPass]) -> str:
    """Plot training loss by optimizer step, and below it the held-out score of each epoch; a line per model."""
    with new_figure(WIDTH, 244, rows=2) as (figure, (loss, score)):
        set_margins(figure, 46, 12, 18, 34, between=26)
        for each in passes:
            losses = [(line["step"], line["loss"]) for line in each.steps]
            # A line through one point is invisible.
            dot = "o" if len(losses) == 1 else None
            loss.plot(*zip(*losses, strict=True), marker=dot, markersize=4, color=SERIES[0])
            scores = [(line["step"], line["held_out_score"]) for line in each.epochs]
            if scores:
                score.plot(*zip(*scores, strict=True), marker="o", markersize=4, color=SERIES[1])

        for line in (*loss.lines, *score.lines):
            line.set(alpha=0.6, linewidth=1.2)

        # Both axes share the steps, so that a score stands below its loss.
        last_step = max(each.steps[-1]["step"] for each in passes)
        for axes, title in ((loss, "training loss"), (score, "held-out score")):
            axes.set_title(title, loc="left", fontsize=12, color=FAINT, pad=5)
            axes.set_xlim(0, last_step * 1.03)
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
    height = 60 + 190 * len(panels)
    with new_figure(2 * WIDTH, height, rows=len(panels)) as (figure, all_axes):
        set_margins(figure, 56, 110, 24, 40, between=34)
        for axes, (title, models) in zip(all_axes, panels.items(), strict=True):
            for s, (model, points) in enumerate(models.items()):
                _plot_learning_curve(axes, model, points, s)

            sizes = [queries for queries, _ in next(iter(models.values()))]
            axes.set_xscale("log")
            axes.set_xticks(sizes, [f"{queries:,}" for queries in sizes])
            axes.set_xticks([], minor=True)
            axes.set_title(title, loc="left", fontsize=12, color=FAINT, pad=5)
            axes.tick_params(axis="y", labelcolor=FAINT)

        all_axes[0].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
        all_axes[-1].set_xlabel("training queries")
        return to_file(figure, name)


def _plot_learning_curve(
    axes: Axes, model: str, points: Sequence[tuple[int, Interval]], series: int
) -> None:
    color = SERIES[series % len(SERIES)]
    # Models of one size stand beside each other, so that no interval covers another.
    x = [queries * 1.02 ** (series - 1) for queries, _ in points]
    values, low, high = zip(*(point for _, point in points), strict=True)

    axes.vlines(x, low, high, color=color, alpha=0.5)
    mark = MARKS[series % len(MARKS)]
    axes.plot(x, values, marker=mark, color=color, markeredgewidth=0, label=model)


def plot_calibration(name: str, bins: Reliability, horizontal: str, vertical: str) -> str:
    """Plot observed against expected values, with the diagonal of perfect calibration."""
    with new_figure(WIDTH, 250) as (figure, (axes,)):
        set_margins(figure, 44, 12, 10, 42)
        axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, dashes=(4, 3))
        axes.plot(bins.expected, bins.observed, marker="o", color=SERIES[0])

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
    """Plot public leaderboard scores against out-of-fold scores with their intervals, each with its name."""
    with new_figure(WIDTH, 264) as (figure, (axes,)):
        set_margins(figure, 56, 14, 10, 40)

        # One scale for both axes: on the diagonal, public and out-of-fold score are equal.
        numbers = [number for _, interval, score in points for number in (*interval, score)]
        known = [number for number in numbers if number == number]
        least, greatest = min(known), max(known)
        pad = max((greatest - least) * 0.12, 0.002)
        limits = [least - pad, greatest + pad]
        axes.plot(limits, limits, color=FAINT, linewidth=1, dashes=(4, 3))

        for label, (value, low, high), score in points:
            axes.plot([low, high], [score, score], color=SERIES[0], solid_capstyle="round")
            axes.plot([value], [score], "o", color=SERIES[0], markeredgewidth=0)
            axes.annotate(
                label, (value, score), (0, 7), textcoords="offset points", ha="center", color=INK
            )

        axes.set_xlim(*limits)
        axes.set_ylim(*limits)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(4))
        axes.tick_params(axis="y", labelcolor=FAINT)
        axes.set_xlabel("out-of-fold")
        axes.set_ylabel("public")
        return to_svg(figure, name)
