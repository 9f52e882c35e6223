"""The border of a workspace: what examples and products must be before anything is made of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from competition.core.errors import InputError, short_repr
from competition.core.lazy import pd
from competition.data.folds import normalise
from competition.scoring.contest import Contest
from competition.scoring.labels import number_text

PRODUCT_KEY = ["locale", "product_id"]
_CONTROL = r"[\x00-\x1f\x7f]"

# The column that is wrong, the rows in which it is, and what is said behind the name of the first.
# `{value}` stands for what that row has in the column.
_Check = tuple[str, "pd.Series", str]


def check_examples(examples: pd.DataFrame, contest: Contest, source: str) -> None:
    """Refuse what would make a result silently wrong.

    Raises:
        InputError: no rows; an unknown label, locale or split; an empty query or product_id; a
            product_id with control characters; a query_id with two texts; an example_id, a
            (query_id, product_id) or a (locale, query, product_id) that occurs twice; no training
            rows, or where the layout always has some, no test rows; a training row without any
            label, or all of them with the same.
    """
    if examples.empty:
        raise InputError(f"{source}: there are no rows.")

    _refuse(examples, source, _value_checks(examples, contest))
    for column in ("query", "locale"):
        distinct = examples.groupby("query_id", sort=True)[column].nunique()
        if (distinct > 1).any():
            query_id = distinct.index[distinct > 1][0]
            raise InputError(f"{source}: query_id {query_id} has more than one {column}.")

    # Without test rows, a contest of the user's own is cross-validation.
    is_esci = contest.source.layout == "esci"
    for split in ("train", "test") if is_esci else ():
        if not (examples["split"] == split).any():
            raise InputError(f"{source}: there are no {split} rows; both splits are needed.")

    in_training = examples["split"] == "train"
    if not in_training.any():
        raise InputError(f"{source}: there are no train rows.")
    if contest.labels.are_classes and len(contest.labels) < 2:
        raise InputError(
            f"{source}: all training rows have the label {contest.labels.names[0]!r}: bring rows with others, too."
        )

    unlabelled = examples[["label", *contest.positives]].isna().all(axis=1)
    message = " is a training row without a label."
    _refuse(examples, source, [("label", in_training & unlabelled, message)])


def _value_checks(examples: pd.DataFrame, contest: Contest) -> Iterator[_Check]:
    """Yield the checks of single rows, and of rows that occur twice."""
    labels = contest.labels
    for column, known in (
        ("locale", contest.locale_names),
        ("split", ("train", "test")),
        ("label", labels.names),
    ):
        unknown = ~examples[column].isin(known)
        if column == "label":
            unknown &= examples[column].notna() & labels.are_classes
        message = f" has the unknown {column} {{value}}: known are {', '.join(known)}."
        yield column, unknown, message

    if not labels.are_classes:
        fits = labels.numbers(examples["label"])
        outside = ~((fits >= labels.lowest) & (fits <= labels.highest))
        bounds = f"{number_text(labels.lowest)} to {number_text(labels.highest)}"
        yield (
            "label",
            examples["label"].notna() & outside,
            f" has the label {{value}}, which is no number of {bounds}.",
        )

    query = examples["query"]
    empty = [text for text in query.dropna().unique() if not normalise(text)]
    message = " has an empty query: remove the row or bring its query."
    yield "query", query.isna() | query.isin(empty), message

    message = " has an empty product_id: remove the row or bring its id."
    yield "product_id", _is_blank(examples["product_id"]), message

    # No submission could name a product with control characters.
    controls = examples["product_id"].str.contains(_CONTROL)
    yield "product_id", controls, " has a product_id with control characters: fix the id."

    for key in (["example_id"], ["query_id", "product_id"], ["locale", "query", "product_id"]):
        name = f"({', '.join(key)})"
        message = f": the same {name} occurs twice; keep one of them."
        yield name, examples.duplicated(key), message


def _is_blank(column: pd.Series) -> pd.Series:
    return column.isna() | (column.fillna("").str.strip() == "")


def _refuse(examples: pd.DataFrame, source: str, checks: Iterable[_Check]) -> None:
    """Raise InputError for the first check that a row fails, naming the first such row."""
    for column, bad, message in checks:
        if not bad.any():
            continue

        row = examples[bad.to_numpy(bool)].iloc[0]
        query, product = short_repr(row["query"]), short_repr(row["product_id"])
        name = f"example_id {row['example_id']} (query {query}, product {product})"
        value = short_repr(row[column]) if column in row else ""
        raise InputError(f"{source}: {name}{message.format(value=value)}")


def check_products(products: pd.DataFrame, contest: Contest, source: str) -> None:
    """Refuse a catalogue in which a product has no name of its own.

    Raises:
        InputError: a locale is unknown, a product has no id or is listed twice.
    """
    bad = ~products["locale"].isin(contest.locale_names)
    if bad.any():
        row = products[bad].iloc[0]
        raise InputError(
            f"{source}: product {short_repr(row['product_id'])} has the unknown locale {short_repr(row['locale'])}: "
            f"known are {', '.join(contest.locale_names)}."
        )

    bad = _is_blank(products["product_id"])
    if bad.any():
        row = products[bad].iloc[0]
        title = short_repr(row[contest.fields[0]])
        raise InputError(
            f"{source}: a product of locale {row['locale']} titled {title} has no product_id."
        )

    bad = products.duplicated(PRODUCT_KEY)
    if bad.any():
        row = products[bad].iloc[0]
        raise InputError(
            f"{source}: product {short_repr(row['product_id'])} of locale {row['locale']} is "
            f"listed twice; keep one of them."
        )
