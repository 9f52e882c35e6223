"""nDCG of every query: ours over all rows at once against scikit-learn's `ndcg_score` called per query.

    python -m benchmarks.metrics [rows]

Both are timed in alternating rounds of one process; the table shows medians per query and their ratio.
"""

import sys
import time
from collections.abc import Callable

import numpy as np
from sklearn.metrics import ndcg_score

from competition.metrics import ndcg_per_query

DEPTH = 20  # products per query, as in ESCI
PEER_QUERIES = 500  # scikit-learn is timed on this many
ROUNDS = 3


def timed(work: Callable[[], object]) -> float:
    """Seconds that `work` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main(rows: int) -> None:
    """Time both and print a table."""
    rng = np.random.default_rng(0)
    queries = rows // DEPTH
    query = rng.permutation(np.repeat(np.arange(queries), DEPTH))
    gain = rng.choice([1.0, 0.1, 0.01, 0.0], len(query), p=[0.63, 0.23, 0.03, 0.11])
    score = rng.random(len(query))
    lists = [(gain[query == q][None], score[query == q][None]) for q in range(PEER_QUERIES)]
    ours, peers = [], []
    for _ in range(ROUNDS):
        ours.append(timed(lambda: ndcg_per_query(query, gain, score)) / queries)
        peers.append(timed(lambda: [ndcg_score(*pair) for pair in lists]) / len(lists))
    mine, peer = float(np.median(ours)), float(np.median(peers))
    print(f"rows {len(query):,}, queries {queries:,}, {DEPTH} products each, medians of {ROUNDS}")
    print(f"{'':14} {'us per query':>14}")
    print(f"{'competition':14} {mine * 1e6:14.2f}   (all rows: {mine * queries:.2f} s)")
    print(f"{'scikit-learn':14} {peer * 1e6:14.2f}")
    print(f"{'ratio':14} {peer / mine:14.1f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2_600_000)
