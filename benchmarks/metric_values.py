"""Every metric of classes and ratings: ours against scikit-learn's and SciPy's on the same rows.

    python -m benchmarks.metric_values [rows]

First the two must agree, then they are timed in alternating rounds of one process, one metric after
the other; the table shows the fastest round. Ours keeps what each query adds, from which the last column's
interval is drawn.
"""

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.stats import pearsonr, spearmanr
from sklearn import metrics as sklearn

from benchmarks.rounds import alternate
from competition.scoring.intervals import bootstrap
from competition.scoring.metric_table import Metric, Rows, find_metric

DEPTH = 10  # rows per query
CLASSES = 4
ROUNDS = 15
TOLERANCE = 1e-12


def make_rows(rows: int) -> dict[str, Rows]:
    """Rows as metrics read them, and `binary` ones: answers with ties, better than chance."""
    rng = np.random.default_rng(0)
    query = rng.permutation(np.arange(rows) // DEPTH)
    truth = rng.integers(0, CLASSES, rows)
    number = np.round(truth + rng.normal(0, 1, rows), 2)
    level = np.clip(np.rint(number), 0, CLASSES - 1).astype(np.int64)

    raw = np.round(rng.random((rows, CLASSES)) + (truth[:, None] == np.arange(CLASSES)), 2) + 0.01
    probabilities = raw / raw.sum(axis=1, keepdims=True)
    positive = np.round(probabilities[:, 1], 3)
    pair = np.column_stack([1 - positive, positive])

    answers = {
        "class": level, "level": level, "number": number, "probabilities": probabilities
    }  # fmt: skip
    made = {name: Rows(query, truth, answer, CLASSES) for name, answer in answers.items()}
    return made | {"binary": Rows(query, (truth == 1).astype(np.int64), pair, 2)}


# By name of ours, from truth and answer.
PEERS: dict[str, Callable[[Any, Any], float]] = {
    "accuracy": sklearn.accuracy_score,
    "micro-F1": lambda truth, answer: sklearn.f1_score(truth, answer, average="micro"),
    "macro-F1": lambda truth, answer: sklearn.f1_score(truth, answer, average="macro"),
    "log-loss": sklearn.log_loss,
    "auc": lambda truth, answer: sklearn.roc_auc_score(truth, answer, multi_class="ovr"),
    "quadratic-kappa": lambda truth, answer: sklearn.cohen_kappa_score(
        truth, answer, weights="quadratic"
    ),
    "linear-kappa": lambda truth, answer: sklearn.cohen_kappa_score(
        truth, answer, weights="linear"
    ),
    "rmse": sklearn.root_mean_squared_error,
    "mae": sklearn.mean_absolute_error,
    "pearson": lambda truth, answer: pearsonr(truth, answer).statistic,
    "spearman": lambda truth, answer: spearmanr(truth, answer).statistic,
}


def value(metric: Metric, rows: Rows) -> float:
    """Our value over all queries."""
    return float(metric.statistic(metric.count(rows)[1].sum(0)))


def compare(name: str, metric: Metric, rows: Rows, peer: Callable[[], float]) -> str:
    """Return a row of the table.

    Raises:
        SystemExit: the values differ by more than TOLERANCE.
    """
    apart = abs(value(metric, rows) - peer())
    if apart > TOLERANCE:
        raise SystemExit(f"{name} differs by {apart:.1g}, more than {TOLERANCE}")

    times = alternate({"ours": lambda: value(metric, rows), "peer": peer}, ROUNDS)
    ours, other = (1e3 * min(times[key]) for key in ("ours", "peer"))

    start = time.perf_counter()
    bootstrap(metric.count(rows)[1], metric.statistic, within=metric.within)
    interval = time.perf_counter() - start
    return (
        f"| {name} | {ours:.1f} | {other:.1f} | {other / ours:.1f} | {apart:.0e} | {interval:.2f} |"
    )


def main(rows: int) -> None:
    """Compare, time and print a table."""
    made = make_rows(rows)
    print(f"{rows:,} rows, {DEPTH} per query; the fastest of {ROUNDS} rounds")
    print("| | ours, ms | peer, ms | times ours | differs by | with interval, s |")
    print("|---|---|---|---|---|---|")

    for name, peer in PEERS.items():
        metric = find_metric(name)
        of_metric = made[metric.reads]
        print(compare(name, metric, of_metric, lambda: peer(of_metric.truth, of_metric.answer)))  # noqa: B023 (called at once)

    binary = made["binary"]
    area = lambda: sklearn.roc_auc_score(binary.truth, binary.answer[:, 1])  # noqa: E731
    print(compare("auc, two classes", find_metric("auc"), binary, area))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
