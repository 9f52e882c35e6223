"""The basis of a run's out-of-fold scores: held out, or approximate since labels reached the rows that they grade.

A run is `held-out` where nothing that answers for a row was fitted on its label: change the labels
of a fold, make everything again, and the fold's outputs stay as they were, bit for bit. Every other
run is `approximate`: its score may flatter it. Which it is follows from recipes alone, see
`config/label_paths.py`.
"""

from collections.abc import Sequence

HELD_OUT, APPROXIMATE = "held-out", "approximate"


def describe_basis(paths: Sequence[str]) -> str:
    """Return how a score was come by, such as `approximate: labels reached it through the audit of c1`."""
    if not paths:
        return HELD_OUT

    return f"{APPROXIMATE}: labels reached it through {' and '.join(paths)}"
