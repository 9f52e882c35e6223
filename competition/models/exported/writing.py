"""Trained models as folders that transformers, sentence-transformers and servers of rerankers read."""

import copy
import inspect
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers.processors import TemplateProcessing
from torch import Tensor, nn

import competition.models.encoder.quiet  # noqa: F401
from competition.data.layout import PAIR, Layout, lacks_template, make_layout
from competition.models.encoder.classifiers import as_classifier, name_labels
from competition.models.encoder.model import RelevanceModel
from competition.models.encoder.pooling import LAST
from competition.models.encoder.trained_heads import PretrainedHead

# By sentence-transformers' CrossEncoder: of one logit, and of several, which `apply_softmax` is for.
SIGMOID = "torch.nn.modules.activation.Sigmoid"
IDENTITY = "torch.nn.modules.linear.Identity"
# What `save_pretrained` notes of the machine, and of the last call.
_OF_THE_MACHINE = (
    "is_local", "local_files_only", "name_or_path", "max_length", "stride", "truncation_strategy",
)  # fmt: skip


def average_weights(models: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Return the mean of the weights of some models, in float64 (Wortsman et al. 2022, model soups).

    It is a model only where all were fine-tuned from the same start.
    """
    return {
        name: torch.stack([model[name].double() for model in models]).mean(0).to(weight.dtype)
        for name, weight in models[0].items()
    }


def write_classifier(
    folder: Path, model: RelevanceModel, tokenizer: Any, max_length: int, template: str = ""
) -> None:
    """Write a model that is made to be served as its family's class, with its tokenizer.

    Args:
        folder: to write to, which is there.
        model: of a recipe with `servable`.
        tokenizer: of its encoder; it is changed.
        max_length: of a pair, in tokens.
        template: by which the model reads a pair; empty for the tokenizer's own way.
    """
    labels = logit_labels(model)
    if isinstance(model.head, PretrainedHead):
        with model.whole() as whole:
            # A copy, since the model goes on as it is.
            classifier = copy.deepcopy(whole).float()
        name_labels(classifier.config, labels)
    else:
        classifier = as_classifier(model.encoder, model.state_dict(), model.pooling, labels)
        if template in ("", PAIR):
            _complete(tokenizer)
        else:
            _follow(tokenizer, make_layout(tokenizer, template, max_length, "", served=True))
    if model.pooling == LAST:
        _pad_by_another_than_the_last(tokenizer)
        # By which the class finds the last token of each text.
        classifier.config.pad_token_id = tokenizer.pad_token_id
    _save(folder, classifier, tokenizer, max_length)


def logit_labels(model: RelevanceModel) -> list[str]:
    """Return what the logits of a model's own head are of, in order."""
    kind = model.kind
    if kind.is_classes:
        return list(kind.labels.names)
    if kind.role != "positive":
        return [kind.name]

    # A head that came with the encoder may have one logit, see `fit_logits`.
    alone = isinstance(model.head, PretrainedHead) and model.head.model.config.num_labels == 1
    return [kind.positive] if alone else [f"no_{kind.positive}", kind.positive]


def write_one_label(
    folder: Path, source: Path, weight: Tensor, bias: Tensor | None, label: str, max_length: int
) -> None:
    """Write a folder's classifier with one logit in place of its own.

    Args:
        folder: to write to, which is there.
        source: with a classifier of several logits.
        weight: of the logit, `(H,)`.
        bias: of the logit, `(1,)`; None where the classifier has none.
        label: what it is of.
        max_length: of a pair, in tokens.
    """
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    many = AutoModelForSequenceClassification.from_pretrained(source, dtype=torch.float32)
    config = many.config
    name_labels(config, [label])
    one = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)

    name = output_name(many)
    weights = many.state_dict() | {f"{name}.weight": weight[None]}
    if bias is not None:
        weights[f"{name}.bias"] = bias
    one.load_state_dict(weights)
    _save(folder, one, AutoTokenizer.from_pretrained(source), max_length)


def output_name(classifier: Any) -> str:
    """Return the name of the layer that gives the logits of a classifier: its last one."""
    linear = [name for name, module in classifier.named_modules() if isinstance(module, nn.Linear)]
    return str(linear[-1])


def _save(folder: Path, classifier: Any, tokenizer: Any, max_length: int) -> None:
    config = classifier.config
    activation = SIGMOID if config.num_labels == 1 else IDENTITY
    config.sentence_transformers = {"activation_fn": activation}
    classifier.save_pretrained(folder)

    _prepare_tokenizer(tokenizer, classifier, max_length)
    tokenizer.save_pretrained(folder)

    # Tools from before the library's version 5 know the class by its former name alone.
    path = folder / "tokenizer_config.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content = {key: value for key, value in content.items() if key not in _OF_THE_MACHINE}
    if content.get("tokenizer_class") == "TokenizersBackend":
        content["tokenizer_class"] = "PreTrainedTokenizerFast"
        content.pop("backend", None)
    path.write_text(
        json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n", "utf-8"
    )


def _complete(tokenizer: Any) -> None:
    """Let a tokenizer that adds no special tokens add those that the model was trained with."""
    if not lacks_template(tokenizer):
        return

    first, separator = tokenizer.cls_token, tokenizer.sep_token
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{first} $A {separator}",
        pair=f"{first} $A {separator} $B:1 {separator}:1",
        special_tokens=[(first, tokenizer.cls_token_id), (separator, tokenizer.sep_token_id)],
    )


def _follow(tokenizer: Any, layout: Layout) -> None:
    """Let a tokenizer put a pair together by a template: its parts are added as special tokens are."""
    parts = {"before": layout.before, "between": layout.between, "behind": layout.behind}
    named = {name: ids.tolist() for name, ids in parts.items() if len(ids)}
    pieces = ["before:0", "$A:0", "between:0", "$B:0", "behind:0"]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="$A",
        pair=[piece for piece in pieces if piece[0] == "$" or piece.removesuffix(":0") in named],
        special_tokens=[
            {"id": name, "ids": ids, "tokens": tokenizer.convert_ids_to_tokens(ids)}
            for name, ids in named.items()
        ],
    )


def _pad_by_another_than_the_last(tokenizer: Any) -> None:
    """Let a tokenizer whose padding ends each pair, too, pad by another token.

    Decoders' classes read the last token that is not the padding one, wherever the mask ends.
    """
    last = tokenizer("a", "a")["input_ids"][-1]
    if tokenizer.pad_token_id != last:
        return

    # Any token will do: the mask hides it, and texts cannot spell special ones.
    tokens = [*tokenizer.all_special_tokens, *sorted(tokenizer.get_vocab())]
    tokenizer.pad_token = next(
        token for token in tokens if tokenizer.convert_tokens_to_ids(token) != last
    )


def _prepare_tokenizer(tokenizer: Any, classifier: Any, max_length: int) -> None:
    """Let a tokenizer put a pair together as the model was trained to read it."""
    layout = make_layout(tokenizer, PAIR, max_length, "")
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()

    names = ["input_ids", "attention_mask"]
    knows_types = "token_type_ids" in inspect.signature(classifier.forward).parameters
    has_types = getattr(classifier.config, "type_vocab_size", 1) > 1
    if layout.first_text is not None and knows_types and has_types:
        names.insert(1, "token_type_ids")

    # Special tokens that are spelled out in a text are read as text, as in training.
    tokenizer.split_special_tokens = True
    tokenizer.model_input_names = names
    tokenizer.model_max_length = max_length
    tokenizer.padding_side = tokenizer.truncation_side = "right"
    tokenizer.init_kwargs |= {
        "split_special_tokens": True,
        "model_input_names": names,
        "model_max_length": max_length,
        "padding_side": "right",
        "truncation_side": "right",
    }
