"""Made-up examples and members, small enough to combine in a moment."""

from dataclasses import replace

import numpy as np
import pandas as pd

from competition.config.recipe import EnsembleRecipe
from competition.core.arrays import Array
from competition.models.ensemble.members import Member
from competition.scoring.evaluation import count_outputs
from tests.esci import ANSWER_KIND, GAINS, KINDS, LABELS, LOCALES, TASKS, label_codes

FOLDS = range(5)


def make_examples(train: int = 100, test: int = 10, depth: int = 8, seed: int = 0) -> pd.DataFrame:
    """Examples of `train` + `test` queries with `depth` products each; every fourth query is not in task 1."""
    rng = np.random.default_rng(seed)
    n = (train + test) * depth
    rows = pd.DataFrame({"example_id": np.arange(n), "query_id": np.arange(n) // depth})
    rows["product_id"] = [f"P{i}" for i in range(n)]
    rows["locale"] = np.array(LOCALES)[rows["query_id"] % 3]
    rows["split"] = np.where(rows["query_id"] < train, "train", "test")
    rows["task1"] = rows["query_id"] % 4 > 0
    rows["task2"] = rows["task3"] = True
    return with_labels(rows, rng.choice(LABELS, n, p=[0.5, 0.3, 0.05, 0.15]))


def with_labels(rows: pd.DataFrame, labels: np.ndarray) -> pd.DataFrame:
    """The same rows with other labels."""
    return rows.assign(label=labels, substitute=pd.array(labels == "substitute", "boolean"))


def folds_of(rows: pd.DataFrame) -> pd.Series:
    """Five folds of training queries; -1 for test rows."""
    return (rows["query_id"] % len(FOLDS)).where(rows["split"] == "train", -1)


def spoil(rows: pd.DataFrame, fold: int) -> pd.DataFrame:
    """The rows with the labels of one fold drawn anew."""
    labels = rows["label"].to_numpy(object).copy()
    at = np.flatnonzero(folds_of(rows) == fold)
    labels[at] = np.random.default_rng(1).choice(LABELS, len(at))
    return with_labels(rows, labels)


def make_member(name: str, kind: str, values: Array, rows: pd.DataFrame) -> Member:
    """A member that says `values`, `(rows, outputs)`, of the rows, and the same to every fold."""
    outputs = pd.DataFrame(values, columns=list(KINDS[kind].outputs))
    outputs.insert(0, "example_id", rows["example_id"].to_numpy())
    train, test = (
        outputs[(rows["split"] == split).to_numpy()].reset_index(drop=True)
        for split in ("train", "test")
    )
    return Member(name, KINDS[kind], dict.fromkeys(FOLDS, train), test)


def regressor(name: str, rows: pd.DataFrame, noise: float, seed: int) -> Member:
    """A member that says the gain and noise."""
    gain = rows["label"].map(GAINS["paper"]).to_numpy(np.float64)
    return make_member(
        name,
        "gain",
        (gain + np.random.default_rng(seed).normal(0, noise, len(rows)))[:, None],
        rows,
    )


def classifier(name: str, rows: pd.DataFrame, noise: float, seed: int) -> Member:
    """A member whose probabilities know the class, with noise, and are much too low for substitutes."""
    logits = np.eye(4)[label_codes(rows["label"])] + np.random.default_rng(seed).normal(
        0, noise, (len(rows), 4)
    )
    return make_member(name, "classes", probabilities(2 * logits - [0, 1.2, 0, 0]), rows)


def finder(name: str, rows: pd.DataFrame, noise: float, seed: int) -> Member:
    """A member that says how probable a substitute is: too low."""
    is_substitute = rows["substitute"].to_numpy(np.float64)
    logits = 2 * (is_substitute + np.random.default_rng(seed).normal(0, noise, len(rows))) - 2
    return make_member(name, "substitute", 1 / (1 + np.exp(-logits[:, None])), rows)


def probabilities(logits: Array) -> Array:
    """Softmax over the classes, `(rows, classes)`."""
    odds = np.exp(logits)
    return odds / odds.sum(axis=1, keepdims=True)


def make_members(task: str, rows: pd.DataFrame, seed: int = 0) -> list[Member]:
    """Three members that answer a task."""
    classifiers = [classifier("c1", rows, 0.5, seed + 1), classifier("c2", rows, 0.7, seed + 2)]
    third = {"task1": regressor, "task2": classifier, "task3": finder}[task]
    return [*classifiers, third("z", rows, 0.5, seed + 3)]


def nested_members(task: str, rows: pd.DataFrame) -> list[Member]:
    """Three members that tell each fold something else."""
    of_fold = [make_members(task, rows, seed=10 * k) for k in FOLDS]
    return [
        replace(each[0], seen={k: member.seen[k] for k, member in zip(FOLDS, each, strict=True)})
        for each in zip(*of_fold, strict=True)
    ]


def recipe_of(method: str, **keys: object) -> EnsembleRecipe:
    """An ensemble of a method, quick to learn."""
    quick = {
        "n_estimators": 10,
        "num_leaves": 4,
        "min_data_in_leaf": 5,
        "selections": 10,
        "bags": 3,
    }
    return EnsembleRecipe.model_validate({"name": "x", "method": method, **quick, **keys})


def score_of(task: str, outputs: pd.DataFrame, rows: pd.DataFrame) -> float:
    """The task's metric of an ensemble's outputs for all graded training rows."""
    counts = count_outputs(TASKS[task], ANSWER_KIND[task], outputs, rows[rows["split"] == "train"])
    return float(counts.statistic(counts.values.sum(axis=0)))
