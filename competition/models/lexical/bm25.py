"""BM25 of the query against the title and against all text (Robertson and Zaragoza 2009).

score = sum over the query's words of idf * tf (k1 + 1) / (tf + k1 (1 - b + b * length / mean
length)), idf = log(1 + (N - n + 0.5) / (n + 0.5)). N, n and the mean length come from the products
of training rows alone. Ensembles read these features beside those of the recipe `lexical`.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csc_matrix, csr_matrix

from competition.data.folds import normalise
from competition.models.lexical.text_features import (
    WORD_TOKENS,
    PairTexts,
    hashing_counter,
    row_dot,
    within_query,
)
from competition.scoring.contest import Contest

PREFIX = "bm25"
_K1 = 1.2
_B = 0.75


def bm25_features(
    examples: pd.DataFrame,
    products: pd.DataFrame,
    contest: Contest,
    fitted: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Return BM25 of every example, its rank within the query and its difference from the candidates' mean.

    The title is the contest's first field.

    N, n and the mean length come from the products `fitted`, those of training rows unless named.

    Returns:
        float32, indexed by example_id and in the order of `examples`.
    """
    texts = PairTexts.make(examples, products, contest.fields, fitted)
    frame = pd.DataFrame(index=pd.Index(examples["example_id"], name="example_id"))
    words = hashing_counter(WORD_TOKENS)

    # A word counts once, however often the query repeats it.
    query = words.transform(texts.queries)  # (queries, buckets)
    query.data[:] = 1.0

    read = {"title": contest.fields[:1], "all": contest.fields}
    for name, fields in read.items():
        weights = _word_weights(words.transform(texts.joined(fields)), texts.fitting)
        frame[f"{PREFIX}_{name}"] = row_dot(query[texts.query], weights[texts.product])

    relative = within_query(frame, examples[["query_id", "split"]]).drop(columns="candidates")
    return pd.concat([frame, relative], axis=1).astype(np.float32)


class TextIndex:
    """Texts that are searched by BM25, the best first."""

    def __init__(self, texts: Sequence[str]) -> None:
        """Read the texts; N, n and the mean length come from all of them."""
        self._words = hashing_counter(WORD_TOKENS)
        counts = self._words.transform(map(normalise, texts))  # (texts, buckets)
        self._weights = csc_matrix(_word_weights(counts, np.arange(len(texts))))

    def search(self, query: str, limit: int) -> list[int]:
        """Return the places of at most `limit` texts that have a word of the query, the best first."""
        words = self._words.transform([normalise(query)]).indices
        scores = np.asarray(self._weights[:, words].sum(axis=1)).ravel()  # (texts,)
        best = np.argsort(-scores, kind="stable")[:limit]
        return [int(place) for place in best if scores[place] > 0]


def _word_weights(counts: csr_matrix, fitting: NDArray[np.int64]) -> csr_matrix:
    """Return what each word of a document adds to the score of a query that has it, `(documents, buckets)`."""
    length = np.asarray(counts.sum(axis=1)).ravel()  # (documents,)
    mean_length = max(float(length[fitting].mean()) if len(fitting) else 0.0, 1.0)

    containing = np.bincount(counts[fitting].indices, minlength=counts.shape[1])
    idf = np.log1p((len(fitting) - containing + 0.5) / (containing + 0.5))  # (buckets,)

    # A sparse matrix holds its counts document after document: one norm for each of them.
    weighted = counts.astype(np.float64)
    norm = np.repeat(_K1 * (1 - _B + _B * length / mean_length), np.diff(counts.indptr))
    weighted.data = idf[counts.indices] * weighted.data * (_K1 + 1) / (weighted.data + norm)
    return weighted
