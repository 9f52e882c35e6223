"""Settings and recipes: what wins over what, and a sentence with the nearest name for every misspelling."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

import competition
from competition.config.base_recipe import FoldRecipe
from competition.config.encoder_recipe import EncoderRecipe
from competition.config.keys import Lora, Spans
from competition.config.loading import load_recipe
from competition.config.recipe import EnsembleRecipe, LexicalRecipe, PretrainingRecipe
from competition.config.settings import BUILT_IN, Settings, load_settings, recipe_names
from competition.core.errors import InputError
from competition.core.fingerprint import fingerprint
from competition.core.toml_files import read_toml
from competition.core.workspace import Workspace
from competition.scoring import definition
from tests.conftest import comp, make_workspace, refused
from tests.esci import CONTEST

RECIPES = sorted(path.stem for path in BUILT_IN.glob("*.toml"))
PRESETS = sorted(path.stem for path in (BUILT_IN / "presets").glob("*.toml"))


def make(root: Path, settings: str = "", **recipes: str) -> Workspace:
    """A workspace with this competition.toml and these recipes of its own."""
    (root / "recipes").mkdir(parents=True, exist_ok=True)
    (root / "competition.toml").write_text(settings, encoding="utf-8")
    for name, text in recipes.items():
        (root / "recipes" / f"{name}.toml").write_text(text, encoding="utf-8")
    return Workspace.open(root)


def recipe(workspace: Workspace, name: str) -> EncoderRecipe:
    """An encoder recipe with everything resolved."""
    found = load_recipe(workspace, load_settings(workspace), CONTEST, name)
    assert isinstance(found, EncoderRecipe)
    return found


def pretraining(workspace: Workspace, name: str = "pretrained") -> PretrainingRecipe:
    """A recipe that pre-trains with everything resolved."""
    found = load_recipe(workspace, load_settings(workspace), CONTEST, name)
    assert isinstance(found, PretrainingRecipe)
    return found


def complaint(workspace: Workspace, name: str = "c1") -> str:
    """The sentence with which settings or a recipe are refused."""
    with pytest.raises(InputError) as caught:
        load_recipe(workspace, load_settings(workspace), CONTEST, name)
    sentence = str(caught.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    return sentence


# --- misspelled
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ('pre_set = "tiny"', ("competition.toml", "'pre_set'", "did you mean 'preset'")),
        ("[overides]\nepochs = 1", ("competition.toml", "'overides'", "did you mean 'overrides'")),
        (
            "[overrides]\nepoch = 1",
            ("competition.toml", "'epoch'", "[overrides]", "did you mean 'epochs'"),
        ),
        (
            "[overrides]\nlearn_rate = 1",
            ("'learn_rate'", "[overrides]", "did you mean 'learning_rate'"),
        ),
        (
            '[submission]\ntsk1 = "c1"',
            ("competition.toml", "'tsk1'", "[submission]", "did you mean 'task1'"),
        ),
        ('preset = "minilmm"', ("competition.toml", "'minilmm'", "did you mean 'minilm'", "tiny")),
        (
            "[pretraining]\ntemprature = 1",
            ("competition.toml", "'temprature'", "[pretraining]", "'temperature'?"),
        ),
        (
            "[pretraining]\nscheme = 'five'",
            ("competition.toml", "unknown key 'scheme'", "[pretraining]"),
        ),
        (
            "[overrides]\ntemperature = 1",
            ("competition.toml", "unknown key 'temperature'", "[overrides]"),
        ),
        (
            "[pretraning]\nepochs = 1",
            ("competition.toml", "'pretraning'", "did you mean 'pretraining'"),
        ),
        ("noise_fraction = 0.7", ("competition.toml", "noise_fraction", "0.7", "less than 0.5")),
        ('seed = "x"', ("competition.toml", "seed", "'x'")),
        ("[overrides]\nepochs = 0", ("competition.toml", "epochs", "0")),
        ('[overrides]\nscheme = "fife"', ("competition.toml", "scheme", "'fife'", "five")),
        ('preset = "tiny', ("competition.toml", "not valid TOML", "Unterminated string")),
        ("seed = 1\nseed == 2\n", ("competition.toml", "not valid TOML", "line 2")),
    ],
)
def test_wrong_settings_are_refused(settings: str, words: tuple[str, ...], tmp_path: Path) -> None:
    sentence = complaint(make(tmp_path, settings))
    for word in words:
        assert word in sentence, sentence


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "fieldorder = 'ptbcbd'",
            ("recipes/mine.toml", "'fieldorder'", "did you mean 'field_order'"),
        ),
        ("batchsize = 4", ("recipes/mine.toml", "'batchsize'", "did you mean 'batch_size'")),
        ("epochs = 0", ("recipes/mine.toml", "epochs", "0")),
        ("kind = 'class'", ("recipes/mine.toml", "kind", "'class'")),
        (
            "model = 'lexcal'",
            ("recipes/mine.toml", "'lexcal'", "encoder, lexical, imported, ensemble"),
        ),
        ("model = 'lexical'\nepochs = 3", ("recipes/mine.toml", "'epochs'")),
        (
            "model = 'ensemble'\nmember = ['c1']",
            ("recipes/mine.toml", "'member'", "did you mean 'members'"),
        ),
        ("epochs 3", ("recipes/mine.toml", "not valid TOML", "line 1")),
        (
            "architecture = 'two-towers'",
            ("recipes/mine.toml", "architecture", "'two-towers'", "'two-tower'"),
        ),
        (
            "features = ['brand', 'size']",
            ("recipes/mine.toml", "features", "'size'", "char_trigrams"),
        ),
        ("features = ['brand', 'brand']", ("recipes/mine.toml", "features", "is duplicated")),
        ("seeds = [1, 2, 1]", ("recipes/mine.toml", "seeds", "[1, 2, 1]", "is duplicated")),
        ("adversary = 'fgm'", ("recipes/mine.toml", "adversary", "'fgm'", "'fgm-table'")),
        ("epsilon = 0", ("recipes/mine.toml", "epsilon", "0", "greater than 0")),
        ("ema = 1.0", ("recipes/mine.toml", "ema", "1.0", "less than 1")),
        ("multi_sample_dropout = 0", ("recipes/mine.toml", "multi_sample_dropout", "0")),
        ("loss = 'mse'", ("recipes/mine.toml", "loss = 'mse'", "kind = 'classes'")),
        ("loss = 'ce'\nkind = 'gain'", ("recipes/mine.toml", "loss = 'ce'", "kind = 'gain'")),
        (
            "loss = 'mse'\nkind = 'substitute'",
            ("recipes/mine.toml", "loss = 'mse'", "kind = 'substitute'"),
        ),
        ("label_smoothing = 0.1\nkind = 'gain'", ("recipes/mine.toml", "label_smoothing", "gain")),
        (
            "model = 'ensemble'\nmethod = 'same'",
            ("recipes/mine.toml", "method", "'same'", "'paper'"),
        ),
        (
            "model = 'ensemble'\nmembers = ['c1', 'c1']",
            ("recipes/mine.toml", "members", "named twice"),
        ),
        (
            "model = 'lexical'\nkind = 'gian'",
            ("recipes/mine.toml", "kind", "'gian'", "did you mean 'gain'"),
        ),
        (
            "model = 'pretraining'\nqeue = 1",
            ("recipes/mine.toml", "'qeue'", "did you mean 'queue'"),
        ),
        ("model = 'pretraining'\nmlm = 0", ("recipes/mine.toml", "mlm", "0", "greater than 0")),
        ("model = 'pretraining'\nscheme = 'five'", ("recipes/mine.toml", "unknown key 'scheme'")),
        (
            "model = 'pretraining'\nspans = {us = {shortest = 15}}",
            ("recipes/mine.toml", "spans.us", "must not fall"),
        ),
        (
            "model = 'pretraining'\nspans = {uk = {}}",
            ("recipes/mine.toml", "spans", "'uk'", "did you mean 'us'"),
        ),
        ("augmented_weight = 0", ("recipes/mine.toml", "augmented_weight", "0", "greater than 0")),
        ("rebalanced = true", ("recipes/mine.toml", "'rebalanced'", "did you mean 'rebalance'")),
        # What LightGBM cannot hold.
        ("model = 'lexical'\nnum_leaves = 131073", ("num_leaves = 131073", "equal to 131072")),
        ("model = 'lexical'\nn_estimators = 3000000000", ("n_estimators", "2147483647")),
        ("model = 'lexical'\nmin_data_in_leaf = 3000000000", ("min_data_in_leaf", "2147483647")),
        ("model = 'ensemble'\nnum_leaves = 131073", ("num_leaves = 131073", "equal to 131072")),
    ],
)
def test_wrong_recipes_are_refused(text: str, words: tuple[str, ...], tmp_path: Path) -> None:
    sentence = complaint(make(tmp_path, mine=text), "mine")
    for word in words:
        assert word in sentence, sentence


def test_a_fault_of_the_recipe_is_not_blamed_on_the_overrides(tmp_path: Path) -> None:
    workspace = make(tmp_path, "[overrides]\nepochs = 1", mine="batchsize = 4")
    assert "recipes/mine.toml" in complaint(workspace, "mine")


def test_an_unknown_recipe_is_answered_with_the_nearest(tmp_path: Path) -> None:
    workspace = make(tmp_path, my_recipe="")
    sentence = complaint(workspace, "lexcal")
    assert "'lexcal'" in sentence
    assert "did you mean 'lexical'" in sentence
    for name in RECIPES:
        assert name in sentence
    assert "did you mean 'my_recipe'" in complaint(workspace, "myrecipe")
    assert "'lexical-learning_rate=0.05-x'" in complaint(workspace, "lexical-learning_rate=0.05-x")


@pytest.mark.parametrize("name", ["../c1", "presets/tiny", "", "c1.toml"])
def test_a_path_is_no_name_of_a_recipe(name: str, tmp_path: Path) -> None:
    assert "There is no recipe" in complaint(make(tmp_path), name)


def test_the_command_says_the_same_sentence(tmp_path: Path) -> None:
    make(tmp_path, "[overrides]\nepoch = 1")
    assert "did you mean 'epochs'" in refused("status", "-w", tmp_path)


def test_a_settings_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    workspace = make(tmp_path)
    workspace.settings_file.write_bytes(b'preset = "\xff"')
    assert "competition.toml" in complaint(workspace)


# --- what wins
# ---------------------------------------------------------------------------------------------------


def test_defaults_lose_to_the_preset_the_recipe_and_the_overrides(tmp_path: Path) -> None:
    plain = EncoderRecipe(name="mine")
    assert plain.max_length == 256
    by_preset = recipe(make(tmp_path / "1", 'preset = "minilm"', mine=""), "mine")
    assert by_preset.max_length == 64 != plain.max_length
    assert by_preset.batch_size == plain.batch_size
    by_recipe = recipe(make(tmp_path / "2", 'preset = "minilm"', mine="max_length = 100"), "mine")
    assert by_recipe.max_length == 100
    assert by_recipe.encoder == by_preset.encoder
    over = 'preset = "minilm"\n[overrides]\nmax_length = 90'
    by_override = recipe(make(tmp_path / "3", over, mine="max_length = 100\nepochs = 7"), "mine")
    assert (by_override.max_length, by_override.epochs) == (90, 7)


def test_the_seed_goes_the_same_way(tmp_path: Path) -> None:
    assert recipe(make(tmp_path / "0"), "c1").seed == 2022
    assert recipe(make(tmp_path / "1", "seed = 5"), "c1").seed == 5
    assert recipe(make(tmp_path / "2", "seed = 5", mine="seed = 6"), "mine").seed == 6
    assert (
        recipe(
            make(tmp_path / "3", "seed = 5\n[overrides]\nseed = 7", mine="seed = 6"), "mine"
        ).seed
        == 7
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ("ce", 1.0)),
        ("kind = 'substitute'", ("ce", 1.0)),
        ("kind = 'gain'", ("mse", 1.0)),
        ("loss = 'focal'\nadversary = 'fgm-row'", ("focal", 1.0)),
        ("adversary = 'awp'", ("ce", 0.005)),
        ("adversary = 'awp'\nepsilon = 0.5", ("ce", 0.5)),
    ],
)
def test_loss_and_epsilon_default_to_what_goes_with_the_rest(
    text: str, expected: tuple[str, float], tmp_path: Path
) -> None:
    found = recipe(make(tmp_path, mine=text), "mine")
    assert (found.loss, found.epsilon) == expected


def test_defaults_that_depend_look_at_what_has_won(tmp_path: Path) -> None:
    over = "[overrides]\nadversary = 'awp'"
    assert (
        recipe(make(tmp_path / "1", over), "t2").epsilon == 0.005
    )  # the recipe itself says fgm-table
    mine = "adversary = 'fgm-table'\nepsilon = 0.5"
    assert recipe(make(tmp_path / "2", over, mine=mine), "mine").epsilon == 0.5
    assert (
        recipe(make(tmp_path / "3", f"{over}\nepsilon = 0.25", mine=mine), "mine").epsilon == 0.25
    )
    plain = recipe(
        make(tmp_path / "4", "[overrides]\nema = 0.0\nmixup = 0.0\nfeatures = []\nseeds = [3, 4]"),
        "r3",
    )
    assert (plain.ema, plain.mixup, plain.features, plain.all_seeds) == (0.0, 0.0, (), (3, 4))
    assert (plain.loss, plain.adversary, plain.r_drop) == ("mse", "fgm-table", 0.5)


def test_seeds_go_before_the_seed() -> None:
    assert (
        EncoderRecipe(name="x", seed=5).all_seeds
        == LexicalRecipe(name="x", seed=5).all_seeds
        == (5,)
    )
    assert EncoderRecipe(name="x", seed=5, seeds=(7, 6)).all_seeds == (7, 6)


def test_recipes_share_the_seeds_of_their_folds() -> None:
    drawn = [FoldRecipe.fold_seed(seed, fold) for seed in (1, 2) for fold in range(5)]
    assert len(set(drawn)) == 10
    assert (
        EncoderRecipe(name="x").fold_seed(1, 3)
        == LexicalRecipe(name="y").fold_seed(1, 3)
        == drawn[3]
    )


def test_overrides_touch_only_the_recipes_that_have_the_key(tmp_path: Path) -> None:
    workspace = make(tmp_path, "[overrides]\nepochs = 9\nleaves = 3")
    settings = load_settings(workspace)
    encoder, lexical, blend = (
        load_recipe(workspace, settings, CONTEST, name) for name in ("c1", "lexical", "blend")
    )
    assert isinstance(encoder, EncoderRecipe)
    assert encoder.epochs == 9
    assert isinstance(lexical, LexicalRecipe)
    assert lexical.num_leaves == 3
    assert isinstance(blend, EnsembleRecipe)


def test_recipes_that_pre_train_have_a_table_of_their_own(tmp_path: Path) -> None:
    """They share keys with those that fine-tune, whose values would be far off."""
    over = "seed = 5\n[overrides]\nepochs = 9\nmax_length = 90\nseed = 7\nencoder = 'pretrained'\nema = 0.5\n"
    over += "[pretraining]\nepochs = 4\nbatch_size = 77\n"
    workspace = make(
        tmp_path, over, mine="model = 'pretraining'\nepochs = 3\nmax_length = 40\nseed = 6"
    )
    own, built_in, tuned = (
        pretraining(workspace, "mine"),
        pretraining(workspace),
        recipe(workspace, "c1"),
    )
    assert (own.epochs, own.max_length, own.batch_size, own.seed, own.encoder) == (
        4,
        40,
        77,
        6,
        "tiny",
    )
    assert (built_in.epochs, built_in.seed, built_in.ema, built_in.encoder) == (4, 5, 0.999, "tiny")
    assert (tuned.epochs, tuned.max_length, tuned.batch_size, tuned.seed) == (9, 90, 32, 7)
    assert (tuned.encoder, tuned.ema) == ("pretrained", 0.5)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_has_a_size_for_each_kind(preset: str, tmp_path: Path) -> None:
    content = read_toml(BUILT_IN / "presets" / f"{preset}.toml")
    workspace = make(tmp_path, f"preset = '{preset}'")
    for found, told in (
        (pretraining(workspace), content["pretraining"]),
        (recipe(workspace, "c1"), content),
    ):
        assert found.encoder == content["encoder"]
        others = ("pretraining", "whole_words")
        sizes = {key: value for key, value in told.items() if key not in others}
        if "lora" in sizes:
            sizes["lora"] = Lora(**sizes["lora"])
        assert {key: getattr(found, key) for key in sizes} == sizes

    # Whole words are for scripts that have blanks between them.
    whole = content["pretraining"].get("whole_words", False)
    spans = pretraining(workspace).spans
    assert {name: each.whole_words for name, each in spans.items()} == {
        "us": whole,
        "es": whole,
        "jp": False,
    }


def test_a_sharded_preset_changes_how_training_is_laid_out_and_no_result(tmp_path: Path) -> None:
    whole, sharded = (
        make(tmp_path / name, f"preset = 'infoxlm-large{name}'") for name in ("", "-sharded")
    )
    assert recipe(sharded, "c1").sharded
    assert not recipe(whole, "c1").sharded
    assert recipe(sharded, "c1").result_keys() == recipe(whole, "c1").result_keys()
    assert pretraining(sharded) == pretraining(whole)


def test_a_fault_in_the_table_of_pre_training_is_blamed_on_it(tmp_path: Path) -> None:
    sentence = complaint(make(tmp_path, "[pretraining]\nepochs = 0"), "pretrained")
    assert all(
        word in sentence
        for word in ("competition.toml, [pretraining] on the recipe 'pretrained'", "epochs")
    )
    mine = make(tmp_path / "2", "[pretraining]\nepochs = 1", mine="model = 'pretraining'\nqeue = 1")
    assert "recipes/mine.toml" in complaint(mine, "mine")


def test_a_preset_says_nothing_about_the_floor(tmp_path: Path) -> None:
    floors = []
    for preset in PRESETS:
        workspace = make(tmp_path / preset, f'preset = "{preset}"')
        floors.append(load_recipe(workspace, load_settings(workspace), CONTEST, "lexical"))
    assert all(floor == floors[0] for floor in floors)


def test_own_recipes_go_before_built_in_ones(tmp_path: Path) -> None:
    workspace = make(tmp_path, c1="description = 'mine'\nkind = 'gain'", other="")
    assert (recipe(workspace, "c1").description, recipe(workspace, "c1").kind) == ("mine", "gain")
    assert recipe(make(tmp_path / "plain"), "c1").kind == "classes"
    assert recipe_names(workspace) == sorted({*RECIPES, "other"})


def test_a_recipe_is_called_what_its_file_is_called(tmp_path: Path) -> None:
    assert recipe(make(tmp_path / "1", mine=""), "mine").name == "mine"
    assert "'name'" in complaint(make(tmp_path / "2", mine="name = 'other'"), "mine")


# --- results
# -----------------------------------------------------------------------------------------------------


FORMER = {"distil_from": "c1", "distilled": 0.9, "trees": 7, "shrinkage": 0.1, "leaves": 4}
TODAY = {
    "distill_from": "c1",
    "distill_weight": 0.9,
    "n_estimators": 7,
    "learning_rate": 0.1,
    "num_leaves": 4,
}


def test_former_names_are_read_with_one_warning_each(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = "".join(f"{key} = {value!r}\n" for key, value in FORMER.items())
    mine = "model = 'lexical'\nabout = 'a'\n" + lines
    other = "features = ['brand', 'char3']\nchar3_init = 'frozen'"
    workspace = make(tmp_path, "[overrides]\nmin_rows_per_leaf = 9", mine=mine, other=other)
    for _ in range(2):
        found = load_recipe(workspace, load_settings(workspace), CONTEST, "mine")
        features = recipe(workspace, "other")
    keys = TODAY | {"description": "a", "min_data_in_leaf": 9}
    assert found == LexicalRecipe.model_validate({"name": "mine", **keys})
    assert features.features == ("brand", "char_trigrams")
    assert features.char_trigrams_init == "frozen"

    warnings = capsys.readouterr().err.splitlines()
    former = [*FORMER, "about", "min_rows_per_leaf", "char3", "char3_init"]
    assert sorted(line.split("'")[1] for line in warnings) == sorted(former)
    assert any("mine.toml: 'trees' is now called 'n_estimators'" in line for line in warnings)


def test_a_key_under_both_its_names_is_refused(tmp_path: Path) -> None:
    mine = "model = 'lexical'\ntrees = 3\nn_estimators = 4"
    assert "trees is the former name of n_estimators" in complaint(
        make(tmp_path, mine=mine), "mine"
    )


def test_the_learning_rate_of_encoders_is_not_that_of_trees(tmp_path: Path) -> None:
    workspace = make(tmp_path, "[overrides]\nlearning_rate = 1e-5", mine="")
    assert recipe(workspace, "mine").learning_rate == 1e-5
    lexical = load_recipe(workspace, load_settings(workspace), CONTEST, "lexical")
    assert isinstance(lexical, LexicalRecipe)
    assert lexical.learning_rate == LexicalRecipe(name="x").learning_rate


def test_fingerprints_are_those_of_the_former_names() -> None:
    # From the release before the keys were renamed: whoever moves them makes every user train again.
    lexical = LexicalRecipe(name="x", distill_from="c1", distill_weight=0.9, n_estimators=7)
    encoder = EncoderRecipe(
        name="x", features=("brand", "char_trigrams"), char_trigrams_init="frozen"
    )
    assert fingerprint(lexical.result_keys()) == "709917f03111471c"
    assert fingerprint(encoder.result_keys()) == "8e7f7d0a48983df3"
    assert fingerprint(EnsembleRecipe(name="x").result_keys()) == "cc9b98dc5d4264f5"
    spans = {each.name: Spans.default(each.dense) for each in CONTEST.locales}
    pretrained = PretrainingRecipe(name="x", spans=spans)
    assert fingerprint(pretrained.result_keys()) == "b0c7c0ed92e889f0"


@pytest.mark.parametrize("model", [EncoderRecipe, LexicalRecipe, PretrainingRecipe])
def test_device_keys_change_no_result(
    model: type[EncoderRecipe] | type[LexicalRecipe] | type[PretrainingRecipe],
) -> None:
    plain = model(name="x")
    assert plain.device_keys <= set(model.model_fields)
    unused = {
        "weight_noise_from",
        "relabel_noise_from",
        "distill_from",
        "distill_weight",
        "distill_rows",
        "distill_confidence",
        "nested",
        "ranking_weight",
    }  # that are off
    unused |= plain.later_keys
    assert plain.later_keys <= set(model.model_fields)
    result = set(model.model_fields) - plain.device_keys - {"description", "name"} - unused
    assert set(plain.result_keys()) == {plain.former_keys.get(key, key) for key in result}


@pytest.mark.parametrize(
    "change",
    [
        *(
            {"epochs": 1},
            {"seed": 1},
            {"dropout": 0.0},
            {"drop_noise_from": "c1"},
            {"seeds": (1, 2)},
        ),
        *(
            {"architecture": "two-tower"},
            {"features": ("char_trigrams",)},
            {"char_trigrams_init": "frozen"},
            {"loss": "ghm"},
        ),
        *(
            {"label_smoothing": 0.1},
            {"ema": 0.9},
            {"adversary": "awp"},
            {"epsilon": 0.5},
            {"r_drop": 0.1},
        ),
        *({"mixup": 0.1}, {"multi_sample_dropout": 2}, {"weights": "best"}),
        *({"rebalance": True}, {"query_context": True}, {"augmented_weight": 0.5}),
        *({"weight_noise_from": "c1"}, {"relabel_noise_from": "c1"}, {"distill_from": "c1"}),
        *(
            {"pooling": "first"},
            {"head_learning_rate": 1e-3},
            {"layer_decay": 0.9},
            {"warmup_steps": 50},
        ),
        *({"prior_bias": True}, {"train_queries": 10}),
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_changes_a_result_makes_it_out_of_date(change: dict[str, Any]) -> None:
    assert (
        EncoderRecipe(**{"name": "x", **change}).result_keys()
        != EncoderRecipe(name="x").result_keys()
    )


@pytest.mark.parametrize(
    "change",
    [
        *(
            {"epochs": 1},
            {"seed": 1},
            {"max_length": 64},
            {"batch_size": 8},
            {"learning_rate": 1e-3},
            {"warmup": 0.2},
        ),
        *(
            {"weight_decay": 0.1},
            {"clip_norm": 2.0},
            {"ema": 0.9},
            {"mlm": 2.0},
            {"query": 0.0},
            {"brand": 0.0},
        ),
        *(
            {"color": 1.0},
            {"contrastive": 0.0},
            {"masked": 0.2},
            {"temperature": 0.1},
            {"queue": 0.0},
        ),
        *({"momentum": 0.9}, {"test_copies": 0}, {"spans": {"us": {"mean": 4.0}}}),
        *({"head_learning_rate": 1e-3}, {"layer_decay": 0.9}),
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_changes_a_pre_training_makes_it_out_of_date(change: dict[str, Any]) -> None:
    assert (
        PretrainingRecipe(**{"name": "x", **change}).result_keys()
        != PretrainingRecipe(name="x").result_keys()
    )


def test_what_changes_no_result_makes_nothing_out_of_date() -> None:
    plain = EncoderRecipe(name="x").result_keys()
    assert (
        EncoderRecipe(name="y", token_budget=1, description="other", encoder="a/copy").result_keys()
        == plain
    )
    assert (
        EncoderRecipe(name="x", translate_with="a/copy").result_keys() == plain
    )  # models count by their content
    learned = PretrainingRecipe(name="x").result_keys()
    assert (
        PretrainingRecipe(
            name="y", token_budget=1, description="other", encoder="a/copy"
        ).result_keys()
        == learned
    )
    assert (
        LexicalRecipe(name="x", description="a").result_keys()
        == LexicalRecipe(name="y", description="b").result_keys()
    )


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", RECIPES)
def test_every_built_in_recipe_loads_with_every_preset(
    name: str, preset: str, tmp_path: Path
) -> None:
    workspace = make(tmp_path, f'preset = "{preset}"')
    found = load_recipe(workspace, load_settings(workspace), CONTEST, name)
    assert found.name == name
    assert found.description


NAMES = ("brand", "color", "country")
UNITS = (*NAMES, "char_trigrams")


@pytest.mark.parametrize(
    ("name", "expected", "method"),
    [
        ("c1", ("classes", "ptbcbd", "five", ""), ("ce", NAMES, "random")),
        ("c2", ("classes", "ptbdbc", "ten", ""), ("ce", NAMES, "random")),
        ("c3", ("classes", "ptdbbc", "ten", ""), ("ce", NAMES, "random")),
        ("r1", ("gain", "ptbcbd", "ten", ""), ("mse", NAMES, "random")),
        ("r2", ("gain", "ptbcbd", "ten", "c1"), ("mse", NAMES, "random")),
        ("r3", ("gain", "ptbcbd", "ten", "c1"), ("mse", UNITS, "word2vec")),
        ("t2", ("classes", "ptbcbd", "five", ""), ("poly1", UNITS, "word2vec")),
        ("t3", ("substitute", "ptbcbd", "five", ""), ("poly1", NAMES, "random")),
    ],
)
def test_the_published_recipes(
    name: str,
    expected: tuple[str, str, str, str],
    method: tuple[str, tuple[str, ...], str],
    tmp_path: Path,
) -> None:
    found = recipe(make(tmp_path), name)
    assert (found.kind, found.field_order, found.scheme, found.drop_noise_from) == expected
    assert (found.loss, found.features, found.char_trigrams_init) == method
    assert (found.architecture, found.all_seeds, found.rows) == ("cross-encoder", (2022,), "all")
    # RECIPE, section 6: EMA 0.999, FGM on the table with epsilon 1, R-Drop 0.5, mixup Beta(0.2,
    # 0.2)
    assert (found.ema, found.adversary, found.epsilon, found.r_drop, found.mixup) == (
        0.999,
        "fgm-table",
        1.0,
        0.5,
        0.2,
    )


def test_the_published_pre_training(tmp_path: Path) -> None:
    """RECIPE, section 5."""
    found = pretraining(make(tmp_path, "preset = 'infoxlm-large'"))
    assert (found.encoder, found.max_length, found.epochs) == ("microsoft/infoxlm-large", 256, 10)
    assert (found.learning_rate, found.warmup, found.ema) == (2e-5, 0.03, 0.999)
    assert (found.mlm, found.query, found.brand + found.color, found.contrastive) == (
        1.0,
        2.0,
        1.0,
        1.0,
    )
    assert found.brand == found.color  # the mean of the two losses
    assert (found.masked, found.test_copies) == (0.15, 2)
    assert (found.temperature, found.queue, found.momentum) == (0.03, 2.5, 0.999)
    lengths = {
        name: (s.mean, s.shortest, s.longest, s.longest_of_two) for name, s in found.spans.items()
    }
    assert lengths == {"us": (8.0, 8, 20, 12), "es": (8.0, 8, 20, 12), "jp": (8.0, 4, 20, 12)}


def test_spans_keep_the_defaults_of_what_is_not_named(tmp_path: Path) -> None:
    text = "model = 'pretraining'\nspans.jp.mean = 4.0\nspans.us.longest = 30"
    found = pretraining(make(tmp_path, "preset = 'minilm'", mine=text), "mine").spans
    assert found["jp"] == Spans(mean=4.0, shortest=4)
    assert found["us"] == Spans(longest=30)
    assert found["es"] == Spans()


@pytest.mark.parametrize(
    ("settings", "start"),
    [
        ("preset = 'minilm'", "sentence-transformers/all-MiniLM-L6-v2"),
        ("[overrides]\nencoder = 'PATH'", "PATH"),
        ("[overrides]\nencoder = 'pretrained'", "tiny"),
        ("[overrides]\nencoder = 'PATH'\n[pretraining]\nencoder = 'other'", "other"),
    ],
)
def test_a_pre_training_starts_from_what_recipes_would_start_from(
    settings: str, start: str, tmp_path: Path
) -> None:
    assert pretraining(make(tmp_path, settings), "pretrained").encoder == start


def test_spans_of_recipe_and_workspace_lie_over_those_of_the_preset(tmp_path: Path) -> None:
    settings = "preset = 'tiny'\n[pretraining]\nspans.jp.mean = 4.0\nspans.us.mean = 5.0"
    text = "model = 'pretraining'\nspans.us = {mean = 6.0, longest = 30}"
    found = pretraining(make(tmp_path, settings, mine=text), "mine").spans
    assert found["us"] == Spans(mean=5.0, longest=30, whole_words=True)  # workspace, recipe, preset
    assert found["es"] == Spans(whole_words=True)
    assert found["jp"] == Spans(mean=4.0, shortest=4)


CATEGORIES = CONTEST.categories


def test_names_are_learned_where_they_weigh_something() -> None:
    assert tuple(PretrainingRecipe(name="x").learned_categories(CONTEST.categories)) == (
        "brand",
        "color",
    )
    assert PretrainingRecipe(name="x", brand=0.0).learned_categories(("brand", "maker")) == {
        "maker": 0.5
    }
    assert not PretrainingRecipe(name="x", brand=0.0, color=0.0).learned_categories(
        CONTEST.categories
    )


def test_the_published_ensemble(tmp_path: Path) -> None:
    workspace = make(tmp_path)
    found = load_recipe(workspace, load_settings(workspace), CONTEST, "six-model")
    assert isinstance(found, EnsembleRecipe)
    assert (found.members, found.method) == (("c1", "c2", "c3", "r1", "r2", "r3"), "paper")
    blend = load_recipe(workspace, load_settings(workspace), CONTEST, "blend")
    assert isinstance(blend, EnsembleRecipe)
    assert (blend.members, blend.method) == ((), "mixed")


def ensemble(workspace: Workspace, name: str) -> EnsembleRecipe:
    """An ensemble of a workspace, resolved."""
    found = load_recipe(workspace, load_settings(workspace), CONTEST, name)
    assert isinstance(found, EnsembleRecipe)
    return found


def test_a_variant_is_the_ensemble_with_other_keys(tmp_path: Path) -> None:
    workspace = make(tmp_path)
    plain, varied = (
        ensemble(workspace, "six-model"),
        ensemble(workspace, "six-model.lightgbm.thresholds"),
    )
    changed = {
        "name": "six-model.lightgbm.thresholds",
        "method": "lightgbm",
        "thresholds": "micro-F1",
    }
    assert varied.model_dump() == plain.model_dump() | changed
    assert ensemble(workspace, "six-model.without-c1").members == ("c2", "c3", "r1", "r2", "r3")
    assert ensemble(workspace, "blend.without-c1").members == (
        "lexical",
        "r2",
        "t3",
    )  # of all of competition.toml
    assert load_settings(make(tmp_path / "2", "ensembles = ['blend.lightgbm']")).ensembles == (
        "blend.lightgbm",
    )


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "blend.lightgbn",
            ("There is no blend variant 'lightgbn'", "did you mean 'lightgbm'", "without-r2"),
        ),
        ("blend.without-c2", ("There is no blend variant 'without-c2'", "did you mean 'without-")),
        ("blend.without-lexical.without-c1.without-r2.without-t3", ("has no member left",)),
        ("c1.lightgbm", ("There is no recipe 'c1.lightgbm'",)),
        ("blended.lightgbm", ("There is no recipe 'blended'", "did you mean 'blend'")),
    ],
)
def test_what_is_no_variant_is_named(name: str, words: tuple[str, ...], tmp_path: Path) -> None:
    sentence = complaint(make(tmp_path), name)
    assert all(word in sentence for word in words)


def test_a_new_workspace_has_the_default_settings(tmp_path: Path) -> None:
    assert comp("init", tmp_path / "w").exit_code == 0
    written = load_settings(Workspace.open(tmp_path / "w"))
    chosen = {
        "preset": "mini",
        "recipes": ("lexical", "b1"),
        "default_recipe": "b1",
        "noise_run": "lexical",
        "submission": {"task1": "blend", "task2": "blend", "task3": "blend"},
    }
    assert written.model_copy(update={"overrides": {}}) == Settings(**chosen)


def test_the_repository_is_a_workspace_with_the_same_settings() -> None:
    package = Path(competition.__file__).parent
    command = ["git", "-C", str(package.parent), "show", "HEAD:competition.toml"]
    committed = subprocess.run(command, capture_output=True, check=False)
    if committed.returncode != 0:
        pytest.skip("no git history here: the file in the root may have been edited by its user")
    template = subprocess.run(
        [*command[:-1], "HEAD:competition/config/competition.toml"], capture_output=True, check=True
    )
    assert committed.stdout == template.stdout


def test_a_byte_order_mark_is_no_part_of_the_settings(tmp_path: Path) -> None:
    path = tmp_path / "competition.toml"
    path.write_text("seed = 7\n", encoding="utf-8-sig")
    assert read_toml(path) == {"seed": 7}
    path.write_text("seed = 7\n", encoding="utf-16")
    with pytest.raises(InputError, match="it is not UTF-8, save it so"):
        read_toml(path)


def test_a_command_reads_the_definition_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = (definition.BUILT_IN / "esci.toml").read_text(encoding="utf-8")
    (tmp_path / "own.toml").write_text(content, encoding="utf-8")
    space = make_workspace(tmp_path, queries=20, settings='competition = "own.toml"')
    paths: list[Path] = []

    def read(path: Path) -> dict[str, Any]:
        paths.append(path)
        return read_toml(path)

    monkeypatch.setattr(definition, "read_toml", read)
    for command in ("status", "data"):
        paths.clear()
        assert comp(command, "-w", space.root).exit_code == 0
        assert paths == [space.root / "own.toml"]


@pytest.mark.parametrize("template", ["{query} {document}", "Query: {query}\n{document}"])
def test_what_servers_tokenise_by_itself_has_no_blank_before_it(template: str) -> None:
    with pytest.raises(ValueError, match="no blank may stand before"):
        EncoderRecipe(name="x", servable=True, template=template)
    plain = template.replace(" {", "{")
    assert EncoderRecipe(name="x", servable=True, template=plain).template == plain
