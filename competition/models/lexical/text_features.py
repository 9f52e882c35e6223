"""Features of a query-product pair from its text alone: what LightGBM sees without any neural network.

All of them are numbers per row; most also come as their rank within the query's candidates and as
the difference from the candidates' mean. No label is looked at, so they are computed once for all
folds. TF-IDF weights are fitted on the catalogue (products of training rows), never on queries.
"""

import re
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer

from competition.data.folds import normalise
from competition.data.store import product_rows, training_products
from competition.data.text import FIELDS, clean_all, map_distinct
from competition.scoring.tasks import LOCALES

# Unsegmented scripts have no spaces: there, every character stands for a word.
_WORD = r"[぀-ヿ㐀-鿿]|[^\W_]+"
_DIGITS = re.compile(r"\d+")
WORD_TOKENS = {"analyzer": "word", "token_pattern": _WORD}
_CHARACTERS = {"analyzer": "char_wb", "ngram_range": (2, 4)}
_TRIGRAMS = {"analyzer": "char_wb", "ngram_range": (3, 3)}  # for long text: a third of the time
_COSINES: dict[
    str, tuple[tuple[str, ...], dict[str, Any]]
] = {  # name of a cosine -> the fields it reads, how
    "title_word": (("title",), WORD_TOKENS),
    "brand_word": (("brand",), WORD_TOKENS),
    "color_word": (("color",), WORD_TOKENS),
    "bullets_word": (("bullets",), WORD_TOKENS),
    "description_word": (("description",), WORD_TOKENS),
    "all_word": (FIELDS, WORD_TOKENS),
    "title_char": (("title",), _CHARACTERS),
    "bullets_trigram": (("bullets",), _TRIGRAMS),
    "description_trigram": (("description",), _TRIGRAMS),
    "all_trigram": (FIELDS, _TRIGRAMS),
}
_OF_QUERY = ("query_characters", "query_words")  # the same for all candidates of a query
_CHAR_LIMIT = (
    600  # characters of a text that character n-grams are made of: the head says what a product is
)
_BUCKETS = 2**20


def text_features(
    examples: pd.DataFrame, products: pd.DataFrame, fitted: pd.DataFrame | None = None
) -> pd.DataFrame:
    """The features of every example, float32, indexed by example_id and in the order of `examples`.

    `fitted` are the products that weights are fitted on, those of training rows unless named.
    """
    texts = Texts.make(examples, products, fitted)
    columns: dict[str, NDArray[np.float64]] = {}
    columns |= _cosines(texts)
    columns |= _overlaps(texts)
    columns |= _shape(texts)
    frame = pd.DataFrame(columns, index=pd.Index(examples["example_id"], name="example_id"))
    paired = frame.drop(columns=list(_OF_QUERY))
    frame = pd.concat([frame, within_query(paired, examples[["query_id", "split"]])], axis=1)
    frame["locale"] = pd.Categorical(examples["locale"], categories=list(LOCALES)).codes
    return frame.astype(np.float32)


class Texts:
    """The distinct queries and products of the examples, normalised, and which of them each row has."""

    def __init__(
        self,
        queries: list[str],
        query: np.ndarray,
        fields: dict[str, list[str]],
        product: np.ndarray,
        fitting: np.ndarray,
    ) -> None:
        self.queries, self.query = queries, query
        self.fields, self.product = (
            fields,
            product,
        )  # an empty product stands for those not in the catalogue
        self.fitting = fitting  # the products that weights are fitted on

    @classmethod
    def make(
        cls, examples: pd.DataFrame, products: pd.DataFrame, fitted: pd.DataFrame | None = None
    ) -> "Texts":
        """The texts of examples, and behind them those of the products that weights are `fitted` on, if named."""
        query, distinct = pd.factorize(examples["query"])
        rows = product_rows(examples, products)
        used, product = np.unique(np.where(rows < 0, len(products), rows), return_inverse=True)
        listed = products.iloc[used[used < len(products)]]
        empty = len(used) - len(listed)
        fields = {f: [*listed[f], *[""] * empty] for f in FIELDS}
        if fitted is None:
            trained = listed.index.isin(training_products(examples, products).index)
            fitting = np.flatnonzero(np.append(trained, [False] * empty))
        else:  # behind the products of the rows
            fitting = np.arange(len(used), len(used) + len(fitted))
            fields = {f: [*fields[f], *fitted[f]] for f in FIELDS}
        cleaned = {f: map_distinct(normalise, clean_all(fields[f])) for f in FIELDS}
        return cls([normalise(text) for text in distinct], query, cleaned, product, fitting)

    def joined(self, names: tuple[str, ...]) -> list[str]:
        """The text of some fields of each distinct product."""
        return [
            " ".join(part for part in parts if part)
            for parts in zip(*(self.fields[n] for n in names), strict=True)
        ]


def hashing_counter(options: dict[str, Any]) -> HashingVectorizer:
    """Texts -> counts of what `options` say, one column per hash.

    Hashing needs no vocabulary: every text is read once, and new test rows move no feature of the
    old ones.
    """
    return HashingVectorizer(
        n_features=_BUCKETS, alternate_sign=False, norm=None, lowercase=False, **options
    )


def row_dot(a: csr_matrix, b: csr_matrix) -> NDArray[np.float64]:
    """The dot product of each row of `a` with the same row of `b`."""
    return np.asarray(a.multiply(b).sum(axis=1)).ravel()


def _cosines(texts: Texts) -> dict[str, NDArray[np.float64]]:
    """TF-IDF cosine of the query with fields, in words and in character n-grams, and the idf-weighted recall."""
    columns = {}
    for name, (fields, options) in _COSINES.items():
        documents = texts.joined(fields)
        if options is not WORD_TOKENS:
            documents = [document[:_CHAR_LIMIT] for document in documents]
        counts = hashing_counter(options)
        document = counts.transform(documents)
        weights = TfidfTransformer(sublinear_tf=True).fit(document[texts.fitting])
        query = weights.transform(counts.transform(texts.queries))
        columns[f"cosine_{name}"] = row_dot(
            query[texts.query], weights.transform(document)[texts.product]
        )
        document.data[:] = 1.0
        total = np.asarray(query.sum(axis=1)).ravel()[texts.query]
        found = row_dot(query[texts.query], document[texts.product])
        columns[f"recall_{name}"] = np.divide(
            found, total, out=np.zeros(len(found)), where=total > 0
        )
    return columns


def _overlaps(texts: Texts) -> dict[str, NDArray[np.float64]]:
    """What of the query's words stands where: shares, first position, brand, color and numbers."""
    word = re.compile(_WORD)
    query_words = [word.findall(query) for query in texts.queries]
    title_words = [word.findall(title) for title in texts.fields["title"]]
    other_words = [set(word.findall(text)) for text in texts.joined(("bullets", "description"))]
    query_numbers = [set(_DIGITS.findall(query)) for query in texts.queries]
    title_numbers = [set(_DIGITS.findall(title)) for title in texts.fields["title"]]
    brands = [set(word.findall(brand)) for brand in texts.fields["brand"]]
    colors = [set(word.findall(color)) for color in texts.fields["color"]]
    rows = np.empty((len(texts.query), 11))
    for i, (q, p) in enumerate(zip(texts.query, texts.product, strict=True)):
        words, title = query_words[q], title_words[p]
        wanted = set(words)
        n = max(1, len(wanted))
        position = [title.index(w) / max(1, len(title)) for w in wanted if w in title]
        bigrams = set(zip(words, words[1:], strict=False))
        rows[i] = (
            len(wanted & set(title)) / n,
            len(wanted & other_words[p]) / n,
            len(wanted - set(title) - other_words[p]) / n,
            min(position, default=1.0),
            bool(words) and bool(title) and words[-1] in title,
            len(bigrams & set(zip(title, title[1:], strict=False))) / max(1, len(bigrams)),
            len(wanted & brands[p]) / max(1, len(brands[p])),
            len(wanted & colors[p]) / max(1, len(colors[p])),
            len(query_numbers[q] & title_numbers[p]) / max(1, len(query_numbers[q])),
            len(query_numbers[q] - title_numbers[p]),
            texts.queries[q] in texts.fields["title"][p],
        )
    names = ("words_in_title", "words_in_text", "words_nowhere", "first_position", "last_word_in_title",
             "bigrams_in_title", "brand_in_query", "color_in_query", "numbers_in_title", "numbers_missing",
             "query_in_title")  # fmt: skip
    return dict(zip(names, rows.T, strict=True))


def _shape(texts: Texts) -> dict[str, NDArray[np.float64]]:
    """Lengths in characters and words, and which fields are missing."""
    lengths = [[len(q) for q in texts.queries], [len(q.split()) for q in texts.queries]]
    columns = {
        name: np.array(of, np.float64)[texts.query]
        for name, of in zip(_OF_QUERY, lengths, strict=True)
    }
    for field in FIELDS:
        characters = np.array([len(text) for text in texts.fields[field]], np.float64)
        columns[f"{field}_characters"] = characters[texts.product]
    return columns


def within_query(frame: pd.DataFrame, group: pd.DataFrame) -> pd.DataFrame:
    """Of each feature of the pair: its rank among the query's candidates (0..1) and the difference from their mean.

    A query that is in both splits has two lists of candidates, so that test rows move no feature of
    training rows.
    """
    groups = frame.groupby([group[column].to_numpy() for column in group])
    rank = groups.rank(pct=True, method="average").add_suffix("_rank")
    relative = (frame - groups.transform("mean")).add_suffix("_relative")
    count = pd.DataFrame({"candidates": groups[frame.columns[0]].transform("size")})
    return pd.concat([rank, relative, count], axis=1)
