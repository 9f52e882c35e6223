"""What is redone, and what is not."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from competition.config.encoder_recipe import EncoderRecipe
from competition.core.errors import CompError, InputError
from competition.core.workspace import Workspace
from competition.data import store, synthetic
from competition.models.encoder import encoder as encoders
from competition.pipeline import build_inputs, encoder_type
from competition.pipeline.artifacts import Artifacts
from competition.pipeline.rows import fold_rows
from competition.pipeline.steps import Pipeline
from competition.training.corpus import Corpus
from tests.conftest import QUICK, make_workspace, refused
from tests.esci import CONTEST, KINDS


def steps_left(workspace: Workspace) -> list[str]:
    """The names of the steps that are not done."""
    return [step.name for step in Pipeline(workspace).steps() if step.state != "done"]


@pytest.fixture
def claimed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Workspace]:
    """A workspace in which every step counts as done with the inputs that it had when the fixture was called."""

    def make() -> Workspace:
        workspace = make_workspace(tmp_path / "w")
        done = {step.name: step.fingerprint for step in Pipeline(workspace).steps()}
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
        *(
            f"stack blend-{task}" for task in ("task1", "task2", "task3")
        ),  # trees read every member for every task
        "submit main",
        "scores",
    }


def test_a_changed_audited_recipe_redoes_those_that_drop_its_noise(
    claimed: Callable[[], Workspace],
) -> None:
    workspace = claimed()
    recipes = workspace.root / "recipes"
    recipes.mkdir()
    (recipes / "c1.toml").write_text('kind = "classes"\nbatch_size = 16\n')
    left = families(steps_left(workspace))
    assert {"train c1", "audit c1", "train r2", "stack blend-task1", "submit main"} <= left
    assert not {"train lexical", "train t3", "encoder tiny", "folds five"} & left


def test_another_share_of_noise_redoes_the_audit_and_what_uses_it(
    claimed: Callable[[], Workspace],
) -> None:
    workspace = claimed()
    rewrite(workspace, 'preset = "tiny"', 'preset = "tiny"\nnoise_fraction = 0.02')
    left = families(steps_left(workspace))
    assert {"audit c1", "train r2"} <= left
    assert "train c1" not in left


def test_device_settings_and_descriptions_redo_nothing(claimed: Callable[[], Workspace]) -> None:
    workspace = claimed()
    rewrite(workspace, "epochs = 1", "epochs = 1\ntoken_budget = 512")
    assert steps_left(workspace) == []


def test_new_test_rows_redo_predictions_only(claimed: Callable[[], Workspace]) -> None:
    workspace = claimed()
    examples, products, _ = synthetic.make(60, noise=0.05, seed=7)
    last = examples[examples["split"] == "test"].tail(1)
    store.save(workspace, CONTEST, examples.drop(last.index), products, "test")
    left = families(steps_left(workspace))
    assert {"predict c1", "score c1", "submit main", "folds five"} <= left
    assert not [
        name for name in left if name.startswith(("train", "audit", "encoder", "vocabulary"))
    ]


def test_other_training_rows_redo_everything(claimed: Callable[[], Workspace]) -> None:
    workspace = claimed()
    examples, products, _ = synthetic.make(60, noise=0.05, seed=8)
    store.save(workspace, CONTEST, examples, products, "test")
    assert set(steps_left(workspace)) == {step.name for step in Pipeline(workspace).steps()}


def test_members_come_before_what_is_made_from_them(tmp_path: Path) -> None:
    settings = QUICK.replace('["lexical", "c1", "r2", "t3"]', '["r2", "t3"]')
    settings += '[submission]\ntask1 = "blend"\ntask3 = "blend"\n'
    workspace = make_workspace(tmp_path / "w", settings=settings)
    pipeline = Pipeline(workspace)
    assert pipeline.recipes.requested() == ("c1", "r2", "t3", "blend")
    names = [step.name for step in pipeline.steps()]
    assert names.index("audit c1") < names.index("train r2 fold 0")
    assert names.index("score t3") < names.index("stack blend-task3")
    assert pipeline.recipes.tasks_of(pipeline.recipes.ensemble("blend.greedy")) == [
        "task1",
        "task3",
    ]  # r2 and t3 do not answer task 2
    assert pipeline.recipes.tasks_of(pipeline.recipes.ensemble("blend")) == [
        "task1",
        "task2",
        "task3",
    ]  # trees read them all the same


def test_a_recipe_made_from_itself_is_refused(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "w")
    (workspace.root / "recipes").mkdir()
    (workspace.root / "recipes" / "c1.toml").write_text(
        'kind = "classes"\ndrop_noise_from = "blend-task2"\n'
    )
    with pytest.raises(InputError, match=r"'c1' is made from itself: c1 <- blend <- c1"):
        Pipeline(workspace).steps()


def test_runs_are_named_and_refused(tmp_path: Path) -> None:
    pipeline = Pipeline(make_workspace(tmp_path / "w"))
    assert pipeline.plan.run("blend-task2").kind == KINDS["classes"]
    assert pipeline.plan.run("blend", "task2").name == "blend-task2"
    assert pipeline.plan.audited_runs("blend")[0] == "blend-task2"
    with pytest.raises(InputError, match="'r2' does not answer task2, only task1"):
        pipeline.plan.run("r2", "task2")
    with pytest.raises(InputError, match="say which, blend-task1"):
        pipeline.plan.run("blend")
    with pytest.raises(InputError, match="'r2' predicts gain"):
        pipeline.plan.audited_runs("r2")
    with pytest.raises(InputError, match="no recipe 'blendd'"):
        pipeline.plan.run("blendd-task1")


def test_run_names_are_split() -> None:
    assert CONTEST.split_run("blend-task1") == ("blend", "task1")
    assert CONTEST.split_run("my-model") == ("my-model", "")
    assert CONTEST.split_run("-task1") == ("-task1", "")


def test_rows_are_on_one_side_and_only_training_rows_are_dropped(tmp_path: Path) -> None:
    from competition.core.parquet import write_table

    workspace = make_workspace(tmp_path / "w")
    pipeline = Pipeline(workspace)
    pipeline.inputs.folds("five").build()
    examples = pipeline.tables.examples
    recipe = pipeline.recipes.member("r2")
    plan = pipeline.plan.fold(recipe, 1)
    assert plan.audit is not None
    every = fold_rows(pipeline.tables, replace(plan, audit=None))
    flags = pd.DataFrame({"example_id": examples["example_id"], "dropped": True})
    write_table(workspace.noise("c1"), flags.iloc[::2], plan.audit.inputs)
    kept = fold_rows(pipeline.tables, plan)
    everywhere = np.concatenate([every.train, every.held_out, every.test])
    assert sorted(everywhere) == list(range(len(examples)))
    assert (kept.held_out == every.held_out).all()
    assert (kept.test == every.test).all()
    assert kept.train.tolist() == [row for row in every.train if row % 2]
    write_table(workspace.noise("c1"), flags, "another share of noise")
    with pytest.raises(CompError, match=r"noise\.parquet is out of date"):
        fold_rows(pipeline.tables, plan)


def test_new_test_rows_leave_an_audit_by_an_ensemble_alone(tmp_path: Path) -> None:
    settings = QUICK.replace('["lexical", "c1", "r2", "t3"]', '["lexical", "c1", "late"]')
    workspace = make_workspace(tmp_path / "w", settings=settings)
    recipes = workspace.root / "recipes"
    recipes.mkdir()
    (recipes / "pair.toml").write_text('model = "ensemble"\nmembers = ["lexical", "c1"]\n')
    (recipes / "late.toml").write_text('kind = "gain"\ndrop_noise_from = "pair"\n')
    before = Pipeline(workspace).plan.run("late")
    examples, products, _ = synthetic.make(60, noise=0.05, seed=7)
    last = examples[examples["split"] == "test"].tail(1)
    store.save(workspace, CONTEST, examples.drop(last.index), products, "test")
    after = Pipeline(workspace).plan.run("late")
    assert after.held_out_fingerprint == before.held_out_fingerprint
    assert after.fingerprint != before.fingerprint


def test_encoders_of_the_same_name_have_folders_of_their_own(tmp_path: Path) -> None:
    pipeline = Pipeline(make_workspace(tmp_path / "w"))
    names = ["tiny", "org/e5-v1.5", "org/e5-v1.6", "other/e5-v1.5", "../e5-v1.5", "org--e5-v1.5"]
    folders = {pipeline.artifacts.encoder_folder(name) for name in names}
    assert len(folders) == len(names)
    assert {folder.parent for folder in folders} == {pipeline.workspace.encoder("tiny").parent}


def test_a_workspace_without_an_audit_trains_what_it_names(tmp_path: Path) -> None:
    settings = 'noise_run = ""\nrecipes = ["lexical"]\n'
    pipeline = Pipeline(make_workspace(tmp_path / "w", settings=settings))
    assert pipeline.recipes.requested() == ("lexical", "blend")
    assert not [step.name for step in pipeline.steps() if step.name.startswith("audit")]


def test_recipes_need_what_their_features_read(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "w")
    (workspace.root / "recipes").mkdir()
    keys = {"plain": "", "names": "features = ['brand']", "drawn": "features = ['char_trigrams']"}
    keys |= {
        start: f"features = ['char_trigrams']\nchar_trigrams_init = '{start}'"
        for start in ("word2vec", "frozen")
    }
    for name, text in keys.items():
        (workspace.root / "recipes" / f"{name}.toml").write_text(text)
    pipeline = Pipeline(workspace)
    wanted = {
        name: {step.name for step in pipeline.recipe_steps(name)} & {"vocabulary", "char3"}
        for name in keys
    }
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


def test_the_seed_redoes_the_vectors_of_3_grams_and_other_training_rows_the_vocabulary_too(
    tmp_path: Path,
) -> None:
    workspace = make_workspace(tmp_path / "w")
    before = Pipeline(workspace)
    rewrite(workspace, 'preset = "tiny"', 'preset = "tiny"\nseed = 5')
    seeded = Pipeline(workspace)
    assert seeded.artifacts.vocabulary_fingerprint == before.artifacts.vocabulary_fingerprint
    assert seeded.artifacts.vectors_fingerprint != before.artifacts.vectors_fingerprint
    examples, products, _ = synthetic.make(60, noise=0.05, seed=8)
    store.save(workspace, CONTEST, examples, products, "test")
    after = Pipeline(workspace)
    assert after.artifacts.vocabulary_fingerprint != before.artifacts.vocabulary_fingerprint
    assert after.artifacts.vectors_fingerprint != seeded.artifacts.vectors_fingerprint


def test_recipes_beside_the_files_go_before_them_and_are_not_wanted(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "w")
    plain = Pipeline(workspace)
    added = {name: EncoderRecipe(name=name, scheme="ten") for name in ("c1", "extra")}
    pipeline = Pipeline(workspace, added)
    assert pipeline.recipes.run("extra") is added["extra"]
    assert pipeline.recipes.run("c1") is added["c1"]
    assert len(pipeline.plan.run("c1").parts) == 10
    assert len(plain.plan.run("c1").parts) == 5
    assert "extra" not in pipeline.recipes.requested()
    with pytest.raises(InputError, match="no recipe 'extra'"):
        plain.recipes.run("extra")


def test_another_name_for_the_same_keys_is_made_from_the_same(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "w")
    added = {name: EncoderRecipe(name=name, description=name) for name in ("one", "two")} | {
        "other": EncoderRecipe(name="other", ema=0.5)
    }
    pipeline = Pipeline(workspace, added)
    assert (
        pipeline.plan.run("one").fingerprint
        == pipeline.plan.run("two").fingerprint
        != pipeline.plan.run("other").fingerprint
    )


def test_an_encoder_counts_by_its_content_not_by_its_path(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "w")
    runs = []
    for name, text in (("one", "same"), ("two", "same"), ("three", "other")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(text)
        workspace.settings_file.write_text(f'{QUICK}encoder = "{tmp_path / name}"\n')
        runs.append(Pipeline(workspace).plan.run("c1").fingerprint)
    assert runs[0] == runs[1] != runs[2]


# --- pre-training
# ------------------------------------------------------------------------------------------------

LEARNED = 'encoder = "pretrained"\n'  # in [overrides]


def with_recipes(folder: Path, settings: str = QUICK, **recipes: str) -> Workspace:
    """A workspace with recipes of its own."""
    workspace = make_workspace(folder, settings=settings)
    (workspace.root / "recipes").mkdir()
    for name, text in recipes.items():
        (workspace.root / "recipes" / f"{name}.toml").write_text(text)
    return workspace


def with_fewer_rows(workspace: Workspace, split: str) -> None:
    """The same data without the last row of a split."""
    examples, products, _ = synthetic.make(60, noise=0.05, seed=7)
    last = examples[examples["split"] == split].tail(1)
    store.save(workspace, CONTEST, examples.drop(last.index), products, "test")


def before(names: list[str], *wanted: str) -> bool:
    """Whether these are there, in this order."""
    return [name for name in names if name in wanted] == list(wanted)


def test_a_pre_trained_encoder_is_made_before_what_starts_from_it(tmp_path: Path) -> None:
    pipeline = Pipeline(make_workspace(tmp_path / "w", settings=QUICK + LEARNED))
    names = [step.name for step in pipeline.steps()]
    assert before(names, "encoder tiny", "vocabulary", "pretrain pretrained", "train c1 fold 0")
    folder = pipeline.workspace.encoder("pretrained")
    recipe = pipeline.recipes.member("c1")
    assert isinstance(recipe, EncoderRecipe)
    assert pipeline.artifacts.encoder_folder("pretrained") == folder
    assert (
        pipeline.artifacts.sources(recipe).encoder
        == pipeline.artifacts.sources(recipe).names
        == folder
    )
    learned = pipeline.recipes.pretrained("pretrained")
    assert learned is not None
    start = pipeline.artifacts.pretraining_sources(learned)
    assert (start.encoder, start.vocabulary) == (
        pipeline.artifacts.encoder_folder("tiny"),
        pipeline.workspace.vocabulary,
    )
    plain = Pipeline(make_workspace(tmp_path / "plain"))
    assert plain.recipes.pretrained("tiny") is None
    assert plain.artifacts.sources(recipe.model_copy(update={"encoder": "tiny"})).names is None
    assert not [step.name for step in plain.steps() if step.name.startswith("pretrain")]


def test_names_start_as_learned_where_both_recipes_have_them(tmp_path: Path) -> None:
    workspace = with_recipes(
        tmp_path / "w",
        colors='model = "pretraining"\nbrand = 0.0',
        words='model = "pretraining"\nbrand = 0\ncolor = 0',
    )
    pipeline = Pipeline(workspace)
    names = {}
    for encoder in ("pretrained", "colors", "words"):
        for features in ((), ("country", "char_trigrams"), ("brand",), ("brand", "color")):
            found = pipeline.artifacts.sources(
                EncoderRecipe(name="x", encoder=encoder, features=features)
            ).names
            names[encoder, features] = found
            assert found in (None, workspace.encoder(encoder))
    assert [key for key, found in names.items() if found] == [
        ("pretrained", ("brand",)), ("pretrained", ("brand", "color")), ("colors", ("brand", "color")),
    ]  # fmt: skip
    words = pipeline.recipes.pretrained("words")
    assert words is not None
    assert pipeline.artifacts.pretraining_sources(words).vocabulary is None
    assert before(
        [step.name for step in pipeline.inputs.encoder("words")], "encoder tiny", "pretrain words"
    )
    assert "vocabulary" not in [step.name for step in pipeline.inputs.encoder("words")]


def test_a_pre_training_may_start_from_another(tmp_path: Path) -> None:
    more = 'model = "pretraining"\nencoder = "pretrained"\n'
    pipeline = Pipeline(with_recipes(tmp_path / "w", QUICK + 'encoder = "more"\n', more=more))
    names = [step.name for step in pipeline.training_steps("c1", 0)]
    assert before(names, "encoder tiny", "pretrain pretrained", "pretrain more", "train c1 fold 0")
    assert pipeline.artifacts.encoder_fingerprint("more") != pipeline.artifacts.encoder_fingerprint(
        "pretrained"
    )


@pytest.mark.parametrize(
    ("settings", "command"),
    [
        ('recipes = ["lexical", "pretrained"]', ["status"]),
        ('default_recipe = "pretrained"', ["train"]),
        ("", ["train", "--recipe", "pretrained"]),
        ("", ["train", "--recipe", "pretrained", "--fold", "0"]),
        ("", ["stack", "pretrained"]),
        ("", ["submit", "--from", "pretrained"]),
        ('noise_run = "pretrained"', ["run"]),
        ('ensembles = ["pretrained"]', ["status"]),
        ('[submission]\ntask1 = "pretrained"', ["status"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value.split(" ")[0],
)
def test_a_pre_training_recipe_is_no_run(settings: str, command: list[str], tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "w", settings=settings)
    sentence = refused(*command, "-w", workspace.root)
    assert sentence == (
        "'pretrained' pre-trains an encoder and leaves no predictions: let a recipe start from it with "
        "`encoder = 'pretrained'`, or make it alone with "
        f"`comp pretrain --recipe pretrained -w {workspace.root}`."
    )


def test_only_pre_training_recipes_pre_train(tmp_path: Path) -> None:
    workspace = with_recipes(tmp_path / "w", QUICK, odd='kind = "classes"\nencoder = "c2"')
    for name in ("c1", "blend", "lexical"):
        sentence = refused("pretrain", "--recipe", name, "-w", workspace.root)
        assert (
            sentence
            == f"'{name}' pre-trains nothing: a recipe that does says `model = \"pretraining\"`."
        )
    assert "did you mean 'pretrained'" in refused(
        "pretrain", "--recipe", "pretraned", "-w", workspace.root
    )
    assert "'c2' pre-trains nothing" in refused("train", "--recipe", "odd", "-w", workspace.root)


def test_a_pre_training_that_starts_from_itself_is_refused(tmp_path: Path) -> None:
    circle = {
        name: f'model = "pretraining"\nencoder = "{other}"'
        for name, other in (("a", "b"), ("b", "a"))
    }
    workspace = with_recipes(tmp_path / "w", QUICK + 'encoder = "a"\n', **circle)
    for command in (["pretrain", "--recipe", "a"], ["train"], ["status"]):
        assert (
            refused(*command, "-w", workspace.root)
            == "The recipe 'a' starts from its own encoder: a <- b <- a."
        )
    workspace.settings_file.write_text(f'{QUICK}{LEARNED}[pretraining]\nencoder = "pretrained"\n')
    sentence = refused("status", "-w", workspace.root)
    assert (
        sentence == "The recipe 'pretrained' starts from its own encoder: pretrained <- pretrained."
    )


def test_a_pre_training_recipe_called_like_the_offline_encoder_is_refused(tmp_path: Path) -> None:
    workspace = with_recipes(tmp_path / "w", QUICK, tiny='model = "pretraining"')
    assert "'tiny'" in refused("pretrain", "--recipe", "tiny", "-w", workspace.root)


@pytest.mark.parametrize("copies", [0, 1, 2])
def test_new_test_rows_redo_a_pre_training_that_reads_them(copies: int, tmp_path: Path) -> None:
    settings = f"{QUICK}{LEARNED}[pretraining]\ntest_copies = {copies}\n"
    workspace = make_workspace(tmp_path / "w", settings=settings)
    old = Pipeline(workspace)
    plans = [old.plan.fold(old.recipes.member("c1"), 0)]
    inputs = {name: old.artifacts.encoder_fingerprint(name) for name in ("pretrained", "tiny")}
    with_fewer_rows(workspace, "test")
    new = Pipeline(workspace)
    plans.append(new.plan.fold(new.recipes.member("c1"), 0))
    assert (new.artifacts.encoder_fingerprint("pretrained") == inputs["pretrained"]) == (
        copies == 0
    )
    assert (plans[0].fingerprint == plans[1].fingerprint) == (copies == 0)
    assert plans[0].test_fingerprint != plans[1].test_fingerprint
    assert new.artifacts.encoder_fingerprint("tiny") == inputs["tiny"]
    with_fewer_rows(workspace, "train")
    assert Pipeline(workspace).artifacts.encoder_fingerprint("pretrained") != inputs["pretrained"]


def test_new_training_rows_redo_a_pre_training_whatever_it_starts_from(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "config.json").write_text("an encoder")
    words = f'model = "pretraining"\nencoder = "{tmp_path / "folder"}"\nbrand = 0\ncolor = 0\ntest_copies = 0\n'
    workspace = with_recipes(tmp_path / "w", words=words)
    inputs = []
    for split in ("test", "train"):
        inputs.append(Pipeline(workspace).artifacts.encoder_fingerprint("words"))
        with_fewer_rows(workspace, split)
    inputs.append(Pipeline(workspace).artifacts.encoder_fingerprint("words"))
    assert inputs[0] == inputs[1] != inputs[2]


@pytest.mark.parametrize(
    ("line", "stale"),
    [
        ("token_budget = 512", False),
        ("epochs = 3", True),
        ("queue = 0", True),
        ('encoder = "FOLDER"', True),
    ],
)
def test_a_changed_pre_training_redoes_what_starts_from_it(
    line: str, stale: bool, tmp_path: Path
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "config.json").write_text("an encoder")
    own = {"mine": f'kind = "classes"\n{LEARNED}', "other": 'kind = "classes"\n'}
    workspace = with_recipes(tmp_path / "w", QUICK, **own)
    old = Pipeline(workspace)
    workspace.settings_file.write_text(
        f"{QUICK}[pretraining]\n{line}\n".replace("FOLDER", str(tmp_path / "folder"))
    )
    new = Pipeline(workspace)
    assert (
        new.artifacts.encoder_fingerprint("pretrained")
        != old.artifacts.encoder_fingerprint("pretrained")
    ) == stale
    assert (new.plan.run("mine").fingerprint != old.plan.run("mine").fingerprint) == stale
    assert new.plan.run("other").fingerprint == old.plan.run("other").fingerprint
    assert (
        old.plan.run("mine").fingerprint != old.plan.run("other").fingerprint
    )  # though both have the same keys


def test_descriptions_and_names_of_a_pre_training_redo_nothing(tmp_path: Path) -> None:
    texts = {
        "one": "",
        "two": 'description = "the same"\ntoken_budget = 7\n',
        "three": "seed = 7\n",
    }
    pipeline = Pipeline(
        with_recipes(
            tmp_path / "w",
            **{name: f'model = "pretraining"\n{text}' for name, text in texts.items()},
        )
    )
    inputs = {name: pipeline.artifacts.encoder_fingerprint(name) for name in texts}
    assert inputs["one"] == inputs["two"] != inputs["three"]
    runs = {name: EncoderRecipe(name="x", encoder=name) for name in texts}
    plans = {name: pipeline.plan.fold(recipe, 0).fingerprint for name, recipe in runs.items()}
    assert plans["one"] == plans["two"] != plans["three"]
    assert pipeline.artifacts.encoder_folder("one") != pipeline.artifacts.encoder_folder("two")


def test_a_pre_training_depends_on_the_vocabulary_where_it_learns_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = 'model = "pretraining"\nbrand = 0\n'
    workspace = with_recipes(tmp_path / "w", names=names, words=f"{names}color = 0\n")
    old = Pipeline(workspace)
    inputs = {name: old.artifacts.encoder_fingerprint(name) for name in ("names", "words")}
    monkeypatch.setattr(Artifacts, "vocabulary_fingerprint", "another vocabulary")
    new = Pipeline(workspace)
    assert new.artifacts.encoder_fingerprint("names") != inputs["names"]
    assert new.artifacts.encoder_fingerprint("words") == inputs["words"]


# --- rows that are added
# -----------------------------------------------------------------------------------------


def translating(folder: Path, model: Path | str) -> Workspace:
    """A workspace whose recipe `wide` translates with a model."""
    return with_recipes(folder, QUICK, wide=f'kind = "classes"\ntranslate_with = "{model}"\n')


def test_only_recipes_that_translate_need_translations(tmp_path: Path) -> None:
    (tmp_path / "es-en").mkdir()
    (tmp_path / "es-en" / "config.json").write_text("a model")
    pipeline = Pipeline(translating(tmp_path / "w", tmp_path / "es-en"))
    names = [step.name for step in pipeline.recipe_steps("wide")]
    assert before(names, f"translate with {tmp_path / 'es-en'}", "train wide fold 0")
    file = pipeline.artifacts.translations(str(tmp_path / "es-en"))
    assert file.path.parent == tmp_path / "w" / "data" / "translations"
    assert not [step.name for step in pipeline.steps() if step.name.startswith("translate")]


def test_translations_count_by_the_model_s_content_and_the_training_rows(tmp_path: Path) -> None:
    plans = {}
    for name, text in (("one", "same"), ("two", "same"), ("three", "other")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(text)
        pipeline = Pipeline(translating(tmp_path / f"w-{name}", tmp_path / name))
        plan = pipeline.plan.fold(pipeline.recipes.member("wide"), 0)
        file = pipeline.artifacts.translations(str(tmp_path / name))
        plans[name] = (plan.fingerprint, file.path.name, file.fingerprint)
    assert plans["one"] == plans["two"]
    assert all(a != b for a, b in zip(plans["one"], plans["three"], strict=True))
    workspace = Workspace.open(tmp_path / "w-one")
    by_split = []
    for split in ("test", "train"):
        with_fewer_rows(workspace, split)
        file = Pipeline(workspace).artifacts.translations(str(tmp_path / "one"))
        by_split.append((file.path.name, file.fingerprint))
    assert by_split[0] == plans["one"][1:]  # nothing of the test rows is translated
    assert by_split[1][0] == plans["one"][1]
    assert by_split[1][1] != plans["one"][2]  # the file is brought up to date
    (tmp_path / "one" / "config.json").write_text("trained on")
    file = Pipeline(workspace).artifacts.translations(str(tmp_path / "one"))
    assert file.path.name != by_split[1][0]
    assert file.fingerprint != by_split[1][1]


@pytest.mark.parametrize("name", ["./models/es-en", "models/es-en"])
def test_a_translation_model_is_found_from_the_workspace_or_refused(
    name: str, tmp_path: Path
) -> None:
    workspace = translating(tmp_path / "w", name)
    sentence = refused("train", "--recipe", "wide", "-w", workspace.root)
    assert sentence == (
        f"The translate_with '{name}' of the recipe 'wide' is not a folder: correct `translate_with` in "
        "[overrides] or the recipe."
    )
    folder = workspace.models / "es-en"
    folder.mkdir(parents=True)
    assert Pipeline(workspace).artifacts.translations("./models/es-en").source == str(
        workspace.root / "models" / "es-en"
    )
    assert (
        Pipeline(workspace).artifacts.translations("Helsinki-NLP/opus-mt-es-en").source
        == "Helsinki-NLP/opus-mt-es-en"
    )


def test_recipes_share_their_pairs_where_they_read_the_same_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[dict[str, Any]] = []

    def make(recipe: EncoderRecipe, *rest: object) -> str:
        made.append(recipe.model_dump())
        return f"corpus {len(made)}"

    monkeypatch.setattr(Corpus, "make", make)
    monkeypatch.setattr(build_inputs, "stored_tokens", lambda *_, **__: None)
    monkeypatch.setattr(encoders, "text_template", lambda *_: "")  # the folder is not made
    pipeline = Pipeline(make_workspace(tmp_path / "w"))
    keys: list[dict[str, Any]] = [
        {},
        {"rebalance": True},
        {"rebalance": True, "query_context": True},
        {"max_length": 64},
        {"template": "{query} {document}"},
        {"servable": True},
    ]
    for number, change in enumerate(keys, start=1):
        for same in ({}, {"epochs": 3}, {"augmented_weight": 0.5}):
            recipe = EncoderRecipe(**({"name": "x", "max_length": 32} | change | same))
            corpus = encoder_type.read_corpus(pipeline.tables, pipeline.plan, recipe)
            assert corpus == f"corpus {number}"
    assert len(made) == len(keys)
