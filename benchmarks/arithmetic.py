"""The time and memory of trainings on GPUs that are not here, by arithmetic, with every assumption in one place.

A forward of a token takes two operations for each weight of a matrix product, a backward four, two
of them for the gradients of weights (Kaplan et al. 2020, section 2.1). The attention's scores, 3 %
at 200 tokens, are left out, and so are embeddings, which are looked up. Rows and steps are counted
by the same function as those of `comp train --dry-run`, memory by `competition/analysis/memory.py`.
"""

from dataclasses import dataclass
from typing import Any

from competition.analysis.cost import StepTimes, scale_up
from competition.analysis.memory import activation_memory, estimate_memory, trained_memory
from competition.config.encoder_recipe import EncoderRecipe

INFOXLM_LARGE = {
    "vocab_size": 250_002,
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "max_position_embeddings": 514,
}
DECODER_7B = {
    "vocab_size": 152_064,
    "hidden_size": 3584,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "intermediate_size": 18_944,
}


@dataclass(frozen=True)
class Assumptions:
    """What the arithmetic takes for granted."""

    train_rows: int = 1_980_000  # of full ESCI
    test_rows: int = 640_000
    tokens: int = 200  # of a pair, at a limit of 256
    sustained: float = 400e12  # bf16 operations a second of one GPU, 40 % of an H100's 989
    price: float = 2.5  # dollars of an hour of it
    dropped: float = 0.04  # of training rows, by the audit


@dataclass(frozen=True)
class Encoder:
    """An encoder or decoder by its configuration."""

    config: Any
    weights: int  # all
    linear: int  # of its layers' matrices

    @classmethod
    def of(cls, model: str, keys: dict[str, int]) -> "Encoder":
        """Count the weights of a configuration; nothing is loaded."""
        import torch
        from torch import nn
        from transformers import AutoConfig, AutoModel

        config = AutoConfig.for_model(model, **keys)
        with torch.device("meta"):
            module = AutoModel.from_config(config)
        weights = sum(weight.numel() for weight in module.parameters())
        linear = sum(
            part.weight.numel()
            for name, part in module.named_modules()
            if isinstance(part, nn.Linear) and "layer" in name  # not the pooler
        )
        return cls(config, weights, linear)


def operations(recipe: EncoderRecipe, encoder: Encoder) -> tuple[int, int]:
    """Return the operations of a token in training and in prediction."""
    forward = 2 * encoder.linear
    # Adapters, and an attack, need the gradients of what layers read and not those of their weights.
    light = forward
    full = light if recipe.lora is not None else 2 * forward
    again = forward if recipe.checkpointing else 0

    training = forward + full + again
    if recipe.adversary.startswith("fgm") and recipe.r_drop:
        # The gradient of the attack, then the clean and the attacked rows.
        training = light + again + 2 * training
    return training, forward


def fold_seconds(recipe: EncoderRecipe, encoder: Encoder, given: Assumptions) -> float:
    """Return the seconds of one fold of a recipe on one GPU."""
    training, prediction = operations(recipe, encoder)
    per_row = given.tokens / given.sustained
    times = StepTimes(
        steps=0,
        step_seconds=recipe.batch_size * training * per_row,
        step_tokens=recipe.batch_size * given.tokens,
        step_rows=recipe.batch_size,
        predict_seconds=prediction * per_row,
        tokenize_seconds=0.0,
        augmentation=0.0,
        memory=0,
    )
    held_out = given.train_rows // len(recipe.folds)
    kept = 1 - given.dropped if recipe.drop_noise_from else 1.0
    rows = {"train": round((given.train_rows - held_out) * kept), "held_out": held_out}
    return scale_up(recipe, times, 0, rows | {"test": given.test_rows}).seconds


def memory(recipe: EncoderRecipe, encoder: Encoder) -> int:
    """Return the bytes of a GPU while it trains a recipe."""
    if recipe.lora is not None:
        return estimate_memory(recipe, encoder.config).total
    return trained_memory(recipe, encoder.weights) + activation_memory(recipe, encoder.config)
