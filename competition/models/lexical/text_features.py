"""Features of a query-product pair from its text alone, which LightGBM learns from.

All of them are numbers per row; most also come as their rank within the query's candidates and as
the difference from the candidates' mean. No label is looked at, so they are computed once for all
folds. TF-IDF weights are fitted on the catalogue (products of training rows), never on queries.
"""

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer

from competition.data.folds import normalise
from competition.data.store import product_rows, training_products
from competition.data.text import clean_all, map_distinct
from competition.scoring.contest import Contest

# Unsegmented scripts have no spaces: there, every character stands for a word.
_WORD = r"[぀-ヿ㐀-鿿]|[^\W_]+"
_DIGITS = re.compile(r"\d+")

# Options of a `HashingVectorizer`. Trigrams alone are for long text: a third of the time.
WORD_TOKENS = {"analyzer": "word", "token_pattern": _WORD}
_CHARACTERS = {"analyzer": "char_wb", "ngram_range": (2, 4)}
_TRIGRAMS = {"analyzer": "char_wb", "ngram_range": (3, 3)}

# Character n-grams are made of the head of a text, which says what the product is.
_CHAR_LIMIT = 600
_BUCKETS = 2**20

# The same for all candidates of a query, so they have no rank within it.
_OF_QUERY = ("query_characters", "query_words")

Columns = dict[str, NDArray[np.float64]]  # name of a feature -> (rows,)


def text_features(
    examples: pd.DataFrame,
    products: pd.DataFrame,
    contest: Contest,
    fitted: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Return the features of every example, float32, by example_id and in the order of `examples`.

    TF-IDF weights are fitted on the products `fitted`, those of training rows unless named.
    """
    texts = PairTexts.make(examples, products, contest.fields, fitted)
    columns = _cosines(texts, contest) | _overlaps(texts, contest) | _lengths(texts)
    frame = pd.DataFrame(columns, index=pd.Index(examples["example_id"], name="example_id"))

    of_pair = frame.drop(columns=list(_OF_QUERY))
    relative = within_query(of_pair, examples[["query_id", "split"]])
    frame = pd.concat([frame, relative], axis=1)

    locales = list(contest.locale_names)
    frame["locale"] = pd.Categorical(examples["locale"], categories=locales).codes
    return frame.astype(np.float32)


@dataclass(frozen=True)
class PairTexts:
    """The distinct queries and products of some examples, normalised, and which of them each row has."""

    queries: list[str]
    query: NDArray[np.int64]  # (rows,) index into `queries`
    fields: dict[str, list[str]]  # name of a field -> its text in each product
    product: NDArray[np.int64]  # (rows,) index into the lists of `fields`
    fitting: NDArray[np.int64]  # indices of the products that weights are fitted on

    @classmethod
    def make(
        cls,
        examples: pd.DataFrame,
        products: pd.DataFrame,
        names: tuple[str, ...],
        fitted: pd.DataFrame | None = None,
    ) -> "PairTexts":
        """Collect the fields `names` of examples, and after them those of the products `fitted`, if given."""
        query, distinct_queries = pd.factorize(examples["query"])

        # Rows whose product is not in the catalogue share an empty product, the last one.
        positions = product_rows(examples, products)
        used, product = np.unique(
            np.where(positions < 0, len(products), positions), return_inverse=True
        )
        listed = products.iloc[used[used < len(products)]]
        empty = len(used) - len(listed)
        fields = {name: [*listed[name], *[""] * empty] for name in names}

        if fitted is None:
            trained = listed.index.isin(training_products(examples, products).index)
            fitting = np.flatnonzero(np.append(trained, [False] * empty))
        else:
            fitting = np.arange(len(used), len(used) + len(fitted))
            fields = {name: [*fields[name], *fitted[name]] for name in names}

        cleaned = {name: map_distinct(normalise, clean_all(fields[name])) for name in names}
        queries = [normalise(text) for text in distinct_queries]
        return cls(queries, query, cleaned, product, fitting)

    def joined(self, names: tuple[str, ...]) -> list[str]:
        """Return the text of some fields of each distinct product, empty without any field."""
        if not names:
            return [""] * len(next(iter(self.fields.values())))

        return [
            " ".join(part for part in parts if part)
            for parts in zip(*(self.fields[name] for name in names), strict=True)
        ]


def hashing_counter(options: dict[str, Any]) -> HashingVectorizer:
    """Return what turns texts into counts of words or n-grams, one column per hash.

    Hashing needs no vocabulary: every text is read once, and new test rows move no feature of the
    old ones.
    """
    return HashingVectorizer(
        n_features=_BUCKETS, alternate_sign=False, norm=None, lowercase=False, **options
    )


def row_dot(a: csr_matrix, b: csr_matrix) -> NDArray[np.float64]:
    """Return the dot product of each row of `a` with the same row of `b`, `(rows,)`."""
    return np.asarray(a.multiply(b).sum(axis=1)).ravel()


def _documents(contest: Contest) -> dict[str, tuple[tuple[str, ...], dict[str, Any]]]:
    """Return the name of each cosine, the fields that it reads and what is counted in them."""
    title = contest.fields[0]
    return {
        **{f"{name}_word": ((name,), WORD_TOKENS) for name in contest.fields},
        "all_word": (contest.fields, WORD_TOKENS),
        f"{title}_char": ((title,), _CHARACTERS),
        **{f"{name}_trigram": ((name,), _TRIGRAMS) for name in contest.texts if name != title},
        "all_trigram": (contest.fields, _TRIGRAMS),
    }


def _cosines(texts: PairTexts, contest: Contest) -> Columns:
    """Return the TF-IDF cosine of the query with fields, and the share of its weight that they contain."""
    columns = {}
    for name, (fields, options) in _documents(contest).items():
        documents = texts.joined(fields)
        if options is not WORD_TOKENS:
            documents = [document[:_CHAR_LIMIT] for document in documents]

        counts = hashing_counter(options)
        document = counts.transform(documents)  # (products, buckets)
        tfidf = TfidfTransformer(sublinear_tf=True).fit(document[texts.fitting])
        query = tfidf.transform(counts.transform(texts.queries))  # (queries, buckets)
        of_row = query[texts.query]  # (rows, buckets)
        columns[f"cosine_{name}"] = row_dot(of_row, tfidf.transform(document)[texts.product])

        # Recall: the weight of the query's words that the document has, whatever else it says.
        document.data[:] = 1.0
        contained = row_dot(of_row, document[texts.product])
        total = np.asarray(query.sum(axis=1)).ravel()[texts.query]
        columns[f"recall_{name}"] = np.divide(
            contained, total, out=np.zeros(len(contained)), where=total > 0
        )
    return columns


def _overlaps(texts: PairTexts, contest: Contest) -> Columns:
    """Return which of the query's words, word pairs and numbers the fields contain, and how early.

    The title is the first field, the text all others that are no categories; of categories, it is
    which of their words the query contains.
    """
    title_field = contest.fields[0]
    body = tuple(name for name in contest.texts if name != title_field)
    categories = [name for name in contest.categories if name != title_field]
    find_words = re.compile(_WORD).findall

    # Of every distinct query and product once: rows share them.
    query_words = [find_words(query) for query in texts.queries]
    query_sets = [set(words) for words in query_words]
    query_bigrams = [_bigrams(words) for words in query_words]
    query_numbers = [set(_DIGITS.findall(query)) for query in texts.queries]

    titles = texts.fields[title_field]
    title_words = [find_words(title) for title in titles]
    title_sets = [set(words) for words in title_words]
    title_bigrams = [_bigrams(words) for words in title_words]
    title_numbers = [set(_DIGITS.findall(title)) for title in titles]
    body_sets = [set(find_words(text)) for text in texts.joined(body)]
    name_sets = {
        name: [set(find_words(text)) for text in texts.fields[name]] for name in categories
    }

    names = (
        "words_in_title", "words_in_text", "words_nowhere", "first_position", "last_word_in_title",
        "bigrams_in_title", *(f"{name}_in_query" for name in categories), "numbers_in_title",
        "numbers_missing", "query_in_title",
    )  # fmt: skip
    columns = {name: np.empty(len(texts.query)) for name in names}
    for i, (q, p) in enumerate(zip(texts.query, texts.product, strict=True)):
        words, title = query_sets[q], title_words[p]
        in_title = words & title_sets[p]
        n = max(1, len(words))
        columns["words_in_title"][i] = len(in_title) / n
        columns["words_in_text"][i] = len(words & body_sets[p]) / n
        columns["words_nowhere"][i] = len(words - title_sets[p] - body_sets[p]) / n

        positions = (title.index(word) / len(title) for word in in_title)
        columns["first_position"][i] = min(positions, default=1.0)
        columns["last_word_in_title"][i] = bool(words) and query_words[q][-1] in title_sets[p]
        columns["bigrams_in_title"][i] = _share(
            query_bigrams[q] & title_bigrams[p], query_bigrams[q]
        )
        columns["query_in_title"][i] = texts.queries[q] in titles[p]

        for name, sets in name_sets.items():
            columns[f"{name}_in_query"][i] = _share(words & sets[p], sets[p])
        columns["numbers_in_title"][i] = _share(
            query_numbers[q] & title_numbers[p], query_numbers[q]
        )
        columns["numbers_missing"][i] = len(query_numbers[q] - title_numbers[p])

    return columns


def _bigrams(words: list[str]) -> set[tuple[str, str]]:
    return set(pairwise(words))


def _share(part: set[Any], whole: set[Any]) -> float:
    return len(part) / max(1, len(whole))


def _lengths(texts: PairTexts) -> Columns:
    """Return the lengths of query and fields; a field that is missing has none."""
    characters = [len(query) for query in texts.queries]
    words = [len(query.split()) for query in texts.queries]
    columns = {
        "query_characters": np.array(characters, np.float64)[texts.query],
        "query_words": np.array(words, np.float64)[texts.query],
    }
    for name, of_products in texts.fields.items():
        of_field = np.array([len(text) for text in of_products], np.float64)
        columns[f"{name}_characters"] = of_field[texts.product]
    return columns


def within_query(frame: pd.DataFrame, group: pd.DataFrame) -> pd.DataFrame:
    """Return each feature's rank among the query's candidates (0..1) and its difference from their mean.

    Args:
        frame: features of the pair of query and product.
        group: the columns that make a list of candidates. With the split among them, a query that
            is in both splits has two lists, so that test rows move no feature of training rows.

    Returns:
        `*_rank` and `*_relative` for each feature, and `candidates`, the length of the list.
    """
    groups = frame.groupby([group[column].to_numpy() for column in group])
    rank = groups.rank(pct=True, method="average").add_suffix("_rank")
    relative = (frame - groups.transform("mean")).add_suffix("_relative")
    count = pd.DataFrame({"candidates": groups[frame.columns[0]].transform("size")})
    return pd.concat([rank, relative, count], axis=1)
