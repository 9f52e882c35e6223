"""What is in the data, as a table."""

import pandas as pd

from competition.data.folds import normalise_each, shared_with_test
from competition.data.store import product_rows
from competition.data.text import FIELDS
from competition.scoring.tasks import FULL_DEPTH, LABELS, LOCALES, TASKS


def describe(examples: pd.DataFrame, products: pd.DataFrame) -> pd.DataFrame:
    """Count by split: rows, queries, locales, labels, tasks, missing text, duplicates, queries in both splits."""
    position = product_rows(examples, products)
    text = products[list(FIELDS)].reset_index(drop=True)

    columns = {}
    for split in ("train", "test"):
        in_split = (examples["split"] == split).to_numpy()
        rows = examples[in_split]
        listed = position[in_split]
        used = text.iloc[pd.unique(listed[listed >= 0])]
        queries = normalise_each(rows.drop_duplicates("query_id")["query"])
        depth = rows.groupby("query_id").size()

        counts = {
            "rows": len(rows),
            "queries": rows["query_id"].nunique(),
            f"queries with {FULL_DEPTH} or more products": int((depth >= FULL_DEPTH).sum()),
            "products": len(used),
            "rows without a product in the catalogue": int((listed < 0).sum()),
        }
        counts |= {f"locale {locale}": int((rows["locale"] == locale).sum()) for locale in LOCALES}
        counts |= {f"label {label}": int((rows["label"] == label).sum()) for label in LABELS}
        counts |= {"label unknown": int(rows["label"].isna().sum())}
        counts |= {f"rows of {task}": int(rows[task].sum()) for task in TASKS}
        counts |= {f"products without {field}": int((used[field] == "").sum()) for field in FIELDS}
        counts |= {"queries that repeat another one's text": int(queries.duplicated().sum())}
        columns[split] = counts

    table = pd.DataFrame(columns)
    table.loc["train queries that are also test queries"] = [len(shared_with_test(examples)), 0]
    return table
