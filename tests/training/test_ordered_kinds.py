"""Encoders of ordered classes and of ratings: gradients of every regularisation, and outputs in their unit."""

from typing import Any

import numpy as np
import pytest
import torch

from competition.models.encoder.model import RelevanceModel
from competition.scoring.definition import build_contest
from competition.scoring.definition_tables import Definition
from competition.training.gradients import BatchGradients
from competition.training.loop import make_accelerator
from competition.training.oom import Budget
from competition.training.predict import predict
from competition.training.samples import Sample
from tests.training.conftest import Bench, gradient, make_recipe

RATINGS = build_contest(
    "made",
    Definition.model_validate(
        {
            "fields": ["title"],
            "labels": {"levels": [1, 2, 3]},
            "tasks": {"rating": {"kind": "rate", "metric": "rmse", "answer": ["id", "answer"]}},
        }
    ),
    "made",
)


@pytest.mark.parametrize(
    "keys",
    [
        {"kind": "classes", "loss": "corn", "r_drop": 0.5, "mixup": 0.2},
        {"kind": "classes", "loss": "cumulative", "adversary": "awp", "label_smoothing": 0.1},
        {"kind": "classes", "loss": "cumulative", "architecture": "bi-encoder"},
        {"kind": "rating", "r_drop": 0.5, "mixup": 0.2},
    ],
)
def test_gradients_and_outputs(bench: Bench, keys: dict[str, Any]) -> None:
    recipe = make_recipe(features=(), **keys)
    kind = RATINGS.kind(recipe.kind)
    model = RelevanceModel.make(recipe, kind, bench.sources, seed=5).double().eval()
    pairs = bench.pairs(recipe)
    n = len(pairs)
    target = np.arange(n) % 3 / (2.0 if kind.is_number else 1.0)
    sample = Sample(pairs, np.arange(n), target, np.ones(n))
    model.init_output_bias(sample.mean_target(kind.targets))

    accelerator = make_accelerator()
    loss = BatchGradients(accelerator, model, recipe, sample, seed=3).compute(sample.rows, 0)
    assert bool(torch.isfinite(loss))
    found = gradient(model)
    assert all(bool(torch.isfinite(each).all()) for each in found.values())
    if recipe.loss == "cumulative":
        assert float(found["link.raw"].abs().min()) > 0

    values = kind.values(predict(accelerator, model, pairs, np.arange(n), Budget(1_000)))
    if kind.is_classes:
        np.testing.assert_allclose(values.sum(axis=1), 1)
        assert values.shape == (n, 3)
    else:
        assert values.min() > 1
        assert values.max() < 3
        assert values.mean() == pytest.approx(2, abs=0.5)
