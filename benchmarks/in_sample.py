"""How often `comp member add` tells outputs of fitted rows from held-out ones.

Learners are trained on random queries, out-of-fold (honest) and on all training rows (in-sample); beside them, members
that know the labels of all rows with an error, the same on training and test rows. Run it by
`python -m benchmarks.in_sample WORKSPACE [DRAW ...]`, where `lexical` is complete; other draws are other queries and
seeds.
"""

import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.in_sample_learners import Texts, learners
from competition.core.arrays import Array, Codes
from competition.core.workspace import Workspace
from competition.pipeline.steps import Pipeline
from competition.scoring.in_sample import InSampleTest, Side, check_in_sample
from competition.scoring.task import Kind

ROWS = 1_200  # of training, and of test rows, or all where there are fewer: whole queries
FOLDS = 5
ERRORS = (0.15, 0.3, 0.6)  # deviations of the gain that members who know the labels are off by
# A score misleads where fitted outputs explain that much more of the variance of the gains than held-out ones of the
# same learner do.
FLATTERED = 0.2


@dataclass(frozen=True)
class Case:
    """A member and the test of its outputs."""

    learner: str
    hard: bool
    honest: bool
    explained: float  # the squared correlation of its expected gains with those of training rows
    flattered: bool
    test: InSampleTest


@dataclass(frozen=True)
class Outputs:
    """Outputs of a learner, `(rows, outputs)` each, and where those of training and of test rows come from."""

    honest: bool
    of_train: Array
    of_test: Array


def ways(models: Array, fold: Codes) -> Iterator[Outputs]:
    """Yield what may be handed in of the models of five folds and of all rows.

    Args:
        models: outputs of the training rows, then of the test rows, `(6, rows, outputs)`.
        fold: of each training row.
    """
    rows = np.arange(len(fold))
    of_train, of_test = models[:, rows], models[:, len(fold) :]
    mean, refitted = of_test[:FOLDS].mean(axis=0), of_test[FOLDS]

    held_out = of_train[fold, rows]
    yield Outputs(True, held_out, mean)
    yield Outputs(True, held_out, refitted)
    # One model for everything, the mean of the folds' models for everything, or folds that are mixed up.
    yield Outputs(False, of_train[FOLDS], refitted)
    yield Outputs(False, of_train[FOLDS], mean)
    yield Outputs(False, of_train[:FOLDS].mean(axis=0), mean)
    yield Outputs(False, of_train[(fold + 1) % FOLDS, rows], mean)


class Members:
    """The members of a workspace, and the tests of their outputs."""

    def __init__(self, workspace: Workspace) -> None:
        """Read the rows, and the outputs of `lexical`."""
        pipeline = Pipeline(workspace)
        tables = pipeline.tables
        self.texts = Texts(pipeline)
        self.examples = tables.examples
        self.contest = tables.contest
        self.query = self.examples["query_id"].to_numpy(np.int64)
        self.fold = tables.fold_of_rows("five").loc[self.examples.index].to_numpy()
        self.gain = np.asarray(self.contest.labels.gain(self.examples["label"]), np.float64)

        run = tables.read_run(pipeline.plan.run("lexical"))
        self.run_kind = run.kind
        held_out, test = (each.set_index("example_id") for each in (run.held_out, run.test))
        ids = self.examples["example_id"]
        self.reference = np.zeros((len(ids), len(run.kind.outputs)))
        for table in (held_out, test):
            known = ids.isin(table.index).to_numpy()
            self.reference[known] = run.kind.values(table.loc[ids[known]])

    def draw(self, seed: int) -> tuple[Codes, Codes]:
        """Return training rows and test rows; where there are none, a quarter of the queries is held back."""
        queries, code = np.unique(self.query, return_inverse=True)
        # The place of each row's query in a random order.
        place = np.argsort(np.random.default_rng(seed).permutation(len(queries)))[code]
        is_test = (self.examples["split"] == "test").to_numpy()
        labelled = self.examples["label"].notna().to_numpy() & ~is_test
        if not is_test.any():
            is_test = place < len(queries) // 4
            labelled &= ~is_test

        def first(rows: Codes) -> Codes:
            """Return the rows of the first queries."""
            of_row = place[rows]
            return np.asarray(rows[of_row <= np.sort(of_row)[: ROWS + 1][-1]])

        return first(np.flatnonzero(labelled)), first(np.flatnonzero(is_test))

    def test(self, kind: Kind, outputs: Outputs, train: Codes, test: Codes) -> InSampleTest:
        """Test outputs as `comp member add` does."""
        reference = kind.targets_from_classes(self.reference)
        labels = kind.hard_target(self.examples.iloc[train])
        features = self.texts.features
        return check_in_sample(
            Side(outputs.of_train, self.query[train], reference[train], labels, features[train]),
            Side(outputs.of_test, self.query[test], reference[test], None, features[test]),
        )

    def explained(self, kind: Kind, outputs: Array, train: Codes) -> float:
        """Return the squared correlation of the expected gains of outputs with the gains."""
        expected = kind.labels.expected_gain(outputs) if kind.is_classes else outputs[:, 0]
        if expected.std() == 0:
            return 0.0
        return max(0.0, float(np.corrcoef(expected, self.gain[train])[0, 1])) ** 2

    def cases(self, seed: int) -> Iterator[Case]:
        """Yield all members of one draw."""
        train, test = self.draw(seed)
        both = np.concatenate([train, test])
        for learner in learners(self.texts):
            kind = self.contest.kind(learner.kind)
            fits = [train[self.fold[train] != k] for k in range(FOLDS)] + [train]
            by_model = [learner.fit(rows, both, seed) for rows in fits]
            for name in by_model[0]:
                models = np.stack([each[name] for each in by_model])
                held_out = 0.0
                for outputs in ways(models, self.fold[train]):
                    explained = self.explained(kind, outputs.of_train, train)
                    held_out = explained if outputs.honest else held_out
                    flattered = explained - held_out > FLATTERED
                    result = self.test(kind, outputs, train, test)
                    yield Case(name, learner.hard, outputs.honest, explained, flattered, result)

        # What no learner of so few rows can be: a member far better than `lexical`.
        kind = self.contest.kind("gain")
        gain, rng = np.nan_to_num(self.gain), np.random.default_rng(seed)
        for error in ERRORS:
            one, *others = gain + rng.normal(0, error, (1 + FOLDS, len(gain)))
            for on_test in (one, np.mean(others, axis=0)):
                outputs = Outputs(True, one[train][:, None], on_test[test][:, None])
                explained = self.explained(kind, outputs.of_train, train)
                result = self.test(kind, outputs, train, test)
                yield Case(f"labels ± {error}", False, True, explained, False, result)


def report(results: list[Case]) -> None:
    """Print how many are flagged, by which statistic, and the ranges of these."""
    names = dict.fromkeys(each.learner for each in results)
    for name in names:
        of = [each for each in results if each.learner == name]
        honest = [each for each in of if each.honest]
        flattered = [each for each in of if each.flattered]
        fitted = [each.explained for each in of if not each.honest]
        shares = [np.mean([each.explained for each in honest]), np.mean(fitted or [np.nan])]
        print(
            f"| {name} | {shares[0]:.2f} | {shares[1]:.2f} | {_flagged(honest)} | {_flagged(flattered)} | "
            f"{_range(honest)} | {_range(flattered)} |",
        )

    totals: dict[str, Callable[[Case], bool]] = {
        "honest": lambda each: each.honest,
        "flattered, handed in by users": lambda each: each.flattered and not each.hard,
        "flattered, hard learners": lambda each: each.flattered and each.hard,
        "less flattered": lambda each: not each.honest and not each.flattered,
    }
    for title, belongs in totals.items():
        of = [each for each in results if belongs(each)]
        tests = [each.test for each in of]
        by = [
            sum(test.ratio.exceeds for test in tests),
            sum(test.loss is not None and test.loss.exceeds for test in tests),
            sum(test.near is not None and test.near.exceeds for test in tests),
        ]
        print(f"{title}: {_flagged(of)}; by ratio {by[0]}, by loss {by[1]}, by near rows {by[2]}")


def _flagged(cases: list[Case]) -> str:
    return f"{sum(each.test.flagged for each in cases)} of {len(cases)}" if cases else ""


def _range(cases: list[Case]) -> str:
    """Return the ranges of the ratio, the loss, and the ratio of near rows."""
    if not cases:
        return ""
    tests = [each.test for each in cases]
    parts = []
    for of in (
        [test.ratio.value for test in tests],
        [test.loss.value for test in tests if test.loss is not None],
        [test.near.value for test in tests if test.near is not None],
    ):
        values = [value for value in of if np.isfinite(value)]
        parts.append(f"{min(values):.2f} to {max(values):.2f}" if values else "-")
    return ", ".join(parts)


def main() -> None:
    """Test the members of a workspace."""
    warnings.simplefilter("ignore")  # networks that are stopped early say so
    members = Members(Workspace.open(Path(sys.argv[1])))
    draws = [int(each) for each in sys.argv[2:]] or [0]
    report([case for draw in draws for case in members.cases(draw)])


if __name__ == "__main__":
    main()
