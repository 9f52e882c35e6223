"""The report in a real browser: quiet, sorted, filtered, as wide as its window, in the light and in the dark."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from competition.core.workspace import Workspace
from tests.analysis.report.conftest import report_of
from tests.browser import Browser, browser, needs_browser

pytestmark = [needs_browser, pytest.mark.slow]
CONTRAST = 4.5  # of text to what is behind it (WCAG 2.2, AA)


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("browser")) as window:
        yield window


@pytest.fixture
def page(window: Browser, finished_page: Path) -> Browser:
    window.open(finished_page)
    return window


def look(page: Browser, width: int, theme: str) -> None:
    """Give the window a width and the reader a preference."""
    page.command(
        "Emulation.setDeviceMetricsOverride",
        width=width,
        height=900,
        deviceScaleFactor=1,
        mobile=width < 800,
    )
    page.command(
        "Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}]
    )


def column(page: Browser, place: int, section: str = "#leaderboard") -> list[float]:
    """The numbers of a column of the section's first table, in the order in which they are seen."""
    script = (
        "return [...document.querySelector(arguments[0] + ' table').tBodies[0].rows].filter(row => !row.hidden)"
        ".map(row => parseFloat(row.cells[arguments[1]].textContent))"
    )
    return list(page.run(script, section, place))


def test_nothing_is_complained_of(page: Browser) -> None:
    assert page.console_messages() == []
    assert page.run("return document.querySelectorAll('figure.figure svg text').length") > 100
    targets = "[...document.querySelectorAll('nav a')].map(a => document.querySelector(a.hash))"
    assert page.run(f"const found = {targets}; return found.length > 10 && found.every(Boolean)")
    assert page.run(
        "return new Set([...document.querySelectorAll('[id]')].map(e => e.id)).size"
    ) == page.run("return document.querySelectorAll('[id]').length")


def test_tables_are_sorted_by_their_headings(page: Browser) -> None:
    heading = "#leaderboard thead th:nth-child(2)"
    best_first = sorted(column(page, 1), reverse=True)
    assert column(page, 1) == best_first
    page.click(f"{heading} button")
    assert page.run("return document.querySelector(arguments[0]).ariaSort", heading) == "descending"
    assert column(page, 1) == best_first
    page.click(f"{heading} button")
    assert column(page, 1) == best_first[::-1]
    page.click("#leaderboard thead th:first-child button")
    runs = page.texts("#leaderboard div.block:first-of-type tbody th")
    assert runs == sorted(runs, key=str.lower)


def test_rows_are_filtered_by_words_and_choices(page: Browser) -> None:
    page.run("document.querySelector('#breakdown details').open = true")
    assert len(column(page, 4, "#breakdown")) == 12  # the first ones
    page.run("document.querySelector('#breakdown form button').click()")
    everything = len(column(page, 4, "#breakdown"))
    script = (
        "const [name, value] = arguments, field = document.querySelector(`#breakdown form [aria-label='${name}']`);"
        "field.value = value; field.dispatchEvent(new Event('input', {bubbles: true}));"
    )
    page.run(script, "Run", "lexical")
    assert 0 < len(column(page, 4, "#breakdown")) < everything
    assert set(page.texts("#breakdown tbody tr:not([hidden]) td:nth-child(2)")) == {"lexical"}
    page.run(script, "Group", "fold 3")
    assert page.texts("#breakdown form output") == [f"3 of {everything} rows"]  # one of each task
    page.run(script, "Group", "")
    page.run(script, "Row contains", "FOLD task2")
    assert page.texts("#breakdown form output") == [f"5 of {everything} rows"]
    page.run(script, "Row contains", "nothing like it")
    assert column(page, 4, "#breakdown") == []


def test_a_query_opens_by_keyboard(page: Browser) -> None:
    page.run("document.querySelector('#worst summary').focus()")
    page.press("\ue007")  # Enter
    assert page.run("return document.querySelector('#worst details').open")
    assert page.run("return document.querySelector('#worst ol').offsetHeight") > 0


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1600])
def test_it_fits_and_can_be_read(page: Browser, width: int, theme: str) -> None:
    look(page, width, theme)
    assert page.run(
        "return [innerWidth, Math.max(innerWidth, document.documentElement.scrollWidth)]"
    ) == [width, width]
    contrast, text = page.run(_FAINTEST)
    assert contrast >= CONTRAST, text


@pytest.mark.parametrize(("width", "beside"), [(400, 1), (1100, 3), (1600, 4)])
def test_charts_stand_side_by_side(page: Browser, width: int, beside: int) -> None:
    look(page, width, "light")
    charts = "[...document.querySelectorAll('#breakdown .multiples')[0].children]"
    script = f"return new Set({charts}.map(e => e.offsetLeft)).size"
    assert page.run(script) == beside


@pytest.mark.parametrize("width", [400, 1280])
def test_what_is_wider_than_the_screen_says_so(page: Browser, width: int) -> None:
    look(page, width, "light")
    script = (
        "return new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done("
        "[...document.querySelectorAll('.scroll')].map(e => [e.scrollWidth > e.clientWidth + 1, "
        "e.previousElementSibling?.className === 'hint'])))))"
    )
    frames = page.run(script)
    assert frames
    assert all(wide == hint for wide, hint in frames)


def test_a_screen_reader_finds_its_way(page: Browser) -> None:
    levels = page.run(
        "return [...document.querySelectorAll('h1,h2,h3,h4')].map(e => +e.tagName[1])"
    )
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert page.run("return document.querySelectorAll('main').length") == 1
    # Charts are pictures with a text; regions are told apart by their names.
    unnamed = "[...document.querySelectorAll('[role=img], nav, form')].filter(e => !e.ariaLabel)"
    assert page.run(f"return {unnamed}.length") == 0
    names = page.run("return [...document.querySelectorAll('[role=region]')].map(e => e.ariaLabel)")
    assert len(names) == len(set(names))


def test_texts_that_attack_do_nothing(window: Browser, attacked: Workspace, tmp_path: Path) -> None:
    report_of(attacked, tmp_path / "report.html")
    window.open(tmp_path / "report.html")
    assert window.console_messages() == []
    assert window.run("return document.title") == "w: competition report"
    assert window.run("return document.querySelectorAll('img, b script').length") == 0
    other = "const script = document.createElement('script'); script.textContent = 'document.title = 1';"
    assert (
        window.run(f"{other} document.body.append(script); return document.title")
        == "w: competition report"
    )


# The least contrast of any text of the page to the first opaque color behind it, by the formula of
# WCAG 2.2.
_FAINTEST = """
const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
const known = new Map();
function rgba(color) {
  if (!known.has(color)) {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    known.set(color, [...canvas.getImageData(0, 0, 1, 1).data]);
  }
  return known.get(color);
}
const part = (c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4);
const light = ([r, g, b]) => 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
function behind(element) {
  for (let e = element; e; e = e.parentElement) {
    const color = rgba(getComputedStyle(e).backgroundColor);
    if (color[3] === 255) return color;
  }
  return [255, 255, 255, 255];
}
let faintest = [21, ""];
for (const e of document.querySelectorAll('body *:not(script, svg *), svg text')) {
  if (![...e.childNodes].some((node) => node.nodeType === 3 && node.data.trim())) continue;
  const style = getComputedStyle(e);
  const [dark, bright] = [light(rgba(e instanceof SVGElement ? style.fill : style.color)), light(behind(e))].sort(
    (a, b) => a - b,
  );
  const contrast = (bright + 0.05) / (dark + 0.05);
  if (contrast < faintest[0]) faintest = [contrast, `${e.tagName}.${e.className}: ${e.textContent}`];
}
return faintest;
"""
