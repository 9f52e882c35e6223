"""Contests of other labels than ESCI's, with made-up rows and members."""

import numpy as np
import pandas as pd

from competition.core.arrays import Array
from competition.models.ensemble.members import Member
from competition.scoring.contest import Contest
from competition.scoring.definition import build_contest
from competition.scoring.definition_tables import Definition

FOLDS = range(5)


def contest_of(labels: dict[str, object], metric: str = "quadratic-kappa") -> Contest:
    """A contest with a ranking and, where labels have numbers, a rating; else a classification."""
    tasks: dict[str, object] = {
        "ranking": {"kind": "rank", "metric": "ndcg", "answer": ["query", "product_id"]}
    }
    if "names" in labels or metric in ("auc", "log-loss"):
        tasks["relevance"] = {"kind": "classify", "metric": metric, "answer": ["id", "label"]}
    else:
        tasks["rating"] = {"kind": "rate", "metric": metric, "answer": ["id", "label"]}
    content = {"fields": ["title"], "labels": labels, "tasks": tasks}
    return build_contest("made", Definition.model_validate(content), "made")


def rows_of(
    contest: Contest, queries: int = 100, depth: int = 6, seed: int = 0
) -> tuple[pd.DataFrame, Array]:
    """Rows of training queries, and a few of test, and the quality 0..1 that their labels follow."""
    rng = np.random.default_rng(seed)
    n = queries * depth
    quality = rng.beta(2, 2, n)
    noisy = np.clip(quality + rng.normal(0, 0.08, n), 0, 1 - 1e-9)
    labels = contest.labels
    if labels.are_classes:
        label = np.array(labels.names)[(noisy * len(labels)).astype(int)]
    else:
        label = np.array(
            [f"{each:.2f}" for each in labels.lowest + noisy * (labels.highest - labels.lowest)]
        )
    query = np.arange(n) // depth
    rows = pd.DataFrame(
        {"example_id": np.arange(n), "query_id": query, "label": label, "locale": ""}
    )
    rows["product_id"] = [f"P{i}" for i in range(n)]
    rows["split"] = np.where(query < queries - 5, "train", "test")
    for task in contest.tasks:
        rows[task] = True
    return rows, quality


def fold_of(rows: pd.DataFrame) -> pd.Series:
    """Five folds of training queries; -1 for test rows."""
    return (rows["query_id"] % len(FOLDS)).where(rows["split"] == "train", -1)


def member(
    contest: Contest, kind: str, rows: pd.DataFrame, quality: Array, noise: float, seed: int
) -> Member:
    """A member that knows the quality but for noise, and is drawn to the middle."""
    rng = np.random.default_rng(seed)
    said = np.clip(0.5 + 0.6 * (quality - 0.5) + rng.normal(0, noise, len(rows)), 0, 1)
    made = contest.kind(kind)
    if made.is_classes:
        centre = (np.arange(made.targets) + 0.5) / made.targets
        odds = np.exp(-20 * (said[:, None] - centre) ** 2)
        values = odds / odds.sum(axis=1, keepdims=True)
    else:
        values = said[:, None] if kind == "gain" else made.from_unit(said)[:, None]

    outputs = pd.DataFrame(values, columns=list(made.outputs))
    outputs.insert(0, "example_id", rows["example_id"].to_numpy())
    parts = [
        outputs[(rows["split"] == split).to_numpy()].reset_index(drop=True)
        for split in ("train", "test")
    ]
    return Member(f"{kind}{seed}", made, dict.fromkeys(FOLDS, parts[0]), parts[1])
