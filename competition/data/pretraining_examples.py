"""Examples for pre-training, made when they are asked for: a function of (recipe, seed, step), never stored."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from competition.config.recipe import PretrainingRecipe
from competition.core.fingerprint import derive_seed
from competition.data.catalogue import IGNORED, Catalogue
from competition.data.fake_queries import FakeQuery
from competition.data.pairs import SpecialTokens
from competition.data.tokenizer import tokenise

PRETRAINING_TASKS = ("mlm", "query", "attributes", "contrastive")  # one mini-batch each per step
MAX_TRIES = 10  # other products that are looked at for a query that does not fit
# Of the masked tokens: the mask up to the first share, another token up to the second, the rest stays.
_MASK_UP_TO = 0.8
_OTHER_TOKEN_UP_TO = 0.9

Tokens = NDArray[np.int32]


@dataclass(frozen=True)
class TaskTexts:
    """One task's mini-batch: texts with their special tokens, and what is to be predicted of each.

    Attributes:
        ids: the tokens of each text.
        first_text: how many of them belong to the first side, see `Pairs.ids`.
        targets: name -> one target per text: a number, or one per token.
    """

    ids: list[Tokens]
    first_text: list[int]
    targets: dict[str, list[Any]]

    def __len__(self) -> int:
        return len(self.ids)


def one_sided(ids: list[Tokens], targets: Mapping[str, Iterable[Any]]) -> TaskTexts:
    """Return texts of one side."""
    lengths = [len(text) for text in ids]
    return TaskTexts(ids, lengths, {name: list(values) for name, values in targets.items()})


class Masking:
    """Masked language modelling: which tokens are hidden, and how (Devlin et al. 2019)."""

    def __init__(self, tokenizer: Any, share: float) -> None:
        self._mask = tokenizer.mask_token_id
        self._share = share
        self._special = np.array(sorted(tokenizer.all_special_ids))
        self._ordinary = np.setdiff1d(np.arange(len(tokenizer)), self._special)

    def apply(self, ids: Tokens, rng: np.random.Generator) -> tuple[Tokens, NDArray[np.int64]]:
        """Choose a `share` of the tokens to be predicted: 80 % become the mask, 10 % any token, 10 % stay.

        Returns:
            The tokens, and the targets: the token where one is to be predicted, else IGNORED.
        """
        hidden = (rng.random(len(ids)) < self._share) & ~np.isin(ids, self._special)
        fate = rng.random(len(ids))
        any_token = rng.choice(self._ordinary, len(ids))

        masked = hidden & (fate < _MASK_UP_TO)
        replaced = hidden & (fate >= _MASK_UP_TO) & (fate < _OTHER_TOKEN_UP_TO)
        seen = np.where(masked, self._mask, ids)
        seen = np.where(replaced, any_token, seen)
        return seen.astype(np.int32), np.where(hidden, ids, IGNORED).astype(np.int64)


class PretrainingExamples:
    """The mini-batches of every step."""

    def __init__(self, catalogue: Catalogue, tokenizer: Any, recipe: PretrainingRecipe) -> None:
        self._catalogue = catalogue
        self._tokenizer = tokenizer
        self._recipe = recipe
        self._masking = Masking(tokenizer, recipe.masked)
        self._block_size = recipe.max_length - 2  # beside [CLS] and [SEP]
        self._spans = [recipe.spans_of(locale) for locale in catalogue.locales]

        # The products that each task can learn from.
        self._all = np.arange(len(catalogue))
        self._described = np.flatnonzero([bool(text) for text in catalogue.text])
        locale = catalogue.locale[self._described]
        self._of_locale = [
            self._described[locale == number] for number in range(len(catalogue.locales))
        ]
        self._learned = recipe.learned_categories(tuple(catalogue.categories))
        names = [catalogue.categories[name] for name in self._learned]
        is_named = np.zeros(len(catalogue), bool)
        for classes in names:
            is_named |= classes != IGNORED
        self._named = np.flatnonzero(is_named)

        self._order = lru_cache(2 * len(PRETRAINING_TASKS))(partial(_permutation, recipe.seed))

    @property
    def special(self) -> SpecialTokens:
        """The tokenizer's."""
        return self._catalogue.special

    @property
    def blocks(self) -> int:
        """The blocks of an epoch."""
        return self._catalogue.blocks(self._block_size)

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that are on and have something to learn from."""
        recipe = self._recipe
        tasks = ["mlm"]
        if recipe.query and len(self._described):
            tasks.append("query")
        if self._learned and len(self._named):
            tasks.append("attributes")
        if recipe.contrastive:
            tasks.append("contrastive")
        return tuple(tasks)

    def make(self, task: str, blocks: NDArray[np.int64], step: int) -> TaskTexts:
        """Make the mini-batch of a task.

        MLM reads these blocks; the other tasks read as many products, in an order of their own in
        which each comes once before any comes again.
        """
        rng = np.random.default_rng(derive_seed(self._recipe.seed, task, step))
        size = len(blocks)
        if task == "mlm":
            return self._mask_blocks(blocks, rng)
        if task == "query":
            return self._match_queries(self._turn(task, self._described, size, step), rng)
        if task == "attributes":
            return self._name_attributes(self._turn(task, self._named, size, step))
        return self._compare_products(self._turn(task, self._all, size, step))

    def _turn(
        self, task: str, products: NDArray[np.int64], size: int, step: int
    ) -> NDArray[np.int64]:
        """Return the products whose turn it is.

        These are all of them where they are fewer than a mini-batch.
        """
        count = len(products)
        batch = self._recipe.batch_size
        if count <= batch:
            all_of_them: NDArray[np.int64] = products[self._order(task, count, step)[:size]]
            return all_of_them

        # Where this batch lies in the sequence of all batches, and in which pass over the products.
        steps_per_epoch = -(-self.blocks // batch)
        epoch, number = divmod(step, steps_per_epoch)
        places = epoch * self.blocks + number * batch + np.arange(size)
        cycles = places // count
        turns = [
            self._order(task, count, int(cycle))[places[cycles == cycle] % count]
            for cycle in np.unique(cycles)
        ]
        turn: NDArray[np.int64] = products[np.concatenate(turns)]
        return turn

    def _mask_blocks(self, blocks: NDArray[np.int64], rng: np.random.Generator) -> TaskTexts:
        """Return `[CLS] block [SEP]` with masked tokens."""
        texts = []
        targets = []
        for number in blocks:
            block = self._catalogue.block(int(number), self._block_size)
            text = self.special.join([block], self._recipe.max_length)
            ids, target = self._masking.apply(text, rng)
            texts.append(ids)
            targets.append(target)
        return one_sided(texts, {"token": targets})

    def _match_queries(self, products: NDArray[np.int64], rng: np.random.Generator) -> TaskTexts:
        """Return `[CLS] query [SEP] text [SEP]`, half of them with another product's fake query.

        The product's own query is half the time cut out of the text. Text is cut for both, so that
        a gap says nothing.
        """
        queries = []
        texts = []
        is_own = []
        for product in products.tolist():
            text = self._catalogue.text[product]
            own = self._fake_query(product, rng)
            shown = own.remove_from(text) if rng.integers(2) else text
            other = self._other_query(product, rng) if rng.integers(2) else None
            queries.append(str(other or own))
            texts.append(shown)
            is_own.append(other is None)

        # Queries and texts in one call of the tokenizer.
        limit = self._recipe.max_length
        tokens = tokenise(self._tokenizer, queries + texts, limit)
        n = len(queries)
        ids = [self.special.join([tokens[i], tokens[n + i]], limit) for i in range(n)]
        first_text = [min(len(tokens[i]) + 2, len(ids[i])) for i in range(n)]
        return TaskTexts(ids, first_text, {"match": is_own})

    def _fake_query(self, product: int, rng: np.random.Generator) -> FakeQuery:
        spans = self._spans[self._catalogue.locale[product]]
        return FakeQuery.draw(self._catalogue.text[product], spans, rng)

    def _other_query(self, product: int, rng: np.random.Generator) -> FakeQuery | None:
        """Draw another product's fake query, of the same locale, that the text of `product` does not hold.

        None where MAX_TRIES of them did.
        """
        text = self._catalogue.text[product]
        others = self._of_locale[self._catalogue.locale[product]]
        for other in rng.choice(others, MAX_TRIES).tolist():
            query = self._fake_query(other, rng)
            if not query.fits(text):
                return query
        return None

    def _name_attributes(self, products: NDArray[np.int64]) -> TaskTexts:
        """Return the first two texts, of which the categories are to be told."""
        targets = {name: ids[products] for name, ids in self._catalogue.categories.items()}
        return one_sided(self._join_fields(products, self._catalogue.texts[:2]), targets)

    def _compare_products(self, products: NDArray[np.int64]) -> TaskTexts:
        """Return all fields of products.

        Two products may read alike, all the more when they are cut: `same` is a hash of the tokens
        that are read.
        """
        ids = self._join_fields(products, tuple(self._catalogue.fields))
        same = [int.from_bytes(blake2b(text.tobytes(), digest_size=7).digest()) for text in ids]
        return one_sided(ids, {"same": same})

    def _join_fields(self, products: NDArray[np.int64], fields: tuple[str, ...]) -> list[Tokens]:
        limit = self._recipe.max_length
        tokens = [self._catalogue.fields[field] for field in fields]
        return [
            self.special.join([ragged[product][:limit] for ragged in tokens], limit)
            for product in products.tolist()
        ]


def _permutation(seed: int, task: str, count: int, cycle: int) -> NDArray[np.int64]:
    return np.random.default_rng(derive_seed(seed, task, "order", cycle)).permutation(count)
