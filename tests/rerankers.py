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
