"""Calibration of probabilities: temperature scaling (Guo et al. 2017), cross-fitted."""

import numpy as np

from competition.core.arrays import Array, Codes

_FLOOR = 1e-12  # of a probability, before its logarithm
_STEPS = 50  # of Newton's method, which takes about six
_BOUNDS = (0.05, 20.0)  # of 1 / temperature


def calibrate(probabilities: Array, given: Codes, fold: Codes) -> tuple[Array, dict[int, float]]:
    """Scale the probabilities of each fold by the temperature that is best for the labels of the other folds.

    Args:
        probabilities: `(rows, classes)`.
        given: a class index for each row.
        fold: of each row.

    Returns:
        softmax(log p / temperature), `(rows, classes)`, and fold -> its temperature: above 1 where
        the model is too sure.
    """
    logits = np.log(np.maximum(probabilities, _FLOOR))  # (rows, classes)
    scaled = np.empty_like(logits)
    temperatures = {}
    for k in np.unique(fold):
        own = fold == k
        # A single fold has no others.
        others = ~own if (~own).any() else own
        inverse = _inverse_temperature(logits[others], given[others])
        scaled[own] = _softmax(inverse * logits[own])
        temperatures[int(k)] = 1 / inverse
    return scaled, temperatures


def _inverse_temperature(logits: Array, given: Codes) -> float:
    """Return the factor of the logits with the highest likelihood, by Newton's method: it is concave in the factor."""
    of_given = logits[np.arange(len(given)), given]  # (rows,)
    factor = 1.0
    for _ in range(_STEPS):
        p = _softmax(factor * logits)  # (rows, classes)
        mean = (p * logits).sum(axis=1)  # (rows,)

        # Of the log-likelihood in the factor.
        slope = float((of_given - mean).sum())
        curvature = float((p * (logits - mean[:, None]) ** 2).sum())
        if curvature <= 0:
            break
        next_factor = float(np.clip(factor + slope / curvature, *_BOUNDS))
        if abs(next_factor - factor) < 1e-9:
            break
        factor = next_factor
    return factor


def _softmax(logits: Array) -> Array:
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    total: Array = shifted / shifted.sum(axis=1, keepdims=True)
    return total
