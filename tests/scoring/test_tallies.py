"""Tallies count rows, labels and out-of-fold answers."""

import numpy as np
import pandas as pd

from competition.scoring.counted_runs import CountedRuns
from competition.scoring.predictions import Run, RunPlan
from competition.scoring.tallies import Tallies
from tests.esci import CONTEST, KINDS, TASKS

QUERIES = [1, 1, 1, 2, 3, 3]
EXAMPLES = pd.DataFrame(
    {
        "example_id": range(6),
        "query_id": QUERIES,
        "product_id": [f"p{i}" for i in range(6)],
        "locale": ["us", "us", "us", "es", "jp", "jp"],
        "label": ["exact", "substitute", "exact", "irrelevant", "exact", "exact"],
        "substitute": [False, True, False, False, False, False],
        "split": ["train"] * 4 + ["test"] * 2,
        **dict.fromkeys(TASKS, True),
    }
)


def outputs(*labels: int) -> pd.DataFrame:
    """Probabilities that are sure of these labels."""
    columns = dict(zip(KINDS["classes"].outputs, np.eye(4)[list(labels)].T, strict=True))
    return pd.DataFrame({"example_id": range(len(labels)), **columns})


def test_rows_labels_and_answers_are_counted() -> None:
    kind = KINDS["classes"]
    plan = RunPlan("c1", kind, kind.tasks, "comp train", ())
    held_out = outputs(0, 0, 0, 3)
    run = Run("c1", kind, held_out, np.array([0, 0, 0, 2]), outputs(0, 0))
    folds = {"five": pd.Series([0, 0, 0, 2], index=range(4))}
    counted = CountedRuns(CONTEST.tasks.values(), EXAMPLES)
    tallies = Tallies(counted, folds)
    tallies.add(plan, run, counted.add(plan, run))
    counts = tallies.as_json()

    assert counts["folds"] == {"five": [3, 0, 1]}
    assert counts["rows"] == {
        "train": {"rows": 4, "queries": 2, "depth": 2.0, "locales": {"es": 1, "us": 3}},
        "test": {"rows": 2, "queries": 1, "depth": 2.0, "locales": {"jp": 2}},
    }
    assert counts["labels"]["task2"] == {
        "exact": 2, "substitute": 1, "complement": 0, "irrelevant": 1,
    }  # fmt: skip
    assert counts["answers"]["task2"]["c1"] == {
        "exact": 3, "substitute": 0, "complement": 0, "irrelevant": 1,
    }  # fmt: skip
    assert counts["fold_scores"]["task2"] == {"c1": [2 / 3, None, 1.0]}
    assert counts["answers"]["task3"] == {"c1": {"no_substitute": 4, "substitute": 0}}
    # The answer of a ranking is no word.
    assert counts["answers"].keys() == counts["labels"].keys() == {"task2", "task3"}
