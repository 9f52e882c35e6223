"""The style of charts, and their SVG: it takes the font of the page and its light or dark colors."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

# A unit of a figure is a CSS pixel. Each color stands for a variable of `templates/report.css`,
# which has a light and a dark value; the colors of series suit the color-blind (Okabe and Ito 2008).
PIXELS = 72.0
INK = "#1b2027"
FAINT = "#626b78"
LINE = "#dde1e7"
SERIES = ("#0072b2", "#d55e00", "#009e73", "#aa4499")
MARKS = ("o", "s", "D", "^")
_VARIABLES = {INK: "--ink", FAINT: "--faint", LINE: "--line"} | {
    color: f"--series-{i}" for i, color in enumerate(SERIES)
}
_STYLE = {
    "font.size": 12.0,
    "axes.edgecolor": LINE,
    "axes.labelcolor": FAINT,
    "axes.labelsize": 12.0,
    "axes.linewidth": 1.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.75,
    "lines.linewidth": 1.5,
    "lines.markersize": 5.5,
    "text.color": INK,
    "text.parse_math": False,  # a name may hold a dollar sign
    "xtick.color": LINE,
    "xtick.labelcolor": FAINT,
    "xtick.major.size": 0.0,
    "ytick.color": LINE,
    "ytick.labelcolor": INK,
    "ytick.major.size": 0.0,
    "svg.fonttype": "none",
}


@contextmanager
def new_figure(width: int, height: int, rows: int = 1) -> Iterator[tuple[Drawing, list[Axes]]]:
    """Make a figure of `width` by `height` pixels with `rows` axes below each other, in the style of the page."""
    with mpl.rc_context():
        # The page does not depend on a user's own matplotlibrc.
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        figure = Drawing(figsize=(width / PIXELS, height / PIXELS), dpi=PIXELS)
        axes = [figure.add_subplot(rows, 1, row + 1) for row in range(rows)]
        yield figure, axes


def set_margins(
    figure: Drawing, left: float, right: float, top: float, bottom: float, between: float = 0.0
) -> None:
    """Set the pixels around the axes, and between axes that are below each other."""
    width, height = figure.get_size_inches() * PIXELS
    rows = len(figure.axes)
    axis = (height - top - bottom - between * (rows - 1)) / rows  # pixels of one of them

    figure.subplots_adjust(
        left / width,
        bottom / height,
        1 - right / width,
        1 - top / height,
        hspace=between / axis if rows > 1 else None,
    )


def to_file(figure: Drawing, name: str, transparent: bool = False) -> str:
    """Return SVG for a file: the same bytes for the same figure, with ids that no other `name` has."""
    text = StringIO()
    no_metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(text, format="svg", metadata=no_metadata, transparent=transparent)
    return text.getvalue()


def to_svg(figure: Drawing, name: str) -> str:
    """Return SVG for a page: as `to_file`, without styles, metadata and ids of groups."""
    svg = to_file(figure, name, transparent=True)
    svg = svg[svg.index("<svg") :]

    svg = re.sub(r"<style.*?</style>|<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)

    # The page scales the picture; its figure element says in words what it shows.
    svg = re.sub(
        r'^<svg [^>]*?viewBox="([^"]*)"[^>]*>',
        r'<svg viewBox="\1" aria-hidden="true">',
        svg,
        flags=re.DOTALL,
    )
    svg = re.sub(r'style="([^"]*)"', lambda match: _attributes(match[1]), svg)
    return re.sub(r"\s*\n\s*", "\n", svg).strip()


def _attributes(style: str) -> str:
    """Return CSS as presentation attributes, which a content security policy allows and the page's style overrides."""
    pairs = [declaration.split(":", 1) for declaration in style.split(";") if ":" in declaration]
    attributes = {name.strip(): value.strip() for name, value in pairs}
    if font := attributes.pop("font", None):
        attributes["font-size"] = re.search(r"([\d.]+)px", font)[1]  # type: ignore[index]

    for name, value in attributes.items():
        if value in _VARIABLES:
            attributes[name] = f"var({_VARIABLES[value]})"
    return " ".join(f'{name}="{value}"' for name, value in attributes.items())
