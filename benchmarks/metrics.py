"""nDCG of every query: ours over all rows at once against scikit-learn's and ranx's, which is compiled by numba.

    python -m benchmarks.metrics [rows]

First the three must agree. Then they are timed in alternating rounds of one process, behind one
that warms up and in which numba compiles; the table shows medians per query and their ratio. ranx
reads dictionaries into objects of its own before it scores, which is timed for itself; ours reads
columns as they are. Needs the extra `bench`.
"""

import sys
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ranx import Qrels, Run, evaluate
from sklearn.metrics import ndcg_score

from benchmarks.rounds import alternate
from competition.scoring.metrics import ndcg_per_query

DEPTH = 20  # products per query, as in ESCI
PEER_QUERIES = 5_000  # the peers are timed on this many
PEER_GAINS = 100  # times our gains: ranx's are whole numbers, and nDCG is a ratio of gains
ROUNDS = 3
TOLERANCE = 1e-9


def lists(query: NDArray[Any], values: NDArray[Any]) -> NDArray[Any]:
    """The values of the first `PEER_QUERIES` queries, `(queries, DEPTH)`."""
    return values[np.argsort(query, kind="stable")].reshape(-1, DEPTH)[:PEER_QUERIES]


def dictionaries(values: NDArray[Any]) -> dict[str, dict[str, Any]]:
    """Lists as ranx reads them: query -> product -> value."""
    return {
        str(q): {str(p): value for p, value in enumerate(row)}
        for q, row in enumerate(values.tolist())
    }


def main(rows: int) -> None:
    """Compare, time and print a table."""
    rng = np.random.default_rng(0)
    queries = rows // DEPTH
    query = rng.permutation(np.repeat(np.arange(queries), DEPTH))
    gain = rng.choice([1.0, 0.1, 0.01, 0.0], len(query), p=[0.63, 0.23, 0.03, 0.11])
    score = rng.random(len(query))
    gains, scores = lists(query, gain), lists(query, score)
    judged, ranked = dictionaries(np.rint(PEER_GAINS * gains).astype(int)), dictionaries(scores)
    qrels, run = Qrels(judged), Run(ranked)

    def ours() -> NDArray[Any]:
        return ndcg_per_query(query, gain, score)[1]

    def sklearn() -> list[float]:
        return [ndcg_score(*pair) for pair in zip(gains[:, None], scores[:, None], strict=True)]

    def ranx() -> NDArray[Any]:
        # `ndcg` has linear gains as ours has, `ndcg_burges` 2 ** gain - 1.
        return evaluate(qrels, run, "ndcg", return_mean=False, save_results_in_run=False)

    by_name = dict(zip(run.keys(), ranx(), strict=True))  # in its own order
    found = {
        "scikit-learn": np.array(sklearn()),
        "ranx": np.array([by_name[name] for name in judged]),
    }
    apart = {
        name: float(np.abs(values - ours()[: len(gains)]).max()) for name, values in found.items()
    }
    if max(apart.values()) > TOLERANCE:
        raise SystemExit(f"nDCG differs by more than {TOLERANCE}: {apart}")
    works = {
        "competition": ours,
        "scikit-learn": sklearn,
        "ranx": ranx,
        "ranx, reading": lambda: (Qrels(judged), Run(ranked)),
    }
    times = {name: median(seconds) for name, seconds in alternate(works, ROUNDS).items()}
    each = {
        name: seconds / (queries if name == "competition" else len(gains))
        for name, seconds in times.items()
    }
    print(
        f"rows {len(query):,}, queries {queries:,}, {DEPTH} products each; peers on {len(gains):,} queries"
    )
    print(f"medians of {ROUNDS} rounds; all rows by competition: {times['competition']:.2f} s")
    print("| | us per query | times ours | differs by |")
    print("|---|---|---|---|")
    for name, seconds in each.items():
        difference = f"{apart[name]:.1g}" if name in apart else ""
        print(
            f"| {name} | {1e6 * seconds:.2f} | {seconds / each['competition']:.1f} | {difference} |"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2_600_000)
