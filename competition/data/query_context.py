"""Query context: what a query's own candidates share, appended to its text.

A short query says little; the titles and names (brands, colors) that were found for it say what it is
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
from competition.scoring.contest import Contest

MAX_KEYWORDS = 5
MAX_NAMES = 2  # of each category, such as brands
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
    examples: pd.DataFrame,
    products: pd.DataFrame,
    contest: Contest,
    fitted: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Return the examples, each query followed by the keywords and names that its candidates share.

    Keywords are the words that two or more of the candidates' titles share and the query lacks, by
    the number of titles times the inverse document frequency log(N / df) (Spärck Jones 1972) among
    the products `fitted`, those of training rows unless named. Of each category, such as the brand,
    they are the most frequent names. A query that is in both splits has two lists of candidates.
    """
    fitted = training_products(examples, products) if fitted is None else fitted
    # Arrays of objects, since a few rows of a column of Arrow chunks cost a copy of the whole
    # column.
    title = contest.fields[0]
    titles = np.array(products[title], object)
    names = [np.array(products[category], object) for category in contest.categories]
    queries = np.array(examples["query"], object)

    # Each text is normalised once, though it is in the catalogue and among several candidates.
    normalised = {text: _normal_form(text) for text in {*titles, *fitted[title]}}
    simplified = {name: simplify(name) for column in names for name in set(column)}
    frequency = Counter(word for text in fitted[title] for word in _words(normalised[text]))

    listed = product_rows(examples, products)
    for rows in examples.groupby(["query_id", "split"]).indices.values():
        candidates = listed[rows][listed[rows] >= 0]
        query = queries[rows[0]]
        own_words = extract_words(query)
        shared = _shared(
            word for text in titles[candidates] for word in _words(normalised[text]) - own_words
        )
        # A word that only test products have is as rare as one that just these candidates share.
        keywords = {
            word: count * math.log(len(fitted) / max(frequency[word], MIN_CANDIDATES))
            for word, count in shared.items()
        }
        parts = [_heaviest(keywords, MAX_KEYWORDS)]
        for column in names:
            shared_names = _shared(simplified[name] for name in column[candidates])
            parts.append(_heaviest(shared_names, MAX_NAMES))
        queries[rows] = SEPARATOR.join([query, *(" ".join(part) for part in parts if part)])
    return examples.assign(query=pd.Series(queries, examples.index, dtype="str"))


def _shared(names: Iterable[str]) -> dict[str, int]:
    """Return what enough candidates have, and how many of them have it."""
    counts = Counter(names)
    return {name: count for name, count in counts.items() if name and count >= MIN_CANDIDATES}


def _heaviest(weights: Mapping[str, float], count: int) -> list[str]:
    """Return the heaviest ones, equally heavy ones by the alphabet."""
    return sorted(weights, key=lambda name: (-weights[name], name))[:count]
