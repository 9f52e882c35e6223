"""Training obeys audits and teachers, on training rows alone; nested ones never saw the fold that is scored."""

from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from competition.config.recipe import LexicalRecipe
from competition.core.errors import CompError, InputError
from competition.core.json_files import read_json
from competition.core.parquet import read_table
from competition.core.workspace import Workspace
from competition.data import store
from competition.data.targets import Targets
from competition.pipeline.execute import execute
from competition.pipeline.rows import FoldRows, fold_rows, fold_targets
from competition.pipeline.steps import Pipeline
from tests.conftest import LEXICAL_ALONE, comp, make_workspace, refused
from tests.esci import CONTEST, KINDS

pytestmark = pytest.mark.slow

ACTIONS = ("drop_noise_from", "weight_noise_from", "relabel_noise_from", "distill_from")
Taught = tuple[FoldRows, Targets | None]


def students(nested: bool) -> dict[str, LexicalRecipe]:
    """A recipe for each action, which takes from `lexical`."""
    end = "-nested" if nested else ""
    keys = {"nested": nested, "n_estimators": 15}
    return {
        action: LexicalRecipe(name=action + end, **{action: "lexical"}, **keys)
        for action in ACTIONS
    }  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """A workspace with `lexical`, its nested models and audits, and all students."""
    workspace = make_workspace(
        tmp_path_factory.mktemp("noise") / "w", queries=90, settings=LEXICAL_ALONE
    )
    return train(workspace)


def train(workspace: Workspace) -> Pipeline:
    """Train `lexical` and all students."""
    recipes = {
        recipe.name: recipe for nested in (False, True) for recipe in students(nested).values()
    }
    pipeline = Pipeline(workspace, recipes)
    execute(
        workspace,
        [step for name in pipeline.recipes.order(recipes) for step in pipeline.run_steps(name)],
    )
    return pipeline


def taught(pipeline: Pipeline, recipe: LexicalRecipe, fold: int) -> Taught:
    """The rows of a fold, and what those that are trained on teach."""
    plan = pipeline.plan.fold(recipe, fold)
    rows = fold_rows(pipeline.tables, plan)
    return rows, fold_targets(pipeline.tables, plan, rows.train)


CASES = [(action, nested) for action in ACTIONS for nested in (False, True)]


@pytest.mark.parametrize(("action", "nested"), CASES)
def test_rows_that_are_held_out_or_tested_are_never_touched(
    trained: Pipeline, action: str, nested: bool
) -> None:
    recipe, plain = students(nested)[action], trained.recipes.member("lexical")
    assert isinstance(plain, LexicalRecipe)
    examples = trained.tables.examples
    for fold in range(5):
        before, none = taught(trained, plain, fold)
        rows, lesson = taught(trained, recipe, fold)
        assert none is None
        assert (rows.held_out == before.held_out).all()
        assert (rows.test == before.test).all()
        assert set(rows.train) <= set(before.train)
        assert (len(rows.train) < len(before.train)) == (action == "drop_noise_from")
        assert (lesson is None) == (action == "drop_noise_from")
        if lesson is not None:
            assert lesson.target.shape == (len(rows.train), 4)
            assert lesson.weight.shape == (len(rows.train),)
            assert lesson.weight.min() >= 0
            np.testing.assert_allclose(lesson.target.sum(axis=1), 1)
        outputs = read_table(
            trained.workspace.oof_fold(recipe.name, fold),
            trained.plan.run(recipe.name).parts[fold][0],
        )
        assert outputs["example_id"].tolist() == sorted(
            examples["example_id"].iloc[before.held_out]
        )
    assert (
        len(trained.tables.read_run(trained.plan.run(recipe.name)).held_out)
        == (examples["split"] == "train").sum()
    )


@pytest.mark.parametrize("nested", [False, True])
def test_flags_are_of_training_rows_and_nested_ones_of_other_folds(
    trained: Pipeline, nested: bool
) -> None:
    examples, of_row = trained.tables.examples, trained.tables.fold_of_training("five")
    for fold in range(5):
        plan = trained.plan.fold(students(nested)["drop_noise_from"], fold).audit
        assert plan is not None
        assert plan.fold == (fold if nested else None)
        ids = trained.tables.flags(plan)["example_id"]
        wanted = of_row.index[of_row != fold] if nested else of_row.index
        assert ids.tolist() == sorted(wanted)
        card = read_json(trained.workspace.noise_card("lexical", plan.fold))
        assert card["approximate"] is not nested
        assert card["runs"] == ["lexical"]
        assert card["audited"] == len(ids)
        assert card["audited"] + card["unaudited"] == (examples["split"] == "train").sum()
        np.testing.assert_allclose(np.sum(card["noise_matrix"], axis=0), 1)


def same(one: Taught, other: Taught, pipeline: Pipeline) -> bool:
    """Whether the same rows teach the same."""
    if not np.array_equal(one[0].train, other[0].train):
        return False
    return (
        one[1] is None
        or other[1] is None
        or (
            np.allclose(one[1].target, other[1].target)
            and np.allclose(one[1].weight, other[1].weight)
        )
    )


def test_nested_training_does_not_know_the_labels_of_the_fold_that_is_scored(
    trained: Pipeline, tmp_path: Path
) -> None:
    """Other labels in fold 2: what trains for fold 2 is the same where it is nested, and not where it is not."""
    workspace = make_workspace(tmp_path / "w", queries=90, settings=LEXICAL_ALONE)
    examples = trained.tables.examples.copy()
    of_row = trained.tables.fold_of_training("five")
    ids = of_row.index[of_row == 2].to_numpy()
    moved = examples["example_id"].isin(ids)
    labels = np.random.default_rng(0).permutation(examples.loc[moved, "label"].to_numpy(object))
    examples.loc[moved, "label"] = labels
    examples["substitute"] = (examples["label"] == "substitute").astype("boolean")
    store.save(workspace, CONTEST, examples, trained.tables.products, "test")
    other = train(workspace)
    for action in ACTIONS:
        for nested, expected in ((True, True), (False, False)):
            recipe = students(nested)[action]
            found = same(taught(trained, recipe, 2), taught(other, recipe, 2), trained)
            assert found is expected, (action, nested)
        assert not same(
            taught(trained, students(True)[action], 1),
            taught(other, students(True)[action], 1),
            trained,
        )


def test_a_dropped_row_is_one_that_the_audit_names(trained: Pipeline) -> None:
    examples = trained.tables.examples
    flags = read_table(trained.workspace.noise("lexical"), trained.plan.audit("lexical").inputs)
    before, _ = taught(trained, trained.recipes.member("lexical"), 0)  # type: ignore[arg-type]
    after, _ = taught(trained, students(False)["drop_noise_from"], 0)
    lost = set(examples["example_id"].iloc[before.train]) - set(
        examples["example_id"].iloc[after.train]
    )
    of_row = trained.tables.fold_of_training("five")
    assert lost == {id for id in flags.loc[flags["dropped"], "example_id"] if of_row[id] != 0}
    assert lost


def test_the_teacher_of_a_row_never_saw_it(trained: Pipeline) -> None:
    rows, lesson = taught(trained, students(False)["distill_from"], 3)
    assert lesson is not None
    ids = trained.tables.examples["example_id"].iloc[rows.train]
    said = (
        trained.tables.read_run(trained.plan.run("lexical"))
        .held_out.set_index("example_id")
        .loc[ids]
        .to_numpy()
    )
    hard = Targets.of_labels(KINDS["classes"], trained.tables.examples.iloc[rows.train]).target
    np.testing.assert_allclose(lesson.target, (hard + said) / 2)
    # Nested: a row of fold 1 is taught by the model that left out 1 and 3.
    rows, lesson = taught(trained, students(True)["distill_from"], 3)
    assert lesson is not None
    of_row = trained.tables.fold_of_training("five")
    for fold in (0, 1, 2, 4):
        held = tuple(sorted((fold, 3)))
        pair = pd.read_parquet(trained.workspace.pair("lexical", held)).set_index("example_id")
        at = [i for i, id in enumerate(ids) if of_row[id] == fold]
        np.testing.assert_allclose(
            lesson.target[at], (hard[at] + pair.loc[ids.iloc[at]].to_numpy()) / 2
        )


def test_nested_students_need_the_nested_models_and_an_audit_per_fold(trained: Pipeline) -> None:
    names = [step.name for step in trained.recipe_steps("weight_noise_from-nested")]
    pairs = [f"train lexical without folds {j} and {k}" for j, k in combinations(range(5), 2)]
    audits = [f"audit lexical without fold {k}" for k in range(5)]
    assert [name for name in names if name in {*pairs, *audits}] == pairs + audits
    assert names.index(audits[-1]) < names.index("train weight_noise_from-nested fold 0")
    assert "audit lexical" in [step.name for step in trained.recipe_steps("weight_noise_from")]


# --- settings
# ----------------------------------------------------------------------------------------------------

Workspaces = Callable[..., Workspace]


@pytest.fixture
def workspace_with(tmp_path: Path) -> Workspaces:
    """Makes a workspace with recipes of its own."""

    def make(settings: str = LEXICAL_ALONE, **recipes: str) -> Workspace:
        workspace = make_workspace(tmp_path / "w", settings=settings)
        (workspace.root / "recipes").mkdir(exist_ok=True)
        for name, text in recipes.items():
            (workspace.root / "recipes" / f"{name}.toml").write_text(text)
        return workspace

    return make


def test_an_audit_is_made_from_its_settings(workspace_with: Workspaces) -> None:
    found = {Pipeline(workspace_with()).plan.audit("lexical").inputs}
    for line in (
        'noise_method = "both"', "noise_per_label = true", "noise_per_locale = true", "noise_calibrated = true",
        "noise_fraction = 0.05",
    ):  # fmt: skip
        found.add(Pipeline(workspace_with(line + LEXICAL_ALONE)).plan.audit("lexical").inputs)
    pipeline = Pipeline(workspace_with())
    found |= {pipeline.plan.audit("lexical", fold=fold).inputs for fold in range(5)}
    found.add(pipeline.plan.audit("lexical+c1").inputs)
    assert len(found) == 12
    assert pipeline.plan.audit("lexical+c1") == pipeline.plan.audit("c1+lexical")
    assert pipeline.plan.audit("lexical+c1").name == "c1+lexical"


def test_several_runs_are_audited_together(trained: Pipeline) -> None:
    audit = trained.plan.audit("lexical+distill_from")
    execute(trained.workspace, [trained.noise_step("lexical+distill_from")])
    flags = read_table(trained.workspace.noise("distill_from+lexical"), audit.inputs)
    of_one = read_table(trained.workspace.noise("lexical"), trained.plan.audit("lexical").inputs)
    assert flags["example_id"].tolist() == of_one["example_id"].tolist()
    flagged = flags.loc[flags["rank"].notna(), "example_id"]
    assert set(flagged) <= set(
        of_one.loc[of_one["rank"].notna(), "example_id"]
    )  # of two models, both


def test_the_command_shows_the_matrices_and_what_is_not_audited(trained: Pipeline) -> None:
    root = trained.workspace.root
    result = comp("cleanlab", "--from", "lexical", "--calibrated", "--per-label", "-w", root)
    assert result.exit_code == 0, result.output
    for told in (
        "Confident joint", "Noise matrix", "true complement", "Approximate",
        "Temperatures of lexical", "competition.toml has noise_per_label = False", "noise_calibrated = False",
    ):  # fmt: skip
        assert told in " ".join(result.output.split())
    keys = read_json(trained.workspace.noise_card("lexical"))["keys"]
    assert keys == {
        "fraction": 0.04, "method": "prune_by_noise_rate", "per_label": True, "per_locale": False, "calibrated": True,
        "despite_doubts": True,
    }  # fmt: skip
    assert (
        comp("cleanlab", "--from", "lexical", "-w", root).exit_code == 0
    )  # as the others found it


def test_a_lost_card_is_made_again(trained: Pipeline) -> None:
    step = trained.noise_step("lexical")
    assert step.state == "done"
    trained.workspace.noise_card("lexical").unlink()
    assert step.state == "missing"
    step.build()
    assert step.state == "done"


def test_what_does_not_fit_is_refused_in_one_sentence(workspace_with: Workspaces) -> None:
    lexical = 'model = "lexical"\n'
    workspace = workspace_with(
        late=lexical + 'scheme = "ten"\ndistill_from = "lexical"',
        apart=lexical + 'scheme = "ten"\nnested = true\nweight_noise_from = "lexical"',
        mixed=lexical + 'nested = true\ndistill_from = "blend"',
        gains='kind = "gain"\nscheme = "five"\n',
        pupil=lexical + 'distill_from = "gains"',
        twice=lexical + 'drop_noise_from = "lexical+lexical"',
        self=lexical + 'distill_from = "self"',
        chain=lexical + 'nested = true\nweight_noise_from = "deaf"',
        deaf=lexical + 'distill_from = "lexical"',
    )
    pipeline = Pipeline(workspace)
    for name, sentence in {
        "late": r"'late' has the folds of 'ten' and its teacher 'lexical' those of 'five'",
        "apart": r"'apart' is nested and its scheme is 'ten'",
        "mixed": r"The ensemble's run 'blend-task2' has no nested models",
        "pupil": r"'pupil' learns classes, and its teacher 'gains' predicts gain",
        "twice": r"The audit of 'lexical\+lexical' names a run twice",
        "self": r"'self' is made from itself: self <- self",
        "chain": r"'deaf' learns from an audit or a teacher",
    }.items():
        with pytest.raises(InputError, match=sentence):
            pipeline.plan.run(name)
    (workspace.root / "recipes" / "both.toml").write_text(
        lexical + 'drop_noise_from = "a"\nweight_noise_from = "b"'
    )
    assert (
        "of drop_noise_from, weight_noise_from and relabel_noise_from there can be one"
        in refused("train", "--recipe", "both", "-w", workspace.root)
    )
    assert "method = 'best' does not fit" in refused(
        "cleanlab", "--from", "lexical", "--method", "best", "-w", workspace.root
    )
    workspace.settings_file.write_text(
        LEXICAL_ALONE.replace('noise_run = ""', 'noise_run = "lexical+lexicall"')
    )
    assert "noise_run names the unknown recipe 'lexicall' (did you mean 'lexical'?)" in refused(
        "status", "-w", workspace.root
    )


def test_a_run_that_is_not_complete_is_named(workspace_with: Workspaces) -> None:
    pipeline = Pipeline(workspace_with())
    with pytest.raises(
        CompError, match=r"The run 'lexical' is not complete, its fold 0 is missing"
    ):
        pipeline.noise_step("lexical").build()


def test_an_ensemble_may_teach_and_be_audited(workspace_with: Workspaces) -> None:
    settings = LEXICAL_ALONE.replace('["lexical"]', '["lexical", "student"]')
    pipeline = Pipeline(workspace_with(settings, student='kind = "gain"\nscheme = "five"\ndistill_from = "pair"',
                                       pair='model = "ensemble"\nmembers = ["lexical"]'))  # fmt: skip
    plan = pipeline.plan.fold(pipeline.recipes.member("student"), 0)
    assert plan.teacher is not None
    assert plan.teacher.run.name == "pair-task2"
    assert pipeline.recipes.order(["student"]) == ["lexical", "pair", "student"]
