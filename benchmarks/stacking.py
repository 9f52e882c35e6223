"""An ensemble of six models over many rows: level-2 features, weights and a cross-fitted LightGBM stack.

    python -m benchmarks.stacking [rows ...]

The members are made up (three classifiers and three regressors that know a part of the truth), and
so are 120 features of text, which a workspace has in a file before it stacks. Each size runs in a
process of its own, so that the peak of its memory is its own; the last line is the exponent of
growth between the smallest and the largest size.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

from benchmarks.growth import ONE, exponent, measured, peak
from competition.config.recipe import EnsembleRecipe
from competition.models.ensemble.crossfit import cross_fit
from competition.models.ensemble.members import Member, MemberOutputs
from competition.models.ensemble.meta_features import tree_features
from tests.esci import ANSWER_KIND, GAINS, KINDS, LABELS, LOCALES, TASKS

SIZES = (100_000, 300_000, 1_000_000)
DEPTH = 20  # products per query, as in ESCI
TEXT_FEATURES = 120
STAGES = ("features", "greedy", "search", "lightgbm")


def make(rows: int) -> tuple[pd.DataFrame, pd.Series, list[Member], pd.DataFrame]:
    """Examples (a tenth of them test rows), their folds, six members and features of text."""
    rng = np.random.default_rng(0)
    query = np.arange(rows) // DEPTH
    code = rng.choice(4, rows, p=[0.63, 0.23, 0.03, 0.11])
    examples = pd.DataFrame(
        {"example_id": np.arange(rows), "query_id": query, "label": np.array(LABELS)[code]}
    )
    examples["product_id"] = rng.permutation(rows).astype(str)
    examples["locale"] = np.array(LOCALES)[query % 3]
    examples["split"] = np.where(query % 10 == 9, "test", "train")
    examples["task1"] = examples["task2"] = examples["task3"] = True
    examples["substitute"] = pd.array(code == LABELS.index("substitute"), "boolean")
    fold = pd.Series(np.where(query % 10 == 9, -1, query % 5), examples.index)
    train = (examples["split"] == "train").to_numpy()
    members = []
    for name, kind in (
        ("c1", "classes"),
        ("c2", "classes"),
        ("c3", "classes"),
        *((f"r{i}", "gain") for i in "123"),
    ):
        logits = 2.0 * np.eye(4)[code] + rng.normal(0, 1.5, (rows, 4))
        share = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        values = (
            share
            if kind == "classes"
            else share @ np.array([[GAINS["paper"][label]] for label in LABELS])
        )
        outputs = pd.DataFrame(values, columns=list(KINDS[kind].outputs))
        outputs.insert(0, "example_id", examples["example_id"])
        held_out = outputs[train].reset_index(drop=True)
        members.append(
            Member(
                name,
                KINDS[kind],
                dict.fromkeys(range(5), held_out),
                outputs[~train].reset_index(drop=True),
            )
        )
    text = rng.normal(0, 1, (rows, TEXT_FEATURES)).astype(np.float32)
    text[:, 0] += code  # one of them says something
    return (
        examples,
        fold,
        members,
        pd.DataFrame(text, index=examples["example_id"]).add_prefix("text_"),
    )


def stages(rows: int) -> Iterator[tuple[str, Callable[[], object]]]:
    """What is timed, on task 1."""
    examples, fold, members, text = make(rows)
    task = TASKS["task1"]
    train = examples[examples["split"] == "train"].reset_index(drop=True)
    seen = [MemberOutputs(m.name, m.kind, m.kind.values(m.seen[0])) for m in members]
    yield "features", lambda: tree_features(task, seen, train, text)
    for method in STAGES[1:]:
        recipe = EnsembleRecipe(name=method, method=method)  # type: ignore[arg-type]
        yield (
            method,
            lambda recipe=recipe: cross_fit(
                task, ANSWER_KIND[task.name], members, examples, fold, recipe, text
            ),
        )


def measure(rows: int) -> None:
    """Print the seconds of each stage and the peak memory in GiB."""
    seconds = []
    for _, work in stages(rows):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    print(*seconds, peak())


def main(sizes: tuple[int, ...]) -> None:
    """Measure each size and print a table."""
    header = ["rows", *(f"{stage} s" for stage in STAGES), "all s", "peak GiB"]
    print(f"{os.cpu_count()} cores; the peak includes the made-up members and features of text")
    print("".join(f"{name:>12}" for name in header))
    totals = []
    for rows in sizes:
        *seconds, most = measured("stacking", rows)
        totals.append(sum(seconds))
        cells = [
            f"{rows:,}",
            *(f"{value:.1f}" for value in (*seconds, sum(seconds))),
            f"{most:.2f}",
        ]
        print("".join(f"{cell:>12}" for cell in cells), flush=True)
    if len(sizes) > 1:
        print(f"time grows with rows to the power of {exponent(totals, sizes):.2f}")


if __name__ == "__main__":
    if sys.argv[1:2] == [ONE]:
        measure(int(sys.argv[2]))
    else:
        main(tuple(map(int, sys.argv[1:])) or SIZES)
