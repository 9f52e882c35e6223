"""Assign queries to folds by a function of their text, so that no text is ever on both sides.

query text -> normalised -> part 0..19 by a stable hash -> fold. Both schemes are groupings of the
same parts, so the out-of-fold rows of every model line up. Where test queries are training queries
too, rows are dealt instead of queries, each label evenly.
"""

from __future__ import annotations

import hashlib
import unicodedata

import numpy as np
from numpy.typing import NDArray

from competition.config.base_recipe import SCHEMES
from competition.core.errors import InputError, pluralize
from competition.core.fingerprint import derive_seed
from competition.core.lazy import pd
from competition.data.text import map_distinct
from competition.scoring.contest import Contest
from competition.scoring.labels import Labels

PARTS = 20  # a fold is PARTS / folds neighbouring parts
TEST_FOLD = -1
_BINS = 10  # of labels that are numbers
_PLURALS = {"query": "queries", "row": "rows"}


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
    if text.isascii():  # what is below does nothing else to it
        return " ".join(text.casefold().split())

    text = text.translate(_VISIBLE)
    # Folding once can undo the composition and composing can bring back a case, hence twice.
    for _ in range(2):
        text = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(unicodedata.normalize("NFKC", text).split())


def normalise_each(texts: pd.Series) -> pd.Series:
    """Return each text normalised, with the index of `texts`.

    A text that is repeated is normalised once.
    """
    return pd.Series(map_distinct(normalise, texts.tolist()), texts.index, dtype=object)


def part_of(text: str) -> int:
    """Return the part 0..19 of a query text, the same in every process and on every machine."""
    encoded = normalise(text).encode("utf-8", "surrogatepass")
    digest = hashlib.blake2b(encoded, digest_size=8).digest()
    return int.from_bytes(digest, "big") % PARTS


def make_folds(examples: pd.DataFrame, scheme: str, contest: Contest) -> pd.DataFrame:
    """Return the fold of every query, or of every row where the contest deals rows.

    Args:
        examples: of the contest.
        scheme: a key of SCHEMES.
        contest: says what is dealt.

    Returns:
        query_id or example_id, part, fold, sorted by the first; a query that has no training row,
        and a test row, has fold -1.

    Raises:
        InputError: a fold has no training row.
    """
    if contest.has_queries_apart:
        key, part, trained = _query_parts(examples, contest)
    else:
        key, part, trained = _row_parts(examples, contest.labels)

    parts_per_fold = PARTS // SCHEMES[scheme]
    fold = np.where(trained, part // parts_per_fold, TEST_FOLD)
    empty = sorted(set(range(SCHEMES[scheme])) - set(fold.tolist()))
    if empty:
        count = int(trained.sum())
        what = "query" if contest.has_queries_apart else "row"
        are_few = pluralize(count, f"training {what} is", f"training {_PLURALS[what]} are")
        raise InputError(
            f"Fold {empty[0]} of scheme {scheme!r} has no training {what}: {are_few} too few, "
            f"bring more{'' if scheme == 'five' else ' or use the scheme five'}."
        )

    return pd.DataFrame({key.name: key.to_numpy(np.int64), "part": part, "fold": fold})


_Parts = tuple["pd.Index", NDArray[np.int64], NDArray[np.bool_]]


def _query_parts(examples: pd.DataFrame, contest: Contest) -> _Parts:
    """Return the ids of queries, the part of each, and whether it has a training row."""
    queries = (
        examples.assign(train=examples["split"] == "train")
        .groupby("query_id", sort=True)
        .agg(query=("query", "first"), train=("train", "any"))
    )

    # Test queries get a part as well: `check_folds` compares the texts of both splits.
    if contest.source.layout == "esci":
        part = np.array([part_of(text) for text in queries["query"]], dtype=np.int64)
    else:
        texts = normalise_each(queries["query"])
        in_training = examples["split"] == "train"
        rows = in_training.groupby(examples["query_id"], sort=True).sum()
        parts = _even_parts(rows.groupby(texts.to_numpy()).sum())
        part = texts.map(parts).to_numpy(np.int64)
    return queries.index, part, queries["train"].to_numpy(bool)


def _row_parts(examples: pd.DataFrame, labels: Labels) -> _Parts:
    """Return the ids of rows, the part of each, and whether it is a training row.

    Rows of one label, or of numbers that are near, are spread over all parts. A row is placed by
    the hash of its id, so that few others move where one comes or goes.
    """
    rows = examples.sort_values("example_id")
    trained = (rows["split"] == "train").to_numpy()
    strata = rows["label"].to_numpy(object)
    if not labels.are_classes:
        numbers = labels.numbers(rows["label"])
        known = numbers[trained] if trained.any() else np.zeros(1)
        edges = np.quantile(known, np.arange(1, _BINS) / _BINS)
        strata = np.searchsorted(edges, numbers).astype(object)

    part = np.zeros(len(rows), np.int64)
    for stratum in [None, *pd.unique(strata[trained])]:
        place = np.flatnonzero(~trained if stratum is None else trained & (strata == stratum))
        ids = rows["example_id"].iloc[place].astype(str)
        parts = _even_parts(pd.Series(1, ids))
        # Scarce labels begin somewhere else each.
        first = derive_seed("first part", str(stratum))
        part[place] = (ids.map(parts).to_numpy(np.int64) + first) % PARTS
    return pd.Index(rows["example_id"]), part, trained


def _even_parts(weights: pd.Series) -> pd.Series:
    """Return a part 0..19 for each text, by the place of its hash, so that all parts weigh about the same.

    Args:
        weights: text -> its number of training rows.
    """
    hashes = [
        hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        for text in weights.index
    ]
    ordered = weights.iloc[sorted(range(len(hashes)), key=hashes.__getitem__)]
    middle = ordered.cumsum() - ordered / 2
    parts = (middle * PARTS / max(1, int(ordered.sum()))).astype(np.int64)
    return parts.clip(upper=PARTS - 1)


def check_folds(examples: pd.DataFrame, folds: pd.DataFrame, scheme: str) -> None:
    """Refuse a leak.

    Raises:
        InputError: a query has no fold or several, or a normalised text is in more than one part;
            where rows are dealt, a row has no fold or several.
    """
    name = f"folds/{scheme}.parquet"
    key = _key(folds)
    repeated = folds.loc[folds[key].duplicated(), key]
    if len(repeated):
        raise InputError(
            f"{name}: {key} {repeated.iloc[0]} is listed twice; `comp folds` rebuilds it."
        )

    queries = examples.drop_duplicates(key)[[key, "query"]]
    queries = queries.merge(folds, on=key, how="left")
    missing = queries.loc[queries["fold"].isna(), key]
    if len(missing):
        raise InputError(f"{name}: {key} {missing.iloc[0]} has no fold; `comp folds` rebuilds it.")
    if key != "query_id":
        return

    queries["text"] = normalise_each(queries["query"])
    trained = queries[queries["fold"] != TEST_FOLD]
    for column, rows in (("fold", trained), ("part", queries)):
        pairs = rows[["text", column]].drop_duplicates()
        leaking = pairs.loc[pairs["text"].duplicated(), "text"]
        if len(leaking):
            raise InputError(
                f"{name} leaks: the query text {leaking.min()!r} is in more than one {column}; "
                "`comp folds` rebuilds it."
            )


def fold_of_rows(examples: pd.DataFrame, folds: pd.DataFrame) -> pd.Series:
    """Return the fold of each example, by its query_id or its own, with the index of `examples`."""
    key = _key(folds)
    return examples[key].map(folds.set_index(key)["fold"])


def _key(folds: pd.DataFrame) -> str:
    """Return the column by which a table of folds was dealt."""
    return "query_id" if "query_id" in folds else "example_id"


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


def share_of_test(examples: pd.DataFrame) -> float:
    """Return the share of test queries whose normalised text is a training query; NaN without test rows."""
    queries = examples.drop_duplicates(["query_id", "split"])
    text = normalise_each(queries["query"])
    is_test = queries["split"] == "test"
    return float(text[is_test].isin(set(text[~is_test])).mean())
