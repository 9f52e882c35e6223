"""Confident learning on out-of-fold probabilities: which labels are probably wrong (Northcutt et al. 2021, cleanlab).

The probabilities of a row come from models that never saw it, but those saw the labels of the other folds: flags that
are later used in training are `approximate` in that sense. Evaluation rows are never dropped, whatever is flagged here.
"""

import numpy as np
import pandas as pd

from competition.errors import CompError
from competition.tasks import KINDS, LABELS, label_codes


def audit(held_out: pd.DataFrame, examples: pd.DataFrame, fraction: float) -> pd.DataFrame:
    """Find the labels that the models contradict most confidently.

    cleanlab's `prune_by_noise_rate` flags rows, ranked by normalised margin (the probability of the given label minus
    the largest other one); the first of these, at most `fraction` of all audited rows, are to be dropped.

    Args:
        held_out: example_id and out-of-fold probabilities of a 4-class run.
        examples: labelled training rows; joined by example_id.
        fraction: the share 0..1 of rows that may be dropped.

    Returns:
        A row per audited example, sorted by example_id: example_id, given, suggested (the most probable label), quality
        (cleanlab's score of the given label, 0..1), rank (1 is the worst; null where not flagged), dropped.

    Raises:
        CompError: a class is missing among the given labels, which leaves its noise rate undefined.
    """
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    rows = examples.loc[examples["label"].notna(), ["example_id", "label"]].merge(
        held_out, on="example_id", how="inner"
    )
    rows = rows.sort_values("example_id", ignore_index=True)
    given = label_codes(rows["label"])
    absent = sorted(set(range(len(LABELS))) - set(given.tolist()))
    if absent:
        raise CompError(f"No audited row is labelled {LABELS[absent[0]]!r}: an audit needs rows of every label.")
    probabilities = rows[list(KINDS["classes"].outputs)].to_numpy(np.float64)
    flagged = find_label_issues(
        given,
        probabilities,
        filter_by="prune_by_noise_rate",
        return_indices_ranked_by="normalized_margin",
        n_jobs=1,
    )
    rank = np.zeros(len(rows), np.int64)
    rank[flagged] = np.arange(1, len(flagged) + 1)
    allowed = int(fraction * len(rows))
    return pd.DataFrame(
        {
            "example_id": rows["example_id"],
            "given": rows["label"],
            "suggested": np.array(LABELS)[probabilities.argmax(axis=1)],
            "quality": get_label_quality_scores(given, probabilities),
            "rank": pd.Series(rank).astype("Int64").mask(rank == 0),
            "dropped": (rank > 0) & (rank <= allowed),
        }
    )


def dropped_ids(noise: pd.DataFrame) -> np.ndarray:
    """The example_ids that training leaves out."""
    return noise.loc[noise["dropped"], "example_id"].to_numpy(np.int64)


def summary(noise: pd.DataFrame, examples: pd.DataFrame) -> pd.DataFrame:
    """How many rows are audited, flagged and dropped, by given label and by locale."""
    rows = noise.merge(examples[["example_id", "locale"]], on="example_id")
    tables = []
    for column, name in (("given", "label"), ("locale", "locale")):
        groups = rows.groupby(column)
        table = pd.DataFrame(
            {"rows": groups.size(), "flagged": groups["rank"].count(), "dropped": groups["dropped"].sum()}
        )
        table.index = pd.Index([f"{name} {value}" for value in table.index])
        tables.append(table)
    total = pd.DataFrame(
        {"rows": [len(rows)], "flagged": [rows["rank"].count()], "dropped": [rows["dropped"].sum()]}, index=["all"]
    )
    table = pd.concat([*tables, total])
    table["share dropped"] = table["dropped"] / table["rows"]
    return table


def worst(noise: pd.DataFrame, examples: pd.DataFrame, products: pd.DataFrame, count: int = 20) -> pd.DataFrame:
    """The `count` worst rows with their query and title, worst first."""
    rows = noise[noise["rank"].notna()].sort_values("rank").head(count)
    rows = rows.merge(examples[["example_id", "query", "locale", "product_id"]], on="example_id", how="left")
    rows = rows.merge(products[["locale", "product_id", "title"]], on=["locale", "product_id"], how="left")
    return rows[["rank", "example_id", "locale", "given", "suggested", "quality", "query", "title"]].fillna(
        {"title": ""}
    )
