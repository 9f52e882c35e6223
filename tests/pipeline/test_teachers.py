"""Teachers that speak of test rows and of unlabelled ones."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.teachers import perfect_teacher, shuffled_teacher
from competition.config.recipe import LexicalRecipe
from competition.core.workspace import Workspace
from competition.data import store, synthetic
from competition.pipeline.rows import fold_rows, fold_targets
from competition.pipeline.steps import Pipeline
from tests.conftest import LEXICAL_ALONE, comp, make_workspace, refused
from tests.esci import CONTEST

CLASSES = list(CONTEST.kind("classes").outputs)
BOTH = 'distill_rows = ["test", "unlabelled"]\n'
FILE = 'distill_from = "@unlabelled"\ndistill_rows = ["unlabelled"]\n'
LEXICAL = 'model = "lexical"\n'
KINDS = ("classes", "gain", "substitute")


def run(space: Workspace, *arguments: str | Path) -> str:
    """What a command prints."""
    result = comp(*arguments, "-w", space.root)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


def unlabelled(path: Path) -> Path:
    """A file of pairs with what another tool says of them."""
    examples, products, _ = synthetic.make(20, noise=0.0, seed=99)
    pairs = examples[["query", "locale", "product_id"]].merge(products, on=["product_id", "locale"])
    truth = np.eye(4)[CONTEST.labels.codes(examples["label"])]
    pairs[CLASSES] = truth
    pairs.to_parquet(path)
    return path


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace with a teacher, unlabelled rows and two students."""
    folder = tmp_path_factory.mktemp("t")
    space = make_workspace(folder / "w", queries=30, settings=LEXICAL_ALONE)
    space.recipe_folder.mkdir()
    recipes = {
        "soft": LEXICAL + 'distill_from = "lexical"\n' + BOTH,
        "sure": LEXICAL + 'distill_from = "lexical"\ndistill_confidence = 0.8\n' + BOTH,
        "file": LEXICAL + FILE,
    }
    for name, content in recipes.items():
        (space.recipe_folder / f"{name}.toml").write_text(content)
    run(space, "data", "import-unlabelled", unlabelled(folder / "pairs.parquet"))
    for name in ("lexical", "soft", "file"):
        run(space, "train", "--recipe", name)
    return space


def lexical(pipeline: Pipeline, name: str) -> LexicalRecipe:
    recipe = pipeline.recipes.member(name)
    assert isinstance(recipe, LexicalRecipe)
    return recipe


@pytest.mark.slow
def test_rows_without_labels_come_with_the_teachers_outputs(space: Workspace) -> None:
    pipeline = Pipeline(space)
    tables = pipeline.tables
    model = pipeline.plan.fold(lexical(pipeline, "soft"), 2)
    rows = fold_rows(tables, model)
    targets = fold_targets(tables, model, rows.train)
    assert targets is not None

    labelled = tables.examples["split"].eq("train") & (tables.fold_of_rows("five") != 2)
    is_test = tables.examples["split"] == "test"
    pairs = len(tables.unlabelled.examples)
    assert len(rows.train) == labelled.sum() + is_test.sum() + pairs

    # Of the fold: the model that left it out, and no other.
    test = pd.read_parquet(space.test_fold("lexical", 2)).set_index("example_id")
    taught = rows.train[labelled.sum() :]
    ids = tables.rows_for(model.recipe)["example_id"].iloc[taught]
    of_test = ids.isin(test.index).to_numpy()
    assert of_test.sum() == is_test.sum()
    expected = test.loc[ids[of_test], CLASSES].to_numpy()
    np.testing.assert_allclose(targets.target[labelled.sum() :][of_test], expected, atol=1e-9)
    assert (targets.weight == 1).all()


def test_confident_rows_have_their_class_alone(space: Workspace) -> None:
    pipeline = Pipeline(space)
    soft, sure = (pipeline.plan.fold(lexical(pipeline, name), 0) for name in ("soft", "sure"))
    rows = {each.recipe.name: fold_rows(pipeline.tables, each).train for each in (soft, sure)}
    targets = fold_targets(pipeline.tables, sure, rows["sure"])
    assert targets is not None
    labelled = int((rows["sure"] < len(pipeline.tables.examples)).sum())
    assert 0 < len(rows["sure"]) < len(rows["soft"])
    assert labelled > 0
    assert set(np.unique(targets.target)) == {0.0, 1.0}


def test_a_teacher_that_is_never_sure_enough_is_named(
    space: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline = Pipeline(space)
    recipe = lexical(pipeline, "sure").model_copy(update={"distill_confidence": 0.999999})
    model = pipeline.plan.fold(recipe, 0)
    targets = fold_targets(pipeline.tables, model, fold_rows(pipeline.tables, model).train)
    assert targets is not None
    assert "never as sure as distill_confidence = 0.999999" in " ".join(
        capsys.readouterr().err.split()
    )


@pytest.mark.slow
def test_no_label_of_a_fold_reaches_its_score_through_such_rows(
    space: Workspace, tmp_path: Path
) -> None:
    assert Pipeline(space).plan.run("soft").label_paths == ()
    shutil.copytree(space.root, tmp_path / "w")
    other = Workspace.open(tmp_path / "w")
    pipeline = Pipeline(other)
    examples = pipeline.tables.examples.copy()
    fold = pipeline.tables.fold_of_rows("five")

    # Of the fold, and of the test rows: the teacher says what these are.
    changed = ((fold == 1) & (examples["split"] == "train")) | (examples["split"] == "test")
    examples.loc[changed, "label"] = "complement"
    examples.loc[changed, "substitute"] = False
    store.save(other, CONTEST, examples, pipeline.tables.products, "test")
    for name in ("lexical", "soft"):
        run(other, "train", "--recipe", name)

    def outputs(of: Workspace, number: int) -> pd.DataFrame:
        return pd.read_parquet(of.oof_fold("soft", number))

    pd.testing.assert_frame_equal(outputs(space, 1), outputs(other, 1), check_exact=True)
    assert not outputs(space, 0).equals(outputs(other, 0))


@pytest.mark.slow
def test_students_of_unlabelled_rows_are_rebuilt_on_shuffled_labels(space: Workspace) -> None:
    told = run(space, "audit-leaks", "soft", "--deep", "--shuffles", "1")
    assert told.count("on shuffled labels: ") == 2  # the teacher's run, and the student's


def test_a_teacher_that_may_have_seen_the_fold_is_named(space: Workspace) -> None:
    (space.recipe_folder / "both.toml").write_text(
        LEXICAL + 'distill_from = "lexical"\ndistill_rows = ["labelled", "test"]\n'
    )
    (space.recipe_folder / "ensemble-taught.toml").write_text(
        LEXICAL + 'distill_from = "blend"\ndistill_rows = ["test"]\n'
    )
    plan = Pipeline(space).plan
    assert plan.run("both").label_paths == ("its teacher lexical",)
    assert plan.run("file").label_paths == (
        "the teacher of its unlabelled rows, which may have seen them",
    )
    assert plan.run("ensemble-taught").label_paths == (
        "its teacher blend, which saw them, on test rows",
    )


def test_scores_teach_what_rows_are_that_score_alike(space: Workspace) -> None:
    pipeline = Pipeline(space)
    taught = pipeline.tables.read_run(pipeline.plan.run("lexical"))
    known = pd.concat([taught.held_out, taught.test])
    gain = CONTEST.labels.expected_gain(known[CLASSES].to_numpy())
    students = [(teacher, kind) for teacher in ("ranked", "shifted") for kind in KINDS]
    for name, score in (("ranked", gain), ("shifted", 50 * gain - 8)):
        path = space.root / f"{name}.csv"
        known[["example_id"]].assign(score=score).to_csv(path, index=False)
        run(space, "member", "add", name, path, "--kind", "score", "--scheme", "five")
        run(space, "train", "--recipe", name)
    for teacher, kind in students:
        (space.recipe_folder / f"{kind}-of-{teacher}.toml").write_text(
            LEXICAL + f'kind = "{kind}"\ndistill_from = "{teacher}"\ndistill_weight = 1.0\n'
            'distill_rows = ["labelled", "test"]\n'
        )

    pipeline = Pipeline(space)
    targets = {}
    for teacher, kind in students:
        model = pipeline.plan.fold(lexical(pipeline, f"{kind}-of-{teacher}"), 1)
        rows = fold_rows(pipeline.tables, model)
        made = fold_targets(pipeline.tables, model, rows.train)
        assert made is not None
        targets[teacher, kind] = made.target

    # Their scale is learned, and rows of more gain teach no less of it.
    for kind in KINDS:
        np.testing.assert_allclose(targets["ranked", kind], targets["shifted", kind], atol=1e-6)
        if kind != "gain":
            np.testing.assert_allclose(targets["ranked", kind].sum(axis=1), 1.0)
    ids = pipeline.tables.examples["example_id"].iloc[rows.train]
    order = np.argsort(pd.Series(gain, known["example_id"]).loc[ids])
    assert (np.diff(targets["ranked", "gain"][order, 0]) >= -1e-6).all()
    run(space, "train", "--recipe", "gain-of-ranked", "--fold", "1")
    for teacher, kind in students:
        (space.recipe_folder / f"{kind}-of-{teacher}.toml").unlink()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ('distill_from = "@unlabelled"\n', 'goes with distill_rows = ["unlabelled"]'),
        ('distill_from = "lexical"\ndistill_rows = []\n', "name one or more of labelled, test"),
        ('distill_from = "blend"\n' + BOTH, "has no model of its own that could predict them"),
        (FILE + 'kind = "gain"\ndistill_confidence = 0.5\n', None),
        (FILE.replace("@unlabelled", "lexical") + 'kind = "substitute"\n', None),
    ],
)
def test_what_cannot_teach_is_refused(space: Workspace, content: str, sentence: str | None) -> None:
    (space.recipe_folder / "wrong.toml").write_text(LEXICAL + content)
    if sentence is None:
        # Probabilities of all classes teach a gain and a label, too.
        run(space, "train", "--recipe", "wrong", "--fold", "0")
    else:
        assert sentence in refused("train", "--recipe", "wrong", "-w", space.root)
    (space.recipe_folder / "wrong.toml").unlink()


def test_a_wrong_output_of_an_unlabelled_row_is_named(space: Workspace, tmp_path: Path) -> None:
    frame = pd.read_parquet(unlabelled(tmp_path / "pairs.parquet"))
    frame.loc[6, CLASSES[0]] = 3.0
    frame.to_parquet(tmp_path / "wrong.parquet")
    before = space.unlabelled.read_bytes()
    told = refused("data", "import-unlabelled", tmp_path / "wrong.parquet", "-w", space.root)
    assert "row 7 " in told
    assert "has no probability from 0 to 1 as p_exact" in told
    assert space.unlabelled.read_bytes() == before


@pytest.mark.slow
def test_a_shuffled_teacher_teaches_nothing_and_a_perfect_one_on_more_rows_more(
    tmp_path: Path,
) -> None:
    assert shuffled_teacher(tmp_path / "shuffled", seed=1).low <= 0
    assert perfect_teacher(tmp_path / "perfect", seed=1).difference.low > 0


ENCODER = """
preset = "tiny"
recipes = ["b1"]
noise_run = ""
ensembles = []
[submission]
[overrides]
max_length = 16
epochs = 1
adversary = "none"
r_drop = 0.0
mixup = 0.0
scheme = "five"
"""


@pytest.mark.slow
def test_an_encoder_follows_what_a_file_says_of_unlabelled_pairs(tmp_path: Path) -> None:
    space = make_workspace(tmp_path / "w", queries=30, settings=ENCODER)
    space.recipe_folder.mkdir()
    # As many steps for the pairs as the labelled rows have, and more.
    pairs = pd.read_parquet(unlabelled(tmp_path / "pairs.parquet"))
    held_out = {}
    for label in ("exact", "irrelevant"):
        pairs[CLASSES] = [float(column == f"p_{label}") for column in CLASSES]
        pairs.to_parquet(tmp_path / "pairs.parquet")
        run(space, "data", "import-unlabelled", tmp_path / "pairs.parquet")
        (space.recipe_folder / f"{label}.toml").write_text('base = "b1"\n[set]\n' + FILE)
        run(space, "train", "--recipe", label, "--fold", "0")
        held_out[label] = pd.read_parquet(space.oof_fold(label, 0)).set_index("example_id")

    # The same pairs in the same order: what differs is what the file says of them.
    one, other = held_out["exact"], held_out["irrelevant"]
    assert len(one) > 10
    assert (one["p_exact"] > other["p_exact"]).all()
    assert (one["p_irrelevant"] < other["p_irrelevant"]).all()
