"""How much planted label noise an audit finds, beside CleanLearning and chance; how long one of many rows takes.

    python -m benchmarks.noise            planted noise
    python -m benchmarks.noise scale      2,000,000 rows, each method in a process of its own

Planted: the built-in catalogue of 600 queries, five seeds of data, counts added up. `worst 4 %` are
the first rows by rank, those that are not flagged behind those that are; `dropped` are the flagged
ones of these. Probabilities are those of `lexical` over five folds; `own folds` lets CleanLearning
cross-validate a logistic regression on the same features over random rows. The last column is how
many more planted rows are dropped than by CleanLearning on the same probabilities, with twice the
standard error of that difference (rows that only one of the two drops).
"""

import sys
import time
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import pandas as pd
from cleanlab.classification import CleanLearning
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.growth import ONE, measured, peak
from competition.config.keys import AuditKeys
from competition.config.recipe import LexicalRecipe
from competition.data import folds, synthetic
from competition.models.lexical.lexical import predict_lexical, train_lexical
from competition.models.lexical.text_features import text_features
from competition.noise.audit import audit_labels
from competition.noise.consensus import find_label_issues
from tests.esci import CONTEST, KINDS, LABELS, LOCALES, label_codes

QUERIES, SEEDS = 600, range(1, 6)
RATES = (0.02, 0.04, 0.08)
FRACTION = 0.04
KIND = KINDS["classes"]
PEER = "CleanLearning, same probabilities"
ROWS = 2_000_000
SCALED = (
    "prune_by_noise_rate",
    "posterior",
    "low_self_confidence",
    "confident_learning",
    "both",
    "calibrated",
)
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Found:
    """The first rows by rank, and those of them that are dropped, `(rows,)` each."""

    worst: Mask
    dropped: Mask

    @classmethod
    def make(cls, flagged: Mask, order: NDArray[np.int64]) -> "Found":
        """From which rows are flagged, and all rows, worst first."""
        first = np.concatenate([order[flagged[order]], order[~flagged[order]]])[
            : int(FRACTION * len(order))
        ]
        worst = np.isin(np.arange(len(order)), first)
        return cls(worst, worst & flagged)


def findings(examples: pd.DataFrame, features: pd.DataFrame, seed: int) -> dict[str, Found]:
    """What each method finds among training rows sorted by example_id."""
    fold = folds.fold_of_rows(examples, folds.make_folds(examples, "five", CONTEST)).to_numpy()
    train = (examples["split"] == "train").to_numpy()
    recipe, outputs = LexicalRecipe(name="lexical"), []
    for k in range(5):
        booster = train_lexical(recipe, KIND, features, examples[train & (fold != k)], str(k))
        outputs.append(
            predict_lexical(
                booster, KIND, features, examples.loc[train & (fold == k), "example_id"].to_numpy()
            )
        )
    rows = examples[train].merge(pd.concat(outputs), on="example_id", validate="one_to_one")
    given, probabilities = label_codes(rows["label"]), KIND.values(rows)
    found = {}
    for method in ("prune_by_noise_rate", "posterior"):
        by = find_label_issues(given, probabilities, method)  # type: ignore[arg-type]
        found[f"comp cleanlab, {method}"] = Found.make(by.flagged, by.order)
    same = CleanLearning(seed=seed).find_label_issues(labels=given, pred_probs=probabilities)
    found[PEER] = _of_peer(same)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1_000))
    x = features.loc[rows["example_id"]].to_numpy()
    found["CleanLearning, own folds"] = _of_peer(
        CleanLearning(model, cv_n_folds=5, seed=seed).find_label_issues(x, given)
    )
    return found


def _of_peer(issues: pd.DataFrame) -> Found:
    order = np.argsort(issues["label_quality"].to_numpy(), kind="stable")
    return Found.make(issues["is_label_issue"].to_numpy(bool), order)


def planted() -> None:
    """Print precision and recall per noise, added up over the seeds."""
    header = (
        "noise",
        "method",
        "worst 4 %: P",
        "R",
        "dropped: P",
        "R",
        "planted rows dropped, minus CleanLearning",
    )
    print("| " + " | ".join(header) + " |\n|" + "---|" * len(header))
    features = {}
    for seed in SEEDS:
        examples, products, _ = synthetic.make(QUERIES, 0.0, seed)
        features[seed] = text_features(
            examples, products, CONTEST
        )  # labels change nothing about it
    for by_label in (False, True):
        for rate in RATES:
            found: dict[str, list[Found]] = defaultdict(list)
            truth = []
            for seed in SEEDS:
                examples, _, wrong = synthetic.make(QUERIES, rate, seed, by_label)
                ids = examples.loc[examples["split"] == "train", "example_id"]
                truth.append(ids.isin(wrong["example_id"]).to_numpy())
                for method, each in findings(examples, features[seed], seed).items():
                    found[method].append(each)
            _print(
                f"{rate:.0%} {'by label' if by_label else 'uniform'}", np.concatenate(truth), found
            )


def _print(noise: str, truth: Mask, found: dict[str, list[Found]]) -> None:
    peer = np.concatenate([each.dropped for each in found[PEER]])
    for method, of_seeds in found.items():
        worst, dropped = (
            np.concatenate([getattr(each, part) for each in of_seeds])
            for part in ("worst", "dropped")
        )
        cells = [
            f"{truth[rows].mean():.3f} | {truth[rows].sum() / truth.sum():.3f}"
            for rows in (worst, dropped)
        ]
        more, fewer = (truth & dropped & ~peer).sum(), (truth & ~dropped & peer).sum()
        told = (
            ""
            if method == PEER
            else f"{more - fewer:+d} of {truth.sum()} (± {2 * np.sqrt(more + fewer):.0f})"
        )
        print(f"| {noise} | {method} | {' | '.join(cells)} | {told} |", flush=True)
    chance = f"{truth.mean():.3f} | {FRACTION:.3f}"
    print(f"| {noise} | random rows | {chance} | {chance} |  |", flush=True)


def scale(method: str) -> None:
    """Print the seconds of one audit of many made-up rows, and the peak memory of the process in GiB."""
    rng = np.random.default_rng(0)
    true = rng.choice(4, ROWS, p=[0.63, 0.23, 0.03, 0.11])
    logits = 2.0 * np.eye(4)[true] + rng.normal(0, 1, (ROWS, 4))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    given = np.where(rng.random(ROWS) < 0.04, rng.integers(0, 4, ROWS), true)
    ids = rng.permutation(ROWS)
    outputs = pd.DataFrame(probabilities, columns=list(KIND.outputs)).assign(example_id=ids)
    locale = np.array(LOCALES)[np.arange(ROWS) % 3]
    examples = pd.DataFrame({"example_id": ids, "label": np.array(LABELS)[given], "locale": locale})
    fold = pd.Series(rng.integers(0, 5, ROWS), index=ids)
    keys = (
        {"calibrated": True, "per_label": True, "per_locale": True}
        if method == "calibrated"
        else {"method": method}
    )
    start = time.perf_counter()
    audit_labels([outputs], KIND, examples, fold, AuditKeys.model_validate(keys))
    seconds = time.perf_counter() - start
    print(seconds, peak())


def main(arguments: list[str]) -> None:
    """Measure what the arguments name."""
    if arguments[:1] == [ONE]:
        scale(arguments[1])
    elif arguments == ["scale"]:
        print(f"| {ROWS:,} rows x 4 classes | s | peak GiB |\n|---|---|---|")
        for method in SCALED:
            seconds, most = measured("noise", method)
            name = (
                "prune_by_noise_rate, calibrated, both quotas" if method == "calibrated" else method
            )
            print(f"| {name} | {seconds:.1f} | {most:.2f} |", flush=True)
    else:
        planted()


if __name__ == "__main__":
    main(sys.argv[1:])
