"""Tiny rerankers and decoders of random weights, as their library saves them."""

from pathlib import Path
from typing import Any

import pandas as pd
import torch
from tokenizers.processors import TemplateProcessing
from transformers import (
    AutoModelForSequenceClassification,
    PreTrainedTokenizerFast,
)

from tests.zoo import configuration, make_tokenizer


def pair_tokenizer(products: pd.DataFrame, family: str) -> PreTrainedTokenizerFast:
    """A tokenizer of the catalogue's text that joins pairs as the family's does."""
    tokenizer = make_tokenizer(products)
    between = "</s>" if family in ("bert", "modernbert") else "</s> </s>"
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A </s>",
        pair=f"<s> $A {between} $B:1 </s>:1",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    names = ["input_ids", "attention_mask"] + ["token_type_ids"] * (family == "bert")
    tokenizer.model_input_names = names
    return tokenizer


def decoder_tokenizer(products: pd.DataFrame) -> PreTrainedTokenizerFast:
    """A tokenizer of the catalogue's text as decoders have it: no [CLS], no [SEP], `yes` and `no` among its words."""
    tokenizer = make_tokenizer(products)
    tokenizer.backend_tokenizer.pre_tokenizer.add_prefix_space = False
    alone = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend_tokenizer, eos_token="</s>", pad_token="<pad>"
    )
    alone.add_tokens(["yes", "no"])
    return alone


DECODERS: dict[str, dict[str, Any]] = {
    "qwen3": {"head_dim": 16, "num_key_value_heads": 1},
    "llama": {"num_key_value_heads": 1},
    "gemma2": {"head_dim": 16, "num_key_value_heads": 1, "sliding_window": 16, "query_pre_attn_scalar": 16},
    "gemma3_text": {"head_dim": 16, "num_key_value_heads": 1, "sliding_window": 16},
    "mistral": {"num_key_value_heads": 1, "sliding_window": 128},
}  # fmt: skip


def make_decoder(auto: Any, family: str, folder: Path, products: pd.DataFrame, **keys: Any) -> Any:
    """Write the folder of a decoder of two layers, and return the model."""
    tokenizer = decoder_tokenizer(products)
    sizes = {"vocab_size": len(tokenizer), "max_position_embeddings": 512}
    model = make_model(auto, family, **(DECODERS[family] | sizes | keys))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model


def make_model(auto: Any, family: str, **keys: Any) -> Any:
    """A model of random weights, wide enough for its scores to differ."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        model = auto.from_config(configuration(family, **keys)).eval()
        with torch.no_grad():
            for weight in model.parameters():
                if weight.ndim > 1:
                    weight.mul_(5)
    return model


def make_reranker(folder: Path, family: str, products: pd.DataFrame, outputs: int = 1) -> Any:
    """Write the folder of an encoder with a trained head, and return the model."""
    model = make_model(
        AutoModelForSequenceClassification,
        family,
        num_labels=outputs,
    )
    model.save_pretrained(folder)
    pair_tokenizer(products, family).save_pretrained(folder)
    return model
