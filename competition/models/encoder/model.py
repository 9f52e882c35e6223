"""The model: an encoder, features beside it, an architecture, and the outputs of a recipe's kind."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from competition.config.encoder_recipe import NEW_HEAD, PRETRAINED_HEAD, YES_NO_HEAD, EncoderRecipe
from competition.data.vocabulary import Vocabulary
from competition.models.encoder.adapters import (
    add_adapters,
    check_quantize,
    is_adapter,
    merge_adapters,
)
from competition.models.encoder.classifiers import Classifier, FamilyHead, PooledHead, classifier_of
from competition.models.encoder.dropout import use_fast_dropout
from competition.models.encoder.embeddings import FeatureEmbeddings, load_names
from competition.models.encoder.encoder import answer_ids, load_encoder
from competition.models.encoder.families import (
    check_recipe,
    freeze,
    hidden_states,
    is_decoder,
    token_table,
)
from competition.models.encoder.heads import ARCHITECTURES, BiEncoder, OutputLayer, pool
from competition.models.encoder.inputs import Inputs, Mixup
from competition.models.encoder.loading import encoder_of
from competition.models.encoder.ordered import LINKS, CumulativeLink
from competition.models.encoder.packed import PackedPass, can_pack
from competition.models.encoder.paths import Sources
from competition.models.encoder.pooling import BOTH, FIRST, LAST, POOLING_KEY, encoder_pooling
from competition.models.encoder.trained_heads import (
    PretrainedHead,
    YesNoHead,
    check_outputs,
    fit_logits,
)
from competition.models.encoder.unpadded import (
    LayerPass,
    compiled_pass,
    layer_pass,
    pooled_states,
    runs_unpadded,
)
from competition.scoring.labels import PAPER
from competition.scoring.task import Kind

ENCODER_PREFIX = "encoder."  # what the names of the encoder's weights begin with

_BY_SIMILARITY = 0.5  # logits per deviation of the cosine that an untrained bi-encoder answers by
_RARE = 1e-4  # the least share of a class that an untrained model answers by


class RelevanceModel(nn.Module):
    """From pairs to the logits of one kind of output."""

    def __init__(
        self,
        loaded: Any,
        recipe: EncoderRecipe,
        kind: Kind,
        features: FeatureEmbeddings | None,
    ) -> None:
        """`loaded` is an encoder, or encoder and head as the recipe's `head` asks for, see `read_encoder`."""
        super().__init__()
        encoder = encoder_of(loaded)
        check_recipe(encoder, recipe)
        self.kind = kind
        self.keeps_base = recipe.keeps_base
        self.encoder = encoder
        self.features = features

        # The folder of a fine-tuned encoder says which pooling it was trained with.
        decodes = is_decoder(encoder.config)
        made_with = encoder_pooling(encoder.config, LAST if decodes else FIRST)
        self.pooling = made_with if recipe.pooling == "auto" else recipe.pooling
        classifier = None
        if recipe.servable and recipe.head == NEW_HEAD:
            classifier = classifier_of(encoder, recipe)
            self.pooling = (
                self.pooling
                if self.pooling in classifier.poolings
                else next(iter(classifier.poolings))
            )
        if self.pooling != made_with:
            setattr(encoder.config, POOLING_KEY, self.pooling)

        self.head: Any
        self.link: Any = None
        if recipe.head == NEW_HEAD:
            self._make_head(recipe, classifier)
        elif recipe.head == YES_NO_HEAD:
            check_outputs(1, kind)
            self.head = YesNoHead(encoder.config, recipe.dropout)
        else:
            check_outputs(loaded.config.num_labels, kind)
            self.head = PretrainedHead(loaded, recipe.dropout)
        # Heads of rerankers look for what they read among all tokens, unless that is the last one.
        self._reads_states = recipe.head == PRETRAINED_HEAD and not decodes

        # Behind the head, which takes the pooler out of the encoder.
        if recipe.lora is not None:
            add_adapters(encoder, recipe.lora, recipe.name)
        elif recipe.freeze_embeddings or recipe.freeze_layers:
            freeze(encoder, recipe.freeze_embeddings, recipe.freeze_layers)
        self._widens = recipe.lora is not None and recipe.lora.quantize != "none"

        # Heads of the families whose layers are BERT's read the first token, too.
        self._can_run_unpadded = self._pools and runs_unpadded(encoder)
        self.trains_unpadded = recipe.lean and self._can_run_unpadded
        self._save_memory = recipe.checkpointing
        self._compiles = recipe.compile
        self.layer: LayerPass = compiled_pass() if recipe.compile else layer_pass
        if recipe.checkpointing:
            encoder.gradient_checkpointing_enable({"use_reentrant": False})
        if self.trains_unpadded:
            use_fast_dropout(encoder)

        # Weights that no training of this model changes: not averaged, not saved.
        kept = self.state_dict() if self.keeps_base else ()
        self.frozen = frozenset(
            name for name in kept if name.startswith(ENCODER_PREFIX) and not is_adapter(name)
        )

    def _make_head(self, recipe: EncoderRecipe, classifier: Classifier | None) -> None:
        """Make a head of random weights for the recipe's architecture, or the family's, loss and kind."""
        hidden = self.encoder.config.hidden_size
        features = self.features
        kind = self.kind
        extra = features.width if features else 0
        architecture = ARCHITECTURES[recipe.architecture]
        # Of what the head reads: the first token and the mean, side by side, or one of them.
        width = 2 * hidden if architecture.pools and self.pooling == BOTH else hidden
        self.head = architecture(width, hidden, extra, recipe.dropout)
        if classifier is not None:
            config = self.encoder.config
            self.head = (
                FamilyHead(width, hidden, recipe.dropout, classifier, config)
                if classifier.dense
                else PooledHead()
            )
        # Losses of ordered classes have a link behind the logits of the head.
        self.link = LINKS[recipe.loss](kind.targets) if recipe.loss in LINKS else None
        self.output = OutputLayer(
            hidden,
            kind.targets if self.link is None else self.link.logits,
            recipe.dropout,
            recipe.multi_sample_dropout,
            architecture.similarities,
            bias=classifier is None or classifier.bias,
        )

    @classmethod
    def make(
        cls,
        recipe: EncoderRecipe,
        kind: Kind,
        sources: Sources,
        seed: int,
        is_trained: bool = False,
    ) -> "RelevanceModel":
        """Build the encoder of a folder with new features and a new head for outputs of a kind.

        Their weights are a function of `seed`. A folder that `is_trained` is that of an encoder
        whose head lies elsewhere, unless it belongs to the library's model.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            features = None
            if recipe.features:
                # The plan names it for recipes with features.
                assert sources.vocabulary is not None
                features = FeatureEmbeddings(
                    recipe.features, Vocabulary.load(sources.vocabulary), sources.locales
                )
            check_quantize(recipe)
            in_4_bits = recipe.lora is not None and recipe.lora.quantize == "4bit"
            is_alone = is_trained and recipe.head == YES_NO_HEAD
            head = NEW_HEAD if is_alone else recipe.head
            loaded = load_encoder(sources.encoder, head, in_4_bits)
            model = cls(loaded, recipe, kind, features)
            if isinstance(model.head, YesNoHead) and not is_alone:
                model.head.start(loaded, answer_ids(sources.encoder, recipe.answers))

        if features is not None and sources.names is not None:
            features.init_names(load_names(sources.names))
        if features is not None and sources.vectors is not None:
            features.init_grams(sources.vectors, freeze=recipe.char_trigrams_init == "frozen")
        return model

    @torch.no_grad()
    def init_output_bias(self, mean: Tensor) -> None:
        """Let features of zero give `mean`, a distribution or a number in 0..1 `(outputs,)`, by the output's bias.

        Without it, the first steps teach the shares of the classes, which are the same for every
        pair: the encoder moves all texts alike, and what they differ in is lost. Heads of decoders
        that are made to be served have no bias, and stay as they are.
        """
        if self.output.output.bias is None:
            return
        share = mean.clamp(_RARE, 1 - _RARE)
        if self.link is not None:
            bias = self.link.start(share)
        else:
            bias = torch.logit(share) if self.kind.is_number else share.log()
        self.output.output.bias.copy_(bias)

    @torch.no_grad()
    def init_by_similarity(self, batches: Iterable[Inputs]) -> None:
        """Let a bi-encoder begin by similarity: the nearer query and product, the higher the gain.

        Args:
            batches: of training rows, by which cosines are standardised.
        """
        assert isinstance(self.head, BiEncoder)  # no other architecture compares
        was_training = self.training
        self.eval()
        cosines = [self.head.cosine(self._sides(inputs)) for inputs in batches]  # (batch,) each
        self.head.standardise(torch.cat(cosines))
        self.train(was_training)

        # The last column reads the cosine. Random weights of the tanh features would drown it.
        self.output.output.weight.zero_()
        self.output.output.weight[:, -1] = _BY_SIMILARITY * self._direction()

    def _direction(self) -> Tensor:
        """Return how each logit follows what is good, `(logits,)`."""
        if self.kind.is_number:
            return torch.ones(1)
        if not self.kind.is_classes:
            # Whether a label is better or worse than all others is not known.
            return torch.zeros(2)

        gains = torch.tensor(self.kind.labels.gains[PAPER])  # (classes,)
        # Later classes of an order are better or worse.
        return gains - gains.mean() if self.link is None else (gains[-1] - gains[0]).sign()

    def _sides(self, inputs: Inputs) -> Tensor:
        """Return the pooled texts of each pair's views, `(batch, V, W)`."""
        batch, views = inputs.present.shape
        return _by_pair(self._read(inputs, None), views, batch)

    def forward(
        self, inputs: Inputs, delta: Tensor | None = None, mix: Mixup | None = None
    ) -> Tensor:
        """Return the logits of a batch of pairs, `(batch, outputs)`.

        Args:
            inputs: the pairs. Encoders without token types never see `inputs.types`.
            delta: added to the embedded tokens, `(V * batch, tokens, H)`; where adversarial
                training attacks.
            mix: embedding mixup, in training only.
        """
        read = self._read(inputs, delta)  # (V * batch, W), or (V * batch, tokens, H)
        read = read.to(self.dtype) if self._widens else read
        if isinstance(self.head, YesNoHead):
            return fit_logits(self.head(read, mix), self.kind.targets)
        if isinstance(self.head, PretrainedHead):
            states = read[:, None] if read.ndim == 2 else read
            return fit_logits(self.head(states, inputs.mask, mix), self.kind.targets)

        batch, views = inputs.present.shape
        read = _by_pair(read, views, batch)  # (batch, V, W), or (batch, V, tokens, H)
        mask = _by_pair(inputs.mask, views, batch)  # (batch, V, tokens)
        extra = read.new_zeros(batch, 0) if self.features is None else self.features(inputs.extras)

        features = self.head(read, mask, inputs.present, extra)  # (batch, H), tanh
        logits: Tensor = self.output(features, mix)
        return logits if self.link is None else self.link(logits)

    def _read(self, inputs: Inputs, delta: Tensor | None) -> Tensor:
        """Return what the head reads of each text.

        Returns:
            `(V * batch, W)` where the head pools its texts, else all tokens, `(V * batch, tokens, H)`.
        """
        # Without padding, dropout draws other numbers: training goes without only if the recipe says
        # so.
        if self.trains_unpadded or (self._can_run_unpadded and not self.training):
            return pooled_states(
                self.encoder,
                inputs,
                delta,
                self.pooling,
                self.layer,
                self._save_memory,
                not self._compiles,
            )
        hidden = hidden_states(self.encoder, inputs.ids, inputs.mask, inputs.types, delta)
        if self._reads_states or not self._pools:
            return hidden
        return pool(hidden, inputs.mask, self.pooling)

    @property
    def _pools(self) -> bool:
        """True where the head reads one vector per text."""
        return isinstance(self.head, PretrainedHead | YesNoHead) or self.head.pools

    @contextmanager
    def whole(self) -> Iterator[Any]:
        """Give the library's model to save: the encoder, with its own head where it came with one."""
        if isinstance(self.head, PretrainedHead):
            with self.head.whole(self.encoder) as model:
                yield model
        else:
            yield self.encoder

    @contextmanager
    def packed(self) -> Iterator[None]:
        """Pack the layers' weights for predictions on a CPU, in which no weight changes.

        That costs as much time as some hundred tokens, and the memory of these weights once more. Where
        it is not possible, nothing is done.
        """
        own = self.layer
        if self._can_run_unpadded and not self._compiles and can_pack(self.encoder):
            self.layer = PackedPass(self.encoder)
        try:
            yield
        finally:
            self.layer = own

    def merge(self) -> None:
        """Merge adapters, if any, into the encoder's weights: the model is then one that is saved whole."""
        merge_adapters(self.encoder)
        self.keeps_base = False
        self.frozen = frozenset()

    @property
    def has_adapters(self) -> bool:
        """True where the encoder has adapters, which are trained in its place."""
        return hasattr(self.encoder, "peft_config")

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights that are trained."""
        # A head may have no weights before the layer that gives the logits.
        own: torch.dtype = next(
            weight.dtype
            for name, weight in self.named_parameters()
            if name.startswith(("head.", "output."))
        )
        return own

    @property
    def token_table(self) -> Tensor:
        """The word-embedding table, `(V, H)`."""
        return token_table(self.encoder)

    def outputs(self, logits: Tensor) -> Tensor:
        """Return logits as the outputs of the kind, `(batch, outputs)`; ratings are in 0..1.

        They are in float64, so that probabilities sum to 1 closely.
        """
        logits = logits.double()
        if self.kind.is_number:
            return torch.sigmoid(logits)
        probabilities = torch.softmax(logits, dim=1)
        return probabilities if self.kind.is_classes else probabilities[:, 1:]

    @property
    def needs_shares(self) -> bool:
        """True where the shares of the classes are where training starts: cut-points move as slowly as biases do."""
        return isinstance(self.link, CumulativeLink)


def _by_pair(stacked: Tensor, views: int, batch: int) -> Tensor:
    """Return stacked views `(V * batch, …)` as `(batch, V, …)`."""
    return torch.unflatten(stacked, 0, (views, batch)).transpose(0, 1)
