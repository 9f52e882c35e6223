"""How often `comp compare` says that two recipes differ: where they do not, and where one is better by .02.

Outputs are simulated, nothing is trained: each query has a score, to which a recipe adds an effect of its own, each
training one that all queries of its fold share, and one of its own for each query. The first varies between recipes,
the others between seeds. Run it by `python -m benchmarks.comparisons`.
"""

import numpy as np
from scipy import stats

from competition.core.arrays import Array, Codes
from competition.scoring import metrics
from competition.scoring.comparison import Comparison, compare_seeds

QUERIES, FOLDS = 1_000, 5
EFFECT = 0.02


def simulate(
    rng: np.random.Generator,
    seeds: int,
    training: float,
    effect: float = 0.0,
    recipe: float = 0.0,
    queries: int = QUERIES,
    single: float = 0.1,
) -> Comparison:
    """Compare two simulated recipes.

    Args:
        rng: draws all noise.
        seeds: trainings of each fold.
        training: the standard deviation of what all queries of a training share.
        effect: by how much the first recipe is better.
        recipe: the standard deviation over queries of that effect.
        queries: their number.
        single: the standard deviation of what a training does to a single query.
    """
    fold = rng.integers(0, FOLDS, queries)
    base = rng.beta(4, 1.5, queries)
    own = effect + rng.normal(0, recipe, queries) if recipe else np.full(queries, effect)

    def runs(shift: Array) -> list[Array]:
        shared = rng.normal(0, training, (seeds, FOLDS))
        noise = rng.normal(0, single, (seeds, queries))
        scores = base + shift + shared[:, fold] + noise
        return [np.column_stack([each, np.ones(queries)]) for each in scores]

    return compare_seeds(runs(own), runs(np.zeros(queries)), _codes(fold), metrics.mean)


def _codes(fold: Codes) -> Codes:
    return np.asarray(fold, np.int64)


def rate(pairs: int, seed: int = 0, **options: float) -> tuple[float, float]:
    """Return the share of pairs with a verdict, and the share if queries were the only noise."""
    rng = np.random.default_rng(seed)
    results = [simulate(rng, **options) for _ in range(pairs)]  # type: ignore[arg-type]
    return (
        float(np.mean([each.differs for each in results])),
        float(np.mean([each.over_queries.differs for each in results])),
    )


def borrowed_rate(
    pairs: int, training: float, believed: float, effect: float, recipe: float
) -> float:
    """Return the share of pairs of one seed with a verdict if the noise of trainings were partly believed.

    The variance between the folds and the one that noise of `believed` would give are averaged by degrees of freedom,
    as many of the second as of the first (moderated variances, Smyth 2004): four of either.
    """
    rng = np.random.default_rng(0)
    verdicts = []
    for _ in range(pairs):
        result = simulate(rng, 1, training, effect, recipe)
        # What queries alone give, of an interval that is nearly normal.
        of_queries = ((result.over_queries.high - result.over_queries.low) / (2 * 1.96)) ** 2
        of_belief = of_queries + 2 * believed**2 / FOLDS
        error = np.sqrt((result.error**2 + of_belief) / 2)
        reach = max(stats.t.ppf(0.975, 2 * result.freedom) * error, 1.96 * np.sqrt(of_queries))
        verdicts.append(abs(result.difference.value) > reach)
    return float(np.mean(verdicts))


def main() -> None:
    """Print the rates."""
    print("seeds | of trainings | A/A | over queries alone | +.02 found")
    for seeds in (1, 2, 3):
        for training in (0.0, 0.003, 0.006, 0.012):
            same, naive = rate(400, seeds=seeds, training=training)
            found, _ = rate(200, seeds=seeds, training=training, effect=EFFECT, recipe=0.05)
            print(f"{seeds} | {training} | {same:.1%} | {naive:.1%} | {found:.0%}")

    print("of trainings | believed | A/A | +.02 found")
    for training, believed in ((0.006, 0.006), (0.006, 0.003), (0.012, 0.012), (0.012, 0.006)):
        same = borrowed_rate(1_000, training, believed, 0.0, 0.0)
        found = borrowed_rate(400, training, believed, EFFECT, 0.05)
        print(f"{training} | {believed} | {same:.1%} | {found:.0%}")


if __name__ == "__main__":
    main()
