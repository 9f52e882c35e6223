"""Calibration, consensus and quotas, each against plain arithmetic."""

import numpy as np
import pandas as pd
import pytest

from competition.noise.calibration import calibrate
from competition.noise.consensus import (
    LabelIssues,
    combine_issues,
    estimate_noise,
    find_label_issues,
    posterior,
)
from competition.noise.quotas import within_quota
from tests.esci import label_codes
from tests.noise.made import OUTPUTS, audit_keys, planted


def softmax(logits: np.ndarray) -> np.ndarray:
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def test_calibration_finds_the_temperature_that_labels_were_drawn_with() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (40_000, 4))
    true = softmax(logits)
    given = (true.cumsum(axis=1) > rng.random((len(true), 1))).argmax(axis=1)
    fold = np.arange(len(true)) % 5
    found, temperatures = calibrate(softmax(3 * logits), given, fold)  # three times too sure
    assert all(temperature == pytest.approx(3, rel=0.05) for temperature in temperatures.values())
    np.testing.assert_allclose(found, true, atol=0.02)


def test_the_temperature_of_a_fold_does_not_know_its_labels() -> None:
    rng = np.random.default_rng(0)
    probabilities, fold = rng.dirichlet(np.ones(4), 600), np.arange(600) % 3
    given = (probabilities.cumsum(axis=1) > rng.random((600, 1))).argmax(axis=1)
    before, one = calibrate(probabilities, given, fold)
    after, other = calibrate(probabilities, np.where(fold == 1, (given + 1) % 4, given), fold)
    assert one[1] == other[1]
    assert one[0] != other[0]
    np.testing.assert_array_equal(before[fold == 1], after[fold == 1])
    assert (before.argmax(1) == probabilities.argmax(1)).all()


def test_certain_probabilities_stay_finite() -> None:
    found, _ = calibrate(np.eye(4)[np.arange(40) % 4], np.arange(40) % 3, np.arange(40) % 2)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found.sum(axis=1), 1)


def test_a_row_is_flagged_by_more_than_half_and_ranked_by_the_mean_rank() -> None:
    one = LabelIssues(np.array([True, True, False, True]), np.array([0, 1, 3, 2]))
    two = LabelIssues(np.array([False, True, False, True]), np.array([3, 1, 0, 2]))
    three = LabelIssues(np.array([True, False, False, True]), np.array([3, 0, 2, 1]))
    assert combine_issues([one, two]).flagged.tolist() == [False, True, False, True]  # of two, both
    both = combine_issues([one, two, three])
    assert both.flagged.tolist() == [True, True, False, True]
    # Ranks of the rows 0..3: 0, 1, 3, 2 and 2, 1, 3, 0 and 1, 3, 2, 0; sums 3, 5, 8, 2.
    assert both.order.tolist() == [3, 0, 1, 2]
    assert combine_issues([one]) is one


def test_the_posterior_is_bayes_rule() -> None:
    rows = planted(wrong=120, sure=0.5)
    ordered = rows.examples.merge(rows.outputs)
    given, p = label_codes(ordered["label"]), ordered[OUTPUTS].to_numpy()
    _, noise = estimate_noise(given, p)
    found = posterior(given, p)
    for row in range(0, 800, 37):
        g = given[row]
        assert found[row] == pytest.approx(
            noise[g, g] * p[row, g] / sum(noise[g, t] * p[row, t] for t in range(4))
        )
    paper, mine = (
        find_label_issues(given, p, "prune_by_noise_rate"),
        find_label_issues(given, p, "posterior"),
    )
    assert mine.flagged.sum() == paper.flagged.sum() > 0
    assert found[mine.flagged].max() <= found[~mine.flagged].min()


LABEL = pd.Series(["a"] * 60 + ["b"] * 40)
LOCALE = pd.Series((["x"] * 30 + ["y"] * 30) + (["x"] * 10 + ["y"] * 30))


@pytest.mark.parametrize(
    ("keys", "group"),
    [({}, [""] * 100), ({"per_label": True}, LABEL), ({"per_locale": True}, LOCALE),
     ({"per_label": True, "per_locale": True}, LABEL + LOCALE)],
)  # fmt: skip
def test_a_group_loses_the_worst_of_its_own_rows_up_to_its_quota(
    keys: dict, group: pd.Series
) -> None:
    worst = np.random.default_rng(0).permutation(100)[:80]
    dropped = within_quota(worst, LABEL, LOCALE, audit_keys(fraction=0.1, **keys))
    taken: dict[str, int] = {}
    expected = set()
    for row in worst.tolist():
        name = list(group)[row]
        if taken.get(name, 0) < int(0.1 * list(group).count(name)):
            taken[name] = taken.get(name, 0) + 1
            expected.add(row)
    assert set(np.flatnonzero(dropped)) == expected
    assert dropped.sum() <= 10


def test_nothing_is_dropped_where_nothing_is_flagged() -> None:
    assert not within_quota(np.empty(0, np.int64), LABEL, LOCALE, audit_keys(per_label=True)).any()


def test_quotas_hold_in_an_audit() -> None:
    rows = planted(wrong=100)
    flags = rows.audit(fraction=0.05, per_label=True, per_locale=True).flags
    for (label, locale), cell in flags.merge(rows.examples).groupby(["given", "locale"]):
        assert cell["dropped"].sum() <= int(0.05 * len(cell)), (label, locale)
    assert 0 < flags["dropped"].sum() <= 40
