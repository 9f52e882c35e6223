"""Fake queries (Product2Query): pieces of a product's text that somebody might have typed to find it."""

from dataclasses import dataclass
from functools import lru_cache
from math import lgamma

import numpy as np
from numpy.typing import NDArray

from competition.config.keys import Spans

Span = tuple[int, int]  # from, to


@lru_cache
def length_distribution(spans: Spans, two: bool) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The possible lengths of a piece in characters and their probabilities.

    Poisson(mean) within [shortest, longest]: what rejection would leave, drawn at once.
    """
    lengths = np.arange(spans.shortest, (spans.longest_of_two if two else spans.longest) + 1)
    log_p = lengths * np.log(spans.mean) - [lgamma(length + 1) for length in lengths]
    p = np.exp(log_p - log_p.max())
    return lengths, p / p.sum()


def draw_lengths(
    spans: Spans, two: bool, count: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """The lengths of `count` pieces."""
    lengths, p = length_distribution(spans, two)
    return rng.choice(lengths, count, p=p)


def draw_spans(characters: int, spans: Spans, rng: np.random.Generator) -> list[Span]:
    """Where a fake query is cut from a text: one piece or, half the time, two, in order; one where two overlap.

    A text that is shorter than a piece is taken whole.
    """
    two = bool(rng.integers(2))
    pieces = []
    for length in draw_lengths(spans, two, 1 + two, rng).tolist():
        start = int(rng.integers(max(1, characters - length + 1)))
        pieces.append((start, min(start + length, characters)))
    return merge_spans(pieces)


def merge_spans(pieces: list[Span]) -> list[Span]:
    """One or two pieces in order; one where two touch or overlap."""
    first, *second = sorted(pieces)
    if second and second[0][0] <= first[1]:
        return [(first[0], max(first[1], second[0][1]))]
    return [first, *second]


def widen_to_words(text: str, piece: Span) -> Span:
    """A piece of a text out to the blanks, or the ends of the text, around the words that it touches."""
    start, end = piece
    while start < end and text[start] == " ":
        start += 1
    while start < end and text[end - 1] == " ":
        end -= 1
    after = text.find(" ", end)
    return text.rfind(" ", 0, start) + 1, len(text) if after < 0 else after


@dataclass(frozen=True)
class FakeQuery:
    """The pieces of a text that are its query."""

    pieces: tuple[str, ...]

    @classmethod
    def draw(cls, text: str, spans: Spans, rng: np.random.Generator) -> "FakeQuery":
        """Of a text with single spaces; the whole text where only blanks were hit.

        Raises:
            ValueError: the text is empty.
        """
        if not text:
            raise ValueError("a fake query is cut from some text")
        pieces = draw_spans(len(text), spans, rng)
        if spans.whole_words:
            pieces = merge_spans([widen_to_words(text, piece) for piece in pieces])
        drawn = (text[start:end].strip() for start, end in pieces)
        return cls(tuple(piece for piece in drawn if piece) or (text,))

    def __str__(self) -> str:
        return " ".join(self.pieces)

    def fits(self, text: str) -> bool:
        """Whether a text holds all pieces: then the query could have been cut from it, too."""
        return all(piece in text for piece in self.pieces)

    def remove_from(self, text: str) -> str:
        """The text without any of the pieces, wherever they stand."""
        while any(piece in text for piece in self.pieces):
            for piece in self.pieces:
                text = " ".join(text.replace(piece, " ").split())
        return text
