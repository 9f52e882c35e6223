"""Cleaning product text: tags and entities go, everything that only looks like them stays."""

import html

import pytest
from hypothesis import given
from hypothesis import strategies as st

from competition.data.text import clean, clean_all, map_distinct
from tests.esci import FIELD_ORDERS, FIELDS

PLAIN = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="<>&"), max_size=40)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<b>bold</b> shoes", "bold shoes"),
        ("one<br>two<br/>three", "one two three"),
        ('<p class="big">text</p>', "text"),
        ("<!-- a > b -->visible", "visible"),
        ("salt &amp; pepper", "salt & pepper"),
        ("caf&eacute; &#39;n&#39; bar", "café 'n' bar"),
        ("one&nbsp;two", "one two"),
        ("  one \t\n two\u3000", "one two"),
        ("", ""),
    ],
)
def test_tags_entities_and_spaces_are_removed(text: str, expected: str) -> None:
    assert clean(text) == expected


@pytest.mark.parametrize(
    "text",
    ["a < b", "<3", "a <3 b", "1<2>0", "x > y", "AT&T", "5 <> 6", "R&D < C++", "->", "< b >"],
)
def test_what_only_looks_like_html_stays(text: str) -> None:
    assert clean(text) == text


def test_an_entity_is_no_tag() -> None:
    assert clean("&lt;b&gt; is a tag") == "<b> is a tag"


@given(PLAIN)
def test_text_without_html_only_loses_extra_spaces(text: str) -> None:
    assert clean(text) == " ".join(text.split())


@given(PLAIN)
def test_escaped_text_comes_back(text: str) -> None:
    assert clean(html.escape(f"'{text}' & \"")) == " ".join(f"'{text}' & \"".split())


@given(PLAIN, st.sampled_from(["b", "p", "div", "span style='x'"]))
def test_a_tag_around_text_is_a_space(text: str, tag: str) -> None:
    assert clean(f"{text}<{tag}>{text}</{tag.split()[0]}>") == clean(f"{text} {text}")


def test_all_is_each() -> None:
    assert clean_all(["<b>a</b>", "b &amp; c"]) == ["a", "b & c"]


def test_a_text_that_is_repeated_is_computed_once() -> None:
    seen = []

    def upper(text: str) -> str:
        seen.append(text)
        return text.upper()

    assert map_distinct(upper, iter(["mug", "cup", "mug"])) == ["MUG", "CUP", "MUG"]
    assert seen == ["mug", "cup"]


@pytest.mark.parametrize("name", FIELD_ORDERS)
def test_a_field_order_is_named_by_the_letters_of_its_fields(name: str) -> None:
    letters = {"title": "t", "brand": "b", "color": "c", "bullets": "b", "description": "d"}
    assert sorted(FIELD_ORDERS[name]) == sorted(FIELDS)
    assert name == "p" + "".join(letters[field] for field in FIELD_ORDERS[name])


def test_the_published_field_orders() -> None:
    assert FIELD_ORDERS == {
        "ptbcbd": ("title", "brand", "color", "bullets", "description"),
        "ptbdbc": ("title", "bullets", "description", "brand", "color"),
        "ptdbbc": ("title", "description", "bullets", "brand", "color"),
    }


@pytest.mark.parametrize(
    "text", ["<!--", "<", "<a ", "-->", "<!-- --><!--", "&", "&#", "&aaaa", "< !"]
)
def test_a_megabyte_of_anything_is_cleaned_in_linear_time(text: str) -> None:
    clean(text * (2**20 // len(text)))  # quadratic time would be hours


def test_a_comment_without_an_end_stays() -> None:
    assert clean("a<!-- b <i>c</i> --> d <!-- e <i>f") == "a d <!-- e f"
