"""Charts are SVG that stands in a page: no style in it, colors of the page, ids of its own, text that stays text."""

import re

import numpy as np

from competition.analysis.report import charts
from competition.analysis.report.logs import TrainingPass
from competition.analysis.report.reliability import reliability

STEPS = [{"step": 50, "loss": 1.0}, {"step": 100, "loss": 0.5}]
POINT = (0.8, 0.75, 0.85)


def every_chart(name: str) -> list[str]:
    bins = reliability(np.array([0.2, 0.8]), np.array([0.0, 1.0]))
    return [
        charts.plot_intervals(
            name, ["us", "es"], {"a": [POINT, POINT], "b": [POINT, POINT]}, [0.7, 0.7]
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
