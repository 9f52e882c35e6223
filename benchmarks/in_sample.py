"""How often `comp member add` tells outputs of fitted rows from held-out ones.

Several learners are trained on features of text, out-of-fold (honest) and on all training rows (in-sample), over random
halves of the queries; beside them, members that know the labels of all rows with an error, the same on training and
test rows. Run it by `python -m benchmarks.in_sample WORKSPACE`, where `lexical` is complete.
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from competition.core.arrays import Array, Codes
from competition.core.workspace import Workspace
from competition.pipeline.steps import Pipeline
from competition.scoring.in_sample import InSampleTest, Side, check_in_sample

DRAWS = 4  # of halves of the queries, per learner
FOLDS = 5
ERRORS = (0.15, 0.3, 0.6)  # deviations of the gain that members who know the labels are off by
MEMORISED = 0.2  # more of the variance of the labels that fitted outputs explain than held-out ones


@dataclass(frozen=True)
class Case:
    """A member and the test of its outputs."""

    learner: str
    honest: bool
    of_test: str  # where its test outputs come from
    explained: float  # the squared correlation of its outputs with the labels of training rows
    test: InSampleTest


def learners(seed: int) -> dict[str, Callable[[], Any]]:
    """Return makers of regressors, from timid to memorising."""
    from lightgbm import LGBMRegressor
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.linear_model import Ridge
    from sklearn.neighbors import KNeighborsRegressor
    from sklearn.neural_network import MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    trees = {"verbose": -1, "n_jobs": 1, "random_state": seed}
    forest = {"n_estimators": 15, "max_features": 0.2, "n_jobs": 1, "random_state": seed}

    def network(units: int, epochs: int, decay: float = 1e-4, stops: bool = False) -> Any:
        return MLPRegressor(
            hidden_layer_sizes=(units,),
            max_iter=epochs,
            alpha=decay,
            early_stopping=stops,
            random_state=seed,
        )

    scaled: dict[str, Callable[[], Any]] = {
        "network": lambda: network(64, 20),
        "network, long": lambda: network(64, 50),
        "network, wide": lambda: network(256, 15),
        "network, early stop": lambda: network(64, 40, stops=True),
        "network, decay": lambda: network(64, 40, 30.0),
        "1 neighbour": lambda: KNeighborsRegressor(1),
        "5 neighbours": lambda: KNeighborsRegressor(5),
        "5, by distance": lambda: KNeighborsRegressor(5, weights="distance"),
        "ridge": lambda: Ridge(10.0),
    }
    return {
        "trees 50": lambda: LGBMRegressor(n_estimators=50, num_leaves=15, **trees),
        "trees 150": lambda: LGBMRegressor(n_estimators=150, num_leaves=31, **trees),
        "one tree": lambda: LGBMRegressor(
            n_estimators=1, learning_rate=1.0, num_leaves=200, min_child_samples=2, **trees
        ),
        "forest": lambda: RandomForestRegressor(min_samples_leaf=3, **forest),
        "forest, full": lambda: RandomForestRegressor(**forest),
        **{
            name: lambda make=make: make_pipeline(StandardScaler(), make())
            for name, make in scaled.items()
        },
    }


def cases(workspace: Workspace, draws: int) -> Iterator[Case]:
    """Yield members and the tests of their outputs."""
    pipeline = Pipeline(workspace)
    tables = pipeline.tables
    examples = tables.examples[
        tables.examples["label"].notna() | (tables.examples["split"] == "test")
    ]
    features = np.nan_to_num(tables.text_features.loc[examples["example_id"]].to_numpy(np.float64))
    kind = pipeline.plan.contest.kind("gain")
    gain = kind.numeric_target(examples)
    fold = tables.fold_of_rows("five").loc[examples.index].to_numpy()
    run = tables.read_run(pipeline.plan.run("lexical"))
    query = examples["query_id"].to_numpy(np.int64)
    is_train = (examples["split"] == "train").to_numpy()

    reference = np.empty(len(examples))
    for rows, outputs in ((is_train, run.held_out), (~is_train, run.test)):
        values = run.kind.values(outputs.set_index("example_id").loc[examples["example_id"][rows]])
        reference[rows] = kind.labels.expected_gain(values)

    for draw in range(draws):
        rng = np.random.default_rng(draw)
        drawn = np.isin(query, rng.permutation(np.unique(query))[::2])
        train, test = np.flatnonzero(drawn & is_train), np.flatnonzero(drawn & ~is_train)

        def case(
            name: str,
            honest: bool,
            of_test: str,
            outputs: Array,
            on_test: Array,
            train: Codes = train,
            test: Codes = test,
        ) -> Case:
            one, other = (
                Side(each[:, None], query[rows], reference[rows][:, None], labels, features[rows])
                for each, rows, labels in (
                    (outputs, train, gain[train][:, None]),
                    (on_test, test, None),
                )
            )
            explained = float(np.corrcoef(outputs, gain[train])[0, 1]) ** 2
            return Case(name, honest, of_test, explained, check_in_sample(one, other))

        for name, make in learners(draw).items():
            held_out, fitted = np.empty(len(train)), np.empty(len(train))
            tests = []
            for k in range(FOLDS):
                left, seen = fold[train] == k, fold[train] == (k + 1) % FOLDS
                model = make().fit(features[train[~left]], gain[train[~left]])
                held_out[left] = model.predict(features[train[left]])
                fitted[seen] = model.predict(features[train[seen]])
                tests.append(model.predict(features[test]))
            whole = make().fit(features[train], gain[train])
            mean, refitted = np.mean(tests, axis=0), whole.predict(features[test])
            of_whole = whole.predict(features[train])

            yield case(name, True, "mean", held_out, mean)
            yield case(name, True, "refitted", held_out, refitted)
            yield case(name, False, "refitted", of_whole, refitted)
            yield case(name, False, "mean", of_whole, mean)
            yield case(name, False, "mean, other folds", fitted, mean)

        # What no learner of so few rows can be: a member far better than `lexical`.
        for error in ERRORS:
            one, *others = gain + rng.normal(0, error, (1 + FOLDS, len(gain)))
            name = f"labels ± {error}"
            yield case(name, True, "mean", one[train], np.mean(others, axis=0)[test])
            yield case(name, True, "refitted", one[train], one[test])


def report(results: list[Case]) -> None:
    """Print the rates and the ranges of the ratios."""
    names = dict.fromkeys(each.learner for each in results)
    explained = {
        (name, honest): np.mean(
            [e.explained for e in results if e.learner == name and e.honest == honest] or [0.0]
        )
        for name in names
        for honest in (True, False)
    }
    memorise = [
        name for name in names if explained[name, False] - explained[name, True] > MEMORISED
    ]
    for honest in (True, False):
        for name in names:
            of = [each for each in results if each.learner == name and each.honest == honest]
            if not of:
                continue
            tests = [each.test for each in of]
            near = [test.near.ratio for test in tests if test.near is not None]
            ratios = [test.ratio for test in tests]
            flagged = sum(test.flagged for test in tests)
            first = sum(test.exceeds for test in tests)
            print(
                f"{'out-of-fold' if honest else 'in-sample'} | {name} | "
                f"{explained[name, honest]:.2f} | {flagged} of {len(of)} ({first} by all rows) | "
                f"{min(ratios):.2f} to {max(ratios):.2f} | {min(near):.2f} to {max(near):.2f}"
            )

    honest_ones = [each.test for each in results if each.honest]
    fitted_ones = [each.test for each in results if not each.honest and each.learner in memorise]
    for said, tests in (("out-of-fold", honest_ones), ("in-sample, memorising", fitted_ones)):
        flagged = sum(test.flagged for test in tests)
        first = sum(test.exceeds for test in tests)
        print(f"{said}: {flagged} of {len(tests)}, {first} by all rows alone")


def main() -> None:
    """Test the members of a workspace."""
    report(list(cases(Workspace.open(Path(sys.argv[1])), DRAWS)))


if __name__ == "__main__":
    main()
