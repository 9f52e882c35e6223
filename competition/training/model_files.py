"""A trained model on disk; reading it runs nothing.

For each seed, `seed-S/` is an ordinary Hugging Face folder of the encoder (config, tokenizer,
`model.safetensors`), with the features and the head beside it in `relevance.safetensors`. With a
head that came with the encoder, it is that of a `*ForSequenceClassification` model, too. Where
training leaves the encoder's weights as they are, these are read from the encoder's own folder, and
`seed-S/` holds the adapters, if any, as PEFT writes them.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from competition.config.encoder_recipe import EncoderRecipe
from competition.models.encoder import encoder
from competition.models.encoder.adapters import load_adapters, save_adapters
from competition.models.encoder.model import ENCODER_PREFIX, RelevanceModel
from competition.models.encoder.paths import Sources
from competition.scoring.task import Kind

_BESIDE = "relevance.safetensors"


def model_folder(folder: Path, seed: int) -> Path:
    """Return where a fold's folder keeps the model of one of the recipe's seeds."""
    return folder / f"seed-{seed}"


def trained_weights(model: nn.Module) -> dict[str, Tensor]:
    """Return the weights of a model, without those that training leaves as they are (`RelevanceModel.frozen`)."""
    frozen: frozenset[str] = getattr(model, "frozen", frozenset())
    return {name: tensor for name, tensor in model.state_dict().items() if name not in frozen}


def load_trained(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Put what `trained_weights` returned into a model.

    Raises:
        RuntimeError: one is missing, or there is no place for one.
    """
    missing, unexpected = model.load_state_dict(weights, strict=False)
    lost = set(missing) - getattr(model, "frozen", frozenset())
    if lost or unexpected:
        raise RuntimeError(f"weights are missing or left over: {sorted([*lost, *unexpected])}")


def copy_weights(model: nn.Module) -> dict[str, Tensor]:
    """Return a copy of what `trained_weights` gives now, where a GPU's memory is not needed for it."""
    return {
        name: tensor.detach().to("cpu", copy=True)
        for name, tensor in trained_weights(model).items()
    }


def save_model(folder: Path, seed: int, model: RelevanceModel, sources: Sources) -> None:
    """Write the model of one seed with the weights that are evaluated: averaged ones where the recipe averages."""
    own = model_folder(folder, seed)
    own.mkdir()
    # The encoder's folder can be read by other tools, which know no features and no head of ours.
    if model.has_adapters:
        save_adapters(own, model.encoder, sources.encoder.name)
    elif not model.keeps_base:
        with model.whole() as whole:
            encoder.save(own, encoder.load_tokenizer(sources.encoder), whole)

    beside = {
        name: tensor.detach().cpu().contiguous()
        for name, tensor in sorted(model.state_dict().items())
        if not name.startswith(ENCODER_PREFIX)
    }
    save_file(beside, own / _BESIDE)


def load_model(
    folder: Path, seed: int, recipe: EncoderRecipe, kind: Kind, sources: Sources
) -> RelevanceModel:
    """Return the trained model of a fold and seed; `sources` name what its features are built from."""
    whole = folder / f"seed-{seed}.safetensors"
    # All weights in one file, as earlier versions wrote them.
    if whole.is_file():
        model = RelevanceModel.make(recipe, kind, sources, seed=0)
        model.load_state_dict(load_file(whole))
        return model

    own = model_folder(folder, seed)
    start = sources if recipe.keeps_base else replace(sources, encoder=own)
    model = RelevanceModel.make(recipe, kind, start, 0, is_trained=not recipe.keeps_base)
    loaded = {
        name: tensor
        for name, tensor in trained_weights(model).items()
        if name.startswith(ENCODER_PREFIX)
    }
    if recipe.lora is not None:
        loaded |= load_adapters(own, ENCODER_PREFIX)
    load_trained(model, loaded | load_file(own / _BESIDE))
    return model
