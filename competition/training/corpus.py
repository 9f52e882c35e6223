"""The rows of a workspace as one recipe reads them: tokenised pairs, and behind them the augmented rows."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from competition.config.recipe import EncoderRecipe
from competition.data import augment
from competition.data.augment import Augmented
from competition.data.folds import normalise
from competition.data.pairs import Pairs, views
from competition.data.query_context import with_context
from competition.data.targets import Targets
from competition.data.token_store import NOTHING_STORED, StoredSequences
from competition.data.vocabulary import Vocabulary
from competition.models.encoder.encoder import check_length, load_tokenizer
from competition.models.encoder.paths import Sources
from competition.scoring import tasks
from competition.training.batches import Rows
from competition.training.gradients import Sample


@dataclass(frozen=True)
class Corpus:
    """All examples as pairs for one recipe, and behind them the augmented rows; its folds share it."""

    examples: pd.DataFrame
    pairs: Pairs
    source: (
        Rows  # (rows,) the position of the example that each row was made from; an example's own
    )
    asked: Rows  # (rows,) equal for rows whose normalised queries are equal, before any context

    @classmethod
    def make(
        cls,
        recipe: EncoderRecipe,
        sources: Sources,
        examples: pd.DataFrame,
        products: pd.DataFrame,
        translations: Mapping[str, str] | None = None,
        stored: StoredSequences = NOTHING_STORED,
    ) -> "Corpus":
        """Tokenise `examples` and what `recipe` makes of them, as far as that is not stored.

        Args:
            recipe: what is read of a pair, and which rows are added.
            sources: the encoder, and the vocabulary of recipes with features.
            examples: all rows.
            products: the catalogue.
            translations: of `augment.texts_to_translate`, for recipes that add translated rows.
            stored: the tokens, and the 3-grams of products, that were made before.

        Raises:
            InputError: the recipe's `max_length` is more than the encoder reads.
        """
        check_length(sources.encoder, recipe.max_length, recipe.name)
        tokenizer = load_tokenizer(sources.encoder)
        vocabulary = Vocabulary.load(sources.vocabulary) if sources.vocabulary is not None else None
        all_rows, queries = _augmented(recipe, examples, products, translations)
        texts = views(recipe.architecture, recipe.field_order)
        units = "char_trigrams" in recipe.features
        pairs = Pairs.make(
            tokenizer,
            all_rows.examples,
            all_rows.products,
            texts,
            recipe.max_length,
            vocabulary,
            units,
            stored,
        )
        source = pd.Index(examples["example_id"]).get_indexer(all_rows.source)
        return cls(
            all_rows.examples,
            pairs,
            source,
            pd.factorize(np.array(queries, object))[0].astype(np.int64),
        )

    def sample(
        self, recipe: EncoderRecipe, train: Rows, evaluated: Rows, lesson: Targets | None = None
    ) -> Sample:
        """What a fold learns from: the examples at `train`, and the augmented rows that were made from one of them.

        An augmented row whose query, translated, is that of a row at `evaluated` is left out.
        Examples teach `lesson`, in the order of `train`, or their labels alone; an augmented row
        teaches what its source does.
        """
        made = (self.source != np.arange(len(self.source))) & np.isin(self.source, train)
        added = np.flatnonzero(made & ~np.isin(self.asked, self.asked[evaluated]))
        rows = np.concatenate([train, added])
        weight = np.repeat([1.0, recipe.augmented_weight], [len(train), len(added)])
        if lesson is None:
            return Sample(
                self.pairs,
                rows,
                tasks.numeric_target(recipe.kind, self.examples.iloc[rows]),
                weight,
            )
        place = np.zeros(len(self.source), np.int64)
        place[train] = np.arange(len(train))
        taught = place[self.source[rows]]
        return Sample(self.pairs, rows, lesson.target[taught], weight * lesson.weight[taught])


def _augmented(
    recipe: EncoderRecipe,
    examples: pd.DataFrame,
    products: pd.DataFrame,
    translations: Mapping[str, str] | None,
) -> tuple[Augmented, list[str]]:
    """The examples as a recipe reads them, behind them the rows that it adds; and each row's normalised query."""
    new = []
    normalised = {text: normalise(text) for text in examples["query"].unique()}
    query = pd.Series(
        [normalised[text] for text in examples["query"]], index=examples["example_id"]
    )
    queries = query.tolist()
    if translations is not None:
        translated = augment.translate(examples, products, translations)
        queries += [normalise(text) for text in translated.examples["query"]]
        if recipe.query_context:  # of the translated candidates
            context = with_context(translated.examples, translated.products)
            translated = replace(translated, examples=context)
        new.append(translated)
    if recipe.query_context:
        examples = with_context(examples, products)
    if recipe.rebalance:  # pieces keep the context of the whole list: only scarce rows are split
        new.append(augment.split_long(examples, products))
        queries += query.loc[pd.Index(new[-1].source)].tolist()
    return augment.append_augmented(examples, products, new), queries
