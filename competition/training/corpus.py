"""The rows of a workspace as one recipe reads them: tokenised pairs, and behind them the augmented rows."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from competition.config.encoder_recipe import NEW_HEAD, EncoderRecipe
from competition.data import augment
from competition.data.augment import Augmented
from competition.data.folds import normalise
from competition.data.layout import make_layout
from competition.data.pairs import Pairs, views
from competition.data.query_context import with_context
from competition.data.targets import Targets
from competition.data.token_store import NOTHING_STORED, StoredSequences
from competition.data.vocabulary import Vocabulary
from competition.models.encoder.encoder import check_length, load_tokenizer, text_template
from competition.models.encoder.paths import Sources
from competition.scoring.contest import Contest
from competition.scoring.task import Kind
from competition.training.batches import Rows
from competition.training.samples import Sample


@dataclass(frozen=True)
class Corpus:
    """All examples as pairs for one recipe, and behind them the augmented rows; its folds share it.

    Attributes:
        examples: all rows.
        contest: that they are of.
        pairs: of these rows.
        source: `(rows,)` the position of the example that each row was made from; an example's own.
        query_number: `(rows,)` equal for rows whose normalised queries are equal, before any context.
    """

    examples: pd.DataFrame
    contest: Contest
    pairs: Pairs
    source: Rows
    query_number: Rows

    @classmethod
    def make(
        cls,
        recipe: EncoderRecipe,
        contest: Contest,
        sources: Sources,
        examples: pd.DataFrame,
        products: pd.DataFrame,
        translations: Mapping[str, str] | None = None,
        stored: StoredSequences = NOTHING_STORED,
    ) -> "Corpus":
        """Tokenise `examples` and what `recipe` makes of them, as far as that is not stored.

        Args:
            recipe: what is read of a pair, and which rows are added.
            contest: whose fields, categories and locales rows have.
            sources: the encoder, and the vocabulary of recipes with features.
            examples: all rows.
            products: the catalogue.
            translations: of `augment.texts_to_translate`, for recipes that add translated rows.
            stored: the tokens, and the 3-grams of products, that were made before.

        Raises:
            InputError: the recipe's `max_length` is more than the encoder reads, or it translates
                what the contest does not have.
        """
        check_length(sources.encoder, recipe.max_length, recipe.name)
        tokenizer = load_tokenizer(sources.encoder)
        vocabulary = Vocabulary.load(sources.vocabulary) if sources.vocabulary is not None else None

        rows, queries = _augmented(recipe, contest, examples, products, translations)
        texts = views(recipe.architecture, recipe.field_order, contest)
        units = "char_trigrams" in recipe.features
        layout = None
        if template := text_template(recipe, sources.encoder):
            served = recipe.servable and recipe.head == NEW_HEAD
            layout = make_layout(tokenizer, template, recipe.max_length, recipe.name, served)
        pairs = Pairs.make(
            tokenizer, rows.examples, rows.products, texts, recipe.max_length, vocabulary, units, stored,
            contest.locales, layout,
        )  # fmt: skip

        source = pd.Index(examples["example_id"]).get_indexer(rows.source)
        query_number, _ = pd.factorize(np.array(queries, object))
        return cls(rows.examples, contest, pairs, source, query_number.astype(np.int64))

    def sample(
        self,
        recipe: EncoderRecipe,
        kind: Kind,
        train: Rows,
        evaluated: Rows,
        targets: Targets | None = None,
    ) -> Sample:
        """Return what a fold learns from: the examples at `train`, and the augmented rows made from one of them.

        An augmented row whose query, translated, is that of a row at `evaluated` is left out. An
        augmented row has the target of its source.

        Args:
            recipe: of the corpus.
            kind: of its predictions.
            train: positions of examples, `(n,)`.
            evaluated: positions of the held-out and the test rows.
            targets: of the rows at `train`, in their order, where they are not the labels alone.
        """
        is_added = (self.source != np.arange(len(self.source))) & np.isin(self.source, train)
        is_evaluated = np.isin(self.query_number, self.query_number[evaluated])
        added = np.flatnonzero(is_added & ~is_evaluated)
        rows = np.concatenate([train, added])
        weight = np.repeat([1.0, recipe.augmented_weight], [len(train), len(added)])
        lists = self._lists(rows) if recipe.ranking_loss != "none" else None
        if targets is None:
            labels = kind.numeric_target(self.examples.iloc[rows])
            return Sample(self.pairs, rows, labels, weight, lists)

        # An augmented row has the target of its source, wherever that stands in `train`.
        place = np.zeros(len(self.source), np.int64)  # of each example in `train`
        place[train] = np.arange(len(train))
        of_row = place[self.source[rows]]
        weight = weight * targets.weight[of_row]
        return Sample(self.pairs, rows, targets.target[of_row], weight, lists)

    def _lists(self, rows: Rows) -> Rows:
        """Return the number of the list of each of some rows, from 0, `(rows,)`: a query's own rows, or those added."""
        is_added = self.source[rows] != rows
        query = self.examples["query_id"].iloc[rows]
        numbers = pd.DataFrame({"query": query.to_numpy(), "is_added": is_added})
        return np.asarray(numbers.groupby(["query", "is_added"]).ngroup(), np.int64)


def _augmented(
    recipe: EncoderRecipe,
    contest: Contest,
    examples: pd.DataFrame,
    products: pd.DataFrame,
    translations: Mapping[str, str] | None,
) -> tuple[Augmented, list[str]]:
    """Return the examples as a recipe reads them and behind them the rows that it adds; each row's normalised query."""
    normalised = {text: normalise(text) for text in examples["query"].unique()}
    of_example = [normalised[text] for text in examples["query"]]
    query = pd.Series(of_example, index=examples["example_id"])
    queries = query.tolist()

    added = []
    if translations is not None:
        translated = augment.translate(examples, products, translations, contest)
        queries += [normalise(text) for text in translated.examples["query"]]
        if recipe.query_context:  # of the translated candidates
            context = with_context(translated.examples, translated.products, contest)
            translated = replace(translated, examples=context)
        added.append(translated)

    if recipe.query_context:
        examples = with_context(examples, products, contest)
    if (
        recipe.rebalance
    ):  # its pieces keep the context of the whole list: only scarce rows are split
        added.append(augment.split_long(examples, products, contest))
        queries += query.loc[pd.Index(added[-1].source)].tolist()
    return augment.append_augmented(examples, products, added), queries
