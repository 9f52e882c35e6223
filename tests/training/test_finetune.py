"""One fold: what is saved is what predicted, and several seeds are one run."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from competition.config.encoder_recipe import EncoderRecipe
from competition.core.json_files import read_manifest
from competition.data.augment import texts_to_translate
from competition.data.query_context import SEPARATOR
from competition.data.targets import Targets
from competition.models.encoder.encoder import load_tokenizer
from competition.training.corpus import Corpus
from competition.training.finetune import Fold, predict_fold, train_fold
from competition.training.loop import Log
from tests.esci import CONTEST, KINDS
from tests.training.conftest import Bench, make_recipe

pytestmark = pytest.mark.slow

ROWS = np.arange(24)


def run(
    bench: Bench, recipe: EncoderRecipe, folder: Path
) -> tuple[Corpus, tuple[pd.DataFrame, pd.DataFrame]]:
    """Train on 12 rows, hold 6 out, test on 6."""
    corpus = Corpus.make(recipe, CONTEST, bench.sources, bench.examples, bench.products)
    fold = Fold("2", folder / "fold-2", "inputs", bench.sources, ROWS[:12], ROWS[12:18], ROWS[18:])
    return corpus, train_fold(
        recipe,
        KINDS[recipe.kind],
        corpus,
        fold,
        Log(folder / "log"),
        lambda outputs: outputs.iloc[:, 1].mean(),
    )


@pytest.mark.parametrize(
    "keys", [{}, {"ema": 0.999}, {"weights": "best", "ema": 0.9}, {"seeds": (1, 2)}]
)
def test_saved_weights_predict_what_training_predicted(
    keys: dict, bench: Bench, tmp_path: Path
) -> None:
    """The released code never saved the averaged weights that it had evaluated."""
    recipe = make_recipe(epochs=2, batch_size=4, learning_rate=1e-3, **keys)
    corpus, (held_out, test) = run(bench, recipe, tmp_path)
    assert held_out["example_id"].tolist() == sorted(bench.examples["example_id"].iloc[12:18])
    assert read_manifest(tmp_path / "fold-2") == "inputs"
    for rows, expected in ((ROWS[12:18], held_out), (ROWS[18:], test)):
        again = predict_fold(
            recipe, KINDS[recipe.kind], corpus, bench.sources, tmp_path / "fold-2", "2", rows
        )
        pd.testing.assert_frame_equal(again, expected, check_exact=False, rtol=1e-6)


def test_averaged_weights_are_the_saved_ones(bench: Bench, tmp_path: Path) -> None:
    weights = {}
    for name, keys in {"raw": {}, "averaged": {"ema": 0.999}}.items():
        run(bench, make_recipe(epochs=1, batch_size=4, learning_rate=1e-3, **keys), tmp_path / name)
        weights[name] = load_file(tmp_path / name / "fold-2" / "seed-2022" / "model.safetensors")
    assert weights["raw"].keys() == weights["averaged"].keys()
    assert any((weights["raw"][name] != weights["averaged"][name]).any() for name in weights["raw"])


def test_seeds_are_averaged_as_one_run(bench: Bench, tmp_path: Path) -> None:
    keys = {"epochs": 1, "batch_size": 4, "learning_rate": 1e-3}
    single = [
        run(bench, make_recipe(**keys, seed=seed), tmp_path / str(seed))[1] for seed in (7, 8)
    ]
    _, both = run(bench, make_recipe(**keys, seeds=(7, 8)), tmp_path / "both")
    for part in (0, 1):
        mean = (single[0][part] + single[1][part]) / 2
        pd.testing.assert_frame_equal(both[part], mean, check_dtype=False, rtol=1e-9)
        assert (single[0][part].iloc[:, 1] != single[1][part].iloc[:, 1]).any()
    assert sorted(path.name for path in (tmp_path / "both" / "fold-2").glob("seed-*")) == [
        "seed-7",
        "seed-8",
    ]


def test_the_output_starts_at_what_the_training_rows_say(bench: Bench, tmp_path: Path) -> None:
    """At a rate that moves nothing and without features' say, outputs are the weighted shares of the labels."""
    recipe = make_recipe(epochs=1, batch_size=12, learning_rate=1e-12, prior_bias=True)
    corpus = Corpus.make(recipe, CONTEST, bench.sources, bench.examples, bench.products)
    target = np.eye(4)[[0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 3, 3]]
    weight = np.array([1.0] * 5 + [2.0] * 3 + [0.5] * 4)
    sample = corpus.sample(
        recipe, KINDS[recipe.kind], ROWS[:12], ROWS[12:], Targets(target, weight)
    )
    assert sample.mean_target(4).tolist() == pytest.approx([5 / 13, 6 / 13, 1 / 13, 1 / 13])
    _, (held_out, _) = run(bench, recipe, tmp_path)
    labels = KINDS["classes"].numeric_target(bench.examples.iloc[:12]).astype(int)
    shares = np.bincount(labels, minlength=4) / 12
    assert np.abs(held_out.iloc[:, 1:].mean().to_numpy() - shares).max() < 0.1
    _, (uniform, _) = run(
        bench, make_recipe(epochs=1, batch_size=12, learning_rate=1e-12), tmp_path / "uniform"
    )
    assert np.abs(uniform.iloc[:, 1:].mean().to_numpy() - 1 / 4).max() < 0.1


def test_a_row_on_both_sides_is_refused(bench: Bench, tmp_path: Path) -> None:
    corpus = Corpus.make(make_recipe(), CONTEST, bench.sources, bench.examples, bench.products)
    fold = Fold(
        "0", tmp_path / "fold-0", "inputs", bench.sources, ROWS[:12], ROWS[11:18], ROWS[18:]
    )
    with pytest.raises(ValueError, match="both sides"):
        train_fold(
            make_recipe(),
            KINDS["classes"],
            corpus,
            fold,
            Log(tmp_path / "log"),
            lambda outputs: 0.0,
        )
    assert not (tmp_path / "fold-0").exists()


# --- rows that are added
# -----------------------------------------------------------------------------------------

ADDED = ("es-us", "us-append", "es-append", "jp-append")  # their locales


class Wide:
    """The whole catalogue with long text in every other product, so that there is much to add, and its translations."""

    def __init__(self, bench: Bench, catalogue: tuple[pd.DataFrame, pd.DataFrame]) -> None:
        examples, products = catalogue
        long = np.arange(len(products)) % 2 == 0
        text = products["description"].where(~long, (products["title"] + " as it is. ") * 40)
        self.examples, self.products = examples, products.assign(description=text.str[:1700])
        self.translations = {
            text: "newspeak " + text[::-1]
            for text in texts_to_translate(examples, products, CONTEST)
        }
        self.sources = bench.sources
        self.train = np.flatnonzero(examples["split"] == "train")
        self.test = np.flatnonzero(examples["split"] == "test")

    def corpus(self, recipe: EncoderRecipe) -> Corpus:
        """All rows and those that a recipe adds."""
        translations = self.translations if recipe.translate_with else None
        return Corpus.make(
            recipe, CONTEST, self.sources, self.examples, self.products, translations
        )

    def fold(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """The rows to train on and to hold out."""
        held = (self.examples["query_id"].iloc[self.train] % 3 == number).to_numpy()
        return self.train[~held], self.train[held]


@pytest.fixture(scope="module")
def wide(bench: Bench, catalogue: tuple[pd.DataFrame, pd.DataFrame]) -> Wide:
    return Wide(bench, catalogue)


@pytest.fixture(scope="module")
def augmented(wide: Wide) -> Corpus:
    """All rows with translated ones and pieces."""
    return wide.corpus(make_recipe(translate_with="model", rebalance=True, max_length=128))


@pytest.mark.parametrize("kind", ["classes", "gain", "substitute"])
@pytest.mark.parametrize("number", range(3))
def test_added_rows_are_learned_where_their_source_is_and_nowhere_else(
    number: int, kind: str, wide: Wide, augmented: Corpus
) -> None:
    train, held_out = wide.fold(number)
    recipe = make_recipe(kind=kind)
    sample = augmented.sample(
        recipe, KINDS[recipe.kind], train, np.concatenate([held_out, wide.test])
    )
    rows, added = sample.rows[: len(train)], sample.rows[len(train) :]
    assert rows.tolist() == train.tolist()
    assert len(set(added)) == len(added)
    assert set(augmented.source[added]) <= set(train)
    assert not set(augmented.source[sample.rows]) & {*held_out, *wide.test}
    assert set(added) == {
        row
        for row in range(len(wide.examples), len(augmented.source))
        if augmented.source[row] in train
    }
    assert set(augmented.examples["locale"].iloc[added]) == set(ADDED)
    assert sample.weight.tolist() == [1.0] * len(train) + [0.3] * len(added)
    of_source = KINDS[kind].numeric_target(wide.examples.iloc[augmented.source[sample.rows]])
    assert sample.target.tolist() == of_source.tolist()
    assert not np.isnan(of_source).any()


def test_the_weight_of_added_rows_is_the_recipe_s(wide: Wide, augmented: Corpus) -> None:
    sample = augmented.sample(
        make_recipe(augmented_weight=0.75), KINDS["classes"], wide.train, wide.test
    )
    assert set(sample.weight[: len(wide.train)]) == {1.0}
    assert set(sample.weight[len(wide.train) :]) == {0.75}


def test_an_added_row_teaches_what_its_source_does(wide: Wide, augmented: Corpus) -> None:
    train, held_out = wide.fold(0)
    rng = np.random.default_rng(0)
    train = rng.permutation(train)
    lesson = Targets(rng.dirichlet(np.ones(4), len(train)), rng.random(len(train)))
    evaluated = np.concatenate([held_out, wide.test])
    sample, plain = (
        augmented.sample(make_recipe(), KINDS["classes"], train, evaluated, given)
        for given in (lesson, None)
    )
    assert sample.rows.tolist() == plain.rows.tolist()
    assert len(sample.rows) > len(train)
    place = {row: i for i, row in enumerate(train)}
    for row, target, weight, before in zip(
        sample.rows, sample.target, sample.weight, plain.weight, strict=True
    ):
        at = place[augmented.source[row]]
        assert target.tolist() == lesson.target[at].tolist()
        assert weight == before * lesson.weight[at]


def test_a_translated_query_that_is_evaluated_is_not_learned(wide: Wide, augmented: Corpus) -> None:
    """Folds go by the query's text, whatever its locale: a translation must not lead around them."""
    train, _ = wide.fold(0)
    other = wide.test[0]
    spanish = (
        wide.examples["query"].iloc[train][wide.examples["locale"].iloc[train] == "es"].iloc[0]
    )
    translations = wide.translations | {spanish: f" {wide.examples['query'].iloc[other].upper()}"}
    corpus = Corpus.make(
        make_recipe(), CONTEST, wide.sources, wide.examples, wide.products, translations
    )
    told = corpus.sample(make_recipe(), KINDS["classes"], train, np.empty(0, np.int64)).rows
    kept = corpus.sample(make_recipe(), KINDS["classes"], train, np.array([other])).rows
    lost = sorted(set(told) - set(kept))
    assert lost
    assert set(corpus.examples["locale"].iloc[lost]) == {"es-us"}
    assert set(wide.examples["query"].iloc[corpus.source[lost]]) == {spanish}
    assert len(lost) == (wide.examples["query"].iloc[train] == spanish).sum()


def test_a_row_that_is_dropped_takes_what_was_made_from_it(wide: Wide, augmented: Corpus) -> None:
    whole = augmented.sample(make_recipe(), KINDS["classes"], wide.train, wide.test)
    made = np.bincount(augmented.source, minlength=len(wide.examples))[: len(wide.examples)] - 1
    noisy = wide.train[made[wide.train] > 1][0]
    kept = augmented.sample(
        make_recipe(), KINDS["classes"], wide.train[wide.train != noisy], wide.test
    )
    lost = sorted(set(whole.rows) - set(kept.rows))
    assert lost == np.flatnonzero(augmented.source == noisy).tolist()
    assert len(lost) == 1 + made[noisy]
    assert set(kept.rows) < set(whole.rows)


def test_no_row_is_made_from_test_rows_or_plain_ones(wide: Wide, augmented: Corpus) -> None:
    n = len(wide.examples)
    assert augmented.source[:n].tolist() == list(range(n))
    sources = wide.examples.iloc[augmented.source[n:]]
    assert set(sources["split"]) == {"train"}
    new = augmented.examples.iloc[n:]
    assert not set(new["example_id"]) & set(wide.examples["example_id"])
    assert new["example_id"].is_unique
    for name in ("query_id", "label", "task1", "task2", "task3"):
        assert new[name].tolist() == sources[name].tolist()
    pieces = new["locale"].str.endswith("-append").to_numpy()
    assert set(sources["label"][pieces]) == {"substitute", "complement", "irrelevant"}
    assert set(sources["locale"][~pieces]) == {"es"}
    assert set(new["locale"][~pieces]) == {"es-us"}


def test_rows_are_read_as_they_are_without_the_added_ones(wide: Wide, augmented: Corpus) -> None:
    plain = wide.corpus(make_recipe(max_length=128))
    assert len(plain.pairs) == len(wide.examples) < len(augmented.pairs)
    (view,) = plain.pairs.views
    for row in range(0, len(plain.pairs), 11):
        assert plain.pairs.ids(row, view)[0].tolist() == augmented.pairs.ids(row, view)[0].tolist()
    sample = plain.sample(make_recipe(), KINDS["classes"], wide.train, wide.test)
    assert sample.rows.tolist() == wide.train.tolist()
    assert set(sample.weight) == {1.0}


def test_added_rows_are_read_in_their_own_words(wide: Wide, augmented: Corpus) -> None:
    tokenizer = load_tokenizer(wide.sources.encoder)
    (view,) = augmented.pairs.views
    n, locale = len(wide.examples), augmented.examples["locale"]
    translated = np.flatnonzero(locale == "es-us")
    for row in translated[::9]:
        query, title, *_ = tokenizer.decode(augmented.pairs.ids(int(row), view)[0]).split("[SEP]")
        recipe = wide.examples["query"].iloc[augmented.source[row]]
        assert query.removeprefix("[CLS]").strip() == f"newspeak {recipe[::-1]}".lower()
        assert title.strip().startswith("newspeak ")
    pieces = [row for row in range(n, len(locale)) if locale.iloc[row].endswith("-append")]
    for row in pieces[::19]:
        source = augmented.source[row]
        mine, theirs = (augmented.pairs.ids(int(r), view)[0].tolist() for r in (row, source))
        separators = [i for i, token in enumerate(theirs) if token == tokenizer.sep_token_id]
        same = separators[min(1, len(separators) - 1)] + 1  # query and title
        assert mine[:same] == theirs[:same]


def test_a_query_of_markup_alone_stays_empty(wide: Wide, monkeypatch: pytest.MonkeyPatch) -> None:
    """`<br>` is a text to the border and nothing to a reader."""
    examples = wide.examples.copy()
    spanish = examples[(examples["split"] == "train") & (examples["locale"] == "es")]
    blank = (examples["query_id"] == spanish["query_id"].iloc[0]).to_numpy()
    examples["query"] = examples["query"].mask(blank, "<br>")
    monkeypatch.setattr(wide, "examples", examples)
    corpus = wide.corpus(make_recipe(translate_with="model"))
    translated = np.flatnonzero(corpus.examples["locale"] == "es-us")
    mine = translated[blank[corpus.source[translated]]]
    assert len(mine)
    assert not corpus.pairs.queries.lengths[corpus.pairs.query[mine]].any()


def test_context_is_of_the_candidates_as_they_are_read(wide: Wide) -> None:
    every = wide.corpus(make_recipe(translate_with="model", rebalance=True, query_context=True))
    plain = wide.corpus(make_recipe(query_context=True))
    n = len(wide.examples)
    queries = every.examples["query"]
    assert (
        queries[:n].tolist() == plain.examples["query"].tolist() != wide.examples["query"].tolist()
    )
    assert sum(SEPARATOR in query for query in queries[:n]) > n / 2
    for row in range(n, len(queries)):
        query, locale = queries.iloc[row], every.examples["locale"].iloc[row]
        if locale == "es-us":  # its keywords are words of translated titles
            said, *context = query.split(SEPARATOR)
            assert said == wide.translations[wide.examples["query"].iloc[every.source[row]]]
            of_titles = {
                word.lower() for text in wide.translations.values() for word in text.split()
            }
            keywords = context[0].split() if context else []
            names = {
                word
                for name in ("brand", "color")
                for text in wide.products[name]
                for word in text.lower().split()
            }
            assert set(keywords) <= of_titles | names
        else:  # a piece keeps the context of the whole list
            assert query == queries.iloc[every.source[row]]
    translated = queries[(every.examples["locale"] == "es-us").to_numpy()]
    assert sum(SEPARATOR in query for query in translated) > len(translated) / 2


@pytest.mark.parametrize("kind", ["classes", "gain", "substitute"])
def test_a_fold_learns_its_lesson(kind: str, bench: Bench, tmp_path: Path) -> None:
    """The labels as a lesson are the labels; other targets and weights are learned instead of them."""
    recipe = make_recipe(kind=kind, epochs=1, batch_size=4, learning_rate=1e-3)
    corpus = Corpus.make(recipe, CONTEST, bench.sources, bench.examples, bench.products)
    rows = bench.examples.iloc[ROWS[:12]]
    hard = Targets.of_labels(KINDS[kind], rows)
    soft = Targets(0.5 * hard.target + 0.25, hard.weight)
    heavy = Targets(hard.target, np.arange(12.0))
    found = []
    for name, lesson in (("none", None), ("hard", hard), ("soft", soft), ("heavy", heavy)):
        sides = (ROWS[:12], ROWS[12:18], ROWS[18:])
        fold = Fold("2", tmp_path / name, "inputs", bench.sources, *sides, lesson)
        held_out, _ = train_fold(
            recipe, KINDS[recipe.kind], corpus, fold, Log(tmp_path / "log"), lambda outputs: 0.0
        )
        found.append(held_out.iloc[:, 1].to_numpy())
    np.testing.assert_array_equal(found[0], found[1])
    assert (found[0] != found[2]).any()
    assert (found[0] != found[3]).any()


def test_predictions_are_of_the_given_rows_alone(wide: Wide, tmp_path: Path) -> None:
    recipe = make_recipe(
        epochs=1, batch_size=16, learning_rate=1e-3, rebalance=True, token_budget=2000
    )
    corpus, (train, held_out) = wide.corpus(recipe), wide.fold(0)
    few = train[np.isin(train, corpus.source[len(wide.examples) :])][:12]
    fold = Fold("0", tmp_path / "fold-0", "inputs", wide.sources, few, held_out[:9], wide.test[:5])
    log = Log(tmp_path / "log")
    outputs = train_fold(recipe, KINDS[recipe.kind], corpus, fold, log, lambda outputs: 0.0)
    for found, rows in zip(outputs, (held_out[:9], wide.test[:5]), strict=True):
        assert found["example_id"].tolist() == sorted(wide.examples["example_id"].iloc[rows])
    samples = corpus.sample(
        recipe, KINDS[recipe.kind], few, np.concatenate([held_out[:9], wide.test[:5]])
    ).rows
    steps = -(-len(samples) // 16)
    assert len(samples) > len(few)
    assert f'"step": {steps},' in (tmp_path / "log").read_text()
