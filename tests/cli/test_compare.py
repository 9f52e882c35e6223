"""`comp train --set` and `comp compare` on a small workspace."""

import json
import tomllib

import pandas as pd
import pytest

from competition.analysis.compare import _differ_in_seed_alone, _repeats
from competition.config.variants import variant_name, write_variant
from competition.core.workspace import Workspace
from competition.pipeline.steps import Pipeline
from tests.conftest import LEXICAL_ALONE, comp, make_workspace, refused


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace with two seeds of `lexical` and one run of other leaves."""
    space = make_workspace(tmp_path_factory.mktemp("c") / "w", queries=60, settings=LEXICAL_ALONE)
    for options in ([], ["--set", "seed=7"], ["--set", "num_leaves=3", "--set", "n_estimators=3"]):
        result = comp("train", "--recipe", "lexical", *options, "-w", space.root)
        assert result.exit_code == 0, result.output
    return space


def test_a_changed_recipe_is_a_recipe_with_a_run_of_its_own(trained: Workspace) -> None:
    name = "lexical-n_estimators=3-num_leaves=3"
    file = trained.recipe_folder / f"{name}.toml"
    assert file.read_text() == 'base = "lexical"\n\n[set]\nn_estimators = 3\nnum_leaves = 3\n'
    recipe = json.loads(trained.run_card(name).read_text())["recipe"]
    # Its keys go before [overrides], which say 15 trees.
    assert (recipe["n_estimators"], recipe["num_leaves"]) == (3, 3)
    assert json.loads(trained.run_card("lexical").read_text())["recipe"]["n_estimators"] == 15

    # The order of the options makes no other recipe, nor does varying it in two steps.
    for recipe_name, options in (
        ("lexical", ["--set", "num_leaves=3", "--set", "n_estimators=3"]),
        (name, ["--set", "num_leaves=3"]),
    ):
        result = comp("train", "--recipe", recipe_name, *options, "-w", trained.root)
        assert "nothing to do, everything is up to date" in result.output, result.output


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ("num_leafs=3", "--set: unknown key 'num_leafs' (did you mean 'num_leaves'?)."),
        ("num_leaves=x", "--set: num_leaves = 'x' does not fit: Input should be a valid integer"),
        ("num_leaves=1", "--set: num_leaves = 1 does not fit"),
        ("num_leaves", "--set 'num_leaves' is not of the form key=value, such as epochs=3."),
        ("name=x", "--set: 'name' is not a key to set"),
        ("distill_from=nope", "There is no recipe 'nope'"),
        ("kind=clases", "--set: kind = 'clases' is unknown in the competition 'esci'"),
    ],
)
def test_a_wrong_change_is_refused_and_writes_nothing(
    trained: Workspace, option: str, sentence: str
) -> None:
    files = sorted(trained.recipe_folder.iterdir())
    told = refused("train", "--recipe", "lexical", "--set", option, "-w", trained.root)
    assert told.startswith(sentence)
    assert sorted(trained.recipe_folder.iterdir()) == files


def test_a_missing_teacher_is_named_and_writes_nothing(trained: Workspace) -> None:
    files = sorted(trained.recipe_folder.iterdir())
    train = ("train", "--recipe", "lexical", "--set", "distill_from=b1", "-w", trained.root)
    result = comp(*train)
    assert result.exit_code == 1
    assert "`comp train --recipe b1 -w" in result.stderr
    assert sorted(trained.recipe_folder.iterdir()) == files

    # What it would take can be seen before.
    estimate = comp(*train, "--dry-run")
    assert estimate.exit_code == 0, estimate.output
    assert estimate.stderr == result.stderr.replace("error: ", "warning: ")
    assert sorted(trained.recipe_folder.iterdir()) == files


def test_another_recipe_of_that_name_stays_as_it_is(trained: Workspace) -> None:
    file = trained.recipe_folder / "lexical-num_leaves=5.toml"
    file.write_text('model = "lexical"\n')
    options = ["train", "--recipe", "lexical", "--set", "num_leaves=5", "-w", trained.root]
    assert "is another recipe than 'lexical' with these keys" in refused(*options)
    assert file.read_text() == 'model = "lexical"\n'

    file.write_text('base = "lexical-num_leaves=5"\n')
    assert "the recipe varies itself" in refused("recipes", file.stem, "-w", trained.root)
    file.unlink()


def test_values_are_typed_and_names_tell_them_apart(trained: Workspace) -> None:
    options = ["--set", "train_queries=20", "--set", "description=fewer queries", "--dry-run"]
    result = comp("train", "--recipe", "lexical", *options, "-w", trained.root)
    assert "lexical-description=fewer_queries-train_queries=20-" in result.output
    assert "would be" in result.output
    assert not [path for path in trained.recipe_folder.iterdir() if "fewer" in path.name]

    same = comp("train", "--recipe", "lexical", "--set", "n_estimators=15", "-w", trained.root)
    assert "lexical has these values already: nothing is changed." in same.output
    assert "--set changes recipes that are trained on folds" in refused(
        "train", "--recipe", "blend", "--set", "text=false", "-w", trained.root
    )


def test_the_difference_is_that_of_the_seeds_means(trained: Workspace) -> None:
    other = "lexical-n_estimators=3-num_leaves=3"
    result = comp("--json", "compare", "lexical", other, "-w", trained.root)
    assert result.exit_code == 0, result.output
    rows = {row["task"]: row for row in json.loads(result.stdout)["tables"][0]["rows"]}
    assert set(rows) == {"task1", "task2", "task3"}
    assert rows["task2"]["seeds"] == [2, 1]
    assert rows["task2"]["noise"] == "folds"

    examples = pd.read_parquet(trained.examples).set_index("example_id")

    def accuracy(run: str) -> float:
        parts = [pd.read_parquet(trained.oof_fold(run, fold)) for fold in range(5)]
        outputs = pd.concat(parts).set_index("example_id")
        answer = outputs.idxmax(axis=1).str.removeprefix("p_")
        return float((answer == examples.loc[outputs.index, "label"]).mean())

    ours = (accuracy("lexical") + accuracy("lexical-seed=7")) / 2
    assert rows["task2"]["difference"]["value"] == pytest.approx(ours - accuracy(other))
    whole, queries = (rows["task2"][name] for name in ("difference", "over_queries"))
    assert whole["low"] <= queries["low"] < queries["high"] <= whole["high"]


def test_a_seed_counts_once_and_other_encoders_are_no_seeds(trained: Workspace) -> None:
    # The same seed under two names is one training: two would make the noise of seeds too small.
    again = ["--set", "seed=7", "--set", "description=again"]
    assert comp("train", "--recipe", "lexical", *again, "-w", trained.root).exit_code == 0
    pipeline = Pipeline(trained)
    assert len(_repeats(pipeline, "lexical")) == 2

    for seed, encoder in ((1, "tiny"), (2, "tiny"), (3, "mini")):
        (trained.recipe_folder / f"v{seed}.toml").write_text(
            f'base = "c1"\n[set]\nencoder = "{encoder}"\nseed = {seed}\n'
        )
    one, two, three = (Pipeline(trained).recipes.member(f"v{seed}") for seed in (1, 2, 3))
    assert _differ_in_seed_alone(pipeline, one, two)
    assert not _differ_in_seed_alone(pipeline, one, three)


def test_a_key_without_what_it_belongs_to_is_warned_of(trained: Workspace) -> None:
    train = ["train", "--recipe", "lexical", "--dry-run", "-w", trained.root]
    idle = comp(*train, "--set", "distill_weight=0.3", "--set", "num_leaves=4")
    assert "distill_weight changes nothing here" in " ".join(idle.stderr.split())
    assert "changes nothing here" not in comp(*train, "--set", "num_leaves=4").stderr


def test_an_empty_table_and_any_text_are_values(trained: Workspace) -> None:
    assert variant_name("c1", {"lora": {}}) != "c1"

    text = 'query: {query} "\U0001f600\x7f\\ {document}'
    changes = {"lora": {}, "template": text}
    path = write_variant(trained, "odd", "c1", changes)
    assert tomllib.loads(path.read_text())["set"] == changes
    assert write_variant(trained, "odd", "c1", changes) == path
    path.unlink()


def test_two_seeds_of_one_recipe_are_compared_as_such(trained: Workspace) -> None:
    result = comp("compare", "lexical", "lexical-seed=7", "-w", trained.root)
    assert "1 seed of lexical and 1 seed of lexical-seed=7" in result.output
    assert result.output.count("no verdict") == 3


def test_runs_that_cannot_be_compared_are_refused(trained: Workspace) -> None:
    assert "cannot be compared with itself" in refused(
        "compare", "lexical", "lexical", "-w", trained.root
    )
    missing = comp("compare", "lexical", "c1", "-w", trained.root)
    assert missing.exit_code == 1
    assert "The run 'c1' is missing: `comp train --recipe c1" in missing.stderr
