"""An audit for people: its card, counts by label and locale, the matrices, the worst rows."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from competition.noise.audit import Audit
from competition.noise.plan import AuditPlan
from competition.scoring.tasks import LABELS, LOCALES


def audit_card(
    plan: AuditPlan, found: Audit, training_rows: int, skipped: str | None = None
) -> dict[str, Any]:
    """What `noise.json` says beside the flags; `skipped` is why no row was audited.

    An audit by complete runs is `approximate`: what is trained by it is scored on folds whose
    labels the flags saw.
    """
    return {
        "inputs": plan.inputs,
        "approximate": plan.fold is None,
        "runs": [run.name for run in plan.runs],
        "keys": plan.keys.model_dump(
            mode="json", exclude=set() if plan.keys.despite_doubts else {"despite_doubts"}
        ),
        "audited": len(found.flags),
        "unaudited": training_rows - len(found.flags),
        "labels": list(LABELS),
        "confident_joint": found.joint.tolist(),
        "noise_matrix": found.noise.tolist(),
        "temperatures": found.temperatures,
        "doubts": found.doubts,
        "skipped": skipped,
    }


def count_issues(flags: pd.DataFrame, examples: pd.DataFrame) -> pd.DataFrame:
    """How many rows are audited, flagged and dropped, by given label and by locale."""
    rows = flags.merge(examples[["example_id", "locale"]], on="example_id")
    tables = []
    for column, name, order in (("given", "label", LABELS), ("locale", "locale", LOCALES)):
        groups = rows.groupby(column)
        table = pd.DataFrame(
            {
                "rows": groups.size(),
                "flagged": groups["rank"].count(),
                "dropped": groups["dropped"].sum(),
            }
        )
        table = table.loc[[value for value in order if value in table.index]]
        table.index = pd.Index([f"{name} {value}" for value in table.index])
        tables.append(table)
    total = pd.DataFrame(
        {
            "rows": [len(rows)],
            "flagged": [rows["rank"].count()],
            "dropped": [rows["dropped"].sum()],
        },
        index=["all"],
    )
    table = pd.concat([*tables, total])
    table["share dropped"] = table["dropped"] / table["rows"]
    return table


def caveat(card: Mapping[str, Any]) -> str | None:
    """Say what training does about an audit that was skipped or doubts itself; None where it is like any other.

    Args:
        card: what `noise.json` says.
    """
    if skipped := card.get("skipped"):
        return f"it is skipped, and training goes on without it. {skipped}"
    if not (doubts := card.get("doubts")):
        return None
    said = " and ".join(doubts)
    if card["keys"].get("despite_doubts"):
        return f"{said}: rows are dropped all the same, since noise_despite_doubts = true says so."
    return (
        f"{said}: training goes on and drops nothing. noise_despite_doubts = true in "
        f"competition.toml overrules that."
    )


def worst_rows(
    flags: pd.DataFrame, examples: pd.DataFrame, products: pd.DataFrame, count: int = 20
) -> pd.DataFrame:
    """The `count` worst rows with their query and title, worst first."""
    rows = flags[flags["rank"].notna()].sort_values("rank").head(count)
    rows = rows.merge(
        examples[["example_id", "query", "locale", "product_id"]], on="example_id", how="left"
    )
    rows = rows.merge(
        products[["locale", "product_id", "title"]], on=["locale", "product_id"], how="left"
    )
    return rows[
        ["rank", "example_id", "locale", "given", "suggested", "quality", "query", "title"]
    ].fillna({"title": ""})
