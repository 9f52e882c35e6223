"""Assign queries to folds by a pure function of their text, so that no text is ever on both sides.

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
from competition.data.text import map_distinct

PARTS = 20  # a fold is PARTS / folds neighbouring parts
TEST_FOLD = -1


class _VisibleCharacters(dict[int, str | None]):
    """A table for `str.translate` without format characters and variation selectors.

    It looks each code point up once: texts have many characters, of which few are distinct.
    """

    def __missing__(self, code_point: int) -> str | None:
        character = chr(code_point)
        selects_variation = "\ufe00" <= character <= "\ufe0f"
        invisible = selects_variation or unicodedata.category(character) == "Cf"
        self[code_point] = None if invisible else character
        return self[code_point]


_VISIBLE = _VisibleCharacters()


def normalise(text: str) -> str:
    """Return a query text without differences of case, width, composition, white space and invisible characters.

    NFKC, casefold, single spaces; format characters (zero-width joiners, soft hyphens) and
    variation selectors go.
    """
    if not text.isascii():
        text = text.translate(_VISIBLE)

    # Folding once can undo the composition and composing can bring back a case, hence twice.
    for _ in range(2):
        text = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(unicodedata.normalize("NFKC", text).split())


def normalise_each(texts: pd.Series) -> pd.Series:
    """Return each text normalised, with the index of `texts`.

    A text that is repeated is normalised once.
    """
    return pd.Series(map_distinct(normalise, texts), texts.index, dtype=object)


def part_of(text: str) -> int:
    """Return the part 0..19 of a query text, the same in every process and on every machine."""
    encoded = normalise(text).encode("utf-8", "surrogatepass")
    digest = hashlib.blake2b(encoded, digest_size=8).digest()
    return int.from_bytes(digest, "big") % PARTS


def make_folds(examples: pd.DataFrame, scheme: str) -> pd.DataFrame:
    """Return the fold of every query.

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

    # Test queries get a part as well: `check_folds` compares the texts of both splits.
    part = np.array([part_of(text) for text in queries["query"]], dtype=np.int64)
    parts_per_fold = PARTS // SCHEMES[scheme]
    fold = np.where(queries["train"], part // parts_per_fold, TEST_FOLD)

    empty = sorted(set(range(SCHEMES[scheme])) - set(fold.tolist()))
    if empty:
        trained = int(queries["train"].sum())
        raise InputError(
            f"Fold {empty[0]} of scheme {scheme!r} has no training query: "
            f"{pluralize(trained, 'training query is', 'training queries are')} too few, "
            f"bring more{'' if scheme == 'five' else ' or use the scheme five'}."
        )

    query_id = queries.index.to_numpy(np.int64)
    return pd.DataFrame({"query_id": query_id, "part": part, "fold": fold})


def check_folds(examples: pd.DataFrame, folds: pd.DataFrame, scheme: str) -> None:
    """Refuse a leak.

    Raises:
        InputError: a query has no fold or several, or a normalised text is in more than one part.
    """
    name = f"folds/{scheme}.parquet"
    repeated = folds.loc[folds["query_id"].duplicated(), "query_id"]
    if len(repeated):
        raise InputError(
            f"{name}: query_id {repeated.iloc[0]} is listed twice; `comp folds` rebuilds it."
        )

    queries = examples.drop_duplicates("query_id")[["query_id", "query"]]
    queries = queries.merge(folds, on="query_id", how="left")
    missing = queries.loc[queries["fold"].isna(), "query_id"]
    if len(missing):
        raise InputError(
            f"{name}: query_id {missing.iloc[0]} has no fold; `comp folds` rebuilds it."
        )

    queries["text"] = normalise_each(queries["query"])
    trained = queries[queries["fold"] != TEST_FOLD]
    for column, rows in (("fold", trained), ("part", queries)):
        groups = rows.groupby("text", sort=True)[column].nunique()
        leaking = groups.index[groups > 1]
        if len(leaking):
            raise InputError(
                f"{name} leaks: the query text {leaking[0]!r} is in more than one {column}; "
                "`comp folds` rebuilds it."
            )


def fold_of_rows(examples: pd.DataFrame, folds: pd.DataFrame) -> pd.Series:
    """Return the fold of each example by its query_id, with the index of `examples`."""
    return examples["query_id"].map(folds.set_index("query_id")["fold"])


def texts_in_order(examples: pd.DataFrame) -> list[str]:
    """Return the distinct normalised texts of training queries in an order that is a hash of each.

    The hash is another than that of folds, so that the first of them are spread over all folds. New
    queries take places between the others and change the order of none.
    """
    queries = examples.loc[examples["split"] == "train", "query"].unique()
    texts = {normalise(query) for query in queries}
    return sorted(texts, key=lambda text: (derive_seed("order", text), text))


def first_queries(examples: pd.DataFrame, count: int) -> np.ndarray:
    """Return which rows belong to the first `count` training queries of `texts_in_order`, `(rows,)` bool.

    The queries of a smaller count are among those of a larger one. Queries of the same text count
    once.
    """
    first = set(texts_in_order(examples)[:count])
    in_first = normalise_each(examples["query"]).isin(first).to_numpy()
    in_training = (examples["split"] == "train").to_numpy()
    return in_first & in_training


def shared_with_test(examples: pd.DataFrame) -> list[int]:
    """Return the ids of train queries whose normalised text is a test query too: legal, but worth a look."""
    queries = examples.drop_duplicates(["query_id", "split"])
    text = normalise_each(queries["query"])
    in_test = set(text[queries["split"] == "test"])
    shared = queries.loc[(queries["split"] == "train") & text.isin(in_test), "query_id"]
    return sorted(int(query_id) for query_id in shared)
