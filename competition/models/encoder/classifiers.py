"""The classifier that transformers has for each family, as the head of a model that is made to be served.

`*ForSequenceClassification` of encoders puts dense, activation (and norm) on one pooled vector, then
a linear layer; that of decoders puts a linear layer without bias on the last token alone.
`FamilyHead` or `PooledHead` with `OutputLayer` is the same, so that trained weights only change
their names.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModelForSequenceClassification

from competition.config.encoder_recipe import EncoderRecipe
from competition.core.errors import InputError, join_names
from competition.models.encoder.heads import CrossEncoder
from competition.models.encoder.pooling import FIRST, LAST, MEAN, POOLING_KEY

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "gelu": functional.gelu,
    "relu": torch.relu,
}


@dataclass(frozen=True)
class Classifier:
    """Where a family's class keeps its head, and how that is computed.

    Attributes:
        dense: the name of the dense layer; empty where the pooled vector gives the logits.
        output: the name of the layer that gives logits.
        norm: the name of the norm behind the activation, where there is one.
        activation: one of ACTIVATIONS.
        settings: keys of config.json by which the class computes so.
        poolings: a pooling -> the keys of config.json that ask for it; the first is that of "auto".
        bias: whether the layer that gives logits has one.
    """

    dense: str = "classifier.dense"
    output: str = "classifier.out_proj"
    norm: str = ""
    activation: str = "tanh"
    settings: Mapping[str, Any] = field(default_factory=dict)
    poolings: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: {FIRST: {}})
    bias: bool = True


_DECODER = Classifier(dense="", output="score", poolings={LAST: {}}, bias=False)

# By `model_type`. Of what is pooled otherwise, or behind other layers, there is none.
CLASSIFIERS: dict[str, Classifier] = {
    "bert": Classifier("bert.pooler.dense", "classifier"),
    "roberta": Classifier(),
    "xlm-roberta": Classifier(),
    "camembert": Classifier(),
    "mpnet": Classifier(),
    "electra": Classifier(activation="gelu"),
    "distilbert": Classifier("pre_classifier", "classifier", activation="relu"),
    "deberta": Classifier("pooler.dense", "classifier", settings={"pooler_hidden_act": "tanh"}),
    "deberta-v2": Classifier("pooler.dense", "classifier", settings={"pooler_hidden_act": "tanh"}),
    "modernbert": Classifier(
        "head.dense",
        "classifier",
        norm="head.norm",
        activation="gelu",
        settings={"classifier_activation": "gelu", "classifier_bias": True},
        poolings={FIRST: {"classifier_pooling": "cls"}, MEAN: {"classifier_pooling": "mean"}},
    ),
    **dict.fromkeys(
        (
            "gemma",
            "gemma2",
            "gemma3_text",
            "llama",
            "mistral",
            "olmo2",
            "phi3",
            "qwen2",
            "qwen3",
            "smollm3",
        ),
        _DECODER,
    ),
}


def classifier_of(encoder: Any, recipe: EncoderRecipe) -> Classifier:
    """Return the classifier of an encoder's family.

    Raises:
        InputError: there is none, or the recipe asks for a pooling that it does not have.
    """
    family = encoder.config.model_type
    if family not in CLASSIFIERS:
        raise InputError(
            f"The recipe {recipe.name!r} has servable = true, and encoders of the family {family!r} have no "
            f"classifier that is known here: take one of {join_names(CLASSIFIERS)}, or set servable = false."
        )
    classifier = CLASSIFIERS[family]
    if recipe.pooling != "auto" and recipe.pooling not in classifier.poolings:
        raise InputError(
            f"The recipe {recipe.name!r} has servable = true and pooling = {recipe.pooling!r}, and the classifier "
            f'of {family!r} reads {join_names(classifier.poolings)}: leave pooling at "auto".'
        )
    return classifier


class FamilyHead(CrossEncoder):
    """The pooled text -> dropout -> dense -> activation -> norm, as a family's class has them."""

    def __init__(
        self, width: int, hidden: int, dropout: float, classifier: Classifier, config: Any
    ) -> None:
        super().__init__(width, hidden, 0, dropout)
        self.activation = ACTIVATIONS[classifier.activation]
        self.norm: nn.Module = nn.Identity()
        if classifier.norm:
            self.norm = nn.LayerNorm(hidden, config.norm_eps, bias=config.norm_bias)

    def forward(self, read: Tensor, mask: Tensor, present: Tensor, extra: Tensor) -> Tensor:
        """Return features, `(batch, H)`; for the arguments see `heads`."""
        dense = self.dense(self.dropout(read[:, 0]))  # (batch, H)
        features: Tensor = self.norm(self.activation(dense))
        return features


class PooledHead(nn.Module):
    """The pooled text as it is, as decoders' classes have it; what follows drops some of it out."""

    pools = True
    similarities = 0

    def forward(self, read: Tensor, mask: Tensor, present: Tensor, extra: Tensor) -> Tensor:
        """Return the pooled text, `(batch, H)`; for the arguments see `heads`."""
        return read[:, 0]


def name_labels(config: Any, labels: list[str]) -> None:
    """Say in a configuration what the logits are of, in order."""
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: number for number, label in enumerate(labels)}


def as_classifier(
    encoder: Any, weights: Mapping[str, Tensor], pooling: str, labels: list[str]
) -> Any:
    """Return the class of the library with the weights of a model that is made to be served.

    Args:
        encoder: of the model.
        weights: of the whole model, `RelevanceModel.state_dict()`.
        pooling: of the model.
        labels: what the logits are of, in order.

    Raises:
        RuntimeError: a weight is missing or left over.
    """
    classifier = CLASSIFIERS[encoder.config.model_type]
    config = type(encoder.config).from_dict(encoder.config.to_dict())
    for key, value in {**classifier.settings, **classifier.poolings[pooling]}.items():
        setattr(config, key, value)
    if hasattr(config, POOLING_KEY):
        delattr(config, POOLING_KEY)
    name_labels(config, labels)
    model = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)
    names = {
        "encoder.": f"{model.base_model_prefix}.",
        "head.dense.": f"{classifier.dense}.",
        "head.norm.": f"{classifier.norm}.",
        "output.output.": f"{classifier.output}.",
    }
    renamed = {}
    for name, weight in weights.items():
        prefix = next(prefix for prefix in names if name.startswith(prefix))
        renamed[names[prefix] + name.removeprefix(prefix)] = weight
    model.load_state_dict(renamed)
    return model.eval()
