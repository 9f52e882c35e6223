"""What is in the data, as a table."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from competition.data.folds import normalise_each
from competition.scoring.contest import Contest

FULL_DEPTH = 10  # products of a query whose list can be told apart by nDCG


def describe(
    contest: Contest,
    examples: pd.DataFrame,
    products: pd.DataFrame,
    position: NDArray[np.int64],
) -> pd.DataFrame:
    """Count by split: rows, queries, locales, labels, tasks, missing text, duplicates, queries in both splits.

    Args:
        contest: completed by what the data say.
        examples: of the contest.
        products: of the contest.
        position: of each example's product, see `store.product_rows`.
    """
    # Looked up by product: to pick the text itself would copy most of the catalogue.
    is_empty = {field: (products[field] == "").to_numpy(bool) for field in contest.fields}

    columns_read = ["query_id", "query", "locale", "label", *contest.tasks]
    columns, texts = {}, {}
    for split in ("train", "test"):
        in_split = (examples["split"] == split).to_numpy()
        rows = examples.loc[in_split, columns_read]
        listed = position[in_split]
        used = np.unique(listed[listed >= 0])  # (products,)
        queries = normalise_each(rows.drop_duplicates("query_id")["query"])
        texts[split] = queries
        depth = rows.groupby("query_id").size()

        counts = {
            "rows": len(rows),
            "queries": rows["query_id"].nunique(),
            f"queries with {FULL_DEPTH} or more products": int((depth >= FULL_DEPTH).sum()),
            "products": len(used),
            "rows without a product in the catalogue": int((listed < 0).sum()),
        }
        by_locale, by_label = rows["locale"].value_counts(), rows["label"].value_counts()
        counts |= {
            f"locale {locale.name}": int(by_locale.get(locale.name, 0))
            for locale in contest.locales
        }
        counts |= {f"label {label}": int(by_label.get(label, 0)) for label in contest.labels.names}
        counts |= {"label unknown": int(rows["label"].isna().sum())}
        counts |= {f"rows of {task}": int(rows[task].sum()) for task in contest.tasks}
        counts |= {
            f"products without {field}": int(is_empty[field][used].sum())
            for field in contest.fields
        }
        counts |= {"queries that repeat another one's text": int(queries.duplicated().sum())}
        columns[split] = counts

    table = pd.DataFrame(columns)
    if contest.has_queries_apart:
        shared = int(texts["train"].isin(set(texts["test"])).sum())
        table.loc["train queries that are also test queries"] = [shared, 0]
    return table
