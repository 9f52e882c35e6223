"""The tensors of a batch of pairs. V views per pair are stacked: rows v * batch … (v + 1) * batch - 1."""

from typing import NamedTuple

from torch import Tensor

COUNTRY = "country"  # the feature that is a row's locale


class FeatureIds(NamedTuple):
    """Ids of what is not read as tokens."""

    names: dict[str, Tensor]  # (batch,) of each category, and COUNTRY, the locale
    grams: Tensor  # (grams,) of all units of all rows
    bags: Tensor  # (units * batch,) where each bag of grams begins, unit by unit


class Inputs(NamedTuple):
    """A batch of pairs, padded to one length."""

    ids: Tensor  # (V * batch, tokens)
    mask: Tensor  # (V * batch, tokens), 1 on tokens
    types: Tensor  # (V * batch, tokens), 1 on the product's side where the query stands before it
    present: Tensor  # (batch, V) bool, whether the view says anything of the product
    places: Tensor  # (T,) of all that is no padding in the flattened ids, ascending
    extras: FeatureIds | None


class Mixup(NamedTuple):
    """Embedding mixup: row i becomes `share` of itself and the rest of row `partner[i]`."""

    partner: Tensor  # (batch,)
    share: float

    def apply(self, rows: Tensor) -> Tensor:
        """Mix rows `(batch, …)`: features, targets or weights."""
        return self.share * rows + (1 - self.share) * rows[self.partner]
