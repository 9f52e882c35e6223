"""Rows with planted noise, and what a model that knows the truth says of them."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from competition.config.keys import AuditKeys
from competition.noise.audit import Audit, audit_labels
from tests.esci import KINDS, LABELS

OUTPUTS = list(KINDS["classes"].outputs)


@dataclass(frozen=True)
class Planted:
    """Out-of-fold outputs of the true labels, examples of which some are labelled otherwise, their folds and ids."""

    outputs: pd.DataFrame
    examples: pd.DataFrame
    fold: pd.Series
    wrong: NDArray[np.int64]

    def audit(self, **keys: object) -> Audit:
        """The audit by the one model."""
        return audit_labels(
            [self.outputs], KINDS["classes"], self.examples, self.fold, audit_keys(**keys)
        )


def audit_keys(**keys: object) -> AuditKeys:
    """The settings of an audit, all but `keys` the default."""
    return AuditKeys.model_validate(keys)


def planted(rows: int = 800, wrong: int = 40, seed: int = 0, sure: float = 0.85) -> Planted:
    """Confident probabilities of the true label, and examples of which the first `wrong` are labelled otherwise."""
    rng = np.random.default_rng(seed)
    true = rng.integers(0, 4, rows)
    probabilities = np.full((rows, 4), 0.04) + rng.random((rows, 4)) * 0.02
    probabilities[np.arange(rows), true] = sure
    probabilities /= probabilities.sum(1, keepdims=True)
    given = true.copy()
    given[:wrong] = (true[:wrong] + 1) % 4
    ids = rng.permutation(10_000)[:rows]
    outputs = pd.DataFrame(probabilities, columns=OUTPUTS).assign(example_id=ids)
    locale = np.array(["us", "es", "jp"])[rng.choice(3, rows, p=[0.7, 0.2, 0.1])]
    examples = pd.DataFrame({"example_id": ids, "label": np.array(LABELS)[given], "locale": locale})
    return Planted(outputs, examples, pd.Series(np.arange(rows) % 5, index=ids), ids[:wrong])
