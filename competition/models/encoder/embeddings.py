"""Embeddings of brand, color and country, and the multi-granular semantic units: pooled character 3-grams."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from competition.data.vocabulary import (
    DEVIATION,
    DIMENSIONS,
    MISSING,
    PADDING,
    RARE,
    UNITS,
    Vocabulary,
    load_vectors,
)
from competition.models.encoder.inputs import FeatureIds
from competition.scoring.tasks import LOCALES

NAME_DIMENSIONS = 128  # of brand and color
COUNTRY_DIMENSIONS = 8
# Beside the files of an encoder that has learned brands and colors.
_NAMES_FILE = "names.safetensors"


class FeatureEmbeddings(nn.Module):
    """The features beside [CLS], in the order brand, color, country, char_trigrams."""

    def __init__(self, names: Sequence[str], vocabulary: Vocabulary) -> None:
        super().__init__()
        tables: dict[str, nn.Embedding] = {}
        for name, known in (("brand", vocabulary.brands), ("color", vocabulary.colors)):
            if name in names:
                tables[name] = name_table(len(known))
        if "country" in names:
            tables["country"] = _table(len(LOCALES), COUNTRY_DIMENSIONS)
        self.tables = nn.ModuleDict(tables)
        self.width = sum(table.embedding_dim for table in tables.values())

        self.grams: nn.EmbeddingBag | None = None
        if "char_trigrams" in names:
            # One table for all units, so that a gram of a query and of a product start as the same
            # vector.
            start = torch.empty(len(vocabulary.grams) + 1, DIMENSIONS)
            nn.init.normal_(start, std=DEVIATION)
            start[PADDING] = 0
            self.grams = nn.EmbeddingBag.from_pretrained(
                start, freeze=False, mode="mean", padding_idx=PADDING
            )
            self.width += len(UNITS) * DIMENSIONS

    def init_names(self, tables: dict[str, Tensor]) -> None:
        """Start from the brand and color embeddings of pre-training that the recipe has."""
        with torch.no_grad():
            for name, start in tables.items():
                if name in self.tables:
                    cast(nn.Embedding, self.tables[name]).weight.copy_(start)

    def init_grams(self, vectors: Path, freeze: bool) -> None:
        """Start the 3-gram table from word2vec's vectors, and keep them if `freeze`."""
        assert self.grams is not None  # only recipes with char_trigrams have vectors
        with torch.no_grad():
            self.grams.weight.copy_(torch.from_numpy(load_vectors(vectors)))
        self.grams.weight.requires_grad_(not freeze)

    def forward(self, extras: FeatureIds) -> Tensor:
        """Return the features of a batch, `(batch, width)`; a unit without a gram is zero."""
        parts: list[Tensor] = [table(getattr(extras, name)) for name, table in self.tables.items()]
        if self.grams is not None:
            # All units in one call; unit by unit, they become columns.
            bags = self.grams(extras.grams, extras.bags)  # (units * batch, dimensions)
            parts += bags.unflatten(0, (len(UNITS), -1)).unbind(0)
        return torch.cat(parts, 1)


def name_table(names: int) -> nn.Embedding:
    """Return embeddings of brands or colors.

    The rows are a missing name, zero for good, a rare one, and then the names of the vocabulary.
    """
    return _table(RARE + 1 + names, NAME_DIMENSIONS, MISSING)


def _table(rows: int, width: int, missing: int | None = None) -> nn.Embedding:
    """Return an embedding with small random weights.

    The row of `missing`, if any, is zero and stays so.
    """
    start = nn.init.normal_(torch.empty(rows, width), std=DEVIATION)
    if missing is not None:
        start[missing] = 0
    table: nn.Embedding = nn.Embedding.from_pretrained(  # type: ignore[no-untyped-call]
        start, freeze=False, padding_idx=missing
    )
    return table


def save_names(folder: Path, tables: dict[str, Tensor]) -> None:
    """Write the embeddings of brands and colors beside an encoder; nothing where there are none."""
    if tables:
        weights = {
            name: table.detach().cpu().contiguous() for name, table in sorted(tables.items())
        }
        save_file(weights, folder / _NAMES_FILE)


def load_names(folder: Path) -> dict[str, Tensor]:
    """Return what `save_names` wrote, if anything: name -> `(RARE + 1 + names, NAME_DIMENSIONS)`."""
    path = folder / _NAMES_FILE
    return load_file(path) if path.is_file() else {}
