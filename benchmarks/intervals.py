"""Intervals of many runs over many queries: each run's by group, its differences, and all pairs.

    python -m benchmarks.intervals [--queries 130000] [--runs 20]

Made-up counts of one ranking task, as `comp run` and `comp report` estimate them: six groups of
queries, differences to three other runs in the largest, and the paired matrix. Prints the seconds of
the processor and the peak memory. A second table sets intervals of blocks of queries, see
`resampling.resample`, beside those of the queries themselves, over SAMPLES made-up samples.
"""

import argparse
import resource
import time

import numpy as np

from competition.scoring import resampling
from competition.scoring.intervals import bootstrap, paired_difference
from competition.scoring.metrics import mean

SHARES = (1.0, 0.75, 0.11, 0.14, 0.6, 0.9)  # of a group in all queries
SAMPLES = 12


def compare_blocks(queries: int) -> None:
    """Print how far ends of intervals of blocks are from those of queries, and these from those of another seed."""
    # (samples, ways to draw, score and difference, ends)
    ends = np.empty((SAMPLES, 3, 2, 2))
    huge = resampling.HUGE
    for sample in range(SAMPLES):
        rng = np.random.default_rng(sample)
        score = rng.beta(8, 2, queries)
        other = (score + rng.normal(0, 0.03, queries)).clip(0, 1)
        one, two = (np.column_stack([each, np.ones(queries)]) for each in (score, other))
        for way, (least, seed) in enumerate(((queries + 1, 0), (queries + 1, 1), (huge, 0))):
            resampling.HUGE = least
            found = bootstrap(one, mean, seed), paired_difference(one, two, mean, seed)
            ends[sample, way] = [(each.low, each.high) for each in found]
    resampling.HUGE = huge

    width = (ends[:, :, :, 1] - ends[:, :, :, 0]).mean(axis=0)  # (ways, 2)
    apart = ends - ends[:, :1]  # from the ends of queries by the first seed
    error = np.sqrt((apart**2).mean(axis=(0, 3))) / width[0]  # (ways, 2)
    print(
        "| drawn | width of a score | of a difference | ends apart, in widths | of a difference |"
    )
    print("|---|---|---|---|---|")
    for way, name in enumerate(("queries", "queries, another seed", "blocks")):
        cells = [f"{each:.6f}" for each in width[way]] + [f"{each:.3f}" for each in error[way]]
        print(f"| {name} | {' | '.join(cells)} |")


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
        f"| {asked.queries:,} | {asked.runs} | {scores:.1f} | {seconds:.1f} | {pairs} | {peak:.2f} |\n"
    )
    compare_blocks(asked.queries)


if __name__ == "__main__":
    main()
