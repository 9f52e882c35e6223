"""How often `comp member add` tells outputs of fitted rows from held-out ones.

Several learners are trained on features of text, out-of-fold (honest) and on all training rows (in-sample), over random
halves of the queries. Run it by `python -m benchmarks.in_sample WORKSPACE`, where `lexical` is complete.
"""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from competition.core.arrays import Array
from competition.core.arrays import Codes as Rows
from competition.core.workspace import Workspace
from competition.pipeline.steps import Pipeline
from competition.scoring.in_sample import InSampleTest, Side, check_in_sample

DRAWS = 3  # of halves of the queries, per learner


def learners(seed: int) -> dict[str, Callable[[], Any]]:
    """Return makers of regressors, from timid to memorising."""
    from lightgbm import LGBMRegressor
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.neural_network import MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def trees(n: int, leaves: int) -> Callable[[], Any]:
        return lambda: LGBMRegressor(
            n_estimators=n, num_leaves=leaves, verbose=-1, n_jobs=1, random_state=seed
        )

    forest = {"max_features": 0.3, "min_samples_leaf": 3, "random_state": seed}
    network = {"hidden_layer_sizes": (64,), "max_iter": 20, "random_state": seed}
    return {
        "trees 50": trees(50, 15),
        "trees 100": trees(100, 31),
        "trees 200": trees(200, 31),
        "forest": lambda: RandomForestRegressor(20, n_jobs=1, **forest),
        "network": lambda: make_pipeline(StandardScaler(), MLPRegressor(**network)),
    }


def cases(workspace: Workspace, draws: int) -> Iterator[tuple[str, bool, InSampleTest]]:
    """Yield a learner, whether it is honest, and the test of its outputs."""
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
        for name, make in learners(draw).items():
            held_out = np.empty(len(examples))
            tests: list[Array] = []
            for k in range(5):
                left = train[fold[train] == k]
                model = make().fit(features[train[fold[train] != k]], gain[train[fold[train] != k]])
                held_out[left] = model.predict(features[left])
                tests.append(model.predict(features[test]))
            whole = make().fit(features[train], gain[train])

            def tested(
                outputs: Array, of_test: Array, train: Rows = train, test: Rows = test
            ) -> InSampleTest:
                sides = [
                    Side(each[:, None], query[rows], reference[rows][:, None], labels)
                    for each, rows, labels in (
                        (outputs, train, gain[train][:, None]),
                        (of_test, test, None),
                    )
                ]
                return check_in_sample(sides[0], sides[1])

            mean = np.mean(tests, axis=0)
            refitted = whole.predict(features[test])
            yield name, True, tested(held_out[train], mean)
            yield name, True, tested(held_out[train], refitted)
            yield name, False, tested(whole.predict(features[train]), refitted)
            yield name, False, tested(whole.predict(features[train]), mean)


def main() -> None:
    """Print the rates and the ranges of the ratio."""
    results = list(cases(Workspace.open(Path(sys.argv[1])), DRAWS))
    for honest in (True, False):
        for name in dict.fromkeys(each for each, *_ in results):
            of = [test for each, kind, test in results if each == name and kind == honest]
            ratios = [test.ratio for test in of]
            flagged = sum(test.flagged for test in of)
            print(
                f"{'honest' if honest else 'in-sample':9} {name:10} flagged {flagged} of {len(of)}, "
                f"ratio {min(ratios):.2f} to {max(ratios):.2f}"
            )
        of_kind = [test for _, kind, test in results if kind == honest]
        print(f"all: {sum(test.flagged for test in of_kind)} of {len(of_kind)}")


if __name__ == "__main__":
    main()
