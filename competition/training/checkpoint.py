"""A trained fold on disk: `model.safetensors` and what it was made from; reading it runs nothing."""

from pathlib import Path

from safetensors.torch import load_file, save_file

from competition.model.relevance import RelevanceModel
from competition.workspace import atomic_folder, stamp


def save_model(folder: Path, model: RelevanceModel, inputs: str) -> None:
    """Write a fold's weights with the fingerprint of what they were made from."""
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in sorted(model.state_dict().items())}
    with atomic_folder(folder) as temporary:
        save_file(weights, temporary / "model.safetensors")
        stamp(temporary, inputs)


def load_model(folder: Path, encoder: Path, kind: str, dropout: float) -> RelevanceModel:
    """The trained model of a fold; the encoder's folder gives its architecture."""
    model = RelevanceModel.make(encoder, kind, dropout, seed=0)
    model.load_state_dict(load_file(folder / "model.safetensors"))
    return model
