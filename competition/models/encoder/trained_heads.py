"""Heads that come with an encoder: those of published rerankers, and the words of a language model."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.modeling_outputs import BaseModelOutputWithPoolingAndCrossAttentions

from competition.core.errors import InputError
from competition.models.encoder.families import hidden_states, is_decoder
from competition.models.encoder.inputs import Mixup
from competition.models.encoder.loading import encoder_of, first_line
from competition.scoring.task import Kind

_SAMPLE = ("a red shoe", "a blue shoe of leather")  # a query and a document


class _Given(nn.Module):
    """Stands where a model has its encoder, and gives the states that the encoder has made already."""

    def __init__(self, config: Any, pooler: nn.Module | None) -> None:
        super().__init__()
        self.config = config
        self.pooler = pooler
        self.states: Tensor | None = None

    def forward(self, *_: Any, **__: Any) -> BaseModelOutputWithPoolingAndCrossAttentions:
        """Return the states, and what the encoder's own pooler makes of them."""
        assert self.states is not None  # set before each pass
        pooled = None if self.pooler is None else self.pooler(self.states)
        return BaseModelOutputWithPoolingAndCrossAttentions(
            last_hidden_state=self.states, pooler_output=pooled
        )


class PretrainedHead(nn.Module):
    """The head of a `*ForSequenceClassification` model, whatever its family makes of the tokens' states."""

    def __init__(self, model: Any, dropout: float) -> None:
        """Take the head of `model` out of it; the encoder stays whole but for its pooler."""
        super().__init__()
        self._prefix = model.base_model_prefix
        encoder = getattr(model, self._prefix)
        pooler = getattr(encoder, "pooler", None)
        if pooler is not None:
            encoder.pooler = nn.Identity()
        setattr(model, self._prefix, _Given(encoder.config, pooler))

        self.model = model
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = dropout

    def forward(self, states: Tensor, mask: Tensor, mix: Mixup | None = None) -> Tensor:
        """Return logits `(batch, outputs)`.

        Args:
            states: of each token, `(batch, tokens, H)`, or of the only token that the head reads,
                `(batch, 1, H)`.
            mask: `(batch, tokens)`, 1 on tokens.
            mix: mixes what the last layer reads.
        """
        mask = mask[:, : states.shape[1]]
        given = getattr(self.model, self._prefix)
        # Not in bf16, see `OutputLayer`.
        with torch.autocast(states.device.type, enabled=False), self._mixed(mix):
            given.states = states.to(self._last.weight.dtype)
            logits = self.model(input_ids=torch.zeros_like(mask), attention_mask=mask).logits
            given.states = None
        return cast(Tensor, logits)

    @property
    def _last(self) -> nn.Linear:
        """The layer that gives the logits."""
        return [module for module in self.model.modules() if isinstance(module, nn.Linear)][-1]

    @contextmanager
    def _mixed(self, mix: Mixup | None) -> Iterator[None]:
        if mix is None:
            yield
            return

        handle = self._last.register_forward_pre_hook(lambda _, read: (mix.apply(read[0]),))
        try:
            yield
        finally:
            handle.remove()

    @contextmanager
    def whole(self, encoder: Any) -> Iterator[Any]:
        """Give the library's model of `encoder` and this head, for as long as the context lasts."""
        given = getattr(self.model, self._prefix)
        stand_in = getattr(encoder, "pooler", None)
        if given.pooler is not None:
            encoder.pooler = given.pooler
        setattr(self.model, self._prefix, encoder)
        try:
            yield self.model
        finally:
            setattr(self.model, self._prefix, given)
            if given.pooler is not None:
                encoder.pooler = stand_in


class YesNoHead(nn.Module):
    """The logits that a language model gives to two answers, by its last token; their rows are learned.

    Scores are the logit of the first answer minus that of the second.
    """

    def __init__(self, config: Any, dropout: float) -> None:
        super().__init__()
        self.rows = nn.Parameter(torch.zeros(2, config.hidden_size))  # of the answers
        self.dropout = nn.Dropout(dropout)
        self.cap: float | None = getattr(config, "final_logit_softcapping", None)
        self.scale = 1 / getattr(config, "logits_scaling", 1.0)

    @torch.no_grad()
    def start(self, model: Any, answers: list[int]) -> None:
        """Begin with the rows that a `*ForCausalLM` model has for two tokens."""
        self.rows.copy_(model.get_output_embeddings().weight[answers])

    def forward(self, read: Tensor, mix: Mixup | None = None) -> Tensor:
        """Return the scores `(batch, 1)` of the states of last tokens, `(batch, H)`."""
        read = read if mix is None else mix.apply(read)
        # Not in bf16, see `OutputLayer`.
        with torch.autocast(read.device.type, enabled=False):
            read = self.dropout(read.to(self.rows.dtype))
            logits = self.scale * functional.linear(read, self.rows)  # (batch, 2)
            if self.cap is not None:
                logits = self.cap * torch.tanh(logits / self.cap)
            return logits[:, :1] - logits[:, 1:]


def fit_logits(logits: Tensor, targets: int) -> Tensor:
    """Return one logit as two, of the label that is told from all others, where the kind has two targets."""
    if targets == 2 and logits.shape[1] == 1:
        # sigmoid(x) is the softmax of 0 and x.
        return functional.pad(logits, (1, 0))
    return logits


def check_outputs(outputs: int, kind: Kind) -> None:
    """Raise InputError where a head with so many outputs does not go with a kind."""
    if outputs not in ({1, 2} if kind.role == "positive" else {kind.targets}):
        raise InputError(
            f"The encoder's head gives {outputs} numbers, and kind = {kind.name!r} has {kind.targets}: take "
            'another kind (a reranker with one output goes with kind = "gain"), or head = "new".'
        )


@contextmanager
def checked(source: str, model: Any, tokenizer: Any) -> Iterator[Any]:
    """Try a `*ForSequenceClassification` model on a pair, then give it back whole.

    Raises:
        InputError: encoder and head, one after the other, do not give what the model gives.
    """
    encoder = encoder_of(model.eval())
    try:
        with torch.no_grad():
            tokens = tokenizer(*_SAMPLE, return_tensors="pt")
            ids, mask = tokens["input_ids"], tokens["attention_mask"]
            types = tokens.get("token_type_ids", torch.zeros_like(ids))
            expected = model(**tokens).logits  # (1, outputs)
            head = PretrainedHead(model, 0.0).eval()
            states = hidden_states(encoder, ids, mask, types)
            logits = head(states[:, -1:] if is_decoder(encoder.config) else states, mask)
        torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)
    except Exception as error:
        raise InputError(
            f"The head of {source!r} ({type(model).__name__}) cannot be read apart from its encoder "
            f'({first_line(error)}): set head = "new", or take a reranker of another family.'
        ) from None

    with head.whole(encoder) as again:
        yield again
