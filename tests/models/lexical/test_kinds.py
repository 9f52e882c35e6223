"""Trees on features learn every kind of prediction: classes, gains, ratings in their unit, and one label of all."""

import numpy as np
import pandas as pd
import pytest

from competition.config.recipe import LexicalRecipe
from competition.data.targets import Targets
from competition.models.lexical.lexical import predict_lexical, train_lexical
from competition.scoring.definition import build_contest
from competition.scoring.definition_tables import Definition

CONTEST = build_contest(
    "made",
    Definition.model_validate(
        {
            "fields": ["title"],
            "labels": {"levels": [1, 2, 3]},
            "tasks": {
                "ranking": {"kind": "rank", "metric": "ndcg", "answer": ["query", "product_id"]},
                "rating": {"kind": "rate", "metric": "rmse", "answer": ["id", "answer"]},
                "best": {
                    "kind": "classify",
                    "metric": "auc",
                    "positive": "3",
                    "answer": ["id", "answer"],
                },
            },
        }
    ),
    "made",
)
KINDS = [name for name, kind in CONTEST.kinds.items() if kind.role != "score"]


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("given", [False, True])
def test_trees_learn_every_kind(name: str, given: bool) -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (400, 4))
    level = np.digitize(x[:, 0] + rng.normal(0, 0.1, 400), [-0.4, 0.4]) + 1
    rows = pd.DataFrame({"example_id": np.arange(400), "label": level.astype(str)})
    rows["3"] = pd.array(level == 3, "boolean")
    features = pd.DataFrame(x, index=rows["example_id"]).add_prefix("f")

    kind = CONTEST.kind(name)
    targets = Targets.of_labels(kind, rows) if given else None
    recipe = LexicalRecipe(name="x", kind=name, n_estimators=150, min_data_in_leaf=10)
    booster = train_lexical(recipe, kind, features, rows, "0", targets)
    outputs = predict_lexical(booster, kind, features, rows["example_id"].to_numpy())

    values = kind.values(outputs)
    assert values.shape == (400, len(kind.outputs))
    if name == "classes":
        np.testing.assert_allclose(values.sum(axis=1), 1)
        assert (values.argmax(axis=1) + 1 == level).mean() > 0.8
    else:
        lowest, highest = (1, 3) if name == "rating" else (0, 1)
        assert lowest <= values.min() < lowest + 0.5
        assert highest - 0.5 < values.max() <= highest
        assert np.corrcoef(values[:, 0], level == 3 if name == "3" else level)[0, 1] > 0.8
    assert predict_lexical(booster, kind, features, np.empty(0, np.int64)).empty
