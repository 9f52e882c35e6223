"""A trained fold on disk: `seed-S.safetensors` for each seed and what it was made from; reading it runs nothing."""

from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from competition.model.relevance import RelevanceModel
from competition.model.sources import Sources
from competition.recipe import EncoderRecipe


def weights_file(folder: Path, seed: int) -> Path:
    """Where a fold's folder keeps the weights of one of the recipe's seeds."""
    return folder / f"seed-{seed}.safetensors"


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    """A copy of a model's weights as they are now."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def save_model(folder: Path, seed: int, model: RelevanceModel) -> None:
    """Write the weights of one seed: those that are evaluated, averaged ones where the recipe averages."""
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in sorted(model.state_dict().items())}
    save_file(weights, weights_file(folder, seed))


def load_model(folder: Path, seed: int, recipe: EncoderRecipe, sources: Sources) -> RelevanceModel:
    """The trained model of a fold and seed; `sources` give its architecture."""
    model = RelevanceModel.make(recipe, sources, seed=0)
    model.load_state_dict(load_file(weights_file(folder, seed)))
    return model
