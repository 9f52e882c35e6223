"""A competition harness for query-product relevance (Amazon KDD Cup 2022, ESCI).

import competition

b1 = competition.load("b1", workspace="work")
b1.score("usb cable", ["USB-C cable, 2 m", "Garden hose"])     # an array, higher is better
b1.classify("usb cable", ["USB-C cable, 2 m", "Garden hose"])  # classes and probabilities
"""

# Nothing is imported here: even `typing` takes long enough for a Ctrl-C to come first.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

    from competition.pipeline.scorer import Scorer

__version__ = "0.3.0"


def load(run: str, workspace: "str | Path" = ".") -> "Scorer":
    """Open a run of a workspace, or an exported folder, to score new rows; see `competition.pipeline.scorer.load`."""
    # Here, so that importing the package loads nothing heavy.
    from competition.pipeline.scorer import load

    return load(run, workspace)
