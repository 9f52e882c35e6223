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
MIN_CANDIDATES = 2  # that share a keyword or a name: what one alone has says nothing of the query
SEPARATOR = " | "

# Runs of katakana or of kanji stand for words where there are no blanks; hiragana is mostly
# grammar.
_WORD = re.compile(r"[\u30a0-\u30ff]{2,}|[\u3400-\u9fff]{2,}|[^\W_\u3040-\u30ff\u3400-\u9fff]{2,}")


def extract_words(text: str) -> set[str]:
    """Return the distinct words of a text, normalised."""
    return _words(_normal_form(text))


def _normal_form(text: str) -> str:
    return normalise(clean(text))


def _words(normalised: str) -> set[str]:
    return set(_WORD.findall(normalised))


def with_context(
    examples: pd.DataFrame, products: pd.DataFrame, fitted: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Return the examples, each query followed by the keywords, brands and colors that its candidates share.

    Keywords are the words that two or more of the candidates' titles share and the query lacks, by
    the number of titles times the inverse document frequency log(N / df) (Spärck Jones 1972) among
    the products `fitted`, those of training rows unless named. Brands and colors are the most
    frequent ones. A query that is in both splits has two lists of candidates.
    """
    fitted = training_products(examples, products) if fitted is None else fitted
    # Arrays of objects, since a few rows of a column of Arrow chunks cost a copy of the whole
    # column.
    titles = np.array(products["title"], object)
    brands = np.array(products["brand"], object)
    colors = np.array(products["color"], object)
    queries = np.array(examples["query"], object)

    # Each text is normalised once, though it is in the catalogue and among several candidates.
    normalised = {title: _normal_form(title) for title in {*titles, *fitted["title"]}}
    simplified = {name: simplify(name) for name in {*brands, *colors}}
    frequency = Counter(word for title in fitted["title"] for word in _words(normalised[title]))

    listed = product_rows(examples, products)
    for rows in examples.groupby(["query_id", "split"]).indices.values():
        candidates = listed[rows][listed[rows] >= 0]
        query = queries[rows[0]]
        own_words = extract_words(query)
        shared = _shared(
            word for title in titles[candidates] for word in _words(normalised[title]) - own_words
        )
        # A word that only test products have is as rare as one that just these candidates share.
        keywords = {
            word: count * math.log(len(fitted) / max(frequency[word], MIN_CANDIDATES))
            for word, count in shared.items()
        }
        shared_brands = _shared(simplified[name] for name in brands[candidates])
        shared_colors = _shared(simplified[name] for name in colors[candidates])

        parts = (
            _heaviest(keywords, MAX_KEYWORDS),
            _heaviest(shared_brands, MAX_NAMES),
            _heaviest(shared_colors, MAX_NAMES),
        )
        queries[rows] = SEPARATOR.join([query, *(" ".join(part) for part in parts if part)])
    return examples.assign(query=pd.Series(queries, examples.index, dtype="str"))


def _shared(names: Iterable[str]) -> dict[str, int]:
    """Return what enough candidates have, and how many of them have it."""
    counts = Counter(names)
    return {name: count for name, count in counts.items() if name and count >= MIN_CANDIDATES}


def _heaviest(weights: Mapping[str, float], count: int) -> list[str]:
    """Return the heaviest ones, equally heavy ones by the alphabet."""
    return sorted(weights, key=lambda name: (-weights[name], name))[:count]
