"""`comp member`: outputs of another tool are a run like any other."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from competition.core.workspace import Workspace
from competition.data import store
from competition.pipeline.execute import execute
from competition.pipeline.output_steps import submission_step
from competition.pipeline.steps import Pipeline
from tests.conftest import comp, make_workspace, refused

SETTINGS = """
preset = "tiny"
recipes = ["lexical"]
noise_run = ""
ensembles = []
[submission]
task1 = "lexical"
[overrides]
n_estimators = 10
max_length = 16
epochs = 1
"""
BLEND = 'model = "ensemble"\nmethod = "greedy"\nselections = 5\nmembers = ["lexical", "{}"]\n'


def run(space: Workspace, *arguments: str | Path) -> str:
    """What a command prints."""
    result = comp(*arguments, "-w", space.root)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace with `lexical` and another run, whose outputs lie in a file."""
    space = make_workspace(tmp_path_factory.mktemp("m") / "w", queries=40, settings=SETTINGS)
    space.recipe_folder.mkdir()
    run(space, "train", "--recipe", "lexical")
    (space.recipe_folder / "ours.toml").write_text('model = "lexical"\nnum_leaves = 3\n')
    run(space, "train", "--recipe", "ours")
    run(space, "member", "export", "ours", space.root / "ours.csv")
    return space


@pytest.mark.slow
def test_outputs_that_come_back_give_the_same_blend_to_the_byte(space: Workspace) -> None:
    run(space, "member", "add", "theirs", space.root / "ours.csv", "--kind", "classes")
    run(space, "train", "--recipe", "theirs")
    for name in ("ours", "theirs"):
        (space.recipe_folder / f"with-{name}.toml").write_text(BLEND.format(name))
        pipeline = Pipeline(space)
        execute(space, pipeline.ensemble_steps(f"with-{name}", ["task1", "task2"]))

    for task in ("task1", "task2"):
        for fold in range(5):
            for path in (space.oof_fold, space.test_fold):
                one, two = (
                    pd.read_parquet(path(f"with-{name}-{task}", fold))
                    for name in ("ours", "theirs")
                )
                pd.testing.assert_frame_equal(one, two, check_exact=True)

    # It is submitted as others are, and checked for leaks.
    steps = [submission_step(pipeline, "theirs", {"task1": "theirs", "task2": "theirs"})]
    execute(space, steps)
    log = pd.read_csv(space.leaderboard)
    assert set(log.loc[log["submission"] == "theirs", "run"]) == {"theirs"}


def test_a_member_needs_its_folds(space: Workspace) -> None:
    frame = pd.read_csv(space.root / "ours.csv")
    bare = space.root / "bare.parquet"
    frame.drop(columns="fold").to_parquet(bare)
    add = ["member", "add", "bare", bare, "--kind", "classes"]
    assert "does not say which fold each row was held out in" in refused(*add, "-w", space.root)
    assert "folds of five (declared, not checked)" in run(space, *add, "--scheme", "five")

    # The same content in another form is the same member.
    first = (space.member("bare")).read_bytes()
    run(space, "member", "add", "bare", space.root / "ours.csv", "--kind", "classes")
    assert space.member("bare").read_bytes() == first
    run(space, "member", "remove", "bare")
    assert not space.member("bare").exists()
    assert "There is no member 'bare'" in refused("member", "remove", "bare", "-w", space.root)


def test_names_that_are_taken_are_refused(space: Workspace) -> None:
    add = [space.root / "ours.csv", "--kind", "classes", "-w", space.root]
    assert "There is a recipe 'c1' already" in refused("member", "add", "c1", *add)
    assert "ends like the run of an ensemble" in refused("member", "add", "x-task1", *add)
    assert "cannot be the name of a run" in refused("member", "add", "a/b", *add)
    assert "called like a variant of 'blend'" in refused("member", "add", "blend.paper", *add)
    assert "at most 100 characters" in refused("member", "add", "x" * 101, *add)
    assert "neither - nor . comes first" in refused("member", "add", *add, "--", "-x")
    add[2] = "clases"
    assert "There is no kind 'clases' (did you mean 'classes'?)" in refused(
        "member", "add", "x", *add
    )


def test_outputs_of_fitted_rows_are_flagged_wherever_they_go(space: Workspace) -> None:
    examples = pd.read_parquet(space.examples)
    gain = examples["label"].map({"exact": 1.0, "substitute": 0.1, "complement": 0.01}).fillna(0.0)
    lexical = pd.concat([pd.read_parquet(space.test_fold("lexical", 0))])
    train = examples["split"] == "train"
    known = lexical.set_index("example_id")["p_exact"].reindex(examples["example_id"])
    rng = np.random.default_rng(0)
    fitted = np.where(train, gain + rng.normal(0, 0.05, len(examples)), known.to_numpy())
    frame = pd.DataFrame({"example_id": examples["example_id"], "gain": fitted})
    frame.to_csv(space.root / "fitted.csv", index=False)

    told = comp(
        "member", "add", "fitted", space.root / "fitted.csv", "--kind", "gain", "--scheme", "five",
        "-w", space.root,
    )  # fmt: skip
    assert told.exit_code == 0, told.output
    assert "fitted looks in-sample" in told.output + told.stderr
    assert "in_sample = true" in (space.recipe_folder / "fitted.toml").read_text()
    assert "approximate: labels reached it through labels of its own rows" in run(
        space, "train", "--recipe", "fitted"
    )
    card = json.loads(space.run_card("fitted").read_text())
    assert card["basis"]["kind"] == "approximate"

    # A score is compared within queries: the same outputs are found as one, too.
    frame.rename(columns={"gain": "score"}).to_csv(space.root / "score.csv", index=False)
    options = ["--kind", "score", "--scheme", "five"]
    run(space, "member", "add", "scored", space.root / "score.csv", *options)
    assert "in_sample = true" in (space.recipe_folder / "scored.toml").read_text()
    rows = json.loads(comp("--json", "member", "-w", space.root).stdout)["tables"][0]["rows"]
    assert {row["member"] for row in rows} >= {"fitted", "scored"}


def test_outputs_that_do_not_vary_are_not_said_to_be_out_of_fold(space: Workspace) -> None:
    frame = pd.read_csv(space.root / "ours.csv")[["example_id", "fold"]]
    frame.assign(gain=0.5).to_csv(space.root / "constant.csv", index=False)
    told = run(space, "member", "add", "same", space.root / "constant.csv", "--kind", "gain")
    assert "could not be tested: outputs of training or of test rows do not vary." in told
    assert "look out-of-fold" not in told
    run(space, "member", "remove", "same")


def test_no_other_seed_is_asked_of_a_member(space: Workspace) -> None:
    run(space, "member", "add", "alike", space.root / "ours.csv", "--kind", "classes")
    run(space, "train", "--recipe", "alike")
    assert "--set seed=1" in run(space, "compare", "ours", "lexical")
    assert "--set seed=1" not in run(space, "compare", "alike", "lexical")


def test_what_takes_a_model_is_refused(space: Workspace) -> None:
    run(space, "member", "add", "fixed", space.root / "ours.csv", "--kind", "classes")
    assert "it has no model that could predict new rows" in refused(
        "train", "--recipe", "fixed", "--all", "-w", space.root
    )
    (space.recipe_folder / "nested.toml").write_text(
        'model = "ensemble"\nmembers = ["lexical", "fixed"]\nnested = true\n'
    )
    assert "so it has no nested models" in refused("stack", "nested", "-w", space.root)
    (space.root / "mine.toml").write_text('recipe = "fixed"\n[[row]]\nname = "a"\n')
    assert "another tool made the outputs of 'fixed', so rows cannot vary it" in refused(
        "ablate", space.root / "mine.toml", "-w", space.root
    )
    recipe = space.recipe_folder / "fixed.toml"
    recipe.write_text(recipe.read_text() + "train_queries = 5\n")
    assert "train_queries is of recipes that are trained" in refused(
        "train", "--recipe", "fixed", "-w", space.root
    )
    recipe.unlink()


def test_outputs_of_other_rows_with_the_same_ids_are_refused(
    space: Workspace, tmp_path: Path
) -> None:
    copy = Workspace(Path(shutil.copytree(space.root, tmp_path / "w")))
    run(copy, "member", "add", "old", copy.root / "ours.csv", "--kind", "classes")
    contest = Pipeline(copy).plan.contest
    examples, products = store.load_examples(copy), store.load_products(copy)

    # A training row becomes one of another product; its query and so its fold stay.
    first, second = examples.index[examples["query_id"] == examples["query_id"].iloc[0]][:2]
    changed = examples["product_id"].copy()
    changed[[first, second]] = examples["product_id"][[second, first]].to_numpy()
    store.save(copy, contest, examples.assign(product_id=changed), products, "changed")

    told = comp("train", "--recipe", "old", "-w", copy.root)
    assert told.exit_code == 1
    row = examples["example_id"][first]
    assert f"has no output of example_id {row} as it is now, and of 1 others" in told.stderr

    # A file that names its rows twice must agree with itself.
    frame = pd.read_csv(copy.root / "ours.csv").merge(
        examples[["example_id", "query_id", "product_id"]], on="example_id"
    )
    frame.to_csv(copy.root / "both.csv", index=False)
    assert "has another product_id than the row with its example_id" in refused(
        "member", "add", "both", copy.root / "both.csv", "--kind", "classes", "-w", copy.root
    )
