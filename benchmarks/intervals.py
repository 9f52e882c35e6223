"""Intervals of many runs over many queries: each run's by group, its differences, and all pairs.

    python -m benchmarks.intervals [--queries 130000] [--runs 20]

Made-up counts of one ranking task, as `comp run` and `comp report` estimate them: six groups of
queries, differences to three other runs in the largest, and the paired matrix. Prints the seconds of
the processor and the peak memory.
"""

import argparse
import resource
import time

import numpy as np

from competition.scoring.intervals import bootstrap, paired_difference
from competition.scoring.metrics import mean

SHARES = (1.0, 0.75, 0.11, 0.14, 0.6, 0.9)  # of a group in all queries


def main() -> None:
    """Make counts, estimate, and print a line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=130_000)
    parser.add_argument("--runs", type=int, default=20)
    asked = parser.parse_args()
    rng = np.random.default_rng(0)
    hard = rng.beta(8, 2, asked.queries)
    ones = np.ones(asked.queries)
    runs = [
        np.column_stack([(hard + rng.normal(0, 0.03, asked.queries)).clip(0, 1), ones])
        for _ in range(asked.runs)
    ]
    groups = [rng.random(asked.queries) < share for share in SHARES]

    begin = time.process_time()
    for values in runs:
        for members in groups:
            bootstrap(values[members], mean, within=(0, 1))
    for values in runs[3:]:
        for other in runs[:3]:
            paired_difference(values, other, mean)
    scores = time.process_time() - begin
    pairs = 0
    for i, values in enumerate(runs):
        for other in runs[:i]:
            paired_difference(values, other, mean)
            pairs += 1
    seconds = time.process_time() - begin

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)
    print("| queries | runs | intervals and differences s | with all pairs s | pairs | peak GiB |")
    print("|---|---|---|---|---|---|")
    print(
        f"| {asked.queries:,} | {asked.runs} | {scores:.1f} | {seconds:.1f} | {pairs} | {peak:.2f} |"
    )


if __name__ == "__main__":
    main()
