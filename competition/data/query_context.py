"""Query context: what a query's own candidates share, appended to its text.

A short query says little; the titles, brands and colors that were found for it say what it is
about. No label is looked at: the candidates of a query are known wherever it is to be answered.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from competition.data.folds import normalise
from competition.data.store import product_rows, training_products
from competition.data.text import clean, simplify

MAX_KEYWORDS = 5
MAX_NAMES = 2  # brands, and colors
MIN_CANDIDATES = (
    2  # candidates that must have a keyword or a name: what one alone has says nothing of the query
)
SEPARATOR = " | "
# Runs of katakana or of kanji stand for words where there are no blanks; hiragana is mostly
# grammar.
_WORD = re.compile(r"[\u30a0-\u30ff]{2,}|[\u3400-\u9fff]{2,}|[^\W_\u3040-\u30ff\u3400-\u9fff]{2,}")


def extract_words(text: str) -> set[str]:
    """The distinct words of a text, normalised."""
    return set(_WORD.findall(normalise(clean(text))))


def with_context(
    examples: pd.DataFrame, products: pd.DataFrame, fitted: pd.DataFrame | None = None
) -> pd.DataFrame:
    """The examples, each query followed by the keywords, brands and colors of its candidates, as far as there are any.

    Keywords are the words that two or more of the candidates' titles share and the query lacks, by
    the number of titles times the inverse document frequency log(N / df) (Spärck Jones 1972) among
    the products `fitted`, those of training rows unless named. Brands and colors are the most
    frequent ones. A query that is in both splits has two lists of candidates.
    """
    fitted = training_products(examples, products) if fitted is None else fitted
    frequency = Counter(word for title in fitted["title"] for word in extract_words(title))
    listed = product_rows(examples, products)
    # Arrays of objects, since a few rows of a column of Arrow chunks cost a copy of the whole
    # column.
    titles, brand, color = (
        np.array(products[field], object) for field in ("title", "brand", "color")
    )
    queries = np.array(examples["query"], object)
    for rows in examples.groupby(["query_id", "split"]).indices.values():
        candidates = listed[rows][listed[rows] >= 0]
        asked = extract_words(queries[rows[0]])
        shared = _shared(
            word for title in titles[candidates] for word in extract_words(title) - asked
        )
        # A word that only test products have is as rare as one that just these candidates share.
        weights = {
            w: n * math.log(len(fitted) / max(frequency[w], MIN_CANDIDATES))
            for w, n in shared.items()
        }
        brands, colors = (_shared(map(simplify, names[candidates])) for names in (brand, color))
        parts = (
            _heaviest(weights, MAX_KEYWORDS),
            _heaviest(brands, MAX_NAMES),
            _heaviest(colors, MAX_NAMES),
        )
        queries[rows] = SEPARATOR.join(
            [queries[rows[0]], *(" ".join(part) for part in parts if part)]
        )
    return examples.assign(query=pd.Series(queries, examples.index, dtype="str"))


def _shared(found: Iterable[str]) -> dict[str, int]:
    """What two or more candidates have, and how many of them."""
    return {
        name: times for name, times in Counter(found).items() if name and times >= MIN_CANDIDATES
    }


def _heaviest(weights: Mapping[str, float], count: int) -> list[str]:
    """The heaviest ones, equally heavy ones by the alphabet."""
    return sorted(weights, key=lambda name: (-weights[name], name))[:count]
