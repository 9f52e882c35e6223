"""Charts are SVG that stands in a page: no style in it, colors of the page, ids of its own, text that stays text."""

import math
import re

import numpy as np

from competition.analysis.report import charts
from competition.analysis.report.logs import TrainingPass
from competition.analysis.report.reliability import reliability

STEPS = [{"step": 50, "loss": 1.0}, {"step": 100, "loss": 0.5}]
POINT = (0.8, 0.75, 0.85)
FEW = (0.1, math.nan, math.nan)  # over too few queries for an interval


def every_chart(name: str) -> list[str]:
    bins = reliability(np.array([0.2, 0.8]), np.array([0.0, 1.0]))
    return [
        charts.plot_intervals(
            name, ["us", "es"], {"a": [POINT, POINT], "b": [POINT, POINT]}, "nDCG", [0.7, 0.7]
        ),
        charts.plot_differences(
            name, [("b1", (0.1, 0.05, 0.2)), ("c1", (0.0, -0.1, 0.1)), ("d1", FEW)], "minus a"
        ),
        charts.plot_bars(name, {"a": 0.75, "b": 0.25}),
        charts.plot_training(
            name,
            [
                TrainingPass("0", STEPS, [{"step": 100, "held_out_score": 0.5}]),
                TrainingPass("1", STEPS[:1], []),
            ],
        ),
        charts.plot_calibration(name, bins, "expected", "happened"),
        charts.plot_public_scores(name, [("main", POINT, 0.79)]),
    ]


def test_charts_have_no_style_and_the_colors_of_the_page() -> None:
    for svg in every_chart("one"):
        assert svg.startswith("<svg viewBox=")
        assert svg.endswith("</svg>")
        assert "style" not in svg
        assert "metadata" not in svg
        assert "font-size=" in svg
        assert "var(--series-0)" in svg
        assert set(re.findall("#[0-9a-f]{6}", svg)) <= {
            "#000000",
            "#ffffff",
        }  # what matplotlib says of what is not drawn


def test_same_numbers_same_bytes_and_ids_of_their_own() -> None:
    first, again, other = every_chart("one"), every_chart("one"), every_chart("other")
    assert first == again

    def ids(charts: list[str]) -> set[str]:
        return {found for svg in charts for found in re.findall(r'id="([^"]*)"', svg)}

    assert ids(first)
    assert ids(first).isdisjoint(ids(other))
    for svg in first:
        named = set(re.findall(r'(?:href="|url\()#([^")]*)', svg))
        assert named <= ids([svg])


def test_names_are_text() -> None:
    svg = charts.plot_public_scores("hostile", [("<b>$x^2$ & co", POINT, 0.8)])
    assert "&lt;b&gt;$x^2$ &amp; co" in svg
    assert "<b>" not in svg


def colors(difference: tuple[float, float, float], sign: int) -> set[str]:
    svg = charts.plot_differences("one", [("b1", difference)], "minus a", sign)
    return set(re.findall(r"var\(--series-(\d)\)", svg))


def test_a_difference_has_the_color_of_what_it_is() -> None:
    assert colors((0.1, 0.05, 0.2), 1) == {"0"}  # better
    assert colors((0.1, 0.05, 0.2), -1) == {"1"}  # worse, since less is better
    assert colors((-0.1, -0.2, -0.05), 1) == {"1"}
    assert colors((0.1, -0.05, 0.2), 1) == set()  # the interval includes 0
    assert colors(FEW, 1) == set()


def test_long_names_end_with_an_ellipsis_and_short_ones_stay() -> None:
    assert charts.shorten("a" * 20) == "a" * 20
    assert charts.shorten("a" * 21) == "a" * 19 + "…"
