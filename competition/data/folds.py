"""Which fold each query is in: a pure function of its text, so that no text is ever on both sides.

query text -> normalised -> part 0..19 by a stable hash -> fold. Both schemes are groupings of the
same parts, so the out-of-fold rows of every model line up.
"""

from __future__ import annotations

import hashlib
import unicodedata

import numpy as np

from competition.config.recipe import SCHEMES
from competition.core.errors import InputError, pluralize
from competition.core.fingerprint import derive_seed
from competition.core.lazy_pandas import pd

PARTS = 20  # a fold is PARTS / folds neighbouring parts
TEST_FOLD = -1


def normalise(text: str) -> str:
    """Query text without its differences of case, width, composition, white space and invisible characters.

    NFKC, casefold, single spaces; format characters (zero-width joiners, soft hyphens) and
    variation selectors go. Folding once can undo the composition and composing can bring back a
    case, hence twice.
    """
    if not text.isascii():
        text = "".join(
            c for c in text if unicodedata.category(c) != "Cf" and not "\ufe00" <= c <= "\ufe0f"
        )
    for _ in range(2):
        text = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(unicodedata.normalize("NFKC", text).split())


def part_of(text: str) -> int:
    """The part 0..19 of a query text, the same in every process and on every machine."""
    digest = hashlib.blake2b(
        normalise(text).encode("utf-8", "surrogatepass"), digest_size=8
    ).digest()
    return int.from_bytes(digest, "big") % PARTS


def make_folds(examples: pd.DataFrame, scheme: str) -> pd.DataFrame:
    """The fold of every query.

    Args:
        examples: with query_id, query and split.
        scheme: a key of SCHEMES.

    Returns:
        query_id, part, fold, sorted by query_id; a query that has no training row has fold -1.

    Raises:
        InputError: a fold has no training row.
    """
    queries = (
        examples.assign(train=examples["split"] == "train")
        .groupby("query_id", sort=True)
        .agg(query=("query", "first"), train=("train", "any"))
    )
    part = np.array([part_of(text) for text in queries["query"]], dtype=np.int64)
    fold = np.where(queries["train"], part // (PARTS // SCHEMES[scheme]), TEST_FOLD)
    folds = pd.DataFrame({"query_id": queries.index.to_numpy(np.int64), "part": part, "fold": fold})
    empty = sorted(set(range(SCHEMES[scheme])) - set(fold.tolist()))
    if empty:
        trained = int(queries["train"].sum())
        raise InputError(
            f"Fold {empty[0]} of scheme {scheme!r} has no training query: "
            f"{pluralize(trained, 'training query is', 'training queries are')} too few, "
            f"bring more{'' if scheme == 'five' else ' or use the scheme five'}."
        )
    return folds


def check_folds(examples: pd.DataFrame, folds: pd.DataFrame, scheme: str) -> None:
    """Refuse a leak: raises InputError unless every query has one fold and every normalised text is in one part."""
    if folds["query_id"].duplicated().any():
        twice = folds.loc[folds["query_id"].duplicated(), "query_id"].iloc[0]
        raise InputError(
            f"folds/{scheme}.parquet: query_id {twice} is listed twice; `comp folds` makes it anew."
        )
    queries = examples.drop_duplicates("query_id")[["query_id", "query"]].merge(
        folds, on="query_id", how="left"
    )
    if queries["fold"].isna().any():
        missing = queries.loc[queries["fold"].isna(), "query_id"].iloc[0]
        raise InputError(
            f"folds/{scheme}.parquet: query_id {missing} has no fold; `comp folds` makes it anew."
        )
    queries["text"] = queries["query"].map(normalise)
    trained = queries[queries["fold"] != TEST_FOLD]
    for column, rows in (("fold", trained), ("part", queries)):
        spread = rows.groupby("text", sort=True)[column].nunique()
        if (spread > 1).any():
            text = spread.index[spread > 1][0]
            raise InputError(
                f"folds/{scheme}.parquet leaks: the query text {text!r} is in more than one {column}; "
                "`comp folds` makes it anew."
            )


def fold_of_rows(examples: pd.DataFrame, folds: pd.DataFrame) -> pd.Series:
    """The fold of each example by its query_id, with the index of `examples`."""
    return examples["query_id"].map(folds.set_index("query_id")["fold"])


def texts_in_order(examples: pd.DataFrame) -> list[str]:
    """Return the distinct normalised texts of training queries in an order that is a hash of each.

    The hash is another than that of folds, so that the first of them are spread over all folds. New
    queries take places between the others and change the order of none.
    """
    queries = examples.loc[examples["split"] == "train", "query"].unique()
    return sorted(
        {normalise(query) for query in queries}, key=lambda text: (derive_seed("order", text), text)
    )


def first_queries(examples: pd.DataFrame, count: int) -> np.ndarray:
    """Return which rows belong to the first `count` training queries of `texts_in_order`, `(rows,)` bool.

    The queries of a smaller count are among those of a larger one. Queries of the same text count
    once.
    """
    chosen = set(texts_in_order(examples)[:count])
    of_text = {query: normalise(query) in chosen for query in examples["query"].unique()}
    return examples["query"].map(of_text).to_numpy(bool) & (examples["split"] == "train").to_numpy()


def shared_with_test(examples: pd.DataFrame) -> list[int]:
    """The ids of train queries whose normalised text is a test query too: legal, but worth a look."""
    queries = examples.drop_duplicates(["query_id", "split"])
    text = queries["query"].map(normalise)
    in_test = set(text[queries["split"] == "test"])
    shared = queries.loc[(queries["split"] == "train") & text.isin(in_test), "query_id"]
    return sorted(int(q) for q in shared)
