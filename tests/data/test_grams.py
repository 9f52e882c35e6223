"""Character 3-grams as numbers, against slices of the text."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from competition.data.grams import by_frequency, gram_codes

# Every code point but the one that fills up short texts: other planes and lone surrogates too.
CHARACTERS = st.characters(exclude_categories=(), exclude_characters="\0")


def sliced(text: str) -> list[str]:
    """All 3-grams of a text by slicing, the last one included."""
    if not text:
        return []
    return [text[i : i + 3] for i in range(len(text) - 2)] or [text]


def spelled(code: int) -> str:
    """A code as text again."""
    return "".join(chr(code >> shift & 0x1FFFFF) for shift in (42, 21, 0)).rstrip("\0")


def of_each(texts: list[str]) -> list[list[str]]:
    """The grams that `gram_codes` finds in each text, spelled."""
    codes, sizes = gram_codes(texts)
    ends = np.cumsum(sizes)
    assert len(sizes) == len(texts)
    assert len(codes) == sizes.sum()
    return [
        [spelled(int(code)) for code in codes[end - size : end]]
        for size, end in zip(sizes, ends, strict=True)
    ]


@pytest.mark.parametrize(
    ("text", "grams"),
    [
        ("water", ["wat", "ate", "ter"]),  # the last one too
        ("cat", ["cat"]),
        ("tv", ["tv"]),
        ("水", ["水"]),
        ("", []),
        ("a b", ["a b"]),
        ("a👟水\U0010ffff", ["a👟水", "👟水\U0010ffff"]),
        ("\ud800bcd", ["\ud800bc", "bcd"]),  # a lone surrogate
    ],
)
def test_a_text_has_all_its_grams(text: str, grams: list[str]) -> None:
    assert of_each([text]) == [grams]


@given(st.lists(st.text(CHARACTERS, max_size=12), max_size=8))
def test_grams_are_slices_and_texts_never_mix(texts: list[str]) -> None:
    assert of_each(texts) == [sliced(text) for text in texts]


@given(st.text(CHARACTERS, min_size=1, max_size=3), st.text(CHARACTERS, min_size=1, max_size=3))
def test_codes_are_in_the_order_of_the_alphabet(one: str, other: str) -> None:
    (a, b), _ = gram_codes([one, other])
    assert (a < b) == (one < other)
    assert (a == b) == (one == other)


def test_by_frequency_breaks_ties_by_the_alphabet() -> None:
    codes = gram_codes(["bcd", "abc", "xyz", "水"])[0]
    ordered = by_frequency(codes, np.array([2, 2, 1, 5]))
    assert [spelled(int(code)) for code in ordered] == ["水", "abc", "bcd", "xyz"]
