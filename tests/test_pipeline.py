"""What is redone, and what is not."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from competition.data import store, synthetic
from competition.errors import CompError, InputError
from competition.pipeline import Pipeline
from competition.planning import split_run
from competition.recipe import EncoderRecipe
from competition.workspace import Workspace
from tests.conftest import QUICK, make_workspace


def steps_left(workspace: Workspace) -> list[str]:
    """The names of the steps that are not done."""
    return [step.name for step in Pipeline(workspace).steps() if step.state != "done"]


@pytest.fixture
def claimed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Workspace]:
    """A workspace in which every step counts as done with the inputs that it had when the fixture was called."""

    def make() -> Workspace:
        workspace = make_workspace(tmp_path / "w")
        done = {step.name: step.inputs for step in Pipeline(workspace).steps()}
        real = Pipeline.steps

        def steps(self: Pipeline) -> list:
            found = real(self)
            for step in found:
                object.__setattr__(step, "recorded", lambda step=step: done.get(step.name))
            return found

        monkeypatch.setattr(Pipeline, "steps", steps)
        return workspace

    return make


def rewrite(workspace: Workspace, old: str, new: str) -> None:
    """Change competition.toml."""
    text = workspace.settings_file.read_text()
    assert old in text
    workspace.settings_file.write_text(text.replace(old, new))


def families(names: list[str]) -> set[str]:
    """`train c1 fold 3` -> `train c1`."""
    return {name.split(" fold ")[0] for name in names}


def test_nothing_is_left_when_nothing_changed(claimed: Callable[[], Workspace]) -> None:
    assert steps_left(claimed()) == []


def test_a_changed_recipe_redoes_what_depends_on_it(claimed: Callable[[], Workspace]) -> None:
    workspace = claimed()
    recipes = workspace.root / "recipes"
    recipes.mkdir()
    (recipes / "t3.toml").write_text('kind = "substitute"\nbatch_size = 16\n')
    assert families(steps_left(workspace)) == {
        "train t3",
        "predict t3",
        "score t3",
        "stack blend-task3",
        "submit main",
        "scores",
    }


def test_a_changed_audited_recipe_redoes_those_that_drop_its_noise(claimed: Callable[[], Workspace]) -> None:
    workspace = claimed()
    recipes = workspace.root / "recipes"
    recipes.mkdir()
    (recipes / "c1.toml").write_text('kind = "classes"\nbatch_size = 16\n')
    left = families(steps_left(workspace))
    assert {"train c1", "audit c1", "train r2", "stack blend-task1", "submit main"} <= left
    assert not {"train lexical", "train t3", "encoder tiny", "folds five"} & left


def test_another_share_of_noise_redoes_the_audit_and_what_uses_it(claimed: Callable[[], Workspace]) -> None:
    workspace = claimed()
    rewrite(workspace, 'preset = "tiny"', 'preset = "tiny"\nnoise_fraction = 0.02')
    left = families(steps_left(workspace))
    assert {"audit c1", "train r2"} <= left and "train c1" not in left


def test_device_settings_and_descriptions_redo_nothing(claimed: Callable[[], Workspace]) -> None:
    workspace = claimed()
    rewrite(workspace, "epochs = 1", "epochs = 1\ntoken_budget = 512")
    assert steps_left(workspace) == []


def test_new_test_rows_redo_predictions_only(claimed: Callable[[], Workspace]) -> None:
    workspace = claimed()
    examples, products, _ = synthetic.make(60, noise=0.05, seed=7)
    last = examples[examples["split"] == "test"].tail(1)
    store.save(workspace, examples.drop(last.index), products, "test")
    left = families(steps_left(workspace))
    assert {"predict c1", "score c1", "submit main", "folds five"} <= left
    assert not [name for name in left if name.startswith(("train", "audit", "encoder", "vocabulary"))]


def test_other_training_rows_redo_everything(claimed: Callable[[], Workspace]) -> None:
    workspace = claimed()
    examples, products, _ = synthetic.make(60, noise=0.05, seed=8)
    store.save(workspace, examples, products, "test")
    assert set(steps_left(workspace)) == {step.name for step in Pipeline(workspace).steps()}


def test_members_come_before_what_is_made_from_them(tmp_path: Path) -> None:
    settings = QUICK.replace('["lexical", "c1", "r2", "t3"]', '["r2", "t3"]')
    settings += '[submission]\ntask1 = "blend"\ntask3 = "blend"\n'
    workspace = make_workspace(tmp_path / "w", settings=settings)
    pipeline = Pipeline(workspace)
    assert pipeline.wanted() == ["c1", "r2", "t3", "blend"]
    names = [step.name for step in pipeline.steps()]
    assert names.index("audit c1") < names.index("train r2 fold 0")
    assert names.index("score t3") < names.index("stack blend-task3")
    assert "stack blend-task2" not in names  # neither r2 nor t3 answers it


def test_a_recipe_made_from_itself_is_refused(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "w")
    (workspace.root / "recipes").mkdir()
    (workspace.root / "recipes" / "c1.toml").write_text('kind = "classes"\ndrop_noise_from = "blend-task2"\n')
    with pytest.raises(InputError, match=r"'c1' is made from itself: c1 <- blend <- c1"):
        Pipeline(workspace).steps()


def test_runs_are_named_and_refused(tmp_path: Path) -> None:
    pipeline = Pipeline(make_workspace(tmp_path / "w"))
    assert pipeline.run("blend-task2").kind == "classes"
    assert pipeline.run("blend", "task2").name == "blend-task2"
    assert pipeline.audited_run("blend").name == "blend-task2"
    with pytest.raises(InputError, match="'r2' does not answer task2, only task1"):
        pipeline.run("r2", "task2")
    with pytest.raises(InputError, match="say which, such as blend-task1"):
        pipeline.run("blend")
    with pytest.raises(InputError, match="'r2' predicts gain"):
        pipeline.audited_run("r2")
    with pytest.raises(InputError, match="no recipe 'blendd'"):
        pipeline.run("blendd-task1")


def test_run_names_are_split() -> None:
    assert split_run("blend-task1") == ("blend", "task1")
    assert split_run("my-model") == ("my-model", "")
    assert split_run("-task1") == ("-task1", "")


def test_rows_are_on_one_side_and_only_training_rows_are_dropped(tmp_path: Path) -> None:
    from competition.tables import write_table

    workspace = make_workspace(tmp_path / "w")
    pipeline = Pipeline(workspace)
    pipeline.folds_step("five").make()
    examples = pipeline.maker.examples
    recipe = pipeline.member("r2")
    plan = pipeline.fold_plan(recipe, 1)
    assert plan.noise is not None
    every = pipeline.maker._rows(recipe, replace(plan, noise=None))
    flags = pd.DataFrame({"example_id": examples["example_id"], "dropped": True})
    write_table(workspace.noise("c1"), flags.iloc[::2], plan.noise[1])
    kept = pipeline.maker._rows(recipe, plan)
    assert set(every["train"]).isdisjoint(every["held_out"]) and set(every["train"]).isdisjoint(every["test"])
    assert sum(len(rows) for rows in every.values()) == len(examples)
    assert (kept["held_out"] == every["held_out"]).all() and (kept["test"] == every["test"]).all()
    assert kept["train"].tolist() == [row for row in every["train"] if row % 2]
    write_table(workspace.noise("c1"), flags, "another share of noise")
    with pytest.raises(CompError, match=r"noise\.parquet is out of date"):
        pipeline.maker._rows(recipe, plan)


def test_new_test_rows_leave_an_audit_by_an_ensemble_alone(tmp_path: Path) -> None:
    settings = QUICK.replace('["lexical", "c1", "r2", "t3"]', '["lexical", "c1", "late"]')
    workspace = make_workspace(tmp_path / "w", settings=settings)
    recipes = workspace.root / "recipes"
    recipes.mkdir()
    (recipes / "pair.toml").write_text('model = "average"\nmembers = ["lexical", "c1"]\n')
    (recipes / "late.toml").write_text('kind = "gain"\ndrop_noise_from = "pair"\n')
    before = Pipeline(workspace).run("late")
    examples, products, _ = synthetic.make(60, noise=0.05, seed=7)
    last = examples[examples["split"] == "test"].tail(1)
    store.save(workspace, examples.drop(last.index), products, "test")
    after = Pipeline(workspace).run("late")
    assert after.held_out == before.held_out and after.complete != before.complete


def test_encoders_of_the_same_name_have_folders_of_their_own(tmp_path: Path) -> None:
    pipeline = Pipeline(make_workspace(tmp_path / "w"))
    names = ["tiny", "org/e5-v1.5", "org/e5-v1.6", "other/e5-v1.5", "../e5-v1.5", "org--e5-v1.5"]
    folders = {pipeline.encoder_folder(name) for name in names}
    assert len(folders) == len(names)
    assert {folder.parent for folder in folders} == {pipeline.workspace.encoder("tiny").parent}


def test_a_workspace_without_an_audit_trains_what_it_names(tmp_path: Path) -> None:
    settings = 'noise_run = ""\nrecipes = ["lexical"]\n'
    pipeline = Pipeline(make_workspace(tmp_path / "w", settings=settings))
    assert pipeline.wanted() == ["lexical", "blend"]
    assert not [step.name for step in pipeline.steps() if step.name.startswith("audit")]


def test_recipes_need_what_their_features_read(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "w")
    (workspace.root / "recipes").mkdir()
    keys = {"plain": "", "names": "features = ['brand']", "drawn": "features = ['char3']"}
    keys |= {start: f"features = ['char3']\nchar3_init = '{start}'" for start in ("word2vec", "frozen")}
    for name, text in keys.items():
        (workspace.root / "recipes" / f"{name}.toml").write_text(text)
    pipeline = Pipeline(workspace)
    wanted = {name: {step.name for step in pipeline.recipe_steps(name)} & {"vocabulary", "char3"} for name in keys}
    both = {"vocabulary", "char3"}
    assert wanted == {
        "plain": set(), "names": {"vocabulary"}, "drawn": {"vocabulary"}, "word2vec": both, "frozen": both,
    }  # fmt: skip
    names = [step.name for step in pipeline.recipe_steps("frozen")]
    assert (
        names.index("encoder tiny")
        < names.index("vocabulary")
        < names.index("char3")
        < names.index("train frozen fold 0")
    )


def test_the_seed_redoes_the_vectors_of_3_grams_and_other_training_rows_the_vocabulary_too(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "w")
    before = Pipeline(workspace)
    rewrite(workspace, 'preset = "tiny"', 'preset = "tiny"\nseed = 5')
    seeded = Pipeline(workspace)
    assert seeded.vocabulary_inputs == before.vocabulary_inputs and seeded.vectors_inputs != before.vectors_inputs
    examples, products, _ = synthetic.make(60, noise=0.05, seed=8)
    store.save(workspace, examples, products, "test")
    after = Pipeline(workspace)
    assert after.vocabulary_inputs != before.vocabulary_inputs and after.vectors_inputs != seeded.vectors_inputs


def test_recipes_beside_the_files_go_before_them_and_are_not_wanted(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "w")
    plain = Pipeline(workspace)
    added = {name: EncoderRecipe(name=name, scheme="ten") for name in ("c1", "extra")}
    pipeline = Pipeline(workspace, added)
    assert pipeline.recipe("extra") is added["extra"] and pipeline.recipe("c1") is added["c1"]
    assert len(pipeline.run("c1").parts) == 10 and len(plain.run("c1").parts) == 5
    assert "extra" not in pipeline.wanted()
    with pytest.raises(InputError, match="no recipe 'extra'"):
        plain.recipe("extra")


def test_another_name_for_the_same_keys_is_made_from_the_same(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "w")
    added = {name: EncoderRecipe(name=name, about=name) for name in ("one", "two")} | {
        "other": EncoderRecipe(name="other", ema=0.5)
    }
    pipeline = Pipeline(workspace, added)
    assert pipeline.run("one").complete == pipeline.run("two").complete != pipeline.run("other").complete


def test_an_encoder_counts_by_its_content_not_by_its_path(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "w")
    runs = []
    for name, text in (("one", "same"), ("two", "same"), ("three", "other")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(text)
        workspace.settings_file.write_text(f'{QUICK}encoder = "{tmp_path / name}"\n')
        runs.append(Pipeline(workspace).run("c1").complete)
    assert runs[0] == runs[1] != runs[2]
