"""Character 3-grams as numbers: three code points of 21 bits in one int64, so that their order is the alphabet's."""

from collections.abc import Sequence

import numpy as np

from competition.core.arrays import Codes

SIZE = 3
_BITS = 21  # every code point is below 2**21


def gram_codes(texts: Sequence[str]) -> tuple[Codes, Codes]:
    """Return every 3-gram of each text, in order.

    A text of n characters has n - 2 grams, the last one included. One of one or two characters
    ("tv", "水筒") is a gram by itself, and an empty one has none.

    Returns:
        The grams of all texts, `(grams,)`, and how many of them each text has, `(texts,)`.
    """
    padded = [text.ljust(SIZE, "\0") if text else "" for text in texts]
    sizes = np.fromiter(map(len, padded), np.int64, len(padded))
    encoded = "".join(padded).encode("utf-32-le", "surrogatepass")
    characters = np.frombuffer(encoded, np.uint32).astype(np.int64)
    if not len(characters):
        return np.empty(0, np.int64), np.zeros(len(texts), np.int64)

    codes = (characters[:-2] << 2 * _BITS) | (characters[1:-1] << _BITS) | characters[2:]

    # A gram that begins at one of a text's last two characters reaches into the next text.
    inside = np.ones(len(characters), bool)
    ends = np.cumsum(sizes)[sizes > 0]
    inside[ends - 1] = False
    inside[ends - 2] = False
    return codes[inside[:-2]], np.maximum(sizes - SIZE + 1, 0)


def by_frequency(codes: Codes, counts: Codes) -> Codes:
    """Return distinct codes, the most frequent first and equally frequent ones in the alphabet's order."""
    return codes[np.lexsort((codes, -counts))]
