"""Fake queries (Product2Query): pieces of a product's text that somebody might have typed to find it."""

from dataclasses import dataclass
from functools import lru_cache
from math import lgamma

import numpy as np
from numpy.typing import NDArray

from competition.config.keys import Spans

Span = tuple[int, int]  # characters from, to


@lru_cache
def length_distribution(spans: Spans, two: bool) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the possible lengths of a span in characters and their probabilities.

    Poisson(mean) within [shortest, longest]: what rejection would leave, drawn at once.
    """
    longest = spans.longest_of_two if two else spans.longest
    lengths = np.arange(spans.shortest, longest + 1)
    # log of mean^length / length!; e^-mean is the same for all lengths.
    log_p = lengths * np.log(spans.mean) - [lgamma(length + 1) for length in lengths]
    p = np.exp(log_p - log_p.max())
    return lengths, p / p.sum()


def draw_lengths(
    spans: Spans, two: bool, count: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw the lengths of `count` spans."""
    lengths, p = length_distribution(spans, two)
    return rng.choice(lengths, count, p=p)


def draw_spans(characters: int, spans: Spans, rng: np.random.Generator) -> list[Span]:
    """Draw where a fake query is cut from a text of some characters.

    One span or, half the time, two, in order; one where two overlap. A text that is shorter than a
    span is taken whole.
    """
    two = bool(rng.integers(2))
    drawn = []
    for length in draw_lengths(spans, two, 1 + two, rng).tolist():
        start = int(rng.integers(max(1, characters - length + 1)))
        drawn.append((start, min(start + length, characters)))
    return merge_spans(drawn)


def merge_spans(spans: list[Span]) -> list[Span]:
    """Return one or two spans in order; one where two touch or overlap."""
    first, *second = sorted(spans)
    if second and second[0][0] <= first[1]:
        return [(first[0], max(first[1], second[0][1]))]
    return [first, *second]


def widen_to_words(text: str, span: Span) -> Span:
    """Return a span widened to the blanks, or the ends of the text, around the words that it touches."""
    start, end = span
    while start < end and text[start] == " ":
        start += 1
    while start < end and text[end - 1] == " ":
        end -= 1

    before = text.rfind(" ", 0, start)
    after = text.find(" ", end)
    return before + 1, len(text) if after < 0 else after


@dataclass(frozen=True)
class FakeQuery:
    """The pieces of a text that are its query."""

    pieces: tuple[str, ...]

    @classmethod
    def draw(cls, text: str, spans: Spans, rng: np.random.Generator) -> "FakeQuery":
        """Draw a query from a text with single spaces; it is the whole text where only blanks were hit.

        Raises:
            ValueError: the text is empty.
        """
        if not text:
            raise ValueError("a fake query is cut from some text")

        drawn = draw_spans(len(text), spans, rng)
        if spans.whole_words:
            drawn = merge_spans([widen_to_words(text, span) for span in drawn])
        pieces = (text[start:end].strip() for start, end in drawn)
        return cls(tuple(piece for piece in pieces if piece) or (text,))

    def __str__(self) -> str:
        return " ".join(self.pieces)

    def fits(self, text: str) -> bool:
        """Return whether a text holds all pieces: then the query could have been cut from it, too."""
        return all(piece in text for piece in self.pieces)

    def remove_from(self, text: str) -> str:
        """Return the text without any of the pieces, wherever they stand."""
        # Removing one piece may put another together.
        while any(piece in text for piece in self.pieces):
            for piece in self.pieces:
                text = " ".join(text.replace(piece, " ").split())
        return text
