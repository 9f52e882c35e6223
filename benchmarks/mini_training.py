"""How `mini` is trained: a teacher, what the student starts from, and distillation. See `benchmarks.mini`."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count, islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from transformers import BertConfig, BertModel

from benchmarks.mini_texts import made_up_query, words_of
from competition.core.console import progress
from competition.core.errors import InputError
from competition.core.fingerprint import derive_seed
from competition.data.pairs import SpecialTokens
from competition.data.ragged import Ragged
from competition.data.tokenizer import tokenise
from competition.models.encoder.encoder import (
    SPECIAL_TOKENS,
    attend_to_equals,
    fetch,
    load_encoder,
    load_tokenizer,
)
from competition.models.encoder.inputs import Inputs
from competition.models.encoder.pooling import MEAN, POOLING_KEY
from competition.models.encoder.unpadded import layer_pass, pooled_states
from competition.training.batches import epoch_batches, pad
from competition.training.device import computes_in_bf16
from tests.esci import FIELDS

Vectors = NDArray[np.float32]  # (texts, width)
Ids = NDArray[np.int32]  # (tokens,) of one text

CONSTRUCTIONS = ("static", "taken", "random")
NEIGHBOURS = 60  # products among which one that is like a query's own is drawn
BATCH = (
    64  # queries of a step; with their own products and one neighbour of each, about 128 products
)
QUERY_LENGTH = 24  # tokens
LENGTH = 64  # tokens of a product, as the preset `mini` reads pairs
POSITIONS = 256  # that the folder keeps: no text of the training reaches further
RATE, WARMUP = 1e-3, 0.05  # the highest learning rate, and the share of steps on which it rises
DROPPED = 0.1  # of the tokens of a product, so that no single word decides
TEACHER_SCALE = 12.5  # cosines of the teacher are multiplied by this before the softmax; the student learns its own
CPU = torch.device("cpu")


# --- texts to vectors
# --------------------------------------------------------------------------------------------


def embed(encoder: Any, special: SpecialTokens, texts: Sequence[Ids]) -> Tensor:
    """Return the mean of each text's tokens in the last layer, `(texts, H)` in fp32."""
    ids, mask, types = pad([(text, len(text)) for text in texts], special.padding, 0, CPU)
    places = mask.flatten().nonzero()[:, 0]
    present = torch.ones(len(texts), 1, dtype=torch.bool)
    inputs = Inputs(ids, mask, types, present, places, None)
    with torch.autocast("cpu", torch.bfloat16, enabled=computes_in_bf16("fast")):
        return pooled_states(encoder, inputs, None, MEAN, layer_pass, save_memory=False)


@torch.no_grad()
def embed_all(encoder: Any, special: SpecialTokens, texts: Sequence[Ids], name: str) -> Vectors:
    """Return the same of many texts, `(texts, H)`, texts of similar length together."""
    order = np.argsort([len(text) for text in texts], kind="stable")
    vectors = np.empty((len(texts), encoder.config.hidden_size), np.float32)
    with progress(name, len(texts), "texts") as work:
        for first in range(0, len(order), BATCH):
            batch = order[first : first + BATCH]
            vectors[batch] = embed(encoder, special, [texts[i] for i in batch]).numpy()
            work.advance(len(batch))
    return vectors


def unit(vectors: Vectors) -> Vectors:
    """Return vectors of length 1, `(texts, width)`."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


class Teacher:
    """A large encoder that compares texts by the cosine of their mean tokens, as E5 was made to (arXiv:2402.05672)."""

    def __init__(self, source: str) -> None:
        """Load it from a folder or by its name; raises CompError where that fails or it is not of BERT's kind."""
        with tempfile.TemporaryDirectory() as folder:
            fetch(Path(folder) / "teacher", source, "teacher")
            self.encoder = load_encoder(Path(folder) / "teacher").eval()
            self.tokenizer = load_tokenizer(Path(folder) / "teacher")
        if self.encoder.config.model_type != "bert":
            kind = self.encoder.config.model_type
            raise InputError(
                f"The teacher {source!r} is a {kind}: take one of BERT's layers, such as e5-small."
            )
        self.special = SpecialTokens.of(self.tokenizer)

    def embed(self, texts: Sequence[str], max_length: int, name: str) -> Vectors:
        """Return what it makes of texts, `(texts, H)`, each of length 1."""
        tokens = tokenise(self.tokenizer, texts, max_length - 2)
        joined = [self.special.join([tokens[i]], max_length) for i in range(len(tokens))]
        return unit(embed_all(self.encoder, self.special, joined, f"teacher: {name}"))

    def embed_products(self, products: pd.DataFrame) -> Vectors:
        """Return what it makes of cleaned products, `(products, H)`: of the title alone and of most of the text."""
        short = products["bullets"].str[:400]
        whole = products["title"] + " " + products["brand"] + " " + products["color"] + " " + short
        read = (("titles", products["title"], 64), ("products", whole, 128))
        return unit(
            sum(
                self.embed(("passage: " + text).tolist(), length, name)
                for name, text, length in read
            )
        )


@dataclass(frozen=True)
class Lists:
    """Made-up queries and products with the teacher's vectors, which are centred and have length 1."""

    products: pd.DataFrame  # cleaned
    queries: list[str]
    own: NDArray[np.int64]  # (queries,) the product that each query is made of
    query_vectors: Vectors
    product_vectors: Vectors
    neighbours: NDArray[
        np.int64
    ]  # (products, at most NEIGHBOURS) the products that are most like each

    @classmethod
    def make(cls, teacher: Teacher, products: pd.DataFrame, queries: int) -> "Lists":
        """Draw queries from cleaned products; those of the two locales that have fewer are drawn twice as often."""
        rows = list(products.itertuples())
        weight = np.array(
            [
                (1.0 if row.locale == "us" else 2.0) * bool(words_of(row.title, row.locale))
                for row in rows
            ]
        )
        rng = np.random.default_rng(derive_seed("mini", "queries"))
        drawn = [
            (own, made_up_query(rows[own], rng))
            for own in rng.choice(len(rows), queries, p=weight / weight.sum())
        ]
        kept = [(own, query) for own, query in drawn if len(query) > 1]
        texts = [query for _, query in kept]

        of_queries = teacher.embed([f"query: {text}" for text in texts], QUERY_LENGTH, "queries")
        of_products = teacher.embed_products(products)
        # The teacher's cosines all lie near 0.8; around its means they tell texts apart.
        of_queries, of_products = (
            unit(vectors - vectors.mean(0)) for vectors in (of_queries, of_products)
        )
        return cls(
            products,
            texts,
            np.array([own for own, _ in kept]),
            of_queries,
            of_products,
            _nearest(of_products),
        )


def _nearest(vectors: Vectors) -> NDArray[np.int64]:
    """The vectors that are most like each but itself, `(vectors, at most NEIGHBOURS)`."""
    parts = []
    for first in range(0, len(vectors), 500):
        similar = vectors[first : first + 500] @ vectors.T
        similar[np.arange(len(similar)), first + np.arange(len(similar))] = -np.inf
        parts.append(
            np.argsort(-similar, axis=1, kind="stable")[:, : min(NEIGHBOURS, len(vectors) - 1)]
        )
    return np.concatenate(parts)


# --- what the student starts from
# --------------------------------------------------------------------------------


def construct(
    construction: str, teacher: Teacher, kept: NDArray[np.int64], width: int, layers: int
) -> BertModel:
    """Return a student that was not trained yet, whose pieces are `kept` of the teacher's behind the special tokens.

    Args:
        construction: `static` (token vectors from what the teacher makes of each piece alone),
            `taken` (the width, the embeddings and the first layers of the teacher) or `random`.
        teacher: what it is made from.
        kept: ids of pieces.
        width: of its tokens, at most the teacher's; not read for `taken`.
        layers: how many it has.

    Raises:
        InputError: the teacher is too small for that.
    """
    has = teacher.encoder.config
    if width > has.hidden_size or layers > has.num_hidden_layers:
        raise InputError(
            f"The teacher has {has.num_hidden_layers} layers of width {has.hidden_size}: "
            f"lower --layers {layers} or --width {width}."
        )
    taken = construction == "taken"
    width = has.hidden_size if taken else width
    config = BertConfig(
        vocab_size=len(SPECIAL_TOKENS) + len(kept),
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=has.num_attention_heads if taken else max(1, width // 64),
        intermediate_size=has.intermediate_size if taken else 4 * width,
        max_position_embeddings=has.max_position_embeddings,
        layer_norm_eps=has.layer_norm_eps,
        pad_token_id=list(SPECIAL_TOKENS).index("pad_token"),
        initializer_range=0.5 * width**-0.5,
    )
    setattr(config, POOLING_KEY, MEAN)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed("mini", "start"))
        student = BertModel(config, add_pooling_layer=False)
    if taken:
        _take(student, teacher, kept)
        return student
    if construction == "static":
        with torch.no_grad():
            student.embeddings.word_embeddings.weight[len(SPECIAL_TOKENS) :] = _token_vectors(
                teacher, kept, width
            )
    attend_to_equals(student)
    return student


def keep_positions(student: BertModel, positions: int = POSITIONS) -> None:
    """Forget the vectors of all positions but the first, which makes the folder smaller."""
    embeddings = student.embeddings
    kept = embeddings.position_embeddings.weight[:positions].detach().clone()
    embeddings.position_embeddings = nn.Embedding.from_pretrained(kept, freeze=False)
    embeddings.register_buffer(
        "position_ids", embeddings.position_ids[:, :positions], persistent=False
    )
    student.config.max_position_embeddings = positions


def _take(student: BertModel, teacher: Teacher, kept: NDArray[np.int64]) -> None:
    """Copy the teacher's embeddings and first layers."""
    state, words = teacher.encoder.state_dict(), "embeddings.word_embeddings.weight"
    unknown = teacher.tokenizer.unk_token_id
    special = [getattr(teacher.tokenizer, f"{name}_id") for name in SPECIAL_TOKENS]
    ids = [unknown if token is None else token for token in special] + kept.tolist()
    student.load_state_dict(
        {name: state[name] for name in student.state_dict()} | {words: state[words][ids]}
    )


def _token_vectors(teacher: Teacher, kept: NDArray[np.int64], width: int) -> Tensor:
    """Half-whitened principal components of what the teacher makes of each piece alone, `(pieces, width)`."""
    pieces = [
        np.array([teacher.special.first, piece, teacher.special.separator], np.int32)
        for piece in kept
    ]
    vectors = embed_all(teacher.encoder, teacher.special, pieces, "teacher: pieces")
    vectors = vectors - vectors.mean(0)
    components = vectors @ np.linalg.svd(vectors, full_matrices=False)[2][:width].T
    components = components / np.sqrt(components.std(0) + 1e-6)
    return torch.from_numpy(0.5 * components / np.sqrt((components**2).mean()))


# --- training
# ----------------------------------------------------------------------------------------------------


class Student:
    """What is trained: the encoder, and what its vectors are compared with the teacher's by."""

    def __init__(self, encoder: BertModel, tokenizer: Any, lists: Lists) -> None:
        self.encoder, self.special, self.lists = encoder, SpecialTokens.of(tokenizer), lists
        self.queries = tokenise(tokenizer, lists.queries, QUERY_LENGTH - 2)
        self.fields = [tokenise(tokenizer, list(lists.products[field]), LENGTH) for field in FIELDS]
        width, teachers = encoder.config.hidden_size, lists.query_vectors.shape[1]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed("mini", "heads"))
            self.of_query, self.of_product = nn.Linear(width, teachers), nn.Linear(width, teachers)
        self.log_scale = nn.Parameter(torch.tensor(2.5))

    def parameters(self) -> Iterator[nn.Parameter]:
        """All that learns."""
        modules = (self.encoder, self.of_query, self.of_product)
        return chain(*(module.parameters() for module in modules), [self.log_scale])

    def loss(self, batch: NDArray[np.int64], rng: np.random.Generator) -> Tensor:
        """Return the mean loss of some queries: how far the student is from the teacher, in lists and text by text.

        In lists: the divergence of its softmax over the products of a query's locale. Text by text:
            1 - cosine of a
        projection of its vector and the teacher's.
        """
        lists = self.lists
        own = lists.own[batch]
        like = lists.neighbours[own, rng.integers(lists.neighbours.shape[1], size=len(own))]
        products = np.unique(np.concatenate([own, like]))
        locale = lists.products["locale"].to_numpy(object)
        other = torch.from_numpy(locale[own][:, None] != locale[products])  # (queries, products)

        query = embed(
            self.encoder,
            self.special,
            [self.special.join([self.queries[i]], QUERY_LENGTH) for i in batch],
        )
        product = embed(self.encoder, self.special, [self._product(i, rng) for i in products])
        teachers_query = torch.from_numpy(lists.query_vectors[batch])
        teachers_product = torch.from_numpy(lists.product_vectors[products])

        cosines = (
            functional.normalize(query, dim=1) @ functional.normalize(product, dim=1).T
        )  # (queries, products)
        found = (cosines * self.log_scale.exp()).masked_fill(other, -1e4).log_softmax(1)
        wanted = (
            (teachers_query @ teachers_product.T * TEACHER_SCALE)
            .masked_fill(other, -1e4)
            .softmax(1)
        )
        in_lists = functional.kl_div(found, wanted, reduction="batchmean")
        by_query = functional.cosine_similarity(self.of_query(query), teachers_query).mean()
        by_product = functional.cosine_similarity(self.of_product(product), teachers_product).mean()
        return in_lists + 2 * (1 - by_query + 1 - by_product)

    def _product(self, place: int, rng: np.random.Generator) -> Ids:
        """A product's text as the bi-encoder reads it, without some of its tokens."""
        return self.special.join([self._some(field, place, rng) for field in self.fields], LENGTH)

    @staticmethod
    def _some(field: Ragged, place: int, rng: np.random.Generator) -> Ids:
        tokens = field[place]
        return tokens[rng.random(len(tokens)) >= DROPPED]


def distil(student: Student, epochs: float) -> None:
    """Train the student on `epochs` passes through the queries."""
    queries, seed = len(student.queries), derive_seed("mini", "distil")
    steps = max(1, round(epochs * queries / BATCH))
    batches = chain.from_iterable(epoch_batches(queries, BATCH, seed, epoch) for epoch in count())
    rng = np.random.default_rng(seed)
    parameters = list(student.parameters())
    optimizer = torch.optim.AdamW(
        parameters, lr=RATE, weight_decay=0.01, betas=(0.9, 0.98), fused=True
    )
    student.encoder.eval()  # without dropout: a small model that copies a large one does not overfit
    with progress("distil", steps, "steps") as work:
        for step, batch in enumerate(islice(batches, steps)):
            rate = RATE * min(1.0, (step + 1) / (WARMUP * steps)) * max(0.02, 1 - step / steps)
            for group in optimizer.param_groups:
                group["lr"] = rate
            student.loss(batch, rng).backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad()
            work.advance(1)
