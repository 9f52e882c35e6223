"""The encoder of a workspace: an ordinary Hugging Face folder, made or fetched once, then only read."""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoConfig, AutoTokenizer, BertConfig, BertModel, PreTrainedTokenizerFast
from transformers.utils.hub import cached_file

import competition.models.encoder.quiet  # noqa: F401
from competition.config.encoder_recipe import NEW_HEAD, PRETRAINED_HEAD, EncoderRecipe
from competition.core.atomic import atomic_folder
from competition.core.console import warn
from competition.core.errors import CompError, InputError
from competition.core.json_files import write_manifest
from competition.data.layout import PAIR
from competition.data.store import evenly_spaced, field_names
from competition.data.text import clean
from competition.models.encoder.families import check_decoder, is_decoder, position_limit
from competition.models.encoder.folders import check_folder
from competition.models.encoder.loading import LoadError, encoder_of, read_encoder
from competition.models.encoder.pooling import POOLING_CARD, POOLING_KEY, stated_pooling
from competition.models.encoder.tokenizer_loading import read_tokenizer
from competition.models.encoder.trained_heads import checked
from competition.models.encoder.trial import check_encoder

SPECIAL_TOKENS = {
    f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")
}
TINY_VOCABULARY = 8_000
# How a decoder reads a pair unless a recipe says.
DECODER_TEMPLATE = "Query: {query}\nDocument: {document}\nRelevant:"
# That the tokenizer is trained on, evenly spaced: enough, and bounded in time.
TINY_PRODUCTS = 100_000


def train_tokenizer(
    products: pd.DataFrame, vocabulary: int = TINY_VOCABULARY
) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer on the catalogue's text.

    No character is unknown, and the same input gives the same bytes. It lower-cases, since a start
    from random weights has nothing to lose by it and too few rows to learn cases.
    """
    tokenizer = Tokenizer(models.BPE(unk_token=SPECIAL_TOKENS["unk_token"]))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()

    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=2,
        special_tokens=list(SPECIAL_TOKENS.values()),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )

    read = evenly_spaced(products, TINY_PRODUCTS)
    texts = (clean(text) for field in field_names(read) for text in read[field] if text)
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **SPECIAL_TOKENS)


def make_tiny(folder: Path, products: pd.DataFrame, seed: int, inputs: str) -> None:
    """Write the offline encoder: a tokenizer trained on `products`, 2 layers of 128 dimensions.

    Its weights are random, but each token begins by attending to tokens like itself.
    """
    tokenizer = train_tokenizer(products)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=512,
        max_position_embeddings=512,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.08,  # about 1 / sqrt(128); the library's 0.02 is for 768 dimensions
    )

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = BertModel(config, add_pooling_layer=False)
        attend_to_equals(model)
    _save(folder, tokenizer, model, inputs)


@torch.no_grad()
def attend_to_equals(model: BertModel) -> None:
    """Let each token attend to its equals in the first layer, so that a query's words find those of a product's text.

    From weights without any order, a model of this size does not find this in a catalogue of some
    thousand products (benchmarks/RESULTS.md). Queries and keys of the first layer become the
    identity and some noise, and the places and sides of tokens are turned down, so that equal
    tokens are alike wherever they stand.
    """
    for embedding in (model.embeddings.position_embeddings, model.embeddings.token_type_embeddings):
        embedding.weight.mul_(0.25)

    attention = model.encoder.layer[0].attention.self
    for projection in (attention.query, attention.key):
        projection.weight.mul_(0.25).add_(torch.eye(len(projection.weight)))


def fetch(folder: Path, source: str, inputs: str, head: str = NEW_HEAD) -> None:
    """Write a copy of a pretrained encoder, a local folder or a name on the model hub, as safetensors.

    With another `head` than a new one, the copy holds the head that a recipe asks for, too. Its
    config says which pooling it was made with, where a sentence-transformers card beside it does.

    Raises:
        InputError: it is a folder that cannot be loaded, or what `loading` refuses.
        CompError: it is a name that cannot be loaded.
    """
    if Path(source).is_dir():
        check_folder(Path(source))

    try:
        tokenizer = read_tokenizer(source)
        encoder = read_encoder(source, tokenizer, head)
    except LoadError as error:
        if Path(source).is_dir():
            raise InputError(
                f"The encoder {source!r} cannot be loaded ({error}): bring its files again."
            ) from error
        raise CompError(
            f"The encoder {source!r} cannot be loaded ({error}): download it where there is a network "
            "and put the path of its folder into [overrides] of competition.toml as `encoder`; where that names a "
            "pre-training, into [pretraining]."
        ) from error

    check_encoder(source, encoder_of(encoder), tokenizer)
    # A folder of ours says it in its config, one of sentence-transformers in a card beside it.
    if not hasattr(encoder.config, POOLING_KEY) and (pooling := _pooling_beside(source)):
        setattr(encoder.config, POOLING_KEY, pooling)
    is_checked = head == PRETRAINED_HEAD
    with checked(source, encoder, tokenizer) if is_checked else nullcontext(encoder) as whole:
        _save(folder, tokenizer, whole, inputs)


def _pooling_beside(source: str) -> str | None:
    """Return the pooling of the sentence-transformers card beside an encoder's weights, if there is one."""
    try:
        card = cached_file(source, POOLING_CARD, _raise_exceptions_for_missing_entries=False)
    except OSError:  # the weights are in the hub's cache, the card is not, and there is no network
        warn(
            f"Whether the encoder {source!r} was made with mean pooling could not be looked up, and its first token is "
            'read: if it was, set pooling = "mean" in [overrides] of competition.toml.'
        )
        return None
    pooling = stated_pooling(Path(card)) if card else None
    if card and pooling is None:
        warn(
            f"{str(card)!r} is damaged, or asks for a pooling that is not offered here: set `pooling` in the recipe, "
            "or the first token of the encoder is read, the last of a decoder."
        )
    return pooling


def save(folder: Path, tokenizer: Any, encoder: Any) -> None:
    """Write an ordinary encoder folder: config, tokenizer and weights as safetensors."""
    tokenizer.save_pretrained(folder)
    encoder.save_pretrained(folder)


def _save(folder: Path, tokenizer: Any, encoder: Any, inputs: str) -> None:
    with atomic_folder(folder) as temporary:
        save(temporary, tokenizer, encoder)
        write_manifest(temporary, inputs)


def answer_ids(folder: Path, answers: Sequence[str]) -> list[int]:
    """Return the ids of words that are one token each.

    Raises:
        InputError: a word is none, or several.
    """
    tokenizer = load_tokenizer(folder)
    vocabulary = tokenizer.get_vocab()
    for answer in answers:
        if answer not in vocabulary:
            raise InputError(
                f"answers = {list(answers)}: {answer!r} is not a token of the encoder {folder.name!r}: name two "
                "that are, spelled as its tokenizer.json does."
            )
    return [vocabulary[answer] for answer in answers]


def load_tokenizer(folder: Path) -> Any:
    """Load the tokenizer of an encoder folder."""
    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


def check_length(encoder: Path, max_length: int, recipe: str) -> None:
    """Refuse a recipe whose `max_length` is more than its encoder reads.

    Raises:
        InputError: names the limit.
    """
    limit = position_limit(AutoConfig.from_pretrained(encoder, local_files_only=True))
    if limit is not None and max_length > limit:
        raise InputError(
            f"The recipe {recipe!r} has max_length = {max_length}, but the encoder {encoder.name!r} "
            f"reads at most {limit} tokens: lower max_length."
        )


def text_template(recipe: EncoderRecipe, encoder: Path) -> str:
    """Return how a recipe puts query and document into one text, see `make_layout`; empty where no template does.

    Raises:
        InputError: the encoder is a decoder, which the recipe reads otherwise than it can be read.
    """
    if recipe.template:
        return recipe.template
    if recipe.head == PRETRAINED_HEAD or recipe.servable:
        # Which rerankers were trained on, and servers know.
        return PAIR
    config = AutoConfig.from_pretrained(encoder, local_files_only=True)
    if not is_decoder(config):
        return ""
    # Before texts are put together, which no other architecture does by a template.
    check_decoder(config.model_type, recipe)
    return DECODER_TEMPLATE


def load_encoder(folder: Path, head: str = NEW_HEAD, in_4_bits: bool = False) -> Any:
    """Load the encoder of an encoder folder, see `loading.read_encoder`.

    Raises:
        CompError: it cannot be loaded.
    """
    try:
        return read_encoder(str(folder), None, head, in_4_bits, local_files_only=True)
    except LoadError as error:
        raise CompError(
            f"The encoder in {str(folder)!r} cannot be loaded ({error}): remove the folder."
        ) from error
