"""What a student takes over from its teacher: nothing from a shuffled one, more from a perfect one on more rows.

Rows are generated, students are `lexical`, so that no training takes longer than a second. Run it by
`python -m benchmarks.teachers`.
"""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from typer.testing import CliRunner

from competition.cli import app
from competition.cli.options import stated_contest
from competition.core.workspace import Workspace
from competition.data import store, synthetic
from competition.pipeline.steps import Pipeline
from competition.scoring import evaluation
from competition.scoring.comparison import Comparison, compare_seeds
from competition.scoring.intervals import Estimate

SETTINGS = """
recipes = ["lexical"]
noise_run = ""
ensembles = []
[submission]
task2 = "lexical"
[overrides]
n_estimators = 20
"""
TASK = "task2"


def make(folder: Path, queries: int, seed: int) -> Workspace:
    """Make a workspace of generated rows."""
    folder.mkdir(parents=True)
    (folder / "competition.toml").write_text(SETTINGS)
    (folder / "recipes").mkdir()
    space = Workspace.open(folder)
    examples, products, _ = synthetic.make(queries, noise=0.05, seed=seed)
    store.save(space, stated_contest(space), examples, products, "generated")
    return space


def comp(space: Workspace, *arguments: object) -> None:
    """Run a command on a workspace."""
    result = CliRunner().invoke(app, [*map(str, arguments), "-w", str(space.root)])
    if result.exit_code:
        raise RuntimeError(result.output)


def shuffled_teacher(folder: Path, seed: int) -> Estimate:
    """Return how much above the most frequent class a student scores whose targets are those of other rows."""
    space = make(folder, 60, seed)
    contest = Pipeline(space).plan.contest
    examples = pd.read_parquet(space.examples)
    kind = contest.kind("classes")
    codes = contest.labels.codes(examples["label"])
    rng = np.random.default_rng(seed)
    outputs = np.eye(len(contest.labels))[rng.permutation(codes)]
    frame = pd.DataFrame(outputs, columns=list(kind.outputs))
    frame.insert(0, "example_id", examples["example_id"])
    frame.to_csv(folder / "shuffled.csv", index=False)

    comp(
        space,
        "member",
        "add",
        "shuffled",
        folder / "shuffled.csv",
        "--kind",
        "classes",
        "--scheme",
        "five",
    )
    comp(space, "train", "--recipe", "shuffled")
    (space.recipe_folder / "student.toml").write_text(
        'model = "lexical"\ndistill_from = "shuffled"\ndistill_weight = 1.0\n'
    )
    comp(space, "train", "--recipe", "student")
    pipeline = Pipeline(space)
    run = pipeline.tables.read_run(pipeline.plan.run("student"))
    task = pipeline.plan.contest.tasks[TASK]
    train = examples[examples["split"] == "train"]
    counts = evaluation.count_outputs(task, run.kind, run.held_out, train)
    _, trivial = evaluation.GradedRows(task, train).count_trivial_baseline()
    return evaluation.estimate_difference(counts, trivial)


def perfect_teacher(folder: Path, seed: int, queries: int = 120) -> Comparison:
    """Compare a student of labels, and of a perfect teacher on five times as many rows, with one of labels alone."""
    space = make(folder, queries, seed)
    contest = Pipeline(space).plan.contest
    examples, products, _ = synthetic.make(5 * queries, noise=0.0, seed=seed + 1_000)
    kind = contest.kind("classes")
    truth = np.eye(len(contest.labels))[contest.labels.codes(examples["label"])]
    pairs = examples[["query", "locale", "product_id"]].merge(
        products, on=["product_id", "locale"], how="left"
    )
    pairs[list(kind.outputs)] = truth
    pairs.to_parquet(folder / "pairs.parquet")

    comp(space, "data", "import-unlabelled", folder / "pairs.parquet")
    comp(space, "train", "--recipe", "lexical")
    (space.recipe_folder / "student.toml").write_text(
        'model = "lexical"\ndistill_from = "@unlabelled"\ndistill_rows = ["unlabelled"]\n'
    )
    comp(space, "train", "--recipe", "student")

    pipeline = Pipeline(space)
    task = pipeline.plan.contest.tasks[TASK]
    rows = pipeline.tables.examples
    train = rows[rows["split"] == "train"]
    runs = [pipeline.tables.read_run(pipeline.plan.run(name)) for name in ("student", "lexical")]
    counts = [evaluation.count_outputs(task, run.kind, run.held_out, train) for run in runs]
    of_rows = pipeline.tables.fold_of_training("five")
    fold = of_rows.loc[train["example_id"]].set_axis(train["query_id"])
    fold = fold[~fold.index.duplicated()].reindex(counts[0].queries)
    return compare_seeds(
        [counts[0].values], [counts[1].values], fold.to_numpy(np.int64), task.metric.statistic
    )


def main() -> None:
    """Print the intervals."""
    with tempfile.TemporaryDirectory() as place:
        above = [shuffled_teacher(Path(place) / f"shuffled-{seed}", seed) for seed in range(20)]
        chance = sum(each.low <= 0 for each in above)
        print(f"shuffled teacher: {chance} of 20 students are not above the most frequent class")
        print(f"  from {min(e.value for e in above):+.4f} to {max(e.value for e in above):+.4f}")
        for seed in range(3):
            found = perfect_teacher(Path(place) / f"perfect-{seed}", seed)
            print(f"perfect teacher on five times as many rows: {found.difference:+}")


if __name__ == "__main__":
    main()
