"""Examples for pre-training, made when they are asked for: a function of (recipe, seed, step), never stored."""

from dataclasses import dataclass
from functools import lru_cache, partial
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from competition.config.keys import Spans
from competition.config.recipe import PretrainingRecipe
from competition.core.fingerprint import derive_seed
from competition.data.catalogue import IGNORED, Catalogue
from competition.data.fake_queries import FakeQuery
from competition.data.pairs import SpecialTokens
from competition.data.text import FIELDS
from competition.data.tokenizer import tokenise
from competition.scoring.tasks import LOCALES

PRETRAINING_TASKS = ("mlm", "query", "attributes", "contrastive")  # one mini-batch each per step
MAX_TRIES = 10  # other products that are looked at for a query that does not fit
_PARTS = (
    0.8,
    0.9,
)  # of the masked tokens: the mask up to here, another token up to here, the rest stays

Tokens = NDArray[np.int32]
_NONE = np.empty(0, np.int64)


@dataclass(frozen=True)
class TaskTexts:
    """One task's mini-batch: texts with their special tokens, and what is to be predicted of each."""

    ids: list[Tokens]
    first_text: list[int]  # tokens of the first side, see `Pairs.ids`
    targets: dict[str, list[Any]]  # name -> one target per text: a number, or one per token

    def __len__(self) -> int:
        return len(self.ids)


def one_sided(ids: list[Tokens], **targets: Any) -> TaskTexts:
    """TaskTexts of one side."""
    return TaskTexts(
        ids, [len(text) for text in ids], {name: list(values) for name, values in targets.items()}
    )


def _permutation(seed: int, task: str, count: int, cycle: int) -> NDArray[np.int64]:
    return np.random.default_rng(derive_seed(seed, task, "order", cycle)).permutation(count)


class Masking:
    """Masked language modelling: which tokens are hidden, and how (Devlin et al. 2019)."""

    def __init__(self, tokenizer: Any, share: float) -> None:
        self._mask, self._share = tokenizer.mask_token_id, share
        self._special = np.array(sorted(tokenizer.all_special_ids))
        self._ordinary = np.setdiff1d(np.arange(len(tokenizer)), self._special)

    def apply(self, ids: Tokens, rng: np.random.Generator) -> tuple[Tokens, NDArray[np.int64]]:
        """`share` of the tokens are to be predicted: of these, 80 % become the mask, 10 % any token, 10 % stay.

        Returns:
            The tokens, and the targets: the token where one is to be predicted, else IGNORED.
        """
        hidden = (rng.random(len(ids)) < self._share) & ~np.isin(ids, self._special)
        fate = rng.random(len(ids))
        any_token = rng.choice(self._ordinary, len(ids))
        seen = np.where(hidden & (fate < _PARTS[0]), self._mask, ids)
        seen = np.where(hidden & (fate >= _PARTS[0]) & (fate < _PARTS[1]), any_token, seen)
        return seen.astype(np.int32), np.where(hidden, ids, IGNORED).astype(np.int64)


class PretrainingExamples:
    """The mini-batches of every step."""

    def __init__(self, catalogue: Catalogue, tokenizer: Any, recipe: PretrainingRecipe) -> None:
        self._catalogue, self._tokenizer, self._recipe = catalogue, tokenizer, recipe
        self._masking = Masking(tokenizer, recipe.masked)
        by_name: dict[str, Spans] = {str(name): spans for name, spans in recipe.spans.items()}
        self._spans = [by_name[name] for name in LOCALES]
        self._block = recipe.max_length - 2
        self._described = np.flatnonzero([bool(text) for text in catalogue.text])
        self._of_locale = [
            self._described[catalogue.locale[self._described] == locale]
            for locale in range(len(LOCALES))
        ]
        targets = [getattr(catalogue, name) for name in recipe.names]
        self._known = (
            np.flatnonzero(np.any(np.array(targets) != IGNORED, axis=0)) if targets else _NONE
        )
        self._all = np.arange(len(catalogue))
        self._order = lru_cache(2 * len(PRETRAINING_TASKS))(partial(_permutation, recipe.seed))

    @property
    def special(self) -> SpecialTokens:
        """The tokenizer's."""
        return self._catalogue.special

    @property
    def blocks(self) -> int:
        """The blocks of an epoch."""
        return self._catalogue.blocks(self._block)

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that are on and have something to learn from."""
        recipe, found = self._recipe, ["mlm"]
        found += ["query"] if recipe.query and len(self._described) else []
        found += ["attributes"] if recipe.names and len(self._known) else []
        found += ["contrastive"] if recipe.contrastive else []
        return tuple(found)

    def make(self, task: str, chosen: NDArray[np.int64], step: int) -> TaskTexts:
        """The mini-batch of a task: blocks `chosen` for MLM, for the others as many products, in an order of their
        own in which each comes once before any comes again."""
        rng = np.random.default_rng(derive_seed(self._recipe.seed, task, step))
        if task == "mlm":
            return self._mlm(chosen, rng)
        if task == "query":
            return self._queries(self._turn(task, self._described, len(chosen), step), rng)
        if task == "attributes":
            return self._attributes(self._turn(task, self._known, len(chosen), step))
        return self._products(self._turn(task, self._all, len(chosen), step))

    def _turn(
        self, task: str, products: NDArray[np.int64], size: int, step: int
    ) -> NDArray[np.int64]:
        """The products whose turn it is; all of them where they are fewer than a mini-batch."""
        count, batch = len(products), self._recipe.batch_size
        if count <= batch:
            return products[self._order(task, count, step)[:size]]
        epoch, number = divmod(step, -(-self.blocks // batch))
        places = epoch * self.blocks + number * batch + np.arange(size)
        cycles = places // count
        turns = [
            self._order(task, count, int(c))[places[cycles == c] % count] for c in np.unique(cycles)
        ]
        return products[np.concatenate(turns)]

    def _mlm(self, blocks: NDArray[np.int64], rng: np.random.Generator) -> TaskTexts:
        texts, targets = [], []
        for number in blocks:
            block = self._catalogue.block(int(number), self._block)
            ids, target = self._masking.apply(
                self._catalogue.special.join([block], self._recipe.max_length), rng
            )
            texts.append(ids)
            targets.append(target)
        return one_sided(texts, token=targets)

    def _queries(self, products: NDArray[np.int64], rng: np.random.Generator) -> TaskTexts:
        """`[CLS] query [SEP] text [SEP]`: the product's own fake query, half the time cut out of the text, or another
        product's. Text is cut for both, so that a gap says nothing."""
        queries, texts, own_query = [], [], []
        for product in products.tolist():
            text = self._catalogue.text[product]
            own = self._fake_query(product, rng)
            shown = own.remove_from(text) if rng.integers(2) else text
            other = self._other_query(product, rng) if rng.integers(2) else None
            queries.append(str(other or own))
            texts.append(shown)
            own_query.append(other is None)
        tokens = tokenise(self._tokenizer, queries + texts, self._recipe.max_length)
        special, n = self._catalogue.special, len(queries)
        ids = [special.join([tokens[i], tokens[n + i]], self._recipe.max_length) for i in range(n)]
        first_text = [min(len(tokens[i]) + 2, len(ids[i])) for i in range(n)]
        return TaskTexts(ids, first_text, {"match": own_query})

    def _fake_query(self, product: int, rng: np.random.Generator) -> FakeQuery:
        spans = self._spans[self._catalogue.locale[product]]
        return FakeQuery.draw(self._catalogue.text[product], spans, rng)

    def _other_query(self, product: int, rng: np.random.Generator) -> FakeQuery | None:
        """A fake query of another product of the same locale that the text of `product` does not hold; None where
        TRIES of them did."""
        text, others = (
            self._catalogue.text[product],
            self._of_locale[self._catalogue.locale[product]],
        )
        for other in rng.choice(others, MAX_TRIES).tolist():
            query = self._fake_query(other, rng)
            if not query.fits(text):
                return query
        return None

    def _attributes(self, products: NDArray[np.int64]) -> TaskTexts:
        known = self._catalogue
        return one_sided(
            self._joined(products, ("title", "bullets")),
            brand=known.brand[products],
            color=known.color[products],
        )

    def _products(self, products: NDArray[np.int64]) -> TaskTexts:
        """Two products may read alike, all the more when they are cut: `same` tells by the tokens that are read."""
        ids = self._joined(products, FIELDS)
        return one_sided(
            ids,
            same=[int.from_bytes(blake2b(text.tobytes(), digest_size=7).digest()) for text in ids],
        )

    def _joined(self, products: NDArray[np.int64], fields: tuple[str, ...]) -> list[Tokens]:
        known, limit = self._catalogue, self._recipe.max_length
        return [
            known.special.join([known.fields[f][p][:limit] for f in fields], limit)
            for p in products.tolist()
        ]
