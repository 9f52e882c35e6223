"""Embeddings of brand, color and country, and the multi-granular semantic units: pooled character 3-grams."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from competition.data.vocabulary import DEVIATION, DIMENSIONS, MISSING, PADDING, RARE, UNITS, Vocabulary, load_vectors
from competition.model.inputs import Extras
from competition.tasks import LOCALES

NAME_DIMENSIONS = 128  # of brand and color
COUNTRY_DIMENSIONS = 8


class Features(nn.Module):
    """What stands beside [CLS]: `Extras` -> `(batch, width)`, in the order brand, color, country, char3."""

    def __init__(self, names: Sequence[str], vocabulary: Vocabulary) -> None:
        super().__init__()
        sizes = {
            "brand": (RARE + 1 + len(vocabulary.brands), NAME_DIMENSIONS, MISSING),
            "color": (RARE + 1 + len(vocabulary.colors), NAME_DIMENSIONS, MISSING),
            "country": (len(LOCALES), COUNTRY_DIMENSIONS, None),
        }
        self.tables = nn.ModuleDict({name: _table(*size) for name, size in sizes.items() if name in names})
        self.width = sum(size[1] for name, size in sizes.items() if name in names)
        self.grams: nn.EmbeddingBag | None = None
        if "char3" in names:
            # One table for all units, so that a gram of a query and of a product start as the same vector.
            start = nn.init.normal_(torch.empty(len(vocabulary.grams) + 1, DIMENSIONS), std=DEVIATION)
            start[PADDING] = 0
            self.grams = nn.EmbeddingBag.from_pretrained(start, freeze=False, mode="mean", padding_idx=PADDING)
            self.width += len(UNITS) * DIMENSIONS

    def start_grams(self, vectors: Path, freeze: bool) -> None:
        """Put word2vec's vectors into the 3-gram table, and keep them there if `freeze`."""
        assert self.grams is not None  # only recipes with char3 have vectors
        with torch.no_grad():
            self.grams.weight.copy_(torch.from_numpy(load_vectors(vectors)))
        self.grams.weight.requires_grad_(not freeze)

    def forward(self, extras: Extras) -> Tensor:
        """The features of a batch; a unit without a gram is zero."""
        parts = [table(getattr(extras, name)) for name, table in self.tables.items()]
        if self.grams is not None:
            bags = self.grams(extras.grams, extras.bags)  # (units * batch, dimensions)
            parts += bags.unflatten(0, (len(UNITS), -1)).unbind(0)
        return torch.cat(parts, 1)


def _table(rows: int, width: int, missing: int | None) -> nn.Embedding:
    """An embedding with small random weights; the row of `missing`, if any, is zero and stays so."""
    start = nn.init.normal_(torch.empty(rows, width), std=DEVIATION)
    if missing is not None:
        start[missing] = 0
    return nn.Embedding.from_pretrained(start, freeze=False, padding_idx=missing)
