"""Scores without a scale become what rows were labelled that score alike."""

import numpy as np
import pandas as pd
import pytest

from competition.core.errors import InputError
from competition.data.score_scale import ScoreScale
from tests.esci import CONTEST

CLASSES = CONTEST.kind("classes")


def frame(scores: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({"example_id": np.arange(len(scores)), "score": scores})


def rows(*labels: str) -> pd.DataFrame:
    return pd.DataFrame({"label": labels})


def outputs(scale: ScoreScale, *scores: float) -> np.ndarray:
    return CLASSES.values(scale.outputs(frame(np.array(scores))))


def test_a_score_becomes_the_share_of_labels_of_rows_that_score_alike() -> None:
    # By gain: irrelevant, complement, substitute, exact.
    labels = rows("irrelevant", "exact", "substitute", "exact", "exact")
    scale = ScoreScale.fit(CONTEST, CLASSES, np.array([1.0, 2.0, 2.0, 3.0, 9.0]), labels)
    expected = {1.0: [0, 0, 0, 1], 2.0: [1 / 2, 1 / 2, 0, 0], 3.0: [1, 0, 0, 0]}
    for score, shares in expected.items():
        np.testing.assert_allclose(outputs(scale, score)[0], shares)

    # Between two scores lies what is between them; beyond them nothing changes.
    np.testing.assert_allclose(outputs(scale, 2.5)[0], [3 / 4, 1 / 4, 0, 0])
    np.testing.assert_allclose(outputs(scale, -5.0, 1e9), [expected[1.0], expected[3.0]])


def test_a_lower_score_never_has_more_gain_and_only_the_order_counts() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=400)
    labels = rows(*rng.choice(CONTEST.labels.names, 400))
    found = [
        CLASSES.values(ScoreScale.fit(CONTEST, CLASSES, of, labels).outputs(frame(of)))
        for of in (scores, np.exp(scores) * 1_000 - 7)
    ]
    np.testing.assert_allclose(found[0], found[1], atol=1e-12)
    assert (found[0] >= 0).all()
    np.testing.assert_allclose(found[0].sum(axis=1), 1.0)
    gain = CONTEST.labels.expected_gain(found[0][np.argsort(scores)])
    assert (np.diff(gain) >= -1e-12).all()


def test_scores_of_rows_without_labels_have_no_scale() -> None:
    with pytest.raises(InputError, match="has a label: name a teacher of another kind"):
        ScoreScale.fit(CONTEST, CLASSES, np.ones(2), pd.DataFrame({"label": [None, None]}))
