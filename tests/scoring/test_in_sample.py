"""The test that tells outputs of fitted rows from held-out ones."""

import numpy as np
import pytest

from competition.scoring.in_sample import LIMIT, InSampleTest, Side, check_in_sample

ROWS = 3_000


def made(
    rng: np.random.Generator, fitted: float, scale: float = 1.0, reference: bool = True
) -> InSampleTest:
    """Test outputs of a calibrated model that has added `fitted` times the noise of the labels to its own."""
    text = rng.normal(0, 1, 2 * ROWS)  # what can be known
    noise = rng.normal(0, 1, 2 * ROWS)
    weaker = rng.normal(0, 1, 2 * ROWS)
    labels = (text + noise)[:ROWS, None]
    outputs = (text + np.r_[fitted * noise[:ROWS], np.zeros(ROWS)])[:, None] * scale
    # E[text | text + weaker]: a model that knows half.
    known = ((text + weaker) / 2)[:, None] if reference else None
    query = np.arange(2 * ROWS) // 5

    def side(rows: slice, of: np.ndarray | None) -> Side:
        return Side(outputs[rows], query[rows], None if known is None else known[rows], of)

    return check_in_sample(side(slice(ROWS), labels), side(slice(ROWS, None), None))


@pytest.mark.parametrize("reference", [True, False])
def test_fitted_outputs_are_told_from_held_out_ones(reference: bool) -> None:
    rng = np.random.default_rng(1)
    honest = [made(rng, 0.0, reference=reference) for _ in range(20)]
    fitted = [made(rng, 0.8, reference=reference) for _ in range(20)]
    assert sum(each.flagged for each in honest) <= 1
    assert sum(each.flagged for each in fitted) >= 19
    # Cov(text + .8 noise, text + noise) / Var(text) = 1.8 on training rows.
    assert np.mean([each.ratio.value for each in honest]) == pytest.approx(1.0, abs=0.05)
    assert np.mean([each.ratio.value for each in fitted]) == pytest.approx(1.8, abs=0.1)


def test_a_scale_of_its_own_changes_nothing_where_there_is_a_run() -> None:
    ratios = [made(np.random.default_rng(2), 0.0, scale).ratio.value for scale in (1.0, 0.1, 40.0)]
    assert ratios == pytest.approx([ratios[0]] * 3)
    assert max(ratios) < LIMIT


def test_levels_of_queries_count_only_across_queries() -> None:
    rng = np.random.default_rng(3)
    query = np.arange(1_000) // 5
    level = np.repeat(rng.normal(0, 5, 200), 5)
    labels, outputs = rng.normal(0, 1, (2, 1_000))
    sides = [
        Side((outputs + shift)[:, None], query, outputs[:, None], labels[:, None])
        for shift in (0, level)
    ]
    plain, shifted = (check_in_sample(side, side, within=True).ratio.value for side in sides)
    assert plain == pytest.approx(shifted)


def test_outputs_that_say_nothing_are_not_flagged() -> None:
    flat = Side(np.zeros((50, 1)), np.arange(50), None, np.zeros((50, 1)))
    result = check_in_sample(flat, flat)
    assert np.isnan(result.ratio.value)
    assert not result.flagged


@pytest.mark.parametrize("scale", [1.0, 0.25])
@pytest.mark.parametrize("fitted", [False, True])
def test_wild_outputs_of_fitted_rows_are_found_between_near_ones(
    fitted: bool, scale: float
) -> None:
    rng = np.random.default_rng(4)
    features = rng.uniform(-1, 1, (2 * ROWS, 2))
    known = features[:, 0]
    said = known + 2 * np.sin(6 * features[:, 1])  # by whoever has not seen the row
    labels = known[:ROWS] + rng.normal(0, 1, ROWS)
    said[:ROWS] = labels if fitted else said[:ROWS]
    query = np.arange(2 * ROWS) // 5

    def side(rows: slice, of: np.ndarray | None) -> Side:
        outputs, reference = scale * said[rows, None], known[rows, None]
        return Side(outputs, query[rows], reference, of, features[rows])

    result = check_in_sample(side(slice(ROWS), labels[:, None]), side(slice(ROWS, None), None))
    # Var(label) / Var(said) = (1/3 + 1) / (1/3 + 2) hides what they are.
    assert not result.ratio.exceeds
    assert result.near is not None
    assert result.flagged == result.near.exceeds == fitted


@pytest.mark.parametrize("fitted", [False, True])
def test_what_is_learned_by_heart_agrees_with_a_run_on_training_rows_alone(fitted: bool) -> None:
    rng = np.random.default_rng(5)
    known, noise, wild = rng.normal(0, 1, (3, 2 * ROWS, 1))
    labels = (known + noise)[:ROWS]
    # It knows nothing of other rows, and is as wild there as the labels are.
    outputs = wild * np.sqrt(2)
    outputs[:ROWS] = labels if fitted else outputs[:ROWS]
    query = np.arange(2 * ROWS) // 5

    def side(rows: slice, of: np.ndarray | None) -> Side:
        return Side(outputs[rows], query[rows], known[rows], of)

    result = check_in_sample(side(slice(ROWS), labels), side(slice(ROWS, None), None))
    # Cov(label, label) / Var(outputs) * Cov(label, known) / Cov(known, label) = 2 / 2 * 1 / 1
    assert not result.ratio.exceeds
    assert result.flagged == fitted
    if fitted:
        assert result.loss is not None
        assert result.loss.value == pytest.approx(1.0, abs=0.1)


def test_the_mean_of_models_that_disagree_loses_no_agreement() -> None:
    rng = np.random.default_rng(6)
    known, noise = rng.normal(0, 1, (2, 2 * ROWS, 1))
    models = known + rng.normal(0, 1, (5, 2 * ROWS, 1))
    outputs = np.concatenate([models[0, :ROWS], models[:, ROWS:].mean(axis=0)])
    query = np.arange(2 * ROWS) // 5
    train = Side(outputs[:ROWS], query[:ROWS], known[:ROWS], (known + noise)[:ROWS])
    result = check_in_sample(train, Side(outputs[ROWS:], query[ROWS:], known[ROWS:]))
    assert result.loss is not None
    assert result.loss.value == pytest.approx(0.0, abs=0.1)
    assert not result.flagged


@pytest.mark.parametrize("noise", [1.0, 3.0])
def test_a_loss_counts_where_outputs_explain_a_fifth_of_the_labels(noise: float) -> None:
    rng = np.random.default_rng(7)
    known, labels = rng.normal(0, 1, (2, ROWS, 1))
    query = np.arange(ROWS) // 5
    labels += known
    outputs = labels + rng.normal(0, noise, (ROWS, 1))
    train = Side(outputs, query, known, labels)
    result = check_in_sample(train, Side(-outputs, query, known))
    # Var(labels) / Var(outputs) = 2 / (2 + 1) or 2 / (2 + 9)
    assert (result.loss is not None) == (noise < 2)
    assert result.flagged == (noise < 2)
