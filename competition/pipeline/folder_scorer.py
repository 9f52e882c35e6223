"""An exported folder, ready for new rows: no workspace, no data and no settings are needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from competition.core.errors import InputError, unknown_name
from competition.data.folds import normalise
from competition.data.layout import served_documents
from competition.data.text import clean
from competition.models.exported.folder import GRAPHS, ONNX, TORCH, FolderCard, check_files
from competition.pipeline.new_rows import NewRows
from competition.pipeline.scorer import Scorer, has_score, scores_of, shown

if TYPE_CHECKING:
    from competition.models.exported.runner import Runner

Pair = tuple[str, str]  # query and document


class FolderScorer(Scorer):
    """A folder that `comp export` wrote, which answers as a run of a workspace does, see `Scorer`.

    Products may also be given as texts that hold all of their fields, as a server is sent them.
    Tokenizer and model stay in memory.
    """

    def __init__(self, folder: Path, form: str = TORCH) -> None:
        """Check and load a folder.

        Args:
            folder: that `comp export` wrote.
            form: `torch`, or one of GRAPHS where the folder has it.

        Raises:
            InputError: a file of it is not what was compared, or it lacks the form.
        """
        check_files(folder)
        card = FolderCard.read(folder)

        # After the check: nothing that was changed is loaded.
        from competition.models.encoder.encoder import load_tokenizer
        from competition.models.exported.runner import TorchRunner

        self.card = card
        self.contest = card.read_contest()
        self.kind = self.contest.kind(card.kind)
        self.basis = card.basis
        self.label_paths = card.label_paths
        self._run = card.run
        self._ranks = has_score(self.contest, self.kind)
        self._runner: Runner
        if form == TORCH:
            self._runner = TorchRunner(folder)
            return

        from competition.models.exported.graphs import GraphRunner, check_installed

        check_installed()
        self._runner = GraphRunner(_graph_of(folder, form), load_tokenizer(folder))

    @property
    def tokens(self) -> int:
        """How many tokens the model has read so far; pairs that are equal are read once."""
        return self._runner.tokens

    def score(
        self,
        queries: str | Sequence[str],
        products: Sequence[str] | pd.DataFrame,
        locale: str = "",
    ) -> NDArray[np.float64]:
        """Score how well each product answers its query, see `Scorer.score`."""
        pairs = self._plain_pairs(queries, products) if not locale else None
        if pairs is None or not self._ranks:
            return super().score(queries, products, locale)

        return scores_of(self.contest, self.kind, self._outputs(pairs))

    def read(
        self,
        table: object,
        source: str,
        locale: str = "",
        called: object = None,
    ) -> NewRows:
        """Check rows and name what is distinct in them, see `NewRows.make`."""
        return NewRows.make(table, source, self.contest, locale, 0, called)  # type: ignore[arg-type]

    def trained_on(self, rows: NewRows) -> int:
        """Refuse: a folder holds no rows, so which of these it was trained on is not known."""
        raise InputError("An exported folder does not hold the rows that it was trained on.")

    def answer(self, rows: NewRows) -> pd.DataFrame:
        """Predict each row that was given, see `Scorer.answer`."""
        outputs = self._outputs(self._texts(rows))
        return shown(self.contest, self.kind, outputs).iloc[rows.of_row].reset_index(drop=True)

    def _texts(self, rows: NewRows) -> list[Pair]:
        """Return the texts of distinct pairs."""
        texts = served_documents(rows.products, self.card.fields)
        documents = dict(zip(rows.products["product_id"], texts, strict=True))
        columns = (rows.examples["query"], rows.examples["product_id"])
        return [(clean(query), documents[product]) for query, product in zip(*columns, strict=True)]

    def _plain_pairs(self, queries: object, products: object) -> list[Pair] | None:
        """Return the pairs of plain lists of texts; None for what needs a closer look, or is refused."""
        if not isinstance(products, list | tuple) or not products:
            return None
        queries = [queries] * len(products) if isinstance(queries, str) else queries
        if not isinstance(queries, list | tuple) or len(queries) != len(products):
            return None
        if not all(isinstance(text, str) for text in (*queries, *products)):
            return None

        is_blank = {query: not normalise(query) for query in dict.fromkeys(queries)}
        if any(is_blank.values()) or not all(map(_is_whole, (*queries, *products))):
            return None
        return [(clean(q), clean(p)) for q, p in zip(queries, products, strict=True)]

    def _outputs(self, pairs: Sequence[Pair]) -> pd.DataFrame:
        """Return the outputs of the kind for each pair, in their order.

        Pairs that are equal are read once. Bits depend on what is in a batch, so each query's
        candidates are read by themselves and in an order of their own: whatever else is asked,
        and by whom, they get the same numbers.
        """
        from competition.models.exported.runner import outputs_of

        candidates: dict[str, set[str]] = {}
        for query, document in pairs:
            candidates.setdefault(query, set()).add(document)

        logits: dict[Pair, NDArray[np.float64]] = {}
        for query, documents in candidates.items():
            distinct = [(query, document) for document in sorted(documents)]
            logits |= zip(distinct, self._runner.logits(distinct), strict=True)
        values = outputs_of(self.kind, np.stack([logits[pair] for pair in pairs]))
        return pd.DataFrame(values, columns=list(self.kind.outputs))


def _graph_of(folder: Path, form: str) -> Path:
    """Return the file of a form that is a graph; raises InputError where there is none."""
    if form not in GRAPHS:
        raise unknown_name("form", form, [TORCH, *GRAPHS])
    path = folder / ONNX / GRAPHS[form]
    if not path.is_file():
        raise InputError(
            f"{folder} has no {ONNX}/{GRAPHS[form]}: write it with `comp export RUN DIR --onnx`, which leaves out what "
            "loses too much."
        )
    return path


def _is_whole(text: str) -> bool:
    """Return whether a text holds no half of a character, which cannot be encoded."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
