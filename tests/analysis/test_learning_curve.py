"""`comp curve`: its table against plain arithmetic on the files that it leaves, and sizes that know no more labels."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from competition.analysis.learning_curve import CurvePoint, LearningCurve, describe_points
from competition.config.base_recipe import FoldRecipe
from competition.config.recipe import EnsembleRecipe
from competition.core.workspace import Workspace
from competition.data import folds, store
from competition.pipeline.execute import execute, in_order
from competition.scoring.intervals import Estimate
from competition.scoring.metric_table import find_metric
from tests.conftest import comp, make_workspace, refused
from tests.esci import CONTEST, LABELS

pytestmark = pytest.mark.slow

SETTINGS = """
preset = "tiny"
recipes = ["lexical", "c1"]
noise_run = ""
[overrides]
scheme = "five"
max_length = 16
epochs = 1
n_estimators = 5
adversary = "none"
r_drop = 0.0
"""
AVERAGED = SETTINGS + 'method = "paper"\n'  # ensembles that are fitted at once
ALONE = SETTINGS.replace(', "c1"', "")
CLASSES = [f"p_{label}" for label in LABELS]
FEW = 30  # of 48 training queries


@pytest.fixture(scope="module")
def curved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, str]:
    """A workspace in which `comp curve` has been done, and what it printed. Tests leave it as it is."""
    workspace = make_workspace(tmp_path_factory.mktemp("curved") / "w", settings=AVERAGED)
    result = comp("curve", "--queries", str(FEW), "-w", workspace.root)
    assert result.exit_code == 0, result.output
    return workspace, result.output


def outputs(workspace: Workspace, run: str) -> pd.DataFrame:
    """The held-out outputs of all folds, by example_id."""
    parts = [pd.read_parquet(workspace.oof_fold(run, fold)) for fold in range(5)]
    return pd.concat(parts).set_index("example_id").sort_index()


def share_right(workspace: Workspace, run: str) -> float:
    """How many of the held-out rows have the label that is most probable: micro-F1."""
    said = outputs(workspace, run)
    label = store.load_examples(workspace).set_index("example_id").loc[said.index, "label"]
    return float((said[CLASSES].idxmax(axis=1).str.removeprefix("p_") == label).mean())


def test_the_table_is_what_the_files_say(curved: tuple[Workspace, str]) -> None:
    workspace, printed = curved
    table = pd.read_csv(workspace.curve("blend"))
    examples = store.load_examples(workspace)
    few = folds.first_queries(examples, FEW)
    all_rows = (examples["split"] == "train").sum()
    sizes = table[["train_queries", "train_rows"]].drop_duplicates()
    assert sizes.to_numpy().tolist() == [[FEW, few.sum()], [48, all_rows]]
    task2 = table[table["task"] == "task2"].set_index(["train_queries", "model"])
    runs = {
        (FEW, "lexical"): "curve-lexical-30",
        (FEW, "c1"): "curve-c1-30",
        (FEW, "blend"): "curve-blend-30-task2",
        **{(48, model): model for model in ("lexical", "c1")},
        (48, "blend"): "blend-task2",
    }
    assert set(task2.index) == set(runs)
    score = {key: share_right(workspace, run) for key, run in runs.items()}
    for (size, model), row in task2.iterrows():  # type: ignore[misc]
        assert row["score"] == pytest.approx(score[size, model], abs=1e-12)
        assert row["queries"] == 48
        above, gained = (
            score[size, model] - score[size, "lexical"],
            score[size, model] - score[FEW, model],
        )
        assert row["above_floor"] == pytest.approx(
            above if model != "lexical" else np.nan, abs=1e-12, nan_ok=True
        )
        assert row["gained"] == pytest.approx(
            gained if size == 48 else np.nan, abs=1e-12, nan_ok=True
        )
        assert f"{row['score']:.4f} [{row['score_low']:.4f}" in printed
    assert [
        line.split(":")[0]
        for line in printed.splitlines()
        if "training queries" in line and " is " in line
    ] == [
        "task1",
        "task2",
        "task3",
    ]


def test_every_size_is_scored_on_the_same_rows(curved: tuple[Workspace, str]) -> None:
    workspace, _ = curved
    for few, whole in (
        ("curve-c1-30", "c1"),
        ("curve-lexical-30", "lexical"),
        ("curve-blend-30-task1", "blend-task1"),
    ):
        one, other = outputs(workspace, few), outputs(workspace, whole)
        assert one.index.equals(other.index)
        assert not np.allclose(one, other)


def test_a_second_call_trains_nothing_and_says_the_same(curved: tuple[Workspace, str]) -> None:
    workspace, printed = curved
    paths = [workspace.curve("blend"), workspace.curve("blend").with_suffix(".svg")]
    before = [path.read_bytes() for path in paths]
    result = comp("curve", "--queries", str(FEW), "-w", workspace.root)
    _, tables = result.output.split("\n", 1)  # behind how long it took
    assert "train " not in tables
    assert tables in printed
    assert [path.read_bytes() for path in paths] == before
    picture = before[1].decode()
    assert picture.startswith("<?xml")
    assert all(word in picture for word in ("task1, nDCG", "lexical", "blend", "48"))


def test_what_needs_no_curve_is_not_trained_for_it(curved: tuple[Workspace, str]) -> None:
    workspace, _ = curved
    result = comp("run", "-w", workspace.root)
    assert result.exit_code == 0
    assert "train " not in result.output
    assert "stack " not in result.output


@pytest.mark.parametrize("inside", [False, True])
def test_a_size_knows_the_labels_of_its_own_queries_alone(inside: bool, tmp_path: Path) -> None:
    """Members and ensemble are the same where the labels of all other queries are different ones, and only there."""
    made = []
    for name in ("one", "other"):
        workspace = make_workspace(tmp_path / name, settings=ALONE)
        examples = store.load_examples(workspace)
        if name == "other":
            changed = (examples["split"] == "train") & (
                folds.first_queries(examples, FEW) == inside
            )
            wrong = examples["label"].map(dict(zip(LABELS, (*LABELS[1:], LABELS[0]), strict=True)))
            examples["label"] = examples["label"].mask(changed, wrong)
            examples["substitute"] = (examples["label"] == "substitute").astype("boolean")
            store.save(workspace, CONTEST, examples, store.load_products(workspace), "test")
        curve = LearningCurve.plan(workspace, [FEW])
        pipeline = curve.pipeline
        steps = pipeline.run_steps("curve-lexical-30")
        steps += pipeline.ensemble_steps("curve-blend-30", ["task2"])
        execute(workspace, in_order(steps))
        made.append(
            {run: outputs(workspace, run) for run in ("curve-lexical-30", "curve-blend-30-task2")}
        )
    for run, frame in made[0].items():
        assert frame.equals(made[1][run]) is not inside, run


def test_what_others_know_of_labels_is_left_out(tmp_path: Path) -> None:
    settings = SETTINGS.replace('"c1"]', '"c1", "r2"]')
    workspace = make_workspace(tmp_path / "w", settings=settings)
    curve = LearningCurve.plan(workspace, [FEW])
    assert [size.recipes["r2"] for size in curve.sizes] == [
        "curve-r2-30",
        "curve-r2-all",
    ]  # r2 obeys an audit
    assert [size.recipes["c1"] for size in curve.sizes] == ["curve-c1-30", "c1"]
    for size in curve.sizes:
        recipe = curve.pipeline.recipes.run(size.recipes["r2"])
        assert isinstance(recipe, FoldRecipe)
        assert recipe.noise_from == ""
        blend = curve.pipeline.recipes.run(size.recipes["blend"])
        assert isinstance(blend, EnsembleRecipe)
        assert blend.members == tuple(size.recipes[model] for model in ("lexical", "c1", "r2"))
    assert not any(step.name.startswith("audit") for step in curve.steps())


@pytest.mark.parametrize(("queries", "sizes"), [(300, [60, 120, 240]), (1_300, [250, 500, 1_040])])
def test_sizes_unless_named(queries: int, sizes: list[int], tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "w", queries, ALONE)
    assert [size.queries for size in LearningCurve.plan(workspace).sizes] == sizes


def test_what_gives_no_curve_is_refused(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "w", settings=ALONE)

    def complaint(settings: str, *arguments: str) -> str:
        workspace.settings_file.write_text(settings, encoding="utf-8")
        return refused("curve", *arguments, "-w", workspace.root)

    sentence = complaint(ALONE, "--queries", "48", "--queries", "50")
    assert sentence == "The data have 48 training queries: name fewer, such as --queries 24."
    assert (
        "The first 20 training queries leave fold 3 without a labelled row of task1: name more."
        in complaint(ALONE, "--queries", "20")
    )
    assert "names no lexical recipe" in complaint(ALONE.replace('"lexical"', '"c1"'))
    assert "names no ensemble" in complaint("ensembles = []\n[submission]\ntask2 = 'lexical'")
    assert "learns from 40 training queries already" in complaint(ALONE + "train_queries = 40\n")
    assert "'lexical' is not an ensemble" in complaint(ALONE, "lexical", "--queries", "30")


# --- what it means
# -----------------------------------------------------------------------------------------------


def points(model: str, *above: float) -> list[CurvePoint]:
    """A model at 10, 20, ... training queries; a difference to the floor is significant from 0.02 on."""
    return [
        CurvePoint(
            "task2",
            "all",
            model,
            10 * (i + 1),
            100,
            Estimate(0.5 + value, 0.4, 0.6, 9),
            None if model == "lexical" else Estimate(value, value - 0.015, value + 0.015, 9),
            Estimate(0.01, -0.01, 0.03, 9) if i else None,
        )
        for i, value in enumerate(above)
    ]


@pytest.mark.parametrize(
    ("above", "said"),
    [
        (
            (-0.05, 0.0, 0.04),
            "c1 is worse than lexical with 10 training queries, "
            "from 20 on not significantly different, from 30 on better",
        ),
        ((0.0, 0.01, 0.0), "c1 is not significantly different from lexical at every size"),
        ((-0.05, -0.04, -0.03), "c1 is worse than lexical at every size"),
        (
            (0.03, 0.04, 0.0),
            "c1 is better than lexical with 10 training queries, from 30 on not significantly different",
        ),
    ],
)
def test_where_a_model_stands(above: tuple[float, ...], said: str) -> None:
    lines = [*points("lexical", 0, 0, 0), *points("c1", *above)]
    found = describe_points(lines, "lexical", find_metric("micro-F1"))
    assert found == (
        f"task2: {said}; from 20 to 30 training queries micro-F1 changes by "
        "lexical +0.0100 [-0.0100, +0.0300], c1 +0.0100 [-0.0100, +0.0300]."
    )
