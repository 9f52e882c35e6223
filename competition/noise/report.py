"""An audit for people: its card, counts by label and locale, the matrices, the worst rows."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from competition.noise.audit import Audit
from competition.noise.plan import AuditPlan


def audit_card(
    plan: AuditPlan,
    audit: Audit,
    training_rows: int,
    labels: Sequence[str],
    skipped: str | None = None,
) -> dict[str, Any]:
    """Return what `noise.json` holds beside the flags; `skipped` is why no row was audited.

    An audit by complete runs is `approximate`: what is trained by it is scored on folds whose
    labels the flags saw.
    """
    # Left out at its default, as in cards that were written before the key existed.
    left_out = set() if plan.keys.despite_doubts else {"despite_doubts"}
    return {
        "inputs": plan.inputs,
        "approximate": plan.fold is None,
        "runs": [run.name for run in plan.runs],
        "keys": plan.keys.model_dump(mode="json", exclude=left_out),
        "audited": len(audit.flags),
        "unaudited": training_rows - len(audit.flags),
        "labels": list(labels),
        "confident_joint": audit.joint.tolist(),
        "noise_matrix": audit.noise.tolist(),
        "temperatures": audit.temperatures,
        "doubts": audit.doubts,
        "skipped": skipped,
    }


def count_issues(
    flags: pd.DataFrame, examples: pd.DataFrame, labels: Sequence[str], locales: Sequence[str]
) -> pd.DataFrame:
    """Return how many rows are audited, flagged and dropped, by given label and by locale, as these are ordered."""
    rows = flags.merge(examples[["example_id", "locale"]], on="example_id")
    tables = []
    for column, name, order in (("given", "label", labels), ("locale", "locale", locales)):
        groups = rows.groupby(column)
        table = pd.DataFrame(
            {
                "rows": groups.size(),
                "flagged": groups["rank"].count(),
                "dropped": groups["dropped"].sum(),
            }
        )
        table = table.loc[[value for value in order if value and value in table.index]]
        table.index = pd.Index([f"{name} {value}" for value in table.index])
        tables.append(table)

    total = {
        "rows": [len(rows)],
        "flagged": [rows["rank"].count()],
        "dropped": [rows["dropped"].sum()],
    }
    table = pd.concat([*tables, pd.DataFrame(total, index=["all"])])
    table["share dropped"] = table["dropped"] / table["rows"]
    return table


def caveat(card: Mapping[str, Any]) -> str | None:
    """Return what training does about an audit that was skipped or has doubts; None where it is like any other.

    Args:
        card: the content of `noise.json`.
    """
    if skipped := card.get("skipped"):
        return f"it is skipped, and training goes on without it. {skipped}"
    if not card.get("doubts"):
        return None

    doubts = " and ".join(card["doubts"])
    if card["keys"].get("despite_doubts"):
        return f"{doubts}: rows are dropped anyway, because noise_despite_doubts = true."
    return (
        f"{doubts}: training drops no rows. noise_despite_doubts = true in competition.toml "
        "drops them anyway."
    )


def worst_rows(
    flags: pd.DataFrame,
    examples: pd.DataFrame,
    products: pd.DataFrame,
    title: str,
    count: int = 20,
) -> pd.DataFrame:
    """Return the `count` worst rows with their query and title, worst first; `title` names the field."""
    rows = flags[flags["rank"].notna()].sort_values("rank").head(count)
    queries = examples[["example_id", "query", "locale", "product_id"]]
    titles = products[["locale", "product_id", title]].rename(columns={title: "title"})
    rows = rows.merge(queries, on="example_id", how="left")
    rows = rows.merge(titles, on=["locale", "product_id"], how="left")

    columns = ["rank", "example_id", "locale", "given", "suggested", "quality", "query", "title"]
    return rows[columns].fillna({"title": ""})
