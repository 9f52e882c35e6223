"""Tiny encoders of random weights, one of each family, and what each must do: train, or be refused in a sentence."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch.optim.optimizer import register_optimizer_step_pre_hook
from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast

from competition.config.encoder_recipe import EncoderRecipe
from competition.config.recipe import PretrainingRecipe
from competition.core.errors import InputError
from competition.data import synthetic
from competition.data.vocabulary import Vocabulary
from competition.models.encoder.encoder import fetch, load_encoder
from competition.models.encoder.families import position_limit
from competition.models.encoder.paths import Sources
from competition.training.corpus import Corpus
from competition.training.finetune import Fold, predict_fold, train_fold
from competition.training.loop import Log
from competition.training.pretrain import pretrain
from tests.esci import CONTEST, FIELDS, KINDS

LIMIT = 64  # tokens that an encoder with a limit reads
TOKENS = 400
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]  # in RoBERTa's order: its padding is 1
_IDS = {
    "bos_token_id": 0,
    "cls_token_id": 0,
    "pad_token_id": 1,
    "eos_token_id": 2,
    "sep_token_id": 2,
}
_SIZE = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}
_XLM = {"emb_dim": 32, "n_layers": 2, "n_heads": 2}
_NARROW = {"embedding_size": 16}
_BEHIND_PADDING = {"max_position_embeddings": LIMIT + 2}

# What each family's configuration needs beside the common sizes.
FAMILIES: dict[str, dict[str, Any]] = {
    "albert": _NARROW,
    "bert": {},
    "bert-generation": {},
    "big_bird": {"attention_type": "block_sparse", "block_size": 4, "num_random_blocks": 1},
    "camembert": _BEHIND_PADDING,
    "convbert": _NARROW,
    "data2vec-text": _BEHIND_PADDING,
    "deberta": {
        "relative_attention": True,
        "position_biased_input": False,
        "pos_att_type": ["c2p", "p2c"],
    },
    "deberta-v2": {
        "relative_attention": True,
        "position_biased_input": False,
        "pos_att_type": ["c2p", "p2c"],
    },
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64},
    "electra": _NARROW,
    "ernie": {},
    "esm": _BEHIND_PADDING | {"position_embedding_type": "absolute", "mask_token_id": 4},
    "eurobert": {"num_key_value_heads": 2, "mask_token_id": 4},
    "flaubert": _XLM,
    "fnet": {},
    "funnel": {
        "d_model": 32,
        "n_head": 2,
        "d_head": 16,
        "d_inner": 64,
        "block_sizes": [1, 1],
        "num_decoder_layers": 1,
    },
    "gte": {},
    "ibert": _BEHIND_PADDING,
    "jina_embeddings_v3": {},
    "layoutlm": {},
    "longformer": _BEHIND_PADDING | {"attention_window": 8},
    "luke": _BEHIND_PADDING
    | {"entity_vocab_size": 8},  # the library's half a million takes seconds
    "megatron-bert": {},
    "mobilebert": _NARROW | {"intra_bottleneck_size": 16},
    "modernbert": {},
    "mpnet": _BEHIND_PADDING,
    "nomic_bert": {},
    "nystromformer": {"num_landmarks": 8, "segment_means_seq_len": 8, "conv_kernel_size": 9},
    "rembert": {"input_embedding_size": 16, "output_embedding_size": 24},
    "roberta": _BEHIND_PADDING,
    "roberta-prelayernorm": _BEHIND_PADDING,
    "roformer": _NARROW,
    "splinter": {},
    "squeezebert": {"embedding_size": 32},
    "xlm": _XLM,
    "xlm-roberta": _BEHIND_PADDING,
    "xlm-roberta-xl": _BEHIND_PADDING,
    "xlnet": {"d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 64},
    "yoso": {},
}

METHODS: dict[str, dict[str, Any]] = {
    "plain": {},
    "fgm": {"adversary": "fgm-table", "r_drop": 0.5},
    "awp": {"adversary": "awp"},
    "checkpointing": {"checkpointing": True, "lean": False},
    "pretraining": {},
    "bf16": {"precision": "bf16"},
}


# Which families a method is refused for, and what the sentence names.
REFUSED: dict[str, tuple[set[str], str]] = {
    "checkpointing": (
        {"albert", "flaubert", "funnel", "ibert", "mpnet", "squeezebert", "xlm", "xlnet"},
        "set checkpointing = false and lower token_budget",
    ),
    "bf16": ({"deberta"}, 'set precision = "auto"'),
}


def make_tokenizer(products: pd.DataFrame) -> PreTrainedTokenizerFast:
    """Byte-level BPE of the catalogue's text with RoBERTa's special tokens, TOKENS in all."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=TOKENS, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(
        (text for field in FIELDS for text in products[field] if text), trainer
    )
    named = dict(
        zip(
            ("cls_token", "pad_token", "sep_token", "unk_token", "mask_token"), SPECIAL, strict=True
        )
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **named)


def configuration(family: str, **keys: Any) -> Any:
    """A family's, with TOKENS tokens, which reads LIMIT of them where it has a limit."""
    own = FAMILIES.get(family, {})
    common = {"vocab_size": TOKENS, **_IDS}
    if family != "xlnet":
        common["max_position_embeddings"] = LIMIT
    if not {"d_model", "emb_dim", "dim"} & set(own):
        common |= _SIZE
    return AutoConfig.for_model(family, **(common | own | keys))


def make(folder: Path, family: str, tokenizer: PreTrainedTokenizerFast, **keys: Any) -> None:
    """Write the folder of an encoder of random weights."""
    config = configuration(family, **keys)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        config.architectures = []
        model = AutoModel.from_config(config)
        with torch.no_grad():
            for weight in model.parameters():
                if weight.ndim > 1:  # as wide as in an encoder that has learned: scores must differ
                    weight.mul_(5)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


class Killed(BaseException):
    """What no code catches."""


@contextmanager
def killed_in_step(number: int) -> Iterator[None]:
    """End training when optimiser step `number`, from 1, has its gradients."""
    left = [number]

    def count(*_: object) -> None:
        left[0] -= 1
        if not left[0]:
            raise Killed

    handle = register_optimizer_step_pre_hook(count)
    try:
        yield
    except Killed:
        pass
    finally:
        handle.remove()


@dataclass(frozen=True)
class Zoo:
    """The rows that the encoders learn from, some of which have long texts."""

    folder: Path
    examples: pd.DataFrame
    products: pd.DataFrame
    tokenizer: PreTrainedTokenizerFast

    @classmethod
    def open(cls, folder: Path) -> "Zoo":
        """24 rows of the built-in catalogue."""
        examples, products, _ = synthetic.make(60, noise=0.05, seed=7)
        Vocabulary.make(products, CONTEST.categories).save(folder / "vocabulary", "zoo")
        products = products.head(120).assign(copies=1)
        return cls(folder, examples.head(24), products, make_tokenizer(products))

    def fetched(self, family: str) -> Path:
        """The workspace's copy of a family's encoder, of which every weight is the one that was made."""
        source, copy = self.folder / "sources" / family, self.folder / "copies" / family
        if not copy.is_dir():
            make(source, family, self.tokenizer)
            fetch(copy, str(source), "zoo")
            made, copied = (load_file(path / "model.safetensors") for path in (source, copy))
            assert {name for name in made if "pooler" not in name} == set(copied)
            assert all(torch.equal(copied[name], made[name]) for name in copied)
        return copy

    def check(self, family: str, method: str) -> None:
        """Train a family by a method.

        Raises:
            AssertionError: it neither trains nor is refused in the sentence that it should be.
        """
        families, sentence = REFUSED.get(method, (set(), ""))
        result = self.visit(family, method)
        if family in families:
            assert sentence in result, result
            assert result.endswith("."), result
            assert "\n" not in result, result
        else:
            assert result == "trains", result

    def visit(self, family: str, method: str) -> str:
        """Train a family by a method, kill it and go on, load what it left and predict again.

        Returns:
            `trains`, or the sentence in which it is refused.
        """
        try:
            sources = Sources(self.fetched(family), self.folder / "vocabulary")
            folder = self.folder / family / method
            folder.mkdir(parents=True)
            if method == "pretraining":
                self._pretrain(sources, folder)
                sources = replace(sources, encoder=folder / "encoder")
            self._tune(sources, folder, METHODS[method])
        except InputError as error:
            return str(error)
        return "trains"

    def _pretrain(self, sources: Sources, folder: Path) -> None:
        recipe = PretrainingRecipe(
            name="p",
            max_length=32,
            epochs=1,
            batch_size=16,
            learning_rate=1e-3,
            ema=0.0,
            checkpoint_steps=1,
        )

        def run(name: str) -> None:
            pretrain(
                recipe,
                self.products.head(32),
                CONTEST,
                sources,
                folder / name,
                "zoo",
                Log(folder / "log"),
                folder / f"{name}-left",
            )

        run("encoder")
        with killed_in_step(2):
            run("killed")
        assert not (folder / "killed").exists()
        run("killed")
        assert _files(folder / "killed") == _files(folder / "encoder")
        before, after = (
            dict(load_encoder(path).named_parameters())
            for path in (sources.encoder, folder / "encoder")
        )
        assert before.keys() == after.keys()
        assert any(not torch.equal(after[name], before[name]) for name in after)

    def _tune(self, sources: Sources, folder: Path, keys: dict[str, Any]) -> None:
        limit = position_limit(AutoConfig.from_pretrained(sources.encoder))
        recipe = EncoderRecipe(
            name="x", max_length=min(limit or 2 * LIMIT, 2 * LIMIT), epochs=1, batch_size=6, learning_rate=1e-3,
            checkpoint_steps=1, **keys,
        )  # fmt: skip
        corpus = Corpus.make(recipe, CONTEST, sources, self.examples, self.products)
        assert corpus.pairs.lengths().max() == recipe.max_length
        rows = np.arange(len(self.examples))
        fold = Fold(
            "0",
            folder / "fold-0",
            "zoo",
            sources,
            rows[:12],
            rows[12:18],
            rows[18:],
            None,
            folder / "left",
        )
        whole = replace(fold, folder=folder / "whole", checkpoints=folder / "left-whole")

        def train(fold: Fold) -> tuple[pd.DataFrame, pd.DataFrame]:
            torch.manual_seed(len(fold.folder.name))  # no result depends on what was drawn before
            return train_fold(
                recipe, KINDS[recipe.kind], corpus, fold, Log(folder / "log"), lambda outputs: 0.5
            )

        expected = train(whole)
        with killed_in_step(2):
            train(fold)
        assert not fold.folder.exists()
        outputs = train(fold)
        assert all(one.equals(other) for one, other in zip(outputs, expected, strict=True))
        assert _files(fold.folder) == _files(whole.folder)
        for frame in outputs:
            values = frame.drop(columns="example_id").to_numpy()
            assert np.isfinite(values).all()
            assert (values.std(0) > 0).all()
        again = predict_fold(
            recipe, KINDS[recipe.kind], corpus, sources, fold.folder, "test", rows[18:]
        )
        pd.testing.assert_frame_equal(again, outputs[1], check_exact=True)


def _files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
