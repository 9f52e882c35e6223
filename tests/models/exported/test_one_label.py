"""One logit is nearest to the expected gain of several."""

import numpy as np
import torch

from competition.models.exported.one_label import fit


def test_a_gain_that_is_a_sigmoid_of_the_features_is_found() -> None:
    features = torch.from_numpy(np.random.default_rng(1).normal(size=(400, 6)))
    weight = torch.tensor([1.0, -2.0, 0.5, 0.0, 0.3, 0.0], dtype=torch.float64)
    gain = torch.sigmoid(features @ weight - 0.7)
    found, bias = fit(features, gain.numpy())
    np.testing.assert_allclose(found, weight, atol=0.01)
    np.testing.assert_allclose(bias, [-0.7], atol=0.01)


def test_the_expected_gain_of_four_classes_is_ordered_nearly_alike() -> None:
    """Also where all gains are nearly the same, as of a model that has learned little."""
    rng = np.random.default_rng(2)
    for scale, least in ((0.01, 0.98), (1.0, 0.85)):
        features = torch.from_numpy(np.tanh(rng.normal(size=(600, 8))))
        logits = features @ torch.from_numpy(scale * rng.normal(size=(8, 4)))
        gains = torch.tensor([1.0, 0.1, 0.01, 0.0], dtype=torch.float64)
        expected = torch.softmax(logits, 1) @ gains
        weight, bias = fit(features[:300], expected[:300].numpy())

        scores = features[300:] @ weight.double() + bias
        truth = expected[300:]
        same = torch.sign(scores[:, None] - scores) == torch.sign(truth[:, None] - truth)
        assert float(same.double().mean()) > least
        assert float((torch.sigmoid(scores) - truth).abs().mean()) < 0.1


def test_fewer_rows_than_features_are_enough_for_a_finite_answer() -> None:
    rng = np.random.default_rng(3)
    weight, bias = fit(torch.from_numpy(rng.normal(size=(5, 20))), rng.uniform(size=5))
    assert bool(weight.isfinite().all() and bias.isfinite().all())
