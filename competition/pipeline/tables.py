"""The tables of a workspace, each read once however many steps need it."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import cache, cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from competition.core.lazy import pd
from competition.core.parquet import read_table
from competition.core.workspace import Workspace
from competition.data import folds, store
from competition.data.store import DataCard
from competition.noise.plan import AuditPlan
from competition.pipeline.artifacts import folds_fingerprint, text_features_fingerprint
from competition.scoring import predictions
from competition.scoring.contest import Contest
from competition.scoring.predictions import RunPlan

if TYPE_CHECKING:
    from competition.config.recipe import MemberRecipe
    from competition.pipeline.new_rows import NewRows
    from competition.training.corpus import Corpus


class Tables:
    """Reads examples, products, folds, features and runs of one workspace."""

    def __init__(self, workspace: Workspace, contest: Contest) -> None:
        """Read nothing yet."""
        self.workspace = workspace
        self.contest = contest
        # What teachers said of the unlabelled rows, by the fingerprints of their models.
        self.said_of_unlabelled: dict[tuple[str, ...], pd.DataFrame] = {}
        self._corpus: tuple[Hashable, Corpus] | None = None

    @cached_property
    def card(self) -> DataCard:
        """The card of the data."""
        return store.load_card(self.workspace)

    @cached_property
    def examples(self) -> pd.DataFrame:
        """All examples, sorted by example_id."""
        return store.load_examples(self.workspace)

    @cached_property
    def products(self) -> pd.DataFrame:
        """All products."""
        return store.load_products(self.workspace)

    @cached_property
    def training_products(self) -> pd.DataFrame:
        """The products of training rows: what is fitted before the folds comes from them alone."""
        return store.training_products(self.examples, self.products)

    @cached_property
    def training_product_rows(self) -> NDArray[np.int64]:
        """The rows of `products` that these are, for what needs no copy of their text."""
        return store.training_rows(self.examples, self.products)

    def some_training_products(self, at_most: int) -> pd.DataFrame:
        """Return `at_most` of them, evenly spaced."""
        return store.some_products(self.products, self.training_product_rows, at_most)

    @cached_property
    def unlabelled(self) -> NewRows:
        """The unlabelled rows, numbered behind the others."""
        from competition.pipeline.unlabelled import read_unlabelled

        return read_unlabelled(self.workspace, self.contest, self.examples)

    def rows_for(self, recipe: MemberRecipe) -> pd.DataFrame:
        """Return the rows that a recipe may read: all examples, and the unlabelled ones where it is taught on them."""
        if not recipe.reads_unlabelled:
            return self.examples
        return pd.concat([self.examples, self.unlabelled.examples], ignore_index=True)

    def products_for(self, recipe: MemberRecipe) -> pd.DataFrame:
        """Return the products of these rows."""
        if not recipe.reads_unlabelled:
            return self.products
        return pd.concat([self.products, self.unlabelled.products], ignore_index=True)

    def lexical_features_for(self, recipe: MemberRecipe) -> pd.DataFrame:
        """Return the features of text of these rows, by example_id."""
        from competition.pipeline.predict_new import PreparedRows

        if not recipe.reads_unlabelled:
            return self.lexical_features
        return pd.concat([self.lexical_features, PreparedRows(self.unlabelled, self).lexical])

    @cache  # noqa: B019 - one Tables per command
    def fold_of_rows(self, scheme: str) -> pd.Series:
        """Return the fold of each example, with its index, from the checked file of a scheme."""
        # A fingerprint says what the file was made from, not that nobody changed it since.
        inputs = folds_fingerprint(self.card, scheme, self.contest)
        table = read_table(self.workspace.folds(scheme), inputs)
        folds.check_folds(self.examples, table, scheme)
        return folds.fold_of_rows(self.examples, table)

    @cache  # noqa: B019
    def fold_of_training(self, scheme: str) -> pd.Series:
        """Return the fold of each training row, by example_id."""
        train = (self.examples["split"] == "train").to_numpy()
        ids = self.examples["example_id"].to_numpy()[train]
        return pd.Series(self.fold_of_rows(scheme).to_numpy()[train], index=ids)

    @cached_property
    def text_features(self) -> pd.DataFrame:
        """The features of text, those of BM25 among them, by example_id."""
        inputs = text_features_fingerprint(self.card)
        return read_table(self.workspace.text_features, inputs).set_index("example_id")

    @cached_property
    def lexical_features(self) -> pd.DataFrame:
        """The features of text that `lexical` reads, by example_id."""
        from competition.models.lexical.bm25 import PREFIX

        return self.text_features.loc[:, ~self.text_features.columns.str.startswith(PREFIX)]

    @cached_property
    def _ids_of_splits(self) -> tuple[pd.Series, pd.Series]:
        """The ids of training rows and of test rows."""
        ids, is_test = self.examples["example_id"], self.examples["split"] == "test"
        return ids[~is_test], ids[is_test]

    def read_run(self, plan: RunPlan) -> predictions.Run:
        """Return a complete run, joined by id, whose folds are those of its scheme."""
        run = predictions.read_run(self.workspace, plan, *self._ids_of_splits)
        predictions.check_parts(run, self.fold_of_training(plan.scheme), plan.scheme)
        return run

    def flags(self, audit: AuditPlan) -> pd.DataFrame:
        """Return what an audit flagged, from its file."""
        return read_table(self.workspace.noise(audit.name, audit.fold), audit.inputs)

    def corpus(self, key: Hashable, make: Callable[[], Corpus]) -> Corpus:
        """Return the examples as the pairs of an encoder recipe; folds and recipes of one `key` share them."""
        if self._corpus is None or self._corpus[0] != key:
            # The old one is freed first, so that memory holds one.
            self._corpus = None
            self._corpus = (key, make())
        return self._corpus[1]
