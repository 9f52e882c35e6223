"""Fake queries: lengths and places against exact probabilities; what is cut out is gone."""

from collections import Counter
from itertools import product

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.stats import chisquare, poisson

from competition.config.keys import Spans
from competition.data.fake_queries import (
    FakeQuery,
    draw_lengths,
    draw_spans,
    length_distribution,
    merge_spans,
    widen_to_words,
)

DRAWS = 50_000
ENDLESS = 10**9  # characters: two pieces never meet
LIKELY = 0.001  # a fair sampler falls below once in a thousand seeds
SPANS = {"us": Spans.default(dense=False), "jp": Spans.default(dense=True)}
SHORT = Spans(mean=2.0, shortest=1, longest=4, longest_of_two=3)
EIGHT = Spans(mean=8.0, shortest=8, longest=8, longest_of_two=8)
# Few letters, so that a piece stands in several places; clean, as the catalogue's text is.
TEXTS = (
    st.text(st.sampled_from("ab c水筒"), min_size=1, max_size=40)
    .map(lambda t: " ".join(t.split()))
    .filter(bool)
)
WORDS = Spans(mean=2.0, shortest=1, longest=4, longest_of_two=3, whole_words=True)
LENGTHS = st.sampled_from([SHORT, WORDS, SPANS["us"], SPANS["jp"]])
SEEDS = st.integers(0, 2**31)


def expected_lengths(mean: float, shortest: int, longest: int) -> dict[int, float]:
    """Poisson, of which only shortest..longest is kept."""
    kept = poisson(mean).pmf(range(shortest, longest + 1))
    return dict(zip(range(shortest, longest + 1), kept / kept.sum(), strict=True))


def p_value(actual: Counter, expected: dict) -> float:
    """Of the chi-square test; an outcome that cannot be makes it 0."""
    if not set(actual) <= set(expected):
        return 0.0
    total = sum(actual.values())
    return chisquare(
        [actual[key] for key in expected], [total * p for p in expected.values()]
    ).pvalue


@pytest.fixture(scope="module", params=["us", "es", "jp"])
def drawn(request: pytest.FixtureRequest) -> tuple[str, list]:
    """A locale, and the pieces of many fake queries of a text without end."""
    rng = np.random.default_rng(["us", "es", "jp"].index(request.param))
    return request.param, [draw_spans(ENDLESS, SPANS[request.param], rng) for _ in range(DRAWS)]


# --- lengths and places ---


def test_lengths_are_a_truncated_poisson(drawn: tuple[str, list]) -> None:
    locale, queries = drawn
    shortest = {"us": 8, "es": 8, "jp": 4}[locale]
    for count, longest in ((1, 20), (2, 12)):
        lengths = Counter(
            end - start for pieces in queries if len(pieces) == count for start, end in pieces
        )
        assert p_value(lengths, expected_lengths(8.0, shortest, longest)) > LIKELY
        assert {shortest, shortest + 1, longest - 1} <= set(lengths)


def test_half_the_queries_have_two_pieces(drawn: tuple[str, list]) -> None:
    assert p_value(Counter(len(pieces) for pieces in drawn[1]), {1: 0.5, 2: 0.5}) > LIKELY


def test_pieces_start_anywhere(drawn: tuple[str, list]) -> None:
    starts = Counter(start * 10 // ENDLESS for pieces in drawn[1] for start, _ in pieces)
    assert p_value(starts, dict.fromkeys(range(10), 0.1)) > LIKELY


@pytest.mark.parametrize("locale", SPANS)
@pytest.mark.parametrize(("two", "longest"), [(False, 20), (True, 12)])
def test_the_distribution_is_exact(locale: str, two: bool, longest: int) -> None:
    shortest = 4 if locale == "jp" else 8
    lengths, p = length_distribution(SPANS[locale], two)
    assert dict(zip(lengths.tolist(), p, strict=True)) == pytest.approx(
        expected_lengths(8.0, shortest, longest)
    )
    actual = draw_lengths(SPANS[locale], two, DRAWS, np.random.default_rng(1))
    assert p_value(Counter(actual.tolist()), expected_lengths(8.0, shortest, longest)) > LIKELY


def test_every_outcome_has_its_probability() -> None:
    """All lengths and starts in a text of seven characters; pieces that overlap or touch are one."""
    expected: Counter[tuple] = Counter()
    for count, longest in ((1, 4), (2, 3)):
        places = {
            (start, start + length): p / (7 - length + 1)
            for length, p in expected_lengths(2.0, 1, longest).items()
            for start in range(7 - length + 1)
        }
        for chosen in product(places, repeat=count):
            covered = {i for start, end in chosen for i in range(start, end)}
            starts, ends = (
                sorted(covered - {i + 1 for i in covered}),
                sorted({i + 1 for i in covered} - covered),
            )
            expected[tuple(zip(starts, ends, strict=True))] += 0.5 * np.prod(
                [places[place] for place in chosen]
            )
    assert sum(expected.values()) == pytest.approx(1)
    rng = np.random.default_rng(3)
    assert (
        p_value(Counter(tuple(draw_spans(7, SHORT, rng)) for _ in range(DRAWS)), expected) > LIKELY
    )


@pytest.mark.parametrize("characters", [1, 7, 8])
def test_a_text_no_longer_than_a_piece_is_taken_whole(characters: int) -> None:
    rng = np.random.default_rng(1)
    assert all(draw_spans(characters, EIGHT, rng) == [(0, characters)] for _ in range(50))


@given(st.integers(1, 60), LENGTHS, SEEDS)
def test_pieces_lie_in_the_text_in_order_and_apart(
    characters: int, spans: Spans, seed: int
) -> None:
    pieces = draw_spans(characters, spans, np.random.default_rng(seed))
    places = [place for piece in pieces for place in piece]
    assert len(pieces) in (1, 2)
    assert places == sorted(set(places))
    assert places[0] >= 0
    assert places[-1] <= characters


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([(3, 8)], [(3, 8)]),
        ([(3, 8), (10, 12)], [(3, 8), (10, 12)]),
        ([(10, 12), (3, 8)], [(3, 8), (10, 12)]),
        ([(3, 8), (9, 12)], [(3, 8), (9, 12)]),
        ([(3, 8), (8, 12)], [(3, 12)]),  # they touch
        ([(7, 12), (3, 8)], [(3, 12)]),
        ([(3, 12), (5, 8)], [(3, 12)]),  # one in the other
        ([(3, 5), (3, 8)], [(3, 8)]),
        ([(3, 8), (3, 8)], [(3, 8)]),
    ],
)
def test_pieces_that_touch_or_overlap_are_one(pieces: list, expected: list) -> None:
    assert merge_spans(pieces) == expected


@pytest.mark.parametrize(
    ("piece", "words"),
    [
        ("ed", "red"),
        ("r", "red"),
        ("d", "red"),
        ("red", "red"),
        ("d c", "red cup"),
        ("p of s", "cup of steel"),
        ("steel", "steel"),
        ("red cup of steel", "red cup of steel"),
    ],
)
def test_a_piece_is_widened_to_whole_words(piece: str, words: str) -> None:
    text = "red cup of steel"
    start, end = widen_to_words(text, (text.index(piece), text.index(piece) + len(piece)))
    assert text[start:end] == words


@pytest.mark.parametrize(
    ("piece", "words"),
    [("ed ", "red"), (" cu", "cup"), (" of ", "of"), (" cup of s", "cup of steel")],
)
def test_a_piece_is_not_widened_to_words_that_it_does_not_touch(piece: str, words: str) -> None:
    text = "red cup of steel"
    start, end = widen_to_words(text, (text.index(piece), text.index(piece) + len(piece)))
    assert text[start:end].strip() == words


# --- queries ---


@given(TEXTS, LENGTHS, SEEDS)
def test_a_query_is_cut_from_its_text(text: str, spans: Spans, seed: int) -> None:
    query = FakeQuery.draw(text, spans, np.random.default_rng(seed))
    assert query.pieces
    assert all(piece and piece == piece.strip() and piece in text for piece in query.pieces)
    assert query.fits(text)
    assert str(query) == " ".join(str(query).split())


@given(TEXTS, SEEDS)
def test_a_query_is_made_of_the_pieces_that_were_drawn(text: str, seed: int) -> None:
    pieces = draw_spans(len(text), SHORT, np.random.default_rng(seed))
    letters = [text[start:end].strip() for start, end in pieces]
    query = FakeQuery.draw(text, SHORT, np.random.default_rng(seed))
    assert list(query.pieces) == ([piece for piece in letters if piece] or [text])


@given(TEXTS, SEEDS)
def test_a_query_of_whole_words_has_what_was_drawn(text: str, seed: int) -> None:
    query = FakeQuery.draw(text, WORDS, np.random.default_rng(seed))
    assert all(f" {piece} " in f" {text} " for piece in query.pieces)
    letters = FakeQuery.draw(text, SHORT, np.random.default_rng(seed))  # the same draws
    assert all(
        any(piece in words for words in query.pieces) for piece in letters.pieces if piece != text
    )


def test_a_query_of_whole_words_has_none_of_them_twice() -> None:
    text, rng = "red cup of steel", np.random.default_rng(1)
    actual = {str(FakeQuery.draw(text, WORDS, rng)) for _ in range(500)}
    places = [[text.split().index(word) for word in query.split()] for query in actual]
    assert [0, 1] in places
    assert [0, 3] in places
    assert all(place == sorted(set(place)) for place in places)


def test_a_query_is_the_whole_text_where_only_blanks_were_hit() -> None:
    one = Spans(mean=1.0, shortest=1, longest=1, longest_of_two=1)
    rng = np.random.default_rng(1)
    actual = {str(FakeQuery.draw("a b", one, rng)) for _ in range(200)}
    # One letter; two of them apart; a letter and the blank; the blank alone, or twice.
    assert actual == {"a", "b", "a b"}


@pytest.mark.parametrize("text", ["a", "水", "ab", "水筒", "red cup"])
def test_a_short_text_is_its_own_query_and_nothing_is_left(text: str) -> None:
    query = FakeQuery.draw(text, SPANS["us"], np.random.default_rng(1))
    assert (str(query), query.remove_from(text)) == (text, "")


def test_a_query_fits_a_text_that_has_all_its_pieces() -> None:
    query = FakeQuery(("red", "cup"))
    assert str(query) == "red cup"
    assert query.fits("a cup in red")
    assert query.fits("reddish cups")
    assert not query.fits("a red mug")
    assert not query.fits("a blue cup")
    assert not query.fits("")


# --- removal ---


@pytest.mark.parametrize(
    ("pieces", "text", "left"),
    [
        (("shoes",), "red shoes for men", "red for men"),
        (("shoes",), "shoes red shoes", "red"),  # wherever they stand
        (("red", "men"), "red shoes for men", "shoes for"),
        (("hoes fo",), "red shoes for men", "red s r men"),
        (("b c",), "ab b c c", "a"),  # the removal puts "b" beside "c" again
        (("a b", "x"), "a x b", ""),  # that of the second makes the first
        (("x", "a b"), "a x b", ""),
        (("水筒",), "青い水筒 水筒 大", "青い 大"),
        (("a",), "a", ""),
        (("mug",), "red shoes", "red shoes"),
    ],
)
def test_pieces_are_removed(pieces: tuple[str, ...], text: str, left: str) -> None:
    assert FakeQuery(pieces).remove_from(text) == left


@given(TEXTS, LENGTHS, SEEDS)
@example("ab b c c", SHORT, 1)
@example("水", SPANS["jp"], 1)
@example("a", SPANS["us"], 1)
def test_a_removed_piece_is_gone(text: str, spans: Spans, seed: int) -> None:
    query = FakeQuery.draw(text, spans, np.random.default_rng(seed))
    left = query.remove_from(text)
    assert not any(piece in left for piece in query.pieces)
    assert left == " ".join(left.split())
    rest = iter(text)
    assert all(
        letter in rest for letter in left.replace(" ", "")
    )  # what is left is the text's, in its order


@given(st.lists(TEXTS, min_size=1, max_size=2), TEXTS)
@example(["b c"], "ab b b c c c")
def test_any_piece_of_any_text_is_gone(pieces: list[str], text: str) -> None:
    query = FakeQuery(tuple(pieces))
    left = query.remove_from(text)
    assert not any(piece in left for piece in pieces)
    assert left == text or any(piece in text for piece in pieces)


def test_there_is_no_query_in_an_empty_text() -> None:
    with pytest.raises(ValueError, match="some text"):
        FakeQuery.draw("", SPANS["us"], np.random.default_rng(0))
