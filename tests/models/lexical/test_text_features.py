"""Text features look at text alone, by id, and the trees on them are a function of their inputs."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from competition.config.recipe import LexicalRecipe
from competition.models.lexical.bm25 import bm25_features
from competition.models.lexical.lexical import predict_lexical, train_lexical
from competition.models.lexical.text_features import text_features
from competition.scoring.contest import Contest
from tests.esci import CONTEST, KINDS

Catalogue = tuple[pd.DataFrame, pd.DataFrame]
Features = Callable[[pd.DataFrame, pd.DataFrame, Contest], pd.DataFrame]
both = pytest.mark.parametrize("features", [text_features, bm25_features])


@both
def test_labels_are_never_looked_at(features: Features, catalogue: Catalogue) -> None:
    examples, products = catalogue
    blind = examples.assign(label=None, substitute=pd.NA)
    pd.testing.assert_frame_equal(
        features(examples, products, CONTEST), features(blind, products, CONTEST)
    )


@both
def test_order_of_rows_changes_nothing(features: Features, catalogue: Catalogue) -> None:
    examples, products = catalogue
    plain = features(examples, products, CONTEST)
    shuffled = features(
        examples.sample(frac=1, random_state=1), products.sample(frac=1, random_state=2), CONTEST
    )
    pd.testing.assert_frame_equal(plain, shuffled.loc[plain.index], rtol=1e-5)


@both
def test_new_test_rows_move_no_feature_of_training_rows(
    features: Features, catalogue: Catalogue
) -> None:
    examples, products = catalogue
    train = examples[examples["split"] == "train"]
    more = examples[examples["split"] == "test"].assign(
        query_id=train["query_id"].iloc[0]
    )  # a query in both splits
    with_more = features(pd.concat([train, more]), products, CONTEST).loc[train["example_id"]]
    pd.testing.assert_frame_equal(with_more, features(train, products, CONTEST), rtol=1e-5)


def test_values_by_hand() -> None:
    examples = pd.DataFrame(
        {
            "example_id": [1, 2],
            "query_id": 5,
            "query": "red shoes 42",
            "locale": "us",
            "product_id": ["A", "B"],
            "split": "train",
        }
    )
    products = pd.DataFrame(
        {
            "locale": "us", "product_id": ["A", "B"], "title": ["Nike Red Shoes", "Blue hat"], "brand": ["Nike", ""],
            "color": ["Red", "Blue"], "bullets": ["size 42", ""], "description": ["", ""],
        }
    )  # fmt: skip
    features = text_features(examples, products, CONTEST)
    assert features.loc[1, "words_in_title"] == np.float32(2 / 3)
    assert features.loc[1, "words_in_text"] == np.float32(1 / 3)
    assert features.loc[2, "words_nowhere"] == 1
    assert features.loc[1, "first_position"] == np.float32(1 / 3)
    assert features.loc[1, "color_in_query"] == 1
    assert features.loc[2, "color_in_query"] == 0
    assert features.loc[1, "brand_in_query"] == 0
    assert features.loc[1, "numbers_missing"] == 1
    assert features.loc[1, "words_in_title_rank"] == 1
    assert features.loc[2, "words_in_title_rank"] == 0.5
    assert features.loc[1, "words_in_title_relative"] == np.float32(1 / 3)
    assert (features["candidates"] == 2).all()
    assert features.loc[1, "cosine_color_word"] > 0 == features.loc[1, "cosine_brand_word"]
    assert 0 < features.loc[1, "cosine_title_word"] <= 1
    assert features.loc[2, "cosine_title_word"] == 0


def test_trees_are_the_same_each_time_and_whatever_the_order(catalogue: Catalogue) -> None:
    examples, products = catalogue
    features = text_features(examples, products, CONTEST)
    rows = examples[examples["split"] == "train"]
    recipe = LexicalRecipe(name="lexical", n_estimators=5)
    ids = examples.loc[examples["split"] == "test", "example_id"].to_numpy()
    one, same = (
        predict_lexical(
            train_lexical(recipe, KINDS[recipe.kind], features, rows, "0"),
            KINDS[recipe.kind],
            features,
            ids,
        )
        for _ in range(2)
    )
    pd.testing.assert_frame_equal(one, same)
    np.testing.assert_allclose(one.drop(columns="example_id").sum(axis=1), 1)


@pytest.mark.parametrize("count", [1, 2, 7])
@pytest.mark.parametrize("categories", [0, 1])
def test_any_fields_have_features(count: int, categories: int) -> None:
    fields = tuple(f"field_{number}" for number in range(count))
    names = fields[count - categories :] if count > 1 else ()
    contest = replace(CONTEST, fields=fields, categories=names, locales=())
    examples = pd.DataFrame(
        {
            "example_id": [1, 2],
            "query_id": [1, 1],
            "query": ["red cup"] * 2,
            "locale": "",
            "product_id": ["a", "b"],
            "split": "train",
        }
    )
    products = pd.DataFrame({"locale": "", "product_id": ["a", "b"]})
    products = products.assign(**{name: ["red cup", "lamp"] for name in fields})
    actual = text_features(examples, products, contest)
    assert actual["cosine_field_0_word"].tolist() == pytest.approx([1, 0], abs=1e-6)
    assert [name for name in map(str, actual) if name.endswith("_in_query")] == [
        f"{name}_in_query" for name in names
    ]
    assert actual["words_in_text"].tolist() == [float(count - len(names) > 1), 0]
    assert bm25_features(examples, products, contest)["bm25_all"].iloc[0] > 0
