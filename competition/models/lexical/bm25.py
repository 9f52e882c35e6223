"""BM25 of the query against the title and against all text (Robertson and Zaragoza 2009), beside `lexical`'s features.

score = sum over the query's words of idf * tf (k1 + 1) / (tf + k1 (1 - b + b * length / mean
length)), idf = log(1 + (N - n + 0.5) / (n + 0.5)). N, n and the mean length come from the products
of training rows alone.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from competition.data.text import FIELDS
from competition.models.lexical.text_features import (
    WORD_TOKENS,
    Texts,
    hashing_counter,
    row_dot,
    within_query,
)

PREFIX = "bm25"
_K1, _B = 1.2, 0.75
_READ: dict[str, tuple[str, ...]] = {"title": ("title",), "all": FIELDS}


def bm25_features(
    examples: pd.DataFrame, products: pd.DataFrame, fitted: pd.DataFrame | None = None
) -> pd.DataFrame:
    """BM25 of every example, with its rank within the query and the difference from the candidates' mean.

    N, n and the mean length come from the products `fitted`, those of training rows unless named.

    Returns:
        float32, indexed by example_id and in the order of `examples`.
    """
    texts = Texts.make(examples, products, fitted)
    frame = pd.DataFrame(index=pd.Index(examples["example_id"], name="example_id"))
    words = hashing_counter(WORD_TOKENS)
    query = words.transform(texts.queries)
    query.data[:] = 1.0
    for name, fields in _READ.items():
        weights = _weights(words.transform(texts.joined(fields)), texts.fitting)
        frame[f"{PREFIX}_{name}"] = row_dot(query[texts.query], weights[texts.product])
    relative = within_query(frame, examples[["query_id", "split"]])
    return pd.concat([frame, relative.drop(columns="candidates")], axis=1).astype(np.float32)


def _weights(counts: csr_matrix, fitting: NDArray[np.int64]) -> csr_matrix:
    """What each word of each document adds to the score of a query that has it."""
    length = np.asarray(counts.sum(axis=1)).ravel()
    seen = counts[fitting]
    mean_length = max(float(length[fitting].mean()) if len(fitting) else 0.0, 1.0)
    containing = np.bincount(seen.indices, minlength=counts.shape[1])
    idf = np.log1p((len(fitting) - containing + 0.5) / (containing + 0.5))
    weighted = counts.astype(np.float64)
    norm = np.repeat(_K1 * (1 - _B + _B * length / mean_length), np.diff(counts.indptr))
    weighted.data = idf[counts.indices] * weighted.data * (_K1 + 1) / (weighted.data + norm)
    return weighted
