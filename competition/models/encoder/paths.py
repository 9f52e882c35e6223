"""The folders that a model is built from. No heavy import here: what plans runs reads this too."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Sources:
    """Where the parts of a model lie."""

    encoder: Path
    vocabulary: Path | None = None  # None: no features beside the encoder
    vectors: Path | None = None  # None: 3-grams start from random weights
    names: Path | None = None  # None: categories start from random weights
    locales: int = 1  # of the contest, for the feature `country`
