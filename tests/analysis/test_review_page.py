"""The page holds the worst rows, cannot be broken by what strangers wrote, and is a function of its inputs."""

import json
import re

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from competition.analysis.html import display_text, script_json
from competition.analysis.review_page import SHOWN, render_review_page, text_lengths, worst_rows
from tests.esci import CONTEST, FIELDS, LABELS

ATTACKS = (
    "</script><script>document.title = 'broken'</script>",
    "<img src=x onerror=\"document.title = 'broken'\">",
    "<!-- <script> & </SCRIPT > ]]>",
    "tea\u2028kettle\u2029&lt;b&gt;",
    "\u202egnp.exe\u2066 \x00\x07\x9b nul",
    "=HYPERLINK(1)",
    "&lt;/script&gt;&lt;img src=x onerror=\"document.title = 'broken'\"&gt;",  # markup only once it is cleaned
)
NONE = pd.DataFrame({"example_id": np.array([], np.int64), "verdict": np.array([], "str")})
Audited = tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]


def audited(count: int = 2_300, flagged: int = 90) -> Audited:
    """An audit of `count` rows with large ids, its examples and products; the first of them attack the page."""
    rng = np.random.default_rng(0)
    ids = 2**60 + rng.permutation(count)
    given_, suggested = rng.integers(0, 4, count), rng.integers(0, 4, count)
    rank = np.where(np.arange(count) < flagged, np.arange(count) + 1, 0)
    noise = pd.DataFrame(
        {
            "example_id": ids,
            "given": np.array(LABELS)[given_],
            "suggested": np.array(LABELS)[suggested],
            "quality": rng.random(count).round(6),
            "rank": pd.Series(rank).astype("Int64").mask(rank == 0),
            "dropped": (rank > 0) & (rank <= 40),
        }
    ).sort_values("example_id", ignore_index=True)
    names = [f"item {i}" for i in range(count)]
    locales = np.array(["us", "es", "jp"])[rng.integers(0, 3, count)]
    examples = pd.DataFrame(
        {
            "example_id": ids,
            "query": [f"query {i % 50}" for i in range(count)],
            "locale": locales,
            "product_id": names,
        }
    )
    products = pd.DataFrame(
        {"locale": locales, "product_id": names, **dict.fromkeys(FIELDS, "plain")}
    )
    products["title"] = [f"title {i}" for i in range(count)]
    for i, attack in enumerate(ATTACKS):
        examples.loc[i, "query"] = attack
        products.loc[i, list(FIELDS)] = attack
    products.loc[len(ATTACKS), ["title", "bullets", "description"]] = "x" * 2**20
    return noise, examples, products.drop(index=len(ATTACKS) + 1)  # a row without product


def page_of(rows: Audited, verdicts: pd.DataFrame = NONE) -> str:
    noise, examples, products = rows
    return render_review_page(CONTEST, "c1", "rows", noise, verdicts, examples, products)


def data_of(page: str) -> dict:
    """What the page's script reads."""
    return json.loads(
        page.split('<script type="application/json" id="data">')[1].split("</script>")[0]
    )


def ids_of(page: str) -> list[int]:
    return [int(row[0]) for row in data_of(page)["rows"]]


def test_the_worst_rows_come_first_and_judged_ones_come_along() -> None:
    noise, examples, products = audited()
    by_id = noise.set_index("example_id")
    best = by_id["quality"].where(by_id["rank"].isna()).idxmax()
    ids = ids_of(page_of((noise, examples, products)))
    assert len(ids) == SHOWN
    assert best not in ids
    assert by_id.loc[ids[:90], "rank"].tolist() == list(range(1, 91))
    assert by_id.loc[ids[90:], "rank"].isna().all()
    assert by_id.loc[ids[90:], "quality"].is_monotonic_increasing
    judged = pd.DataFrame({"example_id": [best, ids[3]], "verdict": ["right", "wrong"]})
    page = page_of((noise, examples, products), judged)
    assert ids_of(page) == [*ids, best]
    assert {row[0]: row[-1] for row in data_of(page)["rows"] if row[-1]} == {
        str(best): "right",
        str(ids[3]): "wrong",
    }
    assert len(worst_rows(noise, NONE, 10)) == 10


def test_same_inputs_same_bytes_whatever_their_order() -> None:
    noise, examples, products = audited()
    shuffled = (
        noise.sample(frac=1, random_state=1),
        examples.sample(frac=1, random_state=2),
        products.sample(frac=1),
    )
    assert page_of(shuffled) == page_of((noise, examples, products))


@given(
    st.recursive(
        st.text() | st.sampled_from(ATTACKS),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_embedded_json_is_itself_and_no_markup(content: object) -> None:
    text = script_json(content)
    assert json.loads(text) == content
    assert not re.search("[<>&\u2028\u2029]", text)


def test_nothing_that_strangers_wrote_is_markup() -> None:
    page = page_of(audited())
    assert len(re.findall(r"</?script", page, re.IGNORECASE)) == 4  # the data's and the code's own
    assert "<img" not in page
    assert "\u2028" not in page
    assert "\u202e" not in page
    assert "\x00" not in page
    assert not re.search(
        r"<[^<>]*\s(src|href|action)=|url\(|@import|https?:", page
    )  # nothing from elsewhere
    assert len(page) < 2_000_000  # three fields of 1 MB are in it, shortened


def test_texts_are_readable() -> None:
    assert display_text("<b>Tea</b> &amp;  kettle\n\n <br>\nred", 30) == "Tea & kettle\nred"
    assert display_text("x" * 2**20, 30) == "x" * 29 + "…"
    assert display_text("x" * 30, 30) == "x" * 30
    assert display_text("a\u202eb\x07c\u2066", 30) == "a[U+202E]b[U+0007]c[U+2066]"
    assert (
        display_text("\u05e9\u05dc\u05d5\u05dd \u200f", 30) == "\u05e9\u05dc\u05d5\u05dd \u200f"
    )  # words of any direction stay
    data = data_of(page_of(audited()))
    lengths = text_lengths(CONTEST)
    assert set(lengths) == {"query", "product_id", *FIELDS}
    for name, length in lengths.items():
        column = data["columns"].index(name)
        assert max(len(re.sub(r"\[U\+....\]", "?", row[column])) for row in data["rows"]) <= length
