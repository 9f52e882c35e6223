"""The inspection page in a real browser: sorted, filtered, marked, saved, reloaded."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from selenium.common.exceptions import WebDriverException

from competition.analysis.review_page import SHOWN, render_review_page
from competition.noise.reviews import read_reviews
from tests.analysis.test_review_page import NONE, audited
from tests.browser import Browser, browser, needs_browser
from tests.esci import CONTEST, LABELS

pytestmark = [needs_browser, pytest.mark.slow]
ATTACKED = 4  # the row, from the worst, whose query turns the direction of text
QUICK = 1500  # milliseconds; 20 to 100 are usual, drawing all 2,000 rows at once would take 3000 and more


def save_page(folder: Path, run: str, verdicts: pd.DataFrame = NONE) -> Path:
    noise, examples, products = audited()
    file = folder / f"noise-{run}.html"
    file.write_text(
        render_review_page(CONTEST, run, "rows", noise, verdicts, examples, products),
        encoding="utf-8",
    )
    return file


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("browser")) as window:
        yield window


@pytest.fixture
def page(window: Browser, tmp_path: Path, request: pytest.FixtureRequest) -> Browser:
    """The page of a run of its own, so that no test sees another's marks."""
    window.open(save_page(tmp_path, request.node.name))
    return window


def ids(page: Browser) -> list[str]:
    """The example_ids on the page, from the top."""
    return [text.removeprefix("example ") for text in page.texts("td.query .faint")]


def choose(page: Browser, name: str, value: str) -> float:
    """Set a filter as a person would; returns how long the page took, in milliseconds."""
    return page.run(
        "const [name, value] = arguments, field = document.forms[0].elements[name], start = performance.now();"
        "field.value = value; field.dispatchEvent(new Event('input', {bubbles: true})); document.body.offsetHeight;"
        "return performance.now() - start;",
        name,
        value,
    )


def count(page: Browser) -> list[str]:
    """What is counted: rows, wrong, right, unsure, to judge."""
    return page.texts("#counts span")


def test_it_asks_for_nothing_and_takes_nothing_for_markup(page: Browser) -> None:
    assert page.run("return document.title").startswith("Label audit of test_it_asks")
    assert page.run("return performance.getEntriesByType('resource').length") == 0
    assert (
        page.run("return document.querySelectorAll('img, table script, table b, table a').length")
        == 0
    )
    queries = {row[0]: row[1] for row in page.run("return rows.map(row => [row.id, row.query])")}
    assert dict(zip(ids(page), page.texts(".query-text"), strict=True)).items() <= queries.items()
    assert (
        page.texts(".query-text")[ATTACKED]
        == "[U+202E]gnp.exe[U+2066] [U+0000][U+0007][U+009B] nul"
    )
    other = "const script = document.createElement('script'); script.textContent = 'document.title = 1';"
    assert page.run(f"{other} document.body.append(script); return document.title").startswith(
        "Label audit"
    )


def test_rows_are_sorted(page: Browser) -> None:
    assert page.texts("td.rank .number")[:3] == ["1", "2", "3"]
    worst = ids(page)[:3]
    page.click("th.quality button")
    qualities = [float(text) for text in page.texts("td.quality .number")]
    assert qualities == sorted(qualities)
    page.click("th.quality button")
    assert page.run("return document.querySelector('th.quality').ariaSort") == "descending"
    qualities = [float(text) for text in page.texts("td.quality .number")]
    assert qualities == sorted(qualities, reverse=True)
    page.click("th.given button")
    assert page.texts("td.given")[0] == LABELS[0]
    page.click("th.rank button")
    assert ids(page)[:3] == worst


def test_rows_are_filtered_at_once(page: Browser) -> None:
    took = [
        choose(page, "given", "complement"),
        choose(page, "suggested", "exact"),
        choose(page, "locale", "jp"),
    ]
    assert set(page.texts("td.given")) == {"complement"}
    assert set(page.texts("td.suggested")) == {"exact"}
    assert set(page.texts("td.locale")) == {"jp"}
    page.click("button[type=reset]")
    assert page.run("return new Promise(done => setTimeout(() => done(shown.length)))") == SHOWN
    took.append(choose(page, "query", "QUERY 17"))
    assert set(page.texts(".query-text")) == {"query 17"}
    took.append(choose(page, "product", "title 1367"))
    assert page.texts("td.product .name") == ["title 1367"]
    choose(page, "product", "nothing like it")
    assert page.texts("tbody tr") == []
    assert page.run("return document.getElementById('empty').offsetHeight") > 0
    choose(page, "product", ""), choose(page, "query", "")
    choose(page, "state", "dropped")
    assert count(page)[0] == f"40 of {SHOWN:,} rows"
    assert max(took) < QUICK
    sort = "sortBy('query'); document.body.offsetHeight;"
    start = f"const start = performance.now(); {sort} return performance.now() - start"
    choose(page, "state", "")
    assert page.run(start) < QUICK


def test_rows_are_drawn_as_they_are_reached(page: Browser) -> None:
    before = len(page.texts("tbody tr"))
    assert before < 200
    page.run("scrollTo(0, document.body.scrollHeight)")
    assert page.run("return new Promise(done => setTimeout(() => done(drawn), 300))") > before
    page.click("th.verdict button"), page.click("th.rank button")
    page.press("j" * 150)
    assert page.run("return shown.indexOf(current)") == 149


def test_marks_are_saved_and_outlive_a_reload(page: Browser, tmp_path: Path) -> None:
    run = page.run("return audit.run")
    first = ids(page)[:5]
    page.press("jwruu")  # the second u is on row 4
    page.press("kkkkkk")
    assert page.texts("[aria-current=true] td.rank .number") == ["1"]
    assert count(page)[1:] == ["1 wrong", "1 right", "2 unsure", f"{SHOWN - 4:,} to judge"]
    page.press("j" * 3 + "u")  # again: taken back, and it stays there
    page.click("tbody tr:nth-child(5) .choice.right")
    assert page.texts("[aria-current=true] td.rank .number") == ["4"]
    assert page.texts(".choice[aria-pressed=true]") == ["wrong", "right", "unsure", "right"]
    page.click("#save")
    saved = page.downloaded(f"verdicts-{run}.csv")
    expected = {first[0]: "wrong", first[1]: "right", first[2]: "unsure", first[4]: "right"}
    assert saved.splitlines() == [
        "example_id,verdict",
        *(f"{row},{expected[row]}" for row in sorted(expected, key=int)),
    ]
    (tmp_path / "saved.csv").write_text(saved)
    assert len(read_reviews(tmp_path / "saved.csv", audited()[0]["example_id"])) == 4
    page.reload()
    assert count(page)[1:4] == ["1 wrong", "2 right", "1 unsure"]
    choose(page, "verdict", "right")
    assert ids(page) == [first[1], first[4]]
    page.click("#forget")  # the question is answered with yes
    assert count(page)[1:4] == ["0 wrong", "0 right", "0 unsure"]
    page.reload()
    assert count(page)[1:4] == ["0 wrong", "0 right", "0 unsure"]
    assert page.run("return document.getElementById('save').disabled")


def test_it_begins_with_what_the_workspace_holds(window: Browser, tmp_path: Path) -> None:
    by_rank = audited()[0].sort_values("rank")["example_id"].tolist()
    kept = pd.DataFrame({"example_id": [by_rank[0], by_rank[-1]], "verdict": ["right", "wrong"]})
    window.open(save_page(tmp_path, "kept", kept))
    assert count(window)[1:4] == ["1 wrong", "1 right", "0 unsure"]
    window.press("jr")  # taken back
    window.reload()
    window.click("#save")
    assert window.downloaded("verdicts-kept.csv") == f"example_id,verdict\n{by_rank[-1]},wrong\n"


def test_keys_are_letters_where_one_types(page: Browser) -> None:
    page.press("j/wru")
    assert page.run("return document.forms[0].elements.query.value") == "wru"
    assert count(page)[1:4] == ["0 wrong", "0 right", "0 unsure"]


def test_it_works_where_the_browser_remembers_nothing(tmp_path: Path) -> None:
    refusing = {"profile.default_content_setting_values.cookies": 2}
    file = save_page(tmp_path, "refused")
    with browser(tmp_path / "browser", refusing) as page:
        page.open(file)
        with pytest.raises(WebDriverException, match="denied"):
            page.run("return localStorage.length")
        assert page.run("return document.getElementById('note').offsetHeight") > 0
        page.press("jwr")
        assert count(page)[1:4] == ["1 wrong", "1 right", "0 unsure"]
        page.click("#save")
        assert len(page.downloaded("verdicts-refused.csv").splitlines()) == 3


@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_is_wider_than_the_window(page: Browser, width: int) -> None:
    page.command(
        "Emulation.setDeviceMetricsOverride",
        width=width,
        height=800,
        deviceScaleFactor=1,
        mobile=width < 800,
    )
    assert page.run(
        "return [innerWidth, Math.max(innerWidth, document.documentElement.scrollWidth)]"
    ) == [width, width]
    page.command("Emulation.clearDeviceMetricsOverride")
